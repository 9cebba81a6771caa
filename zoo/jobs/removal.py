"""Remove jobs, or their files alone; the files that no row names any more stay listed until gone.

One transaction deletes the rows (or the name of the artifact) and inserts the places of the files
into the table `removal`. Files are deleted after it has committed, and the row of a place after its
files: a process that dies in between leaves a row, and any other one goes on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from zoo.canonical_json import canonical
from zoo.jobs.database import Database, Row, Transaction, again_after_deadlock, among, slices

AT_ONCE = 100
"""Jobs that one transaction removes."""
CHILDREN = (
    "attempt",
    "history",
    "log",
    "outbox",
    "hook_error",
    "metric",
    "rung",
    "dependency",
)
"""Tables with rows of a job; each has an index that begins with `job_id`."""


@dataclass(frozen=True)
class Removed:
    """What `remove_jobs` has done."""

    ids: Sequence[str] = ()
    """The jobs that were removed, or whose files were."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Id -> why a job stays, as a sentence and the remedy."""


def remove_jobs(db: Database, job_ids: Sequence[str], *, keep_metrics: bool = False) -> Removed:
    """Remove jobs that have ended with all their rows; their files are then to be deleted.

    Jobs that are pinned, have not ended, or are needed by others stay. Groups without a job left
    are removed, too.

    Args:
        job_ids: Ids that do not exist are ignored.
        keep_metrics: Remove the files alone, and keep the rows.
    """
    removed: list[str] = []
    refused: dict[str, str] = {}
    for some in slices(list(dict.fromkeys(job_ids)), AT_ONCE):
        done = _remove(db, some, keep_metrics)
        removed += done.ids
        refused |= done.refused
    return Removed(removed, refused)


def check_removal(
    db: Database, job_ids: Sequence[str], *, keep_metrics: bool = False
) -> dict[str, str]:
    """Return why jobs cannot be removed, by id; those that can are left out."""
    refused: dict[str, str] = {}
    with db.read() as rows:
        for some in slices(list(job_ids), AT_ONCE):
            is_one, ids = among("id", some)
            found = rows.all(f"SELECT {_SEEN} FROM job WHERE {is_one} ORDER BY seq", ids)
            refused |= _refusals(rows, found, keep_metrics)
    return refused


def sum_bytes(db: Database, job_ids: Sequence[str]) -> tuple[int, int]:
    """Return the size of the files of jobs in bytes, and the number of jobs of unknown size."""
    total = unknown = 0
    with db.read() as rows:
        for some in slices(list(job_ids)):
            is_one, ids = among("id", some)
            row = rows.one(
                f"""
                SELECT coalesce(sum(artifact_bytes), 0) AS bytes,
                    count(CASE WHEN artifact IS NOT NULL AND artifact_bytes IS NULL THEN 1 END)
                        AS unknown
                FROM job WHERE {is_one}""",
                ids,
            )
            if row:
                total, unknown = total + int(row["bytes"]), unknown + row["unknown"]
    return total, unknown


def list_removals(db: Database, limit: int = AT_ONCE) -> list[str]:
    """List places below the artifacts URL whose files are to be deleted, the oldest first."""
    query = "SELECT place FROM removal ORDER BY at, place LIMIT :limit"
    return [row["place"] for row in db.alone(query, {"limit": limit})]


def complete_removals(db: Database, places: Sequence[str]) -> None:
    """Forget places whose files were deleted."""
    if places:
        with db.write() as rows:
            rows.many("DELETE FROM removal WHERE place = :place", [{"place": p} for p in places])


def postpone_removals(db: Database, places: Sequence[str]) -> None:
    """Put places whose files cannot be deleted now behind the others."""
    update = f"UPDATE removal SET at = {db.sql.now} WHERE place = :place"
    with db.write() as rows:
        rows.many(update, [{"place": place} for place in places])


def count_removals(db: Database) -> int:
    """Return the number of places whose files are still to be deleted."""
    return int(db.alone("SELECT count(*) AS n FROM removal")[0]["n"])


def insert_removals(rows: Transaction, places: Collection[str]) -> None:
    """Record places whose files no row names from this transaction on."""
    rows.many(
        f"INSERT INTO removal (place, at) VALUES (:place, {rows.sql.now}) ON CONFLICT DO NOTHING",
        [{"place": place} for place in places],
    )


