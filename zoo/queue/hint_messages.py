"""Hints as messages in Celery's protocol: a task that names the job which a worker may claim.

Only these two functions know the form: `write` what is sent to a queue of the broker, `read` what
a worker accepts from it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid

TASK = "zoo.run"
MAX_BYTES = 65_536
"""Longest message that is parsed; a hint has about 600 bytes."""
JOB = re.compile(r"[0-9a-f]{32}")


def queue_name(pool: str, model: str) -> str:
    """Return the queue of a pool and model; workers consume those of their models."""
    return f"{pool}.{model}"


def write(job: str, model: str, queue: str) -> bytes:
    """Build a hint as Celery's own client would, without callbacks, chains and times.

    Source of the form: Celery's documentation, "Message Protocol", version 2.
    """
    task = uuid.uuid4().hex
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = json.dumps([[], {"v": 1, "job": job, "model": model}, embed])
    properties = {
        "correlation_id": task,
        "delivery_tag": task,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "body_encoding": "base64",
    }
    whole = {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": TASK, "id": task, "root_id": task},
        "properties": properties,
    }
    return json.dumps(whole).encode()


def read(message: bytes, queue: str) -> tuple[str, str]:
    """Return the job and the model of a hint; raise ValueError, with the reason, if it is none."""
    if len(message) > MAX_BYTES:
        raise ValueError("it is too long")
    try:
        outer = json.loads(message)
        if outer["headers"]["task"] != TASK:
            raise ValueError("it is for another task")
        body = base64.b64decode(outer["body"], validate=True)
        kwargs = json.loads(body)[1]
        job, model = kwargs["job"], kwargs["model"]
    except (KeyError, IndexError, TypeError, binascii.Error):
        raise ValueError("it is not a hint") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not (isinstance(job, str) and isinstance(model, str)):
        raise ValueError("it is not a hint")
    if not JOB.fullmatch(job) or not queue.endswith(f".{model}"):
        raise ValueError("it names no job of this queue")
    return job, model
