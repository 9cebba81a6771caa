"""After any history of removals, crashes and late uploads: rows and files that belong together."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.finished_jobs import a_spec, claim, succeed
from helpers.json_checks import check
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from zoo import jobs
from zoo.cli import main
from zoo.errors import UsageError
from zoo.jobs import Database, Outcome, Retention
from zoo.queue import garbage, local_services
from zoo.settings import Settings
from zoo.storage import artifacts, removals, unnamed


@pytest.fixture(autouse=True)
def no_real_sockets(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The folders of sockets in /tmp may be many, and are not of this test."""
    if "machine" not in request.node.name:
        monkeypatch.setattr(local_services, "RUNTIME_PATTERN", "none-of-these")


class Story:
    """A database and its store, with jobs that come and go."""

    def __init__(self, db: Database, home: Path) -> None:
        self.db, self.home = db, home
        self.store = Settings(home=home, artifacts_url=str(home / "store"), database_url=db.url)
        self.ids: list[str] = []
        (home / "store").mkdir()

    def job(self, number: int) -> str:
        return self.ids[number % len(self.ids)] if self.ids else "0" * 32

    def train(self, number: int) -> None:
        url = self.store.artifacts
        self.ids.append(succeed(self.db, [a_spec()], artifacts_url=url, files={"w": b"w" * 9}))

    def fail(self, number: int) -> None:
        """End without success, with a checkpoint that may be continued, or one not named."""
        (job,), _ = jobs.add(self.db, [a_spec()])
        self.ids.append(job)
        held = claim(self.db)
        place = jobs.checkpoint_path(job, 1, "1")
        self.upload(place)
        if number % 2:
            named = {"where": place, "sha256": "0", "attempt": 1, "step": 1, "bytes": 1}
            jobs.save_checkpoint(self.db, held, named)
        jobs.finish(self.db, held, Outcome("failed", error_code="exception", error="no"))

    def upload_late(self, number: int) -> None:
        """What a stale attempt, or a hook, of a job leaves that may be gone, and then dies."""
        self.upload(f"{self.job(number)}/{('2', 'extra/drawer')[number % 2]}")

    def upload(self, place: str) -> None:
        folder = self.home / "store" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "late").write_text("late")

    def remove(self, number: int) -> None:
        self._remove(number, keep_metrics=False)

    def remove_files(self, number: int) -> None:
        self._remove(number, keep_metrics=True)

    def _remove(self, number: int, keep_metrics: bool) -> None:
        """Remove a job, and die after the rows, some files, or all files, or not at all."""
        jobs.remove_jobs(self.db, [self.job(number)], keep_metrics=keep_metrics)
        place, step = self.home / "store" / self.job(number), number % 4
        if step == 1:
            file = next((each for each in place.rglob("*") if each.is_file()), None)
            if file and str(self.job(number)) in jobs.list_removals(self.db):
                file.unlink()
        elif step == 2 and self.job(number) in jobs.list_removals(self.db):
            artifacts.remove_all(self.store.artifacts, self.job(number))
        elif step == 3:
            removals.complete(self.db, self.store)

    def retain(self, number: int) -> None:
        Retention(jobs=str(number), keep_metrics=bool(number % 2)).run_pass(self.db, 10)

    def clean(self, number: int) -> None:
        """Collect, and die on the way."""
        found = garbage.find(self.db, self.store, days=0 if number % 2 else 1, age=0)
        for each in found.items[: number + 1]:
            each.remove()

    def check(self) -> None:
        """No row is without its files."""
        for job in jobs.listing(self.db):
            assert (job.artifact is None) == (job.status != "succeeded" or bool(job.removal_note))
            if job.artifact:
                assert artifacts.is_whole(self.store.artifacts, *job.stored_artifact())

    def check_end(self) -> None:
        """After the next pass no file is without its row."""
        removals.complete(self.db, self.store)
        for each in garbage.find(self.db, self.store, days=1, age=0).items:
            each.remove()
        self.check()
        assert jobs.list_removals(self.db) == []
        known = {job.id: job for job in jobs.listing(self.db, limit=100)}
        for folder in (self.home / "store").iterdir():
            job = known[folder.name]
            assert not job.removal_note
            for each in folder.iterdir():
                named = (job.artifact or "", (job.checkpoint or {}).get("where", ""))
                assert each.name == "extra" or any(
                    f"{where}/".startswith(f"{job.id}/{each.name}/") for where in named
                ), each
        assert garbage.find(self.db, self.store, days=1, age=0).items == []


STEPS: list[Callable[[Story, int], None]] = [
    *(Story.train, Story.fail, Story.upload_late, Story.remove, Story.remove_files),
    *(Story.retain, Story.clean),
]


@hypothesis_settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 11)), max_size=14))
def test_rows_and_files_stay_together(
    db: Database, steps: list[tuple[Callable[[Story, int], None], int]]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        story = Story(db, Path(home))
        for step, number in [(Story.train, 0), (Story.fail, 1), *steps]:
            step(story, number)
            story.check()
        story.check_end()
        jobs.remove_jobs(db, story.ids)
        story.check_end()
        assert jobs.count(db, jobs.ALL_JOBS) == 0


def old(path: Path, seconds: float = 40 * 86400.0) -> Path:
    """Let a folder look as if nothing had touched it for long."""
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - seconds,) * 2)
    return path


