"""The ends of attempts: what they have left is stored, and how they ended is committed."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from zoo import jobs
from zoo.errors import ZooError, reason
from zoo.jobs import Database
from zoo_workers.artifact_writer import Storer
from zoo_workers.execution import Watch

logger = logging.getLogger("zoo.worker")

MOST_ENDS = 16
"""Attempts of one slot that are at their end at once: to store and to commit is to wait for disks,
and takes little else."""
STREAM_SECONDS = 0.1
"""Where an end follows the last one so soon, more will come."""
GATHER_SECONDS = 0.01
"""What it then waits for them: together they cost one commit, of the journal and of the rows."""


class Ends:
    """Ends attempts that have run: those of a moment together, every other one by itself."""

    def __init__(
        self,
        db: Database,
        slots: int,
        storer: Storer,
        ended: Callable[[Watch], None],
        after: Callable[[], None],
    ) -> None:
        """`ended` is told of each; `after` follows one or several."""
        self.db = db
        self._storer = storer
        self._ended = ended
        self._after = after
        self._pool = ThreadPoolExecutor(slots * MOST_ENDS, thread_name_prefix="end")
        self._lock = threading.Lock()
        self._waiting: list[tuple[Watch, Future[None]]] = []
        self._added = -math.inf

    def add(self, watch: Watch) -> Future[None]:
        """End this one soon."""
        if not watch.is_brief:
            return self._pool.submit(self._end, [watch])
        done: Future[None] = Future()
        with self._lock:
            self._waiting.append((watch, done))
            is_first = len(self._waiting) == 1
            before, self._added = self._added, time.monotonic()
        if is_first:
            gather = GATHER_SECONDS if self._added - before < STREAM_SECONDS else 0.0
            self._pool.submit(self._end_those_waiting, gather)
        return done

    def _end_those_waiting(self, gather: float) -> None:
        time.sleep(gather)
        with self._lock:
            some, self._waiting = self._waiting, []
        try:
            self._end([watch for watch, _ in some])
        finally:
            for _, done in some:
                done.set_result(None)

    def _end(self, watches: Sequence[Watch]) -> None:
        committed = self._commit(watches) if len(watches) > 1 else set()
        for watch in watches:
            job = watch.job.id[:8]
            with _borne(f"job {job} could not be ended"):
                logger.info("job %s %s", job, watch.end(committed=watch in committed))
            self._ended(watch)
        with _borne("others were not woken"):
            self._after()

    def _commit(self, watches: Sequence[Watch]) -> set[Watch]:
        """Commit those that can be together; whatever stands in the way, each goes on by itself."""
        try:
            self._storer.store([watch.artifact for watch in watches if watch.has_result])
            for watch in watches:
                watch.store()
            # The first flush has the journal take in all that was moved; each answers for its own.
            for watch in watches:
                watch.flush()
            words = {watch: word for watch in watches if (word := watch.word())}
            if not words:
                return set()
            heard = jobs.finish_all(self.db, list(words.values()))
            return {watch for watch, was_heard in zip(words, heard, strict=True) if was_heard}
        except Exception as error:
            why = error if isinstance(error, ZooError) else reason(error)
            logger.warning("%d jobs end one by one: %s", len(watches), why)
            return set()


@contextlib.contextmanager
def _borne(what: str) -> Iterator[None]:
    """Log what goes wrong: of a store that is away, somebody's next look finds what is missing."""
    try:
        yield
    except ZooError as error:
        logger.warning("%s: %s", what, error)
    except Exception:
        logger.exception("%s", what)
