"""A trained model in a notebook: it predicts the classes of arrays of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zoo.notebook.html as html
from zoo.errors import UsageError
from zoo.images import arrays
from zoo.inference import predictor
from zoo.notebook.connection import connect
from zoo.notebook.waiting import print_note
from zoo.training import evaluation

if TYPE_CHECKING:
    from zoo.model import Array, Model


class TrainedModel:
    """The model of a finished training, as `zoo.load_model` returns it."""

    def __init__(self, found: predictor.LoadedModel) -> None:
        self.job_id = found.job.id
        self.model: Model = found.model
        self.recipe = found.recipe
        self._job = found.job
        self._fitted = found.fitted

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of the labels 0, 1, ..."""
        return self.model.class_names

    def predict_proba(self, images: Any) -> Array:
        """Predict the probability of each class.

        Args:
            images: (n, 28, 28) or (n, 784), or a single image; integers from 0 to 255, or floats
                from 0 to 1.

        Returns:
            Probabilities, (n, n_classes).

        Raises:
            UsageError: For other images, or if the model has no probabilities.
        """
        found = self._predictions(images).probabilities
        if found is None:
            raise UsageError(
                f"The model '{self.model.name}' has no probabilities.",
                "Call predict(images) instead.",
            )
        return found

    def predict(self, images: Any) -> Array:
        """Predict the label of each image, int64 (n,); images as for `predict_proba`."""
        return self._predictions(images).labels

    def _predictions(self, images: Any) -> evaluation.Predictions:
        x = arrays.prepare(
            images, self.model, self.recipe.inputs, self.recipe.preprocess, self._fitted
        )
        return evaluation.predict(self.model, x)

    def __repr__(self) -> str:
        return f"<trained {html.summary(self._job)[1:]}"

    def _repr_html_(self) -> str:
        return html.table(self._job)


def load(ref: str) -> TrainedModel:
    """Load the trained model of the job or group `ref`; raises as `predictor.load_trained` does."""
    with connect() as (db, chosen):
        found = predictor.load_trained(db, chosen, ref)
    if found.note:
        print_note(found.note)
    return TrainedModel(found)
