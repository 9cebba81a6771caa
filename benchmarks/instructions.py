"""`python -m benchmarks.instructions [--write]`: compare the instructions of common acts.

Valgrind's callgrind counts them, so that a slowdown is found without a clock, on a busy machine,
too. The counts of the last accepted state are in `results/instructions.json`; they hold for one
Python version, and are compared only with counts of the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.job_spec import JobSpec

KEPT = Path(__file__).parent / "results" / "instructions.json"
TOLERANCE = 0.1
"""Largest accepted growth; the counts of two runs differ by up to 1 %."""
WARM_UP, TIMES = 3, 20
"""Number of jobs before those that are counted, and of those."""
MARK = "getsid"
"""A function of the C library that nothing else calls: each call ends a part of the count."""
MILLION = 1e6


def main() -> int:
    """Count and compare; 1 if an act takes more instructions than the last accepted state."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    options.add_argument("--write", action="store_true", help="accept these counts")
    options.add_argument("--act", choices=ACTS, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.act:
        ACTS[asked.act]()
        return 0
    if shutil.which("valgrind") is None:
        _say("Instructions are not counted: valgrind is not installed.")
        return 0
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    here = _environment()
    if not asked.write and kept.get("of") != here:
        _say(f"Instructions are not compared: those known are of {kept.get('of')}, not {here}.")
        return 0
    found = {"zoo --help": count_help()} | {f"{name}, per job": count(name) for name in ACTS}
    if asked.write:
        text = json.dumps({"of": here, "millions": found}, indent=2)
        KEPT.write_text(text + "\n", encoding="utf-8")
    return _compare(found, kept.get("millions", {}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _environment() -> str:
    """Return what else decides on the counts: those of others are not compared."""
    tool = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    versions = f"Python {platform.python_version()}, {tool.stdout.strip()}"
    return f"{versions}, {' '.join(platform.libc_ver())}, {platform.machine()}"


def _compare(found: dict[str, float], kept: dict[str, float]) -> int:
    status = 0
    _say(f"{'millions of instructions':32} {'before':>9} {'now':>9}")
    for name, number in found.items():
        before = kept.get(name, number)
        is_slower = number > before * (1 + TOLERANCE)
        status |= is_slower
        verdict = f"  over {before * (1 + TOLERANCE):.1f}" if is_slower else ""
        _say(f"{name:32} {before:9.1f} {number:9.1f}{verdict}")
    if status:
        _say(
            "Something has become slower. A profile of an act: valgrind --tool=callgrind python -m "
            "benchmarks.instructions --act NAME; what is worth its price is accepted with --write."
        )
    return status


def count_help() -> float:
    """Return the millions of instructions of `zoo --help` in a home that is in use."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home:
        command = [sys.executable, "-m", "zoo", "--help"]
        env = _variables(home)
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        return _parts(command, env)[-1]


def count(act: str) -> float:
    """Return the millions of instructions of one of ACTS, per job."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home:
        command = [sys.executable, "-m", "benchmarks.instructions", "--act", act]
        _, counted, _ = _parts(command, _variables(home))
        return counted / TIMES


def _variables(home: str) -> dict[str, str]:
    known = {name: os.environ[name] for name in ("PATH", "ZOO_DATA_DIR") if name in os.environ}
    # Sets of strings in the same order, no bytecode compiled anew, no threads of libraries.
    fixed = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    fixed["ZOO_PLUGINS"] = "sklearn"  # whichever others are installed
    return known | fixed | {"HOME": home, "ZOO_HOME": home}


def _parts(command: list[str], env: dict[str, str]) -> list[float]:
    """Run under callgrind; return the millions of instructions of each part between marks."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        out = Path(folder) / "counted"
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        done = subprocess.run(
            [*tool, f"--dump-before={MARK}", *command], env=env, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        # The parts up to each mark are numbered; what follows the last one has no number.
        files = sorted(out.parent.glob("counted.*"), key=lambda file: int(file.suffix[1:]))
        return [_total(file) for file in [*files, out]]


def _total(file: Path) -> float:
    found = re.search(r"^totals: (\d+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, file
    return int(found[1]) / MILLION


def _spec() -> JobSpec:
    from zoo.job_spec import JobSpec

    return JobSpec(kind="train", model="noop", params={}, dataset="digits")


def _place() -> tuple[Any, Any]:
    """Return a home with waiting jobs, and a supervisor that may run them."""
    from zoo_workers.runner_pool import RunnerPool
    from zoo_workers.slots import Supervisor

    from benchmarks.queue import Site
    from zoo import jobs

    here = Site(Path(os.environ["ZOO_HOME"]), "", "")
    os.environ |= here.env
    jobs.add(here.db, [_spec()] * (TIMES + WARM_UP))
    runners = RunnerPool(here.settings.home, jobs_per_runner=1000, memory_mb=4000)
    settings = dataclasses.replace(here.settings, job_memory_mb=4000)
    slot = Supervisor(here.db, settings, runners, "counted", "default", 1)
    slot.models, slot.datasets = {"noop": "noop 1"}, ["digits"]
    return here, slot


def claim() -> None:
    """Claim jobs, one after the other."""
    from zoo import jobs

    _, slot = _place()
    given = {"pool": slot.pool, "models": slot.models, "datasets": slot.datasets}

    def once() -> None:
        assert jobs.claim(slot.db, **given, worker=slot.name, lease=60)

    _repeat(once)


def work() -> None:
    """Do all that a worker does for a job, one at a time; its runner is another process."""
    from zoo import jobs

    here, slot = _place()
    specs = [job.id for job in jobs.listing(here.db, limit=1000)]
    jobs.cancel_many(here.db, specs)

    def once() -> None:
        jobs.add(here.db, [_spec()])
        slot.run_jobs()

    _repeat(once)
    found = jobs.counts(here.db)
    assert set(found) == {"succeeded", "cancelled"}, found
    slot.close()
    slot.runners.stop()


def run() -> None:
    """Run jobs as a runner does."""
    from zoo_workers import runner_main
    from zoo_workers.runner_pool import RunnerOutput

    here, _ = _place()
    output = RunnerOutput(here.settings.home)
    numbers = itertools.count()

    def once() -> None:
        files = here.settings.home / str(next(numbers)) / "files"
        files.mkdir(parents=True)
        output.clear()
        request = {"files": str(files), "source": "", "spec": _spec().model_dump()}
        reply = runner_main.run(request, output.log.number, output.progress.number)
        assert reply["status"] == "succeeded", reply

    _repeat(once)


def _repeat(act: Callable[[], None]) -> None:
    """Act a few times, then TIMES times between two marks."""
    for _ in range(WARM_UP):
        act()
    os.getsid(0)
    for _ in range(TIMES):
        act()
    os.getsid(0)


ACTS: dict[str, Callable[[], None]] = {"claim": claim, "work": work, "run": run}


if __name__ == "__main__":
    sys.exit(main())
