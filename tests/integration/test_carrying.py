"""Jobs in an archive: from SQLite into PostgreSQL and back, twice, interrupted, and forged."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import carried_jobs, servers
from helpers.carried_jobs import all_files, all_rows, fill, order
from helpers.command_line import Zoo

from zoo import jobs
from zoo.data import added
from zoo.errors import UsageError, ZooError
from zoo.jobs import Database
from zoo.jobs.carried_rows import CHILDREN, DatasetRow, GroupRow, JobRow
from zoo.settings import Settings
from zoo.storage import artifacts, packing


class Scene(NamedTuple):
    """A home with an added dataset and ended jobs, and an archive of them; nobody changes it."""

    db: Database
    setup: Settings
    archive: Path
    rows: dict[str, list[dict[str, Any]]]
    files: dict[str, str]
    order: list[str]


COUNT = 14


@pytest.fixture(scope="module")
def scene(module_home: Path, empty_file: Path) -> Iterator[Scene]:
    setup = Settings(home=module_home)
    shutil.copy(empty_file, module_home)
    db = jobs.connect(setup.database)
    add_dataset(db, setup.artifacts, module_home, 7)
    fill(db, setup.artifacts, COUNT, dataset=("mine", 1))
    file = module_home / "jobs.zip"
    packed = packing.pack(db, setup, file, order(db))
    assert (packed.jobs, packed.left_out, packed.datasets) == (COUNT, {}, ["mine@1"])
    yield Scene(db, setup, file, all_rows(db), all_files(setup.artifacts), order(db))
    db.close()


def add_dataset(db: Database, url: str, tmp_path: Path, number: int) -> None:
    images, labels = np.full((6, 4, 4), number, "uint8"), np.array([0, 1, 0, 1, 0, 1])
    file = tmp_path / f"{number}.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    added.add(db, url, "mine", f"npz:{file}")


@pytest.fixture(params=["sqlite", "postgresql"])
def other(
    request: pytest.FixtureRequest, empty_file: Path, tmp_path: Path
) -> Iterator[tuple[Database, Settings]]:
    """An empty home, or a team's database, with a store of its own."""
    setup = Settings(home=tmp_path / "other", artifacts_url=str(tmp_path / "other" / "store"))
    setup.home.mkdir()
    if request.param == "sqlite":
        db = jobs.Database(f"sqlite:///{shutil.copy(empty_file, setup.home)}")
    else:
        servers.empty(request.getfixturevalue("postgresql"))
        db = jobs.Database(request.getfixturevalue("postgresql"))
    yield db, setup
    db.close()


def unpack(db: Database, setup: Settings, file: Path, **options: Any) -> packing.Unpacked:
    return packing.unpack(db, setup, file, partial(added.adopt, db, setup.artifacts), **options)


def test_the_records_have_every_column_of_their_tables(db: Database) -> None:
    """A migration that adds a column has to say how it is carried."""
    of_children = {
        table: {*record.model_fields, "job_id"} for table, record, _ in CHILDREN.values()
    }
    wanted = of_children | {
        "job": {*JobRow.model_fields, "seq", "owner", "lease_until"},
        "job_group": {*GroupRow.model_fields},
        "dataset": {*DatasetRow.model_fields},
    }
    wanted["rung"] |= {"group_id"}
    query = (
        "SELECT name FROM pragma_table_info('{}')"
        if db.is_sqlite
        else "SELECT column_name AS name FROM information_schema.columns WHERE table_name = '{}'"
    )
    for table, columns in wanted.items():
        assert {row["name"] for row in db.alone(query.format(table))} == columns, table


def test_jobs_arrive_and_come_back_with_equal_rows_and_files(
    scene: Scene, other: tuple[Database, Settings], tmp_path: Path
) -> None:
    db, there = other
    planned = unpack(db, there, scene.archive, dry_run=True)
    assert (planned.added, planned.datasets) == (COUNT, {"mine@1": "mine@1"})
    assert order(db) == [] and not all_files(there.artifacts)
    assert unpack(db, there, scene.archive).added == COUNT
    assert all_rows(db) == scene.rows
    assert all_files(there.artifacts) == scene.files
    assert order(db) == scene.order
    again = unpack(db, there, scene.archive)
    assert (again.added, again.present, again.files) == (0, COUNT, 0)
    # And back, into a third home.
    file = tmp_path / "back.zip"
    packing.pack(db, there, file, order(db))
    assert file.read_bytes() == scene.archive.read_bytes()
    third = Settings(home=tmp_path / "third")
    back = jobs.connect(third.database)
    unpack(back, third, file)
    assert all_rows(back) == scene.rows
    # Jobs that are submitted later come after them.
    (new,), _ = jobs.add(back, [carried_jobs.a_spec()])
    assert order(back) == [*scene.order, new]


