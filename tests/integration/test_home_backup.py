"""A home is backed up while it is used, and restored into an empty one."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from helpers import carried_jobs
from helpers.carried_jobs import all_files, all_rows, end, fill, order
from helpers.command_line import Zoo

from zoo import jobs
from zoo.errors import UsageError, ZooError
from zoo.jobs import Database
from zoo.settings import Settings
from zoo.storage import artifacts, home_backup, removals


@pytest.fixture
def setup(here: Database, home: Path) -> Settings:
    found = Settings(home=home)
    fill(here, found.artifacts, 11)
    (home / "plugins" / "__pycache__").mkdir(parents=True)
    (home / "plugins" / "mine.py").write_text("x = 1\n")
    (home / "plugins" / "__pycache__" / "mine.pyc").write_bytes(b"\0")
    return found


@pytest.fixture
def new(tmp_path: Path) -> Settings:
    """A home that does not exist yet."""
    return Settings(home=tmp_path / "new")


def restored(new: Settings, folder: Path) -> Database:
    assert home_backup.restore(new, folder).damaged == {}
    return jobs.connect(new.database)


def check_files(db: Database, setup: Settings) -> None:
    """See that every job that has succeeded has its files."""
    for job in jobs.get_many(db, order(db)):
        if job.artifact:
            sha256 = str(job.artifact_sha256)
            names = artifacts.files(setup.artifacts, job.artifact, sha256)
            artifacts.check_files(setup.artifacts, job.artifact, sha256, names)


def test_a_restored_home_is_the_one_that_was_backed_up(
    here: Database, setup: Settings, new: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    (held,), _ = jobs.add(here, [carried_jobs.a_spec()])
    (queued,), _ = jobs.add(here, [carried_jobs.a_spec()])
    jobs.claim(here, pool="default", models={"logistic": "p"}, datasets=["digits"], worker="w",
               lease=60)  # fmt: skip
    found = home_backup.back_up(here, setup, folder)
    assert (found.jobs, found.damaged, found.plugins) == (13, {}, ["mine.py"])
    db = restored(new, folder)
    assert all_rows(db) == all_rows(here)
    assert all_files(new.artifacts) == all_files(setup.artifacts)
    assert jobs.get(db, held).status == "running" and jobs.get(db, queued).status == "queued"
    assert [each.name for each in new.plugins_folder.iterdir()] == ["mine.py"]
    with pytest.raises(UsageError, match="has jobs or datasets already"):
        home_backup.restore(new, folder)


def test_a_backup_is_brought_up_to_date_and_forgets_what_was_removed(
    here: Database, setup: Settings, new: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    first = home_backup.back_up(here, setup, folder)
    gone = order(here)[8]
    jobs.remove_jobs(here, [gone])
    removals.complete(here, setup)
    jobs.add(here, [carried_jobs.a_spec()])
    end(here, setup.artifacts, 99, succeeds=True)
    (folder / "artifacts" / ".left.tmp").mkdir()
    second = home_backup.back_up(here, setup, folder)
    assert (second.folders, second.present) == (2, first.folders - 2)
    assert len([*folder.glob("state-*")]) == 1
    assert all_files(str(folder / "artifacts")) == all_files(setup.artifacts)
    assert all_rows(restored(new, folder)) == all_rows(here)


def test_every_row_has_its_files_though_jobs_end_and_are_removed_meanwhile(
    here: Database, setup: Settings, new: Settings, tmp_path: Path
) -> None:
    folder, over = tmp_path / "backup", threading.Event()

    def work() -> None:
        number = 100
        while not over.is_set():
            jobs.add(here, [carried_jobs.a_spec()])
            end(here, setup.artifacts, number, succeeds=True)
            jobs.remove_jobs(here, [order(here)[0]])
            removals.complete(here, setup)
            number += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(3):
            assert home_backup.back_up(here, setup, folder).damaged == {}
    finally:
        over.set()
        worker.join()
    db = restored(new, folder)
    assert len(order(db)) >= 10
    check_files(db, new)


@pytest.mark.parametrize("calls", [3, 19])
def test_an_interrupted_backup_leaves_the_earlier_one_and_a_restore_goes_on(
    here: Database,
    setup: Settings,
    new: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
) -> None:
    folder = tmp_path / "backup"
    home_backup.back_up(here, setup, folder)
    before = all_rows(here)
    fill_more = [jobs.add(here, [carried_jobs.a_spec()]) for _ in range(3)]
    for number in range(len(fill_more)):
        end(here, setup.artifacts, 100 + number, succeeds=True)

    def interrupt_after(left: int) -> None:
        put = artifacts.put_stored

        def interrupted(*args: object) -> bool:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return put(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(artifacts, "put_stored", interrupted)

    with pytest.raises(KeyboardInterrupt), monkeypatch.context():
        interrupt_after(2)
        home_backup.back_up(here, setup, folder)
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt):
        interrupt_after(calls)
        home_backup.restore(new, folder)
    monkeypatch.undo()
    assert not (new.home / "zoo.db").exists()
    assert all_rows(restored(new, folder)) == before


def test_damage_is_named_and_the_rest_is_restored(
    here: Database, setup: Settings, new: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    here_lost, there_lost = order(here)[5], order(here)[6]
    shutil.rmtree(Path(setup.artifacts) / here_lost)
    assert home_backup.back_up(here, setup, folder).damaged.keys() == {here_lost}
    log = folder / "artifacts" / there_lost / "1" / "log.txt"
    log.unlink()  # it is a hard link
    log.write_text("changed")
    found = home_backup.restore(new, folder)
    assert found.damaged.keys() == {here_lost, there_lost}
    assert len(order(jobs.connect(new.database))) == 11
    (database,) = folder.glob("state-*/zoo.db")
    database.write_bytes(database.read_bytes()[:-4096])
    with pytest.raises(ZooError, match="is not the one that was backed up"):
        home_backup.restore(Settings(home=tmp_path / "third"), folder)


def test_what_cannot_be_backed_up_or_restored_is_said(
    here: Database, setup: Settings, new: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    for folder, what in ((other, "something else"), (setup.home / "backup", "within the home")):
        with pytest.raises(UsageError, match=what):
            home_backup.back_up(here, setup, folder)
    with pytest.raises(UsageError, match="is no backup"):
        home_backup.restore(new, other)
    with pytest.raises(UsageError, match="ZOO_DATABASE_URL is set"):
        home_backup.restore(Settings(home=new.home, database_url="postgresql://x/y"), other)
    assert [each.name for each in other.iterdir()] == ["thesis.tex"]


def test_the_commands_copy_a_home(zoo: Zoo, tmp_path: Path) -> None:
    folder, db = tmp_path / "backup", zoo.database()
    fill(db, zoo.settings.artifacts, 4)
    assert "has 4 jobs; 8 of 8 folders" in zoo.run("backup", str(folder)).stderr
    other = Zoo(tmp_path / "other")
    assert other.json("restore", str(folder))["folders"] == 8
    assert order(other.database()) == order(db)
