"""Recognize files whose loading can run code: pickles and HDF5, by their contents."""

from __future__ import annotations

import bz2
import contextlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from zoo.regular_file import open_regular_file

HEAD = 2**16
"""Bytes of a compressed file that are decompressed."""
MAX_HEAD = 2**20
"""Bytes that they may become."""
MAX_DEPTH = 3
"""Archives within archives that are opened."""
MAX_MEMBERS = 10_000
MAX_OPCODES = 100_000
"""Nothing but a pickle makes sense as one for so long."""
SOME_OPCODES = 1_000
"""The same, of a file that begins with a pickle's mark."""
FEW_OPCODES = 4
"""A file that begins with the mark of a pickle and this number of opcodes is one: joblib puts the
bytes of arrays, which are no opcodes, between them."""
MAX_STRING = 2**20
"""Bytes of one string in a pickle that are read; a longer one is no coincidence."""

SUFFIXES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
"""The names of pickles: what is called so is taken for one."""
PROTOCOLS = tuple(b"\x80" + bytes([number]) for number in range(2, 6))
NUMPY = b"\x93NUMPY"
HDF5 = b"\x89HDF\r\n\x1a\n"
HDF5_PLACES = (0, *(2**n for n in range(9, 21)))
"""Where the mark of an HDF5 file may stand (HDF5 File Format Specification 3.0, section II.A)."""
ZIP = b"PK\x03\x04"
DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    **{b"\x78" + bytes([level]): zlib.decompressobj for level in (0x01, 0x5E, 0x9C, 0xDA)},
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
    b"]\0\0": lzma.LZMADecompressor,
}
"""By how the file begins: joblib and pandas compress pickles with all of them."""


def find_unsafe(folder: Path) -> str:
    """Name the first file of a folder whose loading can run code, and what it is; else "".

    For example "model.pt/archive/data.pkl is a pickle". Raises OSError if one cannot be read.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open_regular_file(path) as file:
                found = find_in_file(file, path.relative_to(folder).as_posix())
            if found:
                return found
    return ""


def find_in_file(file: IO[bytes], name: str, depth: int = 0) -> str:
    """As `find_unsafe`, of one seekable file."""
    if name.endswith(SUFFIXES):
        return f"{name} is a pickle"
    start = file.read(16)
    if any(_starts(file, place, HDF5) for place in HDF5_PLACES):
        return f"{name} is an HDF5 file"
    if start.startswith(NUMPY):
        return f"{name} is an array of Python objects, a pickle" if _has_objects(file) else ""
    if start.startswith(ZIP) and depth < MAX_DEPTH:
        return _find_in_archive(file, name, depth)
    if _is_pickle(file):
        return f"{name} is a pickle"
    for mark, decompressor in DECOMPRESSORS.items():
        if start.startswith(mark) and depth < MAX_DEPTH:
            file.seek(0)
            # What only looks compressed is not.
            with contextlib.suppress(zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
                inside = decompressor().decompress(file.read(HEAD), MAX_HEAD)
                return find_in_file(io.BytesIO(inside), name, depth + 1)
    return ""


def _starts(file: IO[bytes], place: int, mark: bytes) -> bool:
    file.seek(place)
    return file.read(len(mark)) == mark


def _find_in_archive(file: IO[bytes], name: str, depth: int) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                return f"{name} is an archive of more than {MAX_MEMBERS} files"
            for member in members:
                if not member.is_dir():
                    with archive.open(member) as inside:
                        found = find_in_file(inside, f"{name}/{member.filename}", depth + 1)
                    if found:
                        return found
    # A damaged archive raises almost anything; loading it will report the error.
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ):
        pass
    return ""


def _has_objects(file: IO[bytes]) -> bool:
    import numpy as np

    file.seek(0)
    head = io.BytesIO(file.read(HEAD))
    form = np.lib.format
    with contextlib.suppress(ValueError, OSError, EOFError):
        readers: dict[Any, Any] = {
            (1, 0): form.read_array_header_1_0,
            (2, 0): form.read_array_header_2_0,
        }
        read = readers.get(form.read_magic(head), form.read_array_header_2_0)
        return bool(read(head, max_header_size=HEAD)[2].hasobject)
    return False


def _is_pickle(file: IO[bytes]) -> bool:
    """Take a file apart as a pickle, which runs nothing, for as long as that makes sense."""
    import pickletools

    file.seek(0)
    is_marked = file.read(2) in PROTOCOLS
    file.seek(0)
    lines = _Lines(SOME_OPCODES if is_marked else MAX_OPCODES)
    try:
        # It checks the stack, too: letters and digits alone often are opcodes.
        pickletools.dis(_Strings(file, lines), lines)  # type: ignore[arg-type]
    except _Enough:
        return True
    # Whatever is not one raises almost anything.
    except Exception:
        return is_marked and lines.count >= FEW_OPCODES
    # The old protocols have no mark: they are one if they are it to the end.
    return is_marked or not file.read(1)


class _Enough(BaseException):
    """No more need be read: it is a pickle."""


class _Lines(io.TextIOBase):
    """Counts the opcodes that are written to it, a line each."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self._most = most

    def write(self, text: str) -> int:
        self.count += text.endswith("\n")
        if self.count > self._most:
            raise _Enough
        return len(text)


class _Strings:
    """A file that reads no string of more than a megabyte."""

    def __init__(self, file: IO[bytes], opcodes: _Lines) -> None:
        self._file = file
        self._opcodes = opcodes
        self.tell = file.tell

    def readline(self) -> bytes:
        line = self._file.readline(MAX_STRING)
        if len(line) == MAX_STRING and self._opcodes.count >= FEW_OPCODES:
            raise _Enough
        return line

    def read(self, size: int) -> bytes:
        if size > MAX_STRING:
            place = self._file.tell()
            if self._file.seek(0, io.SEEK_END) - place >= size:
                raise _Enough
            raise ValueError("it ends before that")
        return self._file.read(size)
