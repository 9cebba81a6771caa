"""The HTTP endpoint for Prometheus: each scrape reads the database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from zoo import jobs
from zoo.errors import StoreError, ZooError, reason
from zoo.jobs import Baseline, Database
from zoo.results.leaderboard import leaderboard_rows
from zoo_metrics import families

logger = logging.getLogger("zoo.metrics")


class QueueCollector(Collector):
    """Reads the statistics of the queue at each scrape; keeps the totals of ended jobs."""

    def __init__(self, db: Database, *, with_results: bool = False) -> None:
        self.db = db
        self.with_results = with_results
        self._baseline = Baseline()
        # Two scrapes at once would both count what has settled since the last one.
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family; raises StoreError if the database is unreachable."""
        start = time.perf_counter()
        with self._lock:
            found, self._baseline = jobs.collect_stats(self.db, self._baseline)
        yield from families.queue_metrics(found)
        if self.with_results:
            yield from families.result_metrics(leaderboard_rows(self.db))
        yield from families.exporter_metrics(is_up=True, seconds=time.perf_counter() - start)


class TolerantCollector(Collector):
    """Like `QueueCollector`; reports only that the database is unreachable when it is."""

    def __init__(self, collector: QueueCollector) -> None:
        self.collector = collector

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, or those of an unreachable database."""
        start = time.perf_counter()
        try:
            found = list(self.collector.collect())
        except StoreError as error:
            logger.warning("%s", error)
            found = list(
                families.exporter_metrics(is_up=False, seconds=time.perf_counter() - start)
            )
        yield from found


def registry(collector: Collector) -> CollectorRegistry:
    """Return a registry of this collector alone, without metrics of the process."""
    found = CollectorRegistry(auto_describe=False)
    found.register(collector)
    return found


def serve(collector: QueueCollector, address: str, port: int) -> str:
    """Serve the metrics in threads of this process; returns the URL.

    Raises ZooError if the address cannot be listened on.
    """
    # The first read takes in every job: no scrape should wait for it.
    list(collector.collect())
    try:
        server, _ = start_http_server(port, address, registry(TolerantCollector(collector)))
    except (OSError, OverflowError) as error:
        raise ZooError(
            f"{address}:{port} is not available: {reason(error)}.",
            "Use another --port, or an --address of this machine.",
        ) from None
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{server.server_port}/metrics"
