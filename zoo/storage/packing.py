"""Carry ended jobs with their rows, files and datasets in one archive into another home or team."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo import atomic, jobs
from zoo.canonical_json import canonical, read_json
from zoo.errors import ArtifactError, UsageError, ZooError
from zoo.job_spec import Record, Sha256
from zoo.jobs import CarriedGroup, CarriedJob, Database, DatasetRow, DatasetVersion
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo.storage.archive import Archive, ArchiveWriter, is_plain, new_archive
from zoo.storage.job_files import EXTRA, PART

Tell = Callable[[str, int, int], None]
"""Called with the activity, and how much of it is done and in total."""
Adopt = Callable[[DatasetVersion, Path | None, float | None], int]
"""Stores a version of a dataset (its row, the folder with its files, when it was removed) and
returns the number that it has here: `zoo.data.added.adopt`."""
JOBS, GROUPS, DATASETS = "jobs.jsonl", "groups.jsonl", "datasets.jsonl"
FILES = "files/"
"""Entries of stored files begin so; the rest is their path below the artifacts URL."""
BATCH = 100
"""Jobs that are read, or committed, together."""
MOST_LINE = 2**26
"""Bytes of the rows of one job, with all of its log, at most."""


class PackedJob(Record):
    """A line of `jobs.jsonl`."""

    rows: CarriedJob
    folders: dict[str, Sha256]
    """Folders with its files, below the artifacts URL, and the sha256 of their manifests."""


class PackedDataset(Record):
    """A line of `datasets.jsonl`."""

    row: DatasetRow
    has_files: bool


@dataclass
class Packed:
    """What was packed."""

    jobs: int = 0
    files: int = 0
    datasets: list[str] = field(default_factory=list)
    bytes: int = 0
    """Of all files and rows, before compression."""
    archive_bytes: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    """Id of a job -> why it is not in the archive."""
    notes: list[str] = field(default_factory=list)


@dataclass
class Unpacked:
    """What was unpacked."""

    added: int = 0
    present: int = 0
    """Jobs that were there already, with the same content."""
    files: int = 0
    bytes: int = 0
    datasets: dict[str, str] = field(default_factory=dict)
    """Version in the archive -> version here."""


def pack(
    db: Database,
    settings: Settings,
    file: Path | None,
    job_ids: Sequence[str],
    tell: Tell = lambda *_: None,
) -> Packed:
    """Write ended jobs into a new archive; without `file`, only say what it would hold.

    Jobs that have not ended, whose rows are invalid or whose files are missing or damaged are left
    out. Raises UsageError if there is nothing to pack, ZooError if the archive cannot be written.
    """
    ended, others = jobs.split_ended(db, job_ids)
    found = Packed(left_out=dict.fromkeys(others, "it has not ended"))
    if not ended:
        raise UsageError("None of these jobs has ended: there is nothing to pack.")
    with contextlib.ExitStack() as stack:
        writer = None if file is None else stack.enter_context(new_archive(file))
        packer = _Packer(db, settings.artifacts, stack.enter_context(workplace(settings)), writer)
        packer.pack(ended, found, tell)
        if writer:
            writer.finish(jobs=found.jobs, schema_version=jobs.SCHEMA)
    found.archive_bytes = file.stat().st_size if file else 0
    return found


class _Packer:
    def __init__(self, db: Database, url: str, work: Path, writer: ArchiveWriter | None) -> None:
        self.db, self.url, self.work, self.writer = db, url, work, writer
        self.members: Counter[str] = Counter()
        self.versions: set[tuple[str, int]] = set()

    def pack(self, job_ids: Sequence[str], found: Packed, tell: Tell) -> None:
        rows = self.work / JOBS
        with rows.open("wb") as lines:
            for start in range(0, len(job_ids), BATCH):
                some = job_ids[start : start + BATCH]
                carried = jobs.read_carried(self.db, some)
                for number, job_id in enumerate(some, start):
                    tell("packing", number, len(job_ids))
                    if line := self._pack_job(job_id, carried.get(job_id), found):
                        lines.write(line)
        found.bytes += rows.stat().st_size
        self._pack_datasets(found)
        groups = jobs.read_groups(self.db, self.members)
        if partial := sum(group.members > self.members[group.id] for group in groups):
            found.notes.append(
                f"{partial} groups are packed in part: they have no mean until the rest follows."
                if partial > 1
                else "1 group is packed in part: it has no mean until the rest follows."
            )
        if self.writer:
            self.writer.add(GROUPS, [_line(group.model_dump()) for group in groups], 0)
            self.writer.add_file(JOBS, rows)

    def _pack_job(
        self, job_id: str, carried: CarriedJob | UsageError | None, found: Packed
    ) -> bytes | None:
        """Add the files of a job to the archive; return its line, None if it is left out."""
        if not isinstance(carried, CarriedJob):
            found.left_out[job_id] = (
                carried.message.rstrip(".") if carried else "it was removed meanwhile"
            )
            return None
        place = atomic.sibling(self.work / "job")
        try:
            folders = self._folders(carried)
            line = _line(PackedJob(rows=carried, folders=folders).model_dump())
            if len(line) > MOST_LINE:
                raise ArtifactError(f"its rows take more than {MOST_LINE} bytes")
            names = [each for where in folders.items() for each in self._fetch(place, *where)]
        except ArtifactError as error:
            found.left_out[job_id] = error.message.rstrip(".")
            return None
        else:
            self._add_files(place, names, found)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        found.jobs += 1
        if carried.job.group_id:
            self.members[carried.job.group_id] += 1
        if carried.job.dataset_version:
            self.versions.add((carried.job.dataset, carried.job.dataset_version))
        return line

    def _folders(self, carried: CarriedJob) -> dict[str, str]:
        """Return the folders with files of a job, and the sha256 of their manifests."""
        job, found = carried.job, {}
        if job.artifact and job.artifact_sha256:
            found[job.artifact] = job.artifact_sha256
        if (saved := job.checkpoint_seal) and artifacts.seal(self.url, saved[0]) == saved[1]:
            found[saved[0]] = saved[1]
        for plugin in artifacts.folders(self.url, f"{job.id}/{EXTRA}"):
            where = f"{job.id}/{EXTRA}/{plugin}"
            if PART.fullmatch(plugin) and (sha256 := artifacts.seal(self.url, where)):
                found[where] = sha256
        return found

    def _fetch(self, place: Path, where: str, sha256: str) -> list[str]:
        """Copy a stored folder; without an archive only find its files and their sizes."""
        names = artifacts.fetch_stored(self.url, where, sha256, place / where)
        if odd := [name for name in names if not is_plain(f"{FILES}{where}/{name}")]:
            raise ArtifactError(f"its file {odd[0]!a} has no plain name")
        return [f"{where}/{name}" for name in names]

    def _add_files(self, place: Path, names: Sequence[str], found: Packed) -> None:
        for name in names:
            path = place / name
            found.bytes += path.stat().st_size
            found.files += 1
            if self.writer:
                self.writer.add_file(f"{FILES}{name}", path)

    def _pack_datasets(self, found: Packed) -> None:
        lines, fetched = [], set()
        for row in jobs.read_dataset_rows(self.db, self.versions):
            label, place = f"{row.name}@{row.version}", atomic.sibling(self.work / "dataset")
            has_files = row.removed_at is None
            if has_files and row.artifact not in fetched:
                names = self._fetch(place, row.artifact, row.artifact_sha256)
                self._add_files(place, names, found)
                shutil.rmtree(place, ignore_errors=True)
                fetched.add(row.artifact)
            elif not has_files:
                found.notes.append(f"The contents of {label} were removed: only its row is packed.")
            found.datasets.append(label)
            lines.append(_line({"row": row.model_dump(), "has_files": has_files}))
        if self.writer:
            self.writer.add(DATASETS, lines, 0)


def unpack(
    db: Database,
    settings: Settings,
    file: Path,
    adopt: Adopt,
    *,
    dry_run: bool = False,
    tell: Tell = lambda *_: None,
) -> Unpacked:
    """Add the jobs of an archive; those that are there with the same content are left as they are.

    First the whole archive is read, and checked against its manifest and the database. Then files
    are stored and rows committed, `BATCH` jobs at a time, so that an interrupted call leaves whole
    jobs and the next one adds the others.

    Raises UsageError for a job that is there with other content, ArtifactError if the archive is
    damaged or forged, ZooError if there is not enough space.
    """
    with (
        Archive(file, schema_version=jobs.SCHEMA) as archive,
        workplace(settings) as work,
    ):
        unpacker = _Unpacker(db, settings, archive, work)
        unpacker.check(tell)
        if dry_run:
            return unpacker.planned()
        return unpacker.unpack(adopt, tell)


class _Unpacker:
    def __init__(self, db: Database, settings: Settings, archive: Archive, work: Path) -> None:
        self.db, self.settings, self.archive, self.work = db, settings, archive, work
        self.url = settings.artifacts
        self.groups = {
            group.id: group
            for group in (
                CarriedGroup.read(read_json(line), f"A group of {archive.name}")
                for line in archive.lines(GROUPS, MOST_LINE)
            )
        }
        self.datasets = [
            PackedDataset.read(read_json(line), f"A dataset of {archive.name}")
            for line in archive.lines(DATASETS, MOST_LINE)
        ]
        self.versions = {_key(each.row): self._version_here(each.row) for each in self.datasets}
        self.files: dict[str, list[str]] = {}
        """Folder -> the names of its files."""
        for name in archive.manifest.entries:
            if name.startswith(FILES):
                folder, inside = _split(name.removeprefix(FILES))
                if not inside:
                    raise self._refused(f"has the entry {name!a}, which is no file of a folder")
                self.files.setdefault(folder, []).append(inside)
        self.present: set[str] = set()

    def _version_here(self, row: DatasetRow) -> int:
        return jobs.carried_version(self.db, _to_version(row))

    def check(self, tell: Tell) -> None:
        """Read and check everything; nothing is written."""
        self._check_space()
        total, claimed = self.archive.manifest.bytes, set()
        count, done = 0, 0
        for some in self._batches():
            count += len(some)
            self.present |= jobs.find_present(self.db, [each.rows for each in some])
            claimed |= {folder for each in some for folder in each.folders}
        if count != self.archive.manifest.jobs:
            raise self._refused("has another number of jobs than its manifest says")
        if any(each.has_files != (each.row.removed_at is None) for each in self.datasets):
            raise self._refused("lacks the contents of a dataset")
        claimed |= {each.row.artifact for each in self.datasets if each.has_files}
        if claimed != set(self.files):
            raise self._refused("has files of no job, or lacks files of one")
        for name, entry in self.archive.manifest.entries.items():
            tell("checking", done, total)
            self.archive.check(name)
            done += entry.bytes

    def _check_space(self) -> None:
        place = Path(self.url) if "://" not in self.url else self.work
        while not place.exists():
            place = place.parent
        free = min(shutil.disk_usage(each).free for each in (place, self.work))
        needed = self.archive.manifest.bytes + self.settings.free_mb * 2**20
        if needed > free:
            raise ZooError(
                f"{self.archive.name} needs {needed // 2**20:,} MB, and only "
                f"{free // 2**20:,} MB are free at {place}."
            )

    def _batches(self) -> Iterator[list[PackedJob]]:
        """Yield the jobs of the archive, each with the version of its dataset in this database."""
        seen: set[str] = set()
        some: list[PackedJob] = []
        for line in self.archive.lines(JOBS, MOST_LINE):
            packed = PackedJob.read(read_json(line), f"A job of {self.archive.name}")
            job = packed.rows.checked().job
            if job.id in seen:
                raise self._refused(f"has the job {job.id} twice")
            seen.add(job.id)
            self._check_job(packed)
            some.append(packed.model_copy(update={"rows": self._here(packed.rows)}))
            if len(some) == BATCH:
                yield some
                some = []
        if some:
            yield some

    def _check_job(self, packed: PackedJob) -> None:
        job, limit = packed.rows.job, self.settings.artifact_mb
        if job.group_id and job.group_id not in self.groups:
            raise self._refused(f"lacks the group of the job {job.id}")
        if job.dataset_version and (job.dataset, job.dataset_version) not in self.versions:
            raise self._refused(f"lacks the dataset of the job {job.id}")
        own = {job.artifact: job.artifact_sha256} if job.artifact else {}
        if saved := job.checkpoint_seal:
            own |= {saved[0]: saved[1]}
        for folder, sha256 in packed.folders.items():
            before, _, plugin = folder.rpartition("/")
            is_extra = before == f"{job.id}/{EXTRA}" and PART.fullmatch(plugin)
            if own.get(folder) != sha256 and not is_extra:
                raise self._refused(f"has files of {folder!a}, which are not of the job {job.id}")
            entries = self.archive.manifest.entries
            seal = entries.get(f"{FILES}{folder}/{artifacts.MANIFEST}")
            if seal is None or seal.sha256 != sha256:
                raise self._refused(f"has other files in {folder!a} than the job {job.id} says")
            size = sum(entries[f"{FILES}{folder}/{n}"].bytes for n in self.files.get(folder, ()))
            if size > limit * 2**20:
                raise UsageError(
                    f"The files of the job {job.id} take more than {limit} MB.",
                    "Raise ZOO_ARTIFACT_MB to take them.",
                )
        if job.artifact and job.artifact not in packed.folders:
            raise self._refused(f"lacks the files of the job {job.id}")

    def _here(self, carried: CarriedJob) -> CarriedJob:
        version = carried.job.dataset_version
        here = self.versions.get((carried.job.dataset, version)) if version else None
        return carried if here in (None, version) else carried.on_version(int(here or 0))

    def planned(self) -> Unpacked:
        """Return what `unpack` would do."""
        found = Unpacked(
            added=self.archive.manifest.jobs - len(self.present),
            present=len(self.present),
            files=sum(map(len, self.files.values())),
            bytes=self.archive.manifest.bytes,
        )
        for each in self.datasets:
            found.datasets[_label(each.row)] = f"{each.row.name}@{self.versions[_key(each.row)]}"
        return found

    def unpack(self, adopt: Adopt, tell: Tell) -> Unpacked:
        found = Unpacked()
        for dataset in self.datasets:
            here = self._adopt(dataset, adopt)
            self.versions[_key(dataset.row)] = here
            found.datasets[_label(dataset.row)] = f"{dataset.row.name}@{here}"
        earlier: set[str] = set()
        for some in self._batches():
            tell("unpacking", len(earlier), self.archive.manifest.jobs)
            missing = [each for each in some if each.rows.id not in self.present]
            unflushed: list[str] = []
            for each in missing:
                self._store(each, found, unflushed)
            artifacts.flush(unflushed)
            carried = [each.rows for each in some]
            stored = {each.rows.id for each in missing}
            new = jobs.insert_carried(self.db, carried, self.groups, stored=stored, earlier=earlier)
            found.added += len(new)
            found.present += len(some) - len(new)
            earlier |= {each.rows.id for each in some}
        return found

    def _adopt(self, packed: PackedDataset, adopt: Adopt) -> int:
        row, place = packed.row, self.work / "dataset"
        if packed.has_files:
            self._extract(row.artifact, place)
        try:
            version = _to_version(row)
            return adopt(version, place if packed.has_files else None, row.removed_at)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _store(self, packed: PackedJob, found: Unpacked, unflushed: list[str]) -> None:
        for number, (folder, sha256) in enumerate(packed.folders.items()):
            place = self.work / f"{packed.rows.id}-{number}"
            self._extract(folder, place)
            found.files += len(self.files[folder])
            found.bytes += sum(
                self.archive.manifest.entries[f"{FILES}{folder}/{name}"].bytes
                for name in self.files[folder]
            )
            artifacts.put_stored(place, self.url, folder, sha256, unflushed)
            shutil.rmtree(place, ignore_errors=True)

    def _extract(self, folder: str, place: Path) -> None:
        for name in self.files[folder]:
            self.archive.extract(f"{FILES}{folder}/{name}", place / name)

    def _refused(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self.archive.name} {what}.", "Pack it again.")


def _split(name: str) -> tuple[str, str]:
    """Split the path of a stored file into that of its artifact and the name within it."""
    parts = name.split("/")
    depth = 3 if len(parts) > 3 and parts[1] in (EXTRA, "checkpoints") else 2
    return "/".join(parts[:depth]), "/".join(parts[depth:])


def _key(row: DatasetRow) -> tuple[str, int]:
    return row.name, row.version


def _label(row: DatasetRow) -> str:
    return f"{row.name}@{row.version}"


def _to_version(row: DatasetRow) -> DatasetVersion:
    values = row.model_dump(exclude={"removed_at"})
    return DatasetVersion(**values | {n: read_json(values[n]) for n in ("meta", "recipe")})


def _line(value: Mapping[str, object]) -> bytes:
    return canonical(value).encode() + b"\n"


@contextlib.contextmanager
def workplace(settings: Settings) -> Iterator[Path]:
    """Make an empty folder in the cache; one that a killed process leaves is swept there."""
    base = settings.cache / "carried"
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
