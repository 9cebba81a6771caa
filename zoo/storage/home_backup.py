"""Back up a home while it is in use, and restore one: the database, the files of its rows, plugins.

A backup is a folder: `artifacts/`, a folder `state-*` with the database and the plugins, and
`backup.json`, which names that and is written last. The database is copied first, as of one moment,
then the files that its rows name; they never change once they are stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from zoo import __version__, atomic, jobs, private_folder
from zoo.canonical_json import canonical, read_json
from zoo.errors import ArtifactError, UsageError, ZooError, reason
from zoo.job_spec import Record, Sha256
from zoo.jobs import Database, Stored
from zoo.regular_file import open_regular_file, read_regular_file
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo.storage.archive import is_plain
from zoo.storage.job_files import EXTRA
from zoo.storage.job_files import PART as PLUGIN
from zoo.storage.packing import Tell, workplace

ABOUT, DATABASE, ARTIFACTS, PLUGINS = "backup.json", "zoo.db", "artifacts", "plugins"
FORMAT = "zoo-backup"
MOST_ABOUT = 2**24
FLUSHED = 100
"""Artifacts that are flushed to disk at once."""
ROUNDS = 5
"""Copies of the database at most, if jobs are removed while their files are copied."""


class About(Record):
    """What a backup says of itself, in `backup.json`."""

    format: Literal["zoo-backup"]
    v: Literal[1]
    schema_version: Annotated[int, Field(ge=1)]
    zoo: str
    """Version of the program that wrote it."""
    state: Annotated[str, Field(pattern="^state-[0-9a-f]{32}$")]
    """The folder with the database and the plugins."""
    jobs: Annotated[int, Field(ge=0)]
    database: Sha256
    """Hash of `zoo.db`."""
    plugins: dict[str, Sha256]
    """Hashes of the files below `plugins/`."""


@dataclass
class Copied:
    """What `back_up` or `restore` has copied."""

    jobs: int = 0
    folders: int = 0
    """Folders with files of jobs and datasets."""
    present: int = 0
    """Folders that were there already."""
    plugins: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    """Job or dataset -> why its files are not copied."""
    kept: list[str] = field(default_factory=list)
    """Plugin files that differ in the home and were left as they are."""


def back_up(db: Database, settings: Settings, folder: Path, tell: Tell = lambda *_: None) -> Copied:
    """Write a backup into a new folder, or bring an earlier one up to date.

    An earlier one stays usable until the new one is complete; only files that it lacks are copied,
    on the same disk as hard links. Jobs whose files are missing or damaged are named.

    Raises UsageError for a team's database or a folder with something else, ZooError if the backup
    cannot be written.
    """
    _check_target(settings, folder)
    url = str(folder / ARTIFACTS)
    with _errors(folder), workplace(settings) as work:
        private_folder.make(folder / ARTIFACTS)
        for number in range(ROUNDS):
            file = work / f"{number}.db"
            jobs.copy_database(db, file)
            with jobs.opened(file) as copy:
                found = Copied(jobs=jobs.count_rows(copy)[0])
                wanted = list(_all_stored(copy, settings.artifacts))
            stores = settings.artifacts, url, folder / ARTIFACTS
            _copy_all(wanted, *stores, found, tell)
            # Jobs may have been removed since: then a newer copy does not name their files.
            if not found.damaged or not _is_changed(db, found):
                break
        state = folder / f"state-{os.urandom(16).hex()}"
        state.mkdir(mode=0o700)
        shutil.copyfile(file, state / DATABASE)
        (state / DATABASE).chmod(0o600)
        plugins = _copy_plugins(settings.plugins_folder, state / PLUGINS)
        found.plugins = sorted(plugins)
        about = {"format": FORMAT, "v": 1, "schema_version": jobs.SCHEMA, "zoo": __version__}
        about |= {"state": state.name, "jobs": found.jobs, "plugins": plugins}
        about |= {"database": _sha256(state / DATABASE)}
        atomic.flush([state / DATABASE, state])
        atomic.write(folder / ABOUT, canonical(about))
        atomic.flush([folder / ABOUT, folder])
        for earlier in folder.glob("state-*"):
            if earlier != state:
                shutil.rmtree(earlier)
        _prune(folder / ARTIFACTS, {each.where for each in wanted})
    return found


def _check_target(settings: Settings, folder: Path) -> None:
    if folder.resolve().is_relative_to(settings.home.resolve()):
        raise UsageError(f"{folder} is within the home that it is to back up.", "Choose another.")
    with _errors(folder):
        names = {each.name for each in folder.iterdir()} if folder.exists() else set()
        if names and not names & {ABOUT, ARTIFACTS}:
            raise UsageError(
                f"{folder} holds something else than a backup.", "Name a new or empty folder."
            )


def _all_stored(db: Database, url: str) -> Iterator[Stored]:
    """Yield the folders that rows name, and those of plugins' files beside them."""
    yield from jobs.list_stored(db)
    for job in jobs.list_ended_ids(db):
        for plugin in artifacts.folders(url, f"{job}/{EXTRA}"):
            where = f"{job}/{EXTRA}/{plugin}"
            if PLUGIN.fullmatch(plugin) and (sha256 := artifacts.seal(url, where)):
                yield Stored(where, sha256, job, is_needed=False)


