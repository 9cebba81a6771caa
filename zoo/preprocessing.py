"""From raw images to what models are given: scaled to [0, 1], made once per machine, shared."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from zoo import cache, datasets, plugins, settings
from zoo.cache import Progress
from zoo.datasets import SPLITS, Raw
from zoo.errors import unknown

if TYPE_CHECKING:
    from zoo.model import Array

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


@dataclass(frozen=True)
class Made:
    """A prepared variant of a dataset on this machine."""

    dtype: str
    path: Path
    size: int
    """Bytes."""


def prepare(
    name: str, split: str, layout: Layout, dtype: Dtype, progress: Progress | None = None
) -> Prepared:
    """Map one split of a dataset, prepared; made first where that was not yet done.

    Raises UsageError for an unknown dataset or split, DatasetError if it cannot be had.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    raw = datasets.raw(name, progress)
    x = _scaled(raw, dtype, progress)[split]
    if layout == "flat":
        x = x.reshape(len(x), -1)
    return Prepared(x, raw.splits[split].labels, raw.class_names, raw.fingerprint)


def prepare_all(
    name: str, dtypes: Collection[Dtype] | None = None, progress: Progress | None = None
) -> list[Made]:
    """Prepare a dataset ahead of its first job, by default as the models of this machine want it.

    Raises as `prepare` does.
    """
    if dtypes is None:
        dtypes = {model.dtype for model in plugins.catalogue().models.values()} or {"float32"}
    raw = datasets.raw(name, progress)
    for dtype in dtypes:
        _scaled(raw, dtype, progress)
    folders = {dtype: _folder(raw, dtype) for dtype in sorted(dtypes)}
    return [Made(dtype, path, cache.size(path)) for dtype, path in folders.items()]


def _scaled(raw: Raw, dtype: Dtype, progress: Progress | None) -> dict[str, Array]:
    """Both splits, (n, 28, 28)."""
    folder = _folder(raw, dtype)
    # A folder's name holds the fingerprint of its contents: what was mapped once stays true.
    if folder not in _mapped:
        while len(_mapped) >= MAPPED:
            del _mapped[next(iter(_mapped))]
        _mapped[folder] = _from_cache(folder, raw, dtype, progress)
    return _mapped[folder]


def _from_cache(
    folder: Path, raw: Raw, dtype: Dtype, progress: Progress | None
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
            parts = _scale(each.images, dtype, f"preparing {split} images", progress)
            cache.save(folder / f"{split}.npy", each.images.shape, dtype, parts)

    return cache.get(folder, load, fill, keep=_version(raw))


def _scale(images: Array, dtype: Dtype, what: str, progress: Progress | None) -> Iterator[Array]:
    for start in range(0, len(images), CHUNK):
        # Divided in float64 and only then rounded, as Keras rounds what it is given as x / 255.0.
        yield (images[start : start + CHUNK] / WHITE).astype(dtype, copy=False)
        if progress:
            progress(what, min(start + CHUNK, len(images)), len(images))


def _folder(raw: Raw, dtype: Dtype) -> Path:
    home = settings.load().cache / "prepared" / datasets.key(raw.name)
    return home / f"{_version(raw)}-{dtype}"


def _version(raw: Raw) -> str:
    return raw.fingerprint[:16]
