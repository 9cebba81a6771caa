"""Requests to end trainings early: what is asked, and what is refused with a way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import plugin_files
from helpers.job_rows import spec
from typer.testing import CliRunner

import zoo
from zoo import jobs
from zoo.cli.main import app
from zoo.errors import UsageError
from zoo.job_spec import Source
from zoo.jobs import Claim, Database, Outcome
from zoo.plugins import registry
from zoo.queue import stopping

SOURCE = Source(job="0" * 32, artifact="a", sha256="0" * 64)


@pytest.fixture(autouse=True)
def plugins(here: Database, home: Path) -> None:
    (home / "plugins").mkdir()
    plugin_files.write(home / "plugins", "patient", "patient")
    plugin_files.write(home / "plugins", "quick", "quick", "can_stop = True")
    registry.catalogue.cache_clear()


@pytest.fixture
def run(here: Database) -> Callable[..., Claim]:
    """Add a job and claim it."""

    def run(model: str = "quick", **given: object) -> Claim:
        (job_id,), _ = jobs.add(here, [spec(model=model, **given)])
        taken = jobs.claim(
            here, pool="default", models={model: "p"}, datasets=["digits"], worker="w", lease=60
        )
        assert taken is not None and taken[0].job == job_id
        return taken[0]

    return run


def stop(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["stop", *words])
    assert done.exit_code == code, done.output
    return done.stderr


def test_a_running_training_is_asked_to_end(here: Database, run: Callable[..., Claim]) -> None:
    held = run()
    assert "ends after its next report. `zoo wait" in stop(held.job)
    assert jobs.beat(here, held, lease=60) == jobs.Requests(cancel=False, stop=True)
    assert jobs.get(here, held.job).status == "running"
    assert "ends after its next report" in stop(held.job)  # again, which changes nothing


@pytest.mark.parametrize(
    ("case", "sentence", "way_out"),
    [
        ("queued", "is queued and has learned nothing yet", "Cancel it: zoo cancel"),
        ("ended", "has already ended: failed", ""),
        ("cancelled", "is being cancelled", ""),
        ("evaluation", "is an evaluation", "Cancel it: zoo cancel"),
        ("patient", "The model 'patient' of the job", """--where '"stop" in uses'"""),
        ("unknown", "The model 'unknown' of the job", "ends it without a result"),
    ],
)
def test_what_cannot_stop_is_refused_in_a_sentence(
    here: Database, run: Callable[..., Claim], case: str, sentence: str, way_out: str
) -> None:
    if case == "queued":
        job_id = jobs.add(here, [spec(model="quick")])[0][0]
    elif case == "evaluation":
        job_id = run(kind="evaluate", source=SOURCE).job
    else:
        held = run(case if case in ("patient", "unknown") else "quick")
        job_id = held.job
        if case == "ended":
            jobs.finish(here, held, Outcome("failed", error_code="exception", error="no"))
        if case == "cancelled":
            jobs.cancel(here, job_id)
    found = stopping.request_stops(here, [job_id])
    refused = found.refused[job_id]
    assert not found.asked and sentence in refused.message and way_out in refused.hint
    with pytest.raises(UsageError, match=re.escape(sentence)):
        zoo.get_job(job_id).stop()
    assert not jobs.get(here, job_id).stop_requested
    assert CliRunner().invoke(app, ["stop", job_id]).exception is not None


def test_of_several_jobs_those_that_can_are_asked(
    here: Database, run: Callable[..., Claim]
) -> None:
    held = [run(), run("patient"), run()]
    told = stop("--status", "running", "--yes")
    assert told.count("ends after its next report") == 2 and "'patient'" in told
    assert [jobs.get(here, each.job).stop_requested for each in held] == [True, False, True]


def test_the_handle_of_a_group_stops_what_runs(here: Database) -> None:
    ids, group = jobs.add(here, [spec(model="quick", seed=n) for n in (1, 2)], group_kind="seeds")
    jobs.claim(
        here, pool="default", models={"quick": "p"}, datasets=["digits"], worker="w", lease=9
    )
    assert group is not None
    zoo.get_job(group).stop()
    assert [jobs.get(here, each).stop_requested for each in ids] == [True, False]
