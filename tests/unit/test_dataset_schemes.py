"""Datasets of plugins that take a path, and the version of those that name files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from zoo.cli.main import app
from zoo.data import datasets
from zoo.errors import UsageError
from zoo.plugins import registry
from zoo.queue import catalogue

PLUGIN = """
import zoo

def load(path=""):
    import numpy as np
    with open({calls!r}, "a") as file:
        file.write(path + ";")
    labels = np.arange(4) % 2
    pair = zoo.Images(np.full((4, 5, 5), len(path), "uint8"), labels)
    return {{"train": pair, "test": pair}}

@zoo.hookimpl
def register_datasets(register):
    register(zoo.Dataset("bucket", "Reads a bucket.", load, {options}))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Install the dataset `bucket` with these arguments; returns the file with its calls."""
    home = tmp_path / "home"
    monkeypatch.setenv("ZOO_HOME", str(home))
    monkeypatch.setenv("ZOO_PLUGINS", "own")
    monkeypatch.delenv("ZOO_PLUGINS_DIR", raising=False)
    (home / "plugins").mkdir(parents=True)
    calls = tmp_path / "calls"

    def install(options: str) -> Path:
        source = PLUGIN.format(calls=str(calls), options=options)
        (home / "plugins" / "own.py").write_text(source)
        registry.catalogue.cache_clear()
        return calls

    return install


def test_a_scheme_is_read_once_for_each_path(install: Callable[[str], Path]) -> None:
    calls = install("scheme=True")
    for path in ("a/b", "other?x", "a/b"):
        found = datasets.raw(f"bucket:{path}")
        assert found.name == f"bucket:{path}"
        assert (found.splits["train"].inputs == len(path)).all()
    assert calls.read_text() == "a/b;other?x;"
    assert catalogue.dataset("bucket:a/b") == "bucket:a/b"
    listed = [each.name for each in datasets.listing()]
    assert listed == ["mnist", "bucket:a/b", "bucket:other?x", "bucket:"]
    assert not catalogue.elsewhere()


def test_a_scheme_is_no_dataset_by_itself(install: Callable[[str], Path]) -> None:
    install("scheme=True")
    assert datasets.names() == ["mnist"]
    for name, words in (
        ("bucket:", "'bucket:' needs a path"),
        ("bucket:a\nb", "needs a path"),
        ("bucket", "No dataset is called 'bucket'"),
        ("buckt:a", "Did you mean 'bucket'"),
    ):
        with pytest.raises(UsageError, match=words):
            datasets.resolve(name)


def test_a_dataset_without_scheme_takes_no_path(install: Callable[[str], Path]) -> None:
    install("")
    assert datasets.raw("bucket").name == "bucket"
    with pytest.raises(UsageError, match="No form of dataset is called 'bucket'"):
        datasets.resolve("bucket:a")


@pytest.mark.parametrize("name", ["idx", "npz", "folder", "csv", "parquet", "mnist"])
def test_names_of_forms_are_reserved(
    install: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    install("scheme=True")
    file = tmp_path / "home" / "plugins" / "own.py"
    file.write_text(file.read_text().replace("bucket", name))
    registry.catalogue.cache_clear()
    (broken,) = registry.broken()
    assert f"'{name}' is taken" in broken.error


def test_the_version_follows_the_contents_of_the_named_files(
    install: Callable[[str], Path], tmp_path: Path
) -> None:
    data = tmp_path / "data.bin"
    data.write_bytes(b"1")
    install("")
    of_code = registry.dataset_version("bucket")
    install(f"files={str(data)!r}, scheme=True")
    first = registry.dataset_version("bucket:path")
    assert first != of_code and registry.dataset_version("bucket") == first
    data.write_bytes(b"2")
    second = registry.dataset_version("bucket")
    data.unlink()
    assert len({first, second, registry.dataset_version("bucket")}) == 3
    data.write_bytes(b"1")
    assert registry.dataset_version("bucket") == first
    install(f"files={str(data)!r}, version='3'")
    assert registry.dataset_version("bucket") == "3"


def test_the_reading_of_a_bare_path_is_said(
    install: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bucket").mkdir()
    table = tmp_path / "rows.csv"
    table.write_text("")
    done = CliRunner().invoke(app, ["data", "show", "rows.csv"])
    assert f"rows.csv is read as csv:{table}." in done.stderr
    done = CliRunner().invoke(app, ["data", "show", "bucket"])
    assert "is read as" not in done.stderr  # a registered name comes first


def test_the_name_of_an_added_dataset_comes_before_a_path(
    install: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("")
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "mine", x=np.eye(10)[:, :4], y=[0, 1] * 5, columns=list("abcd"))
    (tmp_path / "mine").write_bytes((tmp_path / "mine.npz").read_bytes())
    for label in ("mine@1: a table", "mine@1 has these contents already"):
        assert label in CliRunner().invoke(app, ["data", "add", "mine", "mine"]).stdout
    for name in ("mine", "mine@1"):
        done = CliRunner().invoke(app, ["data", "show", name])
        assert "is read as" not in done.stderr and "8 rows of 4 columns" in done.stdout
