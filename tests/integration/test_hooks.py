"""The hook `job_finished`: called in a process of its own, whatever the plugins do."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import Zoo, share, until
from helpers.finished_jobs import a_spec, claim, folds, succeed
from zoo_workers import hooks, runner_main
from zoo_workers.hooks import Hooks, Listeners
from zoo_workers.slots import Supervisor

from zoo import jobs, settings
from zoo.cli.render.job_details import show_job
from zoo.jobs import Database, Outcome
from zoo.plugins import registry
from zoo.queue import doctor

PLUGIN = """
import json, os, sys, time
from pathlib import Path
import zoo
FILE = Path({told!r})
@zoo.hookimpl
def job_finished(job):
    with FILE.open("a") as file:
        told = {{"id": job["id"], "status": job["status"], "group": job["group_result"]}}
        told |= {{"pid": os.getpid(), "secret": os.environ.get("SECRET")}}
        file.write(json.dumps(told) + "\\n")
    {then}
"""


class Told:
    """What a plugin of this test was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "told.jsonl"

    def plugin(self, name: str, then: str = "pass") -> None:
        source = PLUGIN.format(told=str(self.folder / f"{name}.jsonl"), then=then)
        (self.folder / f"{name}.py").write_text(source)

    def by(self, name: str) -> list[dict[str, Any]]:
        file = self.folder / f"{name}.jsonl"
        return [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Told:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path))
    return Told(tmp_path)


@pytest.fixture
def db(home: Path) -> Database:
    return jobs.connect()


@pytest.fixture
def caller(db: Database) -> Iterator[Hooks]:
    found = Hooks(db, settings.load(), {"SECRET": "for the hooks alone"})
    found.start()
    yield found
    found.end()


def owed(db: Database) -> int:
    with db.read() as rows:
        return int(rows.value("SELECT count(*) AS n FROM outbox"))


def end(db: Database, hooks: Hooks) -> str:
    job = succeed(db, [a_spec()], with_hooks=True)
    hooks.add(job)
    return job


