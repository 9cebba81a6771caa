"""Artifacts in a folder: whole or not at all, and checked byte by byte. On S3: test_s3.py."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import ArtifactError
from zoo.storage import artifacts

WHERE = "0" * 32 + "/1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    (made / "weights").mkdir(parents=True)
    (made / "metrics.json").write_text('{"accuracy":0.5}')
    (made / "weights" / "w.npz").write_bytes(b"weights")
    return made


def put(folder: Path, store: Path) -> str:
    return artifacts.put(folder, str(store), WHERE, {"attempt": 1})


def test_what_was_put_is_got_back_byte_by_byte(folder: Path, tmp_path: Path) -> None:
    sha256 = put(folder, tmp_path / "store")
    got = artifacts.get(str(tmp_path / "store"), WHERE, sha256, tmp_path / "copy")
    assert (got / "weights" / "w.npz").read_bytes() == b"weights"
    assert set(artifacts.files(str(tmp_path / "store"), WHERE, sha256)) == {
        "metrics.json",
        "weights/w.npz",
    }
    text = artifacts.read(str(tmp_path / "store"), WHERE, sha256, "metrics.json")
    assert json.loads(text) == {"accuracy": 0.5}


def test_a_small_text_is_kept_in_the_manifest_and_read_as_a_file(
    folder: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    # Also a file of this name that a model wrote does not stand in its place.
    texts = {"history.json": "[1,\r\n2]\n", "metrics.json": '{"name":"\u4e09"}'}
    sha256 = artifacts.put(folder, store, WHERE, {"attempt": 1}, texts)
    assert not (tmp_path / "store" / WHERE / "history.json").exists()
    got = artifacts.get(store, WHERE, sha256, tmp_path / "copy")
    for name, text in texts.items():
        content = text.encode()
        assert artifacts.read(store, WHERE, sha256, name) == content
        assert (got / name).read_bytes() == content
        told = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        assert artifacts.files(store, WHERE, sha256)[name] == told


def test_a_folder_that_was_half_stored_is_stored_like_any_other(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ArtifactError):
        patch.setattr(Path, "rename", full)
        put(folder, tmp_path / "store")
    sha256 = put(folder, tmp_path / "store")
    got = artifacts.get(str(tmp_path / "store"), WHERE, sha256, tmp_path / "copy")
    assert sorted(path.name for path in got.iterdir()) == ["metrics.json", "weights"]


def test_an_artifact_on_another_file_system_appears_whole_too(folder: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no second file system here")
    store = Path(tempfile.mkdtemp(dir=other))
    try:
        sha256 = put(folder, store)
        assert artifacts.read(str(store), WHERE, sha256, "weights/w.npz") == b"weights"
        assert [p.name for p in (store / WHERE).parent.iterdir()] == ["1"]
    finally:
        shutil.rmtree(store)


@pytest.mark.parametrize("name", ["weights/w.npz", "metrics.json", "manifest.json"])
@pytest.mark.parametrize("change", ["flip", "cut", "remove"])
def test_a_changed_or_missing_file_is_refused(
    folder: Path, tmp_path: Path, name: str, change: str
) -> None:
    store = tmp_path / "store"
    sha256 = put(folder, store)
    file = store / WHERE / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] if change == "cut" else bytes([content[0] ^ 1]) + content[1:])
    if change == "remove":
        file.unlink()
    with pytest.raises(ArtifactError):
        artifacts.get(str(store), WHERE, sha256, tmp_path / "copy")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil"])
def test_a_manifest_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    store = tmp_path / "store" / WHERE
    store.mkdir(parents=True)
    entry = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    manifest = json.dumps({"v": 1, "files": {name: entry}}).encode()
    (store / "manifest.json").write_bytes(manifest)
    (tmp_path / "evil").write_bytes(b"x")
    sha256 = hashlib.sha256(manifest).hexdigest()
    with pytest.raises(ArtifactError):
        artifacts.get(str(tmp_path / "store"), WHERE, sha256, tmp_path / "copy" / "deep")
    assert not (tmp_path / "copy" / "evil").exists()


def test_a_link_in_an_artifact_is_not_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "link").symlink_to(secret)
    sha256 = put(folder, tmp_path / "store")
    assert "link" not in artifacts.files(str(tmp_path / "store"), WHERE, sha256)


def test_a_place_that_cannot_be_written_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("a file where a folder should be")
    with pytest.raises(ArtifactError, match="store"):
        put(folder, tmp_path / "store")


def test_what_was_put_or_begun_can_be_removed(folder: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    artifacts.put(folder, url, "job/1", {})
    half = tmp_path / "store" / "job" / ".1-half"
    half.mkdir()
    for _ in range(2):
        artifacts.remove(url, "job/1")
        assert list((tmp_path / "store" / "job").iterdir()) == []
