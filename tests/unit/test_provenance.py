"""What a job tells of where it ran, and the fingerprint of all that decides its result."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.finished_jobs import a_spec

from zoo.canonical_json import canonical
from zoo.data import datasets
from zoo.job_spec import Fold, Source
from zoo.plugins.registry import Plugin
from zoo.training import provenance

MINE = Plugin("mine", "mine", "1", "no_such_package")


def fingerprint(
    data: str = "d", plugin: Plugin = MINE, params: dict[str, Any] | None = None, **given: Any
) -> str:
    spec = a_spec(params=params or {"a": 1})
    return provenance.fingerprint(spec.model_copy(update=given), data, plugin)


@pytest.mark.parametrize(
    "changed",
    [
        {"data": "e"},
        {"plugin": Plugin("mine", "mine", "2", "no_such_package")},
        {"params": {"a": 2}},
        {"seed": 7},
        {"split": "train"},
        {"fold": Fold(k=3, index=0)},
        {"kind": "evaluate", "source": Source(job="0" * 32, artifact="a", sha256="0" * 64)},
        {"model": "another"},
        {"validation": 0.1},
        {"class_weight": "balanced"},
        {"positive": "b"},
        {"device": "cpu"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_decides_a_result_changes_the_fingerprint(changed: dict[str, Any]) -> None:
    assert fingerprint(**changed) != fingerprint() == fingerprint()


def test_what_does_not_decide_a_result_leaves_the_fingerprint_alone() -> None:
    same = {"timeout": 5.0, "memory_mb": 100, "keep_weights": False, "changed": ["a"]}
    assert fingerprint(**same, plugin=MINE) == fingerprint()
    # `data` is the fingerprint of the contents: jobs of older versions do not name them as well.
    assert fingerprint(version=2, contents="d" * 64) == fingerprint()


def test_an_option_that_came_later_leaves_the_fingerprints_of_before(tmp_path: Path) -> None:
    """Otherwise `--reuse` would find no result of an older version."""
    spec = a_spec(params={"a": 1})
    facts = {
        **{"kind": "train", "model": "m", "params": {"a": 1}, "preprocess": "none"},
        **{"split": "test", "seed": 42, "fold": None},
        **{"data": "d", "source": None, "plugin": "mine 1", "code": provenance.code(MINE).sha256},
    }
    found = provenance.fingerprint(spec.model_copy(update={"exact": True}), "d", MINE)
    assert found == hashlib.sha256(canonical(facts).encode()).hexdigest()


def one_file(folder: Path, text: str, version: str = "1") -> Plugin:
    file = folder / "mine.py"
    file.write_text(text)
    return Plugin("mine", "mine", version, str(file))


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=me", "-c", "user.email=me@here"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_an_edited_file_has_another_hash_and_a_result_another_fingerprint(tmp_path: Path) -> None:
    before = one_file(tmp_path, "a = 1", "1")
    was = provenance.code(before).sha256, fingerprint(plugin=before)
    after = one_file(tmp_path, "a = 2", "2")
    assert provenance.code(after).sha256 != was[0]
    assert fingerprint(plugin=after) != was[1]


def test_code_that_was_edited_under_the_same_version_has_another_fingerprint(
    tmp_path: Path,
) -> None:
    found = []
    for name, text in (("first", "a = 1"), ("edited", "a = 2"), ("copied", "a = 1")):
        (tmp_path / name).mkdir()
        found.append(fingerprint(plugin=one_file(tmp_path / name, text)))
    assert found[0] == found[2] != found[1]


def test_a_package_is_hashed_with_all_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("a = 1")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("some_plugin")
    found = [provenance.code_sha256("some_plugin", "1")]
    (package / "inner.py").write_text("a = 2")
    found.append(provenance.code_sha256("some_plugin", "2"))
    (package / "inner.py").rename(package / "other.py")
    found.append(provenance.code_sha256("some_plugin", "3"))
    assert len(set(found)) == 3
    del sys.modules["some_plugin"]


def test_a_plugin_in_a_checkout_tells_its_commit_and_whether_that_is_all(tmp_path: Path) -> None:
    git(tmp_path, "init")
    clean = one_file(tmp_path, "a = 1", "clean")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    found = provenance.code(clean)
    assert (found.commit, found.dirty) == (commit, False)
    found = provenance.code(one_file(tmp_path, "a = 2", "dirty"))
    assert (found.commit, found.dirty) == (commit, True)


def test_a_file_that_a_checkout_does_not_know_has_no_commit(tmp_path: Path) -> None:
    outside = one_file(tmp_path, "a = 1")
    assert provenance.code(outside).commit is None
    checkout = tmp_path / "checkout"
    (checkout / "venv").mkdir(parents=True)
    git(checkout, "init")
    (checkout / ".gitignore").write_text("venv\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "first")
    installed = one_file(checkout / "venv", "a = 1")
    found = provenance.code(installed)
    assert found.sha256 and (found.commit, found.dirty) == (None, None)


def test_a_framework_that_is_imported_tells_its_own_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    monkeypatch.setattr(np, "__version__", "0.0.1")
    assert provenance.versions(MINE)["numpy"] == "0.0.1"
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert "torch" not in provenance.versions(MINE)


def test_the_fingerprint_of_a_dataset_is_read_without_its_images(home: Path) -> None:
    assert datasets.fingerprint("digits") is None
    assert datasets.fingerprint("no-such") is None
    assert datasets.raw("digits").fingerprint == datasets.fingerprint("digits")


def test_instruction_sets_decide_the_bits_and_other_flags_of_a_processor_do_not() -> None:
    plain = provenance.instruction_sets({"flags": "fpu sse2 avx avx2 fma"})
    same = provenance.instruction_sets({"flags": "fma avx2 avx sse2 fpu ibrs md_clear"})
    assert plain and same == plain
    assert provenance.instruction_sets({"flags": "fpu sse2 avx avx2 fma avx512f"}) != plain
    assert provenance.instruction_sets({"Features": "fp asimd sve"})  # on ARM
    assert provenance.instruction_sets({}) is None


def test_a_checkpoint_of_another_gpu_or_processor_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_RUNNER_GPU", "NVIDIA H200")
    on_gpu, on_processor = provenance.deciding(MINE, "gpu"), provenance.deciding(MINE)
    assert {**on_processor, "gpu": "NVIDIA H200"} == on_gpu
    assert on_processor["threads"] and on_processor["cpu"]
