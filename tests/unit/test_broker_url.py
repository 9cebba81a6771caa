"""The broker's URL: what is taken, what is refused, and what is shown of it."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from zoo_workers.celery_app import kombu_url

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
    found = redis.ConnectionPool.from_url(url).connection_kwargs
    assert (found["host"], found["port"], found["db"]) == ("2001:db8::1", 6390, 3)
    assert (found["username"], found["password"]) == ("me", "p@ss")
    assert (found["ssl_ca_certs"], found["ssl_cert_reqs"]) == ("/etc/ca .pem", "required")


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
CERTIFICATES = st.sampled_from(["none", "optional", "required", "CERT_NONE", "CERT_REQUIRED"])
TLS = {
    "ssl_cert_reqs": CERTIFICATES,
    "ssl_ca_certs": WORDS,
    "ssl_check_hostname": st.sampled_from(["true", "True", "false", "False"]),
}


@st.composite
def urls(draw: st.DrawFn) -> str:
    user, password = draw(st.just("") | WORDS), draw(WORDS)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if draw(st.booleans()) else ""
    port = f":{draw(st.integers(1, 65_535))}" if draw(st.booleans()) else ""
    host, path = draw(st.sampled_from(["h", "10.0.0.1", "[::1]"])), draw(st.integers(0, 15))
    scheme = draw(st.sampled_from(["redis", "rediss"]))
    options = draw(st.fixed_dictionaries({}, optional=TLS))
    return f"{scheme}://{login}{host}{port}/{path}" + (f"?{urlencode(options)}" if options else "")


@given(urls())
def test_commands_and_workers_read_the_same_server_out_of_a_url(text: str) -> None:
    server = parse_broker_url(text).server
    pool = redis.ConnectionPool.from_url(server)
    ours, theirs = pool.connection_kwargs, Connection(kombu_url(server))
    assert ours["host"] == theirs.hostname.strip("[]")
    assert ours.get("port", 6379) == (theirs.port or 6379)
    assert (ours.get("username"), ours.get("password")) == (theirs.userid or None, theirs.password)
    assert ours["db"] == int(theirs.virtual_host)
    tls = theirs.ssl or {}
    assert issubclass(pool.connection_class, redis.SSLConnection) == bool(tls)
    if tls:
        assert ours["ssl_cert_reqs"] == tls["ssl_cert_reqs"].name.removeprefix("CERT_").lower()
        assert ours.get("ssl_ca_certs") == tls.get("ssl_ca_certs")
        assert ours.get("ssl_check_hostname") == tls.get("ssl_check_hostname")


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
