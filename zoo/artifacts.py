"""Put, get and list the files that an attempt leaves, under one URL and with a manifest."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from zoo.errors import ArtifactError, UsageError
from zoo.spec import canonical, read_json

MANIFEST = "manifest.json"


def put(folder: Path, url: str, where: str, facts: Mapping[str, Any]) -> str:
    """Store the folder's files as `where` below `url`, and give the sha256 of their manifest.

    The manifest, every file's sha256, is written last, so that a half-stored artifact has none.
    On a local disk the folder itself is moved: it appears whole or not at all.
    Raises ArtifactError if the place cannot be written to.
    """
    files = {name: _entry(folder / name) for name in _names(folder)}
    manifest = canonical({"v": 1, "files": files, **facts}).encode()
    (folder / MANIFEST).write_bytes(manifest)
    fs, root = fsspec.core.url_to_fs(url)
    try:
        if "file" in fs.protocol:
            _put_local(folder, Path(root) / where, [*files, MANIFEST])
        else:
            for name in (*files, MANIFEST):
                fs.put_file(str(folder / name), f"{root}/{where}/{name}")
    except OSError as error:
        raise ArtifactError(f"The artifact cannot be stored in {root}/{where}: {error}.") from error
    return hashlib.sha256(manifest).hexdigest()


def get(url: str, where: str, sha256: str, into: Path) -> Path:
    """Copy an artifact into the folder `into` and check every byte of it.

    Raises ArtifactError if a file is missing or not what the manifest says, or the manifest not
    what the row says.
    """
    manifest = _manifest(url, where, sha256)
    fs, root = fsspec.core.url_to_fs(url)
    for name, entry in manifest["files"].items():
        target = _inside(into, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            fs.get_file(f"{root}/{where}/{name}", str(target))
        except OSError as error:
            raise ArtifactError(
                f"The artifact {where} has lost its file {name}: {error}."
            ) from error
        if _entry(target) != entry:
            raise ArtifactError(
                f"The file {name} of the artifact {where} is not the one that was stored.",
                "It was changed or damaged; train the model again.",
            )
    return into


def read(url: str, where: str, sha256: str, name: str) -> bytes:
    """Read one file of an artifact, checked against its manifest.

    Raises ArtifactError if there is no such file or it was changed.
    """
    entry = _manifest(url, where, sha256)["files"].get(name)
    if entry is None:
        raise ArtifactError(f"The artifact {where} has no file {name}.")
    content = _read(url, f"{where}/{name}")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ArtifactError(
            f"The file {name} of the artifact {where} is not the one that was stored."
        )
    return content


def files(url: str, where: str, sha256: str) -> dict[str, dict[str, Any]]:
    """The files of an artifact: {name: {"sha256", "bytes"}}."""
    found: dict[str, dict[str, Any]] = _manifest(url, where, sha256)["files"]
    return found


def check(url: str) -> str:
    """Write, read and remove a small file below `url`; gives where that is.

    Raises ArtifactError if one of the three fails.
    """
    fs, root = fsspec.core.url_to_fs(url)
    name = f"{root}/check-{uuid.uuid4().hex}"
    try:
        fs.makedirs(root, exist_ok=True)
        fs.pipe_file(name, b"zoo")
        if fs.cat_file(name) != b"zoo":
            raise ArtifactError(f"{root} does not give back what was written.")
        fs.rm_file(name)
    except OSError as error:
        raise ArtifactError(f"Artifacts cannot be stored in {root}: {error}.") from error
    return str(root)


def _manifest(url: str, where: str, sha256: str) -> dict[str, Any]:
    content = _read(url, f"{where}/{MANIFEST}")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtifactError(f"The manifest of the artifact {where} is not the one that was stored.")
    try:
        manifest: dict[str, Any] = read_json(content)
    except UsageError as error:
        raise ArtifactError(f"The manifest of the artifact {where} is damaged: {error}") from None
    return manifest


def _read(url: str, path: str) -> bytes:
    fs, root = fsspec.core.url_to_fs(url)
    try:
        content: bytes = fs.cat_file(f"{root}/{path}")
    except OSError as error:
        raise ArtifactError(f"The artifact file {path} cannot be read: {error}.") from error
    return content


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ArtifactError(
            f"The artifact has a file with the name {name!r}, which leads elsewhere."
        )
    return folder / path


def _names(folder: Path) -> list[str]:
    """The regular files of a folder, relative; no links, for they could point anywhere."""
    found = (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sorted(p.relative_to(folder).as_posix() for p in found)


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            "bytes": path.stat().st_size,
        }


def _put_local(folder: Path, target: Path, names: list[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        _flush(folder / name)
    _flush(folder)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system: copy beside the target first, so that it still appears at once.
        copy = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        shutil.copytree(folder, copy)
        for name in names:
            _flush(copy / name)
        copy.rename(target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
