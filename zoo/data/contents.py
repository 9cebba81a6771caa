"""The contents of a dataset on disk: inputs and labels of each split, and their description.

Images are uint8, or floats from 0 to 1, (n, height, width) or (n, height, width, 3). A table is
float64 (n, columns): a number, NaN if missing; or the index of a category, -1 if missing.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from zoo.canonical_json import canonical
from zoo.data import cache
from zoo.data.readers import idx_header
from zoo.job_spec import Sha256
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.model import Array

SPLITS = ("train", "test", "validation")
META_FILE = "meta.json"
MISSING = "missing"
"""The last part of the name of a feature that says that a category is missing."""
CHUNK = 2**20
"""Bytes read at once."""

Kind = Literal["image", "table"]


class Column(BaseModel):
    """A column of a table."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: str
    kind: Literal["number", "category"] = "number"
    categories: tuple[str, ...] = ()
    """The names of the categories 0, 1, ..., over all splits."""
    has_missing: bool = False
    """Whether a value is missing in any split."""

    @property
    def features(self) -> list[str]:
        """The names of the features that models see: one per category, or the column's own."""
        if self.kind == "number":
            return [self.name]
        names = [f"{self.name}={each}" for each in self.categories]
        return [*names, f"{self.name}={MISSING}"] if self.has_missing else names


class Inputs(BaseModel):
    """What the inputs of a dataset are; a trained model keeps this with its weights.

    The defaults are those of the first version, which knew images of 28 x 28 pixels alone.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    kind: Kind = "image"
    shape: tuple[int, ...] = (28, 28)
    """Shape of one input: (height, width) or (height, width, 3); of a table (columns,)."""
    dtype: Literal["uint8", "float32", "float64"] = "uint8"
    """The type of the inputs; images of floats are scaled from 0 to 1 already."""
    columns: tuple[Column, ...] = ()
    """The columns of a table."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input as models see it: of a table (features,)."""
        return (len(self.feature_names),) if self.kind == "table" else self.shape

    @functools.cached_property
    def feature_names(self) -> list[str]:
        """The features of a table; empty for images."""
        return [name for column in self.columns for name in column.features]

    @property
    def has_missing(self) -> bool:
        """Whether a number is missing somewhere, so that features can be NaN."""
        return any(each.has_missing and each.kind == "number" for each in self.columns)

    @property
    def unit(self) -> str:
        """The word for several inputs."""
        return "images" if self.kind == "image" else "rows"

    def describe_shape(self) -> str:
        """Describe the inputs, such as `28 x 28 grey` or `13 columns`."""
        if self.kind == "table":
            return counted(self.shape[0], "column")
        height, width, *channels = self.shape
        return f"{height} x {width} {'colour' if channels else 'grey'}"


class Meta(Inputs):
    """The contents of `meta.json`, which is written last."""

    name: str
    class_names: tuple[str, ...]
    """The names of the labels 0, 1, ...; each occurs in some split."""
    counts: dict[str, int] = Field(min_length=1)
    """Rows of each split."""
    weighted: tuple[str, ...] = ()
    """The splits whose rows have weights."""
    fingerprint: Sha256
    notes: tuple[str, ...] = ()
    """Warnings to print before a training, a sentence each."""
    conversions: tuple[str, ...] = ()
    """What was made of the files to read them, a sentence each; printed when they are read."""
    untrainable: str = ""
    """Why no model can be trained on it, such as a training split of one class."""
    metric: str = ""
    """The metric by which its owner judges models; empty for accuracy."""

    @property
    def splits(self) -> list[str]:
        """The splits that it has, in the order of SPLITS."""
        return [split for split in SPLITS if split in self.counts]

    @property
    def inputs(self) -> Inputs:
        """The description of the inputs alone."""
        return Inputs(**{name: getattr(self, name) for name in Inputs.model_fields})


class Rows(NamedTuple):
    """One split: inputs as in `Meta`, and labels, int64 (n,), indices into the class names."""

    inputs: Array
    labels: Array


