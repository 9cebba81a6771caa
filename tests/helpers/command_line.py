"""What tests share: the real command line with a home of its own, and waiting with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import command_server, json_checks
from helpers.command_server import Command
from zoo import jobs, settings
from zoo.jobs import Database
from zoo.queue import local_services

FAST = {
    "ZOO_REAP_SECONDS": "0.3",
    "ZOO_RESEND_SECONDS": "1",
    "ZOO_BACKOFF_SECONDS": "0.1",
    "ZOO_DRAIN_SECONDS": "1",
    "ZOO_PICTURES": "off",
}
"""The times of a worker in tests: it looks about often; no pictures, which would be drawn for each
of hundreds of jobs. Its lease is that of every day, which no pause of the machine uses up."""
MORTAL = {"ZOO_BEAT_SECONDS": "0.3", "ZOO_LEASE_SECONDS": "2"}
"""Of a worker that is to lose its job: that is noticed after two seconds, not sixty."""
EMPTY = "empty.db"
"""An empty, migrated database beside the shared cache."""


class Zoo:
    """The real `zoo` command with a home of its own."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        self.env = os.environ | FAST | {"ZOO_HOME": str(home), "COLUMNS": "200"} | env
        self.settings = settings.load(self.env)
        self.started: list[Command] = []

    def start(self, *args: str) -> Command:
        """Start a command and leave it running."""
        self.started.append(command_server.start(args, self.env))
        return self.started[-1]

    def start_script(self, text: str) -> Command:
        """Start a script of Python and leave it running."""
        words, pipe = [sys.executable, "-c", text], subprocess.PIPE
        command = subprocess.Popen(words, env=self.env, text=True, stdout=pipe, stderr=pipe)
        self.started.append(command)
        return command

    def run(
        self, *args: str, code: int = 0, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and see that it ends with this exit code."""
        done = command_server.run(args, self.env, timeout)
        assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str, code: int = 0) -> Any:
        """Run a command with --json and read what it prints, which has the command's schema."""
        printed = json.loads(self.run(*args, "--json", code=code).stdout)
        json_checks.check_output(args, printed)
        return printed

    def database(self) -> Database:
        return jobs.connect(self.settings.database)

    def close(self) -> None:
        """End the servers, and say what is left behind: pytest shows it of a test that failed."""
        local_services.down(self.settings, 10)
        for command in self.started:
            with contextlib.suppress(ValueError):  # its pipes are closed: the test has read them
                command.kill()
                print(command.args, *command.communicate(), sep="\n")
        log = local_services.worker_log(self.settings)
        if log.exists():
            print("The worker's log:", *log.read_text().splitlines()[-40:], sep="\n")
        shutil.rmtree(self.settings.runtime, ignore_errors=True)


def share(cache: Path, home: Path) -> Path:
    """Have a home use a cache together with others; gives the home.

    It begins with a migrated database, as its first command would make it in 0.5 s.
    """
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "cache").is_symlink():
        (home / "cache").symlink_to(cache)
    empty, file = cache.resolve().parent / EMPTY, home / "zoo.db"
    if empty.exists() and not file.exists():
        shutil.copy(empty, file)
    return home


def until(fact: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until the fact holds and give its value; fail after a deadline.

    It looks less often the longer it waits: a look at a database costs milliseconds.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds:
        value = fact()
        if value:
            return value
        time.sleep(min(0.02 + waited / 20, 0.1))
    raise AssertionError(f"not within {seconds} s")
