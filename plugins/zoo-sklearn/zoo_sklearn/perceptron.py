"""The multi-layer perceptron of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

import zoo
import zoo_sklearn.epochs as epochs
from zoo_sklearn.classifier import FitArguments, ValidatedModel, require_shape, row_count
from zoo_sklearn.estimator import SklearnModel

if TYPE_CHECKING:
    from zoo.model import Array

Units = Annotated[int, Field(ge=1, le=8192)]


class PerceptronParams(zoo.Params):
    """Params of `MLPClassifier`; the defaults are those of scikit-learn."""

    hidden: list[Units] = zoo.param(
        [100], min_length=1, max_length=16, help="units of each hidden layer (hidden_layer_sizes)"
    )
    activation: Literal["relu", "tanh", "logistic", "identity"] = zoo.param(
        "relu", help="function of the hidden units"
    )
    solver: Literal["adam", "sgd", "lbfgs"] = zoo.param(
        "adam", help="how the weights are fitted; lbfgs suits small data"
    )
    alpha: float = zoo.param(0.0001, ge=0, le=1e6, help="strength of the l2 penalty")
    batch_size: int | None = zoo.param(
        None, ge=1, le=10**6, help="inputs of a step of adam and sgd; null: 200, or all if fewer"
    )
    learning_rate: float = zoo.param(
        0.001, gt=0, le=1e6, help="first learning rate of adam and sgd (learning_rate_init)"
    )
    schedule: Literal["constant", "invscaling", "adaptive"] = zoo.param(
        "constant", help="how the learning rate of sgd changes over time (learning_rate)"
    )
    momentum: float = zoo.param(0.9, ge=0, le=1, help="momentum of sgd")
    max_iter: int = zoo.param(200, ge=1, le=100_000, help="most epochs, or steps of lbfgs")
    tol: float = zoo.param(0.0001, ge=0, le=1e6, help="stop when the loss falls by less")
    n_iter_no_change: int = zoo.param(
        10, ge=1, le=100_000, help="epochs without improvement before it stops"
    )
    early_stopping: bool = zoo.param(
        False, help="stop by the accuracy on the validation rows, or else on held-back inputs"
    )
    validation_fraction: float = zoo.param(
        0.1, gt=0, lt=1, help="part held back for early_stopping without validation rows"
    )


class Perceptron(ValidatedModel, SklearnModel):
    """A network of fully connected layers, without Keras (scikit-learn's MLPClassifier)."""

    name = "mlp"
    family = "neural network"
    paper = "Rumelhart et al. 1986, Learning representations by back-propagating errors"
    can_stop = True
    Params = PerceptronParams

    def make(self) -> Any:
        from sklearn.neural_network import MLPClassifier

        params = self.params.model_dump()
        return MLPClassifier(
            hidden_layer_sizes=tuple(params.pop("hidden")),
            batch_size=params.pop("batch_size") or "auto",
            learning_rate_init=params.pop("learning_rate"),
            learning_rate=params.pop("schedule"),
            random_state=self.seed,
            **params,
        )

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        network, chosen_by = self.classifier, given.validation
        with epochs.reported(network, report, given.checkpoint, validation=chosen_by):
            network.fit(x, y, given.sample_weight)

    def check(self, estimator: Any) -> None:
        sizes = [self.n_features, *self.params.hidden]
        last = row_count(len(estimator.classes_))
        for width, next_width, coef, intercept in zip(
            sizes,
            [*self.params.hidden, last],
            estimator.coefs_,
            estimator.intercepts_,
            strict=True,
        ):
            require_shape(coef.shape, (width, next_width))
            require_shape(intercept.shape, (next_width,))

    def parameters(self) -> int:
        network = self.classifier
        return sum(each.size for each in (*network.coefs_, *network.intercepts_))
