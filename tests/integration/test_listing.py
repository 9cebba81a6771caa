"""`zoo jobs` and what acts by the same filter words: cancel, retry, tag, wait."""

from __future__ import annotations

import csv
import io
import shlex
from datetime import datetime

import pytest
from helpers.command_line import Zoo
from helpers.job_rows import end, spec

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, Filter, QueueOptions, Requests
from zoo.queue.job_filters import read_time


def test_a_thousand_jobs_are_cancelled_and_what_has_ended_stays(db: Database) -> None:
    every, _ = jobs.add(db, [spec() for _ in range(1000)])
    end(db, [0.5])
    running = jobs.claim(
        db, pool="default", models={"logistic": "p"}, datasets=["digits"], worker="w", lease=60
    )
    found = jobs.list_ids(db, Filter(models=["log*"]))
    assert found == every and jobs.list_ids(db, Filter(), sort="-created_at", limit=1) == every[-1:]
    statuses = jobs.cancel_many(db, found)
    assert len(statuses) == 999 and every[0] not in statuses
    assert running and statuses[running[0].job] == "running"
    assert jobs.counts(db) == {"succeeded": 1, "running": 1, "cancelled": 998}
    assert jobs.beat(db, running[0], lease=60) == Requests(cancel=True, stop=False)
    assert jobs.cancel_many(db, every[2:]) == {}


def test_tags_are_added_and_taken_off_once(db: Database) -> None:
    every, _ = jobs.add(db, [spec() for _ in range(600)], QueueOptions(tags=["old"]))
    assert jobs.tag(db, every, ["new", "new"], ["old"]) == every
    assert jobs.tag(db, every[:2], ["new"]) == []
    assert jobs.get(db, every[599]).tags == ["new"]
    assert jobs.count(db, Filter(tags=["n?w"])) == 600
    assert jobs.count(db, Filter(tags=["new"]), most=10) == 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-11-24T12:30:00"),
        ("1.5 d", "2026-11-23T02:30:00"),
        ("90s", "2026-11-24T14:28:30"),
        ("today", "2026-11-24T00:00:00"),
        ("yesterday", "2026-11-23T00:00:00"),
        ("2026-11-01", "2026-11-01T00:00:00"),
        ("2026-11-01T09:15", "2026-11-01T09:15:00"),
    ],
)
def test_a_time_is_a_span_back_from_now_or_a_local_date(text: str, expected: str) -> None:
    at = datetime.fromisoformat("2026-11-24T14:30:00").timestamp()
    assert read_time(text, at) == datetime.fromisoformat(expected).timestamp()


