"""Store, read and list the files of attempts under one URL, each with a manifest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import subprocess
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from zoo import atomic
from zoo.canonical_json import canonical, read_json
from zoo.errors import ArtifactError, UsageError, ZooError, reason
from zoo.regular_file import open_regular_file

MANIFEST = "manifest.json"
MOST_MANIFEST = 64 * 2**20
"""Maximum size in bytes; small files are stored within it."""
PART = 2**20
"""Size of one read, in bytes."""
SHA256 = re.compile("[0-9a-f]{64}")
ADVICE = {
    "NoCredentialsError": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with "
    "them in AWS_SHARED_CREDENTIALS_FILE.",
    "EndpointConnectionError": "Is AWS_ENDPOINT_URL right, and does the server run?",
    "PermissionError": "Check the credentials and their permissions.",
}
"""Name of the exception -> advice."""
NONE: Mapping[str, str] = {}
NO_PLACE = "Check ZOO_ARTIFACTS_URL. `zoo doctor` creates a missing bucket."
NO_FILE = "It was removed; train the model again."


def prepare(url: str) -> None:
    """Open the store and read its credentials, which may then be removed from the environment.

    Raises ArtifactError if a library is missing, or the configuration of the store is invalid.
    """
    fs, root = open_store(url)
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

    The manifest has the sha256 of every file and is written last, so an incomplete artifact has
    none. `texts` are small files that are stored within the manifest, since creating a file
    can take longer than a short job. On a local disk the folder itself is moved, atomically. With
    `unflushed`, the paths to flush are added to it: the caller flushes several artifacts at once.

    Raises ArtifactError if the store cannot be written.
    """
    # An existing manifest is from an earlier, incomplete call.
    names = sorted({*_names(str(folder))} - {MANIFEST})
    files = {name: _entry(f"{folder}/{name}") for name in names}
    inside = {name: _text_entry(text) for name, text in texts.items()}
    manifest = canonical({"v": 2, "files": files | inside, **facts}).encode()
    (folder / MANIFEST).write_bytes(manifest)
    _store(folder, url, where, [*files, MANIFEST], unflushed)
    return hashlib.sha256(manifest).hexdigest()


def _store(
    folder: Path, url: str, where: str, names: Sequence[str], unflushed: list[str] | None
) -> None:
    """Store the files `names` of a folder in this order; see `put`."""
    fs, root = open_store(url)
    with _errors(f"The artifact cannot be stored in {root}/{where}", NO_PLACE):
        if "file" in fs.protocol:
            moved = _move(folder, Path(root) / where, names)
            if unflushed is None:
                atomic.flush(moved)
            else:
                unflushed += moved
        else:
            for name in names:
                fs.put_file(str(folder / name), f"{root}/{where}/{name}")


