"""Filters, orders and the best results: the database's verdict is that of the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from helpers.conditions import conditions
from helpers.job_rows import end, spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, Filter, Outcome, QueueOptions, bulk_actions, fields
from zoo.query import parser
from zoo.query.expression import Compare, Condition
from zoo.queue.job_filters import FilterWords

SOME = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def finish(db: Database, metrics: dict[str, Any]) -> None:
    """Claim and end the oldest queued job with these metrics."""
    taken = jobs.claim(
        db, pool="default", models={"logistic": "p"}, datasets=["digits"], worker="w", lease=60
    )
    assert taken
    jobs.finish(db, taken[0], Outcome("succeeded", metrics, "a/1", "0" * 64))


NAMED = ["metrics.loss", "metrics.accuracy", "metrics.a-b", "metrics.a.b"]
MISSING = ["metrics.nope", "metrics.los", "metrics.loss.a", "metrics.a.c", "metrics.a.b.c"]


def test_a_metric_that_no_job_has_is_refused_with_those_there_are(db: Database) -> None:
    for name in [*NAMED, *MISSING]:  # before the first result, nothing is known
        jobs.check_metrics(db, [name])
    jobs.add(db, [spec()])
    finish(db, {"accuracy": 1.0, "loss": None, "a-b": 1, "a": {"b": 2}})
    for name in NAMED:
        assert (
            jobs.listing(db, FilterWords(where=f"{name} > 5 or {name} != 5").filter(db), sort=name)
            or 1
        )
        jobs.best(db, by=[name])
    for name in MISSING:
        for ask in (
            lambda name=name: FilterWords(where=f"accuracy > 0 and not {name} > 1").filter(db),
            lambda name=name: jobs.listing(db, sort=f"-{name}"),
            lambda name=name: bulk_actions.list_ids(db, Filter(), sort=name),
            lambda name=name: jobs.best(db, by=[name]),
        ):
            with pytest.raises(UsageError) as refused:
                ask()
            assert f"No job has {name}" in str(refused.value)
            assert "metrics.a-b, metrics.accuracy, metrics.loss" in str(refused.value)
        assert FilterWords(where=f"{name} == null").filter(db)  # that is asked, not assumed


def found(db: Database, text: str, **words: Any) -> list[str]:
    wanted = Filter(where=parser.parse(text, jobs.FIELD_NAMES), **words)
    return [job.id for job in jobs.listing(db, wanted)]


NUMBERS = [-5, 0, 1, 3, 0.5, 1.0, -1.5, 1e-3, 2.0**60, 1e300]
TEXTS = ["a", "ab", "a_b", "a%b", "%", "!", "é", "한", "a\nb", '"', "\\", "🙂", "5", ""]
LEAVES = [None, True, False, *NUMBERS, *TEXTS, [], {}, ["a", 1, True], {"x-y": 1, "3": "a"}]


def asked(name: str) -> list[Compare]:
    """Every comparison of a name with one of those values."""
    path = tuple(name.split("."))
    anything = [*NUMBERS, *TEXTS, True, False]
    patterns = [*TEXTS, "a*", "*b", "a?b", "*", "?", "!*", "*%*"]
    found = [Compare(path, sign, value) for sign in ("==", "!=") for value in [*anything, None]]
    found += [Compare(path, "has", value) for value in anything]
    found += [Compare(path, sign, value) for sign in parser.ORDER for value in NUMBERS]
    return found + [Compare(path, "~", value) for value in patterns]


def agree(db: Database, wanted: Sequence[Condition]) -> None:
    """See that the database judges as the records do."""
    every, at = jobs.listing(db), jobs.clock(db)
    for one in wanted:
        judged = parser.Where(one)
        expected = {job.id for job in every if judged.matches(jobs.field_values(job, at))}
        assert {job.id for job in jobs.listing(db, Filter(where=judged))} == expected, str(one)


@pytest.fixture
def varied(db: Database) -> Database:
    """A job for each kind of value; some have ended, one with an accuracy of 1."""
    for number, value in enumerate(LEAVES):
        tags = TEXTS[: number % 4]
        model = "logistic" if number % 2 else "dense-softmax"
        jobs.add(
            db, [spec(params={"a": value}, model=model, seed=number % 3)], QueueOptions(tags=tags)
        )
    jobs.add(db, [spec()])
    end(db, [0.5, 1, None, 0.001, 0, None])
    return db


@pytest.mark.parametrize(
    "name", ["params.a", "params.a.x-y", "params.a.3", "metrics.accuracy", "metrics.a"]
)
def test_a_value_in_json_is_compared_as_in_a_record(varied: Database, name: str) -> None:
    agree(varied, asked(name))


@pytest.mark.parametrize("name", ["accuracy", "loss", "seed", "tags", "model", "error", "attempt"])
def test_what_every_job_has_is_compared_as_in_a_record(varied: Database, name: str) -> None:
    agree(varied, [*asked(name), Compare((name,), "==", "logistic"), Compare((name,), "~", "d*")])


def test_every_name_can_be_asked_for(varied: Database) -> None:
    # A metric that no job has is refused.
    stand_in = {"params.*": "params.a", "metrics.*": "metrics.loss"}
    names = [stand_in.get(n, n) for n in jobs.FIELD_NAMES if n not in fields.RANKING_FIELDS]
    agree(varied, [Compare(tuple(name.split(".")), "!=", None) for name in names])
    for name in names:
        assert len(jobs.listing(varied, sort=f"-{name}")) == len(LEAVES) + 1


def test_a_metric_to_rank_by_is_a_name_of_its_own(db: Database) -> None:
    assert jobs.listing(db, sort="-f1_macro") == [], "before the first result, nothing is known"
    for value in (0.5, None, 0.75):
        jobs.add(db, [spec()])
        finish(db, {"accuracy": 1.0, "f1_macro": value})
    jobs.add(db, [spec()])
    every = jobs.listing(db, sort="-f1_macro")
    assert [job.metrics.get("f1_macro") for job in every] == [0.75, 0.5, None, None]
    assert found(db, "f1_macro > 0.6") == [every[0].id]
    agree(db, asked("f1_macro"))
    wanted = Filter(where=parser.parse("f1_macro > 0.6", jobs.FIELD_NAMES))
    assert [each.test and each.test.id for each in jobs.best(db, wanted)] == [every[0].id]
    for ask in (
        lambda: jobs.listing(db, sort="roc_auc"),
        lambda: jobs.check_metrics(db, ["roc_auc"]),
        lambda: FilterWords(where="roc_auc > 0").filter(db),
    ):
        with pytest.raises(UsageError, match=r"No job has roc_auc\. There are accuracy, f1_macro"):
            ask()


@SOME
@given(st.lists(conditions(st.sampled_from(asked("params.a") + asked("accuracy"))), max_size=20))
def test_a_condition_of_many_is_judged_as_by_the_records(
    varied: Database, wanted: list[Condition]
) -> None:
    agree(varied, wanted)


def test_a_text_that_postgresql_cannot_read_stops_no_query(db: Database) -> None:
    half = spec(params={"a": "x\ud800", "b": "y\0\\u0000"})
    (odd,), _ = jobs.add(db, [half])
    (plain,), _ = jobs.add(db, [spec(params={"a": "x", "b": "y"})])
    assert plain in found(db, "params.a ~ 'x*' and params.b == 'y'")
    assert found(db, "params.a != 'x'") == [odd]
    assert len(jobs.listing(db, sort="params.a")) == 2
