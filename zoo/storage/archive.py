"""Archives of jobs: a ZIP file whose manifest has size and sha256 of every entry.

An archive is untrusted input: sizes and hashes are those of the manifest or it is refused, names
stay below the folder that entries are extracted into, and links are never created.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, Literal, Self

from pydantic import Field

from zoo import __version__, atomic
from zoo.canonical_json import canonical, read_json
from zoo.errors import ArtifactError, UsageError, ZooError, reason
from zoo.job_spec import Record, Sha256
from zoo.regular_file import open_regular_file

FORMAT = "zoo-jobs"
VERSION = 1
MANIFEST = "manifest.json"
MOST_MANIFEST = 256 * 2**20
PART = 2**20
"""Size of one read, in bytes."""
COMPRESSED = {
    *(".npz", ".gz", ".zip", ".keras", ".skops", ".zst", ".xz", ".bz2"),
    *(".png", ".jpg", ".jpeg", ".webp", ".parquet"),
}
"""Suffixes of files that are compressed already: they are stored as they are."""
MOST_NAME = 1024
"""Characters of the name of an entry, at most."""
FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""The time of every entry: it says nothing, and equal jobs make equal archives."""


class Entry(Record):
    """Size in bytes and hash of one entry."""

    bytes: Annotated[int, Field(ge=0, lt=2**63)]
    sha256: Sha256


class Manifest(Record):
    """What an archive holds."""

    format: Literal["zoo-jobs"]
    v: Literal[1]
    schema_version: Annotated[int, Field(ge=1)]
    """The number of the newest migration of the database that the rows come from."""
    zoo: str
    """Version of the program that wrote it."""
    jobs: Annotated[int, Field(ge=0)]
    entries: dict[str, Entry]

    @property
    def bytes(self) -> int:
        """Total size of the entries once extracted."""
        return sum(entry.bytes for entry in self.entries.values())


