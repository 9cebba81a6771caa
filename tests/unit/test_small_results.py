"""What small shapes of results print: one job, one point, whole numbers, steps without a print."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, claim, folds
from helpers.terminals import command, shown
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from zoo_report import plots

import zoo
from zoo import jobs, settings
from zoo.cli import completion
from zoo.cli.render import console
from zoo.errors import UsageError, as_sentence
from zoo.jobs import STATUSES, TERMINAL, Database, Outcome, ProgressUpdate
from zoo.jobs.environments import Environment
from zoo.jobs.records import number_text
from zoo.queue import submit
from zoo.results import learning_curves
from zoo.results.learning_curves import Run

quick = examples(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def db(home: Path, empty_file: Path) -> Iterator[Database]:
    home.mkdir()
    shutil.copy(empty_file, home)
    with contextlib.closing(jobs.connect()) as found:
        yield found


def clear(db: Database) -> None:
    with db.write() as rows:
        for name in ("log", "history", "attempt", "job", "job_group"):
            rows.run(f"DELETE FROM {name}")


def test_a_shell_is_offered_all_that_zoo_has_and_nothing_else() -> None:
    assert sorted(dir(zoo)) == sorted(zoo.__all__)
    assert {"train", "get_job", "list_jobs", "load_model", "Model"} <= {*dir(zoo)}
    assert all(getattr(zoo, name) is not None for name in dir(zoo))


@given(st.text(max_size=20))
def test_another_sentence_can_follow_any_text(text: str) -> None:
    found = as_sentence(text)
    assert found.startswith(text.rstrip()) and found[-1] in ".!?…"
    assert len(found) <= len(text) + 1 and as_sentence(found) == found


# --- whole numbers, single points ---


whole = st.integers(2, 10**6) | st.integers(-(10**6), -2)


@given(whole.map(float))
def test_a_whole_metric_is_shown_without_decimals_and_others_with_four(value: float) -> None:
    texts = {console.number(value), number_text(value)}
    assert {text.replace(",", "") for text in texts} == {str(int(value))}
    other = value + 0.25
    for text in (console.number(other), number_text(other)):
        assert text.endswith((".2500", ".7500"))


@given(st.floats(1e-9, 4e-5))
def test_what_four_decimals_would_hide_has_two_digits(value: float) -> None:
    assert float(number_text(value)) == pytest.approx(value, rel=0.06)
    assert console.number(value) == number_text(value)


@given(st.sampled_from([-1.0, 0.0, 1.0]))
def test_a_share_keeps_its_decimals(value: float) -> None:
    assert console.number(value) == number_text(value) == f"{value:.4f}"


@pytest.mark.slow
@given(st.lists(st.tuples(st.none() | whole, st.none() | st.floats(0, 1)), max_size=5))
def test_nothing_is_drawn_of_a_single_point(values: list[tuple[int | None, float | None]]) -> None:
    steps = [{"step": n + 1, "epochs": a, "accuracy": b} for n, (a, b) in enumerate(values)]
    points = {
        name: sum(step[name] is not None for step in steps) for name in ("epochs", "accuracy")
    }
    drawn_on_page = {each["title"] for each in learning_curves.charts([Run("m", steps)])}
    assert drawn_on_page == {name for name, n in points.items() if n > 1}
    with plots.style():
        drawn = plots.learning_curves(steps, {}) if steps else None
    assert (drawn is not None) == any(n > 1 for n in points.values())


# --- retry ---


@pytest.mark.slow
@quick
@given(st.lists(st.sampled_from([*STATUSES, "again"]), min_size=1, max_size=14))
def test_what_cannot_be_retried_is_said_of_each_job(db: Database, statuses: list[str]) -> None:
    clear(db)
    ids = []
    for status in statuses:
        (job,), _ = jobs.add(db, [a_spec()])
        with db.write() as rows:
            at = "failed" if status == "again" else status
            over = ", finished_at = 1.0" if at in TERMINAL else ""
            over = ", owner = 'o', lease_until = 9e9" if at == "running" else over
            over += ", artifact = 'a/1'" if at == "succeeded" else ""
            rows.run(f"UPDATE job SET status = :at{over} WHERE id = :id", {"at": at, "id": job})
        ids.append(job)
    marked = [job for job, status in zip(ids, statuses, strict=True) if status == "again"]
    again = jobs.retries(db, marked) if jobs.retry(db, marked) else {}
    bad = {"failed", "timed_out", "cancelled", "lost"} & {*statuses}
    if bad:
        return
    with pytest.raises(UsageError) as refused:
        submit.retry(db, settings.load(), ids)
    for job, status in list(zip(ids, statuses, strict=True))[:10]:
        words = f"was submitted again as {again[job][:8]}" if job in again else status
        words = "has succeeded" if status == "succeeded" else words
        assert re.search(rf"{job[:8]} (is )?{words}", refused.value.message), refused.value.message
    assert ("more" in refused.value.message) == (len(ids) > 10)


# --- completion of @best: ---


@pytest.mark.slow
@quick
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train", "cv", "older", "failed", "queued"]),
            st.sampled_from(["digits", "mnist"]),
        ),
        max_size=4,
    )
)
def test_each_best_that_is_offered_names_a_training(
    db: Database, found: list[tuple[str, str]]
) -> None:
    clear(db)
    expected = set()
    for kind, dataset in found:
        spec = a_spec(dataset=dataset)
        if kind == "cv":
            specs = folds(2, dataset=dataset)
            store(db, specs, "cv", [0.5, 0.5])
        elif kind in ("train", "older"):
            store(db, [spec], None, [0.5])
            expected.add(dataset)
        elif kind == "failed":
            store(db, [spec], None, [None])
        else:
            continue
    words = dict(completion.references("@best:"))
    offered = {word for word in words if word.startswith("@best:")}
    assert offered == {f"@best:{dataset}" for dataset in expected}
    for word in offered:
        assert jobs.find_reference(db, word)
        inner = [each for each in dict(completion.references(f"{word}/")) if "/" in each]
        assert inner == [f"{word}/m"] and jobs.find_reference(db, inner[0])


def store(db: Database, specs: Any, kind: str | None, accuracies: list[float | None]) -> None:
    jobs.add(db, specs, group_kind=kind)
    for accuracy in accuracies:
        taken = jobs.claim(
            db, pool="default", models={"m": "p"}, datasets=["digits", "mnist"], worker="w",
            lease=60,
        )  # fmt: skip
        assert taken
        outcome = Outcome("succeeded", {"accuracy": accuracy}, "a/1", "0" * 64)
        if accuracy is None:
            outcome = Outcome("failed", error="no", error_code="exception")
        assert jobs.finish(
            db, taken[0], outcome, ProgressUpdate(environment=Environment(data="d" * 64))
        )


# --- logs ---


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("printed", [False, True])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_log_ends_with_it_printed_nothing_only_if_nothing_was_shown(
    db: Database, follow: bool, printed: bool, steps: int
) -> None:
    jobs.add(db, [a_spec()])
    held = claim(db)
    told = [(n + 1, {"loss": 0.5}) for n in range(steps)]
    done = {"step": steps, "total": steps, "unit": "epoch", "metrics": {"loss": 0.5}}
    progress = done if steps else {"phase": "save"}
    news = ProgressUpdate(progress=progress, steps=told, lines=[(0, "a line\n")] if printed else [])
    assert jobs.finish(db, held, Outcome("succeeded", {}, "a/1", "0" * 64), news)
    out, err = shown(command("logs", held.job, *["-f"] * follow))
    assert ("a line" in out) == printed
    assert follow or "save" not in err
    assert ("has no output" in err) == (not printed and not steps)
    assert ("epoch 2/2 loss 0.5000" in err) == (bool(steps) and (follow or not printed))


# --- the leaderboard of a narrow terminal ---


@pytest.mark.slow
@quick
@given(
    kinds=st.lists(st.sampled_from(["train", "seeds", "cv"]), min_size=1, max_size=4),
    width=st.integers(60, 160),
)
def test_each_row_of_the_leaderboard_shows_a_result(
    db: Database, kinds: list[str], width: int
) -> None:
    clear(db)
    for number, kind in enumerate(kinds):
        specs = {
            "train": [a_spec()],
            "seeds": [a_spec(seed=n) for n in range(2)],
            "cv": folds(2),
        }[kind]
        specs = [each.model_copy(update={"model": f"model-{number}"}) for each in specs]
        jobs.add(db, specs, group_kind=kind if kind != "train" else None)
        for n in range(len(specs)):
            taken = jobs.claim(db, pool="default", models={f"model-{number}": "p"},
                               datasets=["digits"], worker="w", lease=60)  # fmt: skip
            assert taken
            told = {"accuracy": 0.9262 + n / 100, "fit_seconds": 1.0, "parameters": 7850}
            told["per_class"] = {"0": {}, "1": {}}
            outcome = Outcome("succeeded", told, "a/1", "0" * 64)
            assert jobs.finish(
                db, taken[0], outcome, ProgressUpdate(environment=Environment(data="d" * 64))
            )
    out, _ = shown(command("leaderboard"), width=width)
    _, *lines = out.splitlines()
    assert len(lines) == len(kinds)
    for line in lines:
        assert re.search(r"0\.9(262|312)", line), out


# --- options that name a folder ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("predict", "@last", "--index", "1"), ("plugins", "new", "my-net")]
)
def test_an_option_that_names_a_folder_refuses_stdout(
    zoo: Zoo, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = zoo.run(*words, "-o", "-", code=2)
    assert "-o - is stdout" in done.stderr and not list(tmp_path.glob("-*"))
