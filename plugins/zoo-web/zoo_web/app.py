"""The application: pages and actions by their addresses."""

from __future__ import annotations

import logging
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from zoo.errors import ZooError
from zoo_web import (
    actions,
    auth,
    canvas,
    compare_page,
    dashboard,
    group_page,
    job_page,
    model_page,
)
from zoo_web.context import PageContext, get_context

JOB = "/jobs/{job:str}"
GROUP = "/groups/{group:str}"
ROUTES = [
    Route("/", dashboard.jobs_page),
    Route("/live/", dashboard.live_jobs),
    Route("/leaderboard", dashboard.leaderboard_page),
    Route("/live/leaderboard", dashboard.live_leaderboard),
    Route(JOB, job_page.job_page),
    Route(f"/live{JOB}", job_page.live_job),
    Route(JOB + "/files/{name:path}", job_page.job_file),
    Route(f"{JOB}/cancel", actions.cancel, methods=["POST"]),
    Route(f"{JOB}/stop", actions.stop, methods=["POST"]),
    Route(f"{JOB}/retry", actions.retry, methods=["POST"]),
    Route(JOB + "/evaluate", model_page.evaluate_page),
    Route(JOB + "/evaluate", model_page.evaluate, methods=["POST"]),
    Route(JOB + "/export", model_page.export_page),
    Route(JOB + "/export", model_page.export, methods=["POST"]),
    Route(GROUP, group_page.group_page),
    Route(f"/live{GROUP}", group_page.live_group),
    Route(f"{GROUP}/cancel", group_page.cancel, methods=["POST"]),
    Route(f"{GROUP}/retry", group_page.retry, methods=["POST"]),
    Route("/compare", compare_page.compare_page),
    Route("/live/compare", compare_page.live_compare),
    Route("/submit", actions.submit_page),
    Route("/submit", actions.submit_training, methods=["POST"]),
    Route("/draw", canvas.page),
    Route("/live/draw", canvas.live_page),
    Route("/draw/predictions", canvas.predictions, methods=["POST"]),
    Route(auth.FILES, canvas.file_predictions, methods=["POST"]),
    Mount("/design", StaticFiles(packages=[("zoo", "templates/design")])),
    Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
]


def make_app(context: PageContext) -> Starlette:
    """Make the app, without authentication: the server wraps it in `AuthMiddleware`."""
    errors = {404: _no_page, 405: _no_page, ZooError: _failed, Exception: _broken}
    app = Starlette(routes=ROUTES, exception_handlers=errors)
    app.state.context = context
    return app


def _no_page(request: Request, error: Exception) -> Response:
    shown = ZooError("There is no such page.", "Choose a page above.")
    return get_context(request).error_page(request, shown, getattr(error, "status_code", 404))


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, ZooError)
    return get_context(request).error_page(request, error, 400 if error.exit_code == 2 else 500)


def _broken(request: Request, error: Exception) -> Response:
    # The traceback goes to the server's log, not to the browser.
    logging.getLogger(__name__).error("%s", request.url.path, exc_info=error)
    shown = ZooError(
        "This page has an internal error.", "The terminal of `zoo ui` shows the traceback."
    )
    return get_context(request).error_page(request, shown, 500)
