"""Server-sent events of a live page: rows are read twice a second, changes are sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from zoo.errors import StoreError

POLL_SECONDS = 0.5
RETRY_SECONDS = 5.0
"""Interval while the database cannot be read."""
SHARE = 10
"""Reading takes at most one part in this many of the time."""

Parts = Mapping[str, Mapping[str, str]]
"""The parts of a page: for each, fragments of HTML by their keys, in order.

They come from `PageContext.fragment`, which escapes values."""


@dataclass
class LogUpdate:
    """The output since the last snapshot."""

    lines: Sequence[tuple[int, str]]
    """Complete lines, each with its attempt."""
    rest: tuple[int, str]
    """The incomplete line, with its attempt; it replaces the one that was sent before."""
    seen: tuple[int, int]
    """(attempt, start) of the last chunk that was read."""


@dataclass
class Snapshot:
    """What a live page shows at one time."""

    parts: Parts
    log: LogUpdate | None = None
    is_last: bool = False
    """Whether nothing will change any more."""


@dataclass
class SentParts:
    """The parts that a page has already received."""

    fragments: dict[str, dict[str, str]] = field(default_factory=dict)

    def changes(self, parts: Parts) -> dict[str, list[tuple[str, str | None]]]:
        """Return the changed parts: all keys in order, None for a fragment that is the same."""
        found = {}
        for name, fragments in parts.items():
            known = self.fragments.get(name)
            if known is None or [*known.items()] != [*fragments.items()]:
                known = known or {}
                found[name] = [
                    (key, None if known.get(key) == fragment else fragment)
                    for key, fragment in fragments.items()
                ]
                self.fragments[name] = dict(fragments)
        return found


def stream(read: Callable[[], Snapshot]) -> Response:
    """Respond with events while the client is connected; `read` may block."""
    answer: Response = EventSourceResponse(_events(read))
    return answer


async def _events(read: Callable[[], Snapshot]) -> AsyncIterator[dict[str, Any]]:
    sent, is_troubled = SentParts(), False
    while True:
        start = time.monotonic()
        try:
            snapshot = await run_in_threadpool(read)
        except StoreError as error:
            is_troubled = True
            yield _event("trouble", str(error))
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if is_troubled:
            is_troubled = False
            yield _event("trouble", "")
        changes = sent.changes(snapshot.parts)
        if changes:
            yield _event("parts", changes)
        if snapshot.log:
            attempt, start_in_log = snapshot.log.seen
            lines = {"lines": snapshot.log.lines, "rest": snapshot.log.rest}
            yield _event("log", lines) | {"id": f"{attempt}:{start_in_log}"}
        if snapshot.is_last:
            yield _event("end", "")
            return
        await asyncio.sleep(max(POLL_SECONDS, SHARE * (time.monotonic() - start)))


def _event(name: str, data: Any) -> dict[str, Any]:
    return {"event": name, "data": json.dumps(data, ensure_ascii=False), "retry": 1000}


def log_position(last_event_id: str | None) -> tuple[int, int]:
    """Return the log position of a page that reconnects, as `jobs.log_after` takes it."""
    attempt, _, start = (last_event_id or "").partition(":")
    if attempt.isdecimal() and start.isdecimal() and len(attempt + start) < 18:
        return int(attempt), int(start)
    return 0, -1
