"""IDX, the file format of MNIST: arrays of numbers, plain or gzipped, fully validated.

The format: two zero bytes, a byte for the type (8: unsigned byte), a byte for the number of
dimensions, each dimension as a big-endian 32-bit number, then the values, big-endian.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.cache import Progress
from zoo.data.incoming import Incoming
from zoo.data.readers import conversion
from zoo.data.readers.conversion import Form, Parts, Stored
from zoo.data.readers.idx_header import UNSIGNED_BYTE
from zoo.data.readers.idx_header import header as header
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError, reason
from zoo.model import Images
from zoo.regular_file import open_regular_file

if TYPE_CHECKING:
    import numpy as np

    from zoo.model import Array

GZIP = b"\x1f\x8b"

MAX_BYTES = 2 * 2**30
"""The most that an array in memory may hold."""

MAX_RATIO = 1032
"""What deflate can reach at best, as zlib's documentation states."""

CHUNK = 2**20

PARTS = {
    "train-images": 3,
    "train-labels": 1,
    "t10k-images": 3,
    "t10k-labels": 1,
}
"""The four files of a dataset, and the number of dimensions of each."""

PATTERN = re.compile(
    r".*(?P<split>train|test|t10k).*?(?P<role>image|label)s?[^a-z].*idx.*", re.IGNORECASE
)
MOST_NAMED = 6

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The types of values by their code in the header."""
MAX_LABEL_BYTES = 2**30
QMNIST_COLUMNS = 8
"""Labels of QMNIST are rows of 8 numbers of 32 bits, of which the first is the class."""


def sha256(*arrays: Array) -> str:
    """Return the hash of the concatenated IDX files that hold these arrays."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        digest.update(header(array.shape))
        digest.update(np.ascontiguousarray(array, "uint8").data)
    return digest.hexdigest()


