"""Datasets in one npz file: arrays by the names that people and libraries use, fully validated."""

from __future__ import annotations

import contextlib
import io
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.cache import Progress
from zoo.data.incoming import ALL, Incoming, Unusable
from zoo.data.readers import conversion, idx
from zoo.data.readers.conversion import Form, Parts, Stored
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError, reason
from zoo.model import Images
from zoo.regular_file import open_regular_file

if TYPE_CHECKING:
    import numpy as np

    from zoo.model import Array

MAX_HEADER = 2**17
"""Bytes of a .npy header, which says the type and the shape."""
MAX_LABEL_BYTES = 2**30
KEYS = ("x_train", "y_train", "x_test", "y_test")
"""The arrays of Keras's mnist.npz."""

SPLIT = "train|training|test|testing|val|valid|validation"
ROLE = "x|images?|imgs?|data|inputs?|y|labels?|targets?"
NAME = re.compile(
    rf"(?:(?P<split>{SPLIT})[_. -]?(?P<role>{ROLE})"
    rf"|(?P<role_first>{ROLE})[_. -]?(?P<split_last>{SPLIT})"
    rf"|(?P<alone>{ROLE}))"
)
"""The names of arrays, in lower case."""
LABELS = ("y", "label", "target")
FEATURE_NAMES = ("columns", "column_names", "feature_names")
CLASS_NAMES = ("class_names", "label_names", "target_names")
MOST_NAMED = 10
"""Number of arrays that one message names."""
HINT = (
    "Save it with numpy.savez_compressed(FILE, x_train=..., y_train=..., x_test=..., y_test=...), "
    "or without a split as x=..., y=..., or download it again."
)


@dataclass(frozen=True)
class _Array:
    """An array of the archive, by its header."""

    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool
    start: int
    """Bytes of the header."""


def read(path: Path, options: SourceOptions, progress: Progress | None = None) -> Incoming:
    """Read the arrays of an npz file.

    Args:
        path: The file; its arrays are named as those of Keras or MedMNIST, or `x` and `y`.
        options: `classes`, `size`, `grey`, `transpose`, `metric`; `test` and `validation` as
            files.
        progress: Called while floats are checked.

    Raises DatasetError for anything but a valid file with one meaning.
    """
    return conversion.read_files(FORM, path, options, progress)


def load(path: Path) -> dict[str, Images]:
    """Read images and labels of Keras's mnist.npz into memory, as they are.

    Raises DatasetError for anything but a valid npz file with the four arrays.
    """
    try:
        with _opened(path) as (archive, members):
            for key in KEYS:
                if key not in members:
                    raise ValueError(f"it has no {key}")
            if sum(members[key].file_size for key in KEYS) > idx.MAX_BYTES:
                raise ValueError(f"its arrays take more than {idx.MAX_BYTES} bytes")
            return idx.splits(*(_whole(archive, _header(archive, members[k])) for k in KEYS))
    # zipfile, zlib and numpy raise a dozen kinds of errors over foreign bytes.
    except Exception as error:
        raise DatasetError(
            f"{path} is not a valid npz file: {reason(error)}.",
            f"It must contain the arrays {', '.join(KEYS)}.",
        ) from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Open an archive and validate its directory before its contents are read."""
    with open_regular_file(path) as file, zipfile.ZipFile(file) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            key = info.filename.removesuffix(".npy")
            if key in members:
                raise ValueError(f"it holds {key} twice")
            members[key] = info
        if sum(info.compress_size for info in members.values()) > path.stat().st_size:
            raise ValueError("its directory promises more than the file holds")
        yield archive, members


def _parts(path: Path) -> Parts:
    with _opened(path) as (archive, members):
        inputs, labels, other = _by_role(members)
        feature_names = _names(archive, other, FEATURE_NAMES)
        class_names = _names(archive, other, CLASS_NAMES)
        stored = {split: _stored(path, archive, info) for split, info in inputs.items()}
        found = {split: _labels(archive, info) for split, info in labels.items()}
    if class_names and any(each.dtype.kind in "SU" for each in found.values()):
        class_names = None  # the labels are names already
    left = [key for key in other if key.lower() not in (*FEATURE_NAMES, *CLASS_NAMES)]
    notes = (f"Other arrays were not read: {_listed(left)}.",) if left else ()
    return Parts(stored, found, feature_names, class_names, notes)


def _by_role(
    members: Mapping[str, zipfile.ZipInfo],
) -> tuple[dict[str, zipfile.ZipInfo], dict[str, zipfile.ZipInfo], dict[str, zipfile.ZipInfo]]:
    """Sort the arrays into inputs by split, labels by split, and others by name."""
    inputs: dict[str, zipfile.ZipInfo] = {}
    labels: dict[str, zipfile.ZipInfo] = {}
    other: dict[str, zipfile.ZipInfo] = {}
    for key, info in members.items():
        match = NAME.fullmatch(key.lower())
        if not match:
            other[key] = info
            continue
        role = match["role"] or match["role_first"] or match["alone"]
        split = _split(match["split"] or match["split_last"] or "")
        found = labels if role.startswith(LABELS) else inputs
        if split in found:
            names = f"{_key(found[split])} and {key}"
            raise Unusable(f"{names} are two arrays for one purpose", "Save only one of them.")
        found[split] = info
    if not inputs or not labels:
        what = "labels" if inputs else "images"
        have = f"; it has {_listed(list(members))}" if members else ""
        raise Unusable(f"it has no array of {what}{have}", HINT)
    if ALL in inputs.keys() | labels.keys() and len(inputs.keys() | labels.keys()) > 1:
        raise Unusable(
            f"it has arrays with a split and without: {_listed([*map(_key, inputs.values())])}",
            "Save either x and y, or x_train, y_train, x_test and y_test.",
        )
    for split in inputs.keys() ^ labels.keys():
        info = inputs.get(split) or labels[split]
        what = "labels" if split in inputs else "images"
        raise Unusable(f"it has {_key(info)}, but no {split} {what} for it", HINT)
    return inputs, labels, other


def _split(word: str) -> str:
    if not word:
        return ALL
    return next(split for split in ("train", "test", "validation") if split[:3] == word[:3])


def _key(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
    return ", ".join(keys[:MOST_NAMED]) + more


def _names(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], keys: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Read names of columns or classes, if there are any."""
    for key, info in members.items():
        if key.lower() in keys:
            array = _labels(archive, info)
            if array.ndim != 1 or array.dtype.kind not in "SU":
                raise Unusable(
                    f"{key} is {array.dtype} {array.shape}, not a list of texts",
                    f"Save numpy.array({key}, str), or leave it out.",
                )
            texts = array.astype("U") if array.dtype.kind == "U" else _decoded(array, key)
            return tuple(texts.tolist())
    return None


