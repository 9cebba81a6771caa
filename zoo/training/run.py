"""Run one job in this process, from its spec to its metrics and files."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from zoo import settings, terminal_text
from zoo.canonical_json import canonical, read_json
from zoo.data import datasets, preprocessing, takes
from zoo.data.contents import Inputs
from zoo.data.preprocessing import Fitted, prepare_splits
from zoo.errors import ArtifactError, UsageError, reason
from zoo.job_spec import NO_STEPS, Fold, JobSpec, Preprocess
from zoo.model import Model, Stop, fit_arguments, to_json
from zoo.plugins import registry
from zoo.storage import saved_files
from zoo.training import evaluation, parts, provenance
from zoo.training.checkpoints import Checkpoints, Place
from zoo.training.parts import Part

if TYPE_CHECKING:
    from zoo.data.preprocessing import Prepared
    from zoo.model import Array

log = logging.getLogger(__name__)

RECIPE, METRICS, HISTORY, PREDICTIONS, WEIGHTS, FIT, STEPS = (
    "model.json",
    "metrics.json",
    "history.json",
    "predictions.npz",
    "weights",
    "fit",
    "preprocessing",
)
"""The files of a job in its folder; `weights` and `fit` are folders for files of the plugin,
`preprocessing` one for what steps have learned."""
WEIGHT_IMAGES = "weight_images.npy"
"""The weights of a linear model as images, (n_classes, *input_shape), readable without the plugin's
framework; (n_classes, 784) in artifacts of the first version."""

ENDS = ("stopped_early", "ended_early", "n_validation")
"""Metrics that say how a training has ended and how many rows it had to choose by; a model cannot
report them."""
MAX_REASON = 500
"""Longest reason, in characters, for a training that ends early."""
REPORTED_SECONDS = 0.5
"""Time after which the preparation of the data reports its progress."""
Phase = Callable[[str], None]
"""Called with the phase that starts: "prepare", "fit", "judge" or "save"."""
Write = Callable[[str, str], None]
"""Called with name and text of a small file of the job."""


class Recipe(BaseModel):
    """The provenance of a trained model: all that is needed to build it and load its weights."""

    model_config = ConfigDict(frozen=True)

    model: str
    params: dict[str, Any]
    class_names: list[str]
    """Class names of the dataset."""
    seed: int
    dataset: str
    fingerprint: str
    """Fingerprint of the contents of the dataset."""
    inputs: Inputs = Inputs()
    """What the inputs of the dataset are."""
    preprocess: Preprocess = NO_STEPS
    fold: Fold | None = None
    versions: dict[str, str]
    """Versions of Python and of the distributions that the model needs."""


class Trained(NamedTuple):
    """A trained model, with what is needed to judge and keep it."""

    model: Model
    fitted: Fitted
    held_out: Part
    measured: dict[str, Any]
    validation: Part | None = None
    """Rows to choose by."""


def run_job(
    spec: JobSpec,
    folder: Path,
    report: Callable[..., None],
    source: Path | None = None,
    phase: Phase = lambda _: None,
    write: Write | None = None,
    checkpoints: Place | None = None,
) -> dict[str, Any]:
    """Train or evaluate according to the spec, write the artifacts and return the metrics.

    Args:
        spec: The job.
        folder: Folder for the artifacts.
        report: Called with the progress of the training.
        source: Verified folder of the training, for an evaluation.
        phase: Called with the name of each phase when it starts.
        write: Called with the text files; by default they are written into the folder.
        checkpoints: Where checkpoints go; None to keep none.

    Returns:
        The metrics, as JSON.

    Raises:
        ZooError: The job is invalid or its data or artifact cannot be read.
        Exception: Any exception of the model.
    """
    write = write or functools.partial(_write, folder)
    chosen = settings.load()  # before the code of a model, which may change the environment
    phase("prepare")
    _seed(spec.seed)  # also for models that draw random numbers in __init__ or predict
    if spec.kind == "train":
        trained = _train(spec, folder, report, phase, write, checkpoints)
    else:
        trained = _restore_for(spec, source, write)
    model, fitted, held_out, measured, validation = trained
    phase("judge")
    labels = evaluation.targets(model, held_out.y)
    predictions = evaluation.predict(model, held_out.x)
    others = list(registry.catalogue().metrics.values())
    if validation is not None:
        measured |= evaluation.measure_validation(
            model, validation.x, validation.y, spec.positive, others
        )
    measured |= evaluation.measure(labels, predictions, model.class_names, spec.positive, others)
    measured["parameters"] = model.parameters()
    if len(model.input_shape) == 1:
        measured["inputs"] = "rows"  # else images, as in the metrics of the first version
    phase("save")
    provenance.keep(write, spec, held_out.fingerprint, again=True)
    if spec.kind == "train":
        measured["weights_bytes"] = None
        if spec.keep_weights:
            measured["weights_bytes"] = _save_weights(model, folder, chosen)
            preprocessing.save_steps(fitted, folder / STEPS)
    _save_predictions(folder, held_out.rows, labels, predictions)
    write(METRICS, _text(measured))
    saved_files.check_size(folder, chosen.artifact_mb)
    return measured


def restore(folder: Path) -> Model:
    """Load the trained model from the folder of a training job.

    Raises ArtifactError if the job kept no weights, or they do not match the recipe.
    """
    recipe = read_recipe(folder)
    model_class = registry.model(recipe.model)
    model = _build(model_class, recipe.params, recipe.class_names, recipe.seed, recipe.inputs)
    if not (folder / WEIGHTS).is_dir():
        raise ArtifactError("The job kept no weights.", "Train the model again and keep them.")
    saved_files.check_loadable(folder / WEIGHTS)
    model.load(folder / WEIGHTS)
    return model


def restore_steps(folder: Path) -> Fitted:
    """Load the fitted preprocessing steps of a trained model; raises ArtifactError."""
    return preprocessing.load_steps(read_recipe(folder).preprocess, folder / STEPS)


def _build(
    model_class: type[Model],
    params: Any,
    class_names: Sequence[str],
    seed: int,
    inputs: Inputs,
) -> Model:
    """A model that knows its inputs, not yet trained; params as JSON, or resolved."""
    if not isinstance(params, BaseModel):
        params = model_class.Params.resolve(params)
    model = model_class(params, class_names, seed)
    model.input_shape = inputs.input_shape
    model.feature_names = inputs.feature_names
    return model


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe from the folder of a training job.

    Raises ArtifactError if it is missing or damaged.
    """
    try:
        content = (folder / RECIPE).read_bytes()
        read_json(content)  # refuses NaN and names that stand twice
        return Recipe.model_validate_json(content)
    except (OSError, UsageError, ValidationError) as error:
        raise ArtifactError(f"{folder / RECIPE} is not a valid recipe: {reason(error)}.") from None


