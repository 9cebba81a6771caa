"""Datasets in one npz file, with the keys of Keras's mnist.npz, fully validated."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zoo.data import idx
from zoo.errors import DatasetError, reason
from zoo.model import Images
from zoo.regular_file import open_regular_file

if TYPE_CHECKING:
    from zoo.model import Array

MAX_HEADER = 2**17
"""Bytes of a .npy header, which says the type and the shape."""
KEYS = ("x_train", "y_train", "x_test", "y_test")


def load(path: Path) -> dict[str, Images]:
    """Read images and labels of both splits.

    Raises DatasetError for anything but a valid npz file with the four arrays.
    """
    try:
        with open_regular_file(path) as file, zipfile.ZipFile(file) as archive:
            members = _members(archive, path.stat().st_size)
            return idx.splits(*(_array(archive, members[key]) for key in KEYS))
    # zipfile, zlib and numpy raise a dozen kinds of errors over foreign bytes.
    except Exception as error:
        raise DatasetError(
            f"{path} is not a valid npz file: {reason(error)}.",
            f"It must contain the arrays {', '.join(KEYS)}.",
        ) from None


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Validate the directory of the archive before reading its contents."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if key in members:
            raise ValueError(f"it holds {key} twice")
        members[key] = info
    for key in KEYS:
        if key not in members:
            raise ValueError(f"it has no {key}")
    chosen = {key: members[key] for key in KEYS}
    if sum(info.compress_size for info in chosen.values()) > size:
        raise ValueError("its directory promises more than the file holds")
    if sum(info.file_size for info in chosen.values()) > idx.MAX_BYTES:
        raise ValueError(f"its arrays take more than {idx.MAX_BYTES} bytes")
    for info in chosen.values():
        _check_member(info)
    return chosen


def _check_member(info: zipfile.ZipInfo) -> None:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} has a compression that npz files do not have")
    if info.file_size > max(info.compress_size, 1) * idx.MAX_RATIO:
        raise ValueError(f"{info.filename} promises more than it can hold")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    import numpy as np

    with archive.open(info) as stream:
        promised = _promised(stream)
        if promised != info.file_size:
            raise ValueError(
                f"{info.filename} promises {promised} bytes and takes {info.file_size}"
            )
    with archive.open(info) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
        return array


def _promised(stream: IO[bytes]) -> int:
    """The length of a whole .npy file according to its header."""
    import numpy as np

    form = np.lib.format
    # Read no more of the stream: a header may claim a length of four gigabytes.
    head = io.BytesIO(stream.read(MAX_HEADER))
    version = form.read_magic(head)
    readers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its .npy version {version} is unknown")
    shape, _, dtype = readers[version](head)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, not numbers")
    return head.tell() + math.prod(shape) * dtype.itemsize
