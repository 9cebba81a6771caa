"""Pickles and HDF5 are told by what is in them, wherever they are packed; nothing else is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.storage.file_formats import HDF5, find_in_file, find_unsafe

pytestmark = pytest.mark.slow

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each) | st.tuples(each, each),
    max_leaves=20,
)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=20,
)


def zipped(content: bytes, name: str = "member") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first.json", "{}")
        archive.writestr(name, content)
    return file.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda content: content,
    "zip": zipped,
    "zip in a zip": lambda content: zipped(zipped(content)),
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "gzip in a zip": lambda content: zipped(gzip.compress(content)),
}


def found(content: bytes, name: str = "file") -> str:
    return find_in_file(io.BytesIO(content), name)


@pytest.mark.parametrize("way", PACKED)
@given(value=VALUES, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_pickle_of_any_value_and_protocol_is_seen(way: str, value: Any, protocol: int) -> None:
    assert found(PACKED[way](pickle.dumps(value, protocol))).endswith("is a pickle")


@pytest.mark.parametrize("way", PACKED)
@given(value=JSONS)
def test_json_is_none(way: str, value: Any) -> None:
    assert found(PACKED[way](json.dumps(value).encode())) == ""


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_what_joblib_writes_is_seen_though_arrays_stand_in_its_midst(compress: Any) -> None:
    for value in ({"weights": np.arange(5000.0)}, np.zeros(10**6), [Path("x")]):
        file = io.BytesIO()
        joblib.dump(value, file, compress=compress)
        assert found(file.getvalue()) == "file is a pickle"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_large_pickle_is_seen_without_reading_all_of_it(protocol: int) -> None:
    for value in (np.zeros(10**6), list(range(10**5)), {"a": b"x" * 3 * 10**6}):
        assert found(pickle.dumps(value, protocol)) == "file is a pickle"


def test_an_array_of_objects_is_seen(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert find_unsafe(tmp_path) == "a.npy is an array of Python objects, a pickle"
    (tmp_path / "a.npy").unlink()
    np.savez(tmp_path / "b.npz", plain=np.arange(3), objects=np.array([{}], dtype=object))
    assert find_unsafe(tmp_path) == "b.npz/objects.npy is an array of Python objects, a pickle"


@pytest.mark.parametrize("before", [0, 512, 1024, 4096])
@pytest.mark.parametrize("way", ["as it is", "zip"])
def test_hdf5_is_seen_wherever_its_mark_may_stand(way: str, before: int) -> None:
    content = PACKED[way](bytes(before) + HDF5 + bytes(100))
    assert found(content, "model.keras").endswith("is an HDF5 file")


def test_what_is_called_a_pickle_is_one(tmp_path: Path) -> None:
    assert found(zipped(b"", "archive/data.pkl"), "a.zip") == "a.zip/archive/data.pkl is a pickle"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"a": 1}',
        b"1.",
        b".",
        b"text.",
        b"\x89PNG\r\n",
        bytes(100),
        bytes(2**21),
        b"0" * 2**21,
        b"T" * 2**21,
        b"cat\ndog\nbird\n",
        b"c0,c1\n1,2\n",
        *(size.to_bytes(8, "little") + b"{}".ljust(size) for size in (640, 896, 1152, 1408)),
    ],
    ids=lambda content: repr(content[:8]),
)
def test_what_is_no_pickle_is_not_called_one(content: bytes) -> None:
    assert found(content) == ""


@given(st.integers(0, 2**32 - 1), st.integers(0, 3000))
def test_numbers_are_none(seed: int, size: int) -> None:
    values = np.random.default_rng(seed).normal(size=size)
    assert [found(values.astype(dtype).tobytes()) for dtype in ("<f4", "<f8")] == ["", ""]
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, values=values, names=np.array(["0", "1"]))
        assert found(file.getvalue()) == ""


@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04"]))
def test_of_no_bytes_it_raises(content: bytes, start: bytes) -> None:
    found(start + content)
