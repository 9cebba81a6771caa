"""Completion typed into real shells: bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import command_server
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, succeed

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
PREPARE = {
    "bash": "PS1='READY> '; bind 'set bell-style none'; bind 'set enable-bracketed-paste off'",
    "zsh": "PS1='READY> '; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D",
    "fish": "function fish_prompt; echo 'READY> '; end; set -g fish_autosuggestion_enabled 0",
}


class Shell:
    """A shell in a terminal of its own, where a person types."""

    def __init__(self, name: str, env: dict[str, str], folder: Path) -> None:
        self.name = name
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(START[name][0], START[name], env)
        self.shown = ""

    def read_until(self, wanted: str, seconds: float = 60) -> str:
        """Read what is shown until it matches."""
        deadline = time.monotonic() + seconds
        while not re.search(wanted, self.shown):
            assert time.monotonic() < deadline, f"{wanted!r} is not in {self.shown!r}"
            if select.select([self.terminal], [], [], 0.1)[0]:
                piece = os.read(self.terminal, 65536).decode(errors="replace")
                # fish asks what terminal it is before it begins.
                if "\x1b[c" in piece or "\x1b[0c" in piece:
                    os.write(self.terminal, b"\x1b[?62;c")
                self.shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b[=>]", "", piece)
        return self.shown

    def type(self, text: str) -> None:
        self.shown = ""
        os.write(self.terminal, text.encode())

    def close(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_file: Path) -> Iterator[Zoo]:
    folder = tmp_path_factory.mktemp("shells")
    zoo = Zoo(folder / "home")
    zoo.home.mkdir()
    shutil.copy(empty_file, zoo.home)
    db = zoo.database()
    succeed(db, [a_spec()])
    db.close()
    command = folder / "bin" / "zoo"
    command.parent.mkdir()
    (folder / "empty").mkdir()
    zoo.env |= {"PATH": f"{command.parent}:{os.environ['PATH']}", "TERM": "xterm-256color"}
    zoo.env |= {"HOME": str(folder / "empty")}
    zoo.run("models")
    with command_server.program(command):  # else each key of a completion starts a Python
        yield zoo


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_what_is_typed_is_completed_in_a_real_shell(home: Zoo, name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed here")
    script = home.run("--show-completion", name).stdout
    file = home.home / f"completion.{name}"
    file.write_text(script)
    shell = Shell(name, home.env, home.home.parent / "empty")
    try:
        shell.type(f"{PREPARE[name]}\rsource {file}; echo PRE''PARED\r")
        shell.read_until("PREPARED")
        for typed, wanted in (
            ("zoo train logis", r"zoo train logistic"),
            ("zoo show @last-f", r"zoo show @last-failed"),
            ("zoo show @best:dig", r"zoo show @best:digits"),
            ("zoo train logistic -p loss=hin", r"loss=hinge"),
            ("zoo train logistic --dataset dig", r"--dataset digits"),
            ("zoo export x --format onn", r"--format onnx"),
            ("zoo sweep logistic --sampler ran", r"--sampler random"),
            ("zoo jobs --sort accu", r"--sort accuracy"),
            ("zoo jobs --columns id,accu", r"--columns id,accuracy"),
            ("zoo pool pause defa", r"pause default"),
            ("zoo train logistic --pool defa", r"--pool default"),
        ):
            shell.type(typed)
            shell.read_until(re.escape(typed[-6:]))
            shell.type("\t")
            rest = wanted.rpartition(" ")[2].replace("\\", "")
            begun = typed.rpartition(" ")[2]
            missing = rest.removeprefix(begun)[-len(rest) :] if rest.startswith(begun) else rest
            shell.read_until(re.escape(missing))
            shell.type("\x15")
    finally:
        shell.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_the_shell_that_is_named_is_printed(home: Zoo, shell: str) -> None:
    mark = {"bash": "COMPREPLY", "zsh": "compdef", "fish": "complete --command zoo"}[shell]
    assert mark in home.run("--show-completion", shell).stdout
    assert mark in home.run(f"--show-completion={shell}").stdout
    assert "No shell is called 'tcsh7'" in home.run("--show-completion", "tcsh7", code=2).stderr
    done = (
        subprocess.run(
            [shell, "-n", "/dev/stdin"],
            input=home.run("--show-completion", shell).stdout,
            text=True,
        )
        if shutil.which(shell)
        else None
    )
    assert done is None or done.returncode == 0


def test_cancel_offers_only_what_has_not_ended(home: Zoo) -> None:
    db = home.database()
    from zoo import jobs

    (waiting,), _ = jobs.add(db, [a_spec()])
    db.close()
    env = home.env | {"_ZOO_COMPLETE": "complete_bash", "_ZOO_WORDBREAKS": " =:@"}
    for line, count in (("zoo cancel ", 1), ("zoo show ", 2)):
        done = subprocess.run(
            [sys.executable, "-m", "zoo"],
            env=env | {"_TYPER_COMPLETE_ARGS": line},
            text=True,
            capture_output=True,
        )
        offered = done.stdout.split()
        assert waiting[:8] in offered and len(offered) == count, done.stderr
