"""compose.yaml has the specified form, is hardened in every service, and names what exists."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
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
LASTING = ["database", "broker", "storage", "worker", "metrics"]
ONCE = ["migrate", "bucket", "terminal"]
OURS = ["migrate", "bucket", "worker", "metrics", "terminal"]
LIGHT = ["migrate", "bucket", "metrics", "terminal"]
FRAMEWORKS = {"tensorflow", "keras", "scikit-learn", "matplotlib", "onnx"}
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
    words = list(itertools.takewhile(lambda word: not word.startswith("--"), command))
    asked = [sys.executable, "-m", *words, "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert f"{' '.join(words)} [OPTIONS]" in told
    assert all(word in told for word in command if word.startswith("--"))


def stages() -> dict[str, str]:
    """Return the text of each stage of the Dockerfile by name."""
    found = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE, flags=re.M)[1:]
    return {
        name: f"FROM {base}\n{text}" for base, name, text in zip(*[iter(found)] * 3, strict=True)
    }


def outside_requirements(stage: str) -> list[str]:
    """Return what the image's packages need, by the command of the Dockerfile."""
    line = re.search(rf"requirements\.py ([^>]*)> /{stage}\.txt", DOCKERFILE)
    assert line is not None
    command = [sys.executable, "compose/requirements.py", *shlex.split(line[1].replace("\\\n", ""))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def test_every_file_of_an_image_is_checked_against_the_lock() -> None:
    text = DOCKERFILE.replace("\\\n", " ")
    downloads = [
        line for line in text.splitlines() if re.search(r"pip\S* .*(install|wheel) ", line)
    ]
    for line in downloads:
        offline = "--no-index" in line or ("--no-deps" in line and "--no-build-isolation" in line)
        assert offline or "--require-hashes" in line, line
    assert sum("--require-hashes" in line for line in downloads) == 1


@pytest.mark.parametrize(("stage", "has_frameworks"), [("terminal", False), ("worker", True)])
def test_the_lock_has_what_an_image_needs_and_only_one_has_frameworks(
    stage: str, has_frameworks: bool
) -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    names = {re.split(r"[\[<>=; ]", each)[0] for each in outside_requirements(stage)}
    assert names <= locked and {"sqlalchemy", "psycopg", "s3fs", "pyarrow"} <= names
    assert FRAMEWORKS & names == (FRAMEWORKS if has_frameworks else set())
    assert not {name for name in names if name.startswith(("zoo", "mnist-zoo"))}


@pytest.mark.parametrize("name", ["terminal", "worker"])
def test_code_is_a_layer_above_the_packages_and_an_image_runs_as_an_ordinary_user(
    name: str,
) -> None:
    final, base = stages()[name], stages()["base"]
    copies = re.findall(r"^COPY --from=(\S+) (\S+)", final, re.M)
    assert copies == [(f"{name}-packages", "/opt/zoo"), (f"{name}-code", "/opt/code")]
    # A change of the code alone must not reach the layers of the packages.
    assert "COPY . ." not in stages()["wheels"] + stages()[f"{name}-packages"]
    assert "pip" not in base + final and "apt" not in base + final
    assert "STOPSIGNAL SIGTERM" in base and "USER 10001:10001" in base
    assert SERVICES["worker"]["user"] == "10001:10001"


def test_only_workers_have_the_large_image() -> None:
    assert list(stages())[-1] == "worker"  # what `docker build` makes without --target
    for name in OURS:
        target = SERVICES[name]["build"].get("target")
        assert (target == "terminal") == (name in LIGHT)
        assert ("terminal" in SERVICES[name]["image"]) == (name in LIGHT)


@pytest.mark.slow
def test_the_installed_layout_of_an_image_runs(tmp_path: Path) -> None:
    """The steps of the stages `code` and `terminal-code`, with the packages of this environment."""
    code, ours = tmp_path / "code", tmp_path / "ours"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(ours)]
    subprocess.run([*wheel, ".", "./plugins/zoo-metrics"], cwd=ROOT, check=True)
    install = [*pip, "install", "--no-index", "--no-deps", "--target", str(code)]
    subprocess.run([*install, *map(str, ours.iterdir())], check=True)
    env = os.environ | {"ZOO_HOME": str(tmp_path / "home"), "PYTHONPATH": str(code)}
    for words in (["db", "upgrade"], ["metrics", "--once"]):
        done = subprocess.run(
            [code / "bin" / "zoo", *words], env=env, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert 'zoo_build_info{version="' in done.stdout


def test_pinning_adds_the_digest_of_every_image_and_moves_it_on(tmp_path: Path) -> None:
    for name in ("compose.yaml", "workers/Dockerfile", "compose/pin.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    # No registry is here: a program in the place of `docker` answers with a digest for each name.
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        '#!/bin/sh\nprintf sha256:; printf "%s $ROUND" "$4" | sha256sum | cut -c1-64\n'
    )
    docker.chmod(0o755)
    found = []
    for number in "12":
        env = os.environ | {"PATH": f"{docker.parent}:{os.environ['PATH']}", "ROUND": number}
        subprocess.run(["sh", "compose/pin.sh"], cwd=tmp_path, env=env, check=True)
        texts = [path.read_text() for path in sorted(tmp_path.rglob("*.yaml"))]
        texts.append((tmp_path / "workers/Dockerfile").read_text())
        found.append(
            {each for text in texts for each in re.findall(r"\S+@sha256:\w{64}$", text, re.M)}
        )
    first, second = (
        {each.split("@")[0].removeprefix("PYTHON=") for each in some} for some in found
    )
    images = {each["image"] for each in SERVICES.values() if not each["image"].startswith("mnist")}
    assert first == second == images | {"python:3.13.14-slim-trixie"}
    assert not found[0] & found[1]
