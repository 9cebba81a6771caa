"""Added datasets: contents under a name in the artifact store, fetched once by each machine.

`add` reads a source into a folder of this machine, stores that folder by its fingerprint, and
writes the row last. `ensure` gets the contents of a row into the cache of this machine; there they
are opened by their fingerprint alone (`datasets.open_added`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo import atomic, dataset_names, jobs, settings
from zoo.data import cache, contents, datasets
from zoo.data.cache import Progress
from zoo.data.contents import META_FILE, Meta
from zoo.errors import ArtifactError, DatasetError, UsageError
from zoo.jobs import Database, DatasetVersion, NewDataset
from zoo.storage import artifacts

STORED = "datasets"
"""The folder below the artifacts URL with the contents, each in a folder with its fingerprint."""
MOST_HEADER = 2**16
"""Bytes before the values of a .npy file, at most."""
MOST_META = 2**24
"""Bytes of `meta.json`, at most."""
ITEM_BYTES = {"uint8": 1, "float32": 4, "float64": 8, "int64": 8}
LEFT_SECONDS = 86400.0
"""Age from which on what an interrupted command has left is removed."""
ADD_AGAIN = "Add it again: `zoo data add`."


@dataclass(frozen=True)
class Added:
    """The result of adding a dataset."""

    version: DatasetVersion
    is_new: bool
    """False if the newest version has the same contents."""
    meta: Meta


def check_name(name: str, others: dict[str, str] | None = None) -> None:
    """Raise UsageError for a name that an added dataset cannot have.

    `others` are the datasets of workers, by name.
    """
    if not dataset_names.NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name of a dataset.",
            "A name has small letters, digits, '.', '_' and '-', 64 at most.",
        )
    if name in datasets.names() or name in (others or {}):
        whose = "Zoo" if name == datasets.MNIST.name else "a plugin"
        raise UsageError(f"'{name}' is a dataset of {whose}.", "Give yours another name.")


def add(db: Database, url: str, name: str, source: str, progress: Progress | None = None) -> Added:
    """Read a source, store its contents, and give them the next version of a name.

    Args:
        db: The database for the row.
        url: The URL of the artifacts.
        name: The name, see `check_name`.
        source: The canonical name of files or of a plugin's dataset, as `datasets.resolve` gives.
        progress: Called with the rows read.

    Raises:
        DatasetError: The source cannot be read, or is no dataset.
        ArtifactError: The contents cannot be stored.
    """
    with _new_folder() as folder:
        meta = datasets.fill(folder, source, progress)
        return _add_folder(db, url, name, source, folder, meta)


def add_cached(db: Database, url: str, name: str, source: str, found: contents.Raw) -> Added:
    """Give a name to contents of files that are in the cache of this machine; raises as `add`."""
    with _new_folder() as folder:
        cached = datasets.cached_folder(source)
        for file in (META_FILE, *contents.files_of(found.meta)):
            _link(cached / file, folder / file)
        meta = contents.read_meta(folder)
        if meta is None or meta.fingerprint != found.fingerprint:
            raise DatasetError(f"The files of '{source}' change while they are read.")
        return _add_folder(db, url, name, source, folder, meta)


def adopt(
    db: Database,
    url: str,
    found: DatasetVersion,
    folder: Path | None,
    removed_at: float | None = None,
) -> int:
    """Store a version of a dataset of another database; return the number that it has in this one.

    Args:
        db: The database for the row.
        url: The URL of the artifacts.
        found: The version there.
        folder: Its stored files, see `artifacts.fetch_stored`; None if the contents are gone.
        removed_at: When they were removed.

    Raises:
        UsageError: A dataset that is not added has the name here.
        DatasetError: The row is damaged.
        ArtifactError: The contents are not those that the row says, or cannot be stored.
    """
    check_name(found.name)
    meta_of(found)
    where = f"{STORED}/{found.fingerprint}"
    if found.artifact != where:
        raise _refused(found, "is not stored under its fingerprint")
    if folder is None:
        return jobs.insert_carried_dataset(db, found, removed_at)
    artifacts.check_stored(folder, where, found.artifact_sha256)
    _check_contents(found, folder)
    jobs.begin_upload(db, found.name, found.fingerprint, where)
    sha256 = _stored(url, where)
    if sha256 is None:
        artifacts.put_stored(folder, url, where, found.artifact_sha256)
    stored = dataclasses.replace(found, artifact_sha256=sha256 or found.artifact_sha256)
    return jobs.insert_carried_dataset(db, stored, None)


def _check_contents(version: DatasetVersion, folder: Path) -> None:
    """Raise ArtifactError unless a folder has the contents that a version says."""
    opened = contents.open_contents(folder)
    if opened is None or opened.fingerprint != version.fingerprint:
        raise _refused(version, "is damaged in the store")
    if contents.fingerprint_of(folder, opened.meta) != version.fingerprint:
        raise _refused(version, "has other contents in the store than its fingerprint says")


def remove_leftovers(db: Database, url: str, age: float = LEFT_SECONDS) -> None:
    """Remove what interrupted commands have left in the store and in the cache of this machine.

    `age` is in seconds. Raises ArtifactError if something cannot be removed from the store.
    """
    cache.remove_leftovers(settings.cache(), age)
    jobs.remove_interrupted_uploads(db, age, lambda where: artifacts.remove(url, where))


def ensure(
    db: Database, url: str, fingerprint: str, label: str, progress: Progress | None = None
) -> None:
    """Get the contents of an added dataset into the cache of this machine, unless they are there.

    They are verified against their manifest and their fingerprint before they are used.

    Args:
        db: The database with the row.
        url: The URL of the artifacts.
        fingerprint: Of the contents.
        label: The name, and perhaps the version, for messages.
        progress: Called with the bytes copied.

    Raises:
        DatasetError: The dataset was removed, or the cache cannot be written.
        ArtifactError: The stored files cannot be read, or were changed.
    """
    folder = datasets.added_folder(fingerprint)
    if is_here(fingerprint):
        with contextlib.suppress(OSError):
            os.utime(folder)  # what is in use is not swept
        return
    version = jobs.find_contents(db, fingerprint)
    if version is None:
        raise DatasetError(f"The dataset '{label}' was removed.", ADD_AGAIN)

    def fill(folder: Path) -> None:
        try:
            _fetch(url, version, folder, progress)
        except ArtifactError as error:
            if "train the model again" not in error.hint:
                raise
            # The hint of what a training has stored.
            raise ArtifactError(error.message, ADD_AGAIN) from None

    cache.get(folder, lambda _: is_here(fingerprint) or None, fill, stale=datasets.KEPT_SECONDS)


def is_here(fingerprint: str) -> bool:
    """Return whether the cache of this machine has the contents; needs no numpy."""
    folder = datasets.added_folder(fingerprint)
    meta = contents.read_meta(folder)
    if meta is None or meta.fingerprint != fingerprint:
        return False
    try:
        return all(_fits(folder / name, size) for name, size in _payloads(meta).items())
    except OSError:
        return False


def meta_of(version: DatasetVersion) -> Meta:
    """Return the description of a version; raises DatasetError if its row is damaged."""
    try:
        return Meta.model_validate_json(_json(version))
    except ValueError:
        raise DatasetError(
            f"The row of the dataset '{version.label}' is damaged.", ADD_AGAIN
        ) from None


def _json(version: DatasetVersion) -> str:
    from zoo.canonical_json import canonical

    return canonical(dict(version.meta))


@contextlib.contextmanager
def _new_folder() -> Iterator[Path]:
    """Make an empty folder beside the cached contents, and remove it afterwards."""
    base = settings.cache() / "added"
    base.mkdir(parents=True, exist_ok=True)
    folder = atomic.sibling(base / "new")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _add_folder(db: Database, url: str, name: str, source: str, folder: Path, meta: Meta) -> Added:
    """Store a folder with contents, keep it in the cache, and write the row."""
    # The same bytes for the same contents, whatever they are called and were read from.
    stored = meta.model_copy(update={"name": "", "notes": (), "metric": ""})
    (folder / META_FILE).unlink()  # it may be a link to a file of the cache
    (folder / META_FILE).write_text(stored.model_dump_json())
    names = (META_FILE, *contents.files_of(meta))
    jobs.begin_upload(db, name, meta.fingerprint, f"{STORED}/{meta.fingerprint}")
    new = NewDataset(
        name=name,
        fingerprint=meta.fingerprint,
        meta=meta.model_copy(update={"name": name}).model_dump(mode="json"),
        recipe={"source": source},
        artifact=f"{STORED}/{meta.fingerprint}",
        artifact_sha256=_store(folder, names, url, meta.fingerprint),
        bytes=sum((folder / file).stat().st_size for file in names),
    )
    version, is_new = jobs.add_dataset(db, new)
    # Between the two, the last version with these contents may have been removed.
    if artifacts.seal(url, new.artifact) is None:
        _store(folder, names, url, meta.fingerprint)
    _keep(folder, names, meta.fingerprint)
    return Added(version, is_new, meta_of(version))


def _store(folder: Path, names: tuple[str, ...], url: str, fingerprint: str) -> str:
    """Store contents unless they are there and undamaged; returns the sha256 of the manifest."""
    where = f"{STORED}/{fingerprint}"
    if sha256 := _stored(url, where):
        return sha256
    with _new_folder() as upload:
        for name in names:
            _link(folder / name, upload / name)
        try:
            return artifacts.put(upload, url, where, {"dataset": fingerprint})
        except ArtifactError:
            # Another process was faster, or left a part.
            if sha256 := _stored(url, where):
                return sha256
            if not upload.is_dir():
                raise
            artifacts.remove(url, where)
            return artifacts.put(upload, url, where, {"dataset": fingerprint})


def _stored(url: str, where: str) -> str | None:
    """Return the sha256 of the manifest of stored contents; removes damaged ones."""
    sha256 = artifacts.seal(url, where)
    if sha256 is None:
        return None
    try:
        artifacts.check_files(url, where, sha256, artifacts.files(url, where, sha256))
    except ArtifactError:
        artifacts.remove(url, where)
        return None
    return sha256


def _keep(folder: Path, names: tuple[str, ...], fingerprint: str) -> None:
    """Move contents that were just written into the cache of this machine."""

    def fill(target: Path) -> None:
        for name in names:
            (folder / name).rename(target / name)

    place = datasets.added_folder(fingerprint)
    cache.get(place, lambda _: is_here(fingerprint) or None, fill, stale=datasets.KEPT_SECONDS)


def _fetch(url: str, version: DatasetVersion, folder: Path, progress: Progress | None) -> None:
    """Copy stored contents into an empty folder and verify them; raises ArtifactError."""
    where, sha256, meta = version.artifact, version.artifact_sha256, meta_of(version)
    sizes = _payloads(meta)
    found = {name: entry["bytes"] for name, entry in artifacts.files(url, where, sha256).items()}
    is_sound = found.keys() == {META_FILE, *sizes} and found[META_FILE] <= MOST_META
    if not is_sound or not all(0 <= found[n] - sizes[n] <= MOST_HEADER for n in sizes):
        raise _refused(version, "has other files than its row says")
    if not artifacts.is_whole(url, where, sha256):
        raise _refused(version, "is not whole in the store")
    done, total = 0, sum(found.values())

    def copied(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress:
            progress(f"fetching {version.label}", done, total)

    artifacts.get(url, where, sha256, folder, link=True, copied=copied)
    _check_contents(version, folder)


def _refused(version: DatasetVersion, what: str) -> ArtifactError:
    return ArtifactError(f"The dataset '{version.label}' {what}.", ADD_AGAIN)


def _payloads(meta: Meta) -> dict[str, int]:
    """Return the bytes of the values in each file of contents, by name."""
    row = math.prod(meta.shape) * ITEM_BYTES[meta.dtype]
    found = {}
    for split, count in meta.counts.items():
        found[contents.inputs_file(split)] = count * row
        found[contents.labels_file(split)] = count * ITEM_BYTES["int64"]
    for split in meta.weighted:
        found[contents.weights_file(split)] = meta.counts[split] * ITEM_BYTES["float64"]
    return found


def _fits(file: Path, payload: int) -> bool:
    return 0 <= file.stat().st_size - payload <= MOST_HEADER


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where there are no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
