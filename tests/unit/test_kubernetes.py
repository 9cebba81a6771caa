"""deploy/kubernetes has the specified form, is hardened in every pod, and names what exists.

No cluster is here: kinds of Kubernetes are held against its own schemas, KEDA's against the fields
that it documents, and the whole is built by `kubectl kustomize` where there is a kubectl.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner
from zoo_metrics import exporter
from zoo_workers.worker import THREADS

from zoo import jobs, settings
from zoo.cli.lazy_group import load_all
from zoo.cli.main import app
from zoo.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
Thing = dict[str, Any]
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest Kubernetes whose schemas the manifests are held against."""
SCALED_OBJECT = yaml.safe_load((ROOT / "tests" / "data" / "scaledobject.yaml").read_text())


@functools.cache
def things() -> list[Thing]:
    files = [path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"]
    return [each for path in sorted(files) for each in yaml.safe_load_all(path.read_text())]


def named(thing: Thing) -> str:
    return f"{thing['kind']} {thing['metadata']['name']}"


def find(name: str) -> Thing:
    return next(each for each in things() if named(each) == name)


CORE = [each for each in things() if not each["apiVersion"].startswith("keda.sh/")]
PODS = [
    (named(each), each["spec"]["template"])
    for each in things()
    if each["kind"] in ("Deployment", "StatefulSet", "Job")
]
OURS = [(name, pod) for name, pod in PODS if not name.startswith("StatefulSet")]
WORKERS = [(name, pod) for name, pod in OURS if "worker" in name]


def containers(pod: Thing) -> Iterator[Thing]:
    yield from (*pod["spec"]["containers"], *pod["spec"].get("initContainers", []))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_kind_of_kubernetes_has_the_form_of_its_schema(version: str) -> None:
    for thing in CORE:
        kubernetes_validate.validate(thing, version, strict=True)


def test_a_misspelt_key_is_noticed() -> None:
    pod = find("Deployment metrics")["spec"]["template"]
    wrong = find("Deployment metrics") | {"spec": {"template": pod, "selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_scaled_object_has_the_fields_that_keda_documents() -> None:
    spec = find("ScaledObject worker-default")["spec"]
    check = Draft202012Validator(SCALED_OBJECT)
    check.validate(spec)
    assert not check.is_valid(spec | {"pollingIntervall": 3})


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_a_pod_can_do_no_more_than_it_must(name: str, pod: Thing) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    # Kubernetes would set ZOO_..._PORT and the like, which are no settings.
    assert spec["enableServiceLinks"] is False
    who = spec["securityContext"]
    assert who["runAsNonRoot"] is True and who["runAsUser"] > 0 and who["runAsGroup"] > 0
    assert who["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & set(spec)
    for each in containers(pod):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert each["resources"]["requests"] and each["resources"]["limits"]["memory"]
    for volume in spec["volumes"]:
        assert not {"hostPath"} & set(volume)
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""}), volume["name"]


@pytest.mark.parametrize(("name", "pod"), OURS, ids=[name for name, _ in OURS])
def test_every_setting_exists_and_every_command_too(name: str, pod: Thing) -> None:
    known = {settings.variable(each.name): each for each in fields(Settings)}
    secret = {f"{n}_FILE" for n, each in known.items() if each.metadata["secret"]}
    given = dict(find("ConfigMap settings")["data"])
    (only,) = containers(pod)
    given |= {each["name"]: each["value"] for each in only.get("env", [])}
    assert only["envFrom"] == [{"configMapRef": {"name": "settings"}}]
    assert {n for n in given if n.startswith("ZOO_")} <= set(known) | secret
    # Every file that a setting names is mounted; the values are those that Compose has.
    mounts = {each["mountPath"] for each in only["volumeMounts"]}
    # The folder above, for everybody may write to an emptyDir: such a home is refused.
    assert str(Path(given["ZOO_HOME"]).parent) in mounts and given["HOME"] in mounts
    files = [value for n, value in given.items() if n.endswith("_FILE")]
    assert files and {str(Path(file).parent) for file in files} <= mounts
    settings.load({n: v for n, v in given.items() if not n.endswith("_FILE")})
    load_all(app)
    words = [w for w in only["command"][1:] if not re.fullmatch(r"-.*|\d.*|default|gpu", w)]
    told = CliRunner().invoke(app, [*words, "--help"]).stdout
    assert f"zoo {' '.join(words)} [OPTIONS]" in told
    assert all(w in told for w in only["command"] if w.startswith("--"))


def test_what_both_deployments_set_has_the_same_names() -> None:
    ours = {*find("ConfigMap settings")["data"], *(e["name"] for e in worker()["env"])}
    theirs = set(COMPOSE["services"]["worker"]["environment"])
    assert theirs <= ours
    for store in ("database", "broker"):
        (only,) = containers(find(f"StatefulSet {store}")["spec"]["template"])
        assert only["image"] == COMPOSE["services"][store]["image"]
    user = find("Deployment worker-default")["spec"]["template"]["spec"]["securityContext"]
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == COMPOSE["services"]["worker"]["user"]


def worker() -> Thing:
    (only,) = containers(find("Deployment worker-default")["spec"]["template"])
    return only


@pytest.mark.parametrize(("name", "pod"), WORKERS, ids=[name for name, _ in WORKERS])
def test_a_worker_keeps_within_its_cores_and_memory_and_has_time_to_give_jobs_back(
    name: str, pod: Thing
) -> None:
    (only,) = containers(pod)
    given = {each["name"]: int(each["value"]) for each in only["env"]}
    limits = only["resources"]["limits"]
    slots = given["ZOO_SLOTS"]
    for threads in THREADS:
        assert slots * given[threads] == int(limits["cpu"])
    memory = 1024 * int(limits["memory"].removesuffix("Gi"))
    assert slots * given["ZOO_JOB_MEMORY_MB"] <= 0.8 * memory
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    assert grace >= given["ZOO_DRAIN_SECONDS"] + 20
    pool = pod["metadata"]["labels"]["zoo/pool"]
    assert only["command"][-2:] == ["--pool", pool]
    assert (
        find(f"PodDisruptionBudget worker-{pool}")["spec"]["selector"]
        == (find(f"Deployment worker-{pool}")["spec"]["selector"])
    )
    # Longer than a database may be away for.
    alive = only["livenessProbe"]
    assert alive["periodSeconds"] * alive["failureThreshold"] >= 600


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_a_secret_is_mounted_and_stands_nowhere_else(name: str, pod: Thing) -> None:
    mounted = [v["secret"] for v in pod["spec"]["volumes"] if "secret" in v]
    assert len(mounted) == 1
    assert mounted[0]["secretName"] == ("zoo-stores" if "StatefulSet" in name else "zoo-client")
    assert mounted[0]["defaultMode"] == 0o440
    for each in containers(pod):
        for variable in each.get("env", []):
            assert not re.search(r"PASSWORD(?!_FILE)|_KEY|URL$", variable["name"]), variable
            assert "valueFrom" not in variable
    assert not any(each["kind"] == "Secret" for each in things())


def test_the_secrets_that_the_page_makes_have_the_files_that_the_pods_read() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    script = (ROOT / "compose" / "secrets.sh").read_text()
    made = dict(re.findall(r"create secret generic (zoo-\w+)((?: \\\n *--from-file=\S+)+)", page))
    files = {n: set(re.findall(r"secrets/([\w.]+)", text)) for n, text in made.items()}
    given = find("ConfigMap settings")["data"].values()
    read = {Path(v).name for v in given if v.startswith("/run/secrets/zoo/")}
    assert files["zoo-client"] == read
    items = [
        item["key"]
        for name, pod in PODS
        for volume in pod["spec"]["volumes"]
        for item in volume.get("secret", {}).get("items", [])
    ]
    assert files["zoo-stores"] == set(items)
    assert all(
        f"> {file}\n" in script or f"{file} <<" in script for f in files.values() for file in f
    )


def test_nobody_is_reached_but_by_those_who_must() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in things()
        if each["kind"] == "NetworkPolicy"
    }
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for store, port in (("database", 5432), ("broker", 6379)):
        (rule,) = policies[store]["ingress"]
        assert rule["from"] == [{"podSelector": {"matchLabels": {"zoo/client": "true"}}}]
        assert [each["port"] for each in rule["ports"]] == [port]
        assert find(f"Service {store}")["spec"]["ports"][0]["port"] == port
    for name, pod in PODS:
        is_client = pod["metadata"]["labels"].get("zoo/client") == "true"
        assert is_client == (not name.startswith("StatefulSet"))


def test_the_autoscaler_asks_for_a_number_that_the_exporter_shows(tmp_path: Path) -> None:
    spec = find("ScaledObject worker-default")["spec"]
    (trigger,) = spec["triggers"]
    asked = trigger["metadata"]
    service = find("Service metrics")
    assert asked["url"] == (f"http://metrics.zoo.svc:{service['spec']['ports'][0]['port']}/metrics")
    from prometheus_client import generate_latest

    db = jobs.connect(f"sqlite:///{tmp_path / 'zoo.db'}")
    shown = generate_latest(exporter.registry(exporter.QueueCollector(db))).decode()
    assert f"\n{asked['valueLocation']} 0.0\n" in shown
    slots = {each["name"]: each["value"] for each in worker()["env"]}["ZOO_SLOTS"]
    assert asked["targetValue"] == slots
    named(find(f"Deployment {spec['scaleTargetRef']['name']}"))
    annotations = service["metadata"]["annotations"]
    (only,) = containers(find("Deployment metrics")["spec"]["template"])
    assert annotations["prometheus.io/port"] == only["command"][-1]


def test_migration_and_metrics_need_no_worker_image() -> None:
    for name, pod in OURS:
        (only,) = containers(pod)
        assert only["image"] == ("mnist-zoo" if "worker" in name else "mnist-zoo-terminal")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl is here to build the manifests")
def test_kustomize_builds_them_all_and_every_part_that_can_be_turned_on(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "k8s")
    top = tmp_path / "k8s" / "kustomization.yaml"
    plain = build(top.parent)
    assert {named(each) for each in plain} == {
        named(each) for each in things() if "gpu" not in named(each)
    } - {"ScaledObject worker-default", "PersistentVolumeClaim artifacts"}
    top.write_text(re.sub(r"^  # - ", "  - ", top.read_text(), flags=re.M))
    whole = build(top.parent)
    assert {named(each) for each in whole} == {named(each) for each in things()}
    for thing in whole:
        if thing["kind"] in ("Deployment", "ConfigMap"):  # what the parts change
            kubernetes_validate.validate(thing, VERSIONS[-1], strict=True)
        assert thing["kind"] == "Namespace" or thing["metadata"]["namespace"] == "zoo"
    by_name = {named(each): each for each in whole}
    # The ports of stores elsewhere are named in one place.
    text = top.read_text()
    top.write_text(
        text.replace("value: 5432", "value: 6432").replace("value: 6379", "value: 26379")
    )
    (clients,) = (each for each in build(top.parent) if named(each) == "NetworkPolicy clients")
    near, far = ([port["port"] for port in each["ports"]] for each in clients["spec"]["egress"])
    assert (near, far) == ([5432, 6379], [6432, 26379, 443])
    scaled = by_name["Deployment worker-default"]["spec"]
    assert "replicas" not in scaled
    assert (
        scaled["template"]["spec"]["containers"][0]["image"] == "registry.example/mnist-zoo:0.1.0"
    )
    assert by_name["ConfigMap settings"]["data"]["ZOO_ARTIFACTS_URL"] == "file:///artifacts"
    for pool in ("default", "gpu"):
        pod = by_name[f"Deployment worker-{pool}"]["spec"]["template"]["spec"]
        assert "artifacts" in {each["name"] for each in pod["volumes"]}


def build(folder: Path) -> list[Thing]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))
