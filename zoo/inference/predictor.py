"""Ask a trained model about other images: fetch it, restore it, prepare what it is shown."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import jobs
from zoo.data import preprocessing
from zoo.errors import UsageError
from zoo.images.prediction_inputs import Subject
from zoo.jobs import Database, Group, Job, references
from zoo.jobs.records import best_first
from zoo.model import Model
from zoo.plugins import registry
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo.training import evaluation, provenance, run
from zoo.training.run import Recipe

if TYPE_CHECKING:
    from zoo.model import Array


@dataclass(frozen=True)
class Answer:
    """What a model says about an image."""

    subject: Subject
    predicted: str
    """The name of the class."""
    label: str | None
    """The true class, where it is known."""
    probabilities: dict[str, float] | None
    """By the name of the class; None if the model has none."""

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.subject.name,
            "predicted": self.predicted,
            "label": self.label,
            "probabilities": self.probabilities,
        }


@dataclass(frozen=True)
class LoadedModel:
    """A trained model, and how images are to be prepared for it."""

    job: Job
    """The training that left it."""
    model: Model
    recipe: Recipe
    note: str = ""
    """Set if another plugin, version or code has loaded it than trained it: what to say of that."""

    @property
    def class_names(self) -> list[str]:
        """The classes that it tells apart, in the order of its labels 0, 1, ..."""
        return self.model.class_names

    def prepare(self, images: Array) -> Array:
        """Prepare raw images, uint8 (n, 28, 28), as those were that it was trained on."""
        return preprocessing.model_input(images, self.model, self.recipe.preprocess)

    def predict(self, images: Array) -> evaluation.Predictions:
        """Say what raw images, uint8 (n, 28, 28), show; raises PluginError as `judge.predict`."""
        return evaluation.predict(self.model, self.prepare(images))

    def labels(self, images: Array) -> Array:
        """The predicted label of each raw image, int64 (n,)."""
        return self.predict(images).labels

    def probabilities(self, images: Array) -> Array | None:
        """The probability of each class, (n, n_classes); None if the model has none."""
        return self.predict(images).probabilities


def load(db: Database, settings: Settings, job: Job | Group | str) -> LoadedModel:
    """Load the model that a training left, its artifact checked first.

    A str is resolved by `jobs.find_reference`; an evaluation stands for the training that it
    judged, a group for the best of its jobs that kept weights. Raises UsageError if there is no
    trained model or its plugin is not installed here, ArtifactError if the artifact is gone or
    damaged.
    """
    trained = training(db, job)
    _see_plugin(trained)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        fetch(settings, trained, Path(folder))
        recipe = run.read_recipe(Path(folder))
        return LoadedModel(
            trained, run.restore(Path(folder)), recipe, provenance.other_loader(db, trained)
        )


def fetch(settings: Settings, trained: Job, into: Path) -> None:
    """Copy the artifact of a training into a folder, checked; raises ArtifactError."""
    where, sha256 = str(trained.artifact), str(trained.artifact_sha256)
    artifacts.get(settings.artifacts, where, sha256, into)


def answer(trained: LoadedModel, subjects: Sequence[Subject]) -> list[Answer]:
    """Ask the model about images; raises PluginError for answers that break the contract."""
    import numpy as np

    names = trained.class_names
    found = trained.predict(np.stack([each.image for each in subjects]))
    given = found.probabilities
    rows = given.tolist() if given is not None else [None] * len(subjects)
    return [
        Answer(
            subject,
            names[label],
            _true_class(trained, subject),
            None if row is None else dict(zip(names, row, strict=True)),
        )
        for subject, label, row in zip(subjects, found.labels, rows, strict=True)
    ]


def _true_class(trained: LoadedModel, subject: Subject) -> str | None:
    """What the model should say; of a class that it does not know, its name."""
    import numpy as np

    if subject.label is None:
        return None
    name, known = subject.class_names[subject.label], trained.recipe.class_names
    if name not in known:
        return name
    label = evaluation.targets(trained.model, np.array([known.index(name)]))[0]
    return trained.class_names[int(label)]


def training(db: Database, asked: Job | Group | str) -> Job:
    """The training whose model `load` loads; raises UsageError if there is no trained model."""
    if isinstance(asked, str):
        asked = jobs.find_reference(db, asked)
    if isinstance(asked, Group):
        kept = [job for job in asked.jobs if job.accuracy is not None and _has_weights(job)]
        asked = best_first(kept)[0] if kept else asked
    elif asked.kind == "evaluate":
        asked = jobs.get(db, asked.spec["source"]["job"])
    return references.with_weights(asked)[0]


def _has_weights(job: Job) -> bool:
    return job.kind == "train" and bool(job.artifact and job.spec.get("keep_weights", True))


def _see_plugin(trained: Job) -> None:
    if trained.model in registry.catalogue().models:
        return
    plugin = str(trained.spec.get("plugin") or "the plugin that brings it")
    hint = f"Install {plugin}, by which it was trained."
    hint += "".join(f" The plugin {p.name} is broken: {p.error}." for p in registry.broken())
    raise UsageError(f"The model '{trained.model}' is not installed here.", hint)
