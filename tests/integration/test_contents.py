"""Results on different contents of one dataset's name: no ranking mixes them, none hides any."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import page_client as web
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, folds, succeed
from helpers.report_jobs import gathered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zoo_report import page, tiles

from zoo import jobs
from zoo import settings as chosen
from zoo.errors import UsageError
from zoo.jobs import Database
from zoo.jobs.group_metrics import sample_std
from zoo.queue import catalogue
from zoo.results import comparison, model_summaries
from zoo.results.leaderboard import leaderboard_rows

OLD, NEW = "a" * 64, "b" * 64
SOME = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ended(db: Database, contents: str | None, *accuracies: float, **given: Any) -> str:
    """A job, or the group of a kind, that was judged on these contents."""
    kind, metrics = given.pop("kind", None), given.pop("metrics", None)
    specs = [a_spec(seed=i, **given) for i in range(len(accuracies))]
    specs = folds(len(accuracies), **given) if kind == "cv" else specs
    told = {"data": contents}
    return succeed(db, specs, kind=kind, accuracies=accuracies, environment=told, metrics=metrics)


@pytest.fixture
def today(home: Path, empty_file: Path) -> Iterator[tuple[Database, str, str]]:
    """Yesterday's good result, and today's worse one on other contents of the same name."""
    home.mkdir()
    shutil.copy(empty_file, home)
    db = jobs.connect()
    yield db, ended(db, OLD, 0.99), ended(db, NEW, 0.7)
    db.close()


def test_the_leaderboard_ranks_each_contents_apart_the_newest_first(
    today: tuple[Database, str, str],
) -> None:
    db, old, new = today
    found = [(r.result.id, r.contents, r.is_newest) for r in leaderboard_rows(db)]
    assert found == [(new, NEW, True), (old, OLD, False)]
    unknown = ended(db, None, 0.9)
    rows = leaderboard_rows(db)
    assert [r.result.id for r in rows] == [unknown, new, old]
    assert [row.contents_note for row in rows] == ["", "older bbbbbbbb", "older aaaaaaaa"]


def test_best_is_of_the_newest_contents(today: tuple[Database, str, str]) -> None:
    db, old, new = today
    assert jobs.find_reference(db, "@best:digits").id == new
    assert jobs.find_reference(db, "@best:digits/m").id == new
    ended(db, "c" * 64, 0.1, 0.1, kind="cv")
    with pytest.raises(UsageError, match="on its newest contents"):
        jobs.find_reference(db, "@best:digits")
    again = ended(db, OLD, 0.5)  # the old contents are back: the name means them
    assert jobs.find_reference(db, "@best:digits").id == old != again


def test_models_have_a_result_for_each_contents(today: tuple[Database, str, str]) -> None:
    db, *_ = today
    offer = catalogue.Offer({"name": "m", "schema": {}}, True)
    found = model_summaries.summarize_models({"m": offer}, leaderboard_rows(db))
    told = [(each.row.accuracy, each.row.contents_note) for each in found if each.row]
    assert told == [(0.7, ""), (0.99, "older aaaaaaaa")]


def test_the_commands_say_which_result_is_of_older_contents(
    today: tuple[Database, str, str], home: Path
) -> None:
    db, old, new = today
    ended(db, OLD, 0.9, 0.92, kind="seeds", model="logistic")
    ended(db, NEW, 0.8, model="logistic")
    zoo = Zoo(home)
    lines = zoo.run("leaderboard").stdout.splitlines()
    told = {line.split()[1] for line in lines[1:]}
    assert told == {"newest", "older"} and len(lines) == 1 + 4
    assert {row["is_newest"] for row in zoo.json("leaderboard")} == {True, False}
    assert "older aaaaaaaa" in zoo.run("models", "logistic").stdout
    assert "older aaaaaaaa" in zoo.run("models", "show", "logistic").stdout
    assert "not evaluated on the same images" in zoo.run("compare", old, new).stderr


def test_the_report_marks_older_contents(today: tuple[Database, str, str]) -> None:
    db, old, new = today
    made = gathered(db, old, new)
    assert [(t.value, t.mark) for t in tiles.best_results(made)] == [
        (0.7, ""),
        (0.99, "older aaaaaaaa"),
    ]
    html = page.render(made)
    assert html.count("older aaaaaaaa") == 2 and "older bbbbbbbb" not in html


def test_the_page_marks_older_contents(tmp_path: Path, empty_file: Path) -> None:
    zoo = Zoo(tmp_path / "home")
    zoo.home.mkdir()
    shutil.copy(empty_file, zoo.home)
    db = zoo.database()
    for contents, accuracy, model in ((OLD, 0.99, "m"), (OLD, 0.8, "logistic"), (NEW, 0.7, "m")):
        ended(db, contents, accuracy, model=model, metrics={"weights_bytes": 9})
    shown = web.page(zoo)
    text, draw = shown.get("/leaderboard").text, shown.get("/draw?dataset=digits").text
    shown.close()
    zoo.close()
    assert text.count("older aaaaaaaa") == 2 and text.count('<tr data-key="digits ') == 3
    assert text.index("0.7000") < text.index("0.9900")
    assert "test accuracy 0.7000</small>" in draw
    assert draw.count("older") == 1 and "test accuracy 0.8000, older aaaaaaaa</small>" in draw


def test_a_notebook_sees_both(today: tuple[Database, str, str]) -> None:
    pytest.importorskip("pandas")
    from zoo.notebook import functions

    found = functions.get_leaderboard()
    assert list(found["is_newest"]) == [True, False] and list(found["contents"]) == [NEW, OLD]


def test_what_was_judged_on_other_contents_is_not_compared(
    today: tuple[Database, str, str],
) -> None:
    db, old, new = today

    def met(a: str, b: str) -> list[str]:
        one, two = (comparison.load_result(db, jobs.find_reference(db, ref)) for ref in (a, b))
        return comparison.compare_pair(chosen.load(), one, two).notes

    assert "not evaluated on the same images (data" in met(old, new)[0]
    unknown = [ended(db, None, 0.5) for _ in range(2)]
    assert "Neither records which images" in met(*unknown)[0]
    assert "not evaluated on the same images (data" in met(old, unknown[0])[0]
    pair = [mixed(db) for _ in range(2)]
    assert "different contents" in met(*pair)[0]


def mixed(db: Database, kind: str = "seeds") -> str:
    """A group whose jobs saw different contents."""
    specs = folds(2) if kind == "cv" else [a_spec(seed=i) for i in range(2)]
    return succeed(db, specs, kind=kind, accuracies=[0.9, 0.9], contents=[OLD, NEW])


@pytest.mark.parametrize("kind", ["seeds", "cv", "sweep"])
def test_a_group_whose_jobs_saw_different_contents_has_no_mean(
    today: tuple[Database, str, str], home: Path, kind: str
) -> None:
    db, *_ = today
    ref = mixed(db, kind)
    found = jobs.get_group(db, ref)
    assert found.status == "succeeded" and found.is_mixed and found.metrics() == {}
    assert not [row for row in leaderboard_rows(db) if row.cv or row.test.is_group]
    zoo = Zoo(home)
    assert "different contents of the dataset" in zoo.run("show", ref).stderr
    assert page.render(gathered(db, ref))


PLACES = st.tuples(
    st.sampled_from(["digits", "npz:/a"]),
    st.sampled_from([OLD, NEW, None]),
    st.sampled_from([None, "seeds", "cv"]),
    st.sampled_from([0.25, 0.5, 0.75]),
)


@SOME
@given(st.lists(PLACES, max_size=8))
def test_every_result_is_ranked_among_those_on_its_contents_alone(
    empty_file: Path, tmp_path_factory: pytest.TempPathFactory, made: list[tuple[Any, ...]]
) -> None:
    db = Database(f"sqlite:///{shutil.copy(empty_file, tmp_path_factory.mktemp('ranks'))}")
    best: dict[tuple[Any, ...], float] = {}
    newest: dict[str, Any] = {}
    for number, (dataset, contents, kind, accuracy) in enumerate(made):
        ended(db, contents, *[accuracy] * (2 if kind else 1), kind=kind, dataset=dataset)
        # A result that does not know its contents is ranked with no other.
        key = dataset, contents or number, "cv" if kind == "cv" else "test"
        best[key] = max(best.get(key, 0), accuracy)
        newest[dataset] = contents or number
    ranked = [
        (r.dataset, r.contents, side, getattr(r, side).accuracy)
        for r in leaderboard_rows(db)
        for side in ("test", "cv")
        if getattr(r, side)
    ]
    plain = [(d, c if isinstance(c, str) else None, s, a) for (d, c, s), a in best.items()]
    assert sorted(ranked, key=str) == sorted(plain, key=str)
    marks = {(r.dataset, r.contents) for r in leaderboard_rows(db) if r.is_newest}
    told = {(d, c if isinstance(c, str) else None) for d, c in newest.items()}
    assert marks == told and jobs.newest_contents(db) == dict(told)
    db.close()


@given(st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_the_deviation_is_that_of_a_sample_and_none_of_one_value(values: list[float]) -> None:
    pd = pytest.importorskip("pandas")
    found = sample_std(values)
    if len(values) < 2:
        assert found is None and pd.Series(values, dtype=float).std() != found
    else:
        assert found == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-9)
        assert found == pytest.approx(pd.Series(values).std(), rel=1e-6, abs=1e-6)


def test_one_value_has_no_deviation_wherever_it_is_shown(
    today: tuple[Database, str, str], home: Path
) -> None:
    db, *_ = today
    alone = {kind: ended(db, NEW, 0.8, kind=kind) for kind in ("seeds",)}
    assert jobs.get_group(db, alone["seeds"]).metrics()["accuracy"].std is None
    zoo = Zoo(home)
    assert "accuracy 0.8000 (n = 1)" in zoo.run("show", alone["seeds"]).stdout
    assert zoo.json("show", alone["seeds"])["metrics"]["accuracy"]["std"] is None
    assert "0.8000 (n = 1)" in zoo.run("leaderboard").stdout
    assert page.render(gathered(db, alone["seeds"]))
    json.dumps([row.to_json() for row in leaderboard_rows(db)], allow_nan=False)
