"""`zoo predict` and `zoo export`, on a model that a real worker has trained."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import drawn_digits as strokes
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, succeed
from PIL import Image

from zoo import jobs, settings
from zoo.errors import ArtifactError, UsageError
from zoo.inference import predictor

NAMES = list("0123456789")


@pytest.fixture(scope="module")
def trained(warm_zoo: Zoo) -> str:
    """The id of a logistic model on digits."""
    job: str = warm_zoo.json("train", "logistic", "--dataset", "digits", "-p", "max_iter=50")["id"]
    return job


def loaded(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, ref: str) -> predictor.LoadedModel:
    monkeypatch.setenv("ZOO_HOME", str(zoo.home))
    with contextlib.closing(zoo.database()) as db:
        return predictor.load_trained(db, settings.load(), ref)


def test_pictures_are_predicted_and_those_that_are_refused_stop_no_other(
    warm_zoo: Zoo, trained: str, tmp_path: Path
) -> None:
    strokes.drawn(0, (1000, 800), width=60).save(tmp_path / "zero.png")
    (tmp_path / "notes.png").write_text("hello")
    shown = tmp_path / "shown"
    words = ("zero.png", "notes.png", "-")
    file = io.BytesIO()
    strokes.drawn(1, ink=strokes.WHITE, paper=strokes.BLACK).save(file, "PNG")
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "predict", trained[:8], *words, "--json", "-o", str(shown)],
        env=warm_zoo.env,
        cwd=tmp_path,
        input=file.getvalue(),
        capture_output=True,
    )
    assert done.returncode == 1
    assert b"error: notes.png: It is not a picture." in done.stderr
    zero, one, refused = json.loads(done.stdout)
    assert (zero["file"], one["file"], refused["file"]) == ("zero.png", "-", "notes.png")
    assert zero["predicted"] == "0"
    assert zero["label"] is None
    assert list(zero["probabilities"]) == NAMES
    assert abs(sum(zero["probabilities"].values()) - 1) < 1e-9
    assert "not a picture" in refused["error"]
    assert sorted(path.name for path in shown.iterdir()) == ["stdin.png", "zero.png"]
    with Image.open(shown / "zero.png") as image:
        assert image.size == (28, 28)


def test_a_pictures_name_cannot_steer_the_terminal(
    warm_zoo: Zoo, trained: str, tmp_path: Path
) -> None:
    file, none = tmp_path / "ze\x1b[2Jro\u202e\x9b1m\x7f.png", "no\x1b]0;t\x07\u2028.png"
    strokes.drawn(0, (100, 80), width=9).save(file, "PNG")
    for more in ([], ["--json"]):
        done = warm_zoo.run("predict", trained, str(file), none, *more, code=1)
        assert all(c.isprintable() or c == "\n" for c in done.stdout + done.stderr)
        assert ("zero.png" in done.stdout) is not bool(more) and "no.png" in done.stderr
        if more:
            assert json.loads(done.stdout)[0]["file"] == str(file)


def test_images_of_a_dataset_are_shown_with_their_label(warm_zoo: Zoo, trained: str) -> None:
    found = warm_zoo.json("predict", "@last", "--index", "17", "--index", "3-5")
    assert [each["file"] for each in found] == [f"digits test {row}" for row in (17, 3, 4, 5)]
    assert sum(each["label"] == each["predicted"] for each in found) >= 3
    told = warm_zoo.run("predict", trained, "--index", "17").stdout
    assert "digits test 17: " in told
    assert "as the model sees it" in told
    assert " %" in told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "No picture and no --index is given."),
        (["--index", "360"], "There is no image 360: the last one is 359."),
        (["--index", "5-3"], "'5-3' is not the index of an image."),
        (["--index", "-1"], "'-1' is not the index of an image."),
        (["--index", "1", "--split", "all"], "No split is called 'all'."),
        (["--index", "1", "--dataset", "mnits"], "No dataset is called 'mnits'."),
    ],
)
def test_a_wrong_command_is_answered_in_a_sentence(
    warm_zoo: Zoo, trained: str, words: list[str], sentence: str
) -> None:
    assert sentence in warm_zoo.run("predict", trained, *words, code=2).stderr


def test_the_probabilities_are_those_of_the_training_jobs_own_judgement(
    warm_zoo: Zoo, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.data import datasets

    model = loaded(warm_zoo, monkeypatch, trained)
    assert model.class_names == NAMES
    images, labels = datasets.raw("digits").splits["test"]
    found = model.probabilities(np.asarray(images))
    assert found is not None
    assert found.shape == (360, 10)
    assert float((model.labels(images) == labels).mean()) == model.job.metrics["accuracy"]
    assert (model.labels(images) == found.argmax(axis=1)).all()


def test_a_deskewed_model_gets_deskewed_pictures_and_an_evaluation_stands_for_its_model(
    warm_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--dataset", "digits", "--preprocess", "deskew")
    job = warm_zoo.json("train", "logistic", *words)
    judged = warm_zoo.json("evaluate", job["id"])
    model = loaded(warm_zoo, monkeypatch, judged["id"])
    assert model.job.id == job["id"]
    slanted = np.zeros((1, 28, 28), "uint8")
    for row in range(6, 22):
        slanted[0, row, 28 - row : 30 - row] = 255
    upright = model.prepare(slanted).reshape(28, 28)
    assert (upright.sum(axis=0) > 1).sum() < (slanted[0].sum(axis=0) > 0).sum() / 2


def test_of_a_group_the_best_job_with_weights_answers(
    warm_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--dataset", "digits", "--seeds", "2")
    group = warm_zoo.json("train", "logistic", *words)
    best = max(group["jobs"], key=lambda job: job["metrics"]["accuracy"])
    found = loaded(warm_zoo, monkeypatch, group["id"]).job.metrics["accuracy"]
    assert found == best["metrics"]["accuracy"]


def a_row(zoo: Zoo, folder: Path, **given: Any) -> str:
    """A training that has succeeded, with an artifact that says nothing."""
    with contextlib.closing(zoo.database()) as db:
        return succeed(db, [a_spec(**given)], artifacts_url=str(folder))


def test_what_has_no_trained_model_here_is_refused_in_a_sentence(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(zoo.home))
    chosen = settings.load()
    ids = {
        "kept no weights": a_row(zoo, zoo.home / "artifacts", keep_weights=False),
        "Install zoo-other 2.0": a_row(zoo, zoo.home / "artifacts", plugin="zoo-other 2.0"),
    }
    with contextlib.closing(zoo.database()) as db:
        queued, _ = jobs.add(db, [a_spec()])
        ids["is queued: it has no model"] = queued[0]
        for sentence, job in ids.items():
            with pytest.raises(UsageError, match=sentence):
                predictor.load_trained(db, chosen, job)


def test_a_damaged_artifact_is_refused(
    warm_zoo: Zoo, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (weights,) = (warm_zoo.home / "artifacts" / trained).rglob("weights.npz")
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + b"x")
    try:
        with pytest.raises(ArtifactError, match="is not the one that was stored"):
            loaded(warm_zoo, monkeypatch, trained)
    finally:
        weights.write_bytes(kept)


def test_a_model_is_exported_into_a_folder_with_its_card(
    warm_zoo: Zoo, trained: str, tmp_path: Path
) -> None:
    done = warm_zoo.json("export", trained, "--format", "onnx", "-o", str(tmp_path / "hub"))
    assert done["job"] == trained
    assert done["check"]["images"] == 360
    assert done["check"]["max_difference"] < 1e-9
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "logistic.onnx",
    ]
    front = (tmp_path / "hub" / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(front)["library_name"] == "onnx"


def test_an_export_without_a_format_or_in_a_wrong_one_is_answered_in_a_sentence(
    warm_zoo: Zoo, trained: str, tmp_path: Path
) -> None:
    assert "Neither --format nor" in warm_zoo.run("export", trained, code=2).stderr
    said = warm_zoo.run("export", trained, "-o", str(tmp_path / "model.keras"), code=2).stderr
    assert "'logistic' cannot be exported as keras" in said
    assert "skops, onnx, npz" in said
