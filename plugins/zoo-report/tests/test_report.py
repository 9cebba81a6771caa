"""`zoo report`: what the page holds, and the lines that make its jobs again."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, claim, folds, job_of, succeed
from helpers.report_jobs import (
    HOSTILE,
    LABELS,
    data_of,
    dataset,
    gathered,
    hostile,
    predictions,
    seen,
    trained,
)
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from typer.testing import CliRunner
from zoo_report import chart_data, command_line, commands, contents, mistakes, page, tiles
from zoo_report.contents import Contents, Selection

import zoo.cli.commands.train
from zoo import jobs, settings
from zoo.cli.main import app
from zoo.data import datasets
from zoo.errors import ZooError
from zoo.jobs import Database, Job, Outcome, ProgressUpdate, QueueOptions
from zoo.param_values import as_options, read_pairs
from zoo.queue import submit
from zoo.queue.options import TrainingOptions
from zoo.results import learning_curves
from zoo.storage.output_file import write_output


@pytest.fixture
def db(home: Path) -> Database:
    return jobs.connect()


# The lines


def asked(line: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the real command line makes of a line."""
    seen: dict[str, Any] = {}

    def kept(specs: Any, queued: Any, *_: Any, **__: Any) -> None:
        seen.update(specs=specs, pool=queued.pool, tags=list(queued.tags))

    monkeypatch.setattr(zoo.cli.commands.train, "submit_and_follow", kept)
    words = shlex.split(line)
    assert words[0] == "zoo"
    done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return seen


PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "alpha": st.floats(1e-9, 10),
        "max_iter": st.integers(1, 500),
        "penalty": st.sampled_from(["l2", "l1", "elasticnet", None]),
        "shuffle": st.booleans(),
        "average": st.integers(0, 5),
    },
)


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(
    params=PARAMS,
    seed=st.integers(0, 2**32 - 1),
    cv=st.none() | st.integers(2, 9),
    keep=st.booleans(),
    timeout=st.none() | st.floats(0.5, 1e6),
    memory=st.none() | st.integers(1, 10**6),
    tags=st.lists(st.sampled_from(["good", "-o", "a b", "ü;'"]), unique=True),
    preprocess=st.sampled_from(["none", "deskew"]),
    validation=st.none() | st.floats(0.01, 0.9),
    device=st.sampled_from([None, "cpu"]),
    exact=st.booleans(),
)
def test_the_line_of_a_training_makes_the_same_training(
    db: Database,
    monkeypatch: pytest.MonkeyPatch,
    params: Any,
    cv: int | None,
    keep: bool,
    memory: Any,
    tags: list[str],
    **given: Any,
) -> None:
    words = given | {"cv": cv, "keep_weights": keep, "memory_mb": memory}
    specs = submit.training("logistic", params, TrainingOptions("digits", **words))
    ids, _ = jobs.add(
        db, specs, QueueOptions(tags=tags, pool="gpu"), group_kind="cv" if cv else None
    )
    found = asked(command_line.job_command(jobs.get(db, ids[-1])), monkeypatch)
    assert found == {"specs": specs, "pool": "gpu", "tags": jobs.get(db, ids[0]).tags}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@given(JSON)
@example("5")
@example("null")
@example('"quoted"')
@example("1e999")
def test_a_typed_value_is_read_back_as_it_was(value: Any) -> None:
    line = shlex.join(as_options({"x": value}))
    assert read_pairs(shlex.split(line)[1::2]) == {"x": value}


def test_the_line_of_an_evaluation_names_its_training_and_what_it_is_judged_on(
    db: Database,
) -> None:
    source = {"job": "a" * 32, "artifact": "x", "sha256": "b" * 64}
    (one,), _ = jobs.add(db, [a_spec(kind="evaluate", source=source, split="train", timeout=5.0)])
    line = f"zoo evaluate {'a' * 32} --dataset digits --split train --timeout 5.0"
    assert command_line.job_command(jobs.get(db, one)) == line