def fetch_stored(url: str, where: str, sha256: str, into: Path) -> list[str]:
    """Copy an artifact as it is stored, with its manifest, into the folder `into`.

    On one local disk the copies are hard links. All hashes are verified. Returns the names of the
    files, that of the manifest last. Raises ArtifactError as `get`.
    """
    entries = _manifest(url, where, sha256)["files"]
    fs, root = open_store(url)
    names = [name for name, entry in entries.items() if "text" not in entry]
    into.mkdir(parents=True, exist_ok=True)
    for name in names:
        target = _inside(into, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _errors(f"The file {name} of the artifact {where} cannot be read", NO_FILE):
            _copy(fs, f"{root}/{where}/{name}", entries[name]["bytes"], target, link=True)
        if _entry(str(target)) != _facts(entries[name]):
            raise _changed(where, name)
    manifest = _read(url, f"{where}/{MANIFEST}", MOST_MANIFEST)
    (into / MANIFEST).write_bytes(manifest)
    return [*names, MANIFEST]


def put_stored(
    folder: Path, url: str, where: str, sha256: str, unflushed: list[str] | None = None
) -> bool:
    """Store a folder that `fetch_stored` has copied; return False if it is stored already.

    An incomplete or damaged artifact at `where` is replaced; nothing may refer to it. `unflushed`
    is as in `put`. Raises ArtifactError if the folder has other files than its manifest says, or
    the store cannot be written.
    """
    check_stored(folder, where, sha256)
    if seal(url, where) == sha256:
        with contextlib.suppress(ArtifactError):
            check_files(url, where, sha256, files(url, where, sha256))
            _touch(url, where)
            return False
    remove(url, where)
    names = [name for name in sorted(_names(str(folder))) if name != MANIFEST]
    _store(folder, url, where, [*names, MANIFEST], unflushed)
    return True


def _touch(url: str, where: str) -> None:
    """Make a folder on a local disk as young as one just stored: what is old may be swept."""
    fs, root = open_store(url)
    if "file" in fs.protocol:
        with contextlib.suppress(OSError):
            os.utime(Path(root) / where)


def check_stored(folder: Path, where: str, sha256: str) -> None:
    """Raise ArtifactError unless a folder has the files of the artifact `where`, and no others."""
    parent, name = str(folder.parent), folder.name
    entries = _manifest(parent, name, sha256)["files"]
    stored = {MANIFEST, *(each for each, entry in entries.items() if "text" not in entry)}
    if {*_names(str(folder))} != stored:
        raise ArtifactError(f"The artifact {where} has other files than its manifest says.")
    check_files(parent, name, sha256, entries)


def flush(paths: Sequence[str]) -> None:
    """Flush the paths that `put` has added to `unflushed`: they then survive a power cut.

    Raises ArtifactError if the disk is full or broken.
    """
    with _errors("An artifact cannot be stored", NO_PLACE):
        atomic.flush(paths)


def get(
    url: str,
    where: str,
    sha256: str,
    into: Path,
    *,
    link: bool = False,
    copied: Callable[[int], None] = lambda _: None,
) -> Path:
    """Copy an artifact into the folder `into` and verify all hashes.

    With `link` the copies on one local disk are hard links: for files that nobody changes.
    `copied` is called with the bytes of each file.

    Raises ArtifactError if a file is missing or differs from the manifest, or the manifest has
    another hash than `sha256`.
    """
    manifest = _manifest(url, where, sha256)
    fs, root = open_store(url)
    for name, entry in manifest["files"].items():
        target = _inside(into, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _errors(f"The file {name} of the artifact {where} cannot be read", NO_FILE):
            if "text" in entry:
                target.write_text(entry["text"], encoding="utf-8", newline="")
            else:
                _copy(fs, f"{root}/{where}/{name}", entry["bytes"], target, link)
        if _entry(str(target)) != _facts(entry):
            raise _changed(where, name)
        copied(entry["bytes"])
    return into


def read(url: str, where: str, sha256: str, name: str) -> bytes:
    """Return one file of an artifact, verified against its manifest.

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

    Raises ArtifactError if the manifest is missing or damaged, or a name leads out of the artifact.
    """
    found: dict[str, dict[str, Any]] = _manifest(url, where, sha256)["files"]
    return {name: _facts(entry) for name, entry in found.items()}


def check_files(url: str, where: str, sha256: str, names: Iterable[str]) -> None:
    """Read files of an artifact and verify each against the manifest.

    Raises ArtifactError if one is missing or differs from the manifest.
    """
    entries = _manifest(url, where, sha256)["files"]
    fs, root = open_store(url)
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
    """Return whether every file of an artifact exists with the size given in its manifest.

    The contents are not read. Raises ArtifactError if the manifest is missing or damaged, or the
    store cannot be read.
    """
    files = _manifest(url, where, sha256)["files"]
    fs, root = open_store(url)
    with _errors(f"The artifact {where} cannot be read", NO_FILE):
        return all(
            fs.size(f"{root}/{where}/{name}") == entry["bytes"]
            for name, entry in files.items()
            if "text" not in entry
        )


def folders(url: str, where: str) -> list[str]:
    """Return the names of the folders in `where`; an empty list if it does not exist.

    Raises ArtifactError if the store cannot be read.
    """
    fs, root = open_store(url)
    with _errors(f"The folder {root}/{where} cannot be read", NO_PLACE):
        try:
            found = fs.ls(f"{root}/{where}", detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
    names = (PurePosixPath(each["name"]).name for each in found if each["type"] == "directory")
    return sorted(name for name in names if not name.startswith("."))


def halves(url: str, where: str) -> list[str]:
    """Return the names of incomplete copies in a folder of a store on this machine."""
    fs, root = open_store(url)
    folder = Path(root) / where
    if "file" not in fs.protocol or not folder.is_dir():
        return []
    return sorted(each.name for each in folder.iterdir() if HALF.fullmatch(each.name))


def seal(url: str, where: str) -> str | None:
    """Return the sha256 of the manifest at `where`; None if there is none.

    Raises ArtifactError if the store cannot be read.
    """
    fs, root = open_store(url)
    with _errors(f"The manifest of {where} cannot be read", NO_FILE):
        try:
            content = b"".join(_parts(fs, f"{root}/{where}/{MANIFEST}", MOST_MANIFEST))
        except FileNotFoundError:
            return None
    return hashlib.sha256(content).hexdigest()


def remove(url: str, where: str) -> None:
    """Remove an attempt's artifact, complete or not, if there is one.

    Raises ArtifactError if it cannot be removed.
    """
    fs, root = open_store(url)
    with _errors(f"The artifact {where} cannot be removed from {root}", ""):
        if "file" in fs.protocol:
            target = Path(root) / where
            for half in target.parent.glob(f".{target.name}-*"):
                shutil.rmtree(half)
        with contextlib.suppress(FileNotFoundError):
            fs.rm(f"{root}/{where}", recursive=True)


HALF = re.compile(r"\.\d+-[0-9a-f]{32}\.tmp")
"""Name of a copy of an attempt's folder that was not completed, see `_move`."""
PLACE = re.compile(rf"[0-9a-z][\w-]*(/[0-9a-z][\w-]*)*(/{HALF.pattern})?", re.ASCII)
"""Allowed places of `remove_all` (with fullmatch): nothing that leads out of the store."""
REMOVE = "/bin/rm"


def remove_all(url: str, place: str) -> None:
    """Remove everything below a place, such as all files of a job, if there is anything.

    Raises ArtifactError if it cannot be removed, or is no place below the store.
    """
    if not PLACE.fullmatch(place):
        raise ArtifactError(f"{place!a} is not a folder of the artifact store.")
    fs, root = open_store(url)
    with _errors(f"The files of {place} cannot be removed from {root}", ""):
        if "file" in fs.protocol:
            _remove_tree(Path(root) / place)
            return
        with contextlib.suppress(FileNotFoundError):
            fs.rm(f"{root}/{place}", recursive=True)


def remove_many(url: str, places: Sequence[str]) -> dict[str, ArtifactError]:
    """Remove everything below these places; return the errors of those that are left.

    A disk's are removed by one process of the system: a thread would wait for Python's lock after
    each file, in a busy worker longer than the jobs take that leave the files.
    """
    fs, root = open_store(url)
    if "file" in fs.protocol:
        allowed = [f"{root}/{place}" for place in places if PLACE.fullmatch(place)]
        with contextlib.suppress(OSError):  # without the program, or memory for it
            subprocess.run(
                [REMOVE, "-rf", "--", *allowed],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
    errors: dict[str, ArtifactError] = {}
    for place in places:  # on a disk only what is left, which says why
        try:
            remove_all(url, place)
        except ArtifactError as error:
            errors[place] = error
    return errors


def _remove_tree(folder: Path) -> None:
    """Remove a folder; another process may remove it at the same time. Raises OSError."""

    def fail(_: Any, path: str, info: Any) -> None:
        if not isinstance(info[1], FileNotFoundError):
            raise info[1]

    shutil.rmtree(folder, onerror=fail)


def check(url: str) -> str:
    """Write, read and remove a small file below `url`; return the root of the store.

    Raises ArtifactError if one of these fails.
    """
    fs, root = open_store(url)
    name = f"{root}/check-{uuid.uuid4().hex}"
    with _errors(f"Artifacts cannot be stored in {root}", NO_PLACE):
        try:
            fs.pipe_file(name, b"zoo")
        except FileNotFoundError:  # only now: credentials may allow writing, but no buckets
            fs.makedirs(root, exist_ok=True)
            fs.pipe_file(name, b"zoo")
        if fs.cat_file(name) != b"zoo":
            raise ArtifactError(f"{root} returned other bytes than were written.")
        fs.rm_file(name)
    return root


def _move(folder: Path, target: Path, names: Sequence[str]) -> list[str]:
    """Move a folder with the files `names` on the local disk, atomically.

    Returns the paths to flush for it to survive a power cut. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system: copy to a sibling of the target, then rename that atomically.
        copy = atomic.sibling(target, f".{target.name}-")
        shutil.copytree(folder, copy)
        copy.rename(target)
    # Flushed after the move: nothing refers to it yet, and one flush covers all changes.
    return [*(f"{target}/{name}" for name in names), str(target), str(target.parent)]


def open_store(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a store's URL and the path in it; fsspec caches the client.

    Raises ArtifactError if the URL is invalid or a library is missing.
    """
    import fsspec  # 30 ms, which a submission that needs no file should not wait for

    try:
        fs, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        hint = "Install it: pip install 'mnist-zoo[s3]'." if url.startswith("s3:") else ""
        raise ArtifactError(
            f"Artifacts on {url.partition(':')[0]} require a missing library: {error}.", hint
        ) from None
    except ValueError as error:
        raise ArtifactError(
            f"ZOO_ARTIFACTS_URL is invalid: {reason(error)}.", "Use s3://BUCKET or file:///PATH."
        ) from None
    return fs, str(root)


@contextlib.contextmanager
def _errors(message: str, if_missing: str) -> Iterator[None]:
    """Convert any exception of the store to an ArtifactError with message, reason and advice."""
    try:
        yield
    except ZooError:
        raise
    except Exception as error:  # each kind of store raises its own exceptions
        advice = ADVICE | {"FileNotFoundError": if_missing}
        hint = advice.get(type(error).__name__, "")
        raise ArtifactError(f"{message}: {_why(error)}.", hint) from error


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and " " not in str(error):  # s3fs: just a path
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
        raise ArtifactError(f"The manifest of the artifact {where} has an invalid list of files.")
    for name in entries:
        _inside(Path(), name)
    return manifest


def _is_entry(entry: Any) -> bool:
    """Return whether an entry of a manifest has the form written by `put`."""
    if not isinstance(entry, dict):
        return False
    size, sha256, text = entry.get("bytes"), entry.get("sha256"), entry.get("text", "")
    is_valid = isinstance(sha256, str) and bool(SHA256.fullmatch(sha256)) and type(size) is int
    return is_valid and size >= 0 and isinstance(text, str) and _is_storable(text)  # type: ignore[operator]


def _is_storable(text: str) -> bool:
    """Return whether a text has no lone surrogate, which cannot be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(url: str, path: str, most: int) -> bytes:
    fs, root = open_store(url)
    with _errors(f"The artifact file {path} cannot be read", NO_FILE):
        return b"".join(_parts(fs, f"{root}/{path}", most))


def _parts(fs: Any, path: str, most: int) -> Iterator[bytes]:
    """Yield the contents of a file, from a local disk in parts.

    Raises OSError for more than `most` bytes, and for links and other files that are not regular
    before reading them: reading a pipe would block.
    """
    if "file" not in fs.protocol:
        content: bytes = fs.cat_file(path)
        _check_size(len(content), most)
        yield content
        return
    if Path(path).is_symlink():  # `put` stores no links: the target may be any file
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
        raise OSError(errno.EFBIG, "it is larger than recorded in its manifest, or than allowed")


def _copy(fs: Any, path: str, size: int, target: Path, link: bool) -> None:
    if "file" not in fs.protocol:
        fs.get_file(path, str(target))
        return
    if link and stat.S_ISREG(os.lstat(path).st_mode):
        with contextlib.suppress(OSError):  # another disk, or one without links
            os.link(path, target)
            return
    with target.open("wb") as file:
        for part in _parts(fs, path, size):
            file.write(part)


def _changed(where: str, name: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} of the artifact {where} is not the one that was stored.",
        "It was changed or damaged: train the model again.",
    )


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    is_plain = path.parts and "\0" not in name and _is_storable(name)
    if path.is_absolute() or ".." in path.parts or not is_plain:
        raise ArtifactError(
            f"The artifact has a file with the name {name!a}, which leads out of it."
        )
    return folder / path


def _names(folder: str, above: str = "") -> Iterator[str]:
    """Yield the relative paths of the regular files in a folder, without links."""
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
    """Return the manifest entry of a file without its contents."""
    return {"sha256": entry["sha256"], "bytes": entry["bytes"]}
