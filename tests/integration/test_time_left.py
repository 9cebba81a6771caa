"""Time left and silence: one answer, whoever shows it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import pytest
from helpers import page_client as web
from helpers.finished_jobs import a_spec
from helpers.terminals import command, shown

from zoo import jobs
from zoo.jobs import Database, Job, ProgressUpdate
from zoo.notebook import html, waiting

# They share the database of one server.
pytestmark = pytest.mark.xdist_group("test_time_left")
STATES = {
    # (seconds since the last beat, of the lease; since the last report), what is said.
    "on its way": (1, 1, "80 s left"),
    "over its estimate": (1, 500, ""),
    "silent": (75, 75, "silent for 75 s"),
    "silent, over its estimate": (75, 500, "silent for 75 s"),
}
LEASE = 100


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web.Page]:
    with web.served(tmp_path_factory.mktemp("left") / "home") as found:
        yield found


@pytest.fixture(scope="module")
def db(site: web.Page) -> Iterator[Database]:
    with contextlib.closing(site.zoo.database()) as found:
        yield found


@pytest.fixture(scope="module")
def held(db: Database) -> jobs.Claim:
    jobs.add(db, [a_spec()])
    taken = jobs.claim(
        db, worker="w", lease=LEASE, pool="default", models={"m": "p 1"}, datasets=["digits"]
    )
    assert taken
    return taken[0]


def running(db: Database, held: jobs.Claim, beat: int, report: int) -> Job:
    """One step of five took 20 s, and was reported so long ago; so is its worker's last beat."""
    at = jobs.clock(db) - report
    told = {"phase": "fit", "since": at - 20, "at": at, "step": 1, "total": 5, "unit": "epoch"}
    assert jobs.beat(db, held, lease=LEASE, update=ProgressUpdate(told)) is not None
    with db.write() as rows:
        rows.run(
            f"""
            UPDATE job SET beat_at = {rows.sql.now} - :s,
                lease_until = {rows.sql.now} - :s + :lease""",
            {"s": beat, "lease": LEASE},
        )
    return jobs.get(db, held.job)


def printed(*words: str) -> Callable[[web.Page, Database, Job], str]:
    return lambda site, db, job: shown(command(*words), width=160)[0]


def page(path: str) -> Callable[[web.Page, Database, Job], str]:
    return lambda site, db, job: site.get(path.format(job=job.id)).text


def live(path: str) -> Callable[[web.Page, Database, Job], str]:
    def look(site: web.Page, db: Database, job: Job) -> str:
        with site.events(path.format(job=job.id)) as events:
            return json.dumps(next(events), ensure_ascii=False)

    return look


WAYS: dict[str, Callable[[web.Page, Database, Job], str]] = {
    "zoo jobs": printed("jobs"),
    "zoo show": printed("show", "@last"),
    "zoo watch": printed("watch", "--once"),
    "page of jobs": page("/"),
    "page of a job": page("/jobs/{job}"),
    "live jobs": live("/live/"),
    "live job": live("/live/jobs/{job}"),
    "notebook's line": lambda site, db, job: waiting.one(job, jobs.estimate_job(db, job)),
    "notebook's table": lambda site, db, job: html.table(job, jobs.estimate_job(db, job)),
}


@pytest.mark.parametrize("state", STATES)
def test_every_place_says_the_same_of_the_time_left(
    site: web.Page, db: Database, held: jobs.Claim, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    beat, report, said = STATES[state]
    monkeypatch.setenv("ZOO_HOME", site.zoo.env["ZOO_HOME"])
    for name, way in WAYS.items():
        job = running(db, held, beat, report)
        text = way(site, db, job)
        assert (job.id[:8] in text and "1/5" in text) or name == "zoo jobs", name
        # A column of `zoo watch` has the word in its head.
        ending = " left" if name == "zoo watch" else ""
        expected = [each.removesuffix(ending) for each in within_seconds(said)]
        assert any(each in text for each in expected), (name, text)
        for word in ("silent for", " s left"):
            assert word in said or word not in text, (name, text)


def within_seconds(said: str) -> list[str]:
    """As it may be said a few seconds later."""
    if "80" in said:
        return [said.replace("80", str(80 - later)) for later in range(-1, 10)]
    return [said.replace("75", str(75 + later)) for later in range(10)]


@pytest.mark.parametrize("words", [("jobs", "--json"), ("show", "@last", "--json")])
def test_scripts_are_told_the_same(
    site: web.Page,
    db: Database,
    held: jobs.Claim,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("ZOO_HOME", site.zoo.env["ZOO_HOME"])
    for beat, report, said in STATES.values():
        running(db, held, beat, report)
        read = json.loads(shown(command(*words), is_terminal=False)[0])
        outlook = (read[0] if isinstance(read, list) else read)["outlook"]
        assert outlook["part"] == 0.2
        assert (outlook["seconds_silent"] is not None) == ("silent" in said)
        assert (outlook["seconds_left"] is None) == ("silent" in said)