def test_the_line_of_seeds_counts_them_and_a_sweep_is_rerun(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = submit.training("logistic", {}, TrainingOptions("digits", seed=7, seeds=3))
    _, seeds = jobs.add(db, specs, group_kind="seeds")
    assert (
        asked(command_line.group_command(jobs.get_group(db, str(seeds))), monkeypatch)["specs"]
        == specs
    )
    _, sweep = jobs.add(db, specs, group_kind="sweep")
    assert command_line.group_command(jobs.get_group(db, str(sweep))) == f"zoo rerun {sweep}"


# The mistakes


def test_the_surest_mistakes_come_first_with_both_probabilities(db: Database) -> None:
    said = [[0.4, 0.6], [0.1, 0.9], [0.7, 0.3], [0.2, 0.8]]
    files = predictions(
        index=[5, 6, 7, 8], label=LABELS, predicted=[1, 1, 0, 1], probabilities=said
    )
    found, note = mistakes.list_mistakes(settings.load(), job_of(db, trained(db, [], files=files)))
    assert [(m.row, m.label, m.predicted) for m in found] == [(6, 0, 1), (7, 1, 0), (5, 0, 1)]
    assert [m.probability for m in found] == [0.9, 0.7, 0.6]
    assert [m.label_probability for m in found] == pytest.approx([0.1, 0.3, 0.4])
    assert note == ""


def test_a_picture_is_the_image_in_dark_ink_on_white(db: Database) -> None:
    import base64

    from PIL import Image

    entries = gathered(db, trained(db, [1, 0, 1, 1], environment=seen()))
    png = entries.images[f"{dataset()} test 0"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("L")).astype(int)
    image = datasets.raw(dataset()).splits["test"].inputs[0].astype(int)
    assert shown.shape == (28, 28)
    assert abs(255 - shown - image).max() <= 255 / (mistakes.GREYS - 1) / 2 + 1


def test_a_fold_shows_images_of_the_train_split(db: Database) -> None:
    made = {"kind": "cv", "accuracies": [0.5] * 3, "environment": seen()}
    found = gathered(db, trained(db, [1, 0, 1, 1], *folds(3, dataset=dataset()), **made))
    assert set(found.images) == {f"{dataset()} train 0"}
    # Three folds of one cross-validation see an image once; here they all say to have seen it.
    assert [(m.test_set, m.predicted, m.jobs) for m in found.missed] == [
        (f"{dataset()} train", {"1": 3}, 1)
    ]


def test_images_that_several_jobs_missed_are_counted(db: Database) -> None:
    answers = ([1, 0, 1, 1], [1, 0, 0, 1], [0, 0, 1, 1])
    ids = [
        trained(db, each, a_spec(seed=n, dataset=dataset()), environment=seen())
        for n, each in enumerate(answers)
    ]
    found = gathered(db, *ids).missed
    assert [(m.image, m.label, m.predicted, m.jobs) for m in found] == [
        (f"{dataset()} test 0", "0", {"1": 2}, 3)
    ]


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda path, _: shutil.rmtree(path), "cannot be read"),
        (
            lambda path, _: (path / "predictions.npz").write_bytes(b"x"),
            "not the one that was stored",
        ),
        (lambda _, cache: shutil.rmtree(cache), "this machine has no npz:"),
    ],
)
def test_what_is_gone_is_told_in_a_sentence(db: Database, break_it: Any, told: str) -> None:
    job = job_of(db, trained(db, [1, 0, 1, 1], environment=seen()))
    break_it(Path(settings.load().artifacts) / str(job.artifact), settings.load().cache)
    found = gathered(db, job.id)
    assert told in found.entries[0].gallery.note
    assert told in data_of(page.render(found))["jobs"][0]["note"]
    assert found.images == {}


def test_other_images_than_those_that_were_judged_are_not_shown(db: Database) -> None:
    datasets.raw(dataset())
    found = gathered(db, trained(db, [1, 0, 1, 1]))  # its environment has other data
    assert "other contents" in found.entries[0].gallery.note
    assert found.images == {}


