"""A worker machine that is cut off while it trains: network namespaces with own addresses."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from helpers import servers
from helpers.command_line import Zoo, share, until

from zoo import jobs

TRICKS = Path(__file__).parents[1] / "plugins"
SERVERS = "10.77.0.1"
MACHINES = {"one": "10.77.0.2", "two": "10.77.0.3"}
PASSWORD = "between-machines"


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True, text=True)


@dataclass
class Network:
    """Namespaces of this test alone: one with the servers and a bridge, one for each machine."""

    names: list[str] = field(default_factory=list)
    prefix: str = f"zoo{os.getpid()}"

    def build(self) -> None:
        self._add("servers")
        self._ip("servers", "link", "add", "bridge", "type", "bridge")
        self._ip("servers", "addr", "add", f"{SERVERS}/24", "dev", "bridge")
        self._ip("servers", "link", "set", "bridge", "up")
        for machine, address in MACHINES.items():
            self._add(machine)
            # Both ends are born in a namespace of ours: the machine's own network is not touched.
            peer = ["peer", "name", "eth0", "netns", self._name(machine)]
            self._ip("servers", "link", "add", machine, "type", "veth", *peer)
            self._ip("servers", "link", "set", machine, "master", "bridge", "up")
            self._ip(machine, "addr", "add", f"{address}/24", "dev", "eth0")
            self._ip(machine, "link", "set", "eth0", "up")

    def _add(self, name: str) -> None:
        ip("netns", "add", self._name(name))
        self.names.append(name)
        self._ip(name, "link", "set", "lo", "up")

    def _name(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def _ip(self, name: str, *args: str) -> None:
        ip("-n", self._name(name), *args)

    def inside(self, name: str) -> list[str]:
        """The beginning of a command that runs there."""
        return ["ip", "netns", "exec", self._name(name)]

    def plug(self, machine: str, state: str) -> None:
        """Pull a machine's cable, or put it back: `down`, `up`."""
        self._ip("servers", "link", "set", machine, state)

    def remove(self) -> None:
        for name in reversed(self.names):
            ip("netns", "del", self._name(name))


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("setpriv"):
        pytest.skip("network namespaces need root, iproute2 and setpriv")
    found = Network()
    try:
        try:
            found.build()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield found
    finally:
        found.remove()


@dataclass
class Site:
    """The servers behind the bridge, and what it takes to put a worker on a machine."""

    network: Network
    folder: Path
    stack: contextlib.ExitStack
    env: dict[str, str]
    cache: Path
    zoo: Zoo
    """A terminal that reaches the rows without the network."""

    def hire(self, machine: str, **env: str) -> psutil.Process:
        """A worker on that machine, once it is ready."""
        log = self.folder / f"{machine}.log"
        share(self.cache, self.folder / machine)
        worker = servers.running(
            [*self.network.inside(machine), *COMMAND],
            log,
            lambda: b"is ready" in log.read_bytes(),
            env=Zoo(self.folder / machine, **(self.env | env)).env,
            cwd=self.folder / machine,
        )
        return psutil.Process(self.stack.enter_context(worker).pid)


MORTAL = {"ZOO_BEAT_SECONDS": "0.3", "ZOO_LEASE_SECONDS": "8"}
"""Of the machine that is to lose its jobs once it is cut off, but not if it only stands still."""
COMMAND = [sys.executable, "-m", "zoo", "worker", "start", "--slots", "2"]
ENDS = ("end-of-one", "end-of-other")
"""Files in a worker's home that end its jobs: each machine has its own."""


