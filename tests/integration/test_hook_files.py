"""What `job_finished` is handed of a job's files, and what it leaves beside them."""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.command_line import until
from helpers.finished_jobs import a_spec, claim, job_of, succeed
from zoo_workers import hook_files
from zoo_workers.hooks import MAX_TRIES, Hooks, Listeners

from zoo import jobs, settings
from zoo.errors import ArtifactError
from zoo.jobs import Database, HookTurn, Outcome
from zoo.storage import job_files

TOP = "import os, sys, time, zoo\n@zoo.hookimpl\n"


@pytest.fixture
def db(home: Path) -> Database:
    return jobs.connect()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Callable[..., None]:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path / "plugins"))
    (tmp_path / "plugins").mkdir()

    def write(name: str, body: str, takes: str = "job, files, extra") -> None:
        source = f"{TOP}def job_finished({takes}):\n{textwrap.indent(body, '    ')}\n"
        (tmp_path / "plugins" / f"{name}.py").write_text(source)

    return write


@pytest.fixture
def caller(db: Database) -> Iterator[Hooks]:
    found = Hooks(db, settings.load(), {}, Listeners(["job", "files", "extra"]))
    found.start()
    yield found
    found.end()


def ended(db: Database, caller: Hooks) -> str:
    """A job that has succeeded and whose hooks were called."""
    url = settings.load().artifacts
    job = succeed(db, [a_spec()], artifacts_url=url, files={"weights_w": b"1"}, with_hooks=True)
    return called(db, caller, job)


def called(db: Database, caller: Hooks, job: str) -> str:
    caller.add(job)
    until(lambda: not owed(db))
    return job


def owed(db: Database) -> int:
    with db.read() as rows:
        return int(rows.value("SELECT count(*) AS n FROM outbox"))


def contents(db: Database, job: str) -> dict[str, bytes]:
    """The extra files of the job, checked."""
    found = job_files.of(settings.load(), job_of(db, job))
    return {
        f.name: job_files.read(settings.load(), f) for f in found if f.name.startswith("extra/")
    }


def test_a_plugin_reads_the_jobs_files_and_what_it_leaves_is_kept_beside_them(
    plugin: Callable[..., None], db: Database, caller: Hooks, home: Path
) -> None:
    plugin(
        "reader",
        """
names = sorted(str(p.relative_to(files)) for p in files.rglob("*") if p.is_file())
(extra / "deep").mkdir()
(extra / "deep" / "names.txt").write_text(" ".join(names))
(extra / "call.txt").write_text("again" if "again" in job["tags"] else "first")
""",
    )
    plugin("told", "job['id']", takes="job")
    job = ended(db, caller)
    kept = {
        "extra/reader/call.txt": b"first",
        "extra/reader/deep/names.txt": b"predictions.npz weights/w",
    }
    assert contents(db, job) == kept
    names = [f.name for f in job_files.of(settings.load(), job_of(db, job))]
    assert names == ["predictions.npz", "weights/w", *kept]
    # Called at least once: the second time takes the place of the first.
    jobs.tag(db, [job], add=["again"], remove=[])
    with db.write() as rows:
        rows.run("INSERT INTO outbox (job_id, due_at) VALUES (:id, 9e12)", {"id": job})
    called(db, caller, job)
    assert contents(db, job) == kept | {"extra/reader/call.txt": b"again"}
    assert list((home / "work").iterdir()) == []


def test_a_job_that_failed_has_no_files_and_may_still_get_extra_ones(
    plugin: Callable[..., None], db: Database, caller: Hooks
) -> None:
    plugin("sees", "(extra / 'seen').write_text(f\"{job['status']} {files}\")")
    (job,), _ = jobs.add(db, [a_spec()])
    failed = Outcome("failed", error_code="x", error="y", with_hooks=True)
    assert jobs.finish(db, claim(db), failed)
    assert contents(db, called(db, caller, job)) == {"extra/sees/seen": b"failed None"}


def test_what_is_not_to_be_kept_harms_neither_the_job_nor_what_another_plugin_leaves(
    plugin: Callable[..., None], db: Database, caller: Hooks, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("zoo.worker").propagate = True
    plugin("links", "(extra / 'link').symlink_to('/etc/passwd')")
    plugin("many", "for n in range(201): (extra / str(n)).touch()")
    plugin("large", "with (extra / 'x').open('wb') as f: f.truncate(21 * 2**20)")
    plugin("odd", "(extra / 'a\\nb').touch()")
    plugin("listed", "(extra / 'manifest.json').touch()")
    plugin("raises", "(extra / 'x').touch(); raise ValueError('no')")
    plugin("folder", "extra.rmdir(); extra.symlink_to('/etc')")
    plugin("well", "(extra / 'well').touch()")
    plugin("zz_dies", "(extra / 'x').touch(); os._exit(3)")
    job = succeed(db, [a_spec()], artifacts_url=settings.load().artifacts, with_hooks=True)
    caller.add(job)
    until(lambda: contents(db, job))
    assert contents(db, job) == {"extra/well/well": b""}
    failed = until(lambda: {e.plugin for e in jobs.hook_errors(db, job)})
    assert failed == {"", "links", "many", "large", "odd", "listed", "folder"}
    for name in failed - {""}:
        assert f"the hook of the plugin {name}: its files are not kept" in caplog.text
    assert job_of(db, job).status == "succeeded" and Path("/etc/passwd").exists()


def test_hooks_wait_for_files_that_cannot_be_had_but_not_for_ever(
    plugin: Callable[..., None], db: Database, caller: Hooks
) -> None:
    plugin("sees", "(extra / 'seen').write_text(str(files))")
    job = ended(db, caller)
    place = Path(settings.load().artifacts)
    (place / str(job_of(db, job).artifact) / "predictions.npz").write_bytes(b"damaged")
    assert not caller.call(HookTurn(job, 1, False))
    assert contents(db, job)["extra/sees/seen"] != b"None"
    assert caller.call(HookTurn(job, MAX_TRIES, False))
    assert contents(db, job) == {"extra/sees/seen": b"None"}


def test_nothing_is_fetched_or_made_where_no_plugin_takes_it(db: Database, home: Path) -> None:
    found = job_of(db, succeed(db, [a_spec()]))  # its artifact is nowhere
    with hook_files.prepared(settings.load(), found, ["job"], insist=True) as folder:
        assert folder.request() == {"folder": None, "files": None}
        assert list(folder.keep()) == []
    assert not (home / "work").exists()
    with (
        pytest.raises(ArtifactError),
        hook_files.prepared(settings.load(), found, ["job", "files"], insist=True),
    ):
        pass
    assert list((home / "work").iterdir()) == []


def test_a_damaged_extra_file_is_found_out(db: Database, tmp_path: Path) -> None:
    job = succeed(db, [a_spec()], artifacts_url=settings.load().artifacts)
    left = tmp_path / "drawer"
    left.mkdir()
    (left / "a.txt").write_text("a")
    job_files.keep(settings.load(), job, left)
    stored = Path(settings.load().artifacts) / job / "extra" / "drawer"
    assert json.loads((stored / "manifest.json").read_text())["plugin"] == "drawer"
    (stored / "a.txt").write_text("b")
    with pytest.raises(ArtifactError, match=r"a\.txt .* is not the one that was stored"):
        contents(db, job)
