"""A running `zoo ui`, and plain HTTP to ask it, which sends paths and headers as they are."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from helpers.command_line import Zoo

FORM = "application/x-www-form-urlencoded"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Page:
    """A `zoo ui` that runs, and one visit to it."""

    zoo: Zoo
    process: subprocess.Popen[str]
    address: str
    """With the token that has not been used yet."""
    cookie: str = ""
    csrf: str = field(default="", repr=False)

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return urlsplit(self.address).query.removeprefix("token=")

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        *,
        cookie: str | None = None,
        **headers: str | None,
    ) -> Answer:
        """Ask as a stranger, or with a cookie; of the headers, None leaves one out."""
        asked = {"Host": self.host} | {n.replace("_", "-"): v for n, v in headers.items()}
        if cookie:
            asked["Cookie"] = cookie
        with self._connection() as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.items():
                if value is not None:
                    connection.putheader(name, value)
            if isinstance(body, bytes):
                connection.putheader("Content-Length", str(len(body)))
            # What refuses a body by its length alone answers and hangs up before all is sent.
            with contextlib.suppress(ConnectionError):
                connection.endheaders(body if isinstance(body, bytes) else None)
            found = connection.getresponse()
            return Answer(found.status, found.headers, found.read())

    def get(self, path: str, **headers: str | None) -> Answer:
        """Ask as the person who has come with the token."""
        return self.ask(path, cookie=self.cookie, **headers)

    def post(self, path: str, _fields: Any = None, **headers: str | None) -> Answer:
        """Send a form as the person's browser does, but for the headers that are given."""
        own = {"Origin": f"http://{self.host}", "Content_Type": FORM}
        body = urlencode({"csrf": self.csrf} | (_fields or {})).encode()
        return self.ask(path, "POST", body, **{"cookie": self.cookie} | own | headers)

    def visit(self) -> Page:
        """Come with the token: another visit, with its own cookie and word for forms."""
        welcome = self.ask(f"/?token={self.token}")
        cookie = welcome.headers["Set-Cookie"].partition(";")[0]
        self.address = self.next_address()
        page = self.ask("/", cookie=cookie).text
        found = re.search('name="csrf" content="([0-9a-f]+)"', page)
        assert found
        return Page(self.zoo, self.process, self.address, cookie, found[1])

    def next_address(self) -> str:
        """Read the address that is printed once the one before is used."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    @contextlib.contextmanager
    def events(self, path: str, **headers: str) -> Iterator[Iterator[tuple[str, Any]]]:
        """What a page is told while it listens: (event, data)."""
        with self._connection() as connection:
            asked = {"Host": self.host, "Cookie": self.cookie}
            connection.request("GET", path, headers=asked | headers)
            yield _events(connection.getresponse())

    def close(self) -> int:
        """Ctrl-C; gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return self.process.returncode

    def _connection(self) -> contextlib.closing[http.client.HTTPConnection]:
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60))


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    assert answer.status == 200, answer.read()
    event = ""
    for line in iter(answer.readline, b""):
        name, _, value = line.decode().rstrip("\r\n").partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


def page(zoo: Zoo) -> Page:
    """Start `zoo ui`, and come with its token."""
    process = zoo.start("ui", "--no-browser")
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address:
        raise AssertionError(process.communicate()[1])
    return Page(zoo, process, address).visit()


@contextlib.contextmanager
def served(home: Path) -> Iterator[Page]:
    """Run `zoo ui` of a new installation in the folder `home`."""
    zoo = Zoo(home)
    zoo.database().close()
    found = page(zoo)
    yield found
    found.close()
    zoo.close()
