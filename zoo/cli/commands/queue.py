"""`zoo priority`, `hold`, `release` and `pool`: control the order of the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.commands.job_actions import Dry, Queued, Yes, agreed, chosen
from zoo.cli.filter_options import FilterWords, filtered
from zoo.jobs.queue_options import MOST_URGENT
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.jobs import Database

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
PoolName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of a pool; `zoo pool list` shows them.",
        autocompletion=completion.pools,
    ),
]

pools = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, pause and resume pools."
)


def add_to(app: typer.Typer) -> None:
    # Otherwise -1 would be parsed as an option.
    app.command(context_settings={"ignore_unknown_options": True})(priority)
    app.command()(hold)
    app.command()(release)
    app.add_typer(pools, name="pool")


@filtered
def priority(
    refs: Queued = None,
    *,
    number: Annotated[
        int,
        typer.Argument(
            metavar="NUMBER",
            min=-MOST_URGENT,
            max=MOST_URGENT,
            help="Priority; higher runs first, jobs start with 0.",
        ),
    ],
    words: FilterWords = FilterWords(),
    yes: Yes = False,
    dry_run: Dry = False,
) -> None:
    """Set the priority of queued jobs. The highest runs first; among equals the oldest."""
    from zoo import jobs as rows
    from zoo.errors import UsageError

    if odd := [each for each in refs or [] if each.startswith("-")]:
        raise UsageError(f"There is no option {odd[0]}.", "`zoo priority --help` lists them.")
    db = rows.connect()
    found = chosen(db, refs, words, of=("queued", "paused"))
    if found and agreed(db, found, f"give priority {number} to", yes or not words, dry_run):
        changed = rows.set_priority(db, found, number)
        _report(db, refs and found, changed, f"have priority {number} now", "is not queued")


@filtered
def hold(
    refs: Queued = None, words: FilterWords = FilterWords(), yes: Yes = False, dry_run: Dry = False
) -> None:
    """Hold queued jobs: they do not start until released. Running jobs continue."""
    from zoo import jobs as rows

    db = rows.connect()
    found = chosen(db, refs, words, of=("queued", "paused"), held=False)
    if found and agreed(db, found, "hold", yes or not words, dry_run, yes):
        held = rows.hold(db, found)
        _report(db, refs and found, held, "are held; `zoo release` lets them run", "cannot be held")


@filtered
def release(
    refs: Queued = None, words: FilterWords = FilterWords(), yes: Yes = False, dry_run: Dry = False
) -> None:
    """Release held jobs, so that they can run."""
    from zoo import jobs as rows

    db = rows.connect()
    found = chosen(db, refs, words, of=("queued", "paused"), held=True)
    if found and agreed(db, found, "release", yes or not words, dry_run):
        freed = rows.unhold(db, found)
        _wake(db)
        _report(db, refs and found, freed, "are released", "is not held")


def _wake(db: Database) -> None:
    from zoo import settings
    from zoo.cli.render import console
    from zoo.queue import submit

    note = submit.wake(db, settings.load()).note
    if note:
        console.note(note)


def _report(
    db: Database, named: list[str] | None, changed: list[str], what: str, why_not: str
) -> None:
    """Print the changed jobs and the named ones left unchanged; exit code 1 if none changed."""
    from zoo import jobs as rows
    from zoo.cli.render import console

    if len(changed) == 1:
        singular = what.replace("have", "has").replace("are", "is").replace("them", "it")
        console.note(f"{changed[0][:8]} {singular}.")
    elif changed or not named:
        console.note(f"{counted(len(changed), 'job')} {what}.")
    left = [each for each in named or [] if each not in set(changed)]
    for each in left[:5]:
        job = rows.get(db, each)
        is_held = job.held and why_not == "cannot be held"
        console.note(
            f"{each[:8]} {'is already held' if is_held else f'{why_not}: it is {job.status}'}."
        )
    if len(left) > 5:
        console.note(f"And {len(left) - 5} more.")
    if named and not changed:
        raise typer.Exit(1)


@pools.command("list")
def list_pools(as_json: AsJson = False) -> None:
    """Show the pools: open or paused, workers, slots and jobs."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli.render import console

    chosen = settings.load()
    db = rows.connect(chosen.database)
    found = _pools(db)
    if as_json:
        console.json_out(found)
        return
    at = rows.clock(db)
    columns = ["pool", "state", "workers", "busy", "slots", "queued", "held", "running"]
    lines = [
        [
            pool["name"],
            f"paused {console.ago(at - pool['paused_at'])}" if pool["paused_at"] else "open",
            *(pool[name] for name in columns[2:]),
        ]
        for pool in found
    ]
    console.table(columns, lines, right=columns[2:])
    if not found:
        console.note("No pool has a job or a worker. `zoo worker start --pool NAME` adds one.")


def _pools(db: Database) -> list[dict[str, Any]]:
    from zoo import jobs as rows
    from zoo.jobs.iso_times import with_iso_times

    workers = rows.workers(db)
    known = {pool.name: pool for pool in rows.pools(db)}
    found = []
    for name in sorted(known.keys() | {worker.pool for worker in workers}):
        pool, mine = known.get(name), [worker for worker in workers if worker.pool == name]
        entry = {
            "name": name,
            "paused_at": pool.paused_at if pool else None,
            "workers": len(mine),
            "busy": sum(worker.busy for worker in mine),
            "slots": sum(worker.slots for worker in mine),
            "queued": pool.queued if pool else 0,
            "held": pool.held if pool else 0,
            "running": pool.running if pool else 0,
        }
        found.append(with_iso_times(entry, rows.Pool.TIMES))
    return found


@pools.command()
def pause(name: PoolName) -> None:
    """Pause a pool: no further job starts. Running jobs continue."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli.render import console

    chosen = settings.load()
    db = rows.connect(chosen.database)
    known = {pool["name"]: pool for pool in _pools(db)}
    rows.pause(db, name)
    running = known[name]["running"] if name in known else 0
    goes_on = "continues" if running == 1 else "continue"
    console.note(f"The pool {name} is paused; {counted(running, 'running job')} {goes_on}.")
    if name not in known:
        console.note("No worker and no job is in a pool of that name now.")
    console.note(f"`zoo pool resume {name}` opens it again.")


@pools.command()
def resume(name: PoolName) -> None:
    """Resume a paused pool, so that its jobs start again."""
    from zoo import jobs as rows
    from zoo.cli.render import console
    from zoo.errors import ZooError

    db = rows.connect()
    if not rows.resume(db, name):
        raise ZooError(f"The pool {name} is not paused.", "`zoo pool list` shows which are.")
    _wake(db)
    console.note(f"The pool {name} is open again.")
