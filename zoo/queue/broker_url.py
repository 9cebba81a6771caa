"""The URL of the broker: one Valkey or Redis, or the Sentinels that know which one is the primary.

    redis://[USER]:PASSWORD@HOST:6379/0, rediss://..., unix:///PATH
    sentinel://[USER]:PASSWORD@HOST:26379;sentinel://HOST:26379/0?master_name=NAME

User, password, database and query may stand in any of the Sentinels' URLs, as kombu's users write
them; they are those of the primary. `sentinel_username` and `sentinel_password` in the query are
those of the Sentinels. An `ssl_*` option in the query turns TLS on, of Sentinels for both. kombu's
words for the options are taken, too: a URL may have been written for Celery.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from zoo.errors import BrokerError, UsageError, reason

CLUSTER = (
    "is part of a cluster, which Zoo cannot use",
    "Use a Valkey or Redis without cluster mode (replicas and failover are supported).",
)
"""Problem and advice."""
EXAMPLE = (
    "For example: redis://:PASSWORD@host:6379/0, rediss://..., unix:///path or "
    "sentinel://host:26379;sentinel://other:26379/0?master_name=NAME."
)
SENTINEL_PORT = 26379
LEAST_SECONDS = 1.0
"""Shortest time limit of one Sentinel."""
CERT_REQS, CHECK_HOSTNAME = "ssl_cert_reqs", "ssl_check_hostname"


@dataclass(frozen=True)
class BrokerUrl:
    """Where the broker is."""

    shown: str
    """The URL without user, password and options."""
    server: str = field(repr=False)
    """The server's URL for the Redis library; empty if the Sentinels have to be asked."""
    sentinels: tuple[tuple[str, int], ...] = ()
    """Hosts and ports."""
    master_name: str = ""
    login: str = field(default="", repr=False)
    """User and password of the primary, as in its URL."""
    path: str = ""
    options: dict[str, str] = field(default_factory=dict, repr=False)
    """The query."""

    def locate(self, seconds: float) -> str:
        """Return the server's URL; `seconds` is the time limit of all Sentinels.

        Raises BrokerError if no Sentinel knows a primary.
        """
        return self.server or self.server_url(*self._ask_sentinels(seconds))

    def _ask_sentinels(self, seconds: float) -> tuple[str, int]:
        """Return host and port of the primary, from the first Sentinel that knows them."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        seconds = max(LEAST_SECONDS, seconds / len(self.sentinels))
        errors = []
        for host, port in self.sentinels:
            sentinel = redis.Redis(
                host,
                port,
                username=self.options.get("sentinel_username"),
                password=self.options.get("sentinel_password"),
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry=Retry(NoBackoff(), 0),  # the next Sentinel is asked instead
                decode_responses=True,
                **self._tls_options(),
            )
            try:
                found: Any = sentinel.sentinel_get_master_addr_by_name(self.master_name)
            except (redis.RedisError, OSError) as error:
                errors.append(f"{host}:{port}: {reason(error)}")
            else:
                if found:
                    return str(found[0]), int(found[1])
                errors.append(f"{host}:{port} knows no such name")
            finally:
                sentinel.close()
        raise BrokerError(
            f"No sentinel names the primary '{self.master_name}': {'; '.join(errors)}.",
            "Check hosts, password and master_name in ZOO_BROKER_URL.",
        )

    def server_url(self, host: str, port: int) -> str:
        """Return the URL of a primary that the Sentinels have named."""
        place = f"[{host}]" if ":" in host else host
        return _tcp_url("redis", f"{self.login}{place}:{port}", self.path, self.options)

    def _tls_options(self) -> dict[str, Any]:
        """Return the options of redis-py's class, which takes no words for a switch."""
        found: dict[str, Any] = _tls(self.options)
        if not found:
            return {}
        if CHECK_HOSTNAME in found:
            found[CHECK_HOSTNAME] = found[CHECK_HOSTNAME] == "true"
        return found | {"ssl": True}