def _decoded(array: Array, key: str) -> Array:
    import numpy as np

    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        raise Unusable(f"{key} has bytes that are no UTF-8", "Save texts.") from None


def _labels(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    if info.file_size > MAX_LABEL_BYTES:
        raise ValueError(f"{_key(info)} takes more than {MAX_LABEL_BYTES:,} bytes")
    return _whole(archive, _header(archive, info))


def _stored(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Stored:
    """Check the header of an array of inputs; its values are read in chunks."""
    first = _header(archive, info)

    def chunks() -> Iterator[Array]:
        with _opened(path) as (archive, members):
            now = _header(archive, members[_key(info)])
            if (now.shape, now.dtype) != (first.shape, first.dtype):
                raise ValueError("it has changed while it was read")
            yield from _rows(archive, now)

    return Stored(_key(info), first.shape, first.dtype.newbyteorder("="), chunks)


def _rows(archive: zipfile.ZipFile, array: _Array) -> Iterator[Array]:
    """Read chunks of rows in native byte order; an array in Fortran order is read as a whole."""
    import numpy as np

    native = array.dtype.newbyteorder("=")
    if array.is_fortran:
        if array.info.file_size > idx.MAX_BYTES:
            raise Unusable(
                f"{_key(array.info)} is in Fortran order and takes more than "
                f"{idx.MAX_BYTES:,} bytes",
                f"Save numpy.ascontiguousarray({_key(array.info)}).",
            )
        yield from conversion.in_memory("", _whole(archive, array).astype(native)).chunks()
        return
    item = math.prod(array.shape[1:]) * array.dtype.itemsize
    step = conversion.rows_at_once(array.shape, array.dtype)
    with archive.open(array.info) as stream:
        stream.read(array.start)
        # A row of no bytes: the header may promise any number of them.
        for start in range(0, array.shape[0] if item else 0, step):
            count = min(step, array.shape[0] - start)
            content = stream.read(count * item)
            if len(content) < count * item:
                raise EOFError(f"{_key(array.info)} is cut")
            rows = np.frombuffer(content, array.dtype).reshape(count, *array.shape[1:])
            yield rows.astype(native, copy=False)
        # Reading to the end also verifies the checksum.
        stream.read(1)


def _whole(archive: zipfile.ZipFile, array: _Array) -> Array:
    import numpy as np

    with archive.open(array.info) as stream:
        found: Array = np.lib.format.read_array(stream, allow_pickle=False)
        return found


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Array:
    """Read the header of an array, and check that its promise is what the member takes."""
    import numpy as np

    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} has a compression that npz files do not have")
    if info.file_size > max(info.compress_size, 1) * idx.MAX_RATIO:
        raise ValueError(f"{info.filename} promises more than it can hold")
    form = np.lib.format
    with archive.open(info) as stream:
        # Read no more of the stream: a header may claim a length of four gigabytes.
        head = io.BytesIO(stream.read(MAX_HEADER))
    version = form.read_magic(head)
    readers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its .npy version {version} is unknown")
    shape, is_fortran, dtype = readers[version](head)
    if dtype.hasobject:
        raise Unusable(
            f"there are Python objects in {_key(info)}, not numbers",
            f"Save numbers or texts: numpy.array({_key(info)}.tolist()).",
        )
    promised = head.tell() + math.prod(shape) * dtype.itemsize
    if promised != info.file_size or any(side < 0 for side in shape):
        raise ValueError(f"{info.filename} promises {promised} bytes and takes {info.file_size}")
    return _Array(info, shape, dtype, is_fortran and len(shape) > 1, head.tell())


FORM = Form(_parts, "npz file", HINT)