def pin(db: Database, job_ids: Sequence[str], *, pinned: bool) -> list[str]:
    """Pin jobs, so that nothing removes them, or unpin them; return the ids of those changed."""
    changed: list[str] = []
    for some in slices(list(job_ids)):
        is_one, ids = among("id", some)
        update = f"""
            UPDATE job SET pinned = :pinned WHERE {is_one} AND pinned <> :pinned RETURNING id"""
        with db.write() as rows:
            changed += [row["id"] for row in rows.all(update, ids | {"pinned": int(pinned)})]
    return changed


def list_old_checkpoints(db: Database, age: float) -> dict[str, tuple[str, int]]:
    """Return the place and size of the checkpoints of jobs that ended `age` seconds ago, by job."""
    return {
        row["id"]: (place, int(json.loads(row["checkpoint"]).get("bytes") or 0))
        for row in db.alone(_OLD_CHECKPOINTS.format(now=db.sql.now), {"age": age})
        if (place := checkpoint_place(row))
    }


def remove_checkpoint(db: Database, job_id: str, age: float) -> bool:
    """Remove the checkpoint of a job that ended `age` seconds ago; False if it has none now.

    Its files are then to be deleted, see `list_removals`.
    """
    with db.write() as rows:
        query = f"{_OLD_CHECKPOINTS} AND id = :id {{lock}}"
        query = query.format(now=rows.sql.now, lock=rows.sql.for_update)
        row = rows.one(query, {"age": age, "id": job_id})
        place = row and checkpoint_place(row)
        if not place:
            return False
        rows.run("UPDATE job SET checkpoint = NULL WHERE id = :id", {"id": job_id})
        insert_removals(rows, [place])
    return True


_OLD_CHECKPOINTS = """
    SELECT id, checkpoint FROM job
    WHERE checkpoint IS NOT NULL AND finished_at < {now} - :age AND NOT EXISTS (
        SELECT 1 FROM job AS again
        WHERE again.retry_of = job.id AND again.status IN ('queued', 'running'))"""


def checkpoint_place(row: Row) -> str | None:
    """Return the place of the newest checkpoint that the row of a job names."""
    found = json.loads(row["checkpoint"] or "null")
    place = found.get("where") if isinstance(found, dict) else None
    return place if isinstance(place, str) else None


_SEEN = "id, status, group_id, pinned, files_removed_at"


@again_after_deadlock
def _remove(db: Database, some: Sequence[str], keep_metrics: bool) -> Removed:
    is_one, ids = among("id", some)
    with db.write() as rows:
        locked = f"SELECT {_SEEN} FROM job WHERE {is_one} ORDER BY seq {rows.sql.for_update}"
        found = rows.all(locked, ids)
        refused = _refusals(rows, found, keep_metrics)
        chosen = [row for row in found if row["id"] not in refused]
        if keep_metrics:
            chosen = [row for row in chosen if row["files_removed_at"] is None]
        if chosen:
            insert_removals(rows, [row["id"] for row in chosen])
            (_forget_files if keep_metrics else _delete)(rows, chosen)
    return Removed([row["id"] for row in chosen], refused)


def _forget_files(rows: Transaction, chosen: Sequence[Row]) -> None:
    is_one, ids = among("id", [row["id"] for row in chosen])
    rows.run(
        f"""
        UPDATE job SET artifact = NULL, artifact_sha256 = NULL, artifact_bytes = NULL,
            checkpoint = NULL, files_removed_at = {rows.sql.now}
        WHERE {is_one}""",
        ids,
    )
    # Of hooks that were left out because they only add files.
    is_of_one, ids = among("job_id", [row["id"] for row in chosen])
    rows.run(f"DELETE FROM outbox WHERE {is_of_one} AND skipped_at > 0", ids)


def _delete(rows: Transaction, chosen: Sequence[Row]) -> None:
    _mark_groups(rows, chosen)
    is_of_one, ids = among("job_id", [row["id"] for row in chosen])
    for table in CHILDREN:
        rows.run(f"DELETE FROM {table} WHERE {is_of_one}", ids)
    is_needed, ids = among("needs_id", [row["id"] for row in chosen])
    rows.run(f"DELETE FROM dependency WHERE {is_needed}", ids)
    is_one, ids = among("id", [row["id"] for row in chosen])
    rows.run(f"DELETE FROM job WHERE {is_one}", ids)
    for group in sorted({row["group_id"] for row in chosen if row["group_id"]}):
        left = "SELECT 1 FROM job WHERE group_id = :group"
        rows.run(
            f"DELETE FROM job_group WHERE id = :group AND NOT EXISTS ({left})", {"group": group}
        )