def test_this_machine_is_cleaned_of_what_nobody_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Settings(home=tmp_path / "home")
    db = jobs.connect(store.database)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (job,), _ = jobs.add(db, [a_spec()])
    held = claim(db)
    work, cache = store.home / "work", store.home / "cache"
    gone = [
        work / f"{job}-7-abcdefgh",  # of another database, or a removed job
        cache / "prepared" / "mnist" / "aa-float32",
        cache / "added" / ("b" * 64),
        cache / "prepared" / "mnist" / f".{'c' * 32}.tmp",
        tmp_path / f"zoo-{os.getuid()}-{'0' * 12}",
        work / "hooks.abc",
    ]
    stay = [
        work / f"{job}-1-abcdefgh",
        work / f"{'1' * 32}-1-abcdefgh",
        work / "mine",
        cache / "prepared" / "mnist" / "dd-float32",
        cache / "raw" / "mnist" / "ee",
        tmp_path / f"zoo-{os.getuid()}-notes",
        tmp_path / f"zoo-{os.getuid()}-{'1' * 12}",
    ]
    for folder in (*gone, *stay):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"12345")
    for folder in (*gone, stay[2], stay[4], stay[5]):
        old(folder)
    real = unnamed.measure_folder
    # A test cannot set the time at which a file was changed.
    monkeypatch.setattr(unnamed, "measure_folder", lambda path: _by_mtime(real(path), path))
    found = garbage.find(db, store, days=30)
    here = [each for each in found.items if Path(each.name).is_relative_to(tmp_path)]
    assert {Path(each.name) for each in here} == set(gone)
    assert {each.size for each in here} == {5}
    for each in here:
        each.remove()
    assert not [each for each in gone if each.exists()]
    assert all(each.exists() for each in stay)
    # An attempt that has ended leaves nothing that is needed.
    assert jobs.finish(db, held, Outcome("failed", error_code="exception", error="no"))
    assert str(stay[0]) in {each.name for each in garbage.find(db, store, days=30).items}


def _by_mtime(found: tuple[int, float] | None, path: Path) -> tuple[int, float] | None:
    return found and (found[0], path.stat().st_mtime)


def test_removed_datasets_and_silent_workers_leave_no_rows_for_ever(db: Database) -> None:
    with db.write() as rows:
        for version, removed in itertools.product((1, 2, 3), [1.0]):
            rows.run(
                """INSERT INTO dataset (name, version, fingerprint, meta, recipe, artifact,
                    artifact_sha256, bytes, created_at, removed_at)
                VALUES ('wine', :version, 'f', '{}', '{}', 'datasets/f', '', 0, 1, :removed)""",
                {"version": version, "removed": removed},
            )
        rows.run("""
            INSERT INTO worker (id, name, host, pid, pool, slots, state, version, models,
                started_at, beat_at)
            VALUES ('w', 'w', 'h', 1, 'p', 1, 'online', '1', '[]', 1, 1)""")
    jobs.add(db, [a_spec(dataset="wine", version=1, contents="f" * 64)])
    assert jobs.list_forgettable(db) == [("wine", 2)]  # 1 has a job, 3 is the newest
    jobs.forget_dataset(db, "wine", 2)
    assert jobs.list_forgettable(db) == []
    assert jobs.list_forgotten(db) == ["w"]
    assert jobs.delete_forgotten(db) == 1
    assert jobs.list_forgotten(db) == []


def test_a_store_of_another_database_is_left_alone(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(garbage.FEW + 1):
        (tmp_path / "store" / f"{number:032x}" / "1").mkdir(parents=True)
    store = Settings(home=tmp_path, artifacts_url=str(tmp_path / "store"), database_url=db.url)
    found = garbage.find(db, store, days=30, age=0)
    with pytest.raises(UsageError, match="another's"):
        garbage.check(found)
    apart = garbage.find(db, Settings(home=tmp_path, database_url=db.url), days=30, age=0)
    assert "left alone" in apart.notes[0]
    assert not [each for each in apart.items if each.where == garbage.STORE]


def test_a_file_that_is_mostly_free_shrinks_unless_a_job_runs(db: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    def free() -> list[garbage.Garbage]:
        return [each for each in garbage.find(db, settings, days=30).items if is_free(each)]

    def is_free(each: garbage.Garbage) -> bool:
        return each.kind == "free pages"

    kept, *ids = jobs.add(db, [a_spec(params={"a": "x" * 9000})] * 600)[0]
    jobs.cancel_many(db, ids)
    assert not free()
    jobs.remove_jobs(db, ids)
    if not db.is_sqlite:  # autovacuum
        assert not free() and jobs.compact(db) is None
        return
    file = Path(db.name.removeprefix("sqlite:///"))
    held = claim(db)
    assert held.job == kept and not free()
    jobs.finish(db, held, Outcome("failed", error="e", error_code="exception"))
    before = file.stat().st_size
    (found,) = free()
    with db.read() as other:  # a command that reads at the time
        assert other.value("SELECT id FROM job")
    found.remove()
    assert file.stat().st_size < before - found.size * 0.9 and not free()
    assert jobs.get(db, kept).status == "failed"


def test_the_command_lists_asks_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    db = jobs.connect()
    job = succeed(db, [a_spec()], artifacts_url=str(tmp_path / "artifacts"))
    jobs.remove_jobs(db, [job])
    assert main.run(["gc", "--dry-run"]) in (0, None)
    assert "removed jobs" in capsys.readouterr().out
    assert main.run(["gc"]) == 2
    assert (tmp_path / "artifacts" / job).exists()
    capsys.readouterr()
    assert main.run(["gc", "--yes", "--json"]) in (0, None)
    removed = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in removed] == ["removed jobs"]
    check("garbage", *removed)
    assert not (tmp_path / "artifacts" / job).exists()
    shutil.rmtree(tmp_path / "artifacts")
    assert main.run(["gc", "--dry-run"]) in (0, None)