def find(folder: Path, *, exact: bool = False) -> dict[str, Path]:
    """Find which of the four files are in the folder: named as those of MNIST, else by pattern.

    The pattern is `train`, `test` or `t10k`, then `images` or `labels`, then `idx`, with anything
    around them, as in `emnist-letters-train-images-idx3-ubyte.gz`; with `exact` it is not used.

    Raises DatasetError if several files fit one pattern.
    """
    found = {}
    for part, ndim in PARTS.items():
        names = [f"{part}{dot}idx{ndim}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
        file = next((folder / name for name in names if is_file(folder / name)), None)
        if file:
            found[part] = file
    if exact or found.keys() == PARTS.keys():
        return found
    matched: dict[str, dict[str, Path]] = {}
    with contextlib.suppress(OSError):
        for file in sorted(folder.iterdir()):
            match = PATTERN.fullmatch(file.name)
            if match and is_file(file):
                split = "train" if match["split"].lower() == "train" else "t10k"
                files = matched.setdefault(f"{split}-{match['role'].lower()}s", {})
                # The plain file, which sorts first, is used rather than the gzipped one.
                files.setdefault(file.name.lower().removesuffix(".gz"), file)
    for part, files in matched.items():
        if part in found:
            continue
        if len(files) > 1:
            split, _, role = part.replace("t10k", "test").partition("-")
            listed = ", ".join(file.name for file in list(files.values())[:MOST_NAMED])
            raise DatasetError(
                f"{folder} has several files of {split} {role}: {listed}.",
                "Put the files of one dataset into a folder of their own.",
            )
        found[part] = next(iter(files.values()))
    return {part: found[part] for part in PARTS if part in found}


def is_file(path: Path) -> bool:
    """True for a regular file: opening a pipe would wait forever."""
    try:
        return path.is_file()
    except OSError:
        return False


def load(folder: Path) -> dict[str, Images]:
    """Read the four files of MNIST in a folder into memory.

    Raises DatasetError if one is missing or damaged.
    """
    found = find(folder, exact=True)
    for part, ndim in PARTS.items():
        if part not in found:
            raise DatasetError(
                f"{folder} has no {part}-idx{ndim}-ubyte (or .gz).",
                "A dataset in IDX format has four files, named as those of MNIST.",
            )
    return splits(*(_read_file(found[part], ndim) for part, ndim in PARTS.items()))


def splits(
    train_images: Array, train_labels: Array, test_images: Array, test_labels: Array
) -> dict[str, Images]:
    """Pair the four arrays of a dataset."""
    return {"train": Images(train_images, train_labels), "test": Images(test_images, test_labels)}


def read(path: Path, options: SourceOptions, progress: Progress | None = None) -> Incoming:
    """Read the IDX files of a folder; of each split both files are needed.

    Args:
        path: The folder; see `find` for the names.
        options: `classes`, `size`, `grey`, `transpose`, `metric`; `test` and `validation` as
            folders.
        progress: Called while floats are checked.

    Raises DatasetError for anything but valid files with one meaning.
    """
    return conversion.read_files(FORM, path, options, progress)


def _parts(folder: Path) -> Parts:
    found = find(folder)
    inputs, labels, notes = {}, {}, []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        names = [f"{prefix}-images", f"{prefix}-labels"]
        if found and not any(name in found for name in names):
            continue
        for name in names:
            if name not in found:
                raise _missing(folder, name)
        images, targets = (found[name] for name in names)
        inputs[split] = _stored(images, f"{split} images")
        labels[split], note = _labels(targets)
        notes += [note] if note else []
    return Parts(inputs, labels, notes=tuple(notes))


def _missing(folder: Path, part: str) -> DatasetError:
    return DatasetError(
        f"{folder} has no {part}-idx{PARTS[part]}-ubyte (or .gz).",
        "A dataset in IDX format has two files for each split, named as those of MNIST.",
    )


def _labels(path: Path) -> tuple[Array, str]:
    import numpy as np

    stored = _stored(path, "labels")
    if math.prod(stored.shape) * stored.dtype.itemsize > MAX_LABEL_BYTES:
        raise DatasetError(f"{path} takes more than the {MAX_LABEL_BYTES:,} bytes for labels.")
    chunks = [*stored.chunks()]
    array = np.concatenate(chunks) if chunks else np.empty(stored.shape, stored.dtype)
    if array.ndim == 2 and array.shape[1] == QMNIST_COLUMNS and array.dtype == "int32":
        return array[:, 0], "The first of 8 columns of labels, the class, was read, as in QMNIST."
    return array, ""


def _stored(path: Path, name: str) -> Stored:
    """Check the header of a file; its values are read in chunks."""
    import numpy as np

    with _opened(path) as (stream, most):
        shape, kind = _read_header(stream)
        dtype = np.dtype(kind)
        if not shape:
            raise ValueError("it has no dimensions")
        total = math.prod(shape) * dtype.itemsize
        if total > most:
            raise ValueError(f"its header promises {total} bytes, more than it can hold")

    def chunks() -> Iterator[Array]:
        with _opened(path) as (stream, _):
            if _read_header(stream) != (shape, kind):
                raise ValueError("it has changed while it was read")
            yield from _rows(stream, shape, dtype)

    return Stored(name, shape, dtype.newbyteorder("="), chunks)


def _rows(stream: io.BufferedIOBase, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[Array]:
    """Read chunks of rows in native byte order, and check that nothing follows."""
    import numpy as np

    item = math.prod(shape[1:]) * dtype.itemsize
    step = conversion.rows_at_once(shape, dtype)
    # A row of no bytes: the header may promise any number of them.
    for start in range(0, shape[0] if item else 0, step):
        count = min(step, shape[0] - start)
        content = stream.read(count * item)
        if len(content) < count * item:
            done, total = start * item + len(content), shape[0] * item
            raise EOFError(f"it ends after {done} of {total} bytes")
        rows = np.frombuffer(content, dtype).reshape(count, *shape[1:])
        yield rows.astype(dtype.newbyteorder("="), copy=False)
    # Reading to the end also verifies the checksum of gzip.
    if stream.read(1):
        raise ValueError(f"it has more than the {shape[0] * item} bytes that its header promises")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """Open a file, gzipped or not, with the most bytes that it can hold."""
    try:
        stream = open_regular_file(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.") from None
    with stream, _refusals(str(path)), _unpacked(stream) as found:
        yield found


@contextlib.contextmanager
def _unpacked(stream: io.BufferedIOBase) -> Iterator[tuple[io.BufferedIOBase, int]]:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    gzipped = stream.read(2) == GZIP
    stream.seek(0)
    if not gzipped:
        yield stream, size
        return
    with gzip.GzipFile(fileobj=stream) as unpacked:
        yield unpacked, size * MAX_RATIO


@contextlib.contextmanager
def _refusals(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
        raise DatasetError(
            f"{name} is not a valid IDX file: {reason(error)}.",
            "Download or write it again, as those of MNIST: plain or gzipped.",
        ) from None


def read_array(stream: io.BufferedIOBase, ndim: int, name: str) -> Array:
    """Read one array, uint8 of `ndim` dimensions, from a seekable stream, gzipped or not.

    Raises DatasetError, with `name` for the stream, for anything but one valid IDX file.
    """
    with _refusals(name), _unpacked(stream) as (unpacked, most):
        return _parse(unpacked, ndim, most)


def _read_file(path: Path, ndim: int) -> Array:
    with _opened(path) as (stream, most):
        return _parse(stream, ndim, most)


def _parse(stream: io.BufferedIOBase, ndim: int, limit: int) -> Array:
    import numpy as np

    shape = _parse_header(stream, ndim)
    # Python's ints do not overflow, as numpy's would
    total = math.prod(shape)
    if total > min(limit, MAX_BYTES):
        raise ValueError(f"its header promises {total} bytes, more than it can hold")
    array = np.empty(total, np.uint8)
    view = array.data
    done = 0
    while done < total:
        count = stream.readinto(view[done : done + CHUNK])
        if not count:
            raise EOFError(f"it ends after {done} of {total} bytes")
        done += count
    # Reading to the end also verifies the checksum of gzip.
    if stream.read(1):
        raise ValueError(f"it has more than the {total} bytes that its header promises")
    return array.reshape(shape)


def _parse_header(stream: io.BufferedIOBase, ndim: int) -> tuple[int, ...]:
    shape, kind = _read_header(stream)
    if kind != TYPES[UNSIGNED_BYTE]:
        raise ValueError("its values are not unsigned bytes")
    if len(shape) != ndim:
        raise ValueError(f"it has {len(shape)} dimensions instead of {ndim}")
    return shape


def _read_header(stream: io.BufferedIOBase) -> tuple[tuple[int, ...], str]:
    """Read shape and type."""
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ValueError("it does not begin as one")
    if head[2] not in TYPES:
        raise ValueError(f"its values have the unknown type {head[2]:#04x}")
    ndim = head[3]
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise EOFError("it ends within its header")
    return struct.unpack(f">{ndim}I", sizes), TYPES[head[2]]


def unpack(content: bytes, ndim: int, name: str) -> Array:
    """Read one array from the bytes of an IDX file; as `read_array`."""
    return read_array(io.BytesIO(content), ndim, name)


FORM = Form(
    _parts, "dataset in IDX files", "Write its files again, as those of MNIST: plain or gzipped."
)
