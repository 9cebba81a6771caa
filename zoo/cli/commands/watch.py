"""`zoo watch`: a live dashboard of jobs and workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.filter_options import FilterWords, filtered

if TYPE_CHECKING:
    from zoo.cli.render.dashboard import Look
    from zoo.jobs import Database, Filter, Overview
    from zoo.settings import Settings

SOONEST, LATEST = 0.5, 5.0
"""Seconds between two updates: the shorter while something changes, else up to the longer."""
SHARE = 20
"""Queries take at most 1/SHARE of the time."""
RESIZE_SECONDS = 0.1
LEAVE = "qQ\x04"
"""q, or Ctrl-D."""
PLAIN_SECONDS = 10.0
"""Seconds between two lines when stdout is not a terminal."""


def add_to(app: typer.Typer) -> None:
    app.command()(watch)


@filtered
def watch(
    words: FilterWords,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
) -> None:
    """Show jobs, workers and the newest log line, live. q or Ctrl-C exits; jobs continue."""
    from zoo import jobs, settings
    from zoo.cli.render import console

    setup = settings.load()
    db = jobs.connect(setup.database)
    poller = _Poller(db, setup, words.filter(db))
    try:
        if once:
            _print_once(poller)
        elif console.out.is_terminal:
            _live(poller)
        else:
            _plain(poller)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


class _Poller:
    """Queries the database, and decides when to query again."""

    def __init__(self, db: Database, settings: Settings, wanted: Filter) -> None:
        self.db = db
        self.settings = settings
        self.wanted = wanted
        self.pause = SOONEST
        self.seen: Look | None = None

    def look(self) -> Look:
        """Query now. Raises StoreError if the first query fails; later failures are shown."""
        from zoo import jobs
        from zoo.cli.render.dashboard import Look
        from zoo.errors import StoreError

        start = time.monotonic()
        try:
            found = jobs.overview(self.db, self.wanted)
            workers = jobs.workers(self.db)
            states = jobs.count_worker_states(self.db)
        except StoreError as error:
            if self.seen is None:
                raise
            self.seen.trouble = f"Trying again: {error.message}"
            self.pause = LATEST
            return self.seen
        new = Look(found, workers, self.db.name, self._newest_line(found), states)
        is_same = self.seen is not None and _moving(new) == _moving(self.seen)
        quiet = min(self.pause * 1.5, LATEST) if is_same else SOONEST
        self.pause = max(quiet, SHARE * (time.monotonic() - start))
        self.seen = new
        return new

    def _newest_line(self, found: Overview) -> tuple[str, str] | None:
        """The last log line of a running job that has changed, else the line shown before."""
        logs = found.logs
        before = self.seen.overview.logs if self.seen else {}
        changed = [job for job in logs if logs[job] != before.get(job)]
        shown = self.seen.log if self.seen else None
        return (changed[-1], logs[changed[-1]][1]) if changed else shown


def _moving(look: Look) -> object:
    """The values whose change counts as activity."""
    seen = look.overview
    return seen.counts, [job.progress for job in seen.running], seen.logs, len(look.workers)


def _print_once(poller: _Poller) -> None:
    from zoo.cli.render import console, dashboard

    for line in dashboard.lines(poller.look(), console.width()):
        line.rstrip()
        console.out.print(line, soft_wrap=True)


def _plain(poller: _Poller) -> None:
    from zoo.cli import streams
    from zoo.cli.render import console, dashboard

    printed, at = "", 0.0
    while not streams.is_unread():
        line = dashboard.plain(poller.look())
        if line[8:] != printed and time.monotonic() - at > PLAIN_SECONDS:
            console.line(line)
            console.out.file.flush()
            printed, at = line[8:], time.monotonic()
        time.sleep(poller.pause)


def _live(poller: _Poller) -> None:
    from rich.console import Group
    from rich.control import Control
    from rich.live import Live

    from zoo.cli.render import console, dashboard, keyboard

    look, screen = poller.look(), console.out
    with (
        keyboard.pressed() as pressed,
        Live(console=screen, screen=True, auto_refresh=False) as live,
    ):
        try:
            while True:
                size, due = screen.size, time.monotonic() + poller.pause
                live.update(Group(*dashboard.lines(look, size.width, size.height)), refresh=True)
                while time.monotonic() < due and screen.size == size:
                    key = pressed.wait(min(RESIZE_SECONDS, max(due - time.monotonic(), 0)))
                    if {*key} & {*LEAVE}:
                        return
                if screen.size == size:
                    look = poller.look()
        finally:
            # After a resize tmux leaves some of these lines on the normal screen.
            screen.control(Control.home(), Control.clear())
