"""What a hundred thousand rows cost: each act with so many, over the same act with a hundred."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

from zoo.jobs import Database
from zoo.spec import canonical

MODELS = ("logistic", "dense-softmax", "nearest-mean", "forest", "mlp")
DATASETS = ("mnist", "digits")
ENDS = ("succeeded",) * 17 + ("failed", "cancelled", "lost")


def fill(db: Database, n: int, *, queued: int = 0) -> None:
    """Put rows in, as years of use would leave them; the last `queued` of them wait."""
    from zoo.jobs.submission import COLUMNS

    names = (*COLUMNS, "accuracy", "metrics", "artifact", "attempt", "worker", "error_code")
    names += ("started_at", "finished_at")
    insert = f"INSERT INTO job ({', '.join(names)}) VALUES (:{', :'.join(names)})"
    with db.write() as rows:
        now = rows.value("SELECT now() AS at")
        rows.many(insert, list(_rows(n, queued, now)))
    if not db.is_sqlite:  # as the server does it by itself after a while
        connection = db.driver.open()
        connection.execute("VACUUM ANALYZE")
        connection.close()


def _rows(n: int, queued: int, now: float) -> Iterator[dict[str, Any]]:
    draw = random.Random(7)
    classes = [str(digit) for digit in range(10)]
    for number in range(n):
        waits = number >= n - queued
        status = "queued" if waits else draw.choice(ENDS)
        accuracy = round(draw.betavariate(9, 1), 6)
        model, dataset = draw.choice(MODELS), draw.choice(DATASETS)
        rate = 10 ** draw.uniform(-4, -1)
        params = {"learning_rate": rate, "epochs": draw.randint(1, 50), "batch_size": 32}
        spec = {"v": 1, "kind": "train", "model": model, "params": params, "seed": number}
        spec |= {"changed": ["learning_rate"], "dataset": dataset, "split": "test", "fold": None}
        spec |= {"source": None, "keep_weights": True, "timeout": None, "memory_mb": None}
        scores = {"precision": accuracy, "recall": accuracy, "f1": accuracy, "support": 100}
        metrics = {"accuracy": accuracy, "loss": 1 - accuracy, "classes": classes}
        metrics |= {"per_class": dict.fromkeys(classes, scores), "fit_seconds": 1.5}
        metrics |= {"confusion_matrix": [[100] * 10] * 10, "parameters": 7850}
        at = now - (n - number)
        done = status == "succeeded"
        yield {
            **{"id": uuid.UUID(int=draw.getrandbits(128)).hex, "kind": "train", "model": model},
            **{"dataset": dataset, "pool": "default", "priority": 0, "group_id": None},
            **{"tags": '["nightly"]' if number % 100 == 0 else "[]", "spec_version": 1},
            **{"spec": canonical(spec | {"plugin": "zoo-sklearn 0.1.0"}), "status": status},
            **{"max_attempts": 3, "retry_of": None, "idem_key": None, "ranked": 1},
            **{"created_at": at, "dispatched_at": at, "attempt": 0 if waits else 1},
            **{"accuracy": accuracy if done else None, "artifact": "a/1" if done else None},
            **{"metrics": canonical(metrics) if done else None, "worker": None if waits else "w"},
            **{"error_code": "exception" if status == "failed" else None},
            **{"started_at": None if waits else at + 0.1, "finished_at": None if waits else at + 2},
        }
