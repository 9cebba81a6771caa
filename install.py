"""Install projects of this checkout into a virtual environment, with what they need.

    python install.py VENV '.[data]' workers plugins/zoo-sklearn
    python install.py VENV --whole-lock . workers plugins/zoo-sklearn plugins/zoo-keras

Every file is checked against its hash in requirements.lock. An installation that was interrupted,
at whatever moment, goes on when the same command is given again.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from compose.requirements import requirements

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
BUILDERS = ["editables"]
"""What building an editable wheel needs besides the projects' `build-system.requires`."""
LOOK_SECONDS = 0.2
LINE_SECONDS = 10.0
"""Time between two lines of progress where there is no terminal."""


def main(folder: str, *arguments: str) -> int:
    """Install the projects that the arguments name; returns the exit code."""
    projects = [each for each in arguments if each != "--whole-lock"]
    environment = Path(folder).absolute()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _forget_unfinished(environment)
        _make(environment)
        whole = "--whole-lock" in arguments
        text = LOCK.read_text() if whole else locked(LOCK.read_text(), _roots(projects))
        wanted = environment / "requirements.txt"
        wanted.write_text(text)
        total = len(set(re.findall(r"^([\w.-]+)==", text, re.M)))
        # The lock is complete: nothing has to be resolved. Modules are compiled at their first
        # import, since most never are, or all at once below.
        options = ["--no-deps", "--no-compile"]
        _pip(environment, [*options, "--require-hashes", "-r", str(wanted)], total)
        places = [str(ROOT / each.partition("[")[0]) for each in projects]
        editable = [word for place in places for word in ("-e", place)]
        _pip(environment, [*options, "--no-build-isolation", *editable], len(places))
        if whole:
            _say("Compiling")
            command = [str(_python(environment)), "-m", "compileall", "-qq", "-j", "0"]
            subprocess.run([*command, str(_site(environment))], check=False)
    except KeyboardInterrupt:
        _say("Stopped. The same command goes on from here.")
        return 130
    except subprocess.CalledProcessError as error:
        _say(f"This command failed: {' '.join(map(str, error.cmd))[:200]}")
        return 1
    return 0


def locked(lock: str, roots: Iterable[str]) -> str:
    """Return the entries of the lock for these distributions and all that they require.

    Which requires which is said in the comments of the lock, after `# via`.
    """
    entries = re.split(r"^(?=\w)", lock, flags=re.M)[1:]
    names = [re.match(r"[\w.-]+", each)[0] for each in entries]  # type: ignore[index]
    parents = [set(re.findall(r"^    #(?: via|  ) +([\w.-]+)$", each, re.M)) for each in entries]
    wanted = {re.sub(r"[-_.]+", "-", each).lower() for each in roots}
    while more := {n for n, p in zip(names, parents, strict=True) if p & wanted} - wanted:
        wanted |= more
    return "".join(each for n, each in zip(names, entries, strict=True) if n in wanted)


def _roots(projects: Iterable[str]) -> list[str]:
    """Return the names of distributions that the projects require, and those that build them."""
    found = [*BUILDERS, *requirements([each.rstrip("/") for each in projects])]
    for each in projects:
        table = tomllib.loads((ROOT / each.partition("[")[0] / "pyproject.toml").read_text())
        found += table["build-system"]["requires"]
    return [re.split(r"[\[<>=!~; ]", each)[0] for each in found]


def _make(environment: Path) -> None:
    if not (environment / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _site(environment: Path) -> Path:
    (found,) = (environment / "lib").glob("python3*/site-packages")
    return found


def _forget_unfinished(environment: Path) -> None:
    """Remove the metadata of distributions whose installation was interrupted, pip among them.

    pip would take them for installed. It writes INSTALLER after all other files.
    """
    for each in environment.glob("lib/python3*/site-packages/*.dist-info"):
        if not (each / "INSTALLER").exists():
            shutil.rmtree(each)


def _installed(environment: Path) -> int:
    return len(list(_site(environment).glob("*.dist-info/INSTALLER")))


def _pip(environment: Path, arguments: list[str], total: int) -> None:
    """Run `pip install` and show its progress; its output is in install.log."""
    log = environment / "install.log"
    command = [str(_python(environment)), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", *arguments]
    show = _shower()
    before = _installed(environment)
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        while process.poll() is None:
            done = _installed(environment) - before
            show(_progress(log.read_text(errors="replace"), done, total))
            time.sleep(LOOK_SECONDS)
    finally:
        process.terminate()
        process.wait()
        show("")
    if process.returncode:
        _say("\n".join(log.read_text(errors="replace").splitlines()[-8:]))
        raise subprocess.CalledProcessError(process.returncode, command)


def _progress(log: str, done: int, total: int) -> str:
    """Return a line on what pip does, from what it has printed so far."""
    if found := re.search(r"^Installing collected packages: (.*)$", log, re.M):
        total = found[1].count(",") + 1
        return f"  unpacking {min(done + 1, total)} of {total} packages"
    files = re.findall(r"^ *Downloading (?:\S*/)?([^\s/]+) \(([\d.]+) ([kMG]?B)\)", log, re.M)
    unit = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
    size = sum(float(number) * unit[name] for _, number, name in files)
    seen = len(re.findall(r"^(?:Collecting|Obtaining|Requirement already satisfied)", log, re.M))
    name = f", {files[-1][0].partition('-')[0]}" if files else ""
    return f"  package {min(seen, total)} of {total}, {size:.0f} MB{name}"


def _shower() -> Callable[[str], None]:
    """Return a function that shows a line in place of the one before."""
    shown = ["", 0.0]

    def on_terminal(line: str) -> None:
        sys.stderr.write(f"\r\033[K{line}")
        sys.stderr.flush()

    def elsewhere(line: str) -> None:
        if line and line != shown[0] and time.monotonic() - shown[1] > LINE_SECONDS:
            shown[:] = [line, time.monotonic()]
            _say(line)

    return on_terminal if sys.stderr.isatty() else elsewhere


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
