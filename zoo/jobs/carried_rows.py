"""Rows of ended jobs on their way into another database: read, checked and inserted.

The same records check a row when it leaves and when it arrives: an archive is untrusted input.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from zoo.canonical_json import canonical, read_json
from zoo.errors import UsageError
from zoo.job_spec import JobId, JobSpec, Name, Record, Sha256
from zoo.jobs.database import Database, Row, RowRefused, Transaction, among, slices
from zoo.jobs.metric_rows import MAX_NAME
from zoo.jobs.queue_options import MOST_URGENT
from zoo.jobs.ranking import rank_group
from zoo.jobs.transitions import CHECKPOINTS


def _without_nul(text: str) -> str:
    return text.replace("\0", "")  # PostgreSQL stores none


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("it contains NUL")
    return text


def _read(text: str) -> Any:
    try:
        return read_json(text)
    except UsageError as error:
        raise ValueError(error.message) from None


def _json_object(text: str) -> str:
    if not isinstance(_read(text), dict):
        raise ValueError("it is not a JSON object")
    return text


def _json_texts(text: str) -> str:
    found = _read(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError("it is not a list of texts in JSON")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has control characters")
    return text


Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""What an INTEGER of PostgreSQL holds."""
Count = Annotated[int, Field(ge=0, lt=2**31)]
Flag = Annotated[int, Field(ge=0, le=1)]
Word = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_storable)]
Text = Annotated[str, Field(max_length=2**24), AfterValidator(_without_nul)]
JsonObject = Annotated[str, Field(max_length=2**24), AfterValidator(_json_object)]
JsonTexts = Annotated[str, Field(max_length=2**20), AfterValidator(_json_texts)]
DatasetFolder = Annotated[str, Field(pattern=r"^datasets/[0-9a-f]{64}$")]


class AttemptRow(Record):
    """A row of the table `attempt`, without the id of its job."""

    n: Annotated[int, Field(ge=1, lt=2**31)]
    worker: Text
    plugin: Text | None
    started_at: float
    ended_at: float | None
    outcome: Text | None
    error: Text | None
    error_code: Text | None
    environment: JsonObject | None
    counts: Flag
    resumed_from: JsonObject | None


class StepRow(Record):
    """A row of the table `history`, without the id of its job."""

    attempt: Count
    step: Whole
    metrics: JsonObject
    at: float | None = None


class LogRow(Record):
    """A row of the table `log`, without the id of its job."""

    attempt: Count
    start: Count
    text: Text


class MetricRow(Record):
    """A row of the table `metric`, without the id of its job."""

    name: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_printable)]
    value: float


class RungRow(Record):
    """A row of the table `rung`, without the ids of its job and group."""

    rung: Count
    resource: Count
    value: float | None
    promoted: Flag
    arrival: Whole | None
    at: float


class DependencyRow(Record):
    """A row of the table `dependency`, without the id of its job."""

    needs_id: JobId
    any_end: Flag


class GroupRow(Record):
    """A row of the table `job_group`."""

    id: JobId
    kind: Literal["cv", "seeds", "sweep"]
    created_at: float
    about: JsonObject
    max_parallel: Annotated[int, Field(ge=1, lt=2**31)] | None
    pruner: JsonObject | None
    accuracy: float | None
    dataset: Word | None
    model: Name | None
    contents: Word | None


class CarriedGroup(GroupRow):
    """A group, of which perhaps only some jobs are carried; then its mean is left out."""

    members: Count
    """Number of its jobs in the database that it comes from."""


class DatasetRow(Record):
    """A row of the table `dataset`."""

    name: Name
    version: Annotated[int, Field(ge=1, lt=2**31)]
    fingerprint: Sha256
    meta: JsonObject
    recipe: JsonObject
    artifact: DatasetFolder
    artifact_sha256: Sha256
    bytes: Annotated[int, Field(ge=0, lt=2**63)]
    created_at: float
    removed_at: float | None


