"""Send notifications: to the desktop, a webhook or a command."""

from __future__ import annotations

import base64
import functools
import json
import queue
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from zoo.errors import UsageError, ZooError, reason
from zoo.jobs.group_metrics import Statistics
from zoo.jobs.groups import best_text
from zoo.jobs.records import finite

RETRY_WAITS = (1.0, 3.0)
"""Seconds before the second and the third attempt at a webhook."""
WEBHOOK_SECONDS = 10.0
"""Time limit of one attempt, from the DNS look-up to the headers of the response."""
TOTAL_SECONDS = 30.0
"""Time limit of all attempts, with the waits between them."""
PROGRAM_SECONDS = 30.0
HINT = "Set ZOO_NOTIFY to desktop, https://... or command:PROGRAM."


def send(target: str, job: dict[str, Any]) -> None:
    """Send a notification about a job that has ended.

    Args:
        target: `desktop`, a URL, or `command:PROGRAM`.
        job: The job as JSON.

    Raises:
        UsageError: The target is invalid.
        ZooError: The notification could not be sent. Neither message repeats the target, which may
            hold a secret.
    """
    found = _sender(target)
    found(job | {"text": summary_line(job)})


def summary_line(job: dict[str, Any]) -> str:
    """Return one line about the job, or about its group if it was the last of it."""
    group = job.get("group_result")
    about = f"{job['model']} on {job['dataset']}"
    if group:
        accuracy, best = group["metrics"].get("accuracy"), group.get("best")
        number = f", accuracy {Statistics.from_json(accuracy).text()}" if accuracy else ""
        if best:
            value = Statistics.from_json(best.get("value") or best["accuracy"])
            number = f", {best_text(best['job'], value, best.get('metric', 'accuracy'))}"
        name = f"{group['id'][:8]} {group['kind']} of {len(group['jobs'])}, {about}"
        return f"{name}: {group['status']}{number}"
    error = job.get("error")
    accuracy = finite(job["metrics"].get("accuracy"))
    number = f", accuracy {accuracy:.4f}" if accuracy is not None else ""
    said = (error or {}).get("message") or ""
    why = f": {said.splitlines()[0]}" if said.strip() else ""
    return f"{job['id'][:8]} {about}: {job['status']}{number}{why}"


def _sender(target: str) -> Callable[[dict[str, Any]], None]:
    if target == "desktop":
        return _on_desktop
    if target.startswith("command:"):
        try:
            words = shlex.split(target.removeprefix("command:"))
        except ValueError as error:
            raise UsageError(
                f"The command in ZOO_NOTIFY cannot be parsed: {error}.", HINT
            ) from None
        if words:
            return lambda job: _run(words, json.dumps(job))
    if target.startswith(("https://", "http://")):
        try:
            url = urlsplit(target)
            is_whole = bool(url.hostname) and url.port != 0
        except ValueError:
            is_whole = False
        if is_whole:
            return lambda job: _post(url, json.dumps(job).encode())
    raise UsageError("ZOO_NOTIFY is not a valid target.", HINT)


def _on_desktop(job: dict[str, Any]) -> None:
    # One notification per group, not one per job.
    if job["group"] and not job.get("group_result"):
        return
    if not shutil.which("notify-send"):
        raise ZooError(
            "This machine has no notify-send.", "Install it (libnotify), or use another target."
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
        output = next(iter(done.stderr.splitlines()), "no output on stderr")
        raise ZooError(f"{name} ended with exit code {done.returncode}: {output}.")


def _post(url: SplitResult, body: bytes) -> None:
    # User and password go into a header: urllib would parse them as part of the host.
    place = url.netloc.rpartition("@")[2]
    headers = {"Content-Type": "application/json", "User-Agent": "zoo-notify"}
    if url.username:
        pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    address = url._replace(netloc=place, fragment="").geturl()
    deadline = time.monotonic() + TOTAL_SECONDS
    failure: _Failure | None = None
    for wait in (0.0, *RETRY_WAITS):
        if failure and time.monotonic() + wait >= deadline:
            break
        time.sleep(wait)
        seconds = min(WEBHOOK_SECONDS, deadline - time.monotonic())
        failure = _within(seconds, functools.partial(_try, address, body, headers, seconds))
        if failure is None:
            return
        if failure.is_final:
            break
    why = failure.why if failure else "no time was left"
    raise ZooError(f"The webhook at {url.hostname} could not be notified: {why}.")


class _Failure(NamedTuple):
    """The reason why an attempt failed."""

    why: str
    is_final: bool
    """Whether another attempt would fail, too."""


def _within(seconds: float, work: Callable[[], _Failure | None]) -> _Failure | None:
    """Run `work` in a daemon thread, and abandon it after `seconds`.

    A socket's time limit counts between two bytes: a server that sends a byte now and then, or a
    DNS look-up that hangs, would block without end.
    """
    results: queue.SimpleQueue[_Failure | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: results.put(work()), daemon=True).start()
    try:
        return results.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        return _Failure(f"it took over {seconds:.0f} s", False)


def _try(address: str, body: bytes, headers: dict[str, str], seconds: float) -> _Failure | None:
    """Send the body once; the body of the response is not read."""
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            """Do not follow: urllib would send a GET without the body and report success."""

    try:
        with build_opener(NoRedirect).open(Request(address, body, headers), timeout=seconds):
            return None
    except HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            return _Failure(f"it answered {error.code}, a redirect, which is not followed", True)
        return _Failure(f"it answered {error.code}", error.code < 500 and error.code != 429)
    except OSError as error:
        return _Failure(reason(getattr(error, "reason", error) if error.args else error), False)
    except Exception as error:  # ValueError, HTTPException: their messages may repeat the address
        return _Failure(type(error).__name__, True)
