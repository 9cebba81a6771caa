"""Removed jobs: no row without its files, and no file without its row after the next pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.finished_jobs import a_spec, claim, folds, succeed

from zoo import jobs, settings
from zoo.cli import main
from zoo.errors import ArtifactError, UsageError
from zoo.job_spec import Source
from zoo.jobs import Database, JobNotFound, Outcome, QueueOptions, references
from zoo.settings import Settings
from zoo.storage import artifacts, job_files, removals

CHILDREN = ("attempt", "history", "log", "outbox", "hook_error", "metric", "rung", "dependency")


@pytest.fixture
def store(tmp_path: Path, db: Database) -> Settings:
    url = str(tmp_path / "store")
    return Settings(home=tmp_path, artifacts_url=url, database_url=db.url)


def trained(db: Database, store: Settings, **given: object) -> str:
    more = {"files": {"weights_w": b"w" * 10}, "with_hooks": True} | given
    return succeed(db, [a_spec()], artifacts_url=store.artifacts, **more)


def rows_of(db: Database, job: str) -> int:
    with db.read() as rows:
        return sum(
            rows.value(f"SELECT count(*) AS n FROM {table} WHERE {column} = :job", {"job": job})
            for table, column in (("job", "id"), *((each, "job_id") for each in CHILDREN))
        )


def failed(db: Database, **options: object) -> str:
    (job,), _ = jobs.add(db, [a_spec()], QueueOptions(**options))
    assert jobs.finish(db, claim(db), Outcome("failed", error_code="exception", error="no"))
    return job


def test_a_removed_job_leaves_neither_rows_nor_files(db: Database, store: Settings) -> None:
    gone, stays = trained(db, store), trained(db, store)
    extra = Path(store.artifacts) / gone / "extra" / "drawer"
    extra.mkdir(parents=True)
    (extra / "manifest.json").write_text("{}")
    assert jobs.remove_jobs(db, [gone, "0" * 32]).ids == [gone]
    assert rows_of(db, gone) == 0
    with pytest.raises(JobNotFound):
        jobs.get(db, gone)
    assert jobs.list_removals(db) == [gone]
    assert removals.complete(db, store) == 1
    assert not (Path(store.artifacts) / gone).exists()
    assert jobs.list_removals(db) == []
    where, sha256 = jobs.get(db, stays).stored_artifact()
    assert artifacts.is_whole(store.artifacts, where, sha256)


def test_without_its_files_a_job_keeps_its_row_and_says_when_they_were_removed(
    db: Database, store: Settings
) -> None:
    job = trained(db, store)
    assert jobs.remove_jobs(db, [job], keep_metrics=True).ids == [job]
    assert jobs.remove_jobs(db, [job], keep_metrics=True).ids == []
    found = jobs.get(db, job)
    assert (found.accuracy, found.artifact, found.status) == (0.9, None, "succeeded")
    assert found.files_removed_at == pytest.approx(jobs.clock(db), abs=60)
    removals.complete(db, store)
    said = "were removed at"
    for read, error in (
        (found.stored_artifact, ArtifactError),
        (lambda: references.with_weights(found), UsageError),
        (lambda: job_files.of(store, found), ArtifactError),
    ):
        with pytest.raises(error, match=said):
            read()
    with pytest.raises(UsageError, match="were removed"):
        source = Source(job=job, artifact=f"{job}/1", sha256="0" * 64)
        jobs.add(db, [a_spec(kind="evaluate", source=source.model_dump())])
    assert jobs.remove_jobs(db, [job]).ids == [job]
    assert rows_of(db, job) == 0


def test_what_others_need_stays_and_says_why(db: Database) -> None:
    source = succeed(db, [a_spec()])
    needed = failed(db)
    again = failed(db)
    pinned = failed(db)
    group = succeed(db, [*folds(2)], kind="cv", accuracies=(0.9,))
    (fold, open_fold) = sorted(jobs.get_group(db, group).jobs, key=lambda job: job.is_terminal)[
        ::-1
    ]
    jobs.pin(db, [pinned], pinned=True)
    (retry,) = jobs.retry(db, [again])
    origin = Source(job=source, artifact="x/1", sha256="0" * 64).model_dump()
    (evaluation,), _ = jobs.add(db, [a_spec(kind="evaluate", source=origin)])
    (later,), _ = jobs.add(db, [a_spec()], QueueOptions(after_any=[needed]))
    every = [source, needed, again, pinned, fold.id, open_fold.id, retry, evaluation, later]
    words = {
        source: evaluation[:8],
        needed: later[:8],
        again: retry[:8],
        pinned: "pinned",
        fold.id: group[:8],
        open_fold.id: "zoo cancel",
        retry: "queued",
        evaluation: "queued",
        later: "queued",
    }
    refused = jobs.remove_jobs(db, every).refused
    assert refused == jobs.check_removal(db, every)
    assert all(words[job] in refused[job] for job in every), refused
    # Their files alone are needed by fewer.
    alone = jobs.check_removal(db, every, keep_metrics=True)
    assert set(every) - set(alone) == {needed, fold.id}
    jobs.cancel_many(db, [open_fold.id, retry, evaluation, later])
    jobs.pin(db, [pinned], pinned=False)
    jobs.record_hook_errors(db, source, {"report": "it failed"})
    assert set(jobs.remove_jobs(db, every).ids) == set(every)
    with db.read() as rows:
        for table in ("job", "job_group", *CHILDREN):
            assert rows.value(f"SELECT count(*) AS n FROM {table}") == 0, table


def test_the_rest_of_a_group_stays_readable_and_is_not_ranked(db: Database) -> None:
    group = succeed(db, folds(3), kind="cv", accuracies=(0.8, 0.9, 1.0))
    first, *others = (job.id for job in jobs.get_group(db, group).jobs)
    assert jobs.best(db)[0].cv is not None
    jobs.remove_jobs(db, [first])
    found = jobs.get_group(db, group)
    assert [job.id for job in found.jobs] == others
    assert found.about["removed_jobs"] == 1
    assert all(best.cv is None for best in jobs.best(db))
    jobs.remove_jobs(db, others)
    with pytest.raises(JobNotFound):
        jobs.get_group(db, group)


def test_files_that_cannot_be_deleted_do_not_keep_others(
    db: Database, store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [trained(db, store) for _ in range(2)]
    jobs.remove_jobs(db, ids)
    remove = artifacts.remove_all

    def refuse(url: str, place: str) -> None:
        if place == ids[0]:
            raise ArtifactError("The disk is read-only.")
        remove(url, place)

    monkeypatch.setattr(artifacts, "remove_all", refuse)
    with pytest.raises(ArtifactError, match="read-only"):
        removals.complete(db, store)
    assert jobs.list_removals(db) == [ids[0]]
    monkeypatch.undo()
    assert removals.complete(db, store) == 1


@pytest.mark.parametrize("place", ["", ".", "..", "a/../b", "/etc", "a//b", ".hidden", "a b"])
def test_no_place_leads_out_of_the_store(tmp_path: Path, place: str) -> None:
    (tmp_path / "store" / "a").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="not a folder"):
        artifacts.remove_all(str(tmp_path / "store"), place)
    (tmp_path / "store" / "b").mkdir()
    assert list(artifacts.remove_many(str(tmp_path / "store"), [place, "b", "none"])) == [place]
    assert [each.name for each in (tmp_path / "store").iterdir()] == ["a"]


def test_a_home_deletes_nothing_from_the_store_of_another_database(
    db: Database, store: Settings
) -> None:
    jobs.remove_jobs(db, [trained(db, store)])
    other = Settings(home=store.home, artifacts_url=store.artifacts)
    assert removals.complete(db, other) == 0
    assert jobs.count_removals(db) == 1


def test_the_command_asks_refuses_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    setup = settings.load()
    db = jobs.connect(setup.database)

    def zoo(*words: str, code: int = 0) -> str:
        assert (main.run(words) or 0) == code, (words, capsys.readouterr())
        return "".join(capsys.readouterr())

    bare, first, _ = (trained(db, setup) for _ in range(3))
    (queued,), _ = jobs.add(db, [a_spec()])
    for words in (("rm", first), ("rm", "--status", "succeeded")):
        assert "Pass --yes" in zoo(*words, code=2)
    assert "cancel" in zoo("rm", first, queued, "--yes", code=2)
    assert [each in zoo("rm", "--model", "m", "--dry-run") for each in (first, queued)] == [1, 0]
    zoo("rm", bare, "--keep-metrics", "--yes")
    for words, code in ((("show", bare), 0), (("files", bare), 1), (("evaluate", bare), 2)):
        assert "were removed at" in zoo(*words, code=code)
    zoo("pin", first)
    assert "is pinned" in zoo("rm", "--model", "m", "--yes")
    zoo("unpin", first)
    zoo("rm", first, "--yes")
    assert [job.id for job in jobs.listing(db)] == [queued]
    assert list(Path(setup.artifacts).iterdir()) == []