@pytest.mark.parametrize(
    "files",
    [
        predictions(index=[0], label=[0], predicted=[7]),
        predictions(index=[0, 1], label=[0], predicted=[0]),
        predictions(index=[-1], label=[0], predicted=[1]),
        predictions(index=[0], label=[0], predicted=[1], probabilities=[[0.1]]),
        {"predictions.npz": b"PK no zip"},
    ],
)
def test_predictions_that_are_none_are_refused_in_a_sentence(db: Database, files: Any) -> None:
    job = job_of(db, trained(db, [], files=files))
    found, note = mistakes.list_mistakes(settings.load(), job)
    assert found == [] and note.startswith(f"The predictions of {job.id[:8]} cannot be read: ")


# The page


def test_jobs_without_a_result_are_shown_with_their_status_and_error(db: Database) -> None:
    (failed, waiting), _ = jobs.add(db, [a_spec(seed=1), a_spec(seed=2)])
    held = claim(db)
    outcome = Outcome("failed", error_code="exception", error="It fell over.")
    assert jobs.finish(db, held, outcome, ProgressUpdate())
    html = page.render(gathered(db, failed, waiting))
    assert "It fell over." in html and "1 failed, 1 queued" in html
    notes = [job["note"] for job in data_of(html)["jobs"]]
    assert notes == [f"It is {status}: it has no predictions." for status in ("failed", "queued")]


def test_a_long_value_is_cut_in_names_and_whole_in_the_command(db: Database) -> None:
    (one,), _ = jobs.add(db, [a_spec(params={"sizes": list(range(90))}, changed=["sizes"])])
    (entry,) = gathered(db, one).entries
    assert entry.name == "m sizes=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …"
    assert "88, 89]" in entry.command


def test_without_a_job_the_page_says_how_to_make_one(db: Database) -> None:
    html = page.render(contents.gather(db, settings.load(), Selection([], "No job yet")))
    assert "zoo train logistic --dataset digits" in html


def test_hostile_words_are_escaped_wherever_they_stand(db: Database) -> None:
    html = page.render(gathered(db, *hostile(db)))
    body = html.replace("</script>\n<script>", "").replace("</script>\n</body>", "")
    assert "</script>" not in body and "<img" not in body and "onerror=window.hacked=1>" not in body
    assert html.count("7*7") >= 8 and "49" not in data_of(html)["jobs"][0]["name"]
    assert data_of(html)["jobs"][0]["classes"] == [HOSTILE, "1"]


def test_every_curve_is_thinned_out_and_keeps_its_last_step() -> None:
    steps = [{"step": n, "loss": 1 / n, "word": "x"} for n in range(1, 1235)]
    found = learning_curves.thinned(steps)
    assert set(found) == {"step", "loss"}
    assert len(found["step"]) <= learning_curves.POINTS and found["step"][-1] == 1234
    assert found["loss"][-1] == pytest.approx(1 / 1234, rel=1e-4)
    assert learning_curves.thinned([]) == {}


def test_the_folds_of_a_cross_validation_are_one_matrix_too(db: Database) -> None:
    told = {"confusion_matrix": [[1, 2], [3, 4]]}
    group = succeed(db, folds(3), kind="cv", accuracies=[0.5, 0.6, 0.7], metrics=told)
    (pooled,) = chart_data.page_data(gathered(db, group))["pooled"]
    assert pooled["matrix"] == [[3, 6], [9, 12]] and pooled["accuracy"] == pytest.approx(0.6)
    (waiting,), _ = jobs.add(db, [a_spec()])
    assert chart_data.page_data(gathered(db, waiting))["pooled"] == []