def test_what_has_not_ended_or_is_damaged_is_left_out_and_named(
    here: Database, home: Path, tmp_path: Path
) -> None:
    setup = Settings(home=home)
    fill(here, setup.artifacts, 4)
    (queued,), _ = jobs.add(here, [carried_jobs.a_spec()])
    first, second, *_ = order(here)
    log = Path(setup.artifacts) / first / "1" / "log.txt"
    log.write_text("changed")
    packed = packing.pack(here, setup, tmp_path / "jobs.zip", [second, queued, first])
    assert packed.jobs == 1
    assert packed.left_out.keys() == {queued, first}
    assert "is not the one that was stored" in packed.left_out[first]
    assert packed.notes == ["1 group is packed in part: it has no mean until the rest follows."]
    with pytest.raises(UsageError, match="None of these jobs has ended"):
        packing.pack(here, setup, tmp_path / "none.zip", [queued])
    assert not (tmp_path / "none.zip").exists()


def test_a_group_gets_its_mean_once_all_of_its_jobs_are_there(
    scene: Scene, other: tuple[Database, Settings], tmp_path: Path
) -> None:
    db, there = other
    first, *rest = scene.order[:3]
    mean = scene.rows["job_group"][0]["accuracy"]
    for some, expected in (([first], None), (rest, pytest.approx(mean))):
        packing.pack(scene.db, scene.setup, tmp_path / f"{len(some)}.zip", some)
        unpack(db, there, tmp_path / f"{len(some)}.zip")
        assert [row["accuracy"] for row in all_rows(db)["job_group"]] == [expected]


def test_another_job_with_the_same_id_is_named_and_nothing_is_written(
    scene: Scene, other: tuple[Database, Settings]
) -> None:
    db, there = other
    unpack(db, there, scene.archive)
    one = {"id": scene.order[5]}
    with db.write() as rows:
        rows.run("UPDATE job SET note = 'mine', tags = '[\"new\"]' WHERE id = :id", one)
    assert unpack(db, there, scene.archive).present == COUNT
    with db.write() as rows:
        rows.run("UPDATE job SET error = 'other' WHERE id = :id", one)
    before = all_rows(db)
    with pytest.raises(UsageError, match=f"{one['id']} is here already, with other content"):
        unpack(db, there, scene.archive)
    assert all_rows(db) == before