def _train(
    spec: JobSpec,
    folder: Path,
    report: Callable[..., None],
    phase: Phase,
    write: Write,
    place: Place | None,
) -> Trained:
    model_class = registry.model(spec.model)
    params = model_class.Params.resolve(spec.params)
    splits = _prepare(spec, model_class, report, spec.contents)
    data = splits["train"]
    provenance.keep(write, spec, data.fingerprint)
    provenance.keep_source(write, spec)
    for note in data.notes:
        log.warning("%s", note)
    takes.check(takes.Takes.of(model_class), data.meta, spec)
    takes.check_params(_param_needs(model_class), to_json(params), data.meta, spec)
    model = _build(model_class, params, data.class_names, spec.seed, data.meta)
    train, validation, held_out = parts.divide(spec, splits)
    fitted, x = preprocessing.fit_steps(spec.preprocess, train.x, model.dtype)
    held_out = held_out._replace(x=fitted.apply(held_out.x, model.dtype))
    if validation is not None:
        validation = validation._replace(x=fitted.apply(validation.x, model.dtype))
    labels = evaluation.targets(model, train.y)
    write(RECIPE, _text(_recipe(spec, model, data).model_dump(mode="json")))
    history = _History(report, model.can_stop)
    wanted = fit_arguments(model_class)
    checkpoint = None
    if place and "checkpoint" in wanted:
        checkpoint = _checkpoints(place, spec, data, history)
    given = {
        "validation": validation and (validation.x, evaluation.targets(model, validation.y)),
        "sample_weight": parts.sample_weight(spec, train, labels),
        "checkpoint": checkpoint,
    }
    model.folder = folder / FIT
    _seed(spec.seed)
    phase("fit")
    start = time.perf_counter()
    if checkpoint:
        checkpoint.began()
    with contextlib.suppress(Stop):
        model.fit(x, labels, history, **{name: given[name] for name in wanted})
    seconds = time.perf_counter() - start + (checkpoint.seconds_before if checkpoint else 0.0)
    write(HISTORY, _text(history.steps))
    measured = history.last() | history.end() | {"fit_seconds": seconds}
    if validation is not None:
        measured["n_validation"] = len(validation.y)
    return Trained(model, fitted, held_out, measured, validation)