class ArchiveWriter:
    """Writes a new archive; use `new_archive`."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(stream, "w", allowZip64=True)
        self._entries: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def add(self, name: str, parts: Iterable[bytes], size: int) -> None:
        """Add an entry; `size` is about that of all parts, in bytes."""
        info = zipfile.ZipInfo(name, FIXED_TIME)
        is_stored = PurePosixPath(name).suffix.lower() in COMPRESSED
        info.compress_type = zipfile.ZIP_STORED if is_stored else zipfile.ZIP_DEFLATED
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        digest, written = hashlib.sha256(), 0
        with self._zip.open(info, "w", force_zip64=size >= 2**31 - 1) as entry:
            for part in parts:
                entry.write(part)
                digest.update(part)
                written += len(part)
        self._entries[name] = {"bytes": written, "sha256": digest.hexdigest()}

    def add_file(self, name: str, path: Path) -> None:
        """Add a regular file."""
        with open_regular_file(path) as file:
            self.add(name, iter(lambda: file.read(PART), b""), path.stat().st_size)

    def finish(self, *, jobs: int, schema_version: int) -> Manifest:
        """Write the manifest, and close the archive."""
        values = {"format": FORMAT, "v": VERSION, "schema_version": schema_version}
        values |= {"zoo": __version__, "jobs": jobs, "entries": self._entries}
        content = canonical(values).encode()
        with self._zip.open(zipfile.ZipInfo(MANIFEST, FIXED_TIME), "w") as entry:
            entry.write(content)
        self.close()
        return Manifest.read(values, "The manifest")

    def close(self) -> None:
        """Write the directory of the archive, unless that was done."""
        self._zip.close()


@contextlib.contextmanager
def new_archive(file: Path) -> Iterator[ArchiveWriter]:
    """Open a new archive, which appears as `file` once the block has ended without an error.

    Raises ZooError if it cannot be written.
    """
    temporary = atomic.sibling(file)
    try:
        with temporary.open("xb") as stream, contextlib.closing(ArchiveWriter(stream)) as writer:
            yield writer
        atomic.flush([temporary])
        temporary.replace(file)
        atomic.flush([file.parent])
    except OSError as error:
        raise ZooError(f"{file} cannot be written: {reason(error)}.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


class Archive:
    """An archive that is read; use it as a context manager.

    Every method raises ArtifactError for an archive that is damaged or forged.
    """

    def __init__(self, file: Path, *, schema_version: int) -> None:
        """Open an archive and check its directory and its manifest; entries are not read.

        Raises UsageError if a newer program has written it than one of `schema_version`.
        """
        self.name = str(file)
        with self._errors(), contextlib.ExitStack() as stack:
            stream = stack.enter_context(open_regular_file(file))
            size = stream.seek(0, 2)
            self._zip = stack.enter_context(zipfile.ZipFile(stream))
            self._infos = self._read_directory(size)
            self.manifest = self._read_manifest(schema_version)
            self._check_entries()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _read_directory(self, size: int) -> Mapping[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        found = {info.filename: info for info in infos}
        # Entries that overlap: a bomb whose parts are read many times.
        if len(found) != len(infos) or sum(info.compress_size for info in infos) > size:
            raise self._refused("has entries that overlap, or the same one twice")
        for name, info in found.items():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG) or info.is_dir():
                raise self._refused(f"has the entry {name!a}, which is no regular file")
            if info.flag_bits & 1 or info.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise self._refused(f"has the entry {name!a}, which is encrypted or packed oddly")
            if not is_plain(name):
                raise self._refused(f"has an entry with the name {name!a}, which leads out of it")
        return found

    def _read_manifest(self, schema_version: int) -> Manifest:
        if MANIFEST not in self._infos:
            raise self._refused("is no archive of jobs")
        value = read_json(b"".join(self._parts(MANIFEST, MOST_MANIFEST)))
        known = value if isinstance(value, dict) else {}
        if known.get("format") != FORMAT:
            raise self._refused("is no archive of jobs")
        newest = known.get("v"), known.get("schema_version")
        if not all(
            isinstance(n, int) and n <= most
            for n, most in zip(newest, (VERSION, schema_version), strict=True)
        ):
            raise UsageError(
                f"{self.name} was written by Zoo {known.get('zoo')!a}, which is newer.",
                "Upgrade mnist-zoo on this machine.",
            )
        return Manifest.read(value, f"The manifest of {self.name}")

    def _check_entries(self) -> None:
        if self.manifest.entries.keys() != self._infos.keys() - {MANIFEST}:
            raise self._refused("has other entries than its manifest says")
        for name, entry in self.manifest.entries.items():
            if self._infos[name].file_size != entry.bytes:
                raise self._refused(f"has the entry {name!a} with another size than it says")

    def read(self, name: str) -> Iterator[bytes]:
        """Yield an entry in chunks; verify its size and hash after the last one."""
        entry = self.manifest.entries.get(name)
        if entry is None:
            raise self._refused(f"has no entry {name!a}")
        digest, size = hashlib.sha256(), 0
        for part in self._parts(name, entry.bytes):
            digest.update(part)
            size += len(part)
            yield part
        if size != entry.bytes or digest.hexdigest() != entry.sha256:
            raise self._refused(f"has the entry {name!a}, which is damaged or forged")

    def lines(self, name: str, most: int) -> Iterator[bytes]:
        """Yield the lines of an entry, each of at most `most` bytes."""
        begun: list[bytes] = []
        for part in self.read(name):
            for line in io.BytesIO(part):
                begun.append(line)
                if sum(map(len, begun)) > most:
                    raise self._refused(f"has a line of more than {most} bytes in {name!a}")
                if line.endswith(b"\n"):
                    yield b"".join(begun)
                    begun = []
        if any(begun):
            raise self._refused(f"has an unfinished line in {name!a}")

    def extract(self, name: str, target: Path) -> None:
        """Write an entry into a new file; missing folders are made."""
        with self._errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                for part in self.read(name):
                    file.write(part)

    def check(self, name: str) -> None:
        """Read an entry to its end."""
        for _ in self.read(name):
            pass

    def _parts(self, name: str, most: int) -> Iterator[bytes]:
        left = most
        with self._errors(), self._zip.open(self._infos[name]) as stream:
            while part := stream.read(min(PART, left + 1)):
                left -= len(part)
                if left < 0:
                    raise self._refused(f"has the entry {name!a}, which is larger than it says")
                yield part

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            raise self._refused(f"is damaged or no archive: {reason(error)}") from None
        except OSError as error:
            raise ArtifactError(f"{self.name} cannot be unpacked: {reason(error)}.") from None

    def _refused(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self.name} {what}.", "Nothing of it can be trusted: pack it again.")


def is_plain(name: str) -> bool:
    """Return whether the name of an entry stays in the folder that it is extracted into."""
    parts = name.split("/")
    return (
        len(name) <= MOST_NAME
        and all(0 < len(part.encode(errors="replace")) < 256 for part in parts)
        and not any(part in (".", "..") for part in parts)
        and "\\" not in name
        and name.isprintable()
    )
