"""Prepare raw images for models: scaled, deskewed on request, once per machine."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from zoo import settings
from zoo.data import cache, datasets
from zoo.data.cache import Progress
from zoo.data.datasets import SPLITS, Raw
from zoo.errors import ZooError, unknown
from zoo.job_spec import Preprocess
from zoo.plugins import registry

if TYPE_CHECKING:
    from zoo.model import Array, Model

Layout = Literal["flat", "image"]
Dtype = Literal["float32", "float64"]

WHITE = 255.0
MAPPED = 4
"""Variants that a process keeps mapped: a runner's next job then finds their pages in place."""
CHUNK = 1000
"""Images scaled at once: a few megabytes."""


_mapped: dict[Path, dict[str, Array]] = {}


class Prepared(NamedTuple):
    """One split of a dataset, ready for a model; the arrays are mapped read-only."""

    x: Array
    """(n, 784) or (n, 28, 28), from 0 to 1."""
    y: Array
    """int64 (n,)."""
    class_names: tuple[str, ...]
    fingerprint: str
    """Of the raw contents."""
    notes: tuple[str, ...] = ()
    """Warnings to print before a training."""


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
    preprocess: str = "none",
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
    preprocess: str = "none",
    contents: str | None = None,
) -> list[Prepared]:
    """Map several splits of the same contents, even if files are replaced meanwhile.

    `contents` as for `datasets.raw`. Raises as `prepare` does.
    """
    if strange := [each for each in splits if each not in SPLITS]:
        raise unknown("split", strange[0], SPLITS)
    check(preprocess)
    raw = datasets.raw(name, progress, contents=contents)
    images = _variant(raw, dtype, preprocess, progress)
    return [_prepared(raw, split, images[split], layout) for split in splits]


def _prepared(raw: Raw, split: str, x: Array, layout: Layout) -> Prepared:
    return Prepared(
        _laid_out(x, layout), raw.splits[split].labels, raw.class_names, raw.fingerprint, raw.notes
    )


def prepare_all(
    name: str,
    dtypes: Collection[Dtype] | None = None,
    progress: Progress | None = None,
    *,
    preprocess: str = "none",
) -> list[Made]:
    """Prepare a dataset before its first job, by default for all models of this machine.

    Raises as `prepare` does.
    """
    if dtypes is None:
        dtypes = {model.dtype for model in registry.catalogue().models.values()} or {"float32"}
    check(preprocess)
    raw = datasets.raw(name, progress)
    for dtype in dtypes:
        _variant(raw, dtype, preprocess, progress)
    folders = {dtype: _folder(raw, dtype, preprocess) for dtype in sorted(dtypes)}
    return [Made(dtype, preprocess, path, cache.size(path)) for dtype, path in folders.items()]


def scale(images: Array, dtype: Dtype, preprocess: str = "none") -> Array:
    """Prepare raw images, uint8 (n, 28, 28): from 0 to 1, deskewed on request."""
    # Divided in float64 and then rounded, as Keras does with x / 255.0.
    scaled = images / WHITE
    if preprocess == "deskew":
        scaled = deskew(scaled)
    return scaled.astype(dtype, copy=False)


def deskew(images: Array) -> Array:
    """Deskew images (n, height, width) from 0 to 1; returns the same shape, float64.

    Lines are shifted so that the principal axis closest to the vertical becomes vertical (LeCun et
    al. 1998, Gradient-based learning applied to document recognition, section III-A). The shear is
    the covariance of columns and rows over the variance of rows, both weighted by the pixels.
    MNIST has each digit's centre of mass in the middle of its images up to a pixel; here it comes
    there exactly.
    Raises ZooError where scipy, which comes with scikit-learn, is missing.
    """
    import numpy as np

    try:
        from scipy.ndimage import affine_transform
    except ModuleNotFoundError:
        raise ZooError("Deskewing needs scipy.", "pip install scikit-learn") from None
    middle = (np.array(images.shape[1:]) - 1) / 2
    upright = np.empty(images.shape)
    centres, shears = _moments(images)
    for target, image, centre, shear in zip(upright, images, centres, shears, strict=True):
        # From a place in the upright image to one in the slanted: (row, column).
        matrix = np.array([[1.0, 0.0], [shear, 1.0]])
        affine_transform(image, matrix, centre - matrix @ middle, output=target, order=1)
    return upright.clip(0, 1, out=upright)


