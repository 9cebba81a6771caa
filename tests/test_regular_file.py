"""Files are read only if they are regular ones, and never past a limit."""

from __future__ import annotations

import io
import time
from pathlib import Path

import odd_files
import pytest

from zoo import regular_file
from zoo.errors import reason


@pytest.mark.parametrize("kind", odd_files.KINDS)
def test_what_is_no_regular_file_or_too_large_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "odd"
    odd_files.KINDS[kind](path)
    begun = time.monotonic()
    with pytest.raises(OSError) as caught:
        regular_file.read_regular_file(path, 1000)
    assert time.monotonic() - begun < 1
    assert reason(caught.value)


def test_a_file_of_the_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert regular_file.read_regular_file(link, 10) == b"x" * 10
    with pytest.raises(OSError, match="larger than 9 bytes"):
        regular_file.read_regular_file(path, 9)


def test_of_a_stream_no_more_than_one_byte_past_the_limit_is_read() -> None:
    stream = io.BytesIO(b"x" * 100)
    with pytest.raises(OSError, match="larger than 10 bytes"):
        regular_file.read_at_most(stream, 10, "stdin")
    assert stream.tell() == 11


@pytest.mark.parametrize(("count", "words"), [(12, "12 bytes"), (65536, "64 kB"), (2**20, "1 MB")])
def test_a_limit_is_said_in_the_unit_that_people_use(count: int, words: str) -> None:
    assert regular_file.size(count) == words
