"""Conditions under which a queued job may be claimed: dependencies, holds, turns, rungs, pools.

Every transaction that ends a job or changes one of these conditions also updates `blockers`,
`parked` and `paused`, so that a claim reads four numbers of one row, however many jobs wait.

Lock order: jobs by age, then groups. A transaction that holds the lock of a group never waits for
a job, so there is no cycle; except for the paused trials of a sweep that is pruned, where a
deadlock with an action on such a trial is possible, and resolved by `again_after_deadlock`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from zoo.errors import UsageError
from zoo.job_spec import SPEC_VERSION
from zoo.jobs import pruning
from zoo.jobs.database import Database, Row, Transaction, again_after_deadlock, among, slices
from zoo.jobs.dialects import Dialect
from zoo.jobs.pruning import Pruner
from zoo.jobs.statuses import MAY_RUN, NO_FAILURE

CLAIMABLE = {
    "queued": "status = 'queued'",
    "held by nobody": "held = 0",
    "waits for no job": "blockers = 0",
    "has its group's turn": "parked = 0",
    "waits at no rung": "paused = 0",
    "of this pool": "pool = :pool",
    "the pool is open": "NOT EXISTS (SELECT 1 FROM pool WHERE name = :pool AND paused_at > 0)",
    "due": "not_before <= {now}",
    "its spec is known": f"spec_version <= {SPEC_VERSION}",
    "wanted": "cancel_requested = 0",
    "has attempts left": "attempt < max_attempts",
}
"""Conditions on a job that any worker may claim, apart from its model and dataset. The first five
are the predicate of the partial index `job_claim`. Constants are written into the statement: for a
bound value, PostgreSQL estimates that a third of the rows match, and may plan each claim anew.
`{now}` is `Dialect.now`."""


def claimable(sql: Dialect) -> str:
    """Return the condition that a job of the pool `:pool` may be claimed."""
    return " AND ".join(CLAIMABLE.values()).format(now=sql.now)


def next_models(db: Database, pool: str, most: int) -> list[str]:
    """Return the models of the jobs that a worker without GPU would claim next, one for each job.

    Without such a job it is the model of the last one.
    """
    ready = f"""
        SELECT model FROM job WHERE {claimable(db.sql)} AND device IS NULL
        ORDER BY priority DESC, seq LIMIT :most"""
    last = "SELECT model FROM job ORDER BY seq DESC LIMIT 1"
    with db.read() as rows:
        found = rows.all(ready, {"pool": pool, "most": most}) or rows.all(last, {})
    return [row["model"] for row in found]


IN_GROUP = (
    "status IN ('queued', 'running') AND group_id = :group AND held = 0 AND blockers = 0"
    " AND paused = 0"
)
IN_LINE = """parked = CASE WHEN EXISTS (
    SELECT 1 FROM job_group WHERE job_group.id = group_id AND max_parallel > 0) THEN 1 ELSE 0 END"""
"""Assignment for a job that joins the jobs of its group: it waits until turns are assigned."""
MOST_WAITS = 100_000
"""Limit of the rows of `dependency` that one submission may add."""


def count_blockers(rows: Transaction, jobs: int, after: Mapping[str, bool]) -> int:
    """Lock the jobs of `after` and return how many have not ended.

    `after` maps job ids to whether any terminal status satisfies the dependency. Raises UsageError
    if a job that had to succeed has ended without success.
    """
    if jobs * len(after) > MOST_WAITS:
        raise UsageError(
            f"{jobs} jobs that wait for {len(after)} each are too many.",
            "Let them wait for one job of the group.",
        )
    still_open = 0
    for some in slices(sorted(after)):
        for needed in _locked(rows, some):
            if needed["finished_at"] is None:
                still_open += 1
            elif needed["status"] not in NO_FAILURE and not after[needed["id"]]:
                raise UsageError(
                    f"The job {needed['id'][:8]} is {needed['status']}: what waits for its success "
                    "would never run.",
                    "With --after-any it need not succeed.",
                )
    return still_open


def add_dependencies(rows: Transaction, job_ids: Sequence[str], after: Mapping[str, bool]) -> None:
    """Insert the dependencies of new jobs on those of `after`."""
    rows.many(
        "INSERT INTO dependency (job_id, needs_id, any_end) VALUES (:job, :needs, :any_end)",
        [
            {"job": job, "needs": needs, "any_end": int(any_end)}
            for job in job_ids
            for needs, any_end in after.items()
        ],
    )


def join_turns(rows: Transaction, job_ids: Sequence[str], groups: Iterable[str | None]) -> None:
    """Let jobs that were just added take turns with the others of their groups."""
    for some in slices(job_ids):
        is_one, ids = among("id", some)
        rows.run(f"UPDATE job SET {IN_LINE} WHERE group_id IS NOT NULL AND {is_one}", ids)
    assign_turns(rows, groups)


def copy_dependencies(rows: Transaction, job_ids: Sequence[str]) -> None:
    """Copy to retries the dependencies of the jobs they repeat, as far as those have not ended.

    A dependency that was retried itself is replaced by its last retry. Raises UsageError if one
    that must succeed has ended without success.
    """
    sql = rows.sql
    for some in slices(job_ids):
        is_one, ids = among("id", some)
        waits_for = f"""
            WITH RECURSIVE wait (job_id, needs_id, any_end) AS (
                SELECT mine.id, old.needs_id, old.any_end
                FROM job AS mine JOIN dependency AS old ON old.job_id = mine.retry_of
                WHERE mine.{is_one}
                UNION ALL SELECT wait.job_id, again.id, wait.any_end
                FROM wait JOIN job AS again ON again.retry_of = wait.needs_id)"""
        rows.run(
            f"""{waits_for}
            INSERT INTO dependency (job_id, needs_id, any_end)
            SELECT wait.job_id, needed.id, wait.any_end
            FROM wait JOIN job AS needed ON needed.id = wait.needs_id
            WHERE needed.finished_at IS NULL ORDER BY needed.seq {sql.for_update}""",
            ids,
        )
        # After the insertion, which has locked the open dependencies: none of them can end now.
        failed = rows.one(
            f"""{waits_for}
            SELECT mine.retry_of AS job, needed.id AS needs, needed.status
            FROM wait JOIN job AS needed ON needed.id = wait.needs_id
            JOIN job AS mine ON mine.id = wait.job_id
            WHERE wait.any_end = 0 AND needed.finished_at IS NOT NULL
                AND needed.status NOT IN ('succeeded', 'pruned')
                AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = needed.id)
            ORDER BY mine.seq LIMIT 1""",
            ids,
        )
        if failed:
            raise UsageError(
                f"The job {failed['job'][:8]} was to run after the success of "
                f"{failed['needs'][:8]}, which is {failed['status']}.",
                f"Retry that one too: zoo retry {failed['needs'][:8]} {failed['job'][:8]}.",
            )
        waits = "(SELECT count(*) FROM dependency WHERE job_id = job.id)"
        rows.run(f"UPDATE job SET blockers = {waits} WHERE {is_one}", ids)


def unblock_dependents(
    rows: Transaction, ends: Iterable[Row], groups: Iterable[str | None] = ()
) -> list[str]:
    """Update the jobs that depend on jobs which have just ended, {id, status, group_id} each.

    A job that needs the success of one that failed is cancelled, which may cancel others in turn.
    In the groups of all these jobs and in `groups`, paused trials are promoted or pruned, and turns
    are assigned anew. Returns the ids of all jobs that have ended, the given ones included.
    """
    left = list(ends)
    groups = {*groups, *(end["group_id"] for end in left)}
    seen = 0
    while True:
        while seen < len(left):  # it grows meanwhile
            some, seen = left[seen:], len(left)
            for end in _waited_for(rows, some):
                more, freed = _end_waits(rows, end)
                left += more
                groups |= freed
        pruned = _update_groups(rows, groups | {end["group_id"] for end in left})
        if not pruned:
            return [end["id"] for end in left]
        left += pruned


def _waited_for(rows: Transaction, ends: Sequence[Row]) -> list[Row]:
    """Return those of the ended jobs that others depend on (few), in one query for all."""
    found: set[str] = set()
    for some in slices([end["id"] for end in ends]):
        is_one, ids = among("needs_id", some)
        waits = rows.all(f"SELECT DISTINCT needs_id FROM dependency WHERE {is_one}", ids)
        found |= {wait["needs_id"] for wait in waits}
    return [end for end in ends if end["id"] in found]


def _end_waits(rows: Transaction, end: Row) -> tuple[list[Row], set[str | None]]:
    """Update the jobs that depend on an ended one; return those cancelled, and affected groups."""
    sql = rows.sql
    waiting = "SELECT job_id FROM dependency WHERE needs_id = :id"
    queued = f"status = 'queued' AND id IN ({waiting}"
    if not rows.all(f"SELECT id FROM job WHERE {queued}) ORDER BY seq {sql.for_update}", end):
        return [], set()
    cancelled: list[Row] = []
    if end["status"] not in NO_FAILURE:
        why = f"The job {end['id'][:8]}, which had to succeed first, is {end['status']}."
        cancelled = rows.all(
            f"""
            UPDATE job SET status = 'cancelled', finished_at = {sql.now},
                error_code = 'dependency', error = :why
            WHERE {queued} AND any_end = 0) RETURNING id, status, group_id""",
            end | {"why": why},
        )
    freed = f"""
        UPDATE job SET blockers = blockers - 1, dispatched_at = 0, {IN_LINE} WHERE {queued})
        RETURNING group_id"""
    return cancelled, {row["group_id"] for row in rows.all(freed, end)}


def assign_turns(rows: Transaction, groups: Iterable[str | None]) -> None:
    """Give the turns of each group with `max_parallel` to its most urgent jobs."""
    sql = rows.sql
    for group in sorted(each for each in groups if each):
        # Two transactions without this lock would both count the same free turns.
        limit = "SELECT max_parallel FROM job_group WHERE id = :group AND max_parallel > 0"
        most = rows.value(f"{limit} {sql.for_update}", {"group": group})
        if most is not None:
            _assign(rows, group, most)


def _update_groups(rows: Transaction, groups: Iterable[str | None]) -> list[Row]:
    """Promote and prune the paused trials of groups, then assign turns; return the pruned."""
    pruned: list[Row] = []
    for group in sorted(each for each in groups if each):
        locked = f"""
            SELECT max_parallel, pruner FROM job_group
            WHERE id = :group AND (max_parallel > 0 OR pruner IS NOT NULL) {rows.sql.for_update}"""
        found = rows.one(locked, {"group": group})
        if found and found["pruner"]:
            pruned += pruning.decide(rows, group, Pruner.load(found["pruner"]))
        if found and found["max_parallel"]:
            _assign(rows, group, found["max_parallel"])
    return pruned


def _assign(rows: Transaction, group: str, most: int) -> None:
    sql = rows.sql
    values = {"group": group, "most": most}
    taken = rows.value(f"SELECT count(*) AS n FROM job WHERE {IN_GROUP} AND parked = 0", values)
    # A row locked by another transaction is left alone; that one assigns turns afterwards.
    # The value stands in the statement, where the planner sees that the partial index fits.
    having, wanting = (
        rows.all(
            f"""
            SELECT seq, priority, parked FROM job
            WHERE {IN_GROUP} AND status = 'queued' AND parked = {parked}
            ORDER BY priority DESC, seq LIMIT :most {sql.skip_locked}""",
            values,
        )
        for parked in (0, 1)
    )
    free = max(most - taken + len(having), 0)
    chosen = sorted([*having, *wanting], key=lambda row: (-row["priority"], row["seq"]))[:free]
    lost = [row["seq"] for row in having if row not in chosen]
    won = [row["seq"] for row in chosen if row["parked"]]
    rows.many("UPDATE job SET parked = 1 WHERE seq = :seq", [{"seq": seq} for seq in lost])
    rows.many(
        "UPDATE job SET parked = 0, dispatched_at = 0 WHERE seq = :seq",
        [{"seq": seq} for seq in won],
    )


def hold(db: Database, job_ids: Sequence[str]) -> list[str]:
    """Hold queued jobs so that no worker claims them; return the ids that were not held before."""
    return _change(db, job_ids, "held = 1", "held = 0")


def unhold(db: Database, job_ids: Sequence[str]) -> list[str]:
    """Release held jobs; return the ids that were held."""
    return _change(db, job_ids, f"held = 0, dispatched_at = 0, {IN_LINE}", "held = 1")


def set_priority(db: Database, job_ids: Sequence[str], priority: int) -> list[str]:
    """Change the priority of queued jobs; return the ids that were still queued."""
    return _change(db, job_ids, "priority = :priority", "1 = 1", priority=priority)


@again_after_deadlock
def _change(
    db: Database, job_ids: Sequence[str], what: str, where: str, **values: object
) -> list[str]:
    changed: list[Row] = []
    with db.write() as rows:
        for some in slices(job_ids):
            is_one, ids = among("id", some)
            _locked(rows, some)
            changed += rows.all(
                f"UPDATE job SET {what} WHERE status = 'queued' AND {where} AND {is_one} "
                "RETURNING id, group_id",
                ids | values,
            )
        assign_turns(rows, {row["group_id"] for row in changed})
    return [row["id"] for row in changed]


def _locked(rows: Transaction, job_ids: Sequence[str]) -> list[Row]:
    sql = rows.sql
    is_one, ids = among("id", job_ids)
    query = f"SELECT id, status, finished_at FROM job WHERE {is_one} ORDER BY seq {sql.for_update}"
    return rows.all(query, ids)


def pause(db: Database, pool: str) -> None:
    """Pause a pool: none of its jobs is claimed until `resume`; running jobs continue."""
    sql = db.sql
    with db.write() as rows:
        rows.run(
            f"""
            INSERT INTO pool (name, paused_at) VALUES (:pool, {sql.now})
            ON CONFLICT (name) DO UPDATE SET paused_at = coalesce(pool.paused_at, {sql.now})""",
            {"pool": pool},
        )


def resume(db: Database, pool: str) -> bool:
    """Resume a paused pool; return False if it was not paused."""
    sql = db.sql
    with db.write() as rows:
        is_paused = "name = :pool AND paused_at > 0"
        resumed = f"UPDATE pool SET paused_at = NULL WHERE {is_paused} RETURNING name"
        if not rows.one(resumed, {"pool": pool}):
            return False
        # The most urgent get a hint at once; a slot that was woken claims on until none is left.
        first = f"""
            SELECT seq FROM job WHERE {MAY_RUN} AND pool = :pool
            ORDER BY priority DESC, seq LIMIT 200 {sql.skip_locked}"""
        rows.run(f"UPDATE job SET dispatched_at = 0 WHERE seq IN ({first})", {"pool": pool})
    return True
