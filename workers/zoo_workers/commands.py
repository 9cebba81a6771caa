"""`zoo worker ...`: start, list and drain workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo.cli import completion

if TYPE_CHECKING:
    from zoo.jobs import Database, Worker
    from zoo.settings import Settings

worker = typer.Typer(no_args_is_help=True, help="Start, list and drain workers.")


@zoo.hookimpl
def register_commands(app: typer.Typer) -> None:
    app.add_typer(worker, name="worker", rich_help_panel="Machinery")


@worker.command()
def start(
    slots: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=256,
            help="Run N jobs at a time; 0: one per core, or one per GPU.",
        ),
    ] = 0,
    gpus: Annotated[
        str,
        typer.Option(metavar="LIST", help="GPUs, each owned by one slot: 0,1 or auto for all."),
    ] = "",
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Run the jobs of this pool. Default: default; gpu with --gpus."
        ),
    ] = None,
    models: Annotated[
        str, typer.Option(metavar="PATTERNS", help="Run only matching models: a,b*.")
    ] = "*",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the worker. Default: HOST-PID."),
    ] = None,
    local: Annotated[bool, typer.Option("--local", hidden=True)] = False,
) -> None:
    """Run a worker on this machine until Ctrl-C or SIGTERM."""
    from zoo import settings
    from zoo.errors import UsageError
    from zoo.jobs.labels import check_worker_name
    from zoo.jobs.queue_options import DEFAULT_POOL, GPU_POOL
    from zoo.queue import local_services
    from zoo.queue.gpus import find_gpus
    from zoo_workers.plan import Plan
    from zoo_workers.worker import run

    chosen = settings.load()
    owned = find_gpus(gpus) if gpus else []
    slots = slots or chosen.slots or len(owned) or settings.cores()
    if len(owned) > slots:
        raise UsageError(
            f"{len(owned)} GPUs need as many slots, and the worker has {slots}.",
            f"Start it with --slots {len(owned)}, or name fewer GPUs.",
        )
    plan = Plan(
        pool or (GPU_POOL if owned else DEFAULT_POOL),
        slots,
        tuple(models.split(",")),
        owned,
        check_worker_name(name) if name is not None else "",
    )
    if chosen.is_embedded:
        local_services.ensure(chosen, worker=False)
    place = local_services.Place(chosen) if local else None
    try:
        # A stopping worker holds the lock a moment longer than `local_services` knows of it.
        if place is None or place.take(local_services.START_SECONDS):
            run(chosen, plan, place)
    finally:
        # A local worker that is idle stops the broker, and `zoo down` that of one that it ends.
        if chosen.is_embedded and place is None:
            local_services.leave_broker(chosen, lambda: _is_used(chosen))


def _is_used(settings: Settings) -> bool:
    """Return whether a worker is there that may use the embedded broker."""
    from zoo import jobs
    from zoo.errors import StoreError

    try:
        return bool(jobs.workers(jobs.connect(settings.database)))
    except StoreError:
        return True


@worker.command("list")
def list_workers(
    gone: Annotated[bool, typer.Option("--all", help="Also list workers that have ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """List the workers: slots, load, models, last heartbeat."""
    from zoo import jobs, settings
    from zoo.cli.render import console

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    found = jobs.workers(db, gone=gone)
    if as_json:
        console.json_out([each.to_json() for each in found])
        return
    at = jobs.clock(db)
    paused = {pool.name for pool in jobs.pools(db) if pool.paused_at}
    rows = [
        [
            w.name,
            w.state,
            f"{w.pool} (paused)" if w.pool in paused else w.pool,
            f"{w.busy}/{w.slots}",
            _gpus(w),
            console.ago(at - w.beat_at),
            w.version,
            _models(w),
            w.place,
        ]
        for w in found
    ]
    columns = ["worker", "state", "pool", "busy", "GPUs", "last beat", "version", "models", "on"]
    empty = {at for at in (4, 8) if not any(row[at] for row in rows)}
    rows = [[cell for at, cell in enumerate(row) if at not in empty] for row in rows]
    columns = [column for at, column in enumerate(columns) if at not in empty]
    optional = ["version", *(["on"] if "on" in columns else [])]
    console.table(columns, rows, optional=optional)
    for each in found:
        if each.trouble and each.is_alive:
            console.line(f"{each.name}: {each.trouble}")
    if not found:
        command = "zoo up" if chosen.is_embedded else "zoo worker start"
        console.note(f"No worker is online. Start one: `{command}`.")


def _gpus(worker: Worker) -> str:
    """Return the numbers of the worker's GPUs by name: 0, 1 (NVIDIA H200)."""
    by_name: dict[str, list[str]] = {}
    for gpu in worker.gpus:
        by_name.setdefault(gpu.name, []).append(str(gpu.index))
    return "; ".join(f"{', '.join(numbers)} ({name})" for name, numbers in by_name.items())


def _models(worker: Worker) -> str:
    """Return the models that the worker can run, by plugin and version."""
    by_plugin: dict[str, list[str]] = {}
    for card in worker.models:
        by_plugin.setdefault(card.plugin, []).append(card.name)
    return "; ".join(f"{', '.join(names)} ({label})" for label, names in by_plugin.items())


@worker.command()
def drain(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Names of workers, as listed by `zoo worker list`.",
            autocompletion=completion.workers,
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="All workers of this pool.", autocompletion=completion.pools
        ),
    ] = None,
) -> None:
    """Drain workers: they finish running jobs, take no further one and exit."""
    from zoo import jobs, settings
    from zoo.errors import UsageError, unknown

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    if bool(names) == (pool is not None):
        raise UsageError(
            "Name workers, or a pool, not both." if names else "Say which workers.",
            "For example: zoo worker drain NAME, or zoo worker drain --pool gpu.",
        )
    found = {w.name: w for w in jobs.workers(db)}
    # Check all names before the first worker is drained.
    for name in names or []:
        if name not in found:
            raise unknown("worker", name, found, "zoo worker list")
    wanted = dict.fromkeys(names or [name for name, w in found.items() if w.pool == pool])
    if not wanted:
        raise unknown("pool", str(pool), {w.pool for w in found.values()}, "zoo pool list")
    for name in wanted:
        jobs.drain(db, found[name].id)
    for name in wanted:
        _report_drained(db, name, chosen.drain_seconds)


def _report_drained(db: Database, name: str, seconds: float) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    left = jobs.listing(db, statuses=["running"], worker=name)
    if not left:
        console.note(f"{name} takes no further job; it runs none and ends now.")
        return
    console.table(["job", "model", "dataset"], [[j.id[:8], j.model, j.dataset] for j in left])
    these = "this one has" if len(left) == 1 else f"these {len(left)} have"
    console.note(
        f"{name} takes no further job and ends once {these}, or gives them back after "
        f"{seconds:g} s."
    )
