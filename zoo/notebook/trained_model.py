"""A trained model in a notebook: it predicts the classes of arrays, and of rows of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zoo.notebook.html as html
from zoo.errors import UsageError
from zoo.inference import predictor
from zoo.notebook.connection import connect
from zoo.notebook.live_display import print_note

if TYPE_CHECKING:
    from zoo.model import Array, Model


class TrainedModel:
    """The model of a finished training, as `zoo.load_model` returns it."""

    def __init__(self, found: predictor.LoadedModel) -> None:
        self.job_id = found.job.id
        self.model: Model = found.model
        self.recipe = found.recipe
        self._found = found

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of the labels 0, 1, ..."""
        return self.model.class_names

    def predict_proba(self, inputs: Any) -> Array:
        """Predict the probability of each class.

        Args:
            inputs: Images, (n, height, width) or (n, height, width, 3), also flat, or a single
                one; integers from 0 to 255, or floats from 0 to 1. Of a table a DataFrame, a list
                of dicts, or an array, (n, columns), in the order of the training; columns of the
                first two are matched by name, and others are ignored.

        Returns:
            Probabilities, (n, n_classes).

        Raises:
            UsageError: For other inputs, or if the model has no probabilities.
        """
        found = self._found.predict_proba(inputs)
        if found is None:
            raise UsageError(
                f"The model '{self.model.name}' has no probabilities.",
                "Call predict(inputs) instead.",
            )
        return found

    def predict(self, inputs: Any) -> Array:
        """Predict the label of each input, int64 (n,); inputs as for `predict_proba`."""
        return self._found.predict(inputs)

    def __repr__(self) -> str:
        return f"<trained {html.summary(self._found.job)[1:]}"

    def _repr_html_(self) -> str:
        return html.table(self._found.job)


def load(ref: str) -> TrainedModel:
    """Load the trained model of the job or group `ref`; raises as `predictor.load_trained` does."""
    with connect() as (db, chosen):
        found = predictor.load_trained(db, chosen, ref)
    if found.note:
        print_note(found.note)
    return TrainedModel(found)
