"""Local servers whose sockets are removed, as systemd does when the user logs out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.command_line import Zoo

from zoo.queue import local_services
from zoo.settings import Settings


def test_a_worker_whose_sockets_were_removed_takes_its_broker_along(
    tmp_path: Path, session: Path
) -> None:
    """As systemd removes them when the user logs out."""
    here = Settings(home=tmp_path / "home")
    here.home.mkdir()
    local_services.ensure(here, worker=False)
    place = local_services.Place(here)
    assert place.take()
    broker = local_services.broker_process(here)
    assert broker is not None
    for each in here.runtime.iterdir():
        each.unlink()
    here.runtime.rmdir()
    place.give_up()
    assert not broker.is_running() or broker.status() == "zombie"


@pytest.mark.parametrize("made_again", [False, True])
def test_down_finds_a_worker_whose_sockets_were_removed(
    zoo: Zoo, session: Path, made_again: bool
) -> None:
    zoo.run("up")
    here = zoo.settings
    worker, broker = local_services.local_worker(here), local_services.broker_process(here)
    assert worker is not None and broker is not None
    shutil.rmtree(here.runtime)
    if made_again:  # by any command since
        local_services.make_runtime(here)
    assert "Stopped: worker" in zoo.run("down").stderr
    for process in (worker, broker):
        assert not process.is_running() or process.status() == "zombie"
    assert "Nothing was running" in zoo.run("down").stderr
