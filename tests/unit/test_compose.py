"""compose.yaml has the specified form, is hardened in every service, and names what exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from zoo import settings
from zoo.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = ["database", "broker", "storage", "worker"]
ONCE = ["migrate", "bucket", "terminal"]
OURS = ["migrate", "bucket", "worker", "terminal"]
DOCKERFILE = (ROOT / "workers" / "Dockerfile").read_text()


def test_the_file_is_of_the_specified_form() -> None:
    Draft202012Validator(SCHEMA).validate(COMPOSE)


def test_a_misspelt_key_is_noticed() -> None:
    wrong = COMPOSE | {"services": {"worker": SERVICES["worker"] | {"read_onyl": True}}}
    assert not Draft202012Validator(SCHEMA).is_valid(wrong)


def test_the_services_are_these() -> None:
    assert sorted(SERVICES) == sorted(LASTING + ONCE)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert not {"privileged", "pid", "ipc", "network_mode", "devices"} & set(service)
    assert "/var/run/docker.sock" not in str(service)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["pids_limit"] > 0 and service["mem_limit"]
    assert service["tmpfs"] and all("size=" in each for each in service["tmpfs"])


@pytest.mark.parametrize("name", SERVICES)
def test_no_port_is_published_but_to_loopback(name: str) -> None:
    assert all(str(p).startswith("127.0.0.1:") for p in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", LASTING)
def test_a_server_is_looked_after(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ONCE)
def test_what_runs_once_says_that_there_is_nothing_to_look_at(name: str) -> None:
    assert SERVICES[name]["healthcheck"] == {"disable": True}
    assert SERVICES[name]["restart"] in ("no", "on-failure:5")


@pytest.mark.parametrize("name", ["database", "broker", "storage"])
def test_the_stores_are_alone_on_a_network_without_a_way_out(name: str) -> None:
    assert SERVICES[name]["networks"] == ["backend"]
    assert COMPOSE["networks"]["backend"]["internal"] is True


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_what_that_service_offers(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        ends = SERVICES[other]["healthcheck"] == {"disable": True}
        assert wait["condition"] == (
            "service_completed_successfully" if ends else "service_healthy"
        )


def test_images_have_exact_versions() -> None:
    for service in SERVICES.values():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-alpine)?$", service["image"]), service["image"]
    assert re.search(r"python:3\.13\.\d+-slim", DOCKERFILE)


def test_secrets_are_files_that_the_script_writes_and_git_and_docker_ignore(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "secrets"
    subprocess.run(["sh", str(ROOT / "compose" / "secrets.sh"), str(folder)], check=True)
    paths = {each["file"] for each in COMPOSE["secrets"].values()}
    assert paths == {f"./secrets/{each.name}" for each in folder.iterdir()}
    assert "/secrets/" in (ROOT / ".gitignore").read_text().split()
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "*" in ignored and "!secrets" not in ignored


@pytest.mark.parametrize("name", SERVICES)
def test_a_secret_is_mounted_where_it_is_named_and_stands_nowhere_else(name: str) -> None:
    service = SERVICES[name]
    granted = {s if isinstance(s, str) else s["source"] for s in service.get("secrets", [])}
    assert granted <= set(COMPOSE["secrets"])
    text = json.dumps({k: v for k, v in service.items() if k != "secrets"})
    assert set(re.findall(r"/run/secrets/([\w.]+)", text)) <= granted
    assert not re.search(
        r"(PASSWORD|KEY|URL)=?\S*\"?: \"(?!/run/secrets|s3://|http://storage)", text
    )


@pytest.mark.parametrize("name", OURS)
def test_every_setting_that_is_set_exists(name: str) -> None:
    known = {settings.variable(each.name): each for each in fields(Settings)}
    secret = {f"{n}_FILE" for n, each in known.items() if each.metadata["secret"]}
    used = {n for n in SERVICES[name]["environment"] if n.startswith("ZOO_")}
    assert used and used <= set(known) | secret


def test_the_worker_has_more_time_to_stop_than_it_gives_its_jobs() -> None:
    worker = SERVICES["worker"]
    grace = int(worker["stop_grace_period"].removesuffix("s"))
    assert grace >= int(worker["environment"]["ZOO_DRAIN_SECONDS"]) + 20


def test_workers_can_be_many() -> None:
    assert not {"container_name", "ports", "hostname"} & set(SERVICES["worker"])


@pytest.mark.parametrize("command", [SERVICES[n]["command"] for n in OURS if n != "bucket"])
def test_every_command_exists(command: list[str]) -> None:
    assert command[0] == "zoo"
    asked = [sys.executable, "-m", *command, "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert f"zoo {' '.join(command[1:])} [OPTIONS]" in told


def test_the_image_installs_only_what_the_lock_knows_and_runs_as_nobody_special() -> None:
    build, final = DOCKERFILE.split("\nFROM ")[1:]
    assert "--require-hashes" in build
    for line in re.findall(r"pip install ((?:.|\\\n)*?)\n(?!  )", build):
        assert "--no-index" in line
    assert "pip" not in final and "apt" not in final
    assert "STOPSIGNAL SIGTERM" in final and "USER 10001:10001" in final
    assert SERVICES["worker"]["user"] == "10001:10001"
