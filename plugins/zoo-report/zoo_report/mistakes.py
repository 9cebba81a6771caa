"""What a job got wrong, the most confident first, with the images as PNG data."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

from zoo.data import datasets
from zoo.errors import ArtifactError, ZooError
from zoo.jobs import Job
from zoo.results.predictions import Predictions, load_predictions
from zoo.settings import Settings
from zoo_report import predictions

if TYPE_CHECKING:
    from zoo.model import Array

GREYS = 16
"""Shades that an image keeps: a third fewer bytes, and no eye sees it at this size."""


class Mistake(NamedTuple):
    """An image that was taken for another class."""

    row: int
    """Where it stands in the split."""
    label: int
    predicted: int
    sure: float | None = None
    """The probability of the predicted class, if the model has any."""
    label_sure: float | None = None
    """And that of the true one."""


def of(settings: Settings, job: Job) -> tuple[list[Mistake], str]:
    """All that a job got wrong, the most confident first; and a sentence if that is not known."""
    if job.status != "succeeded":
        return [], f"It is {job.status.replace('_', ' ')}: it has no predictions."
    if not job.artifact or not job.class_names:
        return [], "It left no predictions."
    try:
        return _mistakes(load_predictions(settings, job)), ""
    except ArtifactError as error:
        return [], error.message


def split_of(job: Job) -> str:
    """Where the images that it was judged on come from: those of a fold from `train`."""
    return "train" if job.spec["fold"] else str(job.spec["split"])


class Images:
    """The images of the datasets that this machine has; nothing is fetched."""

    def __init__(self) -> None:
        self._raw: dict[str, datasets.Raw | str] = {}
        self.png: dict[str, str] = {}
        """PNG data in base64 by dataset, split and row: each image once, however many missed it."""

    def add(self, job: Job, rows: list[int], contents: str | None = None) -> str:
        """Draw these images of the job's split; gives a sentence where that cannot be done.

        `contents` is the fingerprint of the data that the job saw, if it told.
        """
        if job.dataset not in self._raw:
            self._raw[job.dataset] = _open(job.dataset, contents)
        raw = self._raw[job.dataset]
        if isinstance(raw, str):
            return raw
        if contents and raw.fingerprint != contents:
            return f"Its images cannot be shown: {job.dataset} has other contents here."
        images = raw.splits[split_of(job)].images
        if rows and max(rows) >= len(images):
            return f"Its images cannot be shown: {job.dataset} has fewer of them here."
        for row in rows:
            name = key(job, row)
            if name not in self.png:
                self.png[name] = base64.b64encode(_png(images[row])).decode()
        return ""


def key(job: Job, row: int) -> str:
    """What an image is called on the page."""
    return f"{job.dataset} {split_of(job)} {row}"


def _open(name: str, contents: str | None) -> datasets.Raw | str:
    missing = f"Its images cannot be shown: this machine has no {name}."
    try:
        is_here = datasets.is_cached(name, contents=contents)
        return datasets.raw(name, contents=contents) if is_here else missing
    except ZooError:
        return missing


def _png(image: Array) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    # Dark ink on white, as on paper.
    grey = (255 - image.astype("int64")) * (GREYS - 1) + 127
    shades = Image.fromarray((grey // 255).astype("uint8"), mode="P")
    shades.putpalette([shade * 255 // (GREYS - 1) for shade in range(GREYS) for _ in "rgb"])
    shades.save(file, format="PNG", optimize=True, bits=4)
    return file.getvalue()


def _mistakes(said: Predictions) -> list[Mistake]:
    wrong = predictions.mistakes(said)
    label, predicted, sure = said.labels[wrong], said.predicted[wrong], said.probabilities
    columns = [said.index[wrong], label, predicted]
    if sure is not None:
        columns += [sure[wrong, predicted], sure[wrong, label]]
    return [Mistake(*each) for each in zip(*(each.tolist() for each in columns), strict=True)]
