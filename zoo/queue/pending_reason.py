"""Explain why a job waits or makes no progress: one sentence, for the first reason that applies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zoo import jobs
from zoo.errors import ZooError
from zoo.jobs import Database, Job, Worker, estimates
from zoo.jobs.queue_options import DEFAULT_POOL, GPU, GPU_POOL
from zoo.settings import Settings
from zoo.terminal_text import counted

STARTING = "The local worker is starting."


@dataclass(frozen=True)
class Scene:
    """A queued job and the live workers."""

    db: Database
    settings: Settings
    job: Job
    workers: Sequence[Worker]

    @functools.cached_property
    def able(self) -> list[Worker]:
        """The workers that can run the job."""
        job = self.job
        needed = (job.pool, job.model, job.needed_dataset, job.device)
        return [w for w in self.workers if w.can_run(*needed)]

    @functools.cached_property
    def running(self) -> list[estimates.JobAhead]:
        """The jobs that these workers are running."""
        return estimates.running_on(self.db, [worker.name for worker in self.able])

    @property
    def slots(self) -> int:
        return sum(worker.slots_for(self.job.device) for worker in self.able)


def sentence(db: Database, settings: Settings, job: Job) -> str:
    """Return why the job waits; empty if it has ended, makes progress, or is about to start."""
    if job.status == "running":
        return _silence(db, settings, job)
    if job.status != "queued":
        return ""
    scene = Scene(db, settings, job, jobs.workers(db))
    return next(filter(None, (reason(scene) for reason in REASONS)), "")


def _silence(db: Database, settings: Settings, job: Job) -> str:
    """Describe the silence of a running job's worker and its consequence; otherwise empty."""
    at = jobs.clock(db)
    silent = job.silent_for(at)
    if silent is None:
        return ""
    silence = f"Its worker {job.worker} has been silent for {silent:.0f} s."
    others = [w for w in jobs.workers(db) if w.name != job.worker]
    if not others:
        start = _start(settings, job)
        return f"{silence} No other worker is online to take the job over. {start}"
    left = (job.lease_until or at) - at
    when = f"In {left:.0f} s" if left > 0 else "Within seconds"
    return f"{silence} {when} it goes back into the queue."


def for_a_worker(scene: Scene) -> str:
    """Return why no online worker can run the job; empty if one can."""
    job = scene.job
    online = [worker for worker in scene.workers if worker.state == "online"]
    pool = [worker for worker in online if worker.pool == job.pool]
    if scene.able:
        return ""
    if not pool and not any(w.pool == job.pool and w.state == "sick" for w in scene.workers):
        if job.pool == DEFAULT_POOL and job.device != GPU and _is_local_worker_starting(scene):
            return STARTING
        start = _start(scene.settings, job)
        return f"No worker of the pool '{job.pool}' is online: it waits for one. {start}"
    sick = [
        w
        for w in scene.workers
        if w.state == "sick" and w.serves(job.pool, job.model, job.needed_dataset, job.device)
    ]
    if sick:
        return f"The worker {sick[0].name} could run it, but takes no job now. {sick[0].trouble}"
    if job.device == GPU and any(worker.can_run(job.pool, job.model) for worker in pool):
        start = _start(scene.settings, job)
        return f"No worker of the pool '{job.pool}' has a GPU: it waits for one. {start}"
    if any(worker.can_run(job.pool, job.model) for worker in pool):
        return f"No worker online that has '{job.model}' has the dataset '{job.dataset}'."
    others = sorted({w.pool for w in online if w.can_run(w.pool, job.model)})
    elsewhere = f" in the pool '{job.pool}'; there is one in '{others[0]}'" if others else ""
    return f"No worker online has the model '{job.model}'{elsewhere}: it waits for one."


def _is_local_worker_starting(scene: Scene) -> bool:
    if not scene.settings.is_embedded:
        return False
    from zoo.queue import local_services

    return local_services.local_worker(scene.settings) is not None