def test_every_plugin_is_called_though_another_raises_or_exits(
    told: Told,
    db: Database,
    caller: Hooks,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.getLogger("zoo.worker").propagate = True
    told.plugin("a_exits", "sys.exit(3)")
    told.plugin("b_raises", "raise ValueError('the hook had a bad day')")
    told.plugin("c_listens")
    ids = [end(db, caller) for _ in range(2)]
    until(lambda: owed(db) == 0)
    for name in ("a_exits", "b_raises", "c_listens"):
        assert [each["id"] for each in told.by(name)] == ids
    calls = told.by("c_listens")
    assert {each["pid"] for each in calls} != {os.getpid()}
    assert {each["secret"] for each in calls} == {"for the hooks alone"}
    assert "SECRET" not in os.environ
    assert "b_raises: ValueError: the hook had a bad day" in caplog.text
    found = [(each.plugin, each.error) for each in jobs.hook_errors(db, ids[1])]
    assert found == [
        ("a_exits", "SystemExit: 3"),
        ("b_raises", "ValueError: the hook had a bad day"),
    ]
    show_job(db, jobs.get(db, ids[1]))
    assert "hook error  b_raises: ValueError: the hook had a bad day" in capsys.readouterr().out
    told_of = [f.detail for f in doctor.PARTS["hooks"](settings.load(), "hooks") if not f.ok]
    last = f"for 2 jobs in the last 24 h, the last is {ids[1][:8]}: ValueError: the hook had a bad"
    assert len(told_of) == 2 and last in told_of[1]


@pytest.mark.parametrize(
    ("then", "seconds", "told_of"),
    [
        ("time.sleep(600)", 0.5, "its hooks took over 0.5 s"),
        ("os._exit(7)", 600, "the process of the hooks ended (exit code 7)"),
    ],
)
def test_a_hook_that_hangs_or_kills_its_process_is_tried_again_and_then_given_up(
    then: str,
    seconds: float,
    told_of: str,
    told: Told,
    db: Database,
    caller: Hooks,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    logging.getLogger("zoo.worker").propagate = True
    monkeypatch.setattr(hooks, "CALL_SECONDS", seconds)
    monkeypatch.setattr(hooks, "OVERDUE_SECONDS", 0.05)
    told.plugin("bad", then)
    job = end(db, caller)
    until(lambda: told_of in caplog.text)  # else who is overdue might be taken for who was told
    until(lambda: _let_time_pass(db) and owed(db) == 0)
    assert caplog.text.count(f"job {job[:8]}: {told_of}") == 3
    # One that hangs may have been ended before it began; one that dies has begun each time.
    begun = [each["id"] for each in told.by("bad")]
    assert begun == [job] * (len(begun) if seconds < 1 else 3)
    assert [(e.plugin, e.error) for e in jobs.hook_errors(db, job)] == [("", told_of)]
    # The next job's hooks are called as if nothing had been.
    monkeypatch.setattr(hooks, "CALL_SECONDS", 600)
    told.plugin("bad")
    other = end(db, caller)
    until(lambda: owed(db) == 0)
    assert [each["id"] for each in told.by("bad")][len(begun) :] == [other]


def _let_time_pass(db: Database) -> bool:
    with db.write() as rows:
        rows.run("UPDATE outbox SET due_at = 0")
    return True


def test_what_a_dead_worker_left_undone_is_done_by_another(
    told: Told, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "OVERDUE_SECONDS", 0.05)
    told.plugin("listens")
    job = succeed(db, [a_spec()], with_hooks=True)
    jobs.record_hook_errors(db, job, {"": "it died", "listens": "it failed", "gone": "it failed"})
    _let_time_pass(db)
    heir = Hooks(db, settings.load(), {})
    heir.start()
    until(lambda: owed(db) == 0)
    assert [each["id"] for each in told.by("listens")] == [job]
    heir.end()
    # What has succeeded now is no error any more.
    assert [each.plugin for each in jobs.hook_errors(db, job)] == ["gone"]


def test_with_the_last_job_of_a_group_comes_the_groups_result(
    told: Told, db: Database, caller: Hooks
) -> None:
    told.plugin("listens")
    _, group = jobs.add(db, folds(2), group_kind="cv")
    for status in ("failed", "succeeded"):
        artifact = "a" if status == "succeeded" else None
        held = claim(db)
        jobs.finish(db, held, Outcome(status, {"accuracy": 0.5}, artifact, with_hooks=True))
        caller.add(held.job)
    until(lambda: owed(db) == 0)
    results = [each["group"] for each in told.by("listens")]
    assert results[0] is None or results[1] is None
    (whole,) = [each for each in results if each]
    assert whole["id"] == group and whole["status"] == "failed" and len(whole["jobs"]) == 2


MODEL = """
import gc, os, zoo
class Nosy(zoo.Model):
    name = "nosy"
    def fit(self, x, y, report):
        print("it sees", os.environ.get("ZOO_NOTIFY"))
        # Of the imports, which later collections of garbage pass over.
        print("set aside:", gc.get_freeze_count() > 10_000)
    def predict_proba(self, x):
        import numpy as np
        return np.full((len(x), self.n_classes), 1 / self.n_classes)
    def save(self, folder): pass
    def load(self, folder): pass
@zoo.hookimpl
def register_models(register): register(Nosy)
"""


def test_a_worker_tells_of_the_jobs_that_it_ends_and_models_do_not_learn_whom(
    tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "nosy.py").write_text(MODEL)
    told = tmp_path / "told.jsonl"
    env = {"ZOO_PLUGINS_DIR": str(folder), "ZOO_PLUGINS": "nosy,notify,sklearn"}
    home = share(cache, tmp_path / "home")
    found = Zoo(home, **env, ZOO_NOTIFY=f"command:tee -a {told}")
    try:
        job = found.json("train", "nosy", "--dataset", "digits")
        until(lambda: told.exists() and told.read_text().endswith("}"))
        heard = json.loads(told.read_text())
        assert (heard["id"], heard["status"]) == (job["id"], "succeeded")
        accuracy = f"{job['metrics']['accuracy']:.4f}"
        assert heard["text"] == f"{job['id'][:8]} nosy on digits: succeeded, accuracy {accuracy}"
        said = found.run("logs", job["id"]).stdout
        assert "it sees hidden" in said and "set aside: True" in said
        shown = found.json("show", job["id"])["attempts"][-1]["environment"]
        assert shown["plugin"].startswith("nosy ") and shown["machine"]["threads"] >= 1
        copied = found.run("files", job["id"], "environment.json", "-o", "-").stdout
        assert json.loads(copied) == shown
    finally:
        found.close()


class Slots:
    """How many slots are idle, and whether somebody has asked for that."""

    def __init__(self) -> None:
        self.free = 0
        self.asked = False

    def __call__(self) -> int:
        self.asked = True
        return self.free


@pytest.mark.parametrize("patience", [600, 0])
def test_hooks_that_may_wait_leave_the_cores_to_the_jobs_but_not_for_ever(
    patience: float, told: Told, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MAX_DELAY_SECONDS", patience)
    told.plugin("listens")
    slots = Slots()
    caller = Hooks(db, settings.load(), {}, count_free_slots=slots)
    caller.start()
    ids = [end(db, caller) for _ in range(2)]
    until(lambda: slots.asked)
    if patience:
        assert not told.by("listens") and owed(db) == 2
        slots.free = 1
    until(lambda: owed(db) == 0)
    assert [each["id"] for each in told.by("listens")] == ids
    caller.end()


MAKER = """
import zoo
from pathlib import Path
@zoo.hookimpl
def job_finished(job, extra):
    with Path({made!r}).open("a") as file:
        file.write(job["id"] + "\\n")
"""


def test_files_are_made_for_the_newest_and_for_who_asks_and_everybody_is_told_of_every_job(
    told: Told, db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("zoo.worker").propagate = True
    monkeypatch.setattr(hooks, "MAX_WAITING", 3)
    monkeypatch.setattr(hooks, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(hooks, "MAX_DELAY_SECONDS", 600)
    told.plugin("listens")
    made = told.folder / "made"
    (told.folder / "maker.py").write_text(MAKER.format(made=str(made)))
    slots = Slots()
    caller = Hooks(db, settings.load(), {}, Listeners(["job", "extra"]), slots)
    caller.start()
    ids = [end(db, caller) for _ in range(10)]
    until(lambda: f"7 jobs so far, {ids[6][:8]} is the last" in caplog.text)
    slots.free = 1
    until(lambda: not any(jobs.has_pending_hooks(db, job) for job in ids))
    assert made.read_text().split() == ids[:-4:-1]
    assert sorted(each["id"] for each in told.by("listens")) == sorted(ids)
    assert [jobs.has_skipped_hooks(db, job) for job in ids] == [True] * 7 + [False] * 3
    assert jobs.take_overdue_hooks(db) == []
    assert jobs.request_hooks(db, ids[2]) and not jobs.request_hooks(db, ids[-1])
    until(lambda: owed(db) == 6)
    assert made.read_text().split()[3:] == [ids[2]]
    assert len(told.by("listens")) == 10
    caller.end()


def test_notifications_wait_neither_for_a_slot_nor_for_files_and_are_not_sent_again(
    told: Told, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MAX_DELAY_SECONDS", 600)
    monkeypatch.setattr(hooks, "OVERDUE_SECONDS", 0.05)
    told.plugin("listens")
    made = told.folder / "made"
    (told.folder / "maker.py").write_text(MAKER.format(made=str(made)))
    both = Listeners(["job", "extra"], are_urgent=True)
    dies = Hooks(db, settings.load(), {}, both, Slots())
    dies.start()
    ids = [end(db, dies) for _ in range(3)]
    until(lambda: len(told.by("listens")) == 3)
    # Their files are left to another worker, as if this one had died here.
    until(lambda: _have_only_files(db) == 3)
    _let_time_pass(db)
    heir = Hooks(db, settings.load(), {}, both, Slots())
    heir.start()
    until(lambda: owed(db) == 0)
    assert sorted(made.read_text().split()) == sorted(ids)
    assert [each["id"] for each in told.by("listens")] == ids
    heir.end()
    dies.end()


def _have_only_files(db: Database) -> int:
    with db.read() as rows:
        return int(rows.value("SELECT count(*) AS n FROM outbox WHERE skipped_at = 0"))


TOGETHER = """
import os, time, zoo
from pathlib import Path
@zoo.hookimpl
def job_finished(job, extra):
    place = Path({place!r})
    (place / f"{{os.getpid()}}").touch()
    while len(list(place.iterdir())) < 2:
        time.sleep(0.01)
"""


def test_as_many_processes_make_files_as_slots_are_idle(told: Told, db: Database) -> None:
    place = told.folder / "pids"
    place.mkdir()
    (told.folder / "maker.py").write_text(TOGETHER.format(place=str(place)))
    slots = Slots()
    caller = Hooks(db, settings.load(), {}, Listeners(["job", "extra"]), slots)
    for _ in range(2 * hooks.JOBS_PER_PROCESS + 1):
        end(db, caller)
    slots.free = 2
    caller.start()
    until(lambda: owed(db) == 0)
    caller.end()
    assert len(list(place.iterdir())) == 2


def test_what_dead_workers_left_undone_is_bounded_too(
    told: Told, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MAX_WAITING", 3)
    monkeypatch.setattr(hooks, "OVERDUE_SECONDS", 0.05)
    made = told.folder / "made"
    (told.folder / "maker.py").write_text(MAKER.format(made=str(made)))
    ids = [succeed(db, [a_spec()], with_hooks=True) for _ in range(9)]
    with db.write() as rows:
        for n, job in enumerate(ids):
            rows.run("UPDATE outbox SET due_at = :n WHERE job_id = :id", {"n": n, "id": job})
    caller = Hooks(db, settings.load(), {}, Listeners(["job", "extra"], has_notifiers=False))
    caller.start()
    until(lambda: not any(jobs.has_pending_hooks(db, job) for job in ids))
    assert sorted(made.read_text().split()) == sorted(ids[6:])
    assert owed(db) == 6
    caller.end()


def test_a_worker_that_stops_waits_for_no_slot(
    told: Told, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MAX_DELAY_SECONDS", 600)
    monkeypatch.setattr(hooks, "STOP_SECONDS", 600)
    told.plugin("listens")
    caller = Hooks(db, settings.load(), {}, count_free_slots=Slots())
    caller.start()
    job = end(db, caller)
    caller.end()
    assert [each["id"] for each in told.by("listens")] == [job] and owed(db) == 0


def test_a_slot_that_finds_no_job_is_free(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Supervisor(db, settings.load(), None, "w", "default", slots=2)  # type: ignore[arg-type]
    found.models = {"logistic": "p 1"}
    seen = []

    def claim(*_: Any, **__: Any) -> None:
        seen.append(found.free_slots)
        if len(seen) == 1:
            found.run_jobs()

    monkeypatch.setattr(jobs, "claim", claim)
    found.run_jobs()
    assert seen == [1, 0] and found.free_slots == 2


@pytest.mark.parametrize(
    ("arguments", "is_urgent"), [("job", True), ("job, files", False), ("extra", False), ("", True)]
)
def test_who_takes_the_job_alone_is_told_at_once(
    arguments: str, is_urgent: bool, told: Told
) -> None:
    hook = f"import zoo\n@zoo.hookimpl\ndef job_finished({arguments}): pass\n"
    (told.folder / "listens.py").write_text(hook)
    registry.catalogue.cache_clear()
    try:
        assert runner_main.HANDLERS["catalogue"]({})["is_urgent"] == is_urgent
    finally:
        registry.catalogue.cache_clear()
