"""What takes space, damaged files, and logs that do not grow for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.finished_jobs import a_spec, claim, succeed

from zoo import jobs
from zoo.jobs import Database, Outcome
from zoo.queue import doctor, local_services, storage_check
from zoo.settings import Settings


def test_damaged_files_are_found_in_a_sample_and_in_all_and_sizes_are_summed(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Settings(home=tmp_path, artifacts_url=str(tmp_path / "store"), database_url=db.url)
    assert storage_check.check_sample(db, store).jobs == 0
    sound, damaged = (
        succeed(db, [a_spec()], artifacts_url=store.artifacts, files={"w": b"123"})
        for _ in range(2)
    )
    monkeypatch.setattr(storage_check, "PAGE", 1)
    seen: list[tuple[int, int]] = []
    checked = storage_check.check_all(db, store, lambda *done: seen.append(done))
    assert (checked.jobs, checked.damaged, seen) == (2, {}, [(1, 2), (2, 2)])
    (tmp_path / "store" / damaged / "1" / "w").write_bytes(b"12x")
    assert list(storage_check.check_all(db, store, lambda *_: None).damaged) == [damaged]
    places = iter([sound, damaged, *["f" * 32] * storage_check.SAMPLE])
    monkeypatch.setattr(storage_check.secrets, "token_hex", lambda _: next(places))
    (bad, total) = doctor.PARTS["files"](store, "files")
    assert damaged[:8] in bad.detail
    assert not total.ok
    jobs.add(db, [a_spec()])
    last = Outcome("succeeded", {"accuracy": 1.0}, "x/1", "0" * 64, 3_400_000)
    assert jobs.finish(db, claim(db), last)
    told = "; ".join(storage_check.list_sizes(db, store))
    assert "artifacts of 3 jobs at least 3.4 MB" in told
    assert jobs.get(db, sound).artifact_bytes is None


def test_a_log_is_rotated_while_it_is_written(tmp_path: Path) -> None:
    here = Settings(home=tmp_path / "home")
    log = local_services.worker_log(here)
    with log.open("ab", buffering=0) as writer:
        writer.write(b"first\n" * 100)
        local_services.rotate_logs(here, most=1000)
        assert log.stat().st_size == 600
        local_services.rotate_logs(here, most=100)
        writer.write(b"second\n")
        assert log.read_bytes() == b"second\n"
        older = log.with_name("worker.log.1")
        assert older.read_bytes() == b"first\n" * 100
        assert older.stat().st_mode & 0o077 == 0
        assert older in local_services.log_files(here)
