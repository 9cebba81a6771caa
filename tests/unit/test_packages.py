"""The distributions: what they say of themselves, of each other, and when one is missing."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from packaging.requirements import Requirement

import zoo
from zoo.errors import UsageError
from zoo.plugins import packages, registry, requirements
from zoo.queue import catalogue, doctor
from zoo.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT, ROOT / "workers", *sorted(f.parent for f in ROOT.glob("plugins/*/pyproject.toml"))]
TABLES: dict[str, Any] = {
    f.name: tomllib.loads((f / "pyproject.toml").read_text()) for f in FOLDERS
}
PROJECTS = {table["project"]["name"]: table["project"] for table in TABLES.values()}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda each: each.name)
def test_a_distribution_describes_itself(folder: Path) -> None:
    table = TABLES[folder.name]
    ours, first = table["project"], PROJECTS["mnist-zoo"]
    assert ours["version"] == zoo.__version__
    assert ours["authors"] == [{"name": "The Zoo authors"}]
    assert ours["keywords"] and ours["description"] and "Typing :: Typed" in ours["classifiers"]
    assert {*ours["urls"]} >= {"Homepage", "Documentation", "Changelog", "Issues", "Source"}
    assert ours["requires-python"] == first["requires-python"]
    pythons = {c.rpartition(" ")[2] for c in ours["classifiers"] if ":: 3." in c}
    assert pythons == {"3.11", "3.12", "3.13"}
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    hook = table["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert hook == TABLES[ROOT.name]["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    package = folder / table["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"][0]
    assert (package / "py.typed").exists()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda each: each.name)
def test_the_long_description_links_to_files_of_this_version(folder: Path) -> None:
    text = ProjectMetadata(str(folder), PluginManager()).core.readme
    place = (
        rf"https://[a-z.]+/mnist-zoo/mnist-zoo/(?:blob/)?v{re.escape(zoo.__version__)}/([^)#\"\s]+)"
    )
    links = re.findall(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', text)
    assert all(re.match(r"https?://|#", a or b) for a, b in links)
    assert all((ROOT / file).exists() for file in re.findall(place, text))
    assert re.search(place, text)


def test_the_wheel_has_the_manual_page_once_it_is_written(tmp_path: Path) -> None:
    kind = run_path(str(ROOT / "hatch_build.py"))["ManPage"]
    hook = kind(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
    data: dict[str, Any] = {"shared_data": {}}
    hook.initialize("standard", data)
    page = tmp_path / "zoo.1"
    page.touch()
    hook.initialize("editable", data)
    assert data == {"shared_data": {}}
    hook.initialize("standard", data)
    assert data == {"shared_data": {str(page): "share/man/man1/zoo.1"}}
    build = TABLES[ROOT.name]["tool"]["hatch"]["build"]
    assert "!hatch_build.py" in (ROOT / ".dockerignore").read_text().split()
    assert "custom" in build["hooks"] and "zoo.1" in build["targets"]["sdist"]["only-include"]


def test_doctor_says_how_jobs_get_to_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(uri: str) -> list[tuple[bool, str]]:
        return [(f.ok, f.detail) for f in doctor.PARTS["mlflow"](Settings(mlflow=uri), "mlflow")]

    assert look("") == []
    ((is_good, said),) = look("http://:hush@127.0.0.1:1")
    assert is_good and "zoo mlflow sync --follow" in said and "hush" not in said
    monkeypatch.setattr(requirements, "installed_version", lambda name: "")
    ((is_good, said),) = look("http://127.0.0.1:1")
    assert not is_good and "zoo-mlflow is not installed" in said


def _bounds(name: str) -> list[Requirement]:
    project = PROJECTS[name]
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]


@pytest.mark.parametrize("name", PROJECTS)
def test_ours_require_each_other_up_to_the_next_minor_version(name: str) -> None:
    major, minor, _ = zoo.__version__.split(".")
    for each in _bounds(name):
        if each.name in PROJECTS and each.name != name:
            assert str(each.specifier) == f"<{major}.{int(minor) + 1},>={zoo.__version__}"
        elif each.name not in PROJECTS:
            assert any(s.operator in (">=", "==") for s in each.specifier), each


def test_one_package_has_one_lower_bound() -> None:
    bounds: dict[str, set[str]] = {}
    for name in PROJECTS:
        for each in _bounds(name):
            if each.name not in PROJECTS:
                bounds.setdefault(each.name, set()).add(str(each.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_every_model_and_dataset_of_ours_is_known_with_its_package() -> None:
    found = registry.catalogue()
    of_models, of_datasets = found.owners, found.dataset_owners
    for known, owners in ((packages.MODELS, of_models), (packages.DATASETS, of_datasets)):
        installed = {p.distribution for p in owners.values()} & set(PROJECTS)
        ours = {n: p.distribution for n, p in owners.items() if p.distribution in installed}
        assert ours == {n: package for n, package in known.items() if package in installed}


@pytest.mark.parametrize(
    ("has_worker", "line"),
    [(True, "pip install zoo-keras."), (False, "pip install 'mnist-zoo[local]' zoo-keras.")],
)
def test_a_model_whose_package_is_not_installed_names_it(
    monkeypatch: pytest.MonkeyPatch, has_worker: bool, line: str
) -> None:
    models = {n: m for n, m in registry.catalogue().models.items() if n != "cnn"}
    monkeypatch.setattr(registry.catalogue(), "models", models)
    monkeypatch.setattr(requirements, "installed_version", lambda name: "")
    monkeypatch.setattr(packages, "has_worker", lambda: has_worker)
    with pytest.raises(UsageError, match="'cnn' is in zoo-keras, which is not installed") as told:
        catalogue.model("cnn")
    assert told.value.hint == f"Install it: {line} In this clone: make install."


def test_without_a_worker_nothing_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zoo_workers", None)
    with pytest.raises(UsageError, match=r"pip install 'mnist-zoo\[local\]'"):
        packages.check_worker()


@pytest.mark.parametrize(
    "projects",
    [
        [".[data]", "workers", "plugins/zoo-sklearn"],
        [".[data]", "workers", "plugins/zoo-sklearn", "plugins/zoo-keras", "plugins/zoo-report"],
    ],
)
def test_a_part_of_the_lock_has_all_that_its_projects_need(
    monkeypatch: pytest.MonkeyPatch, projects: list[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)
    install = run_path(str(ROOT / "install.py"))
    roots = install["_roots"](projects)
    lock = (ROOT / "requirements.lock").read_text()
    part = install["locked"](lock, roots)
    has = set(re.findall(r"^([\w.-]+)==", part, re.M))
    assert part in lock or all(entry in lock for entry in re.split(r"^(?=\w)", part, flags=re.M))
    assert has >= _closure({*roots}) - {"tomli"} and len(has) < lock.count("==") / 2
    assert "hatchling" in has and "pytest" not in has


def _closure(names: set[str]) -> set[str]:
    """Return what these distributions require, as they are installed here."""
    found: set[str] = set()
    while names:
        name = names.pop()
        with contextlib.suppress(metadata.PackageNotFoundError):
            for line in metadata.requires(name) or []:
                each = Requirement(line)
                if each.marker is None or each.marker.evaluate({"extra": ""}):
                    key = re.sub(r"[-_.]+", "-", each.name).lower()
                    names |= {key} - found
                    found.add(key)
    return found
