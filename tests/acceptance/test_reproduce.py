"""`zoo reproduce` through a real worker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.command_line import Zoo
from helpers.published_table import TABLE

ROWS = ("neighbours", "a line, upright, deskew")


def written(folder: Path, text: str = TABLE) -> str:
    file = folder / "two.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_a_table_is_reproduced_and_shown_with_published_beside_measured_errors(
    warm_zoo: Zoo, tmp_path: Path
) -> None:
    file = written(tmp_path)
    first = warm_zoo.json("reproduce", file, "--dry-run")
    assert [row["cost"]["source"] for row in first] == ["unknown", "guessed"]
    assert first[1]["cost"]["seconds"] == 7
    group = warm_zoo.json("reproduce", file)
    assert [job["status"] for job in group["jobs"]] == ["succeeded"] * 2
    assert [job["published"]["error"] for job in group["jobs"]] == [5.0, 0.01]
    assert [job["preprocess"] for job in group["jobs"]] == ["none", "deskew"]
    shown = warm_zoo.run("show", group["id"]).stdout
    lines = [re.split(r" {2,}", line) for line in shown.splitlines()]
    errors = [f"{100 * (1 - job['metrics']['accuracy']):.2f}" for job in group["jobs"]]
    near, far = (next(line for line in lines if name in line) for name in ROWS)
    assert [near[2], near[3], near[5]] == ["5", errors[0], "knn n_neighbors=1"]
    assert [far[2], far[3], far[5]] == ["0.01", errors[1], "logistic"]
    assert "1 of 2 at or under the published error" in shown
    board = {row["model"]: row["test"]["accuracy"] for row in warm_zoo.json("leaderboard")}
    assert board == {job["model"]: job["metrics"]["accuracy"] for job in group["jobs"]}
    after = warm_zoo.json("reproduce", file, "--dry-run", "--only", "n*")
    assert [row["cost"]["source"] for row in after] == ["measured"]
    took = [job["finished_at"] - job["started_at"] for job in group["jobs"]]
    assert after[0]["cost"]["seconds"] == pytest.approx(took[0], abs=1e-3)


def test_an_evaluation_gets_its_images_as_the_training_did(warm_zoo: Zoo) -> None:
    options = ("--dataset", "digits", "--preprocess", "deskew")
    job = warm_zoo.json("train", "logistic", *options)
    again = warm_zoo.json("evaluate", job["id"])
    assert again["preprocess"] == "deskew"
    assert again["metrics"]["confusion_matrix"] == job["metrics"]["confusion_matrix"]
    plain = warm_zoo.json("train", "logistic", "--dataset", "digits")
    assert plain["metrics"]["confusion_matrix"] != job["metrics"]["confusion_matrix"]
