"""IDX, the file format of MNIST: arrays of bytes, plain or gzipped, fully validated.

The format: two zero bytes, a byte for the type (8: unsigned byte), a byte for the number of
dimensions, each dimension as a big-endian 32-bit number, then the values.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import DatasetError, reason
from zoo.model import Images
from zoo.regular_file import open_regular_file

if TYPE_CHECKING:
    from zoo.model import Array

UNSIGNED_BYTE = 8
GZIP = b"\x1f\x8b"

MAX_BYTES = 2 * 2**30
"""The most that one array may hold."""

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


def header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an array of that shape."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, UNSIGNED_BYTE, len(shape), *shape)


def sha256(*arrays: Array) -> str:
    """Return the hash of the concatenated IDX files that hold these arrays."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        digest.update(header(array.shape))
        digest.update(np.ascontiguousarray(array, "uint8").data)
    return digest.hexdigest()


def find(folder: Path) -> dict[str, Path]:
    """Find which of the four files are in the folder, under any of their usual names."""
    found = {}
    for part, ndim in PARTS.items():
        names = [f"{part}{dot}idx{ndim}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
        file = next((folder / name for name in names if is_file(folder / name)), None)
        if file:
            found[part] = file
    return found


def is_file(path: Path) -> bool:
    """True for a regular file: opening a pipe would wait forever."""
    try:
        return path.is_file()
    except OSError:
        return False


def load(folder: Path) -> dict[str, Images]:
    """Read the four files of a folder, labels as bytes.

    Raises DatasetError if one is missing or damaged.
    """
    found = find(folder)
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


def read(stream: io.BufferedIOBase, ndim: int, name: str) -> Array:
    """Read one array, uint8 of `ndim` dimensions, from a seekable stream, gzipped or not.

    Raises DatasetError, with `name` for the stream, for anything but one valid IDX file.
    """
    try:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        gzipped = stream.read(2) == GZIP
        stream.seek(0)
        if not gzipped:
            return _parse(stream, ndim, size)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return _parse(unpacked, ndim, size * MAX_RATIO)
    except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
        raise DatasetError(
            f"{name} is not a valid IDX file: {reason(error)}.",
            "Download or write it again, as those of MNIST: unsigned bytes, plain or gzipped.",
        ) from None


def _read_file(path: Path, ndim: int) -> Array:
    try:
        stream = open_regular_file(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.") from None
    with stream:
        return read(stream, ndim, str(path))


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
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ValueError("it does not begin as one")
    if head[2] != UNSIGNED_BYTE:
        raise ValueError("its values are not unsigned bytes")
    if head[3] != ndim:
        raise ValueError(f"it has {head[3]} dimensions instead of {ndim}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise EOFError("it ends within its header")
    return struct.unpack(f">{ndim}I", sizes)


def unpack(content: bytes, ndim: int, name: str) -> Array:
    """Read one array from the bytes of an IDX file; as `read`."""
    return read(io.BytesIO(content), ndim, name)
