"""PostgreSQL behind a real PgBouncer in transaction mode, old and new."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from helpers import servers

from zoo import jobs
from zoo.errors import StoreError
from zoo.job_spec import JobSpec
from zoo.jobs import Database
from zoo.jobs.dialects import Postgresql
from zoo.queue import doctor
from zoo.settings import Settings

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
SESSIONS = 4
"""More than the two servers that the pooler shares among them."""


def renames() -> bool:
    """Whether this PgBouncer can tell the prepared statements of its clients apart: from 1.21."""
    assert PROGRAM is not None
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    return found is not None and tuple(map(int, found.groups())) >= (1, 21)


@pytest.fixture(scope="module", params=["statements apart", "statements shared"])
def urls(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, bool]]:
    """The database's URL, direct and through a pooler, and whether that tells statements apart."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    is_apart = request.param == "statements apart"
    if is_apart and not renames():
        pytest.skip("this PgBouncer is older than 1.21 and shares prepared statements")
    ports = servers.free_port(), servers.free_port()
    settings = ["default_pool_size = 2"]
    if renames():
        settings.append(f"max_prepared_statements = {100 if is_apart else 0}")
    log = tmp_path_factory.mktemp("pooler") / "postgresql.log"
    with (
        servers.postgresql("word", "127.0.0.1", ports[0], log),
        servers.pgbouncer(PROGRAM, "word", ports[0], ports[1], *settings),
    ):
        direct, pooled = (f"postgresql://zoo:word@127.0.0.1:{port}/postgres" for port in ports)
        jobs.upgrade(Database(pooled))
        yield direct, pooled, is_apart


def use(db: Database, names: list[str], errors: list[StoreError]) -> None:
    """Queue jobs and read them back, with many different statements and values."""
    try:
        for number in range(15):
            spec = JobSpec(kind="train", model=f"m{number}", params={}, dataset="digits")
            (ref,) = jobs.add(db, [spec])[0]
            assert jobs.get(db, ref).model == f"m{number}"
            found = jobs.listing(db, models=[f"m{number}"], limit=number + 1)
            assert {job.model for job in found} == {f"m{number}"}
            assert db.alone("SELECT id FROM job WHERE id = :ref", {"ref": ref}) == [{"id": ref}]
            names.append(ref)
    except StoreError as error:
        errors.append(error)


@pytest.mark.parametrize("option", ["", "?prepare_threshold=none"])
def test_sessions_that_share_servers_get_their_own_rows(
    urls: tuple[str, str, bool], option: str
) -> None:
    sessions = [Database(urls[1] + option) for _ in range(SESSIONS)]
    names: list[str] = []
    errors: list[StoreError] = []
    threads = [threading.Thread(target=use, args=(db, names, errors)) for db in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(set(names)) == SESSIONS * 15
    for db in sessions:
        db.close()


def doctors_word(url: str) -> doctor.Finding:
    found = doctor.examine(Settings(database_url=url))
    return next(each for each in found if each.part == "pooler")


def test_statements_are_prepared_where_the_pooler_tells_them_apart_and_doctor_says_so(
    urls: tuple[str, str, bool],
) -> None:
    is_apart = urls[2]
    db = Database(urls[1])
    assert jobs.counts(db) is not None and isinstance(db.driver, Postgresql)
    assert db.driver.prepare_threshold == (5 if is_apart else None)
    word = doctors_word(urls[1])
    assert word.ok and f" {'with' if is_apart else 'without'} prepared" in word.detail
    forced = doctors_word(f"{urls[1]}?prepare_threshold=5")
    assert forced.ok == is_apart, forced
    assert is_apart or "prepare_threshold" in forced.advice
    db.close()


def test_the_time_limit_for_locks_stays_with_the_transaction(urls: tuple[str, str, bool]) -> None:
    ask = "SELECT current_setting('lock_timeout') AS t"
    for url in urls[:2]:
        db = Database(url)
        with db.write() as rows:
            assert rows.value(ask) == "20s"
        assert db.alone(ask) == [{"t": "20s"}]
        db.close()
    with psycopg.connect(urls[1], autocommit=True) as other:  # another program's session
        assert other.execute(ask).fetchone() == ("0",)


@pytest.mark.parametrize("value", ["", "off", "-1", "1.5", "5&prepare_threshold="])
def test_a_wrong_threshold_is_refused_in_a_sentence(value: str) -> None:
    with pytest.raises(StoreError, match="must be a whole number, or none"):
        Database(f"postgresql://zoo@here/zoo?prepare_threshold={value}")


def test_the_threshold_leaves_the_other_options_alone() -> None:
    url = "postgresql://zoo@here/zoo?sslmode=require&prepare_threshold=7&application_name=x"
    found = Postgresql(url)
    assert found.prepare_threshold == 7
    assert (found.options["sslmode"], found.options["application_name"]) == ("require", "x")
    assert Postgresql("postgresql://zoo@here/zoo").prepare_threshold == 5
