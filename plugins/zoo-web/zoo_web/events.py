"""What a page shows, while somebody looks at it: rows are read twice a second, changes are sent."""

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

SOONEST, LATEST = 0.5, 5.0
"""Seconds between two looks: now, and while the rows cannot be read."""
SHARE = 10
"""To look takes at most one part in so many of the time."""

Parts = Mapping[str, Mapping[str, str]]
"""The places of a page, and what stands in each: pieces of HTML by their keys, in order.

They come from `Desk.piece`, and are safe to put into a page as they are."""


@dataclass
class LogNews:
    """What has been printed since the last look."""

    lines: Sequence[tuple[int, str]]
    """The lines that have ended, each with its attempt."""
    rest: tuple[int, str]
    """The line that has not ended, which takes the place of the one that was sent before."""
    seen: tuple[int, int]
    """(attempt, start) of the last piece that was read."""


@dataclass
class Look:
    """What was seen at one look."""

    parts: Parts
    log: LogNews | None = None
    is_last: bool = False
    """Nothing will change any more."""


@dataclass
class Sent:
    """What the page has been told already."""

    pieces: dict[str, dict[str, str]] = field(default_factory=dict)

    def news(self, parts: Parts) -> dict[str, list[tuple[str, str | None]]]:
        """What has changed: of each such place all keys in order, None where a piece has not."""
        found = {}
        for place, pieces in parts.items():
            known = self.pieces.get(place)
            if known is None or [*known.items()] != [*pieces.items()]:
                known = known or {}
                found[place] = [
                    (key, None if known.get(key) == piece else piece)
                    for key, piece in pieces.items()
                ]
                self.pieces[place] = dict(pieces)
        return found


def stream(look: Callable[[], Look]) -> Response:
    """Answer with events for as long as somebody listens; `look` may block."""
    answer: Response = EventSourceResponse(_events(look))
    return answer


async def _events(look: Callable[[], Look]) -> AsyncIterator[dict[str, Any]]:
    sent = Sent()
    while True:
        start = time.monotonic()
        try:
            seen = await run_in_threadpool(look)
        except StoreError as error:
            yield _event("trouble", str(error))
            await asyncio.sleep(LATEST)
            continue
        news = sent.news(seen.parts)
        if news:
            yield _event("parts", news)
        if seen.log:
            attempt, place_in_log = seen.log.seen
            lines = {"lines": seen.log.lines, "rest": seen.log.rest}
            yield _event("log", lines) | {"id": f"{attempt}:{place_in_log}"}
        if seen.is_last:
            yield _event("end", "")
            return
        await asyncio.sleep(max(SOONEST, SHARE * (time.monotonic() - start)))


def _event(name: str, data: Any) -> dict[str, Any]:
    return {"event": name, "data": json.dumps(data, ensure_ascii=False), "retry": 1000}


def place(last_event_id: str | None) -> tuple[int, int]:
    """Where in the log a page is that comes back: what `jobs.log_after` takes as seen."""
    attempt, _, start = (last_event_id or "").partition(":")
    if attempt.isdecimal() and start.isdecimal() and len(attempt + start) < 18:
        return int(attempt), int(start)
    return 0, -1
