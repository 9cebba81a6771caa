"""Serve the page to this machine alone, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing

import uvicorn

from zoo import jobs, private_folder, settings
from zoo.errors import ZooError, reason
from zoo_web.app import make_app
from zoo_web.auth import Door
from zoo_web.context import Desk
from zoo_web.model_client import Models

HOST = "127.0.0.1"
LEAVE_SECONDS = 1
"""What open connections get at the end: a live page never closes its own."""


def serve(port: int, invite: Callable[[str], None]) -> None:
    """Serve until somebody ends it.

    `invite` is called with a one-time address, and with the next one as soon as it is used.
    Raises ZooError if the port is taken.
    """
    chosen = settings.load()
    # A team's rows are elsewhere; the log of the models' process is here.
    private_folder.make(chosen.home)
    with closing(jobs.connect(chosen.database)) as db, closing(_listen(port)) as listener:
        desk = Desk(db, chosen, Models(chosen.home / "ui.log"))
        at = listener.getsockname()[1]
        config = uvicorn.Config(
            Door(make_app(desk), at, lambda token: invite(f"http://{HOST}:{at}/?token={token}")),
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
            desk.models.close()


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET)
    # The port of a page that has just ended is free again at once.
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
