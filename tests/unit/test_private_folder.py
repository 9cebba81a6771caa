"""Homes, plugins and databases are their owner's alone, whatever the umask, or are refused."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.command_line import FAST, Zoo
from zoo_workers import worker

from zoo import jobs, private_folder, settings
from zoo.errors import StoreError, ZooError
from zoo.plugins import entry_points, isolated_listing, registry
from zoo.queue import doctor, local_services
from zoo.settings import Settings

PLUGIN = "open({!r}, 'w').write('ran')\n"
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to somebody else")


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.slow
def test_with_any_umask_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    env = os.environ | FAST | {"ZOO_HOME": str(home)}
    for words in (["plugins", "new", "mine", "--single-file"], ["jobs"]):
        command = [sys.executable, "-m", "zoo", *words]
        subprocess.run(command, env=env, capture_output=True, umask=0, check=True)
    for each in (home.parent, home, home / "plugins"):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "zoo.db").stat().st_mode) == 0o600
    for each in home.rglob("*"):
        assert not each.stat().st_mode & 0o022, each


def test_the_servers_files_are_their_owners_alone(tmp_path: Path, umask: int) -> None:
    here = Settings(home=tmp_path / "home")
    log = local_services.worker_log(here)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(here.home.stat().st_mode) == 0o700
    jobs.connect(here.database).close()
    assert all(not each.stat().st_mode & 0o077 for each in here.home.glob("zoo.db*"))


HOWS = ["777", "1777", *(pytest.param(each, marks=ROOT) for each in ("owner", "group"))]


def _spoil(path: Path, how: str) -> None:
    if how == "owner":
        os.chown(path, 12345, 12345)
    elif how == "group":
        os.chown(path, -1, 12345)
        path.chmod(0o775)
    else:
        path.chmod(int(how, 8))


@pytest.mark.parametrize(
    "how", ["777", "1777", *(pytest.param(each, marks=ROOT) for each in ("owner", "group"))]
)
@pytest.mark.parametrize("place", ["", "plugins"])
def test_what_others_may_change_is_refused_and_no_code_in_it_runs(
    home: Path, place: str, how: str
) -> None:
    folder = home / "plugins"
    folder.mkdir(parents=True)
    (folder / "evil.py").write_text(PLUGIN.format(str(home / "ran")))
    _spoil(home / place, how)
    here = settings.load()
    uses = [registry.catalogue, isolated_listing.listing, lambda: worker.make_work_folder(here)]
    if not place:
        uses += [jobs.connect, lambda: local_services.ensure(here)]
    for use in uses:
        with pytest.raises(ZooError, match=rf"{home / place} is not safe to use: ") as told:
            use()
        assert "`chmod go-w" in told.value.hint or "`sudo chown" in told.value.hint
    assert local_services.broker_process(here) is None
    found = next(each for each in doctor.examine(here) if each.part == "folders")
    assert not found.ok and found.detail.startswith(str(home / place))
    assert not (home / "ran").exists()


@pytest.mark.slow
def test_the_user_is_told_what_to_do_and_help_goes_on(zoo: Zoo) -> None:
    zoo.home.chmod(0o777)
    told = zoo.run("train", "logistic", code=1).stderr
    assert told.startswith(f"error: {zoo.home} is not safe to use: every user may write to it")
    assert f"`chmod go-w {zoo.home}`" in told
    assert "train" in zoo.run("--help").stdout
    zoo.home.chmod(0o700)


@pytest.mark.parametrize("how", ["666", pytest.param("owner", marks=ROOT)])
def test_a_plugin_or_a_database_that_others_may_change_is_refused(home: Path, how: str) -> None:
    (home / "plugins").mkdir(parents=True)
    for name in ("evil", "fine"):
        (home / "plugins" / f"{name}.py").write_text(PLUGIN.format(str(home / f"{name}-ran")))
    (home / "zoo.db").touch()
    for name in ("plugins/evil.py", "zoo.db"):
        _spoil(home / name, how)
    found = {each.name: each.error for each in registry.catalogue().plugins}
    assert "evil.py is not safe to use" in found["evil"] and not (home / "evil-ran").exists()
    assert (home / "fine-ran").exists()
    with pytest.raises(StoreError, match=r"zoo\.db is not safe to use"):
        jobs.connect()


def test_names_kept_in_a_home_that_others_may_change_are_not_believed(home: Path) -> None:
    home.mkdir()
    assert entry_points.remembered("commands.json") == home / "commands.json"
    home.chmod(0o777)
    assert entry_points.remembered("commands.json") is None


@pytest.mark.parametrize(
    ("group", "members", "is_well"),
    [("me", [], True), ("me", ["me"], True), ("me", ["you"], False), ("users", [], False)],
)
def test_a_group_of_ones_own_is_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, members: list[str], is_well: bool
) -> None:
    """Red Hat and Ubuntu give every user a group, and the umask 002."""
    me = SimpleNamespace(pw_name="me", pw_gid=tmp_path.stat().st_gid)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: me)
    monkeypatch.setattr(grp, "getgrgid", lambda g: SimpleNamespace(gr_name=group, gr_mem=members))
    tmp_path.chmod(0o775)
    assert (private_folder.complaint_of(tmp_path) == "") is is_well


@ROOT
def test_a_mode_is_refused_exactly_where_others_may_write(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    os.chown(file, -1, 12345)
    for mode in range(0o1000):
        file.chmod(mode)
        assert bool(private_folder.complaint_of(file)) == bool(mode & 0o022), oct(mode)


# --- the folder of sockets ---


def test_sockets_are_in_the_sessions_folder_where_there_is_one(session: Path) -> None:
    runtime = Settings(home=Path("/a")).runtime
    assert runtime.parent == session
    assert len(os.fsencode(runtime / "valkey.sock")) <= settings.SOCKET_BYTES


@pytest.mark.parametrize("wrong", ["755", "770", "gone", "relative", "long", "file", "empty"])
def test_a_sessions_folder_that_will_not_do_is_passed_over(
    session: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str
) -> None:
    if wrong in ("gone", "file"):
        session.rmdir()
    if wrong == "file":
        session.touch(mode=0o600)
    if wrong.isdigit():
        session.chmod(int(wrong, 8))
    if wrong == "long":
        session = tmp_path / ("x" * 80)
        session.mkdir(mode=0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    if wrong in ("relative", "empty"):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_RUNTIME_DIR", "user" if wrong == "relative" else "")
    assert Settings(home=Path("/a")).runtime.parent not in (session, Path("user"), Path())


def test_commands_with_and_without_a_session_meet_the_same_servers(
    tmp_path: Path, session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Settings(home=tmp_path / "home")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    before = local_services.make_runtime(here)
    try:
        (before / "worker.json").write_text("{}")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
        assert here.runtime == before
        (before / "worker.json").unlink()
        assert here.runtime.parent == session
    finally:
        before.rmdir()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="cannot be made"):
        private_folder.make(tmp_path / "file" / "home")
