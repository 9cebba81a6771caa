"""Prepare raw inputs for models: scaled or encoded once per machine, steps fitted in the job."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from zoo import settings
from zoo.data import cache, columns, contents, datasets, steps
from zoo.data.cache import Progress
from zoo.data.contents import SPLITS, Inputs, Meta, Raw
from zoo.errors import DatasetError, UsageError, unknown
from zoo.job_spec import NO_STEPS
from zoo.model import Step
from zoo.plugins import registry

if TYPE_CHECKING:
    from zoo.model import Array, Model

Layout = Literal["flat", "image"]
Dtype = Literal["float32", "float64"]

WHITE = 255.0
MAPPED = 4
"""Variants that a process keeps mapped: a runner's next job then finds their pages in place."""
CHUNK_BYTES = 8 * 28 * 28 * 1000
"""Bytes of float64 that are prepared at once: a thousand images of MNIST, no more and no less.

How `deskew` rounds the last bit of an image depends on the images beside it.
"""


_mapped: dict[Path, dict[str, Array]] = {}


class Prepared(NamedTuple):
    """One split of a dataset, ready for a model; the arrays are mapped read-only."""

    x: Array
    """(n, features), or for the layout "image" (n, height, width) or (n, height, width, 3).

    Images are scaled from 0 to 1. float64 if `steps` have to be fitted."""
    y: Array
    """int64 (n,)."""
    weights: Array | None
    """Weights of the rows, float64 (n,), if the dataset has some."""
    meta: Meta
    """Description of the raw contents."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the labels 0, 1, ..."""
        return self.meta.class_names

    @property
    def fingerprint(self) -> str:
        """The hash of the raw contents."""
        return self.meta.fingerprint

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings to print before a training."""
        return self.meta.notes


@dataclass(frozen=True)
class Fitted:
    """The steps of a trained model that learn, with what they have learned."""

    steps: Sequence[Step] = ()
    learned: Sequence[Mapping[str, Array]] = ()

    def apply(self, x: Array, dtype: Dtype) -> Array:
        """Transform prepared inputs of any layout; returns the same shape in the model's dtype."""
        if self.steps:
            flat = steps.apply(self.steps, self.learned, _laid_out(x, "flat"))
            x = flat.reshape(x.shape)
        return x.astype(dtype, copy=False)


@dataclass(frozen=True)
class Made:
    """A prepared variant of a dataset on this machine."""

    dtype: str
    preprocess: str
    path: Path
    size: int
    """Bytes."""


def prepare(
    name: str,
    split: str,
    layout: Layout,
    dtype: Dtype,
    progress: Progress | None = None,
    *,
    preprocess: str = NO_STEPS,
) -> Prepared:
    """Map one prepared split of a dataset; prepare it first if necessary.

    Raises UsageError for an unknown dataset, split or preprocessing, DatasetError if the dataset
    is missing or damaged.
    """
    return prepare_splits(name, [split], layout, dtype, progress, preprocess=preprocess)[0]


def prepare_splits(
    name: str,
    splits: Sequence[str],
    layout: Layout,
    dtype: Dtype,
    progress: Progress | None = None,
    *,
    preprocess: str = NO_STEPS,
    contents: str | None = None,
    optional: Sequence[str] = (),
) -> list[Prepared]:
    """Map several splits of the same contents, even if files are replaced meanwhile.

    `contents` as for `datasets.raw`. The `optional` splits follow if the dataset has them. Steps
    that learn are not applied: see `fit_steps`. Raises as `prepare` does.
    """
    if strange := [each for each in splits if each not in SPLITS]:
        raise unknown("split", strange[0], SPLITS)
    once, learning = steps.split_chain(preprocess)
    raw = datasets.raw(name, progress, contents=contents)
    _check_splits(raw, splits)
    _check_takes(raw, steps.chain(preprocess))
    # Fitted in float64, as scikit-learn does, whatever the model takes.
    inputs = _variant(raw, "float64" if learning else dtype, once, progress)
    present = [*splits, *(each for each in optional if each in raw.splits)]
    return [_prepared(raw, split, inputs[split], layout) for split in present]


