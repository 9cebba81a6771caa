"""Make docs/captures/README.md: what a real terminal shows of a real run (`make captures`; tmux).

A home of its own is filled with real jobs; each command then runs in tmux, 80 and 160 columns wide.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ZOO = Path(sys.executable).with_name("zoo")
PAGE = Path(__file__).parent / "captures" / "README.md"
WIDTHS = (80, 160)
ENDED = [
    "train logistic --dataset digits --tag baseline",
    "train logistic --dataset digits --cv 5 --tag baseline",
    "train logistic --dataset digits --seeds 5 -p max_iter=20",
    "train dense-softmax --dataset digits -p epochs=30 --tag baseline",
    "train dense-softmax --dataset digits -p epochs=100 -p learning_rate=0.01",
]
RUNNING = "train dense-softmax --dataset digits -p epochs=1500 --seeds 6 --tag long -d"
COMMANDS = ["jobs", "jobs --where 'accuracy > 0.9' --sort -accuracy -n 5", "leaderboard", "watch"]


def main() -> None:
    """Run the jobs, take the captures, write the page."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as home:
        env = os.environ | {"ZOO_HOME": home, "ZOO_SLOTS": "2"}
        try:
            for words in ENDED:
                zoo(words, env)
            zoo(RUNNING, env)
            await_steps(env)
            taken = [
                (each, width, capture(each, width, env)) for each in COMMANDS for width in WIDTHS
            ]
        finally:
            zoo("cancel --tag long --yes", env)
            zoo("down", env)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(taken), encoding="utf-8")


def zoo(words: str, env: dict[str, str]) -> str:
    command = [ZOO, *shlex.split(words)]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def await_steps(env: dict[str, str]) -> None:
    """Wait until a running job has told how far it is."""
    deadline = time.monotonic() + 120
    while "epoch" not in zoo("watch --once", env):
        if time.monotonic() > deadline:
            raise SystemExit("No job has begun within two minutes.")
        time.sleep(0.5)


def capture(words: str, width: int, env: dict[str, str]) -> str:
    """What a terminal of that width shows of a command: at its end, or of `watch` after a while."""
    is_live = words == "watch"
    after = "" if is_live else "; sleep 60"
    command = f"exec env -u COLUMNS -u LINES {shlex.join([str(ZOO), *shlex.split(words)])}{after}"
    size = ["-x", str(width), "-y", "28" if is_live else "40"]
    start = ["new-session", "-d", *size, command.replace("exec ", "") if after else command]
    # A server for each: one that has just ended may still hold its socket.
    tmux = ["tmux", "-L", f"zoo-{os.getpid()}-{uuid.uuid4().hex[:8]}", "-f", "/dev/null"]
    subprocess.run([*tmux, *start], env=env, check=True)
    try:
        return settled(tmux)
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)


def settled(tmux: list[str], seconds: float = 3.0) -> str:
    """The text of the pane once it has shown something for that long."""
    since = None
    while since is None or time.monotonic() - since < seconds:
        time.sleep(0.2)
        shown = subprocess.run([*tmux, "capture-pane", "-p"], check=True, stdout=subprocess.PIPE)
        text = shown.stdout.decode()
        if text.strip() and since is None:
            since = time.monotonic()
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def page(taken: list[tuple[str, int, str]]) -> str:
    """The page, with each command and what it has shown."""
    parts = [
        "# What the terminal shows",
        "Made by `make captures` from a real run on `digits`, in tmux, 80 and 160 columns wide.",
    ]
    for words, width, text in taken:
        parts += [f"## `zoo {words}`, {width} columns", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