def test_the_best_is_no_lucky_fold_or_seed_and_was_not_seen_before(db: Database) -> None:
    cv = succeed(db, folds(2), kind="cv", accuracies=[0.99, 0.5])
    assert [(t.value, t.name) for t in tiles.best_results(gathered(db, cv))] == [
        (pytest.approx(0.745), "cv of 2 m on digits")
    ]
    source = {"job": "a" * 32, "artifact": "x", "sha256": "b" * 64}
    seen_before = succeed(
        db, [a_spec(kind="evaluate", source=source, split="train")], accuracies=[1.0]
    )
    seeds = succeed(db, [a_spec(seed=n) for n in (1, 2)], kind="seeds", accuracies=[0.9, 0.5])
    single = succeed(db, [a_spec()], accuracies=[0.6])
    (best,) = tiles.best_results(gathered(db, cv, seen_before, seeds, single))
    assert (best.value, best.name) == (pytest.approx(0.7), "seeds of 2 m on digits")


def test_fifty_jobs_of_long_curves_stay_far_below_three_megabytes(db: Database) -> None:
    rng = np.random.default_rng(1)
    job = job_of(db, trained(db, [1, 0, 1, 1], environment=seen()))
    images = {f"x test {n}": "x" * 700 for n in range(600)}
    matrix = rng.integers(0, 1000, (10, 10)).tolist()
    metrics = job.metrics | {"classes": list("0123456789"), "confusion_matrix": matrix}
    steps = [
        {"step": n}
        | {name: rng.random() for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        for n in range(1000)
    ]
    found = gathered(db, job.id)
    entry = found.entries[0]
    large = Job(**(vars(job) | {"metrics": metrics}))
    shown = type(entry)(**(vars(entry) | {"job": large, "steps": steps}))
    shown.gallery.first.extend([shown.gallery.first[0]] * (contents.SHOWN - 1))
    whole = Contents(**(vars(found) | {"entries": [shown] * 50, "images": images}))
    assert len(page.render(whole).encode()) < 2_500_000


def test_the_policy_allows_nothing_but_what_is_in_the_page(db: Database) -> None:
    html = page.render(contents.gather(db, settings.load(), Selection([], "No job yet")))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert (
        "default-src &#39;none&#39;" in policy and "unsafe" not in policy and "http" not in policy
    )
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)
    assert " style=" not in html and not re.findall(r"\son[a-z]+=", html.split("<script>")[0])


def test_a_file_is_written_whole_and_a_bad_place_is_told(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_output(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ZooError, match=r"nowhere/report.html cannot be written: No such file"):
        write_output(tmp_path / "nowhere" / "report.html", b"new")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        heard = pool.submit(pipe.read_bytes)
        write_output(pipe, b"page")
        assert heard.result() == b"page" and pipe.is_fifo()


def test_the_command_writes_a_file_and_says_what_is_in_it(zoo: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "first.html"
    told = zoo.run("report", "-o", str(path)).stderr
    assert (
        told
        == f"{path}: no job yet, {len(path.read_bytes()) / 1e6:.2f} MB. Open it in a browser.\n"
    )
    done = [succeed(zoo.database(), [a_spec(seed=n)]) for n in range(3)]
    shown = zoo.run("report", "--all", "-n", "2", "-o", "-").stdout
    assert [job["id"] for job in data_of(shown)["jobs"]] == [done[2], done[1]]
    assert "1 more job is left out" in re.sub(r"\s+", " ", shown)


def test_jobs_are_named_or_filtered_and_something_must_match(db: Database) -> None:
    succeed(db, [a_spec(dataset=dataset())])
    alone = typer.Typer()
    commands.register_commands(alone)
    for words in (["@last", "--all"], ["--model", "none"], ["zz"]):
        done = CliRunner().invoke(alone, words)
        assert isinstance(done.exception, ZooError) and done.exception.exit_code == 2


def test_images_of_two_contents_of_one_name_are_kept_apart(db: Database) -> None:
    path = dataset().removeprefix("npz:")
    first = trained(db, [1, 0, 1, 1], environment=seen())
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["x_test"] = arrays["x_test"][::-1]
    np.savez(path, allow_pickle=False, **arrays)
    second = trained(db, [1, 0, 1, 1], environment=seen())
    found = gathered(db, first, second)
    shown = [found.images[f"{entry.gallery.images} 0"] for entry in found.entries]
    assert len(set(shown)) == 2
