"""The mistakes of a job, the most confident first, with their images as PNG."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

from zoo.data import datasets
from zoo.errors import ArtifactError, ZooError
from zoo.images.render import is_ink, to_bytes
from zoo.jobs import Job
from zoo.results.predictions import Predictions, load_predictions
from zoo.settings import Settings
from zoo_report import predictions

if TYPE_CHECKING:
    from zoo.model import Array

ENOUGH = 100
"""Number of images that show whether a dataset has ink on a dark ground."""
GREYS = 16
"""Shades of grey of an image: a third fewer bytes, without a visible difference."""


class Mistake(NamedTuple):
    """A misclassified image."""

    row: int
    """Position in the split."""
    label: int
    predicted: int
    probability: float | None = None
    """Of the predicted class, if the model has probabilities."""
    label_probability: float | None = None
    """Of the true class."""


def list_mistakes(settings: Settings, job: Job) -> tuple[list[Mistake], str]:
    """Return the mistakes of a job, the most confident first, and why if they are unknown."""
    if job.status != "succeeded":
        return [], f"It is {job.status.replace('_', ' ')}: it has no predictions."
    if job.removal_note:
        return [], job.removal_note
    if not job.artifact or not job.class_names:
        return [], "It left no predictions."
    try:
        return _mistakes(load_predictions(settings, job)), ""
    except ArtifactError as error:
        return [], error.message


def evaluated_split(job: Job) -> str:
    """Return the split that a job was evaluated on; a fold is part of `train`."""
    return "train" if job.spec["fold"] else str(job.spec["split"])


class ImageStore:
    """Images of the datasets on this machine, as PNG; nothing is downloaded."""

    def __init__(self) -> None:
        self._raw: dict[tuple[str, str | None], datasets.Raw | str] = {}
        """By name and fingerprint; a sentence if this machine has not got the contents."""
        self._sets: dict[str, str] = {}
        """The contents of each name of a set of images."""
        self.strokes: set[str] = set()
        """Names of the sets of images that are strokes, shown dark on white."""
        self.png: dict[str, str] = {}
        """PNG data in base64 by key, each image once."""

    def set_name(self, job: Job, contents: str | None) -> str:
        """Return a name for the images that a job was evaluated on: dataset and split.

        Where the page has several contents of a dataset, the later ones have their fingerprint.
        """
        name = f"{job.dataset} {evaluated_split(job)}"
        known = contents or job.id
        if self._sets.setdefault(name, known) == known:
            return name
        return f"{name} ({known[:8]})"

    def add(self, job: Job, rows: list[int], contents: str | None = None) -> str:
        """Add images of the job's split; returns a sentence if that is not possible.

        `contents` is the fingerprint of the data that the job used, if it is known.
        """
        asked = (job.dataset, contents)
        if asked not in self._raw:
            self._raw[asked] = _open(job.dataset, contents)
        raw = self._raw[asked]
        if isinstance(raw, str):
            return raw
        if contents and raw.fingerprint != contents:
            return f"Its images cannot be shown: {job.dataset} has other contents here."
        if raw.meta.kind != "image":
            return f"`zoo predict {job.id[:8]} --index N` shows a row of the table."
        images = raw.splits[evaluated_split(job)].inputs
        if rows and max(rows) >= len(images):
            return f"Its images cannot be shown: {job.dataset} has fewer of them here."
        ink = is_ink(to_bytes(images[:ENOUGH]))
        if ink:
            self.strokes.add(self.set_name(job, contents))
        for row in rows:
            name = f"{self.set_name(job, contents)} {row}"
            if name not in self.png:
                self.png[name] = base64.b64encode(_png(images[row], ink)).decode()
        return ""


def _open(name: str, contents: str | None) -> datasets.Raw | str:
    missing = f"Its images cannot be shown: this machine has no {name}."
    try:
        is_here = datasets.is_cached(name, contents=contents)
        return datasets.raw(name, contents=contents) if is_here else missing
    except ZooError:
        return missing


def _png(image: Array, ink: bool) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    image = to_bytes(image)
    if image.ndim == 3:
        Image.fromarray(image).save(file, format="PNG", optimize=True)
        return file.getvalue()
    # Ink is shown dark on white.
    shown = 255 - image if ink else image
    grey = shown.astype("int64") * (GREYS - 1) + 127
    shades = Image.fromarray((grey // 255).astype("uint8"), mode="P")
    shades.putpalette([shade * 255 // (GREYS - 1) for shade in range(GREYS) for _ in "rgb"])
    shades.save(file, format="PNG", optimize=True, bits=4)
    return file.getvalue()


def _mistakes(found: Predictions) -> list[Mistake]:
    wrong = predictions.wrong_rows(found)
    label, predicted, given = found.labels[wrong], found.predicted[wrong], found.probabilities
    columns = [found.index[wrong], label, predicted]
    if given is not None:
        columns += [given[wrong, predicted], given[wrong, label]]
    return [Mistake(*each) for each in zip(*(each.tolist() for each in columns), strict=True)]
