"""Plugins that change: what ran is what is written down, and a warm worker has what is there."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.command_line import Zoo, until

from zoo.jobs import Worker
from zoo.jobs.cards import Card
from zoo.jobs.environments import CodeVersion, Environment
from zoo.plugins import registry, source_code
from zoo.plugins.registry import Plugin
from zoo.queue import catalogue
from zoo.training import provenance
from zoo.training.provenance import FRAMEWORKS

MODEL = """
import zoo

class Constant(zoo.Model):
    name = "constant"
    def fit(self, x, y, report):
        {uses}
        report(1, 1, "fit")
    def predict_proba(self, x):
        import numpy as np
        found = np.zeros((len(x), self.n_classes))
        found[:, {answer}] = 1
        return found
    def save(self, folder):
        (folder / "nothing.txt").write_text("")
    def load(self, folder):
        pass

@zoo.hookimpl
def register_models(register):
    register(Constant)
"""
DATASET = """
import zoo

def load():
    import numpy as np
    images = np.full((12, 28, 28), {grey}, "uint8")
    return {{s: zoo.Images(images, np.arange(12) % 3) for s in ("train", "test")}}

@zoo.hookimpl
def register_datasets(register):
    register(zoo.Dataset("{name}", "Grey", load, ("a", "b", "c")))
"""
HOOK = """
import zoo

@zoo.hookimpl
def job_finished(job):
    open({file!r}, "a").write("{word} " + job["id"] + chr(10))
"""


@pytest.fixture
def folder(home: Path) -> Path:
    """Of the one-file plugins of this test's home."""
    (home / "plugins").mkdir(parents=True)
    return home / "plugins"


def model(folder: Path, answer: int = 0, uses: str = "pass") -> Plugin:
    (folder / "constant.py").write_text(MODEL.format(answer=answer, uses=uses))
    registry.catalogue.cache_clear()
    return registry.catalogue().owners["constant"]


def test_the_hash_is_of_the_code_that_was_imported(folder: Path) -> None:
    loaded = model(folder)
    before = provenance.code(loaded).sha256
    content = (folder / "constant.py").read_bytes()
    head = f"constant.py {len(content)}\n".encode()
    assert before == hashlib.sha256(head + content).hexdigest()
    for change in (
        lambda file: file.write_text(MODEL.format(answer=1, uses="pass")),
        lambda file: file.unlink(),
        lambda file: file.mkdir(),
    ):
        change(folder / "constant.py")
        assert provenance.code(loaded).sha256 == before
        assert provenance.fingerprint(a_spec(), "d", loaded)
    shutil.rmtree(folder / "constant.py")
    assert provenance.code(model(folder, answer=1)).sha256 != before
    assert provenance.code(model(folder)).sha256 == before


def a_spec() -> Any:
    from helpers.finished_jobs import a_spec as made

    return made(model="constant", params={})


def test_a_package_that_is_edited_later_keeps_the_hash_of_its_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "changing_plugin"
    package.mkdir()
    (package / "__init__.py").write_text(MODEL.format(answer=0, uses="pass"))
    monkeypatch.syspath_prepend(tmp_path)
    plugin = Plugin("changing", "changing", "1", "changing_plugin")
    registry.enter(registry.empty(), plugin, lambda: __import__("changing_plugin"))
    before = provenance.code(plugin).sha256
    assert before == source_code.sha256("changing_plugin")
    (package / "__init__.py").write_text("")
    assert provenance.code(plugin).sha256 == before != source_code.sha256("changing_plugin")
    del sys.modules["changing_plugin"]


