"""A broker that is sick, elsewhere or hostile: the worker lives, and the jobs run."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from helpers import servers
from helpers.command_line import Zoo, share, until
from helpers.poison_messages import KINDS, WRONG
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from zoo import jobs
from zoo.errors import BrokerError
from zoo.job_spec import JobSpec
from zoo.jobs import Hint
from zoo.queue.broker import Broker

TRICKS = Path(__file__).parents[1] / "plugins"
QUEUE, OTHER = "default.trickster", "default.teller"
SILENT = {"ZOO_RESEND_SECONDS": "3600", "ZOO_REAP_SECONDS": "0.3"}
"""Without a hint no job is begun, but while the broker is away."""


class Scene:
    """A team's broker that may be replaced, and one worker that must outlive all of it."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = servers.free_port()
        self.secret = folder / "broker_url"
        self.secret.write_text(url or f"redis://127.0.0.1:{self.port}/0")
        self.zoo = Zoo(
            folder / "home",
            ZOO_PLUGINS_DIR=str(TRICKS),
            ZOO_PLUGINS="trickster,teller,sklearn",
            ZOO_BROKER_URL_FILE=str(self.secret),
            **SILENT,
        )
        self.db = self.zoo.database()
        self.broker = Broker(self.zoo.settings, patient=True)
        self.log = folder / "worker.log"
        self._server: Any = None
        self.kept: list[Any] = []
        self.worker: Any = None

    def serve(self, *arguments: str, port: int | None = None) -> Any:
        """A Valkey with these arguments."""
        log = self.folder / f"valkey-{servers.free_port()}.log"
        return servers.valkey(arguments, "127.0.0.1", port or self.port, log)

    def open(self, *arguments: str) -> None:
        """Start the broker, empty."""
        self._server = self.serve("--save", "", "--dir", str(self.folder), *arguments)
        self._server.__enter__()

    def close(self) -> None:
        self._server.__exit__(None, None, None)

    def hire(self) -> None:
        command = [sys.executable, "-m", "zoo", "worker", "start", "--slots", "2"]
        # A suite that was started by nohup ignores it, and so would the worker.
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            with self.log.open("wb") as log:
                self.worker = subprocess.Popen(command, env=self.zoo.env, stdout=log, stderr=log)
        finally:
            signal.signal(signal.SIGHUP, before)
        until(lambda: self.worker.pid in {w.pid for w in jobs.workers(self.db)})

    def client(self, port: int | None = None, **options: Any) -> redis.Redis:
        once = Retry(NoBackoff(), 0)
        return redis.Redis(port=port or self.port, socket_timeout=60, retry=once, **options)

    def add(self) -> str:
        """A job without a hint."""
        spec = JobSpec(kind="train", model="trickster", params={}, dataset="digits")
        return jobs.add(self.db, [spec])[0][0]

    def ends(self, ref: str) -> None:
        until(lambda: self.lives() and jobs.get(self.db, ref).status == "succeeded", 60)

    def lives(self) -> bool:
        assert self.worker.poll() is None, self.log.read_text()
        return True

    def hears(self) -> None:
        """A hint alone has the worker begin a job."""
        ref = self.add()
        until(lambda: self.lives() and self.sends(ref), 60)
        self.ends(ref)

    def sends(self, ref: str) -> bool:
        """Whether the broker took a hint for this job."""
        try:
            self.broker.send([Hint(ref, "default", "trickster")])
        except BrokerError:
            return False
        return True

    def said(self, since: int) -> list[str]:
        return self.log.read_text()[since:].splitlines()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Scene]:
    found = Scene(tmp_path_factory.mktemp("broker"))
    share(cache, found.zoo.home)
    found.open()
    found.hire()
    yield found
    found.worker.terminate()
    code = found.worker.wait(60)
    found.close()
    assert code == 0, found.log.read_text()


# --- messages ---


def message(**changes: Any) -> dict[str, Any]:
    """A message as Celery sends it, with changes at its top or in its parts."""
    body = changes.pop("arguments", [[], {"v": 1, "job": "0" * 32, "model": "trickster"}, {}])
    found: dict[str, Any] = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "zoo.run", "id": "0" * 36, "root_id": "0" * 36},
        "properties": {
            "correlation_id": "0" * 36,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "body_encoding": "base64",
            "delivery_tag": "0" * 36,
            "priority": 0,
        },
    }
    for name, change in changes.items():
        both = isinstance(found.get(name), dict) and isinstance(change, dict)
        found[name] = found[name] | change if both else change
    return found