def _start(settings: Settings, job: Job) -> str:
    if job.device == GPU:
        pool = "" if job.pool == GPU_POOL else f" --pool {job.pool}"
        return f"`zoo worker start --gpus auto{pool}` starts one."
    own = settings.is_embedded and job.pool == DEFAULT_POOL
    command = "zoo up" if own else "zoo worker start"
    return f"`{command}{'' if job.pool == DEFAULT_POOL else f' --pool {job.pool}'}` starts one."


def _for_somebody(scene: Scene) -> str:
    state, short = estimates.claim_conditions(scene.db, scene.job.id), scene.job.id[:8]
    if state.held:
        return f"It is held. `zoo release {short}` lets it run."
    if state.waiting_at_rung:
        return (
            f"It is paused after epoch {scene.job.pause_at}, until it is among the best trials of "
            "its sweep there, or is pruned."
        )
    if state.blockers and (needed := jobs.open_dependencies(scene.db, scene.job.id)):
        first, more = needed[0], f" and {len(needed) - 1} more" if len(needed) > 1 else ""
        return f"It waits for the job {first.id[:8]} ({first.status}){more} to end (--after)."
    if state.pool_paused:
        pool = scene.job.pool
        return f"The pool '{pool}' is paused. `zoo pool resume {pool}` opens it."
    if state.waiting_for_turn:
        return "Its group has reached --max-parallel running jobs."
    return ""


def _for_its_time(scene: Scene) -> str:
    seconds = estimates.due_in(scene.db, scene.job.id)
    if seconds <= 0:
        return ""
    job = scene.job
    why = f" ({job.error})" if job.error else ""
    tries = f"attempt {job.attempt + 1} of at most {job.max_attempts}{why}"
    return f"It waits {seconds:.0f} s more before {tries}."


def _for_the_broker(scene: Scene) -> str:
    # If every slot is busy, the broker is not the cause: a slot claims its next job without a hint.
    if len(scene.running) >= scene.slots:
        return ""
    from zoo.queue.broker import Broker

    try:
        Broker(scene.settings, patient=False).prove()
    except ZooError as error:
        return f"{error.message} {without_broker(scene.settings)}"
    return ""


def without_broker(settings: Settings) -> str:
    """Say when a job runs whose hint the broker does not accept."""
    if settings.is_embedded:
        return "It runs once the broker is back."
    return "Workers with a free slot take jobs from the database meanwhile, every few seconds."


def _for_its_turn(scene: Scene) -> str:
    models = {card.name for worker in scene.able for card in worker.models}
    ahead = estimates.jobs_ahead(scene.db, scene.job.id, models)
    if not ahead and len(scene.running) < scene.slots:
        return ""
    span = _span(scene, ahead)
    if not ahead:
        return f"It is the next; all {scene.slots} slots that can run it are busy{span}."
    are = "is" if len(ahead) == 1 else "are"
    return f"{counted(len(ahead), 'job')} {are} ahead of it{span}."


def _span(scene: Scene, ahead: Sequence[estimates.JobAhead]) -> str:
    """Format the expected wait from earlier jobs; empty if one kind of job has no history."""
    turns = [*scene.running, *ahead]
    usual = {
        kind: estimates.usual_seconds(scene.db, *kind)
        for kind in {(t.model, t.dataset) for t in turns}
    }
    left = 0.0
    for turn in turns:
        seconds = usual[turn.model, turn.dataset]
        if seconds is None:
            return ""
        left += max(seconds - turn.seconds, 0)
    left /= scene.slots
    return f", about {left / 60:.0f} min" if left >= 90 else f", about {left:.0f} s"


REASONS: tuple[Callable[[Scene], str], ...] = (
    _for_somebody,
    _for_its_time,
    for_a_worker,
    _for_the_broker,
    _for_its_turn,
)
"""Checked in this order; each returns its sentence, or an empty string if it does not apply."""
