"""The workspace of one attempt: its folder, the output of its runner, and its artifact."""

from __future__ import annotations

import codecs
import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo import jobs
from zoo.canonical_json import read_json
from zoo.errors import ArtifactError, StoreError
from zoo.jobs import Claim, Database, JobNotFound, ProgressUpdate
from zoo.jobs.environments import Environment
from zoo.settings import Settings
from zoo.storage import artifacts, saved_files
from zoo_workers.local_checkpoints import LocalCheckpoints, SavedCheckpoint
from zoo_workers.runner_pool import OutputFile, RunnerOutput

LOG = "log.txt"
"""Name of the log in the artifact."""
ENVIRONMENT = "environment.json"
"""In the artifact; as in `zoo.training.provenance`, which this process does not import."""


class Workspace:
    """What one attempt has on this machine, from its empty folder to the stored artifact."""

    def __init__(
        self, settings: Settings, claim: Claim, clock: Callable[[float], float] = lambda at: at
    ) -> None:
        """`clock` converts a `time.monotonic` of this machine to the database's time."""
        self._url = settings.artifacts
        self._artifact_mb = settings.artifact_mb
        self._claim = claim
        self.database_time = clock
        # With the owner: after the restore of a backup an attempt number may occur again.
        name = f"{claim.job}-{claim.attempt}-{claim.owner[:8]}"
        self.folder = settings.home / "work" / name
        """Working directory of the job; files that it writes to relative paths go with it."""
        self.files = self.folder / "files"
        """Files of the job, which become the artifact."""
        self.source = self.folder / "source"
        """Files of the trained model that an evaluation starts from."""
        self.checkpoints = LocalCheckpoints(self.folder)
        self.stop_file = self.folder / "stop"
        """Exists if the training is to end now, with what it has learned so far."""
        self.texts: dict[str, str] = {}
        """Small files of the artifact, which the runner sends with its progress."""

        self._output: RunnerOutput | None = None
        self._lock = threading.Lock()
        self._log_limit = settings.log_kb * 1024
        self._log = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._progress: dict[str, Any] = {}
        self._progress_offset, self._has_new_progress = 0, False
        self._fit_started_at: float | None = None
        self._steps: list[tuple[int, dict[str, Any]]] = []
        self._step_times: dict[int, float] = {}
        self._lines: list[tuple[int, str]] = []

        self.where = f"{claim.job}/{claim.attempt}"
        """Path of the artifact below the URL of artifacts."""
        self.bytes: int | None = None
        """Size of the files of the artifact."""
        self.sha256: str | None = None
        """Hash of the artifact's manifest, once it is stored."""
        self.is_referenced = False
        """Whether the job's row names the artifact."""
        self._store_began = False
        self._store_error = ""
        self._unflushed: list[str] = []

    # --- the folder ---

    def create(self) -> None:
        """Create the folder, with an empty one for the files."""
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            self.remove()
            self.folder.mkdir()
        self.files.mkdir()

    def remove(self) -> None:
        """Remove the folder."""
        try:
            self.folder.rmdir()  # usually empty: its files have become the artifact
        except FileNotFoundError:
            pass
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- the output of the runner ---

    @contextlib.contextmanager
    def reading(self, output: RunnerOutput) -> Iterator[None]:
        """Empty the runner's output, and read it until the end of the block."""
        output.clear()
        self._output = output
        try:
            yield
        finally:
            # The runner's next job writes to the same files.
            with self._lock:
                self._read()
                self._output = None

    @property
    def has_output(self) -> bool:
        """Whether the runner has written anything, so that it had started the job."""
        with self._lock:
            self._read()
        return bool(self._progress or self.texts)

    def pending_update(self) -> ProgressUpdate:
        """Return what the runner has written and `confirm` has not yet dropped."""
        with self._lock:
            self._read()
        progress = dict(self._progress) if self._has_new_progress else None
        return ProgressUpdate(
            progress,
            self._fit_started_at,
            tuple(self._steps),
            tuple(self._lines),
            resumed_from=self.checkpoints.resumed_from,
            step_times=dict(self._step_times),
        )

    def confirm(self, update: ProgressUpdate) -> None:
        """Drop an update that the database has."""
        del self._steps[: len(update.steps)], self._lines[: len(update.lines)]
        for step in update.step_times:
            self._step_times.pop(step, None)
        self._has_new_progress = False
        self._fit_started_at = None
        self.checkpoints.resumed_from = None

    def take_checkpoint(self) -> SavedCheckpoint | None:
        """Return the newest checkpoint that was saved since the last call, if there is one."""
        with self._lock:
            self._read()
            return self.checkpoints.take_saved()

    def request_stop(self) -> None:
        """Have the training end at its next report."""
        self.stop_file.touch()

    def environment(self) -> Environment | None:
        """Return the environment as the runner has recorded it; None before that."""
        text = self.texts.get(ENVIRONMENT)
        return Environment.from_json(read_json(text)) if text else None

    def _read(self) -> None:
        if self._output is None:
            return
        for message in self._read_progress(self._output.progress):
            self._apply(message)
        self._lines += self._read_log(self._output.log)

    def _apply(self, message: dict[str, Any]) -> None:
        if "text" in message:
            self.texts[message["file"]] = message["text"]
            return
        if "checkpoint" in message:
            self.checkpoints.apply_saved(message)
            return
        if "resumed_from" in message:
            self.checkpoints.apply_resumed(message["resumed_from"])
            self._steps += [(step, metrics) for step, metrics in message["steps"]]
            return
        if "phase" in message:
            since = self.database_time(message["at"])
            is_before_first_step = message["phase"] in ("prepare", "fit")
            start = dict(self.checkpoints.start) if is_before_first_step else {}
            # The curves have the unit of their steps on the axis, also when all is saved.
            start |= {"unit": self._progress["unit"]} if "unit" in self._progress else {}
            self._progress = {"phase": message["phase"], "since": since, **start}
            if message["phase"] == "fit":
                self._fit_started_at = since
        else:
            self._progress |= message
            # Of the preparation of data, or of a training that has begun anew.
            if not self.checkpoints.has_resumed:
                self._progress.pop("from_step", None)
            if "at" in message:
                self._progress["at"] = self.database_time(message["at"])
            # Progress within an epoch has no metrics: it is shown, but not recorded as a step.
            if message["metrics"]:
                self._steps.append((message["step"], message["metrics"]))
                if "at" in message:  # as in the database, the first report of a step counts
                    self._step_times.setdefault(message["step"], self._progress["at"])
        self._has_new_progress = True

    def _read_progress(self, file: OutputFile) -> list[dict[str, Any]]:
        content = file.read(self._progress_offset, file.size() - self._progress_offset)
        # A line without a newline is still being written.
        complete = content[: content.rfind(b"\n") + 1]
        self._progress_offset += len(complete)
        messages: list[dict[str, Any]] = json.loads(b"[%b]" % b",".join(complete.splitlines()))
        return messages

    def _read_log(self, file: OutputFile) -> list[tuple[int, str]]:
        start = len(self._log)
        left = self._log_limit - start
        if left <= 0:
            # The runner appends, so a job that prints without end does not fill the disk.
            if file.size() > 2 * self._log_limit:
                file.truncate(self._log_limit)
            return []
        content = file.read(start, left)
        self._log += content
        # The decoder keeps an incomplete UTF-8 sequence for the next read.
        text = self._decoder.decode(content).replace("\0", "")
        if len(content) == left:
            text += f"\n[the log is cut here, at {self._log_limit // 1024} kB]\n"
        return [(start, text)] if text else []

    # --- the artifact ---

    def store_request(self) -> dict[str, Any]:
        """Return the arguments of storing the artifact, as JSON for another process.

        Raises OSError if the log cannot be written, PluginError if the files are too large or too
        many.
        """
        if self._log:
            (self.files / LOG).write_bytes(self._log)
        texts = sum(len(text.encode()) for text in self.texts.values())
        self.bytes = saved_files.check_size(self.files, self._artifact_mb) + texts
        self._store_began = True
        return {
            "folder": str(self.files),
            "where": self.where,
            "facts": {"job": self._claim.job, "attempt": self._claim.attempt},
            "texts": self.texts,
        }

    def apply_store_reply(self, reply: Mapping[str, Any]) -> None:
        """Record the reply of the process that stored the artifact; empty if it could not."""
        self.sha256 = reply.get("sha256")
        self._store_error = reply.get("error", "")
        # The process may have failed at the flush, and a second fsync of the same file succeeds
        # even if the first one has lost data.
        if not (self.sha256 or self._store_error or self.files.exists()):
            self._store_error = f"It is unknown whether {self.where} was stored."

    def store(self) -> None:
        """Move the files to the artifact store, unless that is done; `flush` must follow.

        Raises ArtifactError if the store cannot be written to, OSError if the disk is full,
        PluginError if the files are too large or too many.
        """
        if self.sha256 is None and not self._store_error:
            request = self.store_request()
            self.sha256 = artifacts.put(
                self.files,
                self._url,
                request["where"],
                request["facts"],
                request["texts"],
                self._unflushed,
            )

    def flush(self) -> None:
        """Make the artifact survive a power failure; the process that stored it flushes it once.

        Raises ArtifactError if that has failed.
        """
        if self._store_error:
            raise ArtifactError(self._store_error)
        paths, self._unflushed = self._unflushed, []
        artifacts.flush(paths)

    def delete_unreferenced(self, db: Database) -> None:
        """Delete the artifacts of this job's attempts, up to this one, that its row does not name.

        Errors are ignored: the only cost is space on a disk.
        """
        if self._claim.attempt == 1 and self.is_referenced == self._store_began:
            return
        with contextlib.suppress(StoreError, ArtifactError):
            try:
                found = jobs.get(db, self._claim.job)
            except JobNotFound:  # as after the restore of an older backup
                artifacts.remove(self._url, self.where)
                return
            is_over = found.is_terminal or found.attempt > self._claim.attempt
            for n in range(1, self._claim.attempt + is_over):
                where = f"{self._claim.job}/{n}"
                if where != found.artifact:
                    artifacts.remove(self._url, where)


def remove_old_folders(db: Database, work: Path) -> None:
    """Remove the folders of finished attempts, which killed workers have left in `work`."""
    for folder in work.glob("*-*"):
        job, n = folder.name.split("-")[:2]
        over = [str(each.n) for each in jobs.attempts(db, job) if each.ended_at is not None]
        # An attempt without a row may belong to a worker of another database.
        if n in over:
            shutil.rmtree(folder, ignore_errors=True)
