"""What a model saves is checked before it is stored: where it lies, its size, what it runs."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import odd_files

from zoo import weights
from zoo.errors import ArtifactError, PluginError
from zoo.storage import saved_files

pytestmark = pytest.mark.usefixtures("home")


def beside(folder: Path) -> None:
    (folder / ".." / "escaped").write_text("x")


def link_outside(folder: Path) -> None:
    (folder / "weights").symlink_to("/etc/passwd")


def link_inside(folder: Path) -> None:
    (folder / "a").write_text("x")
    (folder / "b").symlink_to("a")


def linked_folder(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "out").symlink_to("/tmp")


def hard_link(folder: Path) -> None:
    (folder.parent.parent / "own").write_text("x")
    os.link(folder.parent.parent / "own", folder / "weights")


def folder_replaced(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to("/tmp")


def folder_gone(folder: Path) -> None:
    folder.rmdir()


def folder_a_file(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("x")


def one_large(folder: Path) -> None:
    with (folder / "weights").open("wb") as file:
        for _ in range(1200):
            file.write(bytes(1024))


def one_sparse(folder: Path) -> None:
    with (folder / "weights").open("wb") as file:
        file.truncate(100 * 2**30)


def many(folder: Path) -> None:
    for number in range(3):
        (folder / str(number)).write_bytes(bytes(400 * 1024))


def large_arrays(folder: Path) -> None:
    weights.save(folder, {"a": np.zeros(2**18)})


def a_pickle(folder: Path) -> None:
    (folder / "model.bin").write_bytes(pickle.dumps({"a": Path("x")}))


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file beside the folder": (beside, "'../escaped', outside"),
    "a link outside": (link_outside, "'weights', a link"),
    "a link inside": (link_inside, "'b', a link"),
    "a link in a folder": (linked_folder, "'deep/out', a link"),
    "a hard link": (hard_link, "'weights', a hard link"),
    "a link in place of the folder": (folder_replaced, "removed the folder"),
    "no folder": (folder_gone, "removed the folder"),
    "a file in place of the folder": (folder_a_file, "removed the folder"),
    "one large file": (one_large, "more than 1 MB"),
    "a file of 100 GB without contents": (one_sparse, "more than 1 MB"),
    "many files": (many, "more than 1 MB"),
    "large arrays": (large_arrays, "more than 1 MB"),
    "a pickle": (a_pickle, "model.bin is a pickle"),
    **{
        kind: (lambda folder, make=make: make(folder / "odd"), "The model has saved 'odd")  # type: ignore[misc]
        for kind, make in odd_files.KINDS.items()
        if kind not in ("folder", "a terabyte")
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder that a model saves in, and 1 MB of room."""
    monkeypatch.setenv("ZOO_ARTIFACT_MB", "1")
    (tmp_path / "job" / "weights").mkdir(parents=True)
    return tmp_path / "job" / "weights"


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_not_be_stored_is_refused_in_a_sentence(case: str, folder: Path) -> None:
    save, words = REFUSED[case]
    with pytest.raises(PluginError) as refused:
        saved_files.save(save, folder)
    assert words in str(refused.value)
    assert refused.value.hint
    assert "\n" not in str(refused.value)


def test_what_a_model_saves_in_its_folder_is_taken(folder: Path) -> None:
    def save(folder: Path) -> None:
        weights.save(folder, {"a": np.arange(100.0)})
        (folder / "deep").mkdir()
        (folder / "deep" / "names.json").write_text('["a"]')

    saved_files.save(save, folder)
    saved_files.check_loadable(folder)


def test_an_error_of_the_model_is_its_own(folder: Path) -> None:
    def save(_: Path) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        saved_files.save(save, folder)


def test_files_without_end_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_files, "MAX_FILES", 10)
    for number in range(11):
        (folder / str(number)).touch()
    with pytest.raises(PluginError, match="more than 10"):
        saved_files.check_size(folder)


def test_a_pickle_is_stored_and_loaded_if_a_setting_allows_it_with_a_warning_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ZOO_ALLOW_PICKLE", "on")
    saved_files.save(a_pickle, folder)
    assert not caplog.records
    for _ in range(2):
        saved_files.check_loadable(folder)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "model.bin is a pickle" in caplog.records[0].getMessage()
    # What was stored so, or by an earlier version of Zoo, is not loaded elsewhere without a word.
    monkeypatch.setenv("ZOO_ALLOW_PICKLE", "off")
    with pytest.raises(ArtifactError, match="ZOO_ALLOW_PICKLE"):
        saved_files.check_loadable(folder)
