"""The pictures of a job: what they show is what the job's files say; and `zoo files`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command_line import Zoo, share, until
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner
from zoo_report import pictures, plots, predictions

from zoo.canonical_json import read_json
from zoo.cli.main import app
from zoo.cli.render import console, text_charts
from zoo.data.preprocessing import prepare
from zoo.job_spec import JobSpec
from zoo.results.predictions import Predictions, read_predictions
from zoo.training.run import PREDICTIONS, run_job

pytestmark = [
    pytest.mark.xdist_group("test_pictures_of_jobs"),  # they share a worker
    pytest.mark.usefixtures("module_home"),
]
MAX_BYTES = 60_000
NAMES = list("0123456789")


def job_in(folder: Path, trained_in: Path | None = None, **asked: Any) -> dict[str, Any]:
    """Run a job of the logistic baseline in this process; gives it as a hook is told of it."""
    told = {"kind": "train", "model": "logistic", "params": {}, "dataset": "digits"} | asked
    spec = JobSpec.model_validate(told)
    folder.mkdir()
    metrics = run_job(spec, folder, lambda *_, **__: None, source=trained_in)
    return json.loads(spec.model_dump_json()) | {"id": "a1b2c3d4e5f6", "metrics": metrics}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A job and the folder of its files."""
    folder = tmp_path_factory.mktemp("trained") / "files"
    return job_in(folder), folder


def opened(path: Path) -> Image.Image:
    """A picture, whole and of a modest size."""
    assert path.stat().st_size < MAX_BYTES
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 150 and max(image.size) < 1500
        return image


