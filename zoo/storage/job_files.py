"""The files of a job: those of its artifact, and extra files that plugins have stored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.errors import ArtifactError, UsageError, unknown
from zoo.storage import artifacts
from zoo.storage.output_file import write_output

if TYPE_CHECKING:
    from zoo.jobs import Job
    from zoo.settings import Settings

EXTRA = "extra"
"""Extra files are at `<job>/extra/<plugin>/` below the artifacts URL."""
MOST_FILES = 200
MOST_BYTES = 20 * 2**20
"""Limits for the files that a plugin stores for one job."""
PART = re.compile(r"\w[\w .+-]{0,99}", re.ASCII)
"""Allowed names of plugins, their files and folders (with fullmatch)."""


class File(NamedTuple):
    """One file of a job, as listed in the manifest of its folder."""

    name: str
    """Name for users: `metrics.json`, or `extra/PLUGIN/NAME`."""
    size: int
    """Bytes."""
    sha256: str
    where: str
    """Its folder, relative to the artifacts URL."""
    path: str
    """Path in that folder."""
    manifest: str
    """The sha256 of that folder's manifest."""


class Listing(NamedTuple):
    """The readable files of a job, and the errors of the others."""

    files: list[File]
    """Files of the artifact first."""
    problems: list[ArtifactError]
    """One for each folder whose manifest is missing, damaged or not a regular file."""


def listing(settings: Settings, job: Job) -> Listing:
    """List every file of the job; an unreadable folder does not hide the others."""
    found: list[File] = []
    problems: list[ArtifactError] = []
    if job.removal_note:
        return Listing([], [ArtifactError(job.removal_note)])
    folders = [("", str(job.artifact), str(job.artifact_sha256))] if job.artifact else []
    try:
        plugins = artifacts.folders(settings.artifacts, f"{job.id}/{EXTRA}")
    except ArtifactError as error:
        plugins, problems = [], [error]
    # `check` rejects other names.
    for plugin in filter(PART.fullmatch, plugins):
        where = f"{job.id}/{EXTRA}/{plugin}"
        try:
            # The sha256 of this manifest is not in the database: it detects damage, not tampering.
            sha256 = artifacts.seal(settings.artifacts, where)
        except ArtifactError as error:
            problems.append(error)
            continue
        folders += [(f"{EXTRA}/{plugin}/", where, sha256)] if sha256 else []
    for before, where, sha256 in folders:
        try:
            found += _listed(settings, before, where, sha256)
        except ArtifactError as error:
            problems.append(error)
    return Listing(found, problems)


def of(settings: Settings, job: Job) -> list[File]:
    """Return every file of the job, those of the artifact first.

    Raises ArtifactError if a manifest is missing or damaged.
    """
    found, problems = listing(settings, job)
    if problems:
        raise problems[0]
    return found


def read(settings: Settings, file: File) -> bytes:
    """Return the verified contents of one file.

    Raises ArtifactError if it is missing or was changed.
    """
    return artifacts.read(settings.artifacts, file.where, file.manifest, file.path)


def named(every: Sequence[File], names: Sequence[str]) -> dict[str, File]:
    """Return the files with these names, by the path of their copy; without names, all files.

    The name of a folder selects all files in it. As with `cp -r`, the path of a copy begins with
    the last part of the name. Raises UsageError for an unknown name, or two copies with one path.
    """
    if not names:
        return {file.name: file for file in every}
    found: dict[str, File] = {}
    for name in (PurePosixPath(each) for each in names):
        inside = [f for f in every if name in (p := PurePosixPath(f.name), *p.parents)]
        if not inside:
            raise unknown("file of the job", str(name), [f.name for f in every], "zoo files")
        for file in inside:
            copy = str(PurePosixPath(file.name).relative_to(name.parent))
            if found.setdefault(copy, file) is not file:
                raise UsageError(
                    f"{found[copy].name} and {file.name} would both be copied as {copy}.",
                    "Copy them one after the other.",
                )
    return found


def copy(settings: Settings, file: File, target: Path) -> None:
    """Write the verified contents of one file to `target`, replacing an existing file.

    Raises ArtifactError if it is missing or was changed, ZooError if it cannot be written.
    """
    write_output(target, read(settings, file), parents=True)


def keep(settings: Settings, job: str, left: Path) -> None:
    """Store a plugin's folder, which has the plugin's name, replacing an earlier one.

    Raises ArtifactError if the store cannot be written to.
    """
    if any(left.iterdir()):
        where = f"{job}/{EXTRA}/{left.name}"
        artifacts.remove(settings.artifacts, where)
        artifacts.put(left, settings.artifacts, where, {"job": job, "plugin": left.name})


def check(left: Path) -> None:
    """Raise ArtifactError unless a plugin's folder can be stored.

    The limits are 200 files and 20 MB, plain names, and regular files and folders only.
    """
    names, size = [left.name], 0
    if left.is_symlink():
        raise ArtifactError("It is a link.")
    for count, path in enumerate(left.rglob("*"), 1):
        name = path.relative_to(left)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ArtifactError(f"{str(name)!a} is a link or not a regular file.")
        if str(name) == artifacts.MANIFEST:
            raise ArtifactError(f"{artifacts.MANIFEST} is reserved for the list of files.")
        names += name.parts
        size += path.stat().st_size if path.is_file() else 0
        if count > MOST_FILES or size > MOST_BYTES:
            raise ArtifactError(f"It has more than {MOST_FILES} files or {MOST_BYTES // 2**20} MB.")
    for each in names:
        if not PART.fullmatch(each):
            raise ArtifactError(f"{each!a} is not a plain name (letters, digits and . _ + -).")


def _listed(settings: Settings, before: str, where: str, sha256: str) -> Iterator[File]:
    entries = artifacts.files(settings.artifacts, where, sha256)
    for name in sorted(entries):
        entry: dict[str, Any] = entries[name]
        yield File(f"{before}{name}", entry["bytes"], entry["sha256"], where, name, sha256)
