"""The files of a job: its artifact's, and the extra ones that plugins have left beside it."""

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
"""What a plugin may leave of one job, all together."""
PART = re.compile(r"\w[\w .+-]{0,99}", re.ASCII)
"""What a plugin's file, a folder of it and the plugin itself may be called (with fullmatch)."""


class File(NamedTuple):
    """One file of a job, as the manifest of its folder tells of it."""

    name: str
    """As people name it: `metrics.json`, or `extra/PLUGIN/NAME`."""
    size: int
    """Bytes."""
    sha256: str
    where: str
    """The folder that it is stored in, below the artifacts URL."""
    path: str
    """In that folder."""
    manifest: str
    """The sha256 of that folder's manifest."""


class Listing(NamedTuple):
    """The files of a job that can be read, and why others cannot."""

    files: list[File]
    """The artifact's first."""
    problems: list[ArtifactError]
    """One for each folder whose manifest is gone, damaged or no regular file."""


def listing(settings: Settings, job: Job) -> Listing:
    """List every file of the job; one folder that cannot be read hides none of the others'."""
    found: list[File] = []
    problems: list[ArtifactError] = []
    folders = [("", str(job.artifact), str(job.artifact_sha256))] if job.artifact else []
    try:
        plugins = artifacts.folders(settings.artifacts, f"{job.id}/{EXTRA}")
    except ArtifactError as error:
        plugins, problems = [], [error]
    # `check` lets no plugin be called otherwise.
    for plugin in filter(PART.fullmatch, plugins):
        where = f"{job.id}/{EXTRA}/{plugin}"
        try:
            # No row holds the sha256 of this manifest: it tells damage, not somebody's change.
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
    """Every file of the job, the artifact's first.

    Raises ArtifactError if a manifest is gone or damaged.
    """
    found, problems = listing(settings, job)
    if problems:
        raise problems[0]
    return found


def read(settings: Settings, file: File) -> bytes:
    """The contents of one file, checked.

    Raises ArtifactError if it is gone or was changed.
    """
    return artifacts.read(settings.artifacts, file.where, file.manifest, file.path)


def named(every: Sequence[File], names: Sequence[str]) -> dict[str, File]:
    """The files of these names, by what a copy is to be called; without names, all.

    The name of a folder stands for the files in it, and as with `cp -r`, what is above a name is
    left out of the copies'. Raises UsageError for a name that is none, and for equal copies.
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
    """Write one file, checked, in place of what is at `target`.

    Raises ArtifactError if it is gone or was changed, ZooError if it cannot be written there.
    """
    write_output(target, read(settings, file), parents=True)


def keep(settings: Settings, job: str, left: Path) -> None:
    """Store the folder that a plugin has left, called as the plugin, in place of an earlier one.

    Raises ArtifactError if the place cannot be written to.
    """
    if any(left.iterdir()):
        where = f"{job}/{EXTRA}/{left.name}"
        artifacts.remove(settings.artifacts, where)
        artifacts.put(left, settings.artifacts, where, {"job": job, "plugin": left.name})


def check(left: Path) -> None:
    """Raise ArtifactError unless what a plugin has left can be kept.

    That is 200 files and 20 MB at most, plain names, no links and other things that are no files.
    """
    names, size = [left.name], 0
    if left.is_symlink():
        raise ArtifactError("It is a link.")
    for count, path in enumerate(left.rglob("*"), 1):
        name = path.relative_to(left)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ArtifactError(f"{str(name)!a} is a link, or no file.")
        if str(name) == artifacts.MANIFEST:
            raise ArtifactError(f"{artifacts.MANIFEST} is the name of what lists the files.")
        names += name.parts
        size += path.stat().st_size if path.is_file() else 0
        if count > MOST_FILES or size > MOST_BYTES:
            raise ArtifactError(f"It is over {MOST_FILES} files or {MOST_BYTES // 2**20} MB.")
    for each in names:
        if not PART.fullmatch(each):
            raise ArtifactError(f"{each!a} is no plain name: letters, digits and . _ + - alone.")


def _listed(settings: Settings, before: str, where: str, sha256: str) -> Iterator[File]:
    entries = artifacts.files(settings.artifacts, where, sha256)
    for name in sorted(entries):
        entry: dict[str, Any] = entries[name]
        yield File(f"{before}{name}", entry["bytes"], entry["sha256"], where, name, sha256)
