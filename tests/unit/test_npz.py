"""Datasets in npz files: Keras's form is read, and everything else is refused in a sentence."""

from __future__ import annotations

import contextlib
import io
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.readers import npz
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError

IMAGES = np.arange(3 * 28 * 28, dtype="uint8").reshape(3, 28, 28)
LABELS = np.array([0, 1, 2], "uint8")
ARRAYS = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:1], "y_test": LABELS[:1]}


def packed(**others: object) -> bytes:
    """An npz file, members replaced: by an array, by bytes, or (None) left out."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in (ARRAYS | others).items():
            if isinstance(value, bytes):
                archive.writestr(f"{key}.npy", value)
            elif value is not None:
                archive.writestr(f"{key}.npy", npy(value))
    return file.getvalue()


def npy(value: object) -> bytes:
    member = io.BytesIO()
    np.save(member, np.asarray(value), allow_pickle=True)
    return member.getvalue()


def forged(shape: str, descr: str = "'|u1'", body: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def encrypted() -> bytes:
    content = bytearray(packed())
    # The flags, in the first entry of the directory.
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def with_method(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for key, array in ARRAYS.items():
            archive.writestr(f"{key}.npy", npy(array))
    return file.getvalue()


def promising(size: int, packed_size: int | None = None) -> bytes:
    """An npz file whose directory claims these sizes for the first array."""
    content = bytearray(packed())
    at = content.index(b"PK\x01\x02") + 20
    if packed_size is not None:
        content[at : at + 4] = struct.pack("<I", packed_size)
    content[at + 4 : at + 8] = struct.pack("<I", size)
    return bytes(content)


def twice() -> bytes:
    file = io.BytesIO(packed())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("x_train.npy", npy(IMAGES))
    return file.getvalue()


def read_all(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The inputs and labels of each split, read to the end."""
    found = npz.read(path, SourceOptions())
    return {
        split: (np.concatenate([*chunks()]), found.labels[split])
        for split, chunks in found.inputs.items()
    }


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not a zip file"),
    "garbage": (lambda: b"garbage" * 99, "not a zip file"),
    "truncated": (lambda: packed()[:-30], "not a zip file"),
    "no such member": (lambda: packed(y_test=None), "has no y_test|has x_test, but no test labels"),
    "a member twice": (twice, "it holds x_train twice"),
    "not an array": (lambda: packed(x_train=b"just text"), "magic string"),
    "empty member": (lambda: packed(x_train=b""), "magic string|EOF"),
    "python objects": (lambda: packed(x_train=np.array([{}, []], object)), "Python objects"),
    "72.8 TiB": (lambda: packed(x_train=forged("(80000000000000,)")), "promises 8000000000"),
    "dims overflow": (lambda: packed(x_train=forged("(4294967296, 4294967296)")), "promises 1844"),
    "negative dims": (lambda: packed(x_train=forged("(-1, 28, 28)")), "promises"),
    "huge header": (lambda: packed(x_train=forged("(" + "1," * 30000 + ")")), "Header info"),
    "code in the header": (lambda: packed(x_train=forged("print('x')")), "malformed"),
    "odd version": (lambda: packed(x_train=b"\x93NUMPY\x09\x00" + bytes(99)), "version"),
    "encrypted": (encrypted, "is encrypted"),
    "bzip2": (lambda: with_method(zipfile.ZIP_BZIP2), "a compression that npz"),
    "lzma": (lambda: with_method(zipfile.ZIP_LZMA), "a compression that npz"),
    "too large": (lambda: promising(2**32 - 2), "take more than|promises more"),
    "bomb": (lambda: promising(2**30), "promises more than it can hold"),
    "packed bomb": (lambda: promising(2**30, 2**29), "more than the file holds"),
    "cut array": (lambda: packed(x_train=npy(IMAGES)[:-1]), "promises 2480 bytes and takes 2479"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_damaged_or_hostile_npz_file_is_refused_in_a_sentence(case: str, tmp_path: Path) -> None:
    build, words = HOSTILE[case]
    path = tmp_path / "data.npz"
    path.write_bytes(build())
    for read in (npz.load, read_all):
        with pytest.raises(DatasetError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.hint


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saved_is_read(save: Callable[..., None], tmp_path: Path) -> None:
    save(tmp_path / "data.npz", extra=np.ones(3), **ARRAYS)
    found = npz.load(tmp_path / "data.npz")
    assert np.array_equal(found["train"].images, IMAGES)
    assert np.array_equal(found["test"].labels, LABELS[:1])


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_flipped_bytes_and_cuts_give_the_same_arrays_or_a_dataset_error(
    data: st.DataObject,
) -> None:
    sound = packed()
    content = bytearray(sound)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(sound) - 1))] ^= data.draw(st.integers(1, 255))
    del content[data.draw(st.one_of(st.just(len(sound)), st.integers(0, len(sound)))) :]
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        Path(file.name).write_bytes(content)
        for read in (npz.load, read_all):
            with contextlib.suppress(DatasetError):
                assert np.array_equal(read(Path(file.name))["train"][0], IMAGES)
