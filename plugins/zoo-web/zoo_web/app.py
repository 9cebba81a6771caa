"""The pages by their addresses."""

from __future__ import annotations

import logging
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from zoo.errors import ZooError
from zoo_web import actions, canvas, dashboard, job_page
from zoo_web.context import Desk, desk

JOB = "/jobs/{job:str}"
ROUTES = [
    Route("/", dashboard.board),
    Route("/live/", dashboard.live_board),
    Route("/leaderboard", dashboard.ranks),
    Route("/live/leaderboard", dashboard.live_ranks),
    Route(JOB, job_page.job_page),
    Route(f"/live{JOB}", job_page.live_job),
    Route(JOB + "/files/{name:path}", job_page.file),
    Route(f"{JOB}/cancel", actions.cancel, methods=["POST"]),
    Route(f"{JOB}/retry", actions.retry, methods=["POST"]),
    Route("/submit", actions.form),
    Route("/submit", actions.submitted, methods=["POST"]),
    Route("/draw", canvas.page),
    Route("/live/draw", canvas.live_page),
    Route("/draw/predictions", canvas.predictions, methods=["POST"]),
    Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
]


def make_app(at: Desk) -> Starlette:
    """The app; whoever serves it puts the door before it."""
    errors = {404: _no_page, 405: _no_page, ZooError: _failed, Exception: _broken}
    app = Starlette(routes=ROUTES, exception_handlers=errors)
    app.state.desk = at
    return app


def _no_page(request: Request, error: Exception) -> Response:
    refusal = ZooError("There is no such page.", "Choose a page above.")
    return desk(request).refusal(request, refusal, getattr(error, "status_code", 404))


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, ZooError)
    return desk(request).refusal(request, error, 400 if error.exit_code == 2 else 500)


def _broken(request: Request, error: Exception) -> Response:
    # Who serves the page sees where; who looks at it need not.
    logging.getLogger(__name__).error("%s", request.url.path, exc_info=error)
    refusal = ZooError(
        "There is a mistake in this page itself.", "The terminal of `zoo ui` says where."
    )
    return desk(request).refusal(request, refusal, 500)