def _param_needs(model_class: type[Model]) -> dict[str, dict[str, Any]]:
    """Return what each param adds to its JSON schema, which as a whole takes long to make."""
    found = {n: each.json_schema_extra for n, each in model_class.Params.model_fields.items()}
    return {name: extra for name, extra in found.items() if isinstance(extra, dict)}


def _checkpoints(place: Place, spec: JobSpec, data: Prepared, history: _History) -> Checkpoints:
    owner = registry.catalogue().owners[spec.model]
    key = provenance.fingerprint(spec, data.fingerprint, owner)
    environment = provenance.deciding(owner, spec.device)
    return Checkpoints(place, key, environment, history.steps, exact=spec.exact)


def _restore_for(spec: JobSpec, source: Path | None, write: Write) -> Trained:
    if source is None:
        raise UsageError("An evaluation needs the folder of a trained model.")
    recipe = read_recipe(source)
    asked = (spec.model, spec.preprocess, _resolved(spec.model, spec.params))
    # A param added to the plugin since the training has its default on both sides.
    if (recipe.model, recipe.preprocess, _resolved(recipe.model, recipe.params)) != asked:
        raise ArtifactError(
            f"The artifact contains '{recipe.model}' with other params than the evaluation's spec.",
            "Submit the evaluation again.",
        )
    model_class = registry.model(spec.model)
    # Of another dataset the contents of the training say nothing.
    own = recipe.fingerprint if spec.dataset == recipe.dataset else None
    data, notes = preprocessing.prepare_for(
        spec.dataset,
        spec.split,
        recipe.inputs,
        model_class,
        preprocess=spec.preprocess,
        contents=spec.contents or own,
    )
    provenance.keep(write, spec, data.fingerprint)
    provenance.keep_source(write, spec)
    trained_in = provenance.read_environment(source)
    other = provenance.loaded_by(trained_in, registry.catalogue().owners[spec.model])
    for note in [*notes, *([other] if other else [])]:
        log.warning("%s", note)
    # Classes are matched by name: the dataset may have fewer or other classes than the model.
    y = evaluation.renamed(data.y, data.class_names, recipe.class_names)
    model, fitted = restore(source), restore_steps(source)
    judged = parts.whole(data._replace(y=y))
    x = fitted.apply(judged.x, model.dtype)
    takes.check_no_missing(type(model), x, recipe.inputs.feature_names)
    return Trained(model, fitted, judged._replace(x=x), {})


def _resolved(model: str, params: dict[str, Any]) -> dict[str, Any]:
    return to_json(registry.model(model).Params.resolve(params))


