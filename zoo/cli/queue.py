"""`zoo priority`, `hold`, `release` and `zoo pool`: steer what runs next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.options import MOST_URGENT

if TYPE_CHECKING:
    from zoo.jobs import Database, Job

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Refs = Annotated[
    list[str], typer.Argument(help="Jobs or groups: the beginning of an id, or @last.")
]
PoolName = Annotated[str, typer.Argument(help="The pool's name; `zoo pool list` shows them.")]

pools = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pause and resume pools.")


def add_to(app: typer.Typer) -> None:
    # Without this, -1 would be read as an option.
    app.command(context_settings={"ignore_unknown_options": True})(priority)
    app.command()(hold)
    app.command()(release)
    app.add_typer(pools, name="pool")


def priority(
    refs: Refs,
    number: Annotated[
        int,
        typer.Argument(
            min=-MOST_URGENT, max=MOST_URGENT, help="More urgent is higher; 0 is the default."
        ),
    ],
) -> None:
    """Change how urgent queued jobs are. The highest runs first, of equals the oldest."""
    from zoo import jobs as rows

    db = rows.connect()
    named = rows.named(db, refs)
    changed = rows.set_priority(db, [job.id for job in named], number)
    _tell(db, named, changed, f"have priority {number} now", "is not queued")


def hold(refs: Refs) -> None:
    """Keep queued jobs from running until released. Running ones go on."""
    from zoo import jobs as rows

    db = rows.connect()
    named = rows.named(db, refs)
    held = rows.hold(db, [job.id for job in named])
    _tell(db, named, held, "are held; `zoo release` lets them run", "cannot be held")


def release(refs: Refs) -> None:
    """Let held jobs run."""
    from zoo import jobs as rows

    db = rows.connect()
    named = rows.named(db, refs)
    freed = rows.unhold(db, [job.id for job in named])
    _wake(db)
    _tell(db, named, freed, "are released", "is not held")


def _wake(db: Database) -> None:
    from zoo import settings, submit
    from zoo.cli import output

    note = submit.wake(db, settings.load()).note
    if note:
        output.note(note)


def _tell(db: Database, named: list[Job], changed: list[str], what: str, why_not: str) -> None:
    """Say what was done; exit code 1 if it could be done to none of them."""
    from zoo import jobs as rows
    from zoo.cli import output

    if len(named) == 1 and changed:
        said = what.replace("have", "has").replace("are", "is").replace("them", "it")
        output.note(f"{named[0].id[:8]} {said}.")
    elif changed:
        output.note(f"{len(changed)} jobs {what}.")
    left = [job for job in named if job.id not in set(changed)]
    for job in left[:5]:
        output.note(f"{job.id[:8]} {why_not}: it is {rows.get(db, job.id).status}.")
    if len(left) > 5:
        output.note(f"And {len(left) - 5} more.")
    if not changed:
        raise typer.Exit(1)


@pools.command("list")
def list_pools(as_json: AsJson = False) -> None:
    """Show the pools: open or paused, workers, slots and jobs."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli import output

    chosen = settings.load()
    db = rows.connect(chosen.database)
    found = _pools(db, chosen.beat_seconds)
    if as_json:
        output.json_out(found)
        return
    at = rows.clock(db)
    columns = ["pool", "state", "workers", "busy", "slots", "queued", "running"]
    lines = [
        [
            pool["name"],
            f"paused {output.ago(at - pool['paused_at'])}" if pool["paused_at"] else "open",
            *(pool[name] for name in columns[2:]),
        ]
        for pool in found
    ]
    output.table(columns, lines, right=columns[2:])
    if not found:
        output.note("No pool has a job or a worker. `zoo worker start --pool NAME` makes one.")


def _pools(db: Database, beat: float) -> list[dict[str, Any]]:
    from zoo import jobs as rows

    workers = rows.workers(db, beat=beat)
    known = {pool.name: pool for pool in rows.pools(db)}
    found = []
    for name in sorted(known.keys() | {worker.pool for worker in workers}):
        pool, mine = known.get(name), [worker for worker in workers if worker.pool == name]
        found.append(
            {
                "name": name,
                "paused_at": pool.paused_at if pool else None,
                "workers": len(mine),
                "busy": sum(worker.busy for worker in mine),
                "slots": sum(worker.slots for worker in mine),
                "queued": pool.queued if pool else 0,
                "running": pool.running if pool else 0,
            }
        )
    return found


@pools.command()
def pause(name: PoolName) -> None:
    """Let no further job of a pool begin; running ones go on."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli import output

    chosen = settings.load()
    db = rows.connect(chosen.database)
    known = {pool["name"]: pool for pool in _pools(db, chosen.beat_seconds)}
    rows.pause(db, name)
    running = known[name]["running"] if name in known else 0
    output.note(f"The pool {name} is paused; {running} of its jobs go on.")
    if name not in known:
        output.note("No worker and no job is in a pool of that name now.")
    output.note(f"`zoo pool resume {name}` opens it again.")


@pools.command()
def resume(name: PoolName) -> None:
    """Let a paused pool's jobs run again."""
    from zoo import jobs as rows
    from zoo.cli import output
    from zoo.errors import ZooError

    db = rows.connect()
    if not rows.resume(db, name):
        raise ZooError(f"The pool {name} is not paused.", "`zoo pool list` shows which are.")
    _wake(db)
    output.note(f"The pool {name} is open again.")
