"""Load a trained model and predict the classes of images."""

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
class Prediction:
    """The prediction for one image."""

    subject: Subject
    predicted: str
    """Name of the predicted class."""
    label: str | None
    """Name of the true class, if known."""
    probabilities: dict[str, float] | None
    """By class name; None if the model has no probabilities."""

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.subject.name,
            "predicted": self.predicted,
            "label": self.label,
            "probabilities": self.probabilities,
        }


@dataclass(frozen=True)
class LoadedModel:
    """A trained model with the recipe by which images are prepared for it."""

    job: Job
    """The job that trained it."""
    model: Model
    recipe: Recipe
    fitted: preprocessing.Fitted
    """Its preprocessing steps, with what they have learned."""
    note: str = ""
    """A warning if it was loaded by another plugin, version or code than trained it."""

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of the labels 0, 1, ..."""
        return self.model.class_names

    def prepare(self, images: Array) -> Array:
        """Prepare raw inputs, as `recipe.inputs` describes them, as for the training."""
        recipe = self.recipe
        return preprocessing.model_input(
            images, recipe.inputs, self.model, recipe.preprocess, self.fitted
        )

    def predict(self, images: Array) -> evaluation.Predictions:
        """Predict labels and probabilities of raw inputs, as `recipe.inputs` describes them.

        Raises PluginError as `evaluation.predict` does.
        """
        return evaluation.predict(self.model, self.prepare(images))

    def labels(self, images: Array) -> Array:
        """Predict the label of each raw image, int64 (n,)."""
        return self.predict(images).labels

    def probabilities(self, images: Array) -> Array | None:
        """Predict class probabilities, (n, n_classes); None if the model has none."""
        return self.predict(images).probabilities


def load_trained(db: Database, settings: Settings, job: Job | Group | str) -> LoadedModel:
    """Load the model that a training left, its artifact checked first.

    A str is resolved by `jobs.find_reference`; an evaluation stands for the training that it
    judged, a group for the best of its jobs that kept weights. Raises UsageError if there is no
    trained model or its plugin is not installed here, ArtifactError if the artifact is gone or
    damaged.
    """
    trained = find_training(db, job)
    _check_plugin(trained)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        fetch_artifact(settings, trained, Path(folder))
        recipe = run.read_recipe(Path(folder))
        return LoadedModel(
            trained,
            run.restore(Path(folder)),
            recipe,
            run.restore_steps(Path(folder)),
            provenance.other_loader(db, trained),
        )


def fetch_artifact(settings: Settings, trained: Job, into: Path) -> None:
    """Copy a training's artifact into a folder and verify it; raises ArtifactError."""
    where, sha256 = str(trained.artifact), str(trained.artifact_sha256)
    artifacts.get(settings.artifacts, where, sha256, into)


def predict_subjects(trained: LoadedModel, subjects: Sequence[Subject]) -> list[Prediction]:
    """Predict the classes of images; raises PluginError if the model breaks its contract."""
    import numpy as np

    names = trained.class_names
    found = trained.predict(np.stack([each.image for each in subjects]))
    given = found.probabilities
    rows = given.tolist() if given is not None else [None] * len(subjects)
    return [
        Prediction(
            subject,
            names[label],
            _true_class(trained, subject),
            None if row is None else dict(zip(names, row, strict=True)),
        )
        for subject, label, row in zip(subjects, found.labels, rows, strict=True)
    ]


def _true_class(trained: LoadedModel, subject: Subject) -> str | None:
    """Return the class that the model should predict; of an unknown class its name."""
    import numpy as np

    if subject.label is None:
        return None
    name, known = subject.class_names[subject.label], trained.recipe.class_names
    if name not in known:
        return name
    label = evaluation.targets(trained.model, np.array([known.index(name)]))[0]
    return trained.class_names[int(label)]


def find_training(db: Database, asked: Job | Group | str) -> Job:
    """Return the job whose model `load_trained` loads; raises UsageError without one."""
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


def _check_plugin(trained: Job) -> None:
    if trained.model in registry.catalogue().models:
        return
    plugin = str(trained.spec.get("plugin") or "the plugin with this model")
    hint = f"Install {plugin}, which trained it."
    hint += "".join(f" The plugin {p.name} is broken: {p.error}." for p in registry.broken())
    raise UsageError(f"The model '{trained.model}' is not installed here.", hint)
