"""What every page needs: the rows, the settings, the templates, the models' process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from zoo.errors import ZooError
from zoo.jobs import Database
from zoo.queue import local_services
from zoo.settings import Settings
from zoo_web import formats
from zoo_web.events import Parts
from zoo_web.model_client import Models


def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo_web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= formats.FILTERS
    return found


@dataclass
class Desk:
    """What every page needs."""

    db: Database
    settings: Settings
    models: Models
    _templates: jinja2.Environment = field(default_factory=_templates)

    def is_worker_starting(self) -> bool:
        """Whether, where no worker is online yet, the local one is under way."""
        return self.settings.is_embedded and local_services.local_worker(self.settings) is not None

    def page(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """A whole page."""
        known = {"csrf": request.state.csrf, "path": request.url.path, "live": "", "parts": {}}
        text = self._templates.get_template(template).render(known | values)
        return HTMLResponse(text, status)

    def piece(self, name: str, **values: Any) -> str:
        """A piece of a page: what the macro of that name gives, with these values escaped."""
        piece: str = getattr(self._templates.get_template("parts.html").module, name)(**values)
        return piece

    def refusal(self, request: Request, error: ZooError, status: int) -> HTMLResponse:
        """The page that says what was wrong, and what to do next."""
        return self.page(request, "error.html", status=status, error=error)


def desk(request: Request) -> Desk:
    """The desk of the app that was asked."""
    found: Desk = request.app.state.desk
    return found


def live_at(request: Request, parts: Parts) -> dict[str, Any]:
    """What a template needs to show these parts and to go on: where their changes are told."""
    query = f"?{request.url.query}" if request.url.query else ""
    return {"parts": parts, "live": f"/live{request.url.path}{query}"}