def _copy_all(
    wanted: list[Stored], source: str, target: str, work: Path, found: Copied, tell: Tell
) -> None:
    """Copy stored folders that the target lacks, verified; count them in `found`.

    `work` is a folder for files that are not verified yet, best on the disk of the target.
    """
    unflushed: list[str] = []
    for number, each in enumerate(wanted):
        tell("copying", number, len(wanted))
        try:
            place = atomic.sibling(work / "new")
            if _copy(each, source, target, place, unflushed):
                found.folders += 1
            else:
                found.present += 1
        except ArtifactError as error:
            if each.is_needed:
                found.damaged[each.owner] = error.message
        if number % FLUSHED == 0:
            artifacts.flush(unflushed)
            unflushed.clear()
    artifacts.flush(unflushed)


def _copy(each: Stored, source: str, target: str, place: Path, unflushed: list[str]) -> bool:
    """Copy one stored folder by way of `place`; return False if it is there already.

    Raises ArtifactError.
    """
    if not all(is_plain(part) for part in (each.where, each.sha256)):
        raise ArtifactError(f"{each.where!a} is no place of files.")
    if artifacts.seal(target, each.where) == each.sha256:
        with contextlib.suppress(ArtifactError):
            if artifacts.is_whole(target, each.where, each.sha256):
                return False
    try:
        artifacts.fetch_stored(source, each.where, each.sha256, place)
        return artifacts.put_stored(place, target, each.where, each.sha256, unflushed)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _is_changed(db: Database, found: Copied) -> bool:
    """Return whether rows of damaged or missing files are gone, or name none any more."""
    named = {each.owner for each in jobs.list_stored(db) if each.is_needed}
    return not set(found.damaged) <= named


def _copy_plugins(source: Path, target: Path) -> dict[str, str]:
    """Copy the sources of one-file plugins; return the sha256 of each by name."""
    found: dict[str, str] = {}
    for name in _sources(source):
        private_folder.make((target / name).parent)
        shutil.copyfile(source / name, target / name)
        found[name] = _sha256(target / name)
    return found


def _sources(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if each != "__pycache__" and each[0] != "."]
        for name in files:
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink() and path.suffix != ".pyc":
                yield str(path.relative_to(folder))


def _prune(store: Path, named: set[str]) -> None:
    """Remove folders of an earlier backup that no row names, and what a killed call has left."""
    parents = {parent for where in named for parent in _parents(where)}
    for path in sorted(store.iterdir()):
        _prune_below(store, path.name, named, parents)


