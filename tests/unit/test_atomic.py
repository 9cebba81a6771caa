"""Files appear whole or not at all."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from zoo import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_as_it_is_and_replaces_the_earlier_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    atomic.write(file, "first\r\n")
    atomic.write(file, "é\n")
    assert file.read_bytes() == "é\n".encode()
    assert names(tmp_path) == ["file"]


def test_bytes_are_written_with_the_mode_that_is_asked_for(tmp_path: Path) -> None:
    atomic.write(tmp_path / "file", b"\0\xff", mode=0o640)
    assert (tmp_path / "file").read_bytes() == b"\0\xff"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("earlier")

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        atomic.write(file, "later")
    assert file.read_text() == "earlier"
    assert names(tmp_path) == ["file"]


def test_a_folder_that_is_missing_stays_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.write(tmp_path / "home" / "file", "content")
    assert names(tmp_path) == []


def test_threads_that_write_the_same_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    file = tmp_path / "file"
    contents = [letter * 200_000 for letter in "abcd"]
    writers = [
        threading.Thread(target=lambda text=each: [atomic.write(file, text) for _ in range(20)])
        for each in contents
    ]
    for each in writers:
        each.start()
    while any(each.is_alive() for each in writers):
        if file.exists():
            assert file.read_text() in contents
    assert names(tmp_path) == ["file"]


def test_a_file_with_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    file = tmp_path / ("n" * 255)
    atomic.write(file, "content")
    assert file.read_text() == "content"
