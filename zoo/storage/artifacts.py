"""Store, read and list the files of attempts under one URL, each with a manifest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from zoo import atomic
from zoo.canonical_json import canonical, read_json
from zoo.errors import ArtifactError, UsageError, ZooError, reason
from zoo.regular_file import open_regular_file

MANIFEST = "manifest.json"
MOST_MANIFEST = 64 * 2**20
"""Bytes; it holds the small files, too."""
PART = 2**20
"""Bytes that are read at once."""
SHA256 = re.compile("[0-9a-f]{64}")
ADVICE = {
    "NoCredentialsError": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with "
    "them in AWS_SHARED_CREDENTIALS_FILE.",
    "EndpointConnectionError": "Is AWS_ENDPOINT_URL right, and does the server run?",
    "PermissionError": "Check the credentials and what they allow.",
}
"""What to do next, by the kind of error."""
NONE: Mapping[str, str] = {}
NO_PLACE = "Is the place in ZOO_ARTIFACTS_URL right? `zoo doctor` makes a bucket that is missing."
NO_FILE = "It was removed; train the model again."


def prepare(url: str) -> None:
    """Open the store and read its credentials, which may then be removed from the environment.

    Raises ArtifactError if a library is missing, or the configuration of the store is invalid.
    """
    fs, root = _open(url)
    with _errors(f"Artifacts cannot be stored in {root}", NO_PLACE):
        if hasattr(fs, "connect"):
            fs.connect()


def put(
    folder: Path,
    url: str,
    where: str,
    facts: Mapping[str, Any],
    texts: Mapping[str, str] = NONE,
    unflushed: list[str] | None = None,
) -> str:
    """Store the files of the folder as `where` below `url`; returns the sha256 of their manifest.

    The manifest has the sha256 of every file and is written last, so that an incomplete artifact
    has none. `texts` are small files that are stored within it, as creating a file can take longer
    than a short job. On a local disk the folder itself is moved: it appears as a whole or not at
    all. The paths to flush can be left to the caller, in `unflushed`, for several artifacts at
    once. Raises ArtifactError if the store cannot be written.
    """
    # An existing manifest is from an earlier, incomplete call.
    names = sorted({*_names(str(folder))} - {MANIFEST})
    files = {name: _entry(f"{folder}/{name}") for name in names}
    inside = {name: _text_entry(text) for name, text in texts.items()}
    manifest = canonical({"v": 2, "files": files | inside, **facts}).encode()
    (folder / MANIFEST).write_bytes(manifest)
    fs, root = _open(url)
    with _errors(f"The artifact cannot be stored in {root}/{where}", NO_PLACE):
        if "file" in fs.protocol:
            moved = _move(folder, Path(root) / where, [*files, MANIFEST])
            if unflushed is None:
                atomic.flush(moved)
            else:
                unflushed += moved
        else:
            for name in (*files, MANIFEST):
                fs.put_file(str(folder / name), f"{root}/{where}/{name}")
    return hashlib.sha256(manifest).hexdigest()


def flush(paths: Sequence[str]) -> None:
    """Flush the paths that `put` has left to the caller, so that they survive a power cut.

    Raises ArtifactError if the disk is full or broken.
    """
    with _errors("An artifact cannot be stored", NO_PLACE):
        atomic.flush(paths)


def get(url: str, where: str, sha256: str, into: Path) -> Path:
    """Copy an artifact into the folder `into` and verify all hashes.

    Raises ArtifactError if a file is missing or differs from the manifest, or the manifest from
    the hash in the row.
    """
    manifest = _manifest(url, where, sha256)
    fs, root = _open(url)
    for name, entry in manifest["files"].items():
        target = _inside(into, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _errors(f"The file {name} of the artifact {where} cannot be read", NO_FILE):
            if "text" in entry:
                target.write_text(entry["text"], encoding="utf-8", newline="")
            else:
                _copy(fs, f"{root}/{where}/{name}", entry["bytes"], target)
        if _entry(str(target)) != _facts(entry):
            raise _changed(where, name)
    return into


def read(url: str, where: str, sha256: str, name: str) -> bytes:
    """Read one file of an artifact, checked against its manifest.

    Raises ArtifactError if there is no such file or it was changed.
    """
    entry = _manifest(url, where, sha256)["files"].get(name)
    if entry is None:
        raise ArtifactError(f"The artifact {where} has no file {name}.")
    if "text" in entry:
        content = str(entry["text"]).encode()
    else:
        content = _read(url, f"{where}/{name}", entry["bytes"])
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise _changed(where, name)
    return content


def files(url: str, where: str, sha256: str) -> dict[str, dict[str, Any]]:
    """Return the files of an artifact: {name: {"sha256", "bytes"}}.

    Raises ArtifactError if the manifest is gone or damaged, or a name leads out of the artifact.
    """
    found: dict[str, dict[str, Any]] = _manifest(url, where, sha256)["files"]
    return {name: _facts(entry) for name, entry in found.items()}


def check_files(url: str, where: str, sha256: str, names: Iterable[str]) -> None:
    """Read files of an artifact and verify each against the manifest.

    Raises ArtifactError if one is missing or differs from the manifest.
    """
    entries = _manifest(url, where, sha256)["files"]
    fs, root = _open(url)
    for name in names:
        entry, digest = entries[name], hashlib.sha256()
        with _errors(f"The file {name} of the artifact {where} cannot be read", NO_FILE):
            if "text" in entry:
                digest.update(entry["text"].encode())
            else:
                for part in _parts(fs, f"{root}/{where}/{name}", entry["bytes"]):
                    digest.update(part)
        if digest.hexdigest() != entry["sha256"]:
            raise _changed(where, name)


def is_whole(url: str, where: str, sha256: str) -> bool:
    """Whether every file of an artifact is there, with the size that its manifest says.

    Their contents are not read. Raises ArtifactError if the manifest is gone or damaged, or the
    place cannot be read.
    """
    files = _manifest(url, where, sha256)["files"]
    fs, root = _open(url)
    with _errors(f"The artifact {where} cannot be read", NO_FILE):
        return all(
            fs.size(f"{root}/{where}/{name}") == entry["bytes"]
            for name, entry in files.items()
            if "text" not in entry
        )


def folders(url: str, where: str) -> list[str]:
    """The names of the folders below `where`; none if there is no such place.

    Raises ArtifactError if the place cannot be read.
    """
    fs, root = _open(url)
    with _errors(f"The place {root}/{where} cannot be read", NO_PLACE):
        try:
            found = fs.ls(f"{root}/{where}", detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
    names = (PurePosixPath(each["name"]).name for each in found if each["type"] == "directory")
    return sorted(name for name in names if not name.startswith("."))


def seal(url: str, where: str) -> str | None:
    """The sha256 of the manifest that is stored at `where`; None if there is none.

    Raises ArtifactError if the place cannot be read.
    """
    fs, root = _open(url)
    with _errors(f"The manifest of {where} cannot be read", NO_FILE):
        try:
            content = b"".join(_parts(fs, f"{root}/{where}/{MANIFEST}", MOST_MANIFEST))
        except FileNotFoundError:
            return None
    return hashlib.sha256(content).hexdigest()


def remove(url: str, where: str) -> None:
    """Remove what an attempt has stored, or begun to store; nothing if there is nothing.

    Raises ArtifactError if that is not possible.
    """
    fs, root = _open(url)
    with _errors(f"The artifact {where} cannot be removed from {root}", ""):
        if "file" in fs.protocol:
            target = Path(root) / where
            for half in target.parent.glob(f".{target.name}-*"):
                shutil.rmtree(half)
        with contextlib.suppress(FileNotFoundError):
            fs.rm(f"{root}/{where}", recursive=True)


def check(url: str) -> str:
    """Write, read and remove a small file below `url`; gives where that is.

    Raises ArtifactError if one of the three fails.
    """
    fs, root = _open(url)
    name = f"{root}/check-{uuid.uuid4().hex}"
    with _errors(f"Artifacts cannot be stored in {root}", NO_PLACE):
        try:
            fs.pipe_file(name, b"zoo")
        except FileNotFoundError:  # asked for only now: a key may write here and not list buckets
            fs.makedirs(root, exist_ok=True)
            fs.pipe_file(name, b"zoo")
        if fs.cat_file(name) != b"zoo":
            raise ArtifactError(f"{root} does not give back what was written.")
        fs.rm_file(name)
    return root


def _move(folder: Path, target: Path, names: Sequence[str]) -> list[str]:
    """Move a folder that holds the files `names` on the local disk: it appears whole.

    Returns the paths to flush; then it survives a power cut. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system: copy beside the target first, so that it still appears at once.
        copy = atomic.sibling(target, f".{target.name}-")
        shutil.copytree(folder, copy)
        copy.rename(target)
    # Flushed after the move: nothing relies on it yet, and one flush covers all changes.
    return [*(f"{target}/{name}" for name in names), str(target), str(target.parent)]


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it; fsspec keeps one client for the process."""
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        hint = "Install it: pip install 'mnist-zoo[s3]'." if url.startswith("s3:") else ""
        raise ArtifactError(
            f"Artifacts on {url.partition(':')[0]} need a library that is missing: {error}.", hint
        ) from None
    except ValueError as error:
        raise ArtifactError(
            f"ZOO_ARTIFACTS_URL leads nowhere: {reason(error)}.", "Try s3://bucket or file:///path."
        ) from None
    return fs, str(root)


@contextlib.contextmanager
def _errors(message: str, if_missing: str) -> Iterator[None]:
    """Convert any exception of the store to an ArtifactError with message, reason and hint."""
    try:
        yield
    except ZooError:
        raise
    except Exception as error:  # each kind of place has a client with errors of its own
        advice = ADVICE | {"FileNotFoundError": if_missing}
        hint = advice.get(type(error).__name__, "")
        raise ArtifactError(f"{message}: {_why(error)}.", hint) from error


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and " " not in str(error):  # S3 gives the path alone
        return "there is no such file"
    return re.sub(r"//[^/@\s]*@", "//", reason(error))


def _manifest(url: str, where: str, sha256: str) -> dict[str, Any]:
    content = _read(url, f"{where}/{MANIFEST}", MOST_MANIFEST)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtifactError(f"The manifest of the artifact {where} is not the one that was stored.")
    try:
        manifest: dict[str, Any] = read_json(content)
    except UsageError as error:
        raise ArtifactError(f"The manifest of the artifact {where} is damaged: {error}") from None
    entries = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(entries, dict) or not all(map(_is_entry, entries.values())):
        raise ArtifactError(f"The manifest of the artifact {where} lists no files as Zoo does.")
    for name in entries:
        _inside(Path(), name)
    return manifest


def _is_entry(entry: Any) -> bool:
    """Whether an entry of a manifest has the form written by `put`."""
    if not isinstance(entry, dict):
        return False
    size, sha256, text = entry.get("bytes"), entry.get("sha256"), entry.get("text", "")
    is_valid = isinstance(sha256, str) and bool(SHA256.fullmatch(sha256)) and type(size) is int
    return is_valid and size >= 0 and isinstance(text, str) and _is_storable(text)  # type: ignore[operator]


def _is_storable(text: str) -> bool:
    """Whether a text has no unpaired surrogate, which no file and no page can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(url: str, path: str, most: int) -> bytes:
    fs, root = _open(url)
    with _errors(f"The artifact file {path} cannot be read", NO_FILE):
        return b"".join(_parts(fs, f"{root}/{path}", most))