PLANTED = {"task": "zoo.run", "kwargs": {}, "options": {"queue": "planted"}, "subtask_type": None}
BUILT_IN = [
    "celery.accumulate",
    "celery.backend_cleanup",
    "celery.chain",
    "celery.chord",
    "celery.chord_unlock",
    "celery.chunks",
    "celery.group",
    "celery.map",
    "celery.starmap",
    "no.such.task",
]
parts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(PLANTED),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
tops = ["body", "content-encoding", "content-type", "headers", "properties"]
below = {
    "headers": ["task", "id", "eta", "expires", "retries", "timelimit", "compression", "group"],
    "properties": ["body_encoding", "delivery_tag", "delivery_info", "reply_to", "priority"],
}
messages = st.one_of(
    st.sampled_from(WRONG),
    st.binary(max_size=200),
    parts.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(tops), parts, min_size=1).map(lambda c: message(**c)),
    st.tuples(st.sampled_from(sorted(below)), st.data()).flatmap(
        lambda pair: st.dictionaries(st.sampled_from(below[pair[0]]), parts, min_size=1).map(
            lambda change: message(**{pair[0]: change})
        )
    ),
    st.sampled_from(BUILT_IN).map(lambda name: message(headers={"task": name})),
    parts.map(lambda arguments: message(arguments=arguments)),
    st.sampled_from(["callbacks", "errbacks", "chain", "chord"]).map(
        lambda name: message(
            arguments=[[], {"v": 1, "job": "0" * 32, "model": "trickster"}, {name: [PLANTED]}]
        )
    ),
    st.sampled_from(["gzip", "rot13", "", "utf-16", 7]).map(
        lambda name: message(properties={"body_encoding": name})
    ),
)


