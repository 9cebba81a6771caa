"""What every option that names a file to write does with a device, a pipe, a folder and a link."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import typing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.command_line import Zoo
from typer.testing import CliRunner

from zoo.cli import lazy_group
from zoo.cli.main import app
from zoo.errors import ZooError

WRITERS = {
    "files --output": ["files", "JOB", "environment.json", "-o"],
    "export --output": ["export", "JOB", "--format", "npz", "-o"],
    "export --card": ["export", "JOB", "--format", "npz", "-o", "OTHER.npz", "--card"],
    "data show --output": ["data", "show", "digits", "-o"],
    "report --output": ["report", "JOB", "-o"],
    "sweep --save-trials": ["sweep", "logistic", "-p", "max_iter=5,6", "--dataset", "digits",
                            "--dry-run", "--save-trials"],
}  # fmt: skip
"""Each option that names a file to write, and a command that ends in it."""
FOLDERS = {"predict --output", "plugins new --output"}
"""Options that name a folder to write into."""
READ = {"sweep --trials-from"}


def _options() -> Iterator[str]:
    """Options of all commands that name a file or a folder."""
    lazy_group.load_all(app)
    group = lazy_group.root(app)
    with group.make_context("zoo", ["jobs"], resilient_parsing=True) as context:
        for name in group.list_commands(context):
            command = group.resolve_command(context, [name])[1]
            inner = {f"{name} {n}": c for n, c in getattr(command, "commands", {}).items()}
            for path, each in (inner or {name: command}).items():
                hints = typing.get_type_hints(each.callback)
                for option in each.params:
                    is_path = Path in (
                        hints.get(option.name),
                        *typing.get_args(hints.get(option.name)),
                    )
                    if is_path or "-o" in option.opts:
                        yield f"{path} {max(option.opts, key=len)}"


def test_every_option_that_names_a_file_is_in_the_sweep() -> None:
    found = {each for each in _options() if " --" in each}
    assert found == {*WRITERS, *FOLDERS, *READ}


@pytest.fixture(scope="module")
def trained(warm_zoo: Zoo) -> str:
    job: str = warm_zoo.json("train", "logistic", "--dataset", "digits", "-p", "max_iter=5")["id"]
    return job


@pytest.fixture(params=WRITERS)
def command(
    request: pytest.FixtureRequest,
    warm_zoo: Zoo,
    trained: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """The words of a command that writes a file; the file comes behind them."""
    monkeypatch.setenv("ZOO_HOME", str(warm_zoo.home))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return [trained if each == "JOB" else each for each in WRITERS[request.param]]


def write(command: list[str], path: Path) -> str:
    """Run it in this process; gives what went wrong."""
    lazy_group.load_all(app)
    done = CliRunner().invoke(app, [*command, str(path)])
    if done.exception is None:
        return ""
    assert isinstance(done.exception, ZooError), done.exception
    assert done.exception.exit_code == 1
    return done.exception.message


def test_a_device_a_pipe_a_folder_and_a_link_stay_what_they_are(
    command: list[str], tmp_path: Path
) -> None:
    plain, link, dangling = tmp_path / "plain.out", tmp_path / "link", tmp_path / "dangling.npz"
    plain.write_text("old")
    plain.chmod(0o640)
    assert write(command, plain) == ""
    content = plain.read_bytes()
    assert len(content) > 10 and stat.S_IMODE(plain.stat().st_mode) == 0o640

    plain.write_text("old")
    link.symlink_to(plain.name)
    dangling.symlink_to("new.out")
    for each in (link, dangling):
        assert write(command, each) == ""
        assert each.is_symlink() and each.read_bytes()[:4] == content[:4]

    pipe, place = tmp_path / "pipe", tmp_path / "socket"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        heard = pool.submit(pipe.read_bytes)
        assert write(command, pipe) == ""
        assert heard.result(60)[:4] == content[:4] and pipe.is_fifo()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(place))
        assert write(command, place) == f"{place} cannot be written: it is a socket."
    assert place.is_socket()

    null, disk, full = tmp_path / "null", tmp_path / "disk", tmp_path / "full"
    try:
        os.mknod(null, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(full, stat.S_IFCHR | 0o600, os.makedev(1, 7))
        os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(7, 250))
        null.write_bytes(b"it can be opened")
    except PermissionError:
        return  # only root can make a device, and not everywhere
    (tmp_path / "to-null").symlink_to("null")
    assert write(command, null) == write(command, tmp_path / "to-null") == ""
    assert "No space left on device" in write(command, full)
    assert write(command, disk) == f"{disk} cannot be written: it is a block device."
    assert null.is_char_device() and full.is_char_device() and disk.is_block_device()
    assert not [each for each in tmp_path.rglob("*.tmp") if each.name.startswith(".")]


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_stdout_gets_the_file_alone(
    command: list[str], name: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write(command, tmp_path / "plain.out")
    content = (tmp_path / "plain.out").read_bytes()
    capfdbinary.readouterr()
    lazy_group.load_all(app)
    done = CliRunner().invoke(app, [*command, name])
    assert done.exit_code == 0, done.exception
    found = done.stdout_bytes + capfdbinary.readouterr().out
    # Times in it may differ.
    assert found[:4] == content[:4] and abs(len(found) - len(content)) < 100


def test_what_a_redirected_stdout_has_already_stays(warm_zoo: Zoo, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zoo", "data", "show", "digits", "-o", "/dev/stdout"]
    with (tmp_path / "appended").open("ab") as file:
        file.write(b"before\n")
        file.flush()
        subprocess.run(command, env=warm_zoo.env, stdout=file, check=True, timeout=60)
    assert (tmp_path / "appended").read_bytes().startswith(b"before\n\x89PNG")


@pytest.mark.parametrize("option", ["export --output", "data show --output"])
def test_json_and_a_file_do_not_both_go_to_stdout(option: str) -> None:
    *command, last = WRITERS[option]
    done = CliRunner().invoke(app, [*command, "--json", last, "-"])
    assert isinstance(done.exception, ZooError) and "stdout" in done.exception.message
