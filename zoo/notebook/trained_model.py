"""A trained model in a notebook: it predicts what arrays of images show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zoo.notebook.html as html
from zoo.errors import UsageError
from zoo.images import arrays
from zoo.inference import predictor
from zoo.notebook.connection import opened
from zoo.notebook.waiting import tell
from zoo.training import evaluation

if TYPE_CHECKING:
    from zoo.model import Array, Model


class Trained:
    """The model that a training left, as `zoo.load` gives it."""

    def __init__(self, found: predictor.Trained) -> None:
        self.job_id = found.job.id
        self.model: Model = found.model
        self.recipe = found.recipe
        self._job = found.job

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of the labels 0, 1, ..."""
        return self.model.class_names

    def predict_proba(self, images: Any) -> Array:
        """The probability of each class, (n, n_classes).

        Images are (n, 28, 28) or (n, 784), or one of them; whole numbers from 0 to 255, or scaled
        ones from 0 to 1. Raises UsageError for others, or if the model has no probabilities.
        """
        found = self._predictions(images).probabilities
        if found is None:
            raise UsageError(
                f"The model '{self.model.name}' has no probabilities.", "Take predict(images)."
            )
        return found

    def predict(self, images: Any) -> Array:
        """The label of each image, int64 (n,); images as for `predict_proba`."""
        return self._predictions(images).labels

    def _predictions(self, images: Any) -> evaluation.Predictions:
        x = arrays.prepare(images, self.model, self.recipe.preprocess)
        return evaluation.predict(self.model, x)

    def __repr__(self) -> str:
        return f"<trained {html.line(self._job)[1:]}"

    def _repr_html_(self) -> str:
        return html.html(self._job)


def load(ref: str) -> Trained:
    """The trained model of the job or group that `ref` names; raises as `prediction.load`."""
    with opened() as (db, chosen):
        found = predictor.load(db, chosen, ref)
    if found.note:
        tell(found.note)
    return Trained(found)
