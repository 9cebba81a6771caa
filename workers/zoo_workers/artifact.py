"""The artifact of one attempt: stored, flushed, and removed again if no row comes to name it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from zoo import jobs
from zoo.errors import ArtifactError, StoreError
from zoo.jobs import Claim, Database, JobNotFound
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo_workers.workspace import Attempt


class Artifact:
    """What an attempt has left, once it is to stay."""

    def __init__(self, settings: Settings, claim: Claim, attempt: Attempt) -> None:
        self._settings = settings
        self._claim = claim
        self._attempt = attempt
        self.where = f"{claim.job}/{claim.attempt}"
        """Its place below the URL of artifacts."""
        self.sha256: str | None = None
        """Of its manifest, once it is stored."""
        self.named = False
        """Whether the row names it."""
        self._begun = False
        self._unflushed: list[str] = []
        self._fault = ""

    def order(self) -> dict[str, Any]:
        """What it takes to store it, as JSON. Raises OSError if the log cannot be written."""
        self._begun = True
        self._attempt.keep_log()
        return {
            "folder": str(self._attempt.files),
            "where": self.where,
            "facts": {"job": self._claim.job, "attempt": self._claim.attempt},
            "texts": self._attempt.texts,
        }

    def hear(self, told: Mapping[str, Any]) -> None:
        """Take in what the process that was to store it has told; nothing: it could not."""
        self.sha256 = told.get("sha256")
        self._fault = told.get("fault", "")
        # Whoever moved it may have begun to flush: a disk asked again may have forgotten a fault.
        if not (self.sha256 or self._fault or self._attempt.files.exists()):
            self._fault = f"Nobody can tell whether {self.where} was stored."

    def put(self) -> None:
        """Store it, unless that is done; it then remains to be flushed.

        Raises ArtifactError if the place cannot be written to, OSError if the disk is full.
        """
        if self.sha256 is None and not self._fault:
            order = self.order()
            self.sha256 = artifacts.put(
                self._attempt.files,
                self._settings.artifacts,
                order["where"],
                order["facts"],
                order["texts"],
                self._unflushed,
            )

    def flush(self) -> None:
        """Have it survive a power cut; it is flushed once, by whoever stored it.

        Raises ArtifactError if that has failed.
        """
        if self._fault:
            raise ArtifactError(self._fault)
        paths, self._unflushed = self._unflushed, []
        artifacts.flush(paths)

    def tidy(self, db: Database) -> None:
        """Remove what earlier attempts, and this one if it lost, have stored: no row names it."""
        if self._claim.attempt == 1 and self.named == self._begun:
            return
        with contextlib.suppress(StoreError, ArtifactError):  # it is only room on a disk
            try:
                found = jobs.get(db, self._claim.job)
            except JobNotFound:  # as after the restore of an older backup
                artifacts.remove(self._settings.artifacts, self.where)
                return
            over = found.is_terminal or found.attempt > self._claim.attempt
            for n in range(1, self._claim.attempt + over):
                where = f"{self._claim.job}/{n}"
                if where != found.artifact:
                    artifacts.remove(self._settings.artifacts, where)