@dataclass(frozen=True)
class Raw:
    """A dataset on this machine; its arrays are memory-mapped read-only."""

    name: str
    meta: Meta
    splits: Mapping[str, Rows]
    weights: Mapping[str, Array]
    """Weights of the rows, float64 (n,), of the splits that have some."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the labels 0, 1, ..."""
        return self.meta.class_names

    @property
    def fingerprint(self) -> str:
        """The hash of the contents, see `fingerprint_of`."""
        return self.meta.fingerprint

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings to print before a training."""
        return self.meta.notes


def inputs_file(split: str) -> str:
    """Return the name of the file with the inputs of a split."""
    return f"{split}-images.npy"  # the name that older caches have


def labels_file(split: str) -> str:
    """Return the name of the file with the labels of a split."""
    return f"{split}-labels.npy"


def weights_file(split: str) -> str:
    """Return the name of the file with the weights of the rows of a split."""
    return f"{split}-weights.npy"


def files_of(meta: Meta) -> list[str]:
    """Return the names of the files of contents, without `meta.json`."""
    arrays = [name for split in meta.splits for name in (inputs_file(split), labels_file(split))]
    return [*arrays, *(weights_file(split) for split in meta.weighted)]


def fingerprint_of(folder: Path, meta: Meta, digests: Mapping[str, str] | None = None) -> str:
    """Compute the fingerprint of contents from their files; its own in `meta` is not used.

    Args:
        folder: The folder of the arrays.
        meta: The description.
        digests: Hashes of arrays by file, if they are known; those files are not read.

    For grey images of 28 x 28 bytes in the two splits train and test it is the sha256 of the four
    IDX files that would hold them, concatenated, if the classes are named 0, 1, ..., n-1; with
    other names the hash of that and the names. For everything else it is the hash of the
    description and of the hash of each array. Raises OSError or ValueError if a file is damaged.
    """
    names, known = list(meta.class_names), digests or {}
    if has_idx_form(meta.kind, meta.shape, meta.dtype, meta.counts) and not meta.weighted:
        digest = _idx_digest(folder, meta)
        if names == [str(label) for label in range(len(names))]:
            return digest
        return hashlib.sha256(canonical([digest, names]).encode()).hexdigest()
    facts = {
        "format": 2,
        "kind": meta.kind,
        "shape": list(meta.shape),
        "dtype": meta.dtype,
        "columns": [column.model_dump(mode="json") for column in meta.columns],
        "class_names": names,
        "counts": meta.counts,
        "arrays": {
            name: known.get(name) or _digest(_values(folder / name)) for name in files_of(meta)
        },
    }
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def has_idx_form(kind: Kind, shape: tuple[int, ...], dtype: str, splits: Collection[str]) -> bool:
    """Return whether the fingerprint is that of the four IDX files, unless rows have weights."""
    is_form = (kind, shape, dtype) == ("image", (28, 28), "uint8")
    return is_form and set(splits) == {"train", "test"}


def _idx_digest(folder: Path, meta: Meta) -> str:
    digest = hashlib.sha256()
    for split in ("train", "test"):
        count = meta.counts[split]
        digest.update(idx_header.header((count, *meta.shape)))
        for part in _values(folder / inputs_file(split)):
            digest.update(part)
        digest.update(idx_header.header((count,)))
        for part in _values(folder / labels_file(split)):
            # int64 on disk, a byte in an IDX file
            digest.update(part[::8])
    return digest.hexdigest()


def _digest(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _values(file: Path) -> Iterator[bytes]:
    """Yield the bytes of an array without its header; read, not mapped, to bound the memory."""
    import numpy as np

    offset = np.lib.format.open_memmap(file, mode="r").offset
    with file.open("rb") as stream:
        stream.seek(offset)
        while part := stream.read(CHUNK):
            yield part


def write_meta(folder: Path, meta: Meta, digests: Mapping[str, str] | None = None) -> Meta:
    """Write `meta.json` with the fingerprint of the files in the folder; returns it so.

    `digests` are as in `fingerprint_of`. Raises OSError.
    """
    fingerprint = fingerprint_of(folder, meta, digests)
    sealed = meta.model_copy(update={"fingerprint": fingerprint})
    (folder / META_FILE).write_text(sealed.model_dump_json())
    return sealed


def read_meta(folder: Path) -> Meta | None:
    """Read `meta.json`; None if it is missing or damaged."""
    try:
        return Meta.model_validate_json((folder / META_FILE).read_bytes())
    except (OSError, ValueError):
        return None


def open_contents(folder: Path, name: str | None = None) -> Raw | None:
    """Map the files of a folder; None if one is missing, damaged or of another dataset.

    Args:
        folder: A folder with `meta.json` and the arrays.
        name: The name that `meta.json` must have; None for any.
    """
    try:
        own = _stamp(folder / META_FILE)
        meta = _meta(str(folder), own)
        if name not in (None, meta.name):
            return None
        return _mapped(str(folder), (own, *(_stamp(folder / file) for file in files_of(meta))))
    except (OSError, ValueError, KeyError):
        return None


def _stamp(file: Path) -> tuple[int, int, int]:
    now = file.stat()
    return now.st_size, now.st_mtime_ns, now.st_ctime_ns


@functools.lru_cache(maxsize=4)
def _meta(folder: str, stamp: tuple[int, int, int]) -> Meta:
    """Return `meta.json` of a folder, read once while it is the same file."""
    del stamp  # part of the cache key
    return Meta.model_validate_json((Path(folder) / META_FILE).read_bytes())


@functools.lru_cache(maxsize=4)
def _mapped(folder: str, stamps: tuple[tuple[int, int, int], ...]) -> Raw:
    """The mapped arrays, shared by the jobs of a warm runner while the files are the same."""
    home = Path(folder)
    meta = _meta(folder, stamps[0])
    splits = {
        split: Rows(
            cache.mapped(home / inputs_file(split), (count, *meta.shape), meta.dtype),
            cache.mapped(home / labels_file(split), (count,), "int64"),
        )
        for split, count in meta.counts.items()
    }
    weights = {
        split: cache.mapped(home / weights_file(split), (meta.counts[split],), "float64")
        for split in meta.weighted
    }
    return Raw(meta.name, meta, splits, weights)


def encode(values: Array, columns: Sequence[Column]) -> Array:
    """Encode rows of a table as features: numbers as they are, categories one-hot.

    A missing category is zeros, and 1 in the feature `COLUMN=missing` if the column has one.

    Args:
        values: float64 (n, columns), as in `Meta`.
        columns: The columns.

    Returns:
        float64 (n, features); `values` itself if every column is a number.
    """
    import numpy as np

    if all(column.kind == "number" for column in columns):
        return values
    features = np.zeros((len(values), sum(len(each.features) for each in columns)))
    start = index = 0
    for kind, group in itertools.groupby(columns, lambda column: column.kind):
        together = list(group)
        if kind == "number":
            # All at once: column by column takes four times as long.
            many = len(together)
            features[:, start : start + many] = values[:, index : index + many]
            start += many
        else:
            for place, column in enumerate(together, index):
                width = len(column.features)
                _set_one_hot(features[:, start : start + width], values[:, place], column)
                start += width
        index += len(together)
    return features


def _set_one_hot(part: Array, given: Array, column: Column) -> None:
    """Set to 1 the feature of the category of each row, of zeros (n, features of the column)."""
    import numpy as np

    # -1, a missing one, is the last feature if the column has one for it.
    present = given >= 0 if not column.has_missing else np.ones(len(given), bool)
    part[np.flatnonzero(present), given[present].astype("int64")] = 1.0


def size_of(meta: Meta) -> int:
    """Return the bytes that the arrays take."""
    import numpy as np

    item = math.prod(meta.shape) * np.dtype(meta.dtype).itemsize + 8
    weighted = sum(meta.counts[split] for split in meta.weighted)
    return sum(meta.counts.values()) * item + 8 * weighted
