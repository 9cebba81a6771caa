"""The checks of datasets against datasets that break the contract, one way each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from zoo.testing import checks, isolation, suite
from zoo.testing.checks.fixtures import Broken, DatasetBench

pytestmark = pytest.mark.usefixtures("module_home")

LABELS = np.array(["cat", "dog"] * 6)


def images() -> dict[str, Any]:
    """Colour images of two classes."""
    pixels = np.arange(12 * 6 * 4 * 3, dtype="uint8").reshape(12, 6, 4, 3)
    return {"train": zoo.Images(pixels, LABELS), "test": zoo.Images(pixels[:4], LABELS[:4])}


def table(path: str) -> Mapping[str, Any]:
    """A table of a scheme, with a category and a missing number."""
    columns = {"width": [1.0, np.nan, *range(10)], "place": [path, "b"] * 6}
    few = {name: values[:4] for name, values in columns.items()}
    return {"train": zoo.Table(columns, LABELS), "test": zoo.Table(few, LABELS[:4])}


IMAGES = zoo.Dataset("pets", "Colour images of two classes", images)
TABLE = zoo.Dataset("rows", "A table of two classes", table, scheme=True)


@suite.parametrize_with_dataset_checks([IMAGES, (TABLE, "a")])
def test_the_checks_run_as_tests(check: Any) -> None:
    check()


def test_a_dataset_that_keeps_the_contract_passes_every_check() -> None:
    results = suite.check_dataset(IMAGES)
    assert len(results) == len(checks.OF_DATASETS)
    # This file is no plugin.
    assert [r.check for r in results if r.status != "passed"] == ["imports no framework"]


def one_split() -> Mapping[str, Any]:
    return {"train": images()["train"]}


def numbers() -> Mapping[str, Any]:
    return {
        name: zoo.Images(rows.images, np.arange(len(rows.labels)) / 7)
        for name, rows in images().items()
    }


def one_class() -> Mapping[str, Any]:
    return {name: zoo.Images(rows.images, rows.labels * 0) for name, rows in indexed().items()}


def rare() -> Mapping[str, Any]:
    train = images()["train"]
    return {"train": train, "test": zoo.Images(train.images, np.array(["bird"] * 12))}


def indexed() -> Mapping[str, Any]:
    return {
        name: zoo.Images(rows.images, (rows.labels == "dog").astype("int64"))
        for name, rows in images().items()
    }


def random() -> Mapping[str, Any]:
    shift = np.frombuffer(os.urandom(12 * 72), "uint8").reshape(12, 6, 4, 3)
    return images() | {"train": zoo.Images(shift, LABELS)}


def prints() -> Mapping[str, Any]:
    os.write(1, b"reading\n")
    print("done")
    return images()


def leaves_open() -> Mapping[str, Any]:
    KEPT.enter_context(Path(__file__).open())  # noqa: SIM115 (closed by the test)
    return images()


KEPT = contextlib.ExitStack()


def forgets() -> Mapping[str, Any]:
    Path(__file__).open().readline()  # noqa: SIM115 (what it is about)
    return images()


def exits() -> Mapping[str, Any]:
    raise SystemExit(3)


BREACHES = [
    (replace(IMAGES, summary=""), "has name and summary", "has no summary"),
    (replace(IMAGES, name="My Pets"), "has name and summary", "'My Pets' is not lower case"),
    (replace(IMAGES, load=one_split), "loads", "it has no split 'test'"),
    (replace(IMAGES, load=numbers), "loads", "a regression target"),
    (replace(IMAGES, load=exits), "loads", "SystemExit: 3"),
    (replace(IMAGES, load=one_class), "has classes to learn", "are of one class"),
    (replace(IMAGES, load=rare), "has classes to learn", "'bird': a class with fewer than two"),
    (
        replace(IMAGES, load=indexed, class_names=("cat", "dog", "bird")),
        "names only classes that occur",
        "class_names has 'bird', which no row has",
    ),
    (replace(IMAGES, load=random), "is deterministic", "A second call of load returns other"),
    (replace(IMAGES, load=prints), "prints nothing", "load writes to stdout: 'reading'"),
    (replace(IMAGES, load=leaves_open), "closes its files", f"load leaves open: {__file__}"),
    (replace(IMAGES, load=forgets), "closes its files", "load leaves open: unclosed file"),
    (replace(IMAGES, files=("/no/such/file",)), "names its files", "/no/such/file, which is not"),
]


@pytest.mark.parametrize(
    ("dataset", "check", "says"), BREACHES, ids=[f"{c}-{d.load.__name__}" for d, c, _ in BREACHES]
)
def test_a_dataset_that_breaks_the_contract_fails_the_check_in_a_sentence(
    dataset: zoo.Dataset, check: str, says: str
) -> None:
    (found,) = [c for c in checks.OF_DATASETS if checks.title(c) == check]
    result = checks.run(found, DatasetBench(dataset))
    KEPT.close()
    assert result.status == "failed" and says in result.detail, result
    assert "\n" not in result.detail


def test_check_dataset_names_every_check_that_failed() -> None:
    with pytest.raises(Broken, match=r"(?s)pets fails.*prints nothing: load writes"):
        suite.check_dataset(replace(IMAGES, load=prints))


PLUGIN = """
import os, zoo
def load():
    os.write(1, b"not JSON\\n")
    os._exit(7)
@zoo.hookimpl
def register_datasets(register):
    register(zoo.Dataset("deadly", "Ends the process", load))
    register(zoo.Dataset("place", "Needs a path", load, scheme=True))
"""


@pytest.mark.slow
def test_installed_datasets_are_checked_in_a_process_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path))
    (tmp_path / "deadly.py").write_text(PLUGIN)
    found = {each.check: each for each in isolation.run_dataset("deadly")}
    assert found["has name and summary"].status == "passed"
    assert "it calls os._exit(7) in load" in found["loads"].detail
    assert found["is deterministic"].status == "skipped"
    (refused,) = isolation.run_dataset("place")
    assert (refused.check, refused.status) == (isolation.IMPORT, "failed")
    assert "needs a path" in refused.detail and "place:PATH" in refused.detail