def raw(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.mark.parametrize("wrong", [*WRONG, message(headers={"task": "celery.map"})])
def test_a_message_that_is_no_hint_is_dropped_and_told_in_one_line(
    scene: Scene, wrong: Any
) -> None:
    before = len(scene.log.read_text())
    scene.client().lpush(QUEUE, raw(wrong))
    scene.hears()  # in this queue, after it
    (line,) = [each for each in scene.said(before) if "dropped a message" in each]
    assert QUEUE in line and len(line) < 600
    assert "Traceback" not in "".join(scene.said(before))


def test_a_flood_of_messages_that_are_no_hints_leaves_few_lines(scene: Scene) -> None:
    before = len(scene.log.read_text())
    client = scene.client()
    client.lpush(QUEUE, *[b"%d" % n for n in range(1200)])
    until(lambda: scene.lives() and not client.exists(QUEUE), 60)
    scene.hears()
    told = [each for each in scene.said(before) if "dropped" in each]
    assert "dropped 1000 messages in a row" in told[-1]
    assert len(told) < 30, told


@examples(
    max_examples=100,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batch=st.lists(messages, min_size=1, max_size=10))
def test_no_message_ends_a_worker_nor_has_it_do_anything_else(
    scene: Scene, batch: list[Any]
) -> None:
    client = scene.client()
    client.lpush(QUEUE, *map(raw, batch))
    until(lambda: scene.lives() and not client.exists(QUEUE), 10)
    assert client.keys("*") == []  # nothing was sent on, put back or kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", [QUEUE, OTHER])
def test_a_key_of_the_wrong_type_is_set_aside(scene: Scene, kind: str, key: str) -> None:
    client = scene.client()
    names = ["unacked", "unacked_index", "unacked_mutex", f"_kombu.binding.{key}", key]
    for name in names:
        KINDS[kind](client, name)
    before = len(scene.log.read_text())
    client.lpush(OTHER if key == QUEUE else QUEUE, "the request for hints ends")
    until(lambda: scene.lives() and client.exists(f"zoo.refused.{key}"))
    assert client.type(f"zoo.refused.{key}").decode() == kind
    told = [each for each in scene.said(before) if "not a queue" in each]
    assert len(told) == 1 and kind in told[0]
    scene.hears()
    client.flushall()


# --- servers ---


def to_a_replica(scene: Scene) -> None:
    scene.client().replicaof("127.0.0.1", "1")


def to_a_primary(scene: Scene) -> None:
    scene.client().replicaof("NO", "ONE")


def replace(*arguments: str) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        scene.close()
        scene.open(*arguments)

    return act


def configure(**values: str) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        client = scene.client()
        for name, value in values.items():
            client.config_set(name, value)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    return act


def forbid(*rules: str) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        client = scene.client()
        client.execute_command("ACL", "SETUSER", "default", *rules)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    return act


def lock(scene: Scene) -> None:
    scene.client().config_set("requirepass", "secret")
    scene.client(password="secret").execute_command("CLIENT", "KILL", "TYPE", "normal")


def unlock(scene: Scene) -> None:
    scene.client(password="secret").config_set("requirepass", "")


def close(scene: Scene) -> None:
    scene.close()


def reopen(scene: Scene) -> None:
    scene.open()


def without_disk(scene: Scene) -> None:
    """The server cannot save any more: its folder is gone."""
    folder = scene.folder / "removed"
    folder.mkdir()
    replace("--dir", str(folder))(scene)
    folder.rmdir()
    client = scene.client()
    client.config_set("save", "3600 1000000")
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    configure()(scene)  # have the worker ask anew


def with_disk(scene: Scene) -> None:
    scene.client().config_set("save", "")  # else it would not end without having saved
    replace()(scene)


def occupied(scene: Scene, *command: str) -> None:
    """Have the server work on a command for long, right after it has put all clients out."""
    own = scene.client().connection_pool.make_connection()
    own.send_packed_command(
        own.pack_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        + own.pack_command(*command)
    )
    scene.kept.append(own)  # closed, the server would go on all the same


def run_a_script(scene: Scene) -> None:
    scene.client().config_set("busy-reply-threshold", "1")
    occupied(scene, "EVAL", "while true do end", "0")


def end_the_script(scene: Scene) -> None:
    scene.client().script_kill()


def load(scene: Scene) -> None:
    replace("--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")(
        scene
    )
    client = scene.client()
    client.mset({f"zoo.filler.{n}": "x" * 1000 for n in range(5000)})
    client.config_set("key-load-delay", "10000")
    occupied(scene, "DEBUG", "RELOAD")


def end_loading(scene: Scene) -> None:
    scene.client().config_set("key-load-delay", "0")
    client = scene.client()
    until(lambda: not client.info("persistence")["loading"])
    client.flushall()


Act = Callable[[Scene], None]
FAULTS: dict[str, tuple[Act, Act, str]] = {
    "fail-over": (to_a_replica, to_a_primary, "read-only replica"),
    "replica without primary": (
        lambda scene: (configure(**{"replica-serve-stale-data": "no"})(scene), to_a_replica(scene)),  # type: ignore[dict-item, func-returns-value]
        to_a_primary,
        "replica",
    ),
    "cluster": (replace("--cluster-enabled", "yes"), replace(), "part of a cluster"),
    "out of memory": (configure(maxmemory="1"), configure(maxmemory="0"), "no memory left"),
    "password": (lock, unlock, "asks for a password"),
    "no LPUSH": (forbid("-lpush"), forbid("+lpush"), "denies required"),
    "no BRPOP": (forbid("-brpop"), forbid("+brpop"), "denies required"),
    "too few replicas": (
        configure(**{"min-replicas-to-write": "1"}),
        configure(**{"min-replicas-to-write": "0"}),
        "too few replicas",
    ),
    "away": (close, reopen, "does not answer"),
    "cannot save": (without_disk, with_disk, "cannot save to its disk"),
    "busy": (run_a_script, end_the_script, "busy with a script"),
    "loading": (load, end_loading, "still loading its data"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_outlives_every_fault_of_its_broker_and_goes_on_from_the_rows(
    scene: Scene, fault: str
) -> None:
    act, undo, words = FAULTS[fault]
    before = len(scene.log.read_text())
    act(scene)
    try:
        until(lambda: scene.lives() and words in "".join(scene.said(before)))
        scene.ends(scene.add())  # nobody sends a hint
        found = doctors_word(scene)
        assert not found["ok"] and words in found["detail"], found
    finally:
        undo(scene)
    until(lambda: scene.lives() and "delivers hints again" in "".join(scene.said(before)))
    scene.hears()
    assert doctors_word(scene)["ok"]
    told = [each for each in scene.said(before) if " begins" not in each and " is " not in each]
    assert "Traceback" not in "".join(told) and len(told) < 10, told


def test_workers_that_hear_learn_from_the_rows_that_no_hint_can_be_sent(scene: Scene) -> None:
    scene.hears()
    scene.client().config_set("maxmemory", "1")  # a request for hints goes on all the same
    try:
        done = scene.zoo.run("train", "trickster", "--dataset", "digits", "-d")
        assert "queued; broker unreachable" in done.stderr
        scene.ends(done.stdout.strip())
    finally:
        scene.client().config_set("maxmemory", "0")
    scene.hears()


def doctors_word(scene: Scene) -> dict[str, Any]:
    """What doctor says of the broker."""
    from zoo.queue import doctor

    found = doctor.examine(scene.zoo.settings)
    return vars(next(each for each in found if each.part == "broker"))


def test_a_password_that_changes_is_read_again_from_its_file(scene: Scene) -> None:
    before, old = len(scene.log.read_text()), scene.secret.read_text()
    lock(scene)
    try:
        until(lambda: scene.lives() and "asks for a password" in "".join(scene.said(before)))
        scene.secret.write_text("")  # caught while it is written
        scene.secret.write_text(old.replace("://", "://:secret@"))
        until(lambda: scene.lives() and "delivers hints again" in "".join(scene.said(before)))
        scene.hears()
    finally:
        unlock(scene)
        scene.secret.write_text(old)
    assert "secret@" not in scene.log.read_text()


class Sentinels:
    """A primary and a replica, watched by one Sentinel that switches within a second."""

    def __init__(self, scene: Scene, running: contextlib.ExitStack) -> None:
        self.ports = servers.free_port(), servers.free_port()
        self.sentinel = servers.free_port()
        self._client = scene.client(self.sentinel, password="guard", decode_responses=True)
        keys = ("--requirepass", "word", "--primaryauth", "word", "--save", "", "--dir")
        for port in self.ports:
            running.enter_context(scene.serve(*keys, str(scene.folder), port=port))
        self.at(scene, self.ports[1]).replicaof("127.0.0.1", str(self.ports[0]))
        config = scene.folder / "sentinel.conf"
        config.write_text(
            f"sentinel monitor zoo 127.0.0.1 {self.ports[0]} 1\n"
            "sentinel auth-pass zoo word\nsentinel down-after-milliseconds zoo 300\n"
            f"sentinel failover-timeout zoo 1000\ndir {scene.folder}\n"
        )
        log, place = scene.folder / "sentinel.log", ("127.0.0.1", str(self.sentinel))
        program = [servers.valkey_program(), str(config), "--sentinel"]
        command = [*program, "--requirepass", "guard", "--bind", place[0], "--port", place[1]]
        ready = lambda: b"+monitor" in log.read_bytes()  # noqa: E731
        running.enter_context(servers.running(command, log, ready))
        # The default periods are seconds.
        periods = ("info-period", "100", "ping-period", "100", "publish-period", "100")
        self._client.execute_command("SENTINEL", "DEBUG", *periods)
        until(lambda: self._client.sentinel_masters()["zoo"]["num-slaves"] == 1)

    @staticmethod
    def at(scene: Scene, port: int) -> redis.Redis:
        return scene.client(port, password="word")

    @property
    def primary(self) -> int:
        return int(self._client.sentinel_get_master_addr_by_name("zoo")[1])

    def switch(self, scene: Scene) -> None:
        before = self.primary

        def asked() -> bool:
            with contextlib.suppress(redis.ResponseError):  # no good replica yet
                self._client.execute_command("SENTINEL", "FAILOVER", "zoo")
            return self.primary != before

        until(asked, 30)


def test_sentinels_name_the_primary_and_a_switch_under_load_loses_nothing(scene: Scene) -> None:
    before, old = len(scene.log.read_text()), scene.secret.read_text()

    def hears_again(times: int) -> None:
        until(lambda: scene.lives() and "".join(scene.said(before)).count("again, after") == times)

    try:
        with contextlib.ExitStack() as running:
            group = Sentinels(scene, running)
            scene.secret.write_text(
                f"sentinel://:word@127.0.0.1:{servers.free_port()};"  # nobody answers there
                f"sentinel://127.0.0.1:{group.sentinel}/0?master_name=zoo&sentinel_password=guard"
            )
            configure()(scene)  # have the worker read it
            hears_again(1)
            scene.hears()
            refs = [scene.add() for _ in range(20)]
            for number, ref in enumerate(refs):
                scene.sends(ref)
                if number == 5:
                    group.switch(scene)
            for ref in refs:
                scene.ends(ref)
            hears_again(2)
            primary = group.at(scene, group.primary)
            until(lambda: primary.info("replication")["connected_slaves"] == 1)
            primary.shutdown(nosave=True, now=True)
            until(lambda: group.primary == group.ports[0], 30)  # and back
            hears_again(3)
            scene.hears()
            word = doctors_word(scene)
            assert word["ok"], word
            here = f"redis://127.0.0.1:{group.ports[0]} (primary 'zoo' of sentinel://"
            assert here in word["detail"]
    finally:
        scene.secret.write_text(old)
    hears_again(4)
    told = scene.said(before)
    warned = [each for each in told if " begins" not in each and "succeeded" not in each]
    assert "Traceback" not in "".join(told) and len(warned) < 15, warned
    assert "word@" not in "".join(told) and "guard" not in "".join(told)


def test_a_worker_refuses_to_start_on_a_cluster_in_a_sentence(scene: Scene) -> None:
    port, bus = servers.free_port(), servers.free_port()  # else the bus has the port + 10,000
    folder = str(scene.folder / "home")
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--dir", folder)
    with scene.serve(*cluster, port=port):
        env = scene.zoo.env | {"ZOO_BROKER_URL": f"redis://127.0.0.1:{port}/0"}
        done = Zoo(scene.zoo.home, **env).run("worker", "start", code=2)
    assert "is part of a cluster, which Zoo cannot use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["raise WorkerShutdown(0)", "return None"])
def test_a_worker_that_ends_without_being_told_to_has_failed(scene: Scene, how: str) -> None:
    script = f"""
import sys
from celery.exceptions import WorkerShutdown
from zoo_workers import consumer as broker

def start(self):
    {how}

broker.Consumer.start = start
from zoo.cli.main import main
sys.argv = ["zoo", "worker", "start"]
sys.exit(main())
"""
    command = scene.zoo.start_script(script)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 1, said
    assert "The worker has ended without a request to stop." in said
    assert "Traceback" not in said


def test_the_commands_and_keys_of_the_docs_are_all_that_zoo_needs(scene: Scene) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "team.md").read_text()
    (rules,) = re.findall(r"^ACL SETUSER zoo (.+)$", docs, flags=re.MULTILINE)
    client = scene.client(db=1)
    client.execute_command("ACL", "SETUSER", "zoo", *rules.replace("PASSWORD", "word").split())
    client.execute_command("ACL", "LOG", "RESET")
    url = f"redis://zoo:word@127.0.0.1:{scene.port}/1"  # the other worker has its own queues
    found = Scene(scene.folder / "acl", url)
    share(scene.zoo.home.resolve() / "cache", found.zoo.home)
    try:
        found.hire()
        found.hears()
        KINDS["hash"](client, OTHER)
        client.lpush(QUEUE, "the request for hints ends")
        until(lambda: found.lives() and client.exists(f"zoo.refused.{OTHER}"))
        assert doctors_word(found)["ok"]
        assert client.acl_log() == []
    finally:
        found.worker.terminate()
        assert found.worker.wait(60) == 0


def test_an_idle_worker_leaves_the_broker_alone(scene: Scene) -> None:
    scene.hears()

    def waits_for_seconds() -> bool:
        clients = scene.client().client_list()
        idle = [int(each["idle"]) for each in clients if each["cmd"] == "brpop"]
        return bool(idle) and min(idle) >= 3

    until(waits_for_seconds, 20)


def test_a_worker_that_loses_its_terminal_stops_as_it_does_when_told_to(scene: Scene) -> None:
    scene.worker.send_signal(signal.SIGHUP)
    assert scene.worker.wait(60) == 0
    assert "has stopped" in scene.log.read_text()
    scene.hire()
    scene.hears()


def test_a_worker_whose_slots_were_busy_listens_again_at_once(scene: Scene) -> None:
    took = []
    for _ in range(8):
        refs = [scene.add() for _ in range(2)]
        scene.broker.send([Hint(ref, "default", "trickster") for ref in refs])
        began = time.monotonic()
        until(lambda refs=refs: not any(jobs.get(scene.db, r).status == "queued" for r in refs))
        took.append(time.monotonic() - began)
        for ref in refs:
            scene.ends(ref)
    assert sorted(took)[4] < 0.5, took  # Celery by itself looks once a second