def test_an_interrupted_call_leaves_whole_jobs_and_the_next_one_adds_the_rest(
    scene: Scene, other: tuple[Database, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, there = other
    monkeypatch.setattr(packing, "BATCH", 3)
    put, calls = artifacts.put_stored, 0

    def interrupted(*args: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 15:  # within the third batch
            raise KeyboardInterrupt
        return put(*args)

    monkeypatch.setattr(artifacts, "put_stored", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(db, there, scene.archive)
    assert order(db) == scene.order[:6]
    for job in jobs.get_many(db, order(db)):
        assert artifacts.is_whole(there.artifacts, str(job.artifact), str(job.artifact_sha256))
    # Files of the next job are there, too, and one of them is torn.
    torn = next((Path(there.artifacts) / scene.order[6]).rglob("*.*"))
    torn.write_bytes(b"torn")
    done = unpack(db, there, scene.archive)
    assert (done.added, done.present) == (COUNT - 6, 6)
    assert all_rows(db) == scene.rows
    assert all_files(there.artifacts) == scene.files
    assert not [*(there.cache / "carried").iterdir()]


def test_a_version_that_has_other_contents_there_gets_the_next_number(
    scene: Scene, other: tuple[Database, Settings], tmp_path: Path
) -> None:
    db, there = other
    add_dataset(db, there.artifacts, tmp_path, 9)
    for added_jobs in (COUNT, 0):
        done = unpack(db, there, scene.archive)
        assert (done.added, done.datasets) == (added_jobs, {"mine@1": "mine@2"})
    prints = {row["version"]: row["fingerprint"] for row in all_rows(db)["dataset"]}
    assert prints[2] == scene.rows["dataset"][0]["fingerprint"] != prints[1]
    found = [job for job in jobs.get_many(db, order(db)) if job.dataset == "mine"]
    assert {(job.dataset_version, job.spec["version"]) for job in found} == {(2, 2)}


def test_files_that_are_being_removed_there_are_awaited(
    scene: Scene, other: tuple[Database, Settings]
) -> None:
    db, there = other
    place = f"{scene.order[3]}/1"
    with db.write() as rows:
        rows.run("INSERT INTO removal (place, at) VALUES (:place, 0)", {"place": place})
    with pytest.raises(UsageError, match=f"{place[:32]} are being removed here"):
        unpack(db, there, scene.archive)
    assert order(db) == []


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write an archive anew with changed entries, sizes and hashes in its manifest."""
    file = archive.with_name("forged.zip")
    with zipfile.ZipFile(archive) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    manifest = json.loads(entries.pop("manifest.json"))
    change(entries)
    manifest["entries"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in entries.items()
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in {**entries, "manifest.json": json.dumps(manifest).encode()}.items():
            new.writestr(name, content)
    return file


HUGE = 10**400
FORGED_JOBS: list[tuple[str, Any]] = [
    *[("status", each) for each in ("queued", "running", "done", None, 3)],
    *[("artifact", each) for each in ("../../etc", "/etc", "a/1", None)],
    *[("seq", 1), ("owner", "me"), ("id", "x"), ("id", "../" * 8), ("created_at", HUGE)],
    *[("priority", 2**40), ("attempt", -1), ("attempt", 99), ("attempt", True), ("pool", 7)],
    *[("spec", "{}"), ("spec", '{"v":3}'), ("spec", "nonsense"), ("model", "other")],
    *[("tags", "{}"), ("tags", "[1]"), ("metrics", "[]"), ("metrics", '{"a":NaN}')],
    *[("group_id", "a" * 32), ("dataset_version", 4), ("artifact_sha256", "0" * 64)],
    *[("dataset", "a\0b"), ("error", "\ud800"), ("finished_at", None)],
]


def test_forged_rows_are_refused_before_anything_is_written(
    here: Database, home: Path, empty_file: Path, tmp_path: Path
) -> None:
    setup = Settings(home=home)
    fill(here, setup.artifacts, 4)
    archive = tmp_path / "jobs.zip"
    packing.pack(here, setup, archive, order(here))
    there = Settings(home=tmp_path / "other")
    there.home.mkdir()
    db = jobs.Database(f"sqlite:///{shutil.copy(empty_file, there.home)}")

    def refused(change: Callable[[dict[str, bytes]], None]) -> None:
        with pytest.raises(ZooError) as caught:
            unpack(db, there, rewritten(archive, change))
        assert "\n" not in caught.value.message

    def set_in_job(name: str, value: Any, entries: dict[str, bytes]) -> None:
        first, *others = entries["jobs.jsonl"].splitlines()
        packed = json.loads(first)
        packed["rows"]["job"][name] = value
        entries["jobs.jsonl"] = b"".join(
            line + b"\n" for line in [json.dumps(packed).encode(), *others]
        )

    for name, value in FORGED_JOBS:
        refused(partial(set_in_job, name, value))
    file = next(iter(n for n in zipfile.ZipFile(archive).namelist() if n.endswith("log.txt")))
    inside = file.rpartition("/")[0]
    for change in (
        lambda e: e.update({file: b"other"}),  # another hash than the artifact's manifest has
        lambda e: e.pop(file),
        lambda e: e.update({f"{inside}/more.txt": b"more"}),
        lambda e: e.update({f"files/{'b' * 32}/1/log.txt": b"of no job"}),
        lambda e: e.update({"files/log.txt": b""}),
        lambda e: e.update({"jobs.jsonl": e["jobs.jsonl"] * 2}),
        lambda e: e.update({"jobs.jsonl": e["jobs.jsonl"].rstrip()}),
        lambda e: e.update({"jobs.jsonl": b"[" * 10**5 + b"\n"}),
        lambda e: e.update({"groups.jsonl": b""}),
        lambda e: e.pop("groups.jsonl"),
    ):
        refused(change)
    assert not any(all_rows(db).values())
    assert unpack(db, there, archive).added == 4


def test_the_commands_say_what_they_do(zoo: Zoo, tmp_path: Path) -> None:
    file, db = tmp_path / "jobs.zip", zoo.database()
    fill(db, zoo.settings.artifacts, 4)
    (queued,), _ = jobs.add(db, [carried_jobs.a_spec()])
    packed = zoo.json("pack", str(file), queued, *order(db)[:3])
    assert (packed["jobs"], packed["left_out"]) == (3, {queued: "it has not ended"})
    assert "exists" in zoo.run("pack", str(file), "--all", code=2).stderr
    shown = zoo.run("pack", str(file), "--status", "succeeded", "--force").stderr
    assert "4 jobs, 20 files" in shown
    other = Zoo(tmp_path / "other")
    other.home.mkdir()
    assert "4 jobs added" in other.run("unpack", str(file)).stderr
    assert order(other.database()) == order(db)[:4]
