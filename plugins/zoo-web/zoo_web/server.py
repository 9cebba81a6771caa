"""Serve the page on the loopback address until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import uvicorn

from zoo import atomic, jobs, private_folder, settings
from zoo.errors import ZooError, reason
from zoo_web.app import make_app
from zoo_web.auth import AuthMiddleware
from zoo_web.context import PageContext
from zoo_web.model_client import ModelClient

HOST = "127.0.0.1"
PORT = "ui-port"
"""The file of the last port, in ZOO_HOME."""
LEAVE_SECONDS = 1
"""Time for open connections at shutdown: a live page never closes its own."""


def serve(port: int, on_address: Callable[[str], None]) -> None:
    """Serve until the process is interrupted.

    Args:
        port: 0 for that of the last time, by which open tabs find the server, or a free one.
        on_address: Called with a one-time address, and with the next one once it is used.

    Raises:
        ZooError: The port cannot be used.
    """
    chosen = settings.load()
    # A team's database is elsewhere; the log of the model server is here.
    private_folder.make(chosen.home)
    with (
        closing(jobs.connect(chosen.database)) as db,
        closing(_listen_again(port, chosen.home / PORT)) as listener,
    ):
        context = PageContext(db, chosen, ModelClient(chosen.home / "ui.log"))
        bound = listener.getsockname()[1]
        config = uvicorn.Config(
            AuthMiddleware(
                make_app(context),
                bound,
                lambda token: on_address(f"http://{HOST}:{bound}/?token={token}"),
                context.ask_token,
            ),
            # An address in a log would keep its token.
            access_log=False,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=LEAVE_SECONDS,
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            context.models.close()


def _listen_again(port: int, last: Path) -> socket.socket:
    """Listen on the port; on that in the file `last`, which is kept, if it is 0."""
    listener = None
    if not port:
        with contextlib.suppress(OSError, ValueError, OverflowError, ZooError):
            listener = _listen(int(last.read_text()))
    listener = listener or _listen(port)
    with contextlib.suppress(OSError):
        atomic.write(last, f"{listener.getsockname()[1]}\n")
    return listener


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET)
    # Allow the port of a page that has just ended.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ZooError(
            f"The port {port} cannot be used: {reason(error)}.",
            "Without --port a free one is taken.",
        ) from None
    return listener
