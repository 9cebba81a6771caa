"""Client of the tracking server: few retries, and errors without secrets."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from zoo.errors import UsageError, ZooError, reason

EXPERIMENT = "zoo"
"""The experiment of all runs, unless MLFLOW_EXPERIMENT_NAME says otherwise."""
DEFAULTS = {
    # MLflow's seven retries with doubling waits would exceed the time limit of a hook.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Send nothing anywhere but to the given server.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # stdout is for data.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Defaults for settings of MLflow's client that the environment does not set."""
HINT = "For example http://127.0.0.1:5000, or sqlite:////path/to/mlflow.db."
LONGEST = 300


@dataclass(frozen=True)
class TrackingServer:
    """The client of a tracking server, and the experiment of the runs."""

    client: Any
    """An MlflowClient."""
    experiment: str
    """Its id."""

    def search(self, condition: str) -> list[Any]:
        """Return the matching runs, the oldest first."""
        found: list[Any] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                condition,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                return found


def connect(uri: str) -> TrackingServer:
    """Connect to the tracking server, and create its experiment if it is missing.

    Raises UsageError for an invalid address.
    """
    # Each time: the process of the hooks restores its variables after each call.
    plain = _without_secret(uri)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    return find_server(plain)


@functools.cache
def find_server(uri: str) -> TrackingServer:
    """Return the server at an address without a secret, asked for once per process."""
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return TrackingServer(client, _experiment(client, uri))


@contextlib.contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turn exceptions of MLflow into a ZooError without the secrets of the address."""
    try:
        yield
    except ZooError:
        raise
    except Exception as error:  # of MLflow, requests, SQLAlchemy, a cloud's own client
        raise ZooError(
            f"MLflow at {_place(uri)} did not take it: {_why(error, uri)}.",
            "`zoo mlflow sync` catches up once it does.",
        ) from None


def _without_secret(uri: str) -> str:
    """Move user and password from the address into the environment, for MLflow's client."""
    url = _split(uri)
    if url.scheme not in ("http", "https"):
        return uri
    if not url.hostname:
        raise UsageError("ZOO_MLFLOW is not the address of a server.", HINT)
    if url.username:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(url.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(url.password or "")
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()


def _split(uri: str) -> SplitResult:
    try:
        url = urlsplit(uri)
        _ = url.port
    except ValueError:
        raise UsageError("ZOO_MLFLOW is not the address of a server.", HINT) from None
    if not url.scheme:
        raise UsageError("ZOO_MLFLOW has no scheme, such as http or sqlite.", HINT)
    return url


def _experiment(client: Any, uri: str) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        with contextlib.suppress(
            Exception
        ):  # another worker was faster, or the next call raises the reason
            return str(client.create_experiment(name, artifact_location=_artifacts(uri)))
        found = client.get_experiment_by_name(name)
    if found is None:
        raise ZooError(f"MLflow has no experiment '{name}', and it cannot be created.")
    return str(found.experiment_id)


def _artifacts(uri: str) -> str | None:
    """Return the folder for files beside a SQLite file; None leaves the choice to the server."""
    if not uri.startswith("sqlite:///"):
        return None
    # MLflow's default is a folder in the working directory.
    return str(Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts")


def _place(uri: str) -> str:
    url = _split(uri)
    if url.scheme == "sqlite":
        return url.path
    return f"{url.hostname}:{url.port}" if url.port else str(url.hostname or url.scheme)


def _why(error: Exception, uri: str) -> str:
    text = reason(error)
    if re.search(r"Max retries exceeded|Connection ?Error|Connection refused", text):
        return "it cannot be reached"
    url = _split(uri)
    for secret in (uri, url.password, url.username, os.environ.get("MLFLOW_TRACKING_TOKEN")):
        if secret:
            text = text.replace(secret, "...").replace(unquote(secret), "...")
    text = text.splitlines()[0] if text else type(error).__name__
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
