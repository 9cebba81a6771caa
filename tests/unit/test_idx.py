"""The IDX format: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoo.data.readers import idx
from zoo.errors import DatasetError

IMAGES = np.arange(2 * 28 * 28, dtype="uint8").reshape(2, 28, 28)
SOUND = idx.header(IMAGES.shape) + IMAGES.tobytes()


def write(folder: Path, suffix: str = "-ubyte", dot: str = "-") -> None:
    for part, ndim in idx.PARTS.items():
        array = IMAGES if ndim == 3 else np.array([0, 1], "uint8")
        content = idx.header(array.shape) + array.tobytes()
        name = f"{part}{dot}idx{ndim}{suffix}"
        (folder / name).write_bytes(
            gzip.compress(content, mtime=0) if suffix.endswith("gz") else content
        )


@given(
    hnp.arrays("uint8", st.one_of(hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))),
    st.booleans(),
)
def test_an_array_comes_back_from_its_idx_file(array: np.ndarray, gzipped: bool) -> None:
    content = idx.header(array.shape) + array.tobytes()
    found = idx.unpack(gzip.compress(content, mtime=0) if gzipped else content, array.ndim, "it")
    assert np.array_equal(found, array)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\0\0\x08\x01", b"\0\0\x08\x03", idx.GZIP]))
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(noise: bytes, start: bytes) -> None:
    for ndim in (1, 3):
        try:
            found = idx.unpack(start + noise, ndim, "it")
        except DatasetError as error:
            assert str(error).startswith("it is not a valid IDX file: ")
        else:
            assert found.dtype == np.uint8
            assert found.ndim == ndim


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_flipped_byte_of_a_gzipped_file_never_gives_other_values(place: int, flip: int) -> None:
    content = bytearray(gzip.compress(SOUND, mtime=0))
    content[place % len(content)] ^= flip
    try:
        found = idx.unpack(bytes(content), 3, "it")
    except DatasetError:
        return
    # The header of gzip has bytes that say nothing, such as a time.
    assert np.array_equal(found, IMAGES)


def bomb() -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:
        stream.write(idx.header((1, 28, 28)))
        for _ in range(64):
            stream.write(bytes(2**20))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not begin as one"),
        (b"hello, world", "does not begin as one"),
        (SOUND[:7], "ends within its header"),
        (SOUND[:-1], "ends after 1567 of 1568 bytes"),
        (SOUND + b"x", "has more than the 1568 bytes"),
        (b"\0\0\x0d\x03" + SOUND[4:], "not unsigned bytes"),
        (b"\0\0\x08\x01" + SOUND[4:], "1 dimensions instead of 3"),
        # The product is 0 in 32 and in 64 bits.
        (b"\0\0\x08\x03" + struct.pack(">III", 2**31, 2**31, 4), "more than it can hold"),
        (b"\0\0\x08\x03" + struct.pack(">III", *[2**32 - 1] * 3), "more than it can hold"),
        (gzip.compress(SOUND, mtime=0)[:-9], "ended before"),
        (gzip.compress(SOUND, mtime=0)[:40], "ended before"),
        (gzip.compress(SOUND, mtime=0)[:-8] + bytes(8), "CRC"),
        (gzip.compress(SOUND, mtime=0) + b"rubbish", "Not a gzipped file"),
        (gzip.compress(SOUND[:-1], mtime=0), "ends after 1567 of 1568 bytes"),
        (gzip.compress(idx.header((2**20, 28, 28)), mtime=0), "more than it can hold"),
        (bomb(), "has more than the 784 bytes"),
    ],
    # By default the content is the name: of the bomb 65 kB.
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_a_damaged_or_hostile_idx_file_is_refused_in_a_sentence(content: bytes, words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        idx.unpack(content, 3, "it")
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["-ubyte", "-ubyte.gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_the_four_files_are_found_under_their_usual_names(
    tmp_path: Path, suffix: str, dot: str
) -> None:
    write(tmp_path, suffix, dot)
    found = idx.load(tmp_path)
    assert np.array_equal(found["train"].images, IMAGES)
    assert found["test"].labels.tolist() == [0, 1]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DatasetError, match=f"{tmp_path} has no t10k-labels-idx1-ubyte"):
        idx.load(tmp_path)


def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(DatasetError, match="has no train-images-idx3-ubyte"):
        idx.load(tmp_path)