def parse_broker_url(text: str) -> BrokerUrl:
    """Read a broker's URL; raise UsageError, which does not show it, if it is none."""
    urls = text.split(";") if text.startswith("sentinel:") else [text]
    try:
        parts = [urlsplit(each) for each in urls if each]
        ports = [each.port for each in parts]
        number = "".join(each.path.strip("/") for each in parts) or "0"
    except ValueError:
        # Such as the two ports of host:1,host:2.
        raise _not_a_url(text) from None
    schemes = {each.scheme for each in parts}
    if not parts:  # of an empty file
        raise _not_a_url(text)
    if schemes == {"sentinel"} and number.isdigit():
        return _of_sentinels(parts, [port or SENTINEL_PORT for port in ports])
    (only, *_others), scheme = parts, parts[0].scheme
    is_server = scheme == "unix" or (scheme in ("redis", "rediss") and number.isdigit())
    if not is_server or "," in only.netloc:
        raise _not_a_url(text)
    return BrokerUrl(shown=show(text), server=_server_url(only))


def show(url: str) -> str:
    """Return a server's URL without user, password and options."""
    parts = urlsplit(url)
    place = parts.hostname or parts.path
    return f"{parts.scheme}://{place}{f':{parts.port}' if parts.port else ''}"


def _not_a_url(text: str) -> UsageError:
    scheme, _, rest = text.partition("://")
    if "cluster" in scheme or (scheme in ("redis", "rediss") and "," in rest.rpartition("@")[2]):
        return UsageError("ZOO_BROKER_URL names a cluster, which Zoo cannot use.", CLUSTER[1])
    # Not shown: it may contain a password.
    return UsageError("ZOO_BROKER_URL is not a URL of Valkey or Redis.", EXAMPLE)


def _of_sentinels(parts: list[SplitResult], ports: list[int]) -> BrokerUrl:
    logins = {each.netloc.rpartition("@")[0] for each in parts} - {""}
    paths = {each.path.strip("/") for each in parts} - {""}
    options = [pair for each in parts for pair in parse_qsl(each.query)]
    hosts = [each.hostname for each in parts]
    if len(logins) > 1 or len(paths) > 1 or not all(hosts):
        raise UsageError(
            "The sentinels of ZOO_BROKER_URL must share one user, password and database.",
            "Write them once: sentinel://:PASSWORD@host:26379;sentinel://other:26379/0?...",
        )
    found = dict(options)
    if not found.get("master_name"):
        raise UsageError(
            "ZOO_BROKER_URL names sentinels, but not the primary that they watch.",
            "Add its name: sentinel://host:26379/0?master_name=NAME (`SENTINEL MASTERS`).",
        )
    return BrokerUrl(
        shown=";".join(show(each.geturl()) for each in parts),
        server="",
        sentinels=tuple(zip(map(str, hosts), ports, strict=True)),
        master_name=found["master_name"],
        login="".join(f"{each}@" for each in logins),
        path="".join(f"/{each}" for each in paths),
        options=found,
    )


def _server_url(parts: SplitResult) -> str:
    options = dict(parse_qsl(parts.query))
    if parts.scheme != "unix":
        return _tcp_url(parts.scheme, parts.netloc, parts.path, options)
    number = options.get("db", options.get("virtual_host", "0"))
    return f"unix://{parts.netloc}{parts.path}?db={number}"


def _tcp_url(scheme: str, netloc: str, path: str, options: Mapping[str, str]) -> str:
    tls = _tls(options)
    if scheme == "redis" and not tls:
        return f"redis://{netloc}{path}"
    # By default the certificate would not be checked by kombu.
    return f"rediss://{netloc}{path}?{urlencode({CERT_REQS: 'required'} | tls)}"


def _tls(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options of TLS in the words of redis-py; kombu also takes CERT_NONE."""
    found = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if CERT_REQS in found:
        found[CERT_REQS] = found[CERT_REQS].lower().removeprefix("cert_")
    if CHECK_HOSTNAME in found:
        is_off = found[CHECK_HOSTNAME].lower() in ("false", "no", "0")
        found[CHECK_HOSTNAME] = "false" if is_off else "true"
    return found