def _mark_groups(rows: Transaction, chosen: Sequence[Row]) -> None:
    """Record in groups how many jobs they lose; a mean of the others is not their result."""
    sql = rows.sql
    replaced = "SELECT id FROM job WHERE retry_of = :id"
    lost: dict[str, int] = {}
    for row in chosen:
        # Its retry has taken its place.
        if row["group_id"] and not rows.one(replaced, {"id": row["id"]}):
            lost[row["group_id"]] = lost.get(row["group_id"], 0) + 1
    for group, number in sorted(lost.items()):
        query = f"SELECT about FROM job_group WHERE id = :group {sql.for_update}"
        about = json.loads(rows.value(query, {"group": group}) or "{}")
        about["removed_jobs"] = about.get("removed_jobs", 0) + number
        rows.run(
            "UPDATE job_group SET about = :about, accuracy = NULL WHERE id = :group",
            {"group": group, "about": canonical(about)},
        )


def _refusals(rows: Transaction, found: Sequence[Row], keep_metrics: bool) -> dict[str, str]:
    """Return why jobs stay, by id."""
    reasons: dict[str, str] = {}
    for row in found:
        short = row["id"][:8]
        if row["status"] in ("queued", "running"):
            reasons[row["id"]] = f"{short} is {row['status']}: `zoo cancel {short}` first."
        elif row["pinned"]:
            reasons[row["id"]] = f"{short} is pinned: `zoo unpin {short}` first."
    rest = [row for row in found if row["id"] not in reasons]
    for needed_by in (_retries, _evaluations, *(() if keep_metrics else (_dependents, _groups))):
        rest = [row for row in rest if row["id"] not in reasons]
        if rest:
            reasons |= needed_by(rows, rest)
    return reasons


def _retries(rows: Transaction, found: Sequence[Row]) -> dict[str, str]:
    """Of jobs whose retry may still continue from their checkpoint."""
    is_one, ids = among("retry_of", [row["id"] for row in found])
    query = f"""
        SELECT id, retry_of FROM job WHERE {is_one} AND status IN ('queued', 'running')"""
    return {
        row["retry_of"]: f"{row['retry_of'][:8]} stays: its retry {row['id'][:8]} has not ended."
        for row in rows.all(query, ids)
    }


def _dependents(rows: Transaction, found: Sequence[Row]) -> dict[str, str]:
    is_one, ids = among("needs_id", [row["id"] for row in found])
    query = f"""
        SELECT needs_id, job.id FROM dependency JOIN job ON job.id = dependency.job_id
        WHERE {is_one} AND status IN ('queued', 'running')"""
    return {
        row["needs_id"]: f"{row['needs_id'][:8]} stays: the queued job {row['id'][:8]} depends "
        "on it."
        for row in rows.all(query, ids)
    }


def _groups(rows: Transaction, found: Sequence[Row]) -> dict[str, str]:
    """Of jobs whose results still decide on others: a sweep prunes and promotes by them."""
    groups = sorted({row["group_id"] for row in found if row["group_id"]})
    is_one, ids = among("group_id", groups)
    query = f"""
        SELECT DISTINCT group_id FROM job
        WHERE {is_one} AND status IN ('queued', 'running')"""
    unfinished = {row["group_id"] for row in rows.all(query, ids)} if groups else set()
    return {
        row["id"]: f"{row['id'][:8]} stays: its group {row['group_id'][:8]} has jobs that have "
        "not ended."
        for row in found
        if row["group_id"] in unfinished
    }


def _evaluations(rows: Transaction, found: Sequence[Row]) -> dict[str, str]:
    """Of models that an unfinished evaluation needs."""
    query = """
        SELECT id, spec FROM job WHERE status IN ('queued', 'running') AND kind = 'evaluate'"""
    needed = {source_of(row["spec"]): row["id"] for row in rows.all(query)}
    return {
        row["id"]: f"{row['id'][:8]} stays: the evaluation {needed[row['id']][:8]} of its model "
        "has not ended."
        for row in found
        if row["id"] in needed
    }


def source_of(spec: str) -> str | None:
    """Return the id of the training whose model a stored spec evaluates."""
    source = json.loads(spec).get("source")
    return source.get("job") if isinstance(source, dict) else None
