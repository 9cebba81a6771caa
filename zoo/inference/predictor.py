"""Load a trained model and predict the classes of images and rows."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import jobs
from zoo.data import datasets, preprocessing, table_rows, takes
from zoo.data.cache import Progress
from zoo.data.contents import Inputs, Raw
from zoo.errors import UsageError
from zoo.images import arrays
from zoo.images.prediction_inputs import Subject
from zoo.jobs import Database, Group, Job
from zoo.model import Model
from zoo.plugins import registry
from zoo.queue import pinning
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo.training import evaluation, provenance, run
from zoo.training.run import Recipe

if TYPE_CHECKING:
    from zoo.model import Array

BATCH = 256
"""Inputs that are predicted at once."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one input."""

    subject: Subject
    predicted: str
    """Name of the predicted class."""
    label: str | None
    """Name of the true class, if known."""
    probabilities: dict[str, float] | None
    """By class name; None if the model has no probabilities."""
    job: str
    """The id of the job that trained the model."""
    model: str
    """The name of the model."""

    @property
    def probability(self) -> float | None:
        """The probability of the predicted class; None if the model has none."""
        return self.probabilities[self.predicted] if self.probabilities else None

    def to_json(self) -> dict[str, Any]:
        found = {
            "file": self.subject.name,
            "predicted": self.predicted,
            "label": self.label,
            "probabilities": self.probabilities,
            "job": self.job,
            "model": self.model,
        }
        return found if self.subject.values is None else found | {"row": self.subject.values}


@dataclass(frozen=True)
class Predictor:
    """A trained model with the recipe by which inputs are prepared for it."""

    model: Model
    recipe: Recipe
    fitted: preprocessing.Fitted
    """Its preprocessing steps, with what they have learned."""

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of the labels 0, 1, ..."""
        return self.model.class_names

    @property
    def inputs(self) -> Inputs:
        """What the inputs of the training were."""
        return self.recipe.inputs

    def prepare(self, raw: Array) -> Array:
        """Prepare raw inputs, as `inputs` describes them, as for the training.

        Raises UsageError for missing numbers if the model takes none.
        """
        recipe = self.recipe
        x = preprocessing.model_input(
            raw, recipe.inputs, self.model, recipe.preprocess, self.fitted
        )
        takes.check_no_missing(type(self.model), x, recipe.inputs.feature_names)
        return x

    def predict_raw(self, raw: Array) -> evaluation.Predictions:
        """Predict labels and probabilities of raw inputs, as `inputs` describes them.

        Raises UsageError as `prepare` does, PluginError as `evaluation.predict` does.
        """
        return evaluation.predict(self.model, self.prepare(raw))

    def predict(self, given: Any) -> Array:
        """Predict the label of each input, int64 (n,).

        Args:
            given: Images, (n, *shape) or (n, pixels), or a single one: whole numbers from 0 to
                255, or floats from 0 to 1. Of a table a DataFrame, a list of dicts, or an array,
                (n, columns): columns are matched by name, others are ignored.

        Raises:
            UsageError: The inputs do not fit the model.
        """
        return self.predict_raw(self.to_raw(given)).labels

    def predict_proba(self, given: Any) -> Array | None:
        """Predict class probabilities, (n, n_classes); None if the model has none.

        Inputs and errors are those of `predict`.
        """
        return self.predict_raw(self.to_raw(given)).probabilities

    def to_raw(self, given: Any) -> Array:
        """Return inputs from outside as the dataset of the training had them.

        Warns of categories that the training did not have. Raises UsageError as `predict` does.
        """
        if self.inputs.kind == "image":
            plain = given.to_numpy() if hasattr(given, "to_numpy") else given
            return arrays.raw_images(plain, self.inputs)
        table = table_rows.columns_of(given, self.inputs)
        raw, notes = table_rows.values_of(table, self.inputs)
        for note in notes:
            warnings.warn(note, stacklevel=3)
        return raw


@dataclass(frozen=True)
class LoadedModel(Predictor):
    """The trained model of a job."""

    job: Job
    """The job that trained it."""
    note: str = ""
    """A warning if it was loaded by another plugin, version or code than trained it."""

    def labels(self, raw: Array) -> Array:
        """Predict the label of each raw input, int64 (n,)."""
        return self.predict_raw(raw).labels

    def probabilities(self, raw: Array) -> Array | None:
        """Predict class probabilities, (n, n_classes); None if the model has none."""
        return self.predict_raw(raw).probabilities


def restore(folder: Path) -> Predictor:
    """Load a trained model from the folder of a training job; raises ArtifactError."""
    return Predictor(run.restore(folder), run.read_recipe(folder), run.restore_steps(folder))


def load_trained(db: Database, settings: Settings, job: Job | Group | str) -> LoadedModel:
    """Load the model that a training left, its artifact checked first.

    A str is resolved by `jobs.find_reference`; an evaluation stands for the training that it
    judged, a group for the best of its jobs that kept weights. Raises UsageError if there is no
    trained model or its plugin is not installed here, ArtifactError if the artifact is gone or
    damaged.
    """
    trained = jobs.find_training(db, job)
    _check_plugin(trained)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        fetch_artifact(settings, trained, Path(folder))
        found = restore(Path(folder))
    note = provenance.other_loader(db, trained)
    return LoadedModel(found.model, found.recipe, found.fitted, trained, note)


def training_data(trained: Predictor, progress: Progress | None = None) -> Raw:
    """Open the dataset that a model was trained on; an added one is fetched first if needed.

    Raises as `datasets.raw` and `pinning.bring` do.
    """
    recipe = trained.recipe
    pinning.bring(recipe.fingerprint, recipe.dataset, progress)
    return datasets.raw(recipe.dataset, progress, contents=recipe.fingerprint)


def fetch_artifact(settings: Settings, trained: Job, into: Path) -> None:
    """Copy a training's artifact into a folder and verify it; raises ArtifactError."""
    where, sha256 = trained.stored_artifact()
    artifacts.get(settings.artifacts, where, sha256, into)


def predict_subjects(trained: LoadedModel, subjects: Iterable[Subject]) -> Iterator[Prediction]:
    """Predict the classes of inputs, a few hundred at a time.

    Raises UsageError for a row with missing numbers if the model takes none, PluginError if the
    model breaks its contract.
    """
    import numpy as np

    names, rest = trained.class_names, iter(subjects)
    while batch := list(itertools.islice(rest, BATCH)):
        found = trained.predict_raw(np.stack([each.raw for each in batch]))
        given = found.probabilities
        rows = given.tolist() if given is not None else [None] * len(batch)
        for subject, label, row in zip(batch, found.labels.tolist(), rows, strict=True):
            by_name = None if row is None else dict(zip(names, row, strict=True))
            yield Prediction(
                subject,
                names[label],
                _true_class(trained, subject),
                by_name,
                trained.job.id,
                trained.job.model,
            )


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


def _check_plugin(trained: Job) -> None:
    if trained.model in registry.catalogue().models:
        return
    plugin = str(trained.spec.get("plugin") or "the plugin with this model")
    hint = f"Install {plugin}, which trained it."
    hint += "".join(f" The plugin {p.name} is broken: {p.error}." for p in registry.broken())
    raise UsageError(f"The model '{trained.model}' is not installed here.", hint)