def _parts(fs: Any, path: str, most: int) -> Iterator[bytes]:
    """Read a file, from a disk piece by piece.

    Raises OSError for a link and anything else that is no regular file, before a byte of it is
    read: a pipe would be waited for. And for more than `most` bytes.
    """
    if "file" not in fs.protocol:
        content: bytes = fs.cat_file(path)
        _check_size(len(content), most)
        yield content
        return
    if Path(path).is_symlink():  # `put` stores none: it may lead anywhere
        raise OSError(errno.EINVAL, "it is a link, not a regular file")
    left = most
    with open_regular_file(path) as file:
        _check_size(os.fstat(file.fileno()).st_size, most)
        while part := file.read(min(PART, left + 1)):
            _check_size(len(part), left)
            yield part
            left -= len(part)


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise OSError(errno.EFBIG, "it is larger than its manifest says, or than one may be")


def _copy(fs: Any, path: str, size: int, target: Path) -> None:
    if "file" not in fs.protocol:
        fs.get_file(path, str(target))
        return
    with target.open("wb") as file:
        for part in _parts(fs, path, size):
            file.write(part)


def _changed(where: str, name: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} of the artifact {where} is not the one that was stored.",
        "It was changed or damaged; train the model again.",
    )


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    is_plain = path.parts and "\0" not in name and _is_storable(name)
    if path.is_absolute() or ".." in path.parts or not is_plain:
        raise ArtifactError(
            f"The artifact has a file with the name {name!a}, which leads elsewhere."
        )
    return folder / path


def _names(folder: str, above: str = "") -> Iterator[str]:
    """The regular files of a folder, relative; no links, for they could point anywhere."""
    with os.scandir(folder) as found:
        for each in found:
            if each.is_dir(follow_symlinks=False):
                yield from _names(each.path, f"{above}{each.name}/")
            elif each.is_file(follow_symlinks=False):
                yield f"{above}{each.name}"


def _entry(path: str) -> dict[str, Any]:
    with os.fdopen(os.open(path, os.O_RDONLY), "rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"sha256": digest.hexdigest(), "bytes": os.fstat(file.fileno()).st_size}


def _text_entry(text: str) -> dict[str, Any]:
    content = text.encode()
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "text": text,
    }


def _facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest tells of a file, without the text of one that is kept in it."""
    return {"sha256": entry["sha256"], "bytes": entry["bytes"]}
