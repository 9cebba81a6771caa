"""Artifacts on S3: a real server process, the standard AWS variables, faults told in a sentence."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from helpers import carried_jobs, servers

from zoo import jobs
from zoo.errors import ArtifactError
from zoo.jobs import Database
from zoo.settings import Settings
from zoo.storage import artifacts, job_files, packing, unnamed

KEY = "a-secret-key-that-nobody-may-see"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = servers.free_port()
    with servers.s3("127.0.0.1", port, tmp_path_factory.mktemp("s3") / "log"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def variables(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a machine that uses this server, and nothing kept from another test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "zoo")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    _forget()
    yield
    _forget()


def _forget() -> None:
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
def url() -> str:
    """A bucket that is there."""
    artifacts.check("s3://models/team")
    return "s3://models/team"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    (made / "deep").mkdir(parents=True)
    (made / "weights.npz").write_bytes(bytes(range(256)) * 400)
    (made / "deep" / "log.txt").write_text("epoch 1\n")
    return made


def test_an_artifact_comes_back_from_s3_as_it_was(url: str, folder: Path, tmp_path: Path) -> None:
    kept = {p: (folder / p).read_bytes() for p in ("weights.npz", "deep/log.txt")}
    sha256 = artifacts.put(folder, url, "job/1", {"job": "job"})
    assert set(artifacts.files(url, "job/1", sha256)) == set(kept)
    assert artifacts.read(url, "job/1", sha256, "deep/log.txt") == b"epoch 1\n"
    back = artifacts.get(url, "job/1", sha256, tmp_path / "back")
    assert {p: (back / p).read_bytes() for p in kept} == kept


def test_extra_files_on_s3_are_listed_read_and_replaced(url: str, tmp_path: Path) -> None:
    store = Settings(artifacts_url=url)
    job = SimpleNamespace(id="b" * 32, artifact=None, removal_note="")
    assert job_files.of(store, job) == []
    for content in ("first", "again"):
        left = tmp_path / content / "drawer"
        (left / "deep").mkdir(parents=True)
        (left / "deep" / f"{content}.txt").write_text(content)
        job_files.keep(store, job.id, left)
        (found,) = job_files.of(store, job)
        assert found.name == f"extra/drawer/deep/{content}.txt"
        assert job_files.read(store, found) == content.encode()


def test_the_manifest_is_stored_last(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = artifacts.open_store(url)
    stored: list[str] = []
    really = fs.put_file

    def put_file(source: str, target: str) -> None:
        stored.append(target.rpartition("/")[2])
        really(source, target)

    monkeypatch.setattr(fs, "put_file", put_file, raising=False)
    artifacts.put(folder, url, "job/2", {})
    assert stored == ["log.txt", "weights.npz", "manifest.json"]


def test_a_changed_object_is_refused(url: str, folder: Path, tmp_path: Path) -> None:
    sha256 = artifacts.put(folder, url, "job/3", {})
    fs, root = artifacts.open_store(url)
    fs.pipe_file(f"{root}/job/3/weights.npz", b"something else")
    with pytest.raises(ArtifactError, match=r"weights\.npz .* is not the one that was stored"):
        artifacts.get(url, "job/3", sha256, tmp_path / "back")


def test_a_removed_object_is_named(url: str, folder: Path, tmp_path: Path) -> None:
    sha256 = artifacts.put(folder, url, "job/4", {})
    fs, root = artifacts.open_store(url)
    fs.rm_file(f"{root}/job/4/weights.npz")
    with pytest.raises(ArtifactError, match=r"weights\.npz .* does not exist\. It was rem"):
        artifacts.get(url, "job/4", sha256, tmp_path / "back")


def test_what_was_put_can_be_removed_and_nothing_else_goes(url: str, folder: Path) -> None:
    artifacts.put(folder, url, "job/5", {})
    shutil.copytree(folder, folder.with_name("again"))
    artifacts.put(folder.with_name("again"), url, "job/50", {})
    for _ in range(2):
        artifacts.remove(url, "job/5")
        fs, root = artifacts.open_store(url)
        assert {path.split("/")[-2] for path in fs.find(f"{root}/job")} & {"5", "50"} == {"50"}


def test_check_makes_a_bucket_that_is_missing_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"bucket does not exist\..*`zoo doctor` creates"):
        artifacts.put(folder, "s3://new", "job/1", {})
    assert artifacts.check("s3://new") == "new"
    fs, _ = artifacts.open_store("s3://new")
    assert fs.find("new") == []
    artifacts.put(folder, "s3://new", "job/1", {})


def test_the_standard_credentials_file_serves(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "credentials"
    secret.write_text(f"[default]\naws_access_key_id = zoo\naws_secret_access_key = {KEY}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secret))
    _forget()
    assert artifacts.check(url) == "models/team"


def test_a_prepared_place_needs_no_variables_in_any_thread(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forget()
    artifacts.prepare(url)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    sums: list[Any] = []
    slot = threading.Thread(target=lambda: sums.append(artifacts.put(folder, url, "job/5", {})))
    slot.start()
    slot.join(120)
    assert artifacts.files(url, "job/5", sums[0])


@pytest.mark.parametrize("act", ["put", "read", "check"])
def test_missing_credentials_are_told_in_a_sentence(
    act: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ArtifactError, match=r"Unable to locate credentials\. Set AWS_ACCESS_KEY"):
        _act(act, folder)


def test_a_server_that_is_away_is_told_in_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ArtifactError, match="Could not connect to the endpoint URL") as told:
        _act("put", folder)
    assert KEY not in str(told.value) and "\n" not in str(told.value)
    assert told.value.hint == artifacts.ADVICE["EndpointConnectionError"]


def test_a_password_in_the_error_of_a_client_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"cannot reach ftp://zoo:{KEY}@files.example/x\nand more")

    fs, root = artifacts.open_store("memory://models")
    monkeypatch.setattr(fs, "pipe_file", fail)
    with pytest.raises(ArtifactError) as raised:
        artifacts.check("memory://models")
    expected = f"Artifacts cannot be stored in {root}: cannot reach ftp://files.example/x."
    assert str(raised.value) == expected


def _act(act: str, folder: Path) -> None:
    if act == "put":
        artifacts.put(folder, "s3://models", "job/6", {})
    elif act == "read":
        artifacts.read("s3://models", "job/6", "0" * 64, "log.txt")
    else:
        artifacts.check("s3://models")


def test_a_url_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ArtifactError, match="ZOO_ARTIFACTS_URL is invalid"):
        artifacts.prepare("nowhere://bucket")


def test_a_wrong_setting_is_told_before_the_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", " ")
    with pytest.raises(ArtifactError, match="Invalid CA bundle"):
        artifacts.prepare("s3://models")


def test_jobs_are_unpacked_on_s3_and_packed_from_there(
    url: str, home: Path, here: Database, tmp_path: Path
) -> None:
    setup = Settings(home=home)
    carried_jobs.fill(here, setup.artifacts, 4)
    files, ids = carried_jobs.all_files(setup.artifacts), carried_jobs.order(here)
    packing.pack(here, setup, tmp_path / "local.zip", ids)
    bucket = Settings(home=tmp_path / "team", artifacts_url=f"{url}/carried")
    bucket.home.mkdir()
    team = jobs.connect(bucket.database)
    for added in (4, 0):
        done = packing.unpack(team, bucket, tmp_path / "local.zip", lambda *_: 0)
        assert (done.added, done.present) == (added, 4 - added)
    assert carried_jobs.all_files(bucket.artifacts) == files
    packing.pack(team, bucket, tmp_path / "bucket.zip", ids)
    assert (tmp_path / "bucket.zip").read_bytes() == (tmp_path / "local.zip").read_bytes()


def test_files_of_removed_jobs_go_from_s3_and_those_without_a_row_are_found(
    url: str, folder: Path, tmp_path: Path
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'zoo.db'}")
    jobs.upgrade(db)
    job, other = "a" * 32, "b" * 32
    for place in (f"{job}/1", f"{job}/extra/drawer", f"{other}/1"):
        shutil.copytree(folder, tmp_path / place)
        artifacts.put(tmp_path / place, url, place, {})
    found = list(unnamed.find(db, url, age=0))
    size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    assert [each.place for each in found if not isinstance(each, int)] == [job, other]
    assert all(each.size > size for each in found if not isinstance(each, int))
    assert [each for each in unnamed.find(db, url) if not isinstance(each, int)] == []
    artifacts.remove_all(url, job)
    artifacts.remove_all(url, job)
    assert artifacts.folders(url, job) == []
    assert artifacts.seal(url, f"{other}/1")
    artifacts.remove_all(url, other)