class JobRow(Record):
    """A row of the table `job`; it has ended, so nobody holds a lease of it."""

    id: JobId
    kind: Literal["train", "evaluate"]
    model: Name
    dataset: Word
    pool: Word
    priority: Annotated[int, Field(ge=-MOST_URGENT, le=MOST_URGENT)]
    group_id: JobId | None
    tags: JsonTexts
    spec_version: Literal[1, 2]
    spec: str
    status: Literal["succeeded", "failed", "timed_out", "cancelled", "lost", "pruned"]
    attempt: Count
    max_attempts: Count
    worker: Text | None
    cancel_requested: Flag
    not_before: float
    dispatched_at: float
    progress: JsonObject | None
    metrics: JsonObject | None
    artifact: str | None
    artifact_sha256: Sha256 | None
    error_code: Text | None
    error: Text | None
    retry_of: JobId | None
    idem_key: Text | None
    created_at: float
    started_at: float | None
    fit_started_at: float | None
    finished_at: float
    held: Flag
    blockers: Count
    parked: Flag
    accuracy: float | None
    ranked: Flag
    fingerprint: Sha256 | None
    contents: Word | None
    beat_at: float | None
    dataset_version: Annotated[int, Field(ge=1, lt=2**31)] | None
    stop_requested: Flag
    checkpoint: JsonObject | None
    resumed_from: JsonObject | None
    device: Literal["gpu"] | None
    pruner: Word | None
    pause_at: Whole | None
    paused: Flag
    submitted_by: Text | None
    name: Text | None
    note: Text | None
    pinned: Flag
    files_removed_at: float | None
    artifact_bytes: Annotated[int, Field(ge=0, lt=2**63)] | None

    @property
    def checkpoint_seal(self) -> tuple[str, str] | None:
        """Where its own checkpoint is, below the artifacts URL, and the sha256 of its manifest."""
        found = read_json(self.checkpoint) if self.checkpoint else {}
        where, sha256 = found.get("where"), found.get("sha256")
        is_own = isinstance(where, str) and re.fullmatch(
            rf"{self.id}/{CHECKPOINTS}/[\w.-]{{1,100}}", where, re.ASCII
        )
        is_sealed = isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)
        return (str(where), str(sha256)) if is_own and is_sealed else None


class CarriedJob(Record):
    """An ended job with all rows that belong to it."""

    job: JobRow
    attempts: list[AttemptRow]
    history: list[StepRow]
    log: list[LogRow]
    metrics: list[MetricRow]
    rungs: list[RungRow]
    needs: list[DependencyRow]

    @property
    def id(self) -> str:
        return self.job.id

    def checked(self) -> Self:
        """Return the job; raises UsageError if its spec is invalid or contradicts its row."""
        job, what = self.job, f"The job {self.job.id} is refused"
        try:
            spec = JobSpec.parse(job.spec)
        except UsageError as error:
            raise UsageError(f"{what}: {error.message}") from None
        named = (spec.kind, spec.model, spec.dataset, spec.version, spec.device)
        if named != (job.kind, job.model, job.dataset, job.dataset_version, job.device):
            raise UsageError(f"{what}: its row and its spec contradict each other.")
        has_files = job.status == "succeeded" and job.files_removed_at is None
        if has_files != (job.artifact is not None) or has_files != bool(job.artifact_sha256):
            raise UsageError(f"{what}: a job has files if and only if it has succeeded.")
        if job.artifact is not None and not re.fullmatch(rf"{job.id}/\d{{1,9}}", job.artifact):
            raise UsageError(f"{what}: {job.artifact!a} is no folder of its own.")
        if job.attempt > job.max_attempts or any(each.n > job.attempt for each in self.attempts):
            raise UsageError(f"{what}: it has more attempts than it may have.")
        if self.rungs and not job.group_id:
            raise UsageError(f"{what}: it has rungs, but no group.")
        if any(each.needs_id == job.id for each in self.needs):
            raise UsageError(f"{what}: it depends on itself.")
        return self

    def on_version(self, version: int) -> CarriedJob:
        """Return the job as one on another version of its dataset, with the same contents."""
        spec = canonical(read_json(self.job.spec) | {"version": version})
        job = self.job.model_copy(update={"dataset_version": version, "spec": spec})
        return self.model_copy(update={"job": job})