def test_every_picture_of_a_job_is_drawn_listed_and_described(
    trained: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    job, files = trained
    pictures.draw_pictures(job, files, tmp_path)
    listed = json.loads((tmp_path / "pictures.json").read_text())
    names = ["confusion_matrix", "mistakes", "calibration", "weights"]
    assert [each["file"] for each in listed] == [f"{name}.png" for name in names]
    for each in listed:
        image = opened(tmp_path / each["file"])
        assert image.info["Title"] == f"{each['title']}: logistic on digits, job a1b2c3d4"
        assert image.info["Description"] == each["alt"]
    right = sum(row[i] for i, row in enumerate(job["metrics"]["confusion_matrix"]))
    assert listed[0]["alt"].startswith(f"Of 360 images {right} are right. Most often taken: ")
    with (tmp_path / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == job["metrics"]["classes"]
    assert float(rows[3]["recall"]) == job["metrics"]["per_class"]["3"]["recall"]


def test_a_damaged_file_costs_its_own_picture_alone(
    trained: tuple[dict[str, Any], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job, files = trained
    damaged = tmp_path / "files"
    damaged.mkdir()
    for name in ("environment.json", "predictions.npz", "weight_images.npy"):
        (damaged / name).write_bytes((files / name).read_bytes()[:500])
    (tmp_path / "drawn").mkdir()
    pictures.draw_pictures(job, damaged, tmp_path / "drawn")
    found = {path.name for path in (tmp_path / "drawn").glob("*.png")}
    assert found == {"confusion_matrix.png"}
    for name in ("mistakes", "calibration", "weights"):
        assert f"no picture of {name}" in caplog.text


def test_the_mistakes_are_those_that_it_is_surest_of_drawn_pixel_by_pixel(
    trained: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    job, files = trained
    said = read_predictions(files / PREDICTIONS)
    rows = predictions.wrong_rows(said, 20)
    wrong = np.flatnonzero(said.labels != said.predicted)
    sure = said.probabilities[np.arange(len(said.labels)), said.predicted]  # type: ignore[index]
    assert len(rows) == 20 and set(rows) <= set(wrong)
    assert sure[rows].min() >= np.delete(sure[wrong], np.isin(wrong, rows).nonzero()[0]).max()
    pictures.draw_pictures(job, files, tmp_path)
    drawn = np.asarray(opened(tmp_path / "mistakes.png").convert("L"), dtype=int)
    truth = prepare("digits", "test", "image", "float64").x[said.index[rows[0]]]
    scale = plots.TILE // 28
    left = 2 * scale
    column = drawn[:, left : left + 28 * scale].reshape(len(drawn), 28, scale)
    tiles = column[: len(drawn) // scale * scale, :, scale // 2]
    expected = np.repeat(np.round(255 * (1 - truth)), scale, axis=0)
    tops = range(len(tiles) - len(expected))
    # Somewhere below the head and the caption stands the first image, each pixel 4 x 4.
    assert min(abs(tiles[top : top + len(expected)] - expected).max() for top in tops) <= 1


def test_without_probabilities_mistakes_come_as_they_stand() -> None:
    said = Predictions(np.arange(4), np.array([0, 1, 2, 3]), np.array([0, 2, 2, 1]), None)
    assert predictions.wrong_rows(said, 5).tolist() == [1, 3]
    assert predictions.wrong_rows(said, 1).tolist() == [1]
    assert predictions.measure_calibration(said) is None


def test_images_are_those_that_were_judged_of_a_fold_another_split_or_preprocessing(
    trained: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    split = ["train", "test", "train", "test"]
    jobs = [
        job_in(tmp_path / "fold", fold={"k": 3, "index": 1}, keep_weights=False),
        job_in(tmp_path / "deskewed", preprocess="deskew"),
    ]
    source = {"job": "a" * 32, "artifact": f"{'a' * 32}/1", "sha256": "0" * 64}
    params = read_json((trained[1] / "model.json").read_bytes())["params"]
    asked = {"kind": "evaluate", "split": "train", "source": source, "params": params}
    jobs.append(job_in(tmp_path / "evaluation", trained_in=trained[1], **asked))
    jobs.append(trained[0])
    places = [tmp_path / "fold", tmp_path / "deskewed", tmp_path / "evaluation", trained[1]]
    for job, files, expected in zip(jobs, places, split, strict=True):
        said, data = (
            read_predictions(files / PREDICTIONS),
            read_json((files / "environment.json").read_bytes()),
        )
        given = prepare("digits", expected, "image", "float64", preprocess=job["preprocess"])
        rows = said.index[:50]
        assert np.array_equal(given.y[rows], said.labels[:50])
        found = predictions.load_images(job, rows, data["data"])
        assert found is not None and np.array_equal(found, given.x[rows])
        assert predictions.load_images(job, rows, "0" * 64) is None  # the dataset is another by now
    assert not (tmp_path / "fold" / "weight_images.npy").exists()


def test_the_calibration_error_is_that_of_the_paper() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65], [0.0, 1.0]])
    labels, predicted = np.array([0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 1])
    said = Predictions(np.arange(5), labels, predicted, probabilities)
    found = predictions.measure_calibration(said, bins=10)
    assert found is not None
    # (0.8, 0.9]: two of 0.9, one right; (0.5, 0.6] and (0.6, 0.7]: one each, right; (0.9, 1]: right
    expected = (2 * abs(0.5 - 0.9) + abs(1 - 0.6) + abs(1 - 0.65) + 0) / 5
    assert found.error == pytest.approx(expected)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 2, 1]
    assert found.accuracy[8] == 0.5 and np.isnan(found.accuracy[0])


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=60))
def test_every_image_is_in_one_bin_and_the_error_is_a_mean_of_gaps(
    seen: list[tuple[float, bool]],
) -> None:
    sure, right = np.array([s for s, _ in seen]), np.array([r for _, r in seen])
    probabilities = np.stack([1 - sure, sure], axis=1)
    ones = np.ones(len(seen), dtype=int)
    found = predictions.measure_calibration(
        Predictions(ones, right.astype(int), ones, probabilities)
    )
    assert found is not None and found.counts.sum() == len(seen)
    assert abs(right.mean() - sure.mean()) - 1e-9 <= found.error <= 1


def test_pictures_have_the_colours_of_the_pages() -> None:
    css = resources.files("zoo").joinpath("templates/design/zoo.css").read_text()
    light = dict(re.findall(r"--(\w+): light-dark\((#\w{6})", css))
    assert [light[f"c{n}"] for n in range(8)] == [*plots.INKS]
    assert (light["muted"], light["text"], light["line"]) == (plots.GREY, plots.TEXT, plots.LINE)


def test_curves_draw_losses_accuracies_and_other_metrics_apart_and_leave_gaps() -> None:
    history = [
        {"step": n, "total": 3, "unit": "epoch", "train_loss": None if n == 2 else 1 / n}
        | {"train_accuracy": n / 4, "val_accuracy": n / 5, "margin": 2.0}
        for n in (1, 2, 3)
    ]
    with plots.style():
        made = plots.learning_curves(history, {"accuracy": 0.7, "loss": None})
    titles = {ax.get_title(): [line.get_label() for line in ax.lines] for ax in made.axes}
    assert list(titles) == ["accuracy", "loss", "margin"]
    assert titles["loss"] == ["train_loss"] and made.axes[1].lines[0].get_xdata().tolist() == [1, 3]
    assert titles["accuracy"][:2] == ["train_accuracy", "val_accuracy"]
    assert titles["accuracy"][-1] == "held out, at the end: 0.7000"
    assert [line.get_linestyle() for line in made.axes[0].lines[:3]] == ["-", "--", ":"]


@pytest.mark.parametrize("n", [2, 10, 21, 61])
def test_a_confusion_matrix_has_its_counts_where_they_can_be_read(n: int) -> None:
    matrix = np.diag(np.full(n, 90)) + np.eye(n, k=1, dtype=int) * 10
    names = [f"${i}$" for i in range(n)]  # no formula, though matplotlib has such
    job = {"metrics": {"confusion_matrix": matrix.tolist(), "classes": names}}
    with plots.style():
        picture = pictures.confusion_matrix(job, Path())
        if n > plots.NUMBERED:
            assert picture is None
            return
        assert picture is not None
        picture.figure.savefig(io.BytesIO())
    cells = picture.figure.axes[0].texts
    assert len(cells) == (np.count_nonzero(matrix) if n <= plots.NAMED else 0)
    assert f"{names[0]} for {names[1]} (10)" in picture.alt or n > 3


def test_weights_are_red_where_they_speak_for_a_class_and_blue_where_against(
    tmp_path: Path,
) -> None:
    images = np.zeros((2, 784), dtype="float32")
    images[0, :392], images[1, :392] = 3, -3
    with plots.style():
        plots.weights(images, ["a", "b"]).savefig(tmp_path / "weights.png")
    drawn = np.asarray(opened(tmp_path / "weights.png").convert("RGB"), dtype=int)[:, :-80]
    red, blue = drawn[..., 0] - drawn[..., 2] > 60, drawn[..., 2] - drawn[..., 0] > 60
    half = 28 * 14 * (plots.TILE // 28) ** 2
    assert red.sum() == blue.sum() == half
    assert red.nonzero()[1].max() < blue.nonzero()[1].min()


@given(
    st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=200),
    st.integers(1, 60),
)
def test_a_line_of_blocks_is_as_long_as_there_is_room(
    values: list[float | None], columns: int
) -> None:
    line = text_charts.sparkline(values, columns)
    assert len(line) == min(len(values), columns)
    if len(values) <= columns:
        assert [c == " " for c in line] == [v is None for v in values]
        known = [v for v in values if v is not None]
        if known and min(known) / 2 < max(known) / 2:
            assert line[values.index(max(known))] == "█" and line[values.index(min(known))] == "▁"


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize(
    ("width", "n", "shows"),
    [(80, 10, "1234"), (80, 30, "< 1 %"), (40, 10, "< 1 %"), (15, 10, "needs 22 columns")],
)
def test_a_confusion_matrix_is_drawn_in_the_columns_that_there_are(
    monkeypatch: pytest.MonkeyPatch, width: int, n: int, shows: str, unicode: bool
) -> None:
    monkeypatch.setattr(console, "width", lambda: width)
    monkeypatch.setattr(console, "in_unicode", lambda: unicode)
    matrix = np.diag(np.full(n, 1234)).tolist()
    lines = [line.plain for line in text_charts.confusion(matrix, [str(i % 10) for i in range(n)])]
    assert shows in "\n".join(lines)
    assert max(len(line) for line in lines[1:-1] or [""]) <= width
    assert unicode or "\n".join(lines).isascii()
    if n == 10 and width == 80:
        assert lines[2].split()[:2] == ["0", "1234"] and len(lines) == 12


def test_a_class_name_of_wide_letters_keeps_the_columns_straight() -> None:
    lines = [line.plain for line in text_charts.confusion([[7, 0], [1, 20]], ["고양이", "개"])]
    assert lines[1:] == ["       고양이     개", "고양이      7      ·", "    개      1     20"]


@pytest.fixture(scope="module")
def drawn(
    tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Iterator[tuple[Zoo, dict[str, Any]]]:
    """A home with a job whose pictures a worker has drawn."""
    home = share(cache, tmp_path_factory.mktemp("drawn") / "home")
    zoo = Zoo(home, ZOO_PICTURES="on", ZOO_PLUGINS="sklearn,report", ZOO_SLOTS="1")
    job = zoo.json("train", "logistic", "--dataset", "digits")
    until((home / "artifacts" / job["id"] / "extra" / "report" / "manifest.json").exists)
    yield zoo, job
    zoo.close()


def files(zoo: Zoo, *words: str) -> Any:
    """Run `zoo files` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(zoo.home))
        return CliRunner().invoke(app, ["files", *words])


def test_a_worker_draws_after_the_jobs_end_and_zoo_files_lists_and_copies_it(
    drawn: tuple[Zoo, dict[str, Any]], tmp_path: Path
) -> None:
    zoo, job = drawn
    found = {each["name"]: each for each in json.loads(files(zoo, job["id"], "--json").stdout)}
    stored = zoo.home / "artifacts" / job["id"] / "extra" / "report" / "manifest.json"
    assert stored.stat().st_mtime > job["finished_at"]
    assert {"metrics.json", "weights/weights.npz", "extra/report/weights.png"} <= set(found)
    assert "extra/report/weights.png" in files(zoo, job["id"]).stdout
    copied = files(zoo, job["id"], "extra/report", "metrics.json", "-o", str(tmp_path / "out"))
    assert f"Copied 7 files to {tmp_path / 'out'}" in copied.stderr
    for name in ("confusion_matrix", "mistakes", "calibration", "weights"):
        opened(tmp_path / "out" / "report" / f"{name}.png")
    files(zoo, job["id"], "metrics.json", "-o", str(tmp_path / "one.json"))
    one = (tmp_path / "one.json").read_bytes()
    assert json.loads(one) == job["metrics"] and len(one) == found["metrics.json"]["bytes"]
    assert files(zoo, job["id"], "metrics.json", "-o", "-").stdout_bytes == one
    assert (tmp_path / "out" / "metrics.json").read_bytes() == one


def test_zoo_files_refuses_what_is_not_there_and_what_leads_elsewhere(
    drawn: tuple[Zoo, dict[str, Any]], tmp_path: Path
) -> None:
    zoo, job = drawn
    assert "Did you mean 'metrics.json'?" in str(files(zoo, job["id"], "metric.json").exception)
    same = files(zoo, job["id"], "extra/report/weights.png", "extra", "-o", str(tmp_path / "x"))
    assert same.exit_code == 0 and (tmp_path / "x" / "extra" / "report").is_dir()
    assert "Only one file" in str(files(zoo, job["id"], "-o", "-").exception)
    stored = zoo.home / "artifacts" / job["id"] / "extra" / "report" / "manifest.json"
    manifest = read_json(stored.read_bytes())
    manifest["files"]["../../../../evil"] = manifest["files"]["per_class.csv"]
    stored.write_text(json.dumps(manifest))
    done = files(zoo, job["id"], "-o", str(tmp_path / "deep" / "er"))
    assert done.exit_code == 1 and "leads out of it" in done.output
    assert not list(tmp_path.rglob("evil")) and not list(zoo.home.rglob("evil"))


def test_a_terminal_that_is_not_utf_8_gets_the_job_in_ascii(
    drawn: tuple[Zoo, dict[str, Any]],
) -> None:
    zoo, job = drawn
    zoo.env |= {"PYTHONIOENCODING": "ascii"}
    shown = zoo.run("show", job["id"]).stdout
    assert shown.isascii() and "Rows: the true class; columns: the predicted one." in shown


@pytest.mark.parametrize(
    "shape", [(8, 8), (32, 32, 3), (12, 40), (100, 60, 3), (300, 300)], ids=str
)
def test_images_of_any_size_are_drawn_whole_below_their_captions(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    images = np.full((7, *shape), 0.5)
    images[:, 0, 0] = images[:, -1, -1] = 1.0
    with plots.style():
        plots.mistakes(images, ["cat → dog\n#1 (0.999)"] * 7).savefig(tmp_path / "tiles.png")
    drawn = np.asarray(opened(tmp_path / "tiles.png").convert("L"), dtype=int)
    scale = max(1, round(plots.TILE / max(shape[:2])))
    grey = (abs(drawn - 128) < 3).sum()
    # Of the largest, every second pixel is drawn.
    pixels = shape[0] * shape[1] if max(shape) < 200 else 150 * 150
    assert 7 * (pixels - 2) * scale**2 == pytest.approx(grey, rel=0.02)


def test_the_weights_of_a_pixel_of_a_colour_image_are_added(tmp_path: Path) -> None:
    images = np.zeros((1, 8, 8, 3))
    images[0, :4] = (1, 1, -5)
    images[0, 4:] = (1, 1, 1)
    with plots.style():
        plots.weights(images, ["a"]).savefig(tmp_path / "weights.png")
    drawn = np.asarray(opened(tmp_path / "weights.png").convert("RGB"), dtype=int)[:, :-80]
    red, blue = drawn[..., 0] - drawn[..., 2] > 60, drawn[..., 2] - drawn[..., 0] > 60
    assert red.sum() == blue.sum() > 0
    assert blue.nonzero()[0].max() < red.nonzero()[0].min()
