"""`zoo data add`, `list`, `refresh`, `rm` and `export`, as typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bare_zoo
from helpers.command_line import Zoo
from sklearn.datasets import load_iris

from zoo import jobs
from zoo.plugins import registry


@pytest.fixture
def iris(tmp_path: Path) -> Path:
    """Real measurements with the names of the species."""
    found = load_iris(as_frame=True)
    table = found.frame.drop(columns="target")
    table["species"] = found.target_names[found.target]
    table.to_csv(tmp_path / "iris.csv", index=False)
    return tmp_path / "iris.csv"


def test_a_table_is_added_listed_refreshed_exported_and_removed(
    zoo: Zoo, iris: Path, tmp_path: Path
) -> None:
    done = zoo.run("data", "add", "iris", str(iris), "--target", "species", "--test", "0.3")
    assert "iris@1: a table of 4 columns, 3 classes" in done.stdout
    assert "test 45, train 105 rows" in done.stdout
    assert "classes: setosa, versicolor, virginica" in done.stdout
    assert "`zoo train MODEL --dataset iris`" in done.stderr
    (entry,) = [each for each in zoo.json("data", "list") if each["where"] == "added"]
    about = {"name": "iris", "version": 1, "kind": "table", "shape": [4], "classes": 3, "rows": 150}
    assert entry.items() >= about.items()
    assert "iris@1" in zoo.run("data").stdout
    assert "has these contents already" in zoo.run("data", "refresh", "iris").stdout
    lines = iris.read_text().splitlines()
    iris.write_text("\n".join(lines[:-1]))
    assert "iris@2: a table of 4 columns" in zoo.run("data", "refresh", "iris").stdout
    for name in ("a.npz", "a.csv", "a.parquet"):
        zoo.run("data", "export", "iris@1", str(tmp_path / name))
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["x_train"].shape == (105, 4)
        assert arrays["class_names"].tolist() == ["setosa", "versicolor", "virginica"]
    zoo.run("data", "add", "same", str(tmp_path / "a.npz"))
    same = {each["fingerprint"] for each in zoo.json("data") if each.get("version") == 1}
    assert len(same) == 1
    assert (tmp_path / "a-test.csv").read_text().count("\n") == 46
    zoo.run("data", "rm", "iris")
    refused = zoo.run("data", "refresh", "iris", code=2)
    assert "No added dataset is called 'iris'" in refused.stderr
    assert (zoo.home / "artifacts" / "datasets" / same.pop()).is_dir()  # 'same' has them, too


def test_a_table_of_hundreds_of_datasets_ends_with_how_to_see_more(zoo: Zoo) -> None:
    zoo.run("jobs")  # creates the database
    db = zoo.database()
    columns = [{"name": name, "kind": "number"} for name in "ab"]
    meta = {"kind": "table", "shape": [2], "dtype": "float64", "columns": columns}
    meta |= {"class_names": ["a", "b"], "counts": {"train": 9}}
    for number in range(105):
        named = {"name": f"table-{number:03}", "fingerprint": f"{number:064}"}
        place: Any = {"artifact": f"datasets/{number}", "artifact_sha256": "0" * 64, "bytes": 100}
        recipe = {"source": "csv:/x.csv", "options": {}}
        new = jobs.NewDataset(**named, meta=meta | named, recipe=recipe, **place)
        jobs.add_dataset(db, new)

    def listed(*words: str) -> tuple[list[str], str]:
        done = zoo.run("data", *words)
        return [each for each in done.stdout.splitlines() if "table-" in each], done.stderr

    rows, note = listed()
    assert len(rows) == 100 and rows[-1].startswith("table-099@1")
    assert "100 versions of added datasets are shown: `zoo data -n 1000` shows more" in note
    rows, note = listed("list", "-n", "7")
    assert len(rows) == 7 and "`zoo data -n 70` shows more" in note
    assert len(listed("-n", "105")[0]) == 105 and listed("-n", "105")[1] == ""
    every = [each for each in zoo.json("data") if each["where"] == "added"]
    assert [each["name"] for each in every] == [f"table-{number:03}" for number in range(105)]


def test_bad_names_and_options_are_refused_in_a_sentence(zoo: Zoo, iris: Path) -> None:
    taken = zoo.run("data", "add", "digits", str(iris), code=2)
    assert "'digits' is a dataset of a plugin." in taken.stderr
    wrong = zoo.run("data", "add", "iris", str(iris), "--grey", code=2)
    assert "'grey' is for" in wrong.stderr
    plugin = zoo.run("data", "add", "mine", "digits", "--test", "0.2", code=2)
    assert "--test is for files" in plugin.stderr
    assert "no file of a known format" in zoo.run("data", "export", "x", "a.xls", code=2).stderr


def test_a_job_keeps_its_dataset_from_being_removed(zoo: Zoo, iris: Path) -> None:
    zoo.run("data", "add", "iris", str(iris), "--target", "species")
    zoo.run("train", "logistic", "--dataset", "iris", "-d", "--pool", "nobody")
    refused = zoo.run("data", "rm", "iris", code=2)
    assert "1 unfinished job refers to it" in refused.stderr
    zoo.run("cancel", "@last")
    asked = zoo.run("data", "rm", "iris", code=2)
    assert "1 finished job refers to iris" in asked.stderr and "--yes" in asked.stderr
    zoo.run("data", "rm", "iris", "--yes")
    assert not list((zoo.home / "artifacts" / "datasets").iterdir())


def test_a_terminal_without_numpy_submits_by_name_and_says_what_adding_needs(
    zoo: Zoo, iris: Path
) -> None:
    zoo.run("data", "add", "iris", str(iris), "--target", "species")

    def bare(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, bare_zoo.__file__, *words]
        return subprocess.run(command, env=zoo.env, text=True, capture_output=True, timeout=60)

    card = registry.card("logistic")
    worker = jobs.NewWorker("w", "w", "h", 1, "default", 1, "1", [card])
    jobs.register_worker(zoo.database(), worker)
    zoo.env["ZOO_BROKER_URL"] = "redis://127.0.0.1:1/0"
    queued = bare("train", "logistic", "--dataset", "iris", "-d", "-q")
    job = jobs.get(zoo.database(), queued.stdout.strip())
    assert (job.dataset_label, len(job.spec["contents"])) == ("iris@1", 64)
    listed = bare("data", "--json")
    assert [e["version"] for e in json.loads(listed.stdout) if e["where"] == "added"] == [1]
    refused = bare("data", "add", "other", str(iris))
    assert refused.returncode == 2 and "pip install 'mnist-zoo[" in refused.stderr
