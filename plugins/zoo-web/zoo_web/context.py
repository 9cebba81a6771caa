"""What every page needs: database, settings, templates and the client of the model server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from zoo.errors import ZooError
from zoo.jobs import Database, Job
from zoo.queue import local_services
from zoo.settings import Settings
from zoo_web import formats
from zoo_web.events import Parts
from zoo_web.model_client import ModelClient


def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("zoo_web"), jinja2.PackageLoader("zoo", "templates")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= formats.FILTERS
    return found


@dataclass
class PageContext:
    """Database, settings and templates of the app."""

    db: Database
    settings: Settings
    models: ModelClient
    plots: dict[str, tuple[int | None, dict[str, str]]] = field(default_factory=dict)
    """The pictures of sweeps, each with the state of its trials when it was made."""
    _templates: jinja2.Environment = field(default_factory=_templates)

    def is_worker_starting(self) -> bool:
        """Return whether the local worker runs; it may not be online yet."""
        return self.settings.is_embedded and local_services.local_worker(self.settings) is not None

    def other_owner(self, job: Job) -> str:
        """Return the owner of a job, or "" if it is the user who serves the page, or nobody."""
        owner = job.submitted_by or ""
        return "" if owner == self.settings.submitter else owner

    def page(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Render a whole page."""
        known = {"csrf": request.state.csrf, "path": request.url.path, "live": "", "parts": {}}
        text = self._templates.get_template(template).render(known | values)
        return HTMLResponse(text, status)

    def fragment(self, name: str, **values: Any) -> str:
        """Render the macro `name` of parts.html, with these values escaped."""
        html: str = getattr(self._templates.get_template("parts.html").module, name)(**values)
        return html

    def ask_token(self, sentence: str, then: str) -> str:
        """Render the page that asks for the token, and goes on at the address `then`."""
        values = {"sentence": sentence, "then": then, "csrf": "", "path": "", "live": ""}
        return self._templates.get_template("sign_in.html").render(values)

    def error_page(self, request: Request, error: ZooError, status: int) -> HTMLResponse:
        """Render the page of an error: its message and what to do next."""
        return self.page(request, "error.html", status=status, error=error)


def get_context(request: Request) -> PageContext:
    """Return the context of the app that serves the request."""
    found: PageContext = request.app.state.context
    return found


def live_values(request: Request, parts: Parts) -> dict[str, Any]:
    """Return the template values of a live page: its parts, and the address of their changes."""
    query = f"?{request.url.query}" if request.url.query else ""
    return {"parts": parts, "live": f"/live{request.url.path}{query}"}