def test_the_hash_covers_the_packages_that_a_model_is_built_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, other = tmp_path / "zoo_base", tmp_path / "zoo_other"
    for package in (base, other):
        package.mkdir()
        (package / "__init__.py").write_text("side = 28\n")
    monkeypatch.syspath_prepend(tmp_path)
    # Also one that is imported only once a method is called.
    uses = "import zoo_base, os\n        from zoo_other import side"
    before = provenance.code(model(folder, uses=uses)).sha256
    assert before == provenance.code(model(folder, uses=uses)).sha256
    found = {before}
    for package in (base, other):
        (package / "layers.py").write_text("width = 2\n")
        found.add(provenance.code(model(folder, uses=uses)).sha256)
    assert len(found) == 3
    # A package may name itself.
    (base / "layers.py").write_text("from zoo_base import side\n")
    assert source_code.sha256_with_bases("zoo_base") == source_code.sha256("zoo_base")


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        ("import zoo_sklearn", {"zoo-sklearn", "skops"}),
        ("import PIL.Image", {"pillow"}),
        ("import no_such_package, json", set()),
    ],
)
def test_the_versions_of_one_file_are_those_of_what_it_imports(
    folder: Path, uses: str, expected: set[str]
) -> None:
    plain = provenance.versions(model(folder))
    assert provenance.versions(model(folder, uses=uses)).keys() - plain.keys() == expected


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose earlier jobs have imported every framework there is."""
    for package in FRAMEWORKS.values():
        if package not in sys.modules:
            fake = ModuleType(package)
            fake.__version__ = "9.9"  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, package, fake)
    yield


def test_the_versions_are_those_of_what_the_plugin_requires(folder: Path, crowded: None) -> None:
    every = set(FRAMEWORKS)
    plain = {"numpy", "scikit-learn"}
    assert every & set(provenance.versions(model(folder))) == plain
    for name, package in FRAMEWORKS.items():
        for uses in (f"import os, {package}", f"from {package}.inner import thing as other"):
            found = provenance.versions(model(folder, uses=f"if False:\n            {uses}"))
            assert every & set(found) == plain | {name}
    own = registry.catalogue().owners
    assert every & set(provenance.versions(own["logistic"])) == plain | {"scipy"} & set(
        provenance.versions(own["logistic"])
    )
    assert {"keras", "tensorflow"} <= set(provenance.versions(own["dense-softmax"]))
    assert not {"torch", "jax", "xgboost"} & set(provenance.versions(own["dense-softmax"]))


def test_a_model_that_something_else_loads_says_so(folder: Path) -> None:
    now = model(folder)
    told = Environment(plugin=now.label, code=provenance.code(now))
    assert provenance.loaded_by(told, now) == provenance.loaded_by(None, now) == ""
    other = provenance.loaded_by(told, model(folder, answer=1))
    assert f"trained by {now.label} and is loaded by constant" in other
    edited = replace(told, code=CodeVersion("e" * 64))
    assert "other code of constant" in provenance.loaded_by(edited, now)


@pytest.mark.parametrize("what", ["same", "model", "code", "dataset", "listener", "silent"])
@pytest.mark.parametrize("how", ["other", "none"])
def test_a_worker_is_outdated_if_a_plugin_of_the_job_or_a_listener_is(
    folder: Path, what: str, how: str
) -> None:
    (folder / "grey.py").write_text(DATASET.format(name="grey", grey=1))
    (folder / "listener.py").write_text(HOOK.format(file="nowhere", word="one"))
    owner = model(folder)
    card = replace(
        registry.card("constant"),
        versions={"grey": registry.dataset_version("grey")},
        listeners=registry.listeners() | {"another shell's": "notify 1"},
    )
    if what == "model":
        card = replace(card, **{"plugin": "constant 0"} if how == "other" else {"name": "another"})
    elif what == "code" and how == "other":
        card = replace(card, code="0" * 64)
    elif what == "dataset":
        card = replace(card, versions={"grey": "0"} if how == "other" else {})
    elif what == "listener":
        card = replace(card, listeners={"listener": "0"} if how == "other" else {})
    elif what == "silent":  # a worker of an older version
        card = Card(card.name, card.plugin)
    worker = Worker("w", "w-1", "h", 1, "default", 1, 0, "online", "0", [card], 0.0, 0.0)
    changed = what in ("model", "dataset", "listener") or (what, how) == ("code", "other")
    assert catalogue.is_outdated(worker, "constant", "grey") == changed
    assert (owner.code and not catalogue.is_outdated(worker, "unknown", "unknown")) or changed
    assert bool(catalogue.other_dataset([worker], "grey")) == (what == "dataset")


def test_a_warm_worker_has_the_plugins_that_are_there_now(zoo: Zoo, tmp_path: Path) -> None:
    folder, calls = zoo.home / "plugins", tmp_path / "calls"
    folder.mkdir()
    (folder / "constant.py").write_text(MODEL.format(answer=0, uses="pass"))

    def dataset(name: str, grey: int) -> None:
        (folder / f"{name}.py").write_text(DATASET.format(name=name, grey=grey))

    def train(name: str) -> dict[str, Any]:
        return zoo.json("train", "constant", "--dataset", name)

    def workers() -> set[str]:
        return {worker["name"] for worker in zoo.json("worker", "list")}

    dataset("grey", 10)
    first = train("grey")
    same = train("grey")
    assert (first["contents"], first["worker"]) == (same["contents"], same["worker"])
    dataset("grey", 20)
    changed = train("grey")
    assert changed["contents"] != first["contents"] and changed["worker"] != first["worker"]
    dataset("new", 30)  # the warm worker has never heard of it
    assert train("new")["status"] == "succeeded"

    for word in ("one", "two"):
        (folder / "listener.py").write_text(HOOK.format(file=str(calls), word=word))
        ended = train("new")["id"]
        until(lambda w=word, e=ended: calls.exists() and f"{w} {e}" in calls.read_text(), 30)

    (folder / "constant.py").write_text(MODEL.format(answer=1, uses="pass"))
    for done in (
        zoo.run("predict", changed["id"], "--index", "0"),
        zoo.run("evaluate", changed["id"]),
        zoo.run("export", changed["id"], "--format", "npz", "-o", str(tmp_path / "m.npz"), code=2),
    ):
        assert "predictions may differ" in done.stderr, done
    evaluated = zoo.json("jobs", "--where", "kind == 'evaluate'")[0]["id"]
    assert "predictions may differ" in zoo.run("logs", evaluated).stdout
    assert json.loads(zoo.run("leaderboard", "--json").stdout)[0]["model"] == "constant"
    assert workers()
