"""What every page needs: the rows, the settings, the templates, the models' process."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from zoo import embedded
from zoo.errors import ZooError
from zoo.jobs import Database
from zoo.settings import Settings
from zoo_web.live import Parts
from zoo_web.models import Models

# Colours and cursor moves that are meant for a terminal.
STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def _number(value: Any, digits: int = 4) -> str:
    """A metric as people read it."""
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _span(seconds: float | None) -> str:
    """A span of time, short: 4.2 s, 12 min, 3 h."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * 1.5:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _clock(at: float | None) -> str:
    """A time of today, else with its date; local."""
    if at is None:
        return ""
    then = datetime.datetime.fromtimestamp(at)
    is_today = then.date() == datetime.datetime.now().date()
    return then.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def _bytes(size: int) -> str:
    for unit, step in (("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} B"


def _typed(params: Mapping[str, Any]) -> str:
    """Params as they are typed in a terminal."""
    texts = (v if isinstance(v, str) else json.dumps(v) for v in params.values())
    return " ".join(f"{name}={text}" for name, text in zip(params, texts, strict=True))


def _part(spec: Mapping[str, Any], group: str | None) -> str:
    """Which part of its group a job is."""
    fold = spec.get("fold")
    if fold:
        return f"fold {fold['index'] + 1}/{fold['k']}"
    return f"seed {spec['seed']}" if group else ""


FILTERS = {
    "number": _number,
    "span": _span,
    "clock": _clock,
    "bytes": _bytes,
    "typed": _typed,
    "plain": lambda text: STEERING.sub("", text),
}


def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo_web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= FILTERS
    found.globals["part_of"] = _part
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
        return self.settings.is_embedded and embedded.local_worker(self.settings) is not None

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