def prepare_for(
    name: str,
    split: str,
    trained: Inputs,
    model: type[Model],
    *,
    preprocess: str = NO_STEPS,
    contents: str | None = None,
) -> tuple[Prepared, list[str]]:
    """Prepare one split for a trained model: columns and categories are those of its training.

    Args:
        name: Name of the dataset.
        split: Name of the split.
        trained: The inputs that the model was trained on.
        model: Its class.
        preprocess: Its chain; steps that learn are not applied.
        contents: As for `datasets.raw`.

    Returns:
        The split, and a sentence for each column with categories that the training did not have.

    Raises:
        UsageError: The inputs are of another shape, or a column is missing; and as `prepare` does.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    raw = datasets.raw(name, contents=contents)
    _check_splits(raw, [split])
    columns.check_same(trained, raw.meta)
    if raw.meta.columns == trained.columns:
        wanted = (name, [split], model.layout, model.dtype)
        return prepare_splits(*wanted, preprocess=preprocess, contents=raw.fingerprint)[0], []
    once, learning = steps.split_chain(preprocess)
    values, notes = columns.recode(raw.splits[split].inputs, raw.meta.columns, trained.columns)
    x = scale(values, trained, "float64" if learning else model.dtype, once)
    return _prepared(raw, split, x, model.layout), notes


def _check_splits(raw: Raw, splits: Sequence[str]) -> None:
    if "train" in splits and raw.meta.untrainable:
        raise DatasetError(
            f"No model can be trained on the dataset '{raw.name}': {raw.meta.untrainable}.",
            "Training needs at least two classes.",
        )
    for split in splits:
        if split not in raw.splits:
            raise UsageError(
                f"The dataset '{raw.name}' has no split '{split}', only {' and '.join(raw.splits)}."
            )


def _check_takes(raw: Raw, chain: Sequence[Step]) -> None:
    for step in chain:
        if raw.meta.kind not in step.takes:
            raise UsageError(
                f"The preprocessing step '{step.name}' takes no {raw.meta.kind}s, but "
                f"'{raw.name}' has {raw.meta.describe_shape()}.",
                "Leave it out of --preprocess.",
            )


def _prepared(raw: Raw, split: str, x: Array, layout: Layout) -> Prepared:
    weights = raw.weights.get(split)
    return Prepared(_laid_out(x, layout), raw.splits[split].labels, weights, raw.meta)


def fit_steps(preprocess: str, x: Array, dtype: Dtype) -> tuple[Fitted, Array]:
    """Fit the steps of a chain that learn on the training rows of a job.

    Args:
        preprocess: The chain.
        x: Prepared inputs of the training rows, in any layout.
        dtype: What the model takes.

    Returns:
        The fitted steps, and `x` transformed, of the same shape and of the type `dtype`.

    Raises:
        PluginError: A step breaks its contract.
    """
    _, learning = steps.split_chain(preprocess)
    if not learning:
        return Fitted(), x
    learned, flat = steps.fit(learning, _laid_out(x, "flat"))
    return Fitted(learning, learned), flat.reshape(x.shape).astype(dtype, copy=False)


def load_steps(preprocess: str, folder: Path) -> Fitted:
    """Load the fitted steps of a trained model from its folder; raises ArtifactError."""
    _, learning = steps.split_chain(preprocess)
    return Fitted(learning, steps.load(folder, learning)) if learning else Fitted()


def save_steps(fitted: Fitted, folder: Path) -> None:
    """Write the fitted steps of a model into a new folder, if there are any."""
    if fitted.steps:
        steps.save(folder, fitted.steps, [dict(each) for each in fitted.learned])


def prepare_all(
    name: str,
    dtypes: Collection[Dtype] | None = None,
    progress: Progress | None = None,
    *,
    preprocess: str = NO_STEPS,
    contents: str | None = None,
) -> list[Made]:
    """Prepare a dataset before its first job, by default for all models of this machine.

    Raises as `prepare` does.
    """
    if dtypes is None:
        dtypes = {model.dtype for model in registry.catalogue().models.values()} or {"float32"}
    once, learning = steps.split_chain(preprocess)
    if learning:
        dtypes = {"float64"}
    raw = datasets.raw(name, progress, contents=contents)
    _check_takes(raw, steps.chain(preprocess))
    for dtype in dtypes:
        _variant(raw, dtype, once, progress)
    folders = {dtype: _folder(raw, dtype, once) for dtype in sorted(dtypes)}
    return [Made(dtype, once, path, cache.size(path)) for dtype, path in folders.items()]


def scale(inputs: Array, about: Inputs, dtype: Dtype, preprocess: str = NO_STEPS) -> Array:
    """Prepare raw inputs: images from 0 to 1, tables encoded as features.

    `preprocess` is a chain of steps that learn nothing.
    """
    if about.kind == "table":
        x = contents.encode(inputs, about.columns)
    elif about.dtype == "uint8":
        # Divided in float64 and then rounded, as Keras does with x / 255.0.
        x = inputs / WHITE
    else:
        x = inputs.astype("float64", copy=False)
    for step in steps.chain(preprocess):
        x = steps.apply([step], [{}], x)
    return x.astype(dtype, copy=False)


def model_input(
    inputs: Array, about: Inputs, model: Model, preprocess: str, fitted: Fitted
) -> Array:
    """Prepare raw inputs in the layout and dtype of a trained model."""
    once, learning = steps.split_chain(preprocess)
    x = scale(inputs, about, "float64" if learning else model.dtype, once)
    return _laid_out(fitted.apply(x, model.dtype), model.layout)


def _laid_out(x: Array, layout: Layout) -> Array:
    # Not reshape(len(x), -1), which fails without inputs.
    return x.reshape(len(x), math.prod(x.shape[1:])) if layout == "flat" else x


def check(preprocess: str) -> None:
    """Raise UsageError for an unknown preprocessing step."""
    steps.chain(preprocess)


def clear_mapped() -> None:
    """Forget the variants mapped by this process; the next use maps their files again."""
    _mapped.clear()


def _variant(
    raw: Raw, dtype: Dtype, preprocess: str, progress: Progress | None
) -> Mapping[str, Array]:
    """The prepared inputs of every split."""
    if raw.meta.dtype == dtype and preprocess == NO_STEPS and _is_prepared(raw.meta):
        return {split: rows.inputs for split, rows in raw.splits.items()}
    folder = _folder(raw, dtype, preprocess)
    # The name of a folder has the fingerprint of its contents: a mapping stays valid.
    if folder not in _mapped:
        while len(_mapped) >= MAPPED:
            del _mapped[next(iter(_mapped))]
        _mapped[folder] = _from_cache(folder, raw, dtype, preprocess, progress)
    return _mapped[folder]


def _is_prepared(about: Inputs) -> bool:
    """Whether raw inputs are what models see: floats already scaled, or numbers alone."""
    return about.dtype != "uint8" and all(each.kind == "number" for each in about.columns)


def _from_cache(
    folder: Path, raw: Raw, dtype: Dtype, preprocess: str, progress: Progress | None
) -> dict[str, Array]:
    shapes = {split: (count, *raw.meta.input_shape) for split, count in raw.meta.counts.items()}

    def load(folder: Path) -> dict[str, Array] | None:
        try:
            return {
                split: cache.mapped(folder / f"{split}.npy", shape, dtype)
                for split, shape in shapes.items()
            }
        except (OSError, ValueError):
            return None

    def fill(folder: Path) -> None:
        for split, rows in raw.splits.items():
            what = f"preparing {split} {raw.meta.unit}"
            parts = _parts(rows.inputs, raw.meta, dtype, preprocess, what, progress)
            cache.save(folder / f"{split}.npy", shapes[split], dtype, parts)

    return cache.get(folder, load, fill, keep=_version(raw))


def _parts(
    inputs: Array,
    about: Inputs,
    dtype: Dtype,
    preprocess: str,
    what: str,
    progress: Progress | None,
) -> Iterator[Array]:
    rows = max(1, CHUNK_BYTES // (8 * max(1, math.prod(about.input_shape))))
    for start in range(0, len(inputs), rows):
        yield scale(inputs[start : start + rows], about, dtype, preprocess)
        if progress:
            progress(what, min(start + rows, len(inputs)), len(inputs))


def _folder(raw: Raw, dtype: Dtype, preprocess: str) -> Path:
    home = settings.cache() / "prepared" / datasets.key(raw.name)
    kind = dtype if preprocess == NO_STEPS else f"{preprocess.replace(',', '-')}-{dtype}"
    return home / f"{_version(raw)}-{kind}"


def _version(raw: Raw) -> str:
    return raw.fingerprint[:16]
