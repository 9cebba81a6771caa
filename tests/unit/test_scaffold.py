"""New plugins: what is written, and which names are refused. The page's test runs them."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from helpers.command_line import Zoo

from zoo.errors import UsageError, ZooError
from zoo.plugins import registry, scaffold
from zoo.testing import suite


def test_a_package_is_written_whole(home: Path, tmp_path: Path) -> None:
    folder = scaffold.new_package("my-2nd-knn", tmp_path / "here")
    files = {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}
    assert set(files) == {
        "pyproject.toml",
        "README.md",
        "my_2nd_knn/__init__.py",
        "tests/test_my_2nd_knn.py",
    }
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "my-2nd-knn"
    assert project["entry-points"]["zoo"] == {"my-2nd-knn": "my_2nd_knn"}
    tree = ast.parse(files["my_2nd_knn/__init__.py"])
    assert [n.name for n in tree.body if isinstance(n, ast.ClassDef)] == ["My2ndKnn"]
    assert not [text for text in files.values() if "$" in text]


def test_a_file_goes_into_the_plugins_folder_and_is_a_model_at_once(home: Path) -> None:
    file = scaffold.new_file("my-knn")
    registry.catalogue.cache_clear()
    assert file.parent == home / "plugins"
    assert registry.model("my-knn").__name__ == "MyKnn"
    assert not registry.broken()


def test_a_package_with_a_dataset_is_written_whole(home: Path, tmp_path: Path) -> None:
    folder = scaffold.new_package("my-rows", tmp_path / "here", "dataset")
    files = {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}
    assert set(files) == {
        "pyproject.toml",
        "README.md",
        "my_rows/__init__.py",
        "tests/test_my_rows.py",
    }
    assert "zoo train knn --dataset my-rows" in files["README.md"]
    assert "import MY_ROWS" in files["tests/test_my_rows.py"]
    assert not [text for text in files.values() if "$" in text]


def test_a_new_dataset_is_registered_and_keeps_the_contract(home: Path) -> None:
    scaffold.new_file("my-rows", "dataset")
    registry.catalogue.cache_clear()
    assert not registry.broken()
    results = suite.check_dataset(registry.catalogue().datasets["my-rows"])
    assert {each.status for each in results} == {"passed"}
    with pytest.raises(UsageError, match="'digits' already exists"):
        scaffold.new_file("digits", "dataset")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is invalid"),
        ("My-Knn", "is invalid"),
        ("2nd", "is invalid"),
        ("my_knn", "is invalid"),
        ("../knn", "is invalid"),
        ("a" * 41, "is invalid"),
        ("import", "is already a module of Python"),
        ("json", "is already a module of Python"),
        ("numpy", "an installed package"),
        ("zoo", "an installed package"),
        ("tests", "an installed package"),
        ("logistic", "A model or plugin named 'logistic'"),
        ("sklearn", "an installed package"),
        ("keras", "already"),
    ],
    ids=lambda value: value[:20],
)
def test_a_name_that_would_not_work_is_refused_and_nothing_written(
    home: Path, tmp_path: Path, name: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        scaffold.new_package(name, tmp_path / "new")
    with pytest.raises(UsageError, match=says):
        scaffold.new_file(name)
    assert not (tmp_path / "new").exists() and not (home / "plugins").exists()


def test_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="full already exists"):
        scaffold.new_package("my-knn", tmp_path / "full")
    scaffold.new_package("my-knn", tmp_path / "empty")
    file = scaffold.new_file("my-knn")
    with pytest.raises(UsageError, match="already"):
        scaffold.new_file("my-knn")
    assert file.exists() and [f.name for f in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ZooError, match="cannot be written: Not a directory"):
        scaffold.new_package("my-knn", tmp_path / "file" / "my-knn")


@pytest.mark.slow
def test_the_commands_print_the_place_and_what_to_type_next(zoo: Zoo, tmp_path: Path) -> None:
    place = tmp_path / "my-knn"
    done = zoo.run("plugins", "new", "my-knn", "-o", str(place))
    assert done.stdout == f"{place}\n"
    for command in (f"pip install -e {place}", "zoo train my-knn", "zoo plugins check my-knn"):
        assert f"  {command} " in done.stderr
    done = zoo.run("plugins", "new", "my-rows", "--dataset", "-o", str(tmp_path / "rows"))
    assert "  zoo train knn --dataset my-rows " in done.stderr
    told = zoo.run("plugins", "new", "my-knn", "--single-file", "-o", str(place), code=2)
    assert "cannot be combined with -o" in told.stderr


@pytest.mark.parametrize("base", scaffold.BASES)
def test_a_model_on_a_base_is_at_most_thirty_lines_and_requires_its_plugin(
    home: Path, tmp_path: Path, base: str
) -> None:
    folder = scaffold.new_package("my-net", tmp_path / "here", base=base)
    text = (folder / "my_net" / "__init__.py").read_text()
    assert len(text.splitlines()) <= 30 and "$" not in text
    (model,) = (each for each in ast.parse(text).body if isinstance(each, ast.ClassDef))
    assert model.name == "MyNet" and [ast.unparse(each) for each in model.bases]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [scaffold.BASES[base]]


@pytest.mark.slow
def test_a_model_on_the_base_of_scikit_learn_keeps_the_contract(home: Path) -> None:
    scaffold.new_file("my-line", base="sklearn")
    registry.catalogue.cache_clear()
    assert not registry.broken()
    results = suite.check_model(registry.model("my-line"))
    assert {each.status for each in results} <= {"passed", "skipped"}, results


def test_a_base_that_is_unknown_or_missing_or_of_a_dataset_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="No base is called 'jax'"):
        scaffold.new_file("mine", base="jax")
    with pytest.raises(UsageError, match="Only a model has a base"):
        scaffold.new_file("mine", "dataset", base="keras")
    monkeypatch.setitem(scaffold.BASES, "torch", "zoo-nowhere")
    with pytest.raises(UsageError, match="zoo-nowhere is not installed"):
        scaffold.new_file("mine", base="torch")
    assert not (home / "plugins").exists()