@pytest.fixture
def site(network: Network, tmp_path: Path, cache: Path) -> Iterator[Site]:
    inside = network.inside("servers")
    with contextlib.ExitStack() as stack:
        log = tmp_path / "database.log"
        socket = stack.enter_context(servers.postgresql(PASSWORD, SERVERS, 5432, log, inside))
        conf = tmp_path / "broker.conf"
        conf.write_text(f"requirepass {PASSWORD}\ndir {tmp_path}\n")
        log = tmp_path / "broker.log"
        stack.enter_context(servers.valkey([str(conf)], SERVERS, 6379, log, inside))
        stack.enter_context(servers.s3(SERVERS, 9000, tmp_path / "storage.log", inside))
        env = {
            "ZOO_DATABASE_URL": f"postgresql://zoo:{PASSWORD}@{SERVERS}/postgres",
            "ZOO_BROKER_URL": f"redis://:{PASSWORD}@{SERVERS}/0",
            "ZOO_ARTIFACTS_URL": "s3://zoo",
            "ZOO_PLUGINS_DIR": str(TRICKS),
            "ZOO_PLUGINS": "trickster,sklearn",
            "AWS_ENDPOINT_URL": f"http://{SERVERS}:9000",
            "AWS_ACCESS_KEY_ID": "zoo",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
        }
        near = f"postgresql://zoo:{PASSWORD}@/postgres?host={socket}"
        zoo = Zoo(tmp_path / "terminal", **(env | {"ZOO_DATABASE_URL": near}))
        zoo.run("db", "upgrade")
        yield Site(network, tmp_path, stack, env, cache, zoo)


def _python(site: Site, *args: str) -> str:
    """Python in the servers' namespace, where broker and bucket can be reached."""
    done = subprocess.run(
        [*site.network.inside("servers"), sys.executable, *args],
        env=Zoo(site.folder / "terminal", **site.env).env,
        cwd=site.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_a_machine_that_is_cut_off_loses_its_jobs_and_each_has_one_result(site: Site) -> None:
    _python(site, "-c", "from zoo.storage import artifacts; artifacts.check('s3://zoo')")
    first = site.hire("one", **MORTAL)
    train = ["-m", "zoo", "train", "trickster", "--dataset", "digits", "-d", "-p"]
    refs = [_python(site, *train, f"until=$ZOO_HOME/{name}") for name in ENDS]
    db = site.zoo.database()

    def both(status: str, attempt: int) -> bool:
        found = [jobs.get(db, ref) for ref in refs]
        return all((job.status, job.attempt) == (status, attempt) for job in found)

    until(lambda: both("running", 1))
    site.hire("two")
    working = [p for p in first.children() if "zoo_workers.runner_main" in " ".join(p.cmdline())]
    log, cut = site.folder / "one.log", time.monotonic()
    site.network.plug("one", "down")
    # One job ends where nobody hears of it, the other trains on.
    (site.folder / "one" / ENDS[0]).touch()
    # A lease less two beats (7.4 s), with grace; the time-out of TCP was 20 s.
    until(lambda: "was given up after" in log.read_text(), 20)
    assert time.monotonic() - cut < 15
    until(lambda: both("running", 2))
    # The sentence of the database is there once, though several threads have met it.
    assert log.read_text().count("`zoo doctor` checks every part") == 1, log.read_text()
    back = jobs.clock(db)
    site.network.plug("one", "up")
    until(lambda: log.read_text().count("was given up after") == 2)
    assert "was taken" not in log.read_text()
    assert len(working) == 2 and not all(_is_alive(runner) for runner in working)
    for name in ENDS:
        (site.folder / "two" / name).touch()
    until(lambda: both("succeeded", 2))
    for ref in refs:
        assert [a.outcome for a in jobs.attempts(db, ref)] == ["lost", "succeeded"]
        assert jobs.get(db, ref).artifact == f"{ref}/2"
    _see_whole_artifacts(site, refs)
    # What the cut-off machine may have stored after all is gone.
    find = "fs, root = artifacts.open_store('s3://zoo'); "
    find += "print({p.split('/')[2] for p in fs.find(root)})"
    assert _python(site, "-c", f"from zoo.storage import artifacts; {find}") == "{'2'}"
    # The machine is back at work: it signs in again.
    until(lambda: len([w for w in jobs.workers(db) if w.beat_at > back]) == 2)


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _see_whole_artifacts(site: Site, refs: list[str]) -> None:
    found = [jobs.get(site.zoo.database(), ref) for ref in refs]
    calls = [
        f"artifacts.get('s3://zoo', '{job.artifact}', '{job.artifact_sha256}', Path('{job.id}'))"
        for job in found
    ]
    _python(
        site,
        "-c",
        "; ".join(["from pathlib import Path", "from zoo.storage import artifacts", *calls]),
    )
