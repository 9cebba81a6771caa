"""Ask running trainings to end now, with what they have learned so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, Job
from zoo.queue import catalogue
from zoo.queue.catalogue import Offer


@dataclass(frozen=True)
class StopRequests:
    """What became of requests to stop."""

    asked: list[str] = field(default_factory=list)
    """The jobs that end after their next report."""
    refused: dict[str, UsageError] = field(default_factory=dict)
    """Why the others do not, by job."""

    def first_refusal(self) -> UsageError | None:
        """Return a refusal if nothing was asked to stop."""
        return None if self.asked else next(iter(self.refused.values()), None)


def request_stops(db: Database, job_ids: Sequence[str]) -> StopRequests:
    """Ask jobs to end now with what they have learned so far, as far as they can.

    Raises StoreError if the database cannot be read.
    """
    offers = catalogue.models()
    found = StopRequests()
    for job in jobs.get_many(db, job_ids):
        refusal = refuse(job, offers)
        if refusal is None and not jobs.request_stop(db, job.id):
            refusal = refuse(jobs.get(db, job.id), offers)
        if refusal is None:
            found.asked.append(job.id)
        else:
            found.refused[job.id] = refusal
    return found


def can_stop(job: Job, offers: Mapping[str, Offer]) -> bool:
    """Return whether a request to stop would be accepted, and has not been made."""
    return refuse(job, offers) is None and not job.stop_requested


def refuse(job: Job, offers: Mapping[str, Offer]) -> UsageError | None:
    """Return why a job cannot end early with a result; None if it can."""
    short = job.id[:8]
    if job.is_terminal:
        return UsageError(f"The job {short} has already ended: {job.status}.")
    if job.is_paused:
        return UsageError(
            f"The job {short} is paused at a rung of its sweep.", f"Cancel it: zoo cancel {short}."
        )
    if job.status == "queued":
        return UsageError(
            f"The job {short} is queued and has learned nothing yet.",
            f"Cancel it: zoo cancel {short}.",
        )
    if job.cancel_requested:
        return UsageError(f"The job {short} is being cancelled.")
    if job.kind != "train":
        return UsageError(
            f"The job {short} is an evaluation, and only trainings can stop early.",
            f"Cancel it: zoo cancel {short}.",
        )
    offer = offers.get(job.model)
    if offer is None or not offer.card.can_stop:
        return UsageError(
            f"The model '{job.model}' of the job {short} can predict nothing before its training "
            "has ended.",
            f"`zoo cancel {short}` ends it without a result; "
            """`zoo models --where '"stop" in uses'` lists the models that can stop early.""",
        )
    return None
