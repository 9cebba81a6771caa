"""The metric families: name, help and value of each, from the statistics of the queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from zoo import __version__
from zoo.jobs import TERMINAL, Histogram, QueueStats
from zoo.jobs.queue_stats import BOUNDS, MICROS, WAITS_FOR, PoolModel
from zoo.results.leaderboard import LeaderboardRow

STATES = ("online", "sick", "draining", "silent")
KIND = ("pool", "model")


def queue_metrics(found: QueueStats) -> Iterator[Metric]:
    """Yield the metric families of queue, jobs and workers.

    Values that may be missing in normal operation are exported as 0, so that an alert can tell them
    from a failed scrape.
    """
    yield from _queue(found)
    yield from _ends(found)
    yield from _workers(found)
    yield from _pools(found)
    owed = GaugeMetricFamily("zoo_hooks_owed", "Ended jobs whose hooks are still to be called.")
    owed.add_metric([], found.pending_hooks)
    yield owed
    skipped = GaugeMetricFamily(
        "zoo_hooks_skipped",
        "Ended jobs of which plugins left no files, as too many were waiting; until asked for.",
    )
    skipped.add_metric([], found.skipped_hooks)
    yield skipped


def result_metrics(rows: Sequence[LeaderboardRow]) -> Iterator[Metric]:
    """Yield the best results on test images: the rows of the leaderboard."""
    best = GaugeMetricFamily(
        "zoo_best_result",
        "The best result of a model on the test images of a dataset, by the metric that ranks it.",
        labels=["dataset", "model", "metric"],
    )
    for row in rows:
        # Results on earlier contents are another series with the same labels.
        if row.test and row.is_newest:
            best.add_metric([row.dataset, row.model, row.objective.metric], row.test.value.mean)
    yield best


def exporter_metrics(*, is_up: bool, seconds: float) -> Iterator[Metric]:
    """Yield the metric families of the exporter itself."""
    up = GaugeMetricFamily("zoo_database_up", "Whether the database answered this scrape.")
    up.add_metric([], int(is_up))
    took = GaugeMetricFamily("zoo_scrape_seconds", "Time to read the rows for this scrape.")
    took.add_metric([], seconds)
    build = GaugeMetricFamily("zoo_build_info", "The exporter's version.", labels=["version"])
    build.add_metric([__version__], 1)
    yield from (up, took, build)


def _queue(found: QueueStats) -> Iterator[Metric]:
    queued = GaugeMetricFamily(
        "zoo_jobs_queued",
        f"Queued jobs, by what they wait for: {', '.join(WAITS_FOR)}.",
        labels=[*KIND, "waits_for"],
    )
    oldest = GaugeMetricFamily(
        "zoo_jobs_oldest_queued_seconds",
        "How long the oldest job has been waiting for a worker and for nothing else.",
        labels=KIND,
    )
    for each in found.queued:
        queued.add_metric([each.pool, each.model, each.waits_for], each.jobs)
        if each.waits_for == "worker":
            oldest.add_metric([each.pool, each.model], max(each.seconds, 0.0))
    running = GaugeMetricFamily("zoo_jobs_running", "Running jobs.", labels=KIND)
    for kind, n in found.running.items():
        running.add_metric(kind, n)
    yield from (queued, oldest, running)


def _ends(found: QueueStats) -> Iterator[Metric]:
    finished = CounterMetricFamily(
        "zoo_jobs_finished", "Jobs that have ended, by status.", labels=[*KIND, "status"]
    )
    losses = CounterMetricFamily(
        "zoo_lease_losses", "Attempts whose worker fell silent for a whole lease.", labels=KIND
    )
    kinds = sorted({(pool, model) for pool, model, _ in found.ended.jobs} | {*found.running})
    lost = dict.fromkeys(kinds, 0)
    for (pool, model, _, outcome), n in found.ended.attempts.items():
        lost[pool, model] = lost.get((pool, model), 0) + (n if outcome == "lost" else 0)
    for pool, model in kinds:
        for status in sorted(TERMINAL):
            finished.add_metric([pool, model, status], found.ended.jobs[pool, model, status])
    for kind, n in sorted(lost.items()):
        losses.add_metric(kind, n)
    yield from (finished, losses)
    yield _histogram(
        "zoo_job_wait_seconds",
        "From submission to the last claim, of jobs that have ended.",
        found.ended.waits,
    )
    yield _histogram(
        "zoo_job_run_seconds",
        "From the last claim to the end, of jobs that succeeded, failed or timed out.",
        found.ended.runs,
    )


def _histogram(name: str, help: str, spreads: Mapping[PoolModel, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, help, labels=KIND)
    for kind, spread in spreads.items():
        bounds = [str(float(bound)) for bound in BOUNDS]
        buckets = [*zip(bounds, spread.within, strict=True), ("+Inf", spread.count)]
        family.add_metric(kind, buckets, spread.micros / MICROS)
    return family


def _workers(found: QueueStats) -> Iterator[Metric]:
    names = ["pool", "worker"]
    slots = GaugeMetricFamily("zoo_worker_slots", "Jobs that a worker runs at once.", labels=names)
    busy = GaugeMetricFamily(
        "zoo_worker_busy_slots", "Jobs that a worker said it runs, at its last beat.", labels=names
    )
    attempts = CounterMetricFamily(
        "zoo_worker_attempts",
        "Attempts of a worker that have ended, by outcome; only workers that are there.",
        labels=[*names, "outcome"],
    )
    there = {seat.worker: seat for seat in found.workers}
    for seat in there.values():
        slots.add_metric([seat.pool, seat.worker], seat.slots)
        busy.add_metric([seat.pool, seat.worker], seat.busy)
    done = {(name, outcome): 0 for name in there for outcome in ("succeeded", "lost")}
    for (_, _, name, outcome), n in found.ended.attempts.items():
        if name in there:
            done[name, outcome] = done.get((name, outcome), 0) + n
    for (name, outcome), n in sorted(done.items()):
        attempts.add_metric([there[name].pool, name, outcome], n)
    yield from (slots, busy, attempts)


def _pools(found: QueueStats) -> Iterator[Metric]:
    workers = GaugeMetricFamily("zoo_workers", "Workers by state.", labels=["pool", "state"])
    slots = GaugeMetricFamily(
        "zoo_slots", "Slots of workers that are online.", labels=["pool", "state"]
    )
    wanted = GaugeMetricFamily(
        "zoo_slots_wanted",
        "Slots that would leave no job waiting for a worker: running and claimable jobs.",
        labels=["pool"],
    )
    paused = GaugeMetricFamily("zoo_pool_paused", "Whether a pool is paused.", labels=["pool"])
    for pool, is_paused in found.pools.items():
        seats = [seat for seat in found.workers if seat.pool == pool]
        for state in STATES:
            workers.add_metric([pool, state], sum(seat.state == state for seat in seats))
        online = [seat for seat in seats if seat.state == "online"]
        busy = sum(min(seat.busy, seat.slots) for seat in online)
        slots.add_metric([pool, "busy"], busy)
        slots.add_metric([pool, "idle"], sum(seat.slots for seat in online) - busy)
        waiting = sum(q.jobs for q in found.queued if (q.pool, q.waits_for) == (pool, "worker"))
        running = sum(n for (of_pool, _), n in found.running.items() if of_pool == pool)
        wanted.add_metric([pool], waiting + running)
        paused.add_metric([pool], int(is_paused))
    yield from (workers, slots, wanted, paused)
