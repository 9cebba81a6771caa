"""zoo-notify: a desktop, a webhook or a command is told, and no secret of the setting leaks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import Zoo
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from zoo_notify import senders

from zoo.errors import UsageError, ZooError

JOB: dict[str, Any] = {
    "id": "0" * 32,
    "model": "logistic",
    "dataset": "digits",
    "status": "succeeded",
    "group": None,
    "group_result": None,
    "error": None,
    "metrics": {"accuracy": 0.925},
}


class Server(HTTPServer):
    def __init__(self, answers: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.leads_to = ""
        self.heard: list[tuple[str, dict[str, str], dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Content-Length", "0")
        if self.server.leads_to:
            self.send_header("Location", self.server.leads_to)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def server(*answers: int) -> Iterator[Server]:
    found = Server(list(answers))
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "RETRY_WAITS", (0.0, 0.0))


def test_a_webhook_gets_the_job_and_a_sentence_and_its_password_in_a_header() -> None:
    with server() as found:
        senders.send(f"http://me:p%40ss@127.0.0.1:{found.server_port}/hook?key=1", JOB)
    ((path, headers, body),) = found.heard
    assert path == "/hook?key=1" and headers["Authorization"] == "Basic bWU6cEBzcw=="
    assert body == JOB | {"text": "00000000 logistic on digits: succeeded, accuracy 0.9250"}


def test_a_server_that_is_busy_is_asked_three_times_and_one_that_refuses_once() -> None:
    with server(503, 503, 200) as found:
        senders.send(f"http://127.0.0.1:{found.server_port}/", JOB)
    assert len(found.heard) == 3
    with server(404, 200) as found, pytest.raises(ZooError, match="it answered 404"):
        senders.send(f"http://127.0.0.1:{found.server_port}/", JOB)
    assert len(found.heard) == 1


@given(st.integers(300, 399).filter(lambda code: code != 304) | st.sampled_from([301, 307, 308]))
@examples(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_redirect_is_not_followed_and_not_taken_for_success(code: int) -> None:
    with server(200) as other, server(code) as found:
        found.leads_to = f"http://127.0.0.1:{other.server_port}/"
        with pytest.raises(ZooError, match=f"it answered {code}, a redirect, which is not"):
            senders.send(f"http://me:p@127.0.0.1:{found.server_port}/", JOB)
    assert len(found.heard) == 1 and other.heard == []


DRIPPING = {
    "no answer": [],
    "a status line without end": [b"HTTP/1.1 200 OK" + b"k" * 40],
    "headers without end": [b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 40],
    "continues without end": [b"HTTP/1.1 100 Continue\r\n\r\n" * 40],
}


@pytest.mark.parametrize("sent", DRIPPING.values(), ids=DRIPPING.keys())
def test_a_server_that_answers_byte_by_byte_is_given_up(
    sent: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "WEBHOOK_SECONDS", 0.4)
    monkeypatch.setattr(senders, "TOTAL_SECONDS", 1.0)
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                visitor, _ = listener.accept()
                for byte in b"".join(sent):
                    if over.wait(0.05):
                        return
                    visitor.send(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        start = time.monotonic()
        with pytest.raises(ZooError, match=r"could not be notified: (it took over|timed out)"):
            senders.send(f"http://127.0.0.1:{listener.getsockname()[1]}/", JOB)
        over.set()
    # Two or three tries of 0.4 s each, within a second; the rest is a busy machine's.
    assert time.monotonic() - start < 5


def test_the_body_of_an_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(listener: socket.socket) -> None:
        visitor, _ = listener.accept()
        with contextlib.suppress(OSError), visitor:
            visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
            while True:
                visitor.sendall(b"x" * 65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        senders.send(f"http://127.0.0.1:{listener.getsockname()[1]}/", JOB)


@pytest.mark.parametrize(
    "way",
    [
        "http://me:SECRET@127.0.0.1:1/SECRET?key=SECRET",
        "http://me:SECRET@127.0.0.1:SECRET/",
        "http://[SECRET",
        "http://no host/SECRET",
        "https://127.0.0.1:1/SECRET\n",
        "http:///SECRET",
        "ftp://SECRET@host/",
        "SECRET",
        "command:",
        "command:'SECRET",
    ],
)
def test_no_error_repeats_more_of_the_setting_than_the_host(way: str) -> None:
    with pytest.raises(ZooError) as raised:
        senders.send(way, JOB)
    assert "SECRET" not in str(raised.value)


def test_a_command_gets_the_job_and_no_shell_reads_its_words(tmp_path: Path) -> None:
    file = tmp_path / "a file; $HOME"
    senders.send(f"command:tee '{file}'", JOB)
    assert json.loads(file.read_text())["id"] == JOB["id"]
    with pytest.raises(ZooError, match="exit code 1"):
        senders.send("command:false", JOB)
    with pytest.raises(ZooError, match="could not be started"):
        senders.send("command:no-such-program", JOB)


def test_the_desktop_hears_of_a_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nfor last; do :; done; echo "$last" >> {tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    group = {"id": "a" * 32, "kind": "cv", "jobs": ["x", "y"], "status": "succeeded"}
    group["metrics"] = {"accuracy": {"mean": 0.9, "std": 0.01}}
    senders.send("desktop", JOB)
    senders.send("desktop", JOB | {"group": "a" * 32})
    senders.send("desktop", JOB | {"group": "a" * 32, "group_result": group})
    assert (tmp_path / "shown").read_text().splitlines() == [
        "00000000 logistic on digits: succeeded, accuracy 0.9250",
        "aaaaaaaa cv of 2, logistic on digits: succeeded, accuracy 0.9000 ± 0.0100",
    ]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ZooError, match="no notify-send"):
        senders.send("desktop", JOB)


def test_a_failure_says_why_in_one_line() -> None:
    error = {"code": "exception", "message": "ValueError: no\nmore"}
    told = senders.summary_line(JOB | {"status": "failed", "metrics": {}, "error": error})
    assert told == "00000000 logistic on digits: failed: ValueError: no"


def test_zoo_notify_needs_the_setting(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        senders.send("", JOB)
    assert "ZOO_NOTIFY is not set" in Zoo(tmp_path / "home").run("notify", code=2).stderr