def _prune_below(store: Path, name: str, named: set[str], parents: set[str]) -> None:
    if name in named:
        return
    if name not in parents:
        shutil.rmtree(store / name, ignore_errors=True)
        return
    for path in sorted((store / name).iterdir()):
        _prune_below(store, f"{name}/{path.name}", named, parents)


def _parents(where: str) -> Iterator[str]:
    parts = where.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts)))


def restore(settings: Settings, folder: Path, tell: Tell = lambda *_: None) -> Copied:
    """Restore a backup into a home without jobs.

    Files come first and are verified, the database last: after an interruption there is none, and
    the next call goes on. Running jobs return to the queue when their leases expire.

    Raises UsageError if the home has jobs or the folder is no backup, ZooError if the backup's
    database is damaged.
    """
    if settings.database_url:
        raise UsageError(
            "ZOO_DATABASE_URL is set: a backup of a home is restored into a home.",
            "Unset it; `zoo pack` and `zoo unpack` carry jobs into a team's database.",
        )
    about = _read_about(folder)
    state, target = folder / about.state, settings.home / DATABASE
    private_folder.make(settings.home)
    _check_home(settings, target)
    with _errors(settings.home), workplace(settings) as work:
        file = work / DATABASE
        shutil.copyfile(state / DATABASE, file)
        if _sha256(file) != about.database:
            raise ZooError(f"{state / DATABASE} is not the one that was backed up.")
        jobs.check_database(file)
        with jobs.opened(file) as copy:
            found = Copied(jobs=jobs.count_rows(copy)[0])
            wanted = list(_all_stored(copy, str(folder / ARTIFACTS)))
        _copy_all(wanted, str(folder / ARTIFACTS), settings.artifacts, work, found, tell)
        _restore_plugins(state / PLUGINS, settings.plugins_folder, about, found)
        _check_home(settings, target)
        for suffix in ("-wal", "-shm"):
            target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)
        _replace(file, target)
    return found


def _read_about(folder: Path) -> About:
    try:
        value: Any = read_json(read_regular_file(folder / ABOUT, MOST_ABOUT))
    except (OSError, ValueError, UsageError) as error:
        raise UsageError(f"{folder} is no backup: {reason(error)}.") from None
    newest = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(newest, int) and newest > jobs.SCHEMA:
        raise UsageError(
            f"{folder} was written by Zoo {value.get('zoo')!a}, which is newer.",
            "Upgrade mnist-zoo on this machine.",
        )
    return About.read(value, f"The backup {folder}")


def _check_home(settings: Settings, database: Path) -> None:
    """Raise UsageError if the home has jobs or datasets."""
    if not database.exists():
        return
    db = jobs.connect(f"sqlite:///{database}")
    try:
        has_rows = any(jobs.count_rows(db))
    finally:
        db.close()
    if has_rows:
        raise UsageError(
            f"{settings.home} has jobs or datasets already.",
            "Set ZOO_HOME to a new folder, or move this one away.",
        )


def _restore_plugins(source: Path, target: Path, about: About, found: Copied) -> None:
    for name, sha256 in about.plugins.items():
        if not is_plain(name) or not (source / name).is_file() or _sha256(source / name) != sha256:
            found.damaged[f"plugins/{name}"] = "it is not the one that was backed up"
        elif (target / name).exists():
            if _sha256(target / name) != sha256:
                found.kept.append(name)
        else:
            private_folder.make((target / name).parent)
            atomic.write(target / name, (source / name).read_bytes())
            found.plugins.append(name)


def _replace(file: Path, target: Path) -> None:
    """Put a copy of a file in place of another one, readable by its owner only."""
    temporary = atomic.sibling(target)
    try:
        shutil.copyfile(file, temporary)
        temporary.chmod(0o600)
        atomic.flush([temporary])
        temporary.replace(target)
        atomic.flush([target.parent])
    finally:
        temporary.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    with open_regular_file(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ZooError(f"{place} cannot be written: {reason(error)}.") from None