def _prepare(
    spec: JobSpec,
    model_class: type[Model],
    report: Callable[..., None] | None = None,
    contents: str | None = None,
) -> dict[str, Prepared]:
    start = time.monotonic()

    def on_progress(what: str, done: int, total: int) -> None:
        # Most datasets are read and scaled in too little time to report.
        if report and time.monotonic() > start + REPORTED_SECONDS:
            # Nothing is learned yet: the training stops after its first report.
            with contextlib.suppress(Stop):
                report(done, total, what.rpartition(" ")[2].removesuffix("s"))

    if spec.contents:
        datasets.pinned(spec.dataset, on_progress, contents=spec.contents)
    splits = ["train"] if spec.fold else ["train", spec.split]
    wanted = (spec.dataset, splits, model_class.layout, model_class.dtype)
    found = prepare_splits(
        *wanted,
        on_progress,
        preprocess=spec.preprocess,
        contents=contents,
        optional=["validation"],
    )
    return dict(zip([*splits, "validation"], found, strict=False))


def _recipe(spec: JobSpec, model: Model, data: Prepared) -> Recipe:
    owner = registry.catalogue().owners[spec.model]
    return Recipe(
        model=spec.model,
        params=to_json(model.params),
        class_names=list(data.class_names),
        seed=spec.seed,
        dataset=spec.dataset,
        fingerprint=data.fingerprint,
        inputs=data.meta.inputs,
        preprocess=spec.preprocess,
        fold=spec.fold,
        versions=provenance.versions(owner),
    )


def _seed(seed: int) -> None:
    # Models that use the global generators are reproducible too, also in a warm process.
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)


def _save_weights(model: Model, folder: Path, chosen: settings.Settings) -> int:
    weights = folder / WEIGHTS
    weights.mkdir()
    saved_files.save(model.save, weights, chosen)
    images = evaluation.weight_images(model)
    if images is not None:
        import numpy as np

        shaped = images.reshape(len(images), *model.input_shape)
        np.save(folder / WEIGHT_IMAGES, shaped, allow_pickle=False)
    return sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())


def _save_predictions(
    folder: Path, rows: Array, labels: Array, predictions: evaluation.Predictions
) -> None:
    import numpy as np

    arrays = {"index": rows, "label": labels, "predicted": predictions.labels}
    if predictions.probabilities is not None:
        arrays["probabilities"] = predictions.probabilities.astype("float32")
    np.savez(folder / PREDICTIONS, allow_pickle=False, **arrays)


def _text(value: Any) -> str:
    return canonical(value) + "\n"


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


class _History:
    """Passes reports of a model on, and keeps the steps with metrics."""

    def __init__(self, report: Callable[..., None], can_stop: bool) -> None:
        self.steps: list[dict[str, Any]] = []
        self._report = report
        self._can_stop = can_stop
        self._is_stopped = False
        self._reason: str | None = None

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for name in sorted(values.keys() - finite.keys()):
            log.warning("%s is %s at %s %d: the training diverges.", name, values[name], unit, step)
        if values:
            kept = {name: finite.get(name) for name in values}
            self.steps.append({"step": step, "total": total, "unit": unit, **kept})
        try:
            self._report(step, total, unit, **finite)
        except Stop:
            # After its last step a training ends by itself, with the result of an undisturbed one.
            if self._can_stop and step < total:
                self._is_stopped = True
                raise

    def done(self, why: str) -> None:
        """Record that the training ends before its last step."""
        self._reason = " ".join(terminal_text.safe(str(why)).split())[:MAX_REASON]

    def end(self) -> dict[str, Any]:
        """Return how the training has ended, if before its last step, as metrics."""
        found: dict[str, Any] = {"stopped_early": True} if self._is_stopped else {}
        return found if self._reason is None else found | {"ended_early": self._reason}

    def last(self) -> dict[str, Any]:
        """Return the metrics of the last step with metrics."""
        last = self.steps[-1] if self.steps else {}
        return {name: last[name] for name in last.keys() - {"step", "total", "unit", *ENDS}}