@pytest.mark.parametrize(
    "text", ["", "soon", "2x", "h", "-2h", "2026-13-01", "\N{SUPERSCRIPT TWO}h"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        read_time(text, 1e9)


def test_jobs_are_filtered_sorted_paged_and_shown_as_one_likes(zoo: Zoo) -> None:
    db = zoo.database()
    rates = [0.1, 0.2, 0.3, 0.4]
    jobs.add(
        db,
        [spec(params={"rate": rate}, changed=["rate"]) for rate in rates],
        QueueOptions(tags=["t1"]),
    )
    end(db, [0.7, 0.9, 0.8, None])
    (last,), _ = jobs.add(db, [spec(model="dense-softmax", dataset="mnist")])
    shown = zoo.json("jobs", "--where", "accuracy > 0.75 and params.rate < 0.3")
    assert [job["params"]["rate"] for job in shown] == [0.2]
    best = zoo.run("jobs", "--tag", "t*", "--sort", "-accuracy", "-n", "2", "--columns",
                   "params.rate,accuracy")  # fmt: skip
    assert best.stdout.split() == ["params.rate", "accuracy", "0.2", "0.9000", "0.3", "0.8000"]
    assert "2 of 4 shown" in best.stderr
    _, *words = shlex.split(best.stderr.split("Next page: ")[1])
    following = zoo.run(*words)
    assert following.stdout.split()[2:] == ["0.1", "0.7000", "0.4"]
    table = list(csv.DictReader(io.StringIO(zoo.run("jobs", "--csv", "--status", "failed").stdout)))
    assert [(row["status"], row["accuracy"], row["params"]) for row in table] == [
        ("failed", "", '{"rate": 0.4}')
    ]
    assert zoo.run("jobs", "--quiet", "--model", "dense-*").stdout == f"{last}\n"
    assert "No job matches" in zoo.run("jobs", "--until", "1h").stderr
    refused = zoo.run("jobs", "--where", "accurcy > 1", code=2).stderr
    assert "did you mean accuracy" in refused and "\n       ^" in refused


def test_a_page_of_the_most_accurate_jobs_is_a_part_of_all_of_them(db: Database) -> None:
    accuracies = [0.5, None, 0.75, 0.5, 0.75, 0.25]
    ids, _ = jobs.add(db, [spec()] * 6)
    end(db, accuracies)
    jobs.add(db, [spec(model="forest")])
    ranked = sorted((-(a or 0), -n) for n, a in enumerate(accuracies))
    expected = [ids[-n] for _, n in ranked]
    wanted = Filter(models=["logistic"])
    for limit, offset in ((2, 0), (2, 3), (5, 0), (100, 0), (100, 4)):
        found = jobs.listing(db, wanted, sort="-accuracy", limit=limit, offset=offset)
        assert [job.id for job in found] == expected[offset : offset + limit]


def test_a_filter_acts_on_many_only_when_it_is_meant(zoo: Zoo) -> None:
    db = zoo.database()
    every, _ = jobs.add(db, [spec() for _ in range(14)])
    asked = zoo.run("cancel", "--status", "queued", code=2)
    assert "Refusing to cancel 14 jobs" in asked.stderr and jobs.counts(db) == {"queued": 14}
    seen = zoo.run("cancel", "--model", "logistic", "--dry-run")
    assert seen.stdout.split() == every and jobs.counts(db) == {"queued": 14}
    zoo.run("tag", every[0], every[1], "+good", "+draft", "-draft")
    assert jobs.get(db, every[1]).tags == ["good"]
    assert "no option --yess" in zoo.run("tag", every[0], "+a", "--yess", code=2).stderr
    assert "begins with ''" in zoo.run("tag", "", "+a", code=2).stderr
    assert "2 of 2 changed" in zoo.run("tag", "--tag", "good", "--yes", "--", "-good", "+b").stderr
    done = zoo.run("cancel", "--where", "not 'b' in tags", "--yes")
    assert "12 cancelled, 0 asked to stop" in done.stderr
    assert jobs.counts(db) == {"queued": 2, "cancelled": 12}
    assert len(zoo.json("retry", "--status", "cancelled", "--dry-run")) == 12
    assert zoo.json("retry", "--status", "lost") == []
    assert (
        "must be 'queued' or 'paused' or 'running'"
        in zoo.run("cancel", "--status", "lost", code=2).stderr
    )
    assert "No jobs are given" in zoo.run("cancel", code=2).stderr
    assert "not both" in zoo.run("cancel", every[0], "--status", "queued", code=2).stderr


def test_the_same_words_retry_and_wait(zoo: Zoo) -> None:
    zoo.env["ZOO_BROKER_URL"] = "redis://127.0.0.1:1/0"  # nobody runs what is queued
    db = zoo.database()
    every, _ = jobs.add(db, [spec() for _ in range(3)])
    end(db, [None, None, 0.5])
    asked = zoo.run("retry", "--model", "log*", code=2)
    assert "Refusing to retry 2 jobs" in asked.stderr
    again = zoo.run("retry", "--model", "log*", "--yes", "--quiet").stdout.split()
    assert [jobs.get(db, each).retry_of for each in again] == every[:2]
    late = zoo.run("wait", "--where", "age < 1h", "--timeout", "0", code=1).stderr
    assert "Not finished" in late and again[0][:8] in late and every[0][:8] not in late
