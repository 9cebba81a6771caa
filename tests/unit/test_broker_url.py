"""The broker's URL: what is taken, what is refused, and what is shown of it."""

from __future__ import annotations

import pytest
from kombu import Connection

from zoo.errors import UsageError
from zoo.queue.broker_url import parse_broker_url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:hush@host:6379/0", "redis://host:6379"),
        ("rediss://:hush@host/3?ssl_ca_certs=/ca", "rediss://host"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        ("sentinel://one?master_name=m&sentinel_password=hush", "sentinel://one"),
        (
            "sentinel://u:hush@one:1;sentinel://two;sentinel://three/2?master_name=m",
            "sentinel://one:1;sentinel://two;sentinel://three",
        ),
    ],
)
def test_a_url_is_shown_without_its_passwords(text: str, shown: str) -> None:
    found = parse_broker_url(text)
    assert found.shown == shown
    assert "hush" not in repr(found)


def test_the_sentinels_url_has_the_login_the_database_and_tls_of_the_primary() -> None:
    text = (
        "sentinel://me:p%40ss@one;sentinel://two:26380/3?master_name=m&sentinel_username=guard"
        "&sentinel_password=hush&ssl_ca_certs=/etc/ca%20.pem"
    )
    found = parse_broker_url(text)
    assert found.sentinels == (("one", 26379), ("two", 26380))
    url = found.server_url("2001:db8::1", 6390)
    assert "hush" not in url and "guard" not in url
    primary = Connection(url)
    assert (primary.hostname, primary.port) == ("2001:db8::1", 6390)
    assert (primary.userid, primary.password, primary.virtual_host) == ("me", "p@ss", "3")
    assert primary.ssl["ssl_ca_certs"] == "/etc/ca .pem"
    assert primary.ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"


CLUSTER, UNNAMED, MIXED = "names a cluster", "not the primary", "must share one"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("redis-cluster://h", CLUSTER),
        ("rediss+cluster://h:1", CLUSTER),
        ("redis://:hush@a:1,b:2/0", CLUSTER),
        ("redis://a,b", CLUSTER),
        ("sentinel://h", UNNAMED),
        ("sentinel://h?master_name=", UNNAMED),
        ("sentinel://:hush@h;sentinel://:other@i?master_name=m", MIXED),
        ("sentinel://h/1;sentinel://i/2?master_name=m", MIXED),
        ("sentinel:///0?master_name=m", MIXED),
        *((bad, "is not a URL") for bad in ("", ";", "http://x", "redis://h:p", "amqp://h")),
        *((bad, "is not a URL") for bad in ("redis://h/x", "nonsense", "redis://[::1", "redis")),
        *((bad, "is not a URL") for bad in ("sentinel://h:1;i:2", "sentinel://h;redis://i")),
        ("redis://a/0;redis://b/0", "is not a URL"),
    ],
)
def test_a_url_that_is_no_brokers_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(UsageError, match="ZOO_BROKER_URL") as refused:
        parse_broker_url(text)
    assert words in str(refused.value) and "hush" not in str(refused.value)
