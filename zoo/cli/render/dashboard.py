"""Render a frame of `zoo watch`, fitted to the terminal."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from zoo.cli.render import console, fitting
from zoo.cli.render.fitting import columns_of
from zoo.jobs import LISTED, Job, Overview, Worker
from zoo.jobs.estimates import Estimate
from zoo.jobs.worker_records import unwell_text

BARS = ((100, 16), (70, 6))
"""(columns of the terminal, columns of a bar); a narrower terminal has no bars."""
WHOLE = ("bar", "step", "left", "for", "when", "slots", "state", "status")
"""Columns whose cells are never shortened."""


@dataclass
class Look:
    """The data of one frame."""

    overview: Overview
    workers: Sequence[Worker]
    where: str
    """The name of the database."""
    log: tuple[str, str] | None = None
    """(job, line): the newest log line of all jobs."""
    states: Mapping[str, int] = field(default_factory=dict)
    """Number of workers by state, the silent ones of the last hour too."""
    trouble: str = ""
    """The error of the latest query, if it failed."""


def lines(look: Look, width: int, height: int | None = None) -> list[Text]:
    """Return the lines of a frame; with a height, less important lines are left out."""
    left_out: set[str] = set()
    parts = [_head(look, width), _counts(look), _running(look, width, left_out)]
    parts += [_workers(look, width, left_out), _ended(look, width, left_out), _log(look, width)]
    if left_out:
        parts.append([Text(f"left out for width: {', '.join(sorted(left_out))}", "dim")])
    if height is not None:
        parts = _fitted(parts, height)
    shown = [line for part in parts if part for line in [*part, Text()]][:-1]
    return [console.fitted(line, width) for line in shown[:height]]


def _fitted(parts: list[list[Text]], height: int) -> list[list[Text]]:
    """Shorten long lists: first ended jobs, then workers, then running jobs."""
    for which, least in ((4, 2), (3, 2), (2, 3), (4, 0), (3, 0)):
        over = sum(len(part) + 1 for part in parts if part) - 1 - height
        if over > 0:
            part = parts[which]
            kept = max(len(part) - over, least)
            if kept < len(part):
                hidden = len(part) - kept + 1
                more = [Text(f"  ... and {hidden:,} more", "dim")] if kept > 1 else []
                parts[which] = part[: max(kept - 1, 0)] + more
    return parts


def _head(look: Look, width: int) -> list[Text]:
    clock = time.strftime("%H:%M:%S", time.localtime(look.overview.at))
    name = "zoo watch"
    room = max(width - len(clock) - len(name) - 4, 0)
    where = fitting.shorten(console.one_line(look.where), room, console.mark())
    title = Text.assemble((name, "bold"), "  ", (where, "dim"))
    title.append(" " * max(width - title.cell_len - len(clock), 1)).append(clock, "dim")
    trouble = [Text(console.one_line(look.trouble), "bold red")] if look.trouble else []
    return [title, *trouble]


def _counts(look: Look) -> list[Text]:
    """Return two lines: open jobs with the throughput, and ended jobs."""
    found, rate = look.overview.counts, look.overview.last_minute
    lines = [Text(), Text()]
    for status in LISTED:
        is_open = status in ("queued", "paused", "running")
        if found.get(status) or status in ("queued", "running"):
            line = lines[0] if is_open else lines[1]
            line.append(f"{found.get(status, 0):,}", "bold").append(" ")
            line.append(status, console.STYLES.get(status, "")).append("   ")
    lines[0].append(f"{rate:,} ended in the last minute", "" if rate else "dim")
    return [line for line in lines if line]


def _running(look: Look, width: int, left_out: set[str]) -> list[Text]:
    seen = look.overview
    if not seen.running:
        return [Text("nothing is running", "dim")]
    rows = [_cells(job, seen.estimates.get(job.id), seen.at, width) for job in seen.running]
    head = ["running", "model", "dataset", "bar", "step", "left", "for", "worker"]
    optional, unnamed = ("worker", "bar", "for", "dataset"), ("bar", "step")
    return _aligned(head, rows, width, left_out, optional, unnamed)


def _cells(job: Job, known: Estimate | None, at: float, width: int) -> list[Text]:
    part = known.part if known else None
    return [
        Text(job.id[:8]),
        Text(f"{job.model}{_part_and_name(job)}"),
        Text(job.dataset),
        _bar(part, next((size for least, size in BARS if width >= least), 0)),
        Text((known.steps or known.phase) if known else ""),
        _left(known),
        Text(console.ago(at - (job.started_at or at)), "dim"),
        Text(job.worker or "", "dim"),
    ]


def _left(known: Estimate | None) -> Text:
    if known is None:
        return Text()
    if known.silent is not None:
        return Text(known.rest(), "bold red")
    # The column's header is `left`.
    return Text("" if known.remaining is None else console.ago(known.remaining))


def _part_and_name(job: Job) -> str:
    fold, name = job.spec.get("fold"), f" ({job.name})" if job.name else ""
    if fold:
        return f" fold {fold['index'] + 1}/{fold['k']}{name}"
    return f" seed {job.spec['seed']}{name}" if job.group else name


def _bar(part: float | None, size: int) -> Text:
    done = round((part or 0) * size)
    return Text.assemble(("━" * done, "cyan"), ("━" * (size - done), "bright_black"))


def _workers(look: Look, width: int, left_out: set[str]) -> list[Text]:
    unwell = unwell_text(look.states)
    counted = [Text(f"  {unwell}", "yellow")] if unwell else []
    if not look.workers:
        return [Text("no worker is online", "dim"), *counted]
    rows = [
        [
            Text(worker.name),
            Text(f"{worker.busy}/{worker.slots} slots"),
            Text(worker.pool),
            Text(worker.state, "" if worker.state == "online" else "yellow"),
        ]
        for worker in look.workers
    ]
    head = ["workers", "slots", "pool", "state"]
    table = _aligned(head, rows, width, left_out, ("pool",), ("slots", "state"))
    troubles = [f"  {w.name}: {w.trouble}" for w in look.workers if w.trouble]
    return [*table, *counted, *(Text(console.safe(each), "yellow") for each in troubles)]


def _ended(look: Look, width: int, left_out: set[str]) -> list[Text]:
    seen = look.overview
    rows = [
        [
            Text(job.id[:8]),
            Text(f"{job.model}{_part_and_name(job)}"),
            Text(job.dataset),
            console.status(job.listed_status),
            Text(console.number(job.accuracy) or (job.error or "").partition("\n")[0]),
            Text(f"{console.ago(seen.at - (job.finished_at or seen.at))} ago", "dim"),
        ]
        for job in seen.ended
    ]
    head = ["ended", "model", "dataset", "status", "result", "when"]
    unnamed = ("result", "when")
    return _aligned(head, rows, width, left_out, ("when", "dataset"), unnamed) if rows else []


def _log(look: Look, width: int) -> list[Text]:
    if look.log is None:
        return []
    job, line = look.log
    start = f"{job[:8]}  "
    shown = fitting.shorten(console.one_line(line), width - len(start), console.mark())
    return [Text.assemble((start, "dim"), shown)]


def _aligned(
    head: Sequence[str],
    rows: Sequence[Sequence[Text]],
    width: int,
    left_out: set[str],
    optional: Sequence[str],
    unnamed: Collection[str],
) -> list[Text]:
    """Return the table, fitted to the width; add the names of omitted columns to `left_out`.

    Columns of `unnamed` have no header, and are omitted if they are empty.
    """
    for cell in (cell for row in rows for cell in row):
        cell.plain = console.one_line(cell.plain)
    used = [i for i, name in enumerate(head) if name not in unnamed or any(row[i] for row in rows)]
    names = ["" if head[i] in unnamed else head[i] for i in used]
    measured = [
        fitting.column(name, [row[i].plain for row in rows], is_whole=head[i] in WHOLE)
        for i, name in zip(used, names, strict=True)
    ]
    kept = [head[i] for i in used]
    fit = fitting.fit(measured, width, [kept.index(name) for name in optional if name in kept])
    left_out.update(kept[i] for i in fit.left_out)
    lines = []
    cells = [[row[i] for i in used] for row in rows]
    for shown in ([Text(name, "bold") for name in names], *cells):
        line = Text()
        for i, size in fit.widths.items():
            cell_shown = console.fitted(shown[i], size)
            line.append(cell_shown).append(" " * (size - columns_of(str(cell_shown)) + fitting.GAP))
        line.rstrip()
        lines.append(line)
    return lines


def plain(look: Look) -> str:
    """Return a frame as one line, for output that is not a terminal."""
    seen = look.overview
    said = ", ".join(f"{seen.counts[each]:,} {each}" for each in LISTED if seen.counts.get(each))
    clock = time.strftime("%H:%M:%S", time.localtime(seen.at))
    unwell = unwell_text(look.states)
    workers = f"; workers: {unwell}" if unwell else ""
    return f"{clock}  {said or 'no job'}; {seen.last_minute:,} ended in the last minute{workers}"