CHILDREN: Mapping[str, tuple[str, type[Record], str]] = {
    "attempts": ("attempt", AttemptRow, "n"),
    "history": ("history", StepRow, "attempt, step"),
    "log": ("log", LogRow, "attempt, start"),
    "metrics": ("metric", MetricRow, "name"),
    "rungs": ("rung", RungRow, "rung"),
    "needs": ("dependency", DependencyRow, "needs_id"),
}
"""Field of `CarriedJob` -> (table, record, order)."""
EDITED = frozenset(
    {
        *("tags", "name", "note", "pinned", "priority", "metrics", "files_removed_at", "artifact"),
        *("artifact_sha256", "artifact_bytes", "checkpoint", "idem_key", "dispatched_at"),
        *("not_before", "beat_at", "blockers", "parked", "held", "paused"),
    }
)
"""Columns that may change once a job has ended, or say nothing of its result."""


def split_ended(db: Database, job_ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split jobs into those that have ended, in their order of submission, and the others."""
    found: list[Row] = []
    for some in slices(list(dict.fromkeys(job_ids))):
        is_one, ids = among("id", some)
        query = f"SELECT seq, id, finished_at FROM job WHERE {is_one}"
        found += db.alone(query, ids)
    found.sort(key=lambda row: row["seq"])
    ended = [row["id"] for row in found if row["finished_at"] is not None]
    return ended, [row["id"] for row in found if row["finished_at"] is None]


def read_carried(db: Database, job_ids: Sequence[str]) -> dict[str, CarriedJob | UsageError]:
    """Return ended jobs with all their rows, by id; the error of one whose rows are invalid.

    Jobs that are gone, or have not ended, are left out.
    """
    with db.read() as rows:
        return _read_carried(rows, job_ids)


def _read_carried(rows: Transaction, job_ids: Sequence[str]) -> dict[str, CarriedJob | UsageError]:
    found: dict[str, CarriedJob | UsageError] = {}
    for some in slices(list(job_ids), 100):
        is_one, ids = among("id", some)
        query = f"SELECT * FROM job WHERE {is_one} AND finished_at IS NOT NULL"
        jobs = {row["id"]: {"job": _only(JobRow, row)} for row in rows.all(query, ids)}
        for name, (table, record, order) in CHILDREN.items():
            of_one, ids = among("job_id", some)
            children = rows.all(
                f"SELECT * FROM {table} WHERE {of_one} ORDER BY job_id, {order}", ids
            )
            for job in jobs.values():
                job[name] = []  # type: ignore[assignment]
            for row in children:
                if row["job_id"] in jobs:
                    jobs[row["job_id"]][name].append(_only(record, row))  # type: ignore[attr-defined]
        for job_id, values in jobs.items():
            try:
                found[job_id] = CarriedJob.read(values, f"The job {job_id}").checked()
            except UsageError as error:
                found[job_id] = error
    return found


def _only(record: type[Record], row: Row) -> dict[str, Any]:
    return {name: row[name] for name in record.model_fields}


def read_groups(db: Database, carried: Mapping[str, int]) -> list[CarriedGroup]:
    """Return groups, given as id -> number of its jobs that are carried.

    Raises UsageError for an invalid row.
    """
    found: list[CarriedGroup] = []
    for some in slices(sorted(carried)):
        is_one, ids = among("id", some)
        of_group, in_groups = among("group_id", some)
        count = f"SELECT group_id, count(*) AS n FROM job WHERE {of_group} GROUP BY group_id"
        with db.read() as rows:
            members = {row["group_id"]: row["n"] for row in rows.all(count, in_groups)}
            groups = rows.all(f"SELECT * FROM job_group WHERE {is_one} ORDER BY id", ids)
        for row in groups:
            values = _only(GroupRow, row) | {"members": members.get(row["id"], 0)}
            if values["members"] > carried[row["id"]]:
                values |= dict.fromkeys(("accuracy", "dataset", "model", "contents"))
            found.append(CarriedGroup.read(values, f"The group {row['id']}"))
    return found


def read_dataset_rows(db: Database, versions: Iterable[tuple[str, int]]) -> list[DatasetRow]:
    """Return the rows of versions of datasets, removed ones as well.

    Raises UsageError for an invalid row.
    """
    query = "SELECT * FROM dataset WHERE name = :name AND version = :version"
    found: list[DatasetRow] = []
    with db.read() as rows:
        for name, version in sorted(set(versions)):
            if row := rows.one(query, {"name": name, "version": version}):
                found.append(DatasetRow.read(row, f"The dataset {name}@{version}"))
    return found


def find_present(db: Database, carried: Sequence[CarriedJob]) -> set[str]:
    """Return the ids of jobs that are in this database already, with the same content.

    Raises UsageError for one that is there with other content, has not ended there, or whose
    files are being removed there.
    """
    with db.read() as rows:
        return _find_present(rows, carried)


def _find_present(rows: Transaction, carried: Sequence[CarriedJob]) -> set[str]:
    present: set[str] = set()
    for some in slices(list(carried), 100):
        there = _read_carried(rows, [each.id for each in some])
        is_one, ids = among("id", [each.id for each in some])
        unended = rows.one(f"SELECT id FROM job WHERE {is_one} AND finished_at IS NULL", ids)
        if unended:
            raise UsageError(f"The job {unended['id']} is here, too, and has not ended.", OTHER)
        for each in some:
            if each.id in there and not _is_same(there[each.id], each):
                raise UsageError(f"The job {each.id} is here already, with other content.", OTHER)
        present |= set(there)
        of_job, ids = among("job", [each.id for each in some if each.id not in there])
        going = rows.one(
            f"SELECT place FROM (SELECT place, substr(place, 1, 32) AS job FROM removal) AS going "
            f"WHERE {of_job}",
            ids,
        )
        if going:
            raise UsageError(
                f"The files of the job {going['place'][:32]} are being removed here.",
                "Try again when a worker, or `zoo gc`, has done so.",
            )
    return present


OTHER = "Nothing of it is changed; `zoo show` shows the one that is here."


def _is_same(there: CarriedJob | UsageError, new: CarriedJob) -> bool:
    if isinstance(there, UsageError):
        return False
    fixed = set(JobRow.model_fields) - EDITED
    mine, its = there.job.model_dump(include=fixed), new.job.model_dump(include=fixed)
    seals = {there.job.artifact_sha256, new.job.artifact_sha256} - {None}
    return mine == its and len(seals) < 2 and there.attempts == new.attempts


def insert_carried(
    db: Database,
    carried: Sequence[CarriedJob],
    groups: Mapping[str, CarriedGroup],
    *,
    stored: Collection[str],
    earlier: Collection[str] = (),
) -> list[str]:
    """Insert jobs with all their rows, in one transaction; return the ids of those that are new.

    Args:
        carried: In their order of submission, which they keep here.
        groups: The rows of their groups, by id.
        stored: Ids of those whose files are stored; the others were there before.
        earlier: Ids of jobs of the same archive that are in the database already; dependencies on
            others are left out.

    Raises:
        UsageError: As `find_present`, or a job was removed since, or a row contradicts another one;
            nothing is written.
    """
    for is_last in (False, True):
        try:
            with db.write() as rows:
                return _insert(rows, carried, groups, stored, earlier)
        except RowRefused as error:
            # Another process may have inserted the same jobs at this moment.
            if is_last:
                span = f"{carried[0].id[:8]} to {carried[-1].id[:8]}"
                raise UsageError(f"The rows of the jobs {span} are refused: {error}.") from None
    raise AssertionError


def _insert(
    rows: Transaction,
    carried: Sequence[CarriedJob],
    groups: Mapping[str, CarriedGroup],
    stored: Collection[str],
    earlier: Collection[str],
) -> list[str]:
    present = _find_present(rows, carried)
    new = [each for each in carried if each.id not in present]
    if lost := [each.id for each in new if each.id not in stored]:
        raise UsageError(f"The job {lost[0]} was removed here a moment ago.", "Try again.")
    own = [groups[g] for g in sorted({each.job.group_id for each in new if each.job.group_id})]
    _insert_groups(rows, own)
    taken = _taken_keys(rows, new)
    columns = tuple(JobRow.model_fields)
    rows.many(
        f"INSERT INTO job ({', '.join(columns)}) VALUES (:{', :'.join(columns)})",
        [
            values | ({"idem_key": None} if values["idem_key"] in taken else {})
            for values in (each.job.model_dump() for each in new)
        ],
    )
    known = {each.id for each in carried} | set(earlier)
    for name, (table, record, _) in CHILDREN.items():
        if name == "needs":
            continue
        children = [
            child.model_dump() | _ids(each, table) for each in new for child in getattr(each, name)
        ]
        _insert_children(rows, table, [*record.model_fields], children)
    added = {each.id for each in new}
    needed = [
        {"job_id": each.id, "needs_id": need.needs_id, "any_end": need.any_end}
        for each in carried
        for need in each.needs
        if need.needs_id in known and (each.id in added or need.needs_id in added)
    ]
    _insert_children(rows, "dependency", ["needs_id", "any_end"], needed)
    for group in own:
        _complete(rows, group)
    return [each.id for each in new]


def _complete(rows: Transaction, group: CarriedGroup) -> None:
    """Make the mean of a group anew if all of its jobs are here by now and it has none."""
    query = """
        SELECT count(*) AS n FROM job
        WHERE group_id = :id AND (SELECT accuracy FROM job_group WHERE id = :id) IS NULL"""
    if rows.value(query, {"id": group.id}) >= max(group.members, 1):
        rank_group(rows, group.id)


def _ids(each: CarriedJob, table: str) -> dict[str, Any]:
    """Return the columns with the ids of a child's job and, of a rung, its group."""
    ids = {"job_id": each.id}
    return ids | ({"group_id": str(each.job.group_id)} if table == "rung" else {})


def _insert_children(
    rows: Transaction, table: str, fields: list[str], children: list[dict[str, Any]]
) -> None:
    columns = ["job_id", *(["group_id"] if table == "rung" else []), *fields]
    conflict = "ON CONFLICT DO NOTHING" if table == "dependency" else ""
    rows.many(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES (:{', :'.join(columns)}) {conflict}",
        children,
    )


def _insert_groups(rows: Transaction, groups: Sequence[CarriedGroup]) -> None:
    """Insert groups; raises UsageError for one that is there with other content."""
    there: dict[str, Row] = {}
    for some in slices(groups):
        is_one, ids = among("id", [group.id for group in some])
        found = rows.all(f"SELECT * FROM job_group WHERE {is_one}", ids)
        there |= {row["id"]: row for row in found}
    for group in groups:
        row = there.get(group.id)
        if row and (row["kind"], row["created_at"]) != (group.kind, group.created_at):
            raise UsageError(f"The group {group.id} is here already, with other content.", OTHER)
    columns = tuple(GroupRow.model_fields)
    rows.many(
        f"INSERT INTO job_group ({', '.join(columns)}) VALUES (:{', :'.join(columns)})",
        [group.model_dump(include=set(columns)) for group in groups if group.id not in there],
    )


def _taken_keys(rows: Transaction, new: Sequence[CarriedJob]) -> set[str]:
    """Return the idempotency keys that other jobs have here: the arriving ones lose theirs."""
    keys = [each.job.idem_key for each in new if each.job.idem_key is not None]
    taken: set[str] = set()
    for some in slices(keys):
        is_one, values = among("idem_key", some)
        found = rows.all(f"SELECT idem_key FROM job WHERE {is_one}", values)
        taken |= {row["idem_key"] for row in found}
    return taken
