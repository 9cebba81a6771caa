"""The three ways to tell somebody: the desktop, a webhook, a command."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from zoo.errors import UsageError, ZooError, reason
from zoo.jobs.records import finite, spread

WAITS = (1.0, 3.0)
"""Seconds before the second and the third try of a webhook."""
WEBHOOK_SECONDS = 10.0
PROGRAM_SECONDS = 30.0
WAYS = "Set ZOO_NOTIFY to desktop, https://... or command:PROGRAM."


def send(way: str, job: dict[str, Any]) -> None:
    """Tell of a job that has ended.

    Raises UsageError for a setting that is none of the three, ZooError if nobody could be told;
    neither repeats the setting, which may hold a secret.
    """
    found = _sender(way)
    found(job | {"text": sentence(job)})


def sentence(job: dict[str, Any]) -> str:
    """One line about the job; of its whole group, if it was the last of it."""
    group = job.get("group_result")
    about = f"{job['model']} on {job['dataset']}"
    if group:
        accuracy = group["metrics"].get("accuracy")
        number = f", accuracy {spread(accuracy)}" if accuracy else ""
        name = f"{group['id'][:8]} {group['kind']} of {len(group['jobs'])}, {about}"
        return f"{name}: {group['status']}{number}"
    error = job.get("error")
    accuracy = finite(job["metrics"].get("accuracy"))
    number = f", accuracy {accuracy:.4f}" if accuracy is not None else ""
    said = (error or {}).get("message") or ""
    why = f": {said.splitlines()[0]}" if said.strip() else ""
    return f"{job['id'][:8]} {about}: {job['status']}{number}{why}"


def _sender(way: str) -> Callable[[dict[str, Any]], None]:
    if way == "desktop":
        return _on_desktop
    if way.startswith("command:"):
        try:
            words = shlex.split(way.removeprefix("command:"))
        except ValueError as error:
            raise UsageError(f"The command of ZOO_NOTIFY is odd: {error}.", WAYS) from None
        if words:
            return lambda job: _run(words, json.dumps(job))
    if way.startswith(("https://", "http://")):
        try:
            url = urlsplit(way)
            is_whole = bool(url.hostname) and url.port != 0
        except ValueError:
            is_whole = False
        if is_whole:
            return lambda job: _post(url, json.dumps(job).encode())
    raise UsageError("ZOO_NOTIFY says none of the ways to tell somebody.", WAYS)


def _on_desktop(job: dict[str, Any]) -> None:
    # Of two hundred jobs of a sweep, a person wants to hear once.
    if job["group"] and not job.get("group_result"):
        return
    if not shutil.which("notify-send"):
        raise ZooError(
            "This machine has no notify-send.", "Install it (libnotify), or take another way."
        )
    _run(["notify-send", "--app-name=zoo", "zoo", job["text"]], "")


def _run(words: list[str], given: str) -> None:
    name = words[0]
    try:
        done = subprocess.run(
            words, input=given, text=True, capture_output=True, timeout=PROGRAM_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ZooError(f"{name} took over {PROGRAM_SECONDS:g} s.") from None
    except OSError as error:
        raise ZooError(f"{name} could not be started: {reason(error)}.") from None
    if done.returncode:
        said = next(iter(done.stderr.splitlines()), "it said nothing")
        raise ZooError(f"{name} ended with exit code {done.returncode}: {said}.")


def _post(url: SplitResult, body: bytes) -> None:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    # Without user and password, which go into a header: urllib would take them for the host.
    place = url.netloc.rpartition("@")[2]
    headers = {"Content-Type": "application/json", "User-Agent": "zoo-notify"}
    request = Request(url._replace(netloc=place, fragment="").geturl(), body, headers)
    if url.username:
        pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
        token = base64.b64encode(pair.encode()).decode()
        # Not for the host that an answer may redirect to.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    why = ""
    for wait in (*WAITS, None):
        try:
            with urlopen(request, timeout=WEBHOOK_SECONDS):
                return
        except HTTPError as error:
            why = f"it answered {error.code}"
            if error.code < 500 and error.code != 429:
                break
        except OSError as error:
            why = reason(getattr(error, "reason", error) if error.args else error)
        except (ValueError, HTTPException) as error:  # whose words may repeat the address
            why = type(error).__name__
            break
        if wait is not None:
            time.sleep(wait)
    raise ZooError(f"The webhook at {url.hostname} was not told: {why}.")
