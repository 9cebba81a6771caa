"""Settings: every one from its variable, bad values refused in a sentence."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo import settings
from zoo.errors import UsageError
from zoo.settings import Settings, load, variable

NUMBERS = [f for f in fields(Settings) if type(f.default) in (int, float)]
BESIDE = {"lease_seconds": {"ZOO_BEAT_SECONDS": "1"}, "beat_seconds": {"ZOO_LEASE_SECONDS": "90"}}
"""What a setting needs beside it to be 17."""
SWITCHES = [f.name for f in fields(Settings) if isinstance(f.default, bool)]
WHOLE = [f for f in NUMBERS if isinstance(f.default, int)]


def test_nothing_set_gives_the_defaults_with_an_absolute_home() -> None:
    found = load({})
    assert found.home == Path("~/.zoo").expanduser()
    for each in fields(Settings):
        if each.name != "home":
            assert getattr(found, each.name) == each.default


@pytest.mark.parametrize("name", [f.name for f in fields(Settings) if f.name not in SWITCHES])
def test_every_setting_is_read_from_its_variable(name: str) -> None:
    default = getattr(Settings, name)
    is_path = name in ("home", "plugins_dir")
    value = "/somewhere/else" if is_path or not isinstance(default, int | float) else "17"
    found = getattr(load(BESIDE.get(name, {}) | {variable(name): value}), name)
    assert str(found) in (value, "17.0")
    if isinstance(default, int | float):
        assert type(found) is type(default)


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_on_or_off_and_nothing_else(name: str) -> None:
    assert getattr(load({variable(name): "on"}), name) is True
    assert getattr(load({variable(name): "off"}), name) is False
    for text in ("0", "no", "OFF", " "):
        with pytest.raises(UsageError, match=rf"^{variable(name)} is '{text}', .* on or off"):
            load({variable(name): text})


@pytest.mark.parametrize(
    ("user", "host", "expected"),
    [
        ("anna", "gpu1.example.org", "anna@gpu1"),
        (KeyError, "3f2a1b9c0d4e", f"uid-{os.getuid()}@container"),
        (OSError, "", f"uid-{os.getuid()}@localhost"),
        ("an\x1b[1mna\u202e* \n b", "h" * 300, "an[1mna b@" + "h" * 49),
        ("e\u0301mile", "gpu1", "\xe9mile@gpu1"),
    ],
)
def test_the_owner_of_jobs_is_the_user_at_the_host_also_where_they_have_no_name(
    monkeypatch: pytest.MonkeyPatch, user: str | type[Exception], host: str, expected: str
) -> None:
    def getuser() -> str:
        if isinstance(user, str):
            return user
        raise user

    monkeypatch.setattr(getpass, "getuser", getuser)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename=host))
    assert load({}).submitter == expected
    assert load({"ZOO_USER": "  Anna  M. "}).submitter == "Anna M."


@pytest.mark.parametrize(
    "text", ["a\x1b[1m", "\u202eanna", "a\x00", "a*", "what?", "x" * 101, "\ud800"]
)
def test_an_owner_has_no_control_characters_or_wildcards(text: str) -> None:
    with pytest.raises(UsageError, match=r"^ZOO_USER is no name of up to 100 characters"):
        load({"ZOO_USER": text})


def test_every_setting_has_a_help() -> None:
    assert all(each.metadata["help"] for each in fields(Settings))


def test_a_setting_belongs_to_one_variable_only() -> None:
    for each in NUMBERS:
        changed = load(BESIDE.get(each.name, {}) | {variable(each.name): "17"})
        assert {f.name for f in fields(Settings) if getattr(changed, f.name) == 17} == {each.name}


@pytest.mark.parametrize("name", [f.name for f in NUMBERS])
@pytest.mark.parametrize(
    "text",
    ["many", "-1", "nan", "inf", "1e999", "9" * 5000, "1,5", " "],
    ids=lambda text: text[:9],
)
def test_a_value_that_is_no_sensible_number_is_refused_in_a_sentence(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=rf"^{variable(name)} is '") as refused:
        load({variable(name): text})
    assert f"{getattr(Settings, name)}" in refused.value.hint


@pytest.mark.parametrize("name", [f.name for f in WHOLE])
def test_half_a_job_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a whole number"):
        load({variable(name): "1.5"})


def test_a_job_without_any_attempt_would_wait_for_ever_and_is_refused() -> None:
    with pytest.raises(UsageError, match="from 1 on"):
        load({"ZOO_MAX_ATTEMPTS": "0"})


@pytest.mark.parametrize(
    "env", [{"ZOO_LEASE_SECONDS": "39.9"}, {"ZOO_BEAT_SECONDS": "15.1"}, {"ZOO_LEASE_SECONDS": "0"}]
)
def test_a_lease_that_one_missed_beat_would_lose_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="less than 4 times ZOO_BEAT_SECONDS"):
        load(env)
    load(env | {"ZOO_LEASE_SECONDS": "40", "ZOO_BEAT_SECONDS": "10"})


def test_an_empty_variable_is_the_default_but_for_plugins_where_it_means_none() -> None:
    found = load({variable(f.name): "" for f in fields(Settings)})
    assert found.plugins == ""
    assert load({variable("slots"): ""}).slots == Settings.slots
    assert found.home == load({}).home


@pytest.mark.parametrize("name", ["home", "plugins_dir"])
def test_a_relative_folder_becomes_absolute(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert getattr(load({variable(name): "here"}), name) == tmp_path / "here"


@pytest.mark.parametrize("name", ["home", "plugins_dir"])
def test_the_home_of_a_user_who_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no such home directory"):
        load({variable(name): "~nobody-of-this-name/x"})
    with pytest.raises(UsageError, match="ZOO_DATA_DIR"):
        _ = load({"ZOO_DATA_DIR": "~nobody-of-this-name/x"}).data_folders


def test_data_folders_are_absolute_wherever_a_worker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({"ZOO_DATA_DIR": "here:~/there"}).data_folders == [
        tmp_path / "here",
        Path("~/there").expanduser(),
    ]


def test_data_folders_come_in_order_and_empty_parts_are_left_out() -> None:
    assert load({"ZOO_DATA_DIR": "/b::/a:"}).data_folders == [Path("/b"), Path("/a")]


SECRETS = [f.name for f in fields(Settings) if f.metadata["secret"]]


def test_the_urls_that_hold_passwords_are_secrets() -> None:
    assert SECRETS == ["database_url", "broker_url", "notify", "mlflow"]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_read_from_a_file_and_the_variable_itself_comes_first(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("redis://:pass@host/0\n")
    env = {variable(name) + "_FILE": str(tmp_path / "secret")}
    assert getattr(load(env), name) == "redis://:pass@host/0"
    assert getattr(load(env | {variable(name): "direct"}), name) == "direct"


def test_only_a_secret_has_a_file(tmp_path: Path) -> None:
    (tmp_path / "slots").write_text("5")
    assert load({"ZOO_SLOTS_FILE": str(tmp_path / "slots")}).slots == Settings.slots


@pytest.mark.parametrize("content", [None, b"\xd0\xff\x00\x80"])
def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=f"secret file {file} cannot be read"):
        load({"ZOO_BROKER_URL_FILE": str(file)})


def test_without_urls_everything_lives_in_home() -> None:
    found = load({"ZOO_HOME": "/h"})
    assert found.is_embedded
    assert (found.database, found.artifacts) == ("sqlite:////h/zoo.db", "/h/artifacts")
    assert (found.cache, found.plugins_folder) == (Path("/h/cache"), Path("/h/plugins"))


def test_urls_replace_what_lives_in_home() -> None:
    found = load(
        {
            "ZOO_BROKER_URL": "redis://b",
            "ZOO_DATABASE_URL": "postgresql://d",
            "ZOO_ARTIFACTS_URL": "s3://a",
        }
    )
    assert not found.is_embedded
    assert (found.broker, found.database, found.artifacts) == (
        "redis://b",
        "postgresql://d",
        "s3://a",
    )


@given(st.text(min_size=1, max_size=5000).filter(lambda t: "\0" not in t))
def test_under_any_home_the_socket_path_is_short_enough(home: str) -> None:
    runtime = Settings(home=Path("/") / home.encode("utf-8", "ignore").decode()).runtime
    assert len(str(runtime / "valkey.sock").encode()) <= 107


def test_a_socket_can_be_bound_under_a_very_long_home(tmp_path: Path) -> None:
    found = Settings(home=tmp_path / ("long" * 50) / "가나다")
    found.runtime.mkdir(mode=0o700)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(found.runtime / "valkey.sock"))
        (found.runtime / "valkey.sock").unlink()
    finally:
        found.runtime.rmdir()


def test_two_homes_have_two_runtime_folders() -> None:
    assert Settings(home=Path("/a")).runtime != Settings(home=Path("/b")).runtime


def test_there_is_at_least_one_core() -> None:
    assert settings.cores() >= 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "350000 100000"}, 3),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "6400000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu.max": "nonsense"}, 8),
    ],
)
def test_a_container_has_the_cores_of_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(settings.os, "sched_getaffinity", lambda _: range(8), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert settings.cores(tmp_path) == expected
