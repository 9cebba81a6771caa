"""The page that Prometheus scrapes: read from the rows at each scrape, served over HTTP."""

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
from zoo_metrics import families

logger = logging.getLogger("zoo.metrics")


class Rows(Collector):
    """Looks at the rows when it is asked; remembers what it has counted for good."""

    def __init__(self, db: Database, *, beat: float) -> None:
        """`beat` is the time between two signs of life of a worker, in seconds."""
        self.db = db
        self.beat = beat
        self._baseline = Baseline()
        # Two scrapes at once would both count what has settled since the last one.
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Every family; raises StoreError if the database is away."""
        start = time.perf_counter()
        with self._lock:
            found, self._baseline = jobs.collect_stats(self.db, self._baseline, beat=self.beat)
        yield from families.of(found)
        yield from families.health(is_up=True, seconds=time.perf_counter() - start)


class Patient(Collector):
    """As `Rows`, but where the database is away it says so, and nothing else."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def collect(self) -> Iterator[Metric]:
        """Every family, or those of a database that does not answer."""
        start = time.perf_counter()
        try:
            found = list(self.rows.collect())
        except StoreError as error:
            logger.warning("%s", error)
            found = list(families.health(is_up=False, seconds=time.perf_counter() - start))
        yield from found


def registry(collector: Collector) -> CollectorRegistry:
    """One page of this collector alone: nothing about this process, and nothing is read yet."""
    found = CollectorRegistry(auto_describe=False)
    found.register(collector)
    return found


def serve(rows: Rows, address: str, port: int) -> str:
    """Serve the page in threads of this process, and give its URL.

    Raises ZooError if the address cannot be listened on.
    """
    # The first look reads every job: no scrape is to wait for it.
    list(rows.collect())
    try:
        server, _ = start_http_server(port, address, registry(Patient(rows)))
    except (OSError, OverflowError) as error:
        raise ZooError(
            f"{address}:{port} cannot be listened on: {reason(error)}.",
            "Take another --port, or an --address of this machine.",
        ) from None
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{server.server_port}/metrics"
