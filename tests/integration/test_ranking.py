"""The best results, as the database finds them, on rows that were made by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers.job_rows import end, spec

from zoo import jobs
from zoo.job_spec import Fold
from zoo.jobs import Best, Database, Filter, Group, Job, schema
from zoo.query import parser


def ids(found: Best) -> tuple[str | None, str | None]:
    return found.test and found.test.id, found.cv and found.cv.id


def group(
    db: Database, kind: str, accuracies: Sequence[float | None], **changes: Any
) -> tuple[str, list[str]]:
    """A group that has ended with these accuracies; None is a failure."""
    specs = [spec(**changes) for _ in accuracies]
    if kind == "cv":
        folds = [Fold(k=max(len(specs), 2), index=n) for n in range(len(specs))]
        specs = [s.model_copy(update={"fold": f}) for s, f in zip(specs, folds, strict=True)]
    if kind == "sweep":
        specs = [s.model_copy(update={"params": {"n": n}}) for n, s in enumerate(specs)]
    members, group_id = jobs.add(db, specs, group_kind=kind)
    end(db, accuracies)
    return str(group_id), members


def mean_of(db: Database, group_id: str) -> float | None:
    with db.read() as rows:
        found = rows.value("SELECT accuracy FROM job_group WHERE id = :id", {"id": group_id})
    return found if found is None else float(found)


def test_a_group_has_its_mean_once_all_its_jobs_have_succeeded(db: Database) -> None:
    group_id, members = group(db, "cv", [0.5, None, 0.75])
    assert mean_of(db, group_id) is None and jobs.best(db) == []
    (again,) = jobs.retry(db, members)
    end(db, [1.0])
    assert mean_of(db, group_id) == pytest.approx(0.75)
    (best,) = jobs.best(db)
    assert ids(best) == (None, group_id)
    assert isinstance(best.cv, Group) and [j.id for j in best.cv.jobs][-1] == again


def test_the_last_two_of_a_group_that_end_at_once_make_it_whole(db: Database) -> None:
    shared: Any = {"pool": "default", "models": {"logistic": "p"}, "datasets": ["digits"]}
    done = jobs.Outcome("succeeded", {"accuracy": 0.5}, "a/1", "0" * 64)
    for _ in range(10):
        _, group_id = jobs.add(db, [spec(), spec()], group_kind="seeds")
        held = [jobs.claim(db, worker="w", lease=60, **shared) for _ in range(2)]
        with ThreadPoolExecutor(2) as threads:
            assert all(threads.map(lambda h: h and jobs.finish(db, h[0], done), held))
        assert mean_of(db, str(group_id)) == 0.5


def test_of_equals_the_oldest_job_is_the_best_and_parts_of_groups_do_not_count(
    db: Database,
) -> None:
    group(db, "seeds", [0.5, 0.99])
    group(db, "cv", [0.9, 1.0])
    first, _, _ = jobs.add(db, [spec(), spec(), spec(split="train")])[0]
    end(db, [0.8, 0.8, 1.0])
    (best,) = jobs.best(db)
    assert best.test is not None and best.test.id == first
    assert best.cv is not None and best.cv.metrics()["accuracy"].mean == pytest.approx(0.95)


def test_jobs_of_a_sweep_count_each_on_its_own(db: Database) -> None:
    _, members = group(db, "sweep", [0.7, 0.9, None])
    (best,) = jobs.best(db)
    assert best.test is not None and best.test.id == members[1]


def test_a_trial_of_several_jobs_counts_by_its_mean(db: Database) -> None:
    trials = [spec(params={"n": n}, seed=seed) for n in (1, 2, 3) for seed in (1, 2)]
    ids, sweep = jobs.add(db, trials, group_kind="sweep")
    end(db, [0.2, 1.0, 0.7, 0.7, 1.0, None])
    (best,) = jobs.best(db)
    assert isinstance(best.test, Group) and best.test.id == sweep
    assert [job.id for job in best.test.jobs] == ids[2:4]
    low = Filter(where=parser.parse("params.n == 1", jobs.FIELD_NAMES))
    (best,) = jobs.best(db, low)
    assert isinstance(best.test, Group) and [job.id for job in best.test.jobs] == ids[:2]


def test_the_best_are_told_apart_by_any_name(db: Database) -> None:
    rates = [0.1, 0.1, 1, "auto", None]
    made, _ = jobs.add(db, [spec(params={"rate": rate}) for rate in rates])
    end(db, [0.5, 0.6, 0.7, 0.8, 0.9])
    found = jobs.best(db, by=["params.rate"])
    assert {each.by[0]: each.test.id for each in found if each.test} == {
        0.1: made[1],
        1: made[2],
        "auto": made[3],
        "null": made[4],
    }


def test_a_group_counts_for_a_filter_if_all_its_jobs_match(db: Database) -> None:
    low, _ = group(db, "seeds", [0.5, 0.9], params={"rate": 1})
    high, _ = group(db, "seeds", [0.6, 0.6], params={"rate": 2})

    def best(text: str) -> list[str]:
        wanted = Filter(where=parser.parse(text, jobs.FIELD_NAMES))
        return [each.test.id for each in jobs.best(db, wanted) if each.test]

    assert best("accuracy > 0.4") == [low]
    assert best("accuracy > 0.55") == [high]
    assert best("params.rate < 2") == [low]
    assert best("accuracy > 0.95") == []


@pytest.mark.parametrize("seed", range(3))
def test_the_database_finds_what_a_search_through_all_records_finds(
    db: Database, seed: int
) -> None:
    draw = random.Random(seed)
    groups: list[str] = []
    for _ in range(12):
        kind = draw.choice([None, "seeds", "cv", "sweep"])
        model, dataset = (
            draw.choice(["logistic", "dense-softmax"]),
            draw.choice(["digits", "mnist"]),
        )
        accuracies = [draw.choice([0.25, 0.5, 0.75, None]) for _ in range(draw.randint(2, 3))]
        if kind:
            groups.append(group(db, kind, accuracies, model=model, dataset=dataset)[0])
        else:
            jobs.add(db, [spec(model=model, dataset=dataset)] * len(accuracies))
            end(db, accuracies)
    whole = [g for g in (jobs.get_group(db, each) for each in groups) if g.status == "succeeded"]
    sweeps = {g for g in groups if jobs.get_group(db, g).kind == "sweep"}
    alone = [
        job
        for job in jobs.listing(db, statuses=["succeeded"], sort="created_at")
        if job.group is None or job.group in sweeps
    ]
    expected: dict[tuple[str, str, str], float] = {}
    results: list[Job | Group] = [*alone, *(g for g in whole if g.kind in ("seeds", "cv"))]
    for each in results:
        job = each.jobs[0] if isinstance(each, Group) else each
        place = "cv" if isinstance(each, Group) and each.kind == "cv" else "test"
        key = (job.dataset, job.model, place)
        expected[key] = max(expected.get(key, 0), number(each))
    found = {
        (each.dataset, each.model, place): number(result)
        for each in jobs.best(db)
        for place, result in (("test", each.test), ("cv", each.cv))
        if result
    }
    assert found == pytest.approx(expected)


def test_steps_of_the_index_find_what_a_search_through_all_rows_finds(db: Database) -> None:
    draw = random.Random(5)
    for _ in range(60):
        model, dataset = (
            draw.choice(["logistic", "dense-softmax"]),
            draw.choice(["digits", "mnist"]),
        )
        jobs.add(db, [spec(model=model, dataset=dataset)])
        end(db, [draw.choice([0.0, 0.25, 0.5, None])], draw.choice(["a" * 64, "b" * 64, None]))
    # With a condition on a metric, all rows are read.
    every = Filter(where=parser.parse("accuracy >= 0", jobs.FIELD_NAMES))
    found = jobs.best(db, every)
    assert jobs.best(db) == found and len(found) > 8
    wanted = Filter(datasets=["dig*"], models=["logistic"])
    named = [each for each in found if (each.dataset, each.model) == ("digits", "logistic")]
    assert [ids(each) for each in jobs.best(db, wanted)] == [ids(each) for each in named]
    with db.write() as rows:
        rows.run("UPDATE job SET contents = NULL WHERE contents = :b", {"b": "b" * 64})
    assert jobs.best(db) == jobs.best(db, every)


def number(result: Job | Group) -> float:
    if isinstance(result, Group):
        return result.metrics()["accuracy"].mean
    return float(result.metrics["accuracy"])


def test_an_upgrade_gives_old_rows_their_ranks(db: Database) -> None:
    from alembic import command

    seeds, _ = group(db, "seeds", [0.5, 1.0])
    part, members = group(db, "cv", [0.5, None])
    jobs.retry(db, members)
    end(db, [0.75])
    group(db, "seeds", [0.9, None])
    jobs.add(db, [spec(), spec(split="train"), spec()])
    end(db, [0.6, 0.9, None])
    odd, _ = jobs.add(db, [spec(params={"a": "\0 \ud800 \\u0000"})])
    taken = jobs.claim(
        db, pool="default", models={"logistic": "p"}, datasets=["digits"], worker="w", lease=60
    )
    assert taken
    said = {"accuracy": "high", "classes": ["\0"]}
    jobs.finish(db, taken[0], jobs.Outcome("succeeded", said, "a/1", "0" * 64))
    before = ranks(db)
    with schema.locked(db) as config:
        command.downgrade(config, "3")
    jobs.upgrade(db)
    assert ranks(db) == before
    # On the way down the attempts have lost where they ran: each result now stands by itself.
    found = {ids(best) for best in jobs.best(db)}
    assert {(seeds, None), (None, part)} <= found and len(found) == 3
    assert jobs.get(db, odd[0]).accuracy is None


def test_an_upgrade_finds_the_contents_that_results_were_judged_on(db: Database) -> None:
    from alembic import command

    for kind, contents in (("seeds", "a" * 64), ("cv", None), ("seeds", "b" * 64)):
        jobs.add(
            db,
            [spec(fold=Fold(k=2, index=i) if kind == "cv" else None) for i in (0, 1)],
            group_kind=kind,
        )
        end(db, [0.5, 0.75], contents)
    jobs.add(db, [spec(), spec()], group_kind="seeds")
    end(db, [0.9], "a" * 64)
    end(db, [0.9], "b" * 64)
    jobs.add(db, [spec(), spec()])
    end(db, [0.6], "a" * 64)
    end(db, [0.7], None)
    before = contents_known(db)
    assert sum(row["contents"] is None for row in before) == 1  # the mixed group
    with schema.locked(db) as config:
        command.downgrade(config, "5")
    jobs.upgrade(db)
    assert contents_known(db) == before


def contents_known(db: Database) -> list[Any]:
    with db.read() as rows:
        jobs_now = rows.all("SELECT seq, accuracy, contents FROM job ORDER BY seq")
        return jobs_now + rows.all("SELECT id, accuracy, contents FROM job_group ORDER BY id")


def ranks(db: Database) -> list[Any]:
    with db.read() as rows:
        jobs_now = rows.all("SELECT seq, accuracy, ranked FROM job ORDER BY seq")
        return jobs_now + rows.all("SELECT id, accuracy, model, dataset FROM job_group ORDER BY id")


def test_rows_of_a_published_table_that_differ_in_preprocessing_alone_are_results_each(
    db: Database,
) -> None:
    rows = [spec(), spec(preprocess="deskew"), spec(model="dense-softmax")]
    members, _ = jobs.add(db, rows, group_kind="sweep")
    end(db, [0.5, 0.75, 0.25])
    assert [(b.model, ids(b)) for b in jobs.best(db)] == [
        ("dense-softmax", (members[2], None)),
        ("logistic", (members[1], None)),
    ]
