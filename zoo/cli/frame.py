"""What `zoo watch` draws: the lines of one look, each as wide as the terminal lets it be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from zoo.cli import output
from zoo.jobs import STATUSES, Job, Overview, Worker
from zoo.jobs.outlook import Outlook

BARS = ((100, 16), (70, 6))
"""(columns of the terminal, columns of a bar); a narrower terminal has no bars."""


@dataclass
class Look:
    """What was seen last."""

    overview: Overview
    workers: Sequence[Worker]
    where: str
    """The name of the database."""
    log: tuple[str, str] | None = None
    """(job, line): the newest line of all."""
    trouble: str = ""
    """Why the next look failed."""


def lines(look: Look, width: int, height: int | None = None) -> list[Text]:
    """The frame; with a height, what matters less is left out first."""
    parts = [_head(look, width), _counts(look), _running(look, width), _workers(look)]
    parts += [_ended(look, width), _log(look)]
    if height is not None:
        parts = _fitted(parts, height)
    shown = [line for part in parts if part for line in [*part, Text()]][:-1]
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    return shown[:height]


def _fitted(parts: list[list[Text]], height: int) -> list[list[Text]]:
    """Shorten the long lists: first the jobs that ended, then workers, then the running ones."""
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
    title = Text.assemble(("zoo watch", "bold"), "  ", (output.safe(look.where), "dim"))
    title.truncate(max(width - len(clock) - 2, 0), overflow="ellipsis")
    title.append(" " * max(width - title.cell_len - len(clock), 1)).append(clock, "dim")
    trouble = [Text(output.safe(look.trouble), "bold red")] if look.trouble else []
    return [title, *trouble]


def _counts(look: Look) -> list[Text]:
    """What is left to do, and how fast it is done; then what has been done."""
    found, rate = look.overview.counts, look.overview.last_minute
    lines = [Text(), Text()]
    for status in STATUSES:
        is_open = status in ("queued", "running")
        if found.get(status) or is_open:
            line = lines[0] if is_open else lines[1]
            line.append(f"{found.get(status, 0):,}", "bold").append(" ")
            line.append(status, output.STYLES.get(status, "")).append("   ")
    lines[0].append(f"{rate:,} ended in the last minute", "" if rate else "dim")
    return [line for line in lines if line]


def _running(look: Look, width: int) -> list[Text]:
    seen = look.overview
    if not seen.running:
        return [Text("nothing is running", "dim")]
    rows = [_cells(job, seen.outlooks.get(job.id), seen.at, width) for job in seen.running]
    head = ["running", "model", "dataset", "", "", "left", "for", "worker"]
    return _aligned([[Text(name, "bold") for name in head], *rows])


def _cells(job: Job, known: Outlook | None, at: float, width: int) -> list[Text]:
    part = known.part if known else None
    left = known.left if known else None
    return [
        Text(job.id[:8]),
        Text(f"{job.model}{_part_of_group(job)}"),
        Text(job.dataset),
        _bar(part, next((size for least, size in BARS if width >= least), 0)),
        Text((known.steps or known.phase) if known else ""),
        Text("" if left is None else output.ago(left)),
        Text(output.ago(at - (job.started_at or at)), "dim"),
        Text(job.worker or "", "dim"),
    ]


def _part_of_group(job: Job) -> str:
    fold = job.spec.get("fold")
    if fold:
        return f" fold {fold['index'] + 1}/{fold['k']}"
    return f" seed {job.spec['seed']}" if job.group else ""


def _bar(part: float | None, size: int) -> Text:
    done = round((part or 0) * size)
    return Text.assemble(("━" * done, "cyan"), ("━" * (size - done), "bright_black"))


def _workers(look: Look) -> list[Text]:
    if not look.workers:
        return [Text("no worker is online", "dim")]
    rows = [
        [
            Text(worker.name),
            Text(f"{worker.busy}/{worker.slots} slots"),
            Text(worker.pool),
            Text(worker.state, "" if worker.state == "online" else "yellow"),
        ]
        for worker in look.workers
    ]
    return _aligned([[Text(name, "bold") for name in ("workers", "", "pool", "")], *rows])


def _ended(look: Look, width: int) -> list[Text]:
    seen = look.overview
    rows = [
        [
            Text(job.id[:8]),
            Text(f"{job.model}{_part_of_group(job)}"),
            Text(job.dataset),
            output.status(job.status),
            Text(output.number(job.accuracy) or (job.error or "").partition("\n")[0]),
            Text(f"{output.ago(seen.at - (job.finished_at or seen.at))} ago", "dim"),
        ]
        for job in seen.ended
    ]
    head = [Text(name, "bold") for name in ("ended", "model", "dataset", "status", "", "")]
    return _aligned([head, *rows]) if rows else []


def _log(look: Look) -> list[Text]:
    if look.log is None:
        return []
    job, line = look.log
    return [Text.assemble((f"{job[:8]}  ", "dim"), output.safe(line))]


def _aligned(rows: Sequence[Sequence[Text]]) -> list[Text]:
    """Rows with their cells below each other; a column in which nothing stands is left out."""
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    found = []
    for row in rows:
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            if width:
                safe = Text(output.safe(cell.plain), cell.style, spans=list(cell.spans))
                line.append(safe).append(" " * (width - cell.cell_len + output.GAP))
        found.append(line)
    return found


def plain(look: Look) -> str:
    """One line for where there is no terminal."""
    seen = look.overview
    said = ", ".join(f"{seen.counts[each]:,} {each}" for each in STATUSES if seen.counts.get(each))
    clock = time.strftime("%H:%M:%S", time.localtime(seen.at))
    return f"{clock}  {said or 'no job'}; {seen.last_minute:,} ended in the last minute"
