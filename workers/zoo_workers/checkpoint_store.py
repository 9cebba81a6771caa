"""The checkpoints of one attempt: fetched before it begins, stored while it trains."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from zoo import jobs
from zoo.errors import ArtifactError, StoreError, ZooError, reason
from zoo.jobs import Claim, Database, JobNotFound
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo_workers.heartbeat import POLL_SECONDS
from zoo_workers.local_checkpoints import SavedCheckpoint
from zoo_workers.workspace import Workspace

logger = logging.getLogger("zoo.worker")

RETRY_SECONDS = 5.0
"""Wait before a checkpoint that could not be stored is tried again."""
COMPLETE_SECONDS = 120.0
"""Longest wait for an upload before an attempt that may go on later is ended."""
CLOSE_SECONDS = 30.0
"""Longest wait for an upload that is of no use any more."""


class CheckpointStore:
    """Stores the newest checkpoint of an attempt, names it in the job's row, deletes older ones.

    A thread does that, since an upload may take minutes; it starts with the first checkpoint.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        claim: Claim,
        workspace: Workspace,
        earlier: Mapping[str, Any] | None,
        is_lost: Callable[[], bool],
    ) -> None:
        """Prepare the checkpoints of an attempt.

        Args:
            db: Database with the job's row.
            settings: The worker's settings.
            claim: The claim of the attempt.
            workspace: Where the runner saves checkpoints.
            earlier: The checkpoint that the row names at the claim.
            is_lost: Returns whether the claim is lost or will soon be.
        """
        self.has_advanced = False
        """Whether the row names a checkpoint beyond that from which the attempt began."""
        self._db = db
        self._url = settings.artifacts
        self._claim = claim
        self._workspace = workspace
        self._earlier = earlier
        self._is_lost = is_lost
        self._named = str(earlier["where"]) if earlier else None
        self._changed = threading.Condition()
        self._waiting: SavedCheckpoint | None = None
        self._is_ending = self._must_delete = False
        self._thread: threading.Thread | None = None
        self._has_swept = False
        self._error = ""

    def fetch(self) -> None:
        """Copy the checkpoint that the row names into the workspace, and verify it.

        Raises ArtifactError if it is missing or was changed, or the store cannot be read.
        """
        if self._earlier:
            folder = self._workspace.checkpoints.earlier
            folder.mkdir()
            where, sha256 = str(self._earlier["where"]), str(self._earlier["sha256"])
            artifacts.get(self._url, where, sha256, folder)

    def poll(self) -> None:
        """Have the newest checkpoint stored, if the runner has saved one since the last call."""
        saved = self._workspace.take_checkpoint()
        if saved is None:
            return
        with self._changed:
            self._waiting = saved
            self._changed.notify()
        if self._thread is None:
            name = f"checkpoints-{self._claim.job[:8]}"
            self._thread = threading.Thread(target=self._run, daemon=True, name=name)
            self._thread.start()

    def complete(self) -> None:
        """Wait until the newest checkpoint is stored, but not beyond the validity of the lease.

        After an error, and after COMPLETE_SECONDS, it is given up.
        """
        self.poll()
        self._end()
        ends = time.monotonic() + COMPLETE_SECONDS
        while self._is_storing() and not self._is_lost() and time.monotonic() < ends:
            self._join(POLL_SECONDS)

    def close(self, *, has_succeeded: bool) -> None:
        """End the thread; of a job that `has_succeeded` delete all checkpoints."""
        with self._changed:
            self._waiting = None
            self._must_delete = has_succeeded
        self._end()
        self._join(CLOSE_SECONDS)
        if has_succeeded and not self._is_storing():  # else the thread does that
            self._delete_all()

    def _delete_all(self) -> None:
        if self._thread or self._earlier or self._claim.attempt > 1:
            self._remove(f"{self._claim.job}/{jobs.CHECKPOINTS}")
        if self._earlier:  # may be of the job that this one has continued
            self._remove(str(self._earlier["where"]))

    def _is_storing(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _join(self, seconds: float) -> None:
        if self._thread:
            self._thread.join(seconds)

    def _end(self) -> None:
        with self._changed:
            self._is_ending = True
            self._changed.notify()

    def _run(self) -> None:
        self._store_all()
        if self._must_delete:
            self._delete_all()

    def _store_all(self) -> None:
        while saved := self._next():
            if self._store(saved):
                continue
            with self._changed:
                if self._is_ending or self._is_lost():
                    return
                self._changed.wait_for(lambda: self._waiting or self._is_ending, RETRY_SECONDS)
                self._waiting = self._waiting or saved

    def _next(self) -> SavedCheckpoint | None:
        """Wait for the next checkpoint; return None once there is none and none will follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_ending)
            saved, self._waiting = self._waiting, None
        return saved

    def _store(self, saved: SavedCheckpoint) -> bool:
        """Store one checkpoint; return False if it is to be tried again."""
        job, attempt = self._claim.job, self._claim.attempt
        folder = self._workspace.checkpoints.folder / saved.name
        where = jobs.checkpoint_path(job, attempt, saved.name)
        facts = {"job": job, "attempt": attempt, "step": saved.step}
        try:
            n_bytes = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
            sha256 = artifacts.put(folder, self._url, where, facts)
        except (ZooError, OSError) as error:
            self._log(error if isinstance(error, ZooError) else reason(error))
            self._remove(where)
            return not folder.exists()
        self._workspace.checkpoints.remove(up_to=saved.name)
        checkpoint = {
            "where": where,
            "sha256": sha256,
            "attempt": attempt,
            **{"step": saved.step, "total": saved.total, "unit": saved.unit},
            "bytes": n_bytes,
            "at": self._workspace.database_time(saved.at),
            # Otherwise it may be no further than earlier attempts have come.
            "advanced": self._earlier is None or self._workspace.checkpoints.has_resumed,
        }
        if self._name(checkpoint):
            self._error = ""
            self.has_advanced = self.has_advanced or bool(checkpoint["advanced"])
            self._remove_older(where)
        elif not self._is_named(where):
            self._remove(where)
        return True

    def _name(self, checkpoint: Mapping[str, Any]) -> bool:
        """Name the checkpoint in the job's row; return False if the claim was lost."""
        while True:
            try:
                return jobs.save_checkpoint(self._db, self._claim, checkpoint)
            except StoreError as error:
                if self._is_lost():
                    return False
                self._log(error)
                time.sleep(POLL_SECONDS)

    def _is_named(self, where: str) -> bool:
        """Return whether the row may name it: the reply of a commit may be lost."""
        try:
            found = jobs.get(self._db, self._claim.job)
        except JobNotFound:
            return False
        except StoreError:
            return True
        return bool(found.checkpoint and found.checkpoint["where"] == where)

    def _remove_older(self, newest: str) -> None:
        older, self._named = self._named, newest
        if older:  # may be of the job that this one continues, and that is not retried again
            self._remove(older)
        if self._claim.attempt > 1 and not self._has_swept:
            self._has_swept = True
            self._remove_leftovers(newest)

    def _remove_leftovers(self, newest: str) -> None:
        """Remove older checkpoints, which workers that died have stored and not named.

        Not younger ones: if this worker sleeps through its lease now, they are of another one.
        """
        place = f"{self._claim.job}/{jobs.CHECKPOINTS}"
        try:
            found = artifacts.folders(self._url, place)
        except ArtifactError as error:
            self._log(error)
            return
        for name in found:
            if _age(name) < _age(newest.rpartition("/")[2]):
                self._remove(f"{place}/{name}")

    def _remove(self, where: str) -> None:
        """Remove it; an error is ignored, since the only cost is space."""
        try:
            artifacts.remove(self._url, where)
        except ArtifactError as error:
            self._log(error)

    def _log(self, error: object) -> None:
        """Log an error when it appears or changes."""
        text = str(error)
        if text != self._error:
            self._error = text
            logger.warning("job %s: its checkpoint: %s", self._claim.job[:8], text)


def _age(name: str) -> tuple[int, ...]:
    """Return (attempt, number) of the folder of a checkpoint; what has another name counts last."""
    parts = name.split("-")
    return tuple(map(int, parts)) if all(each.isdigit() for each in parts) else (sys.maxsize,)
