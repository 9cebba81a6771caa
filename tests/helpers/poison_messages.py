"""What may lie in a broker's queues that is no hint."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import redis

WRONG: list[bytes] = [
    b'{"a": 1}',
    b"[]",
    b"garbage",
    b"\x00\xff\xfe\x80",
    b"",
    b"0",
    b"null",
    b'"text"',
    b"1" * 5000,
    b"[" * 100_000,
    b"[" * 10_000,
    b'{"__type__": "datetime", "__value__": 7}',
    b'{"body": 7, "headers": {"task": "zoo.run"}, "properties": {"delivery_tag": "t"}}',
    b'{"body": "W10=", "headers": {"task": "celery.map"}, "properties": {"delivery_tag": "t"}}',
]
KINDS: dict[str, Callable[[redis.Redis, str], Any]] = {
    "string": lambda client, key: client.set(key, json.dumps({"a": 1})),
    "hash": lambda client, key: client.hset(key, "a", "b"),
    "set": lambda client, key: client.sadd(key, "a"),
    "zset": lambda client, key: client.zadd(key, {"a": 1}),
    "stream": lambda client, key: client.xadd(key, {"a": "b"}),
}
"""Has a key that is not there be of another type than a queue."""