def model_input(images: Array, model: Model, preprocess: str) -> Array:
    """Prepare raw images, (n, 28, 28) from 0 to 255, in the layout and dtype of a model."""
    return _laid_out(scale(images, model.dtype, preprocess), model.layout)


def _laid_out(x: Array, layout: Layout) -> Array:
    # Not reshape(len(x), -1), which fails without images.
    return x.reshape(len(x), math.prod(x.shape[1:])) if layout == "flat" else x


def check(preprocess: str) -> None:
    """Raise UsageError for an unknown preprocessing."""
    if preprocess not in get_args(Preprocess):
        raise unknown("preprocessing", preprocess, get_args(Preprocess))


def clear_mapped() -> None:
    """Forget the variants mapped by this process; the next use maps their files again."""
    _mapped.clear()


def _variant(
    raw: Raw, dtype: Dtype, preprocess: str, progress: Progress | None
) -> dict[str, Array]:
    """Both splits, (n, 28, 28)."""
    folder = _folder(raw, dtype, preprocess)
    # The name of a folder has the fingerprint of its contents: a mapping stays valid.
    if folder not in _mapped:
        while len(_mapped) >= MAPPED:
            del _mapped[next(iter(_mapped))]
        _mapped[folder] = _from_cache(folder, raw, dtype, preprocess, progress)
    return _mapped[folder]


def _from_cache(
    folder: Path, raw: Raw, dtype: Dtype, preprocess: str, progress: Progress | None
) -> dict[str, Array]:
    def load(folder: Path) -> dict[str, Array] | None:
        try:
            return {
                split: cache.mapped(folder / f"{split}.npy", each.images.shape, dtype)
                for split, each in raw.splits.items()
            }
        except (OSError, ValueError):
            return None

    def fill(folder: Path) -> None:
        for split, each in raw.splits.items():
            what = f"preparing {split} images"
            parts = _parts(each.images, dtype, preprocess, what, progress)
            cache.save(folder / f"{split}.npy", each.images.shape, dtype, parts)

    return cache.get(folder, load, fill, keep=_version(raw))


def _parts(
    images: Array, dtype: Dtype, preprocess: str, what: str, progress: Progress | None
) -> Iterator[Array]:
    for start in range(0, len(images), CHUNK):
        yield scale(images[start : start + CHUNK], dtype, preprocess)
        if progress:
            progress(what, min(start + CHUNK, len(images)), len(images))


def _folder(raw: Raw, dtype: Dtype, preprocess: str) -> Path:
    home = settings.cache() / "prepared" / datasets.key(raw.name)
    kind = dtype if preprocess == "none" else f"{preprocess}-{dtype}"
    return home / f"{_version(raw)}-{kind}"


def _version(raw: Raw) -> str:
    return raw.fingerprint[:16]


def _moments(images: Array) -> tuple[Array, Array]:
    """The centres of mass, (n, 2) as (row, column), and the shears, (n,) in columns per row."""
    import numpy as np

    rows, columns = (np.arange(float(size)) for size in images.shape[1:])
    mass = images.sum(axis=(1, 2))
    # An empty image has no centre: it stays empty.
    by_row = images.sum(axis=2) / np.where(mass > 0, mass, 1.0)[:, None]
    by_column = images.sum(axis=1) / np.where(mass > 0, mass, 1.0)[:, None]
    centres = np.stack([by_row @ rows, by_column @ columns], axis=1)
    away, aside = rows - centres[:, :1], columns - centres[:, 1:]
    variance = (by_row * away**2).sum(axis=1)
    mixed = np.einsum("nij,ni,nj->n", images, away, aside, optimize=True)
    # A single line of pixels has no slant.
    return centres, np.divide(mixed, variance * mass, out=np.zeros_like(mixed), where=variance > 0)
