"""Render the report: one HTML file with its style and script, which loads nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from datetime import datetime
from importlib import metadata, resources
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from zoo.jobs.records import number_text
from zoo.metrics import METRICS, common_heading
from zoo.param_values import typed
from zoo.results import learning_curves
from zoo.results.learning_curves import Run, step_unit
from zoo_report import chart_data, tiles
from zoo_report.contents import Contents, cut

SCRIPTS = ("data", "theme", "tables", "curves", "matrices", "mistakes", "copying")
DESIGN = resources.files("zoo") / "templates" / "design"
"""What the report and the page of zoo-web have in common."""
KINDS = ("style", "script")


def render(contents: Contents) -> str:
    """Render the page as HTML: all text is escaped, and a CSP allows only its own script."""
    style = _shared("zoo.css") + _file("report.css")
    # One script instead of modules, which a file without a server cannot import.
    charts = re.sub(r"^export ", "", _shared("charts.js"), flags=re.MULTILINE)
    script = "\n".join([charts, *(_file(f"{name}.js") for name in SCRIPTS)])
    script = f'"use strict";\n(() => {{\n{script}\n}})();'
    logo = _shared("logo.svg").strip()
    template = _environment().get_template("report.html")
    return template.render(
        page=contents,
        data=chart_data.page_data(contents),
        curves=_curves(contents),
        board=contents.board,
        has_older=any(row.contents_note for row in contents.board),
        tiles=tiles.best_results(contents),
        counts=_counts(contents),
        shown=_anchors(contents),
        zoo_version=metadata.version("mnist-zoo"),
        logo=Markup(logo),
        icon=f"data:image/svg+xml,{quote(logo)}",
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
    )


@functools.cache
def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("zoo_report"), jinja2.PackageLoader("zoo", "templates")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    found.filters |= {"number": _number, "moment": _moment, "span": _span}
    found.globals["METRICS"] = list(METRICS)
    found.filters |= {"typed": typed, "cut": cut, "heading": common_heading}
    return found


def _curves(contents: Contents) -> list[dict[str, Any]]:
    """Return the curves of all jobs, of which a page without scripts shows the ends."""
    return learning_curves.charts(
        [Run(each.name, each.steps, step_unit(each.job)) for each in contents.entries]
    )


def _shared(name: str) -> str:
    return (DESIGN / name).read_text(encoding="utf-8")


def _file(name: str) -> str:
    return (resources.files("zoo_report") / "templates" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the CSP: nothing external, no forms, no frames, only the page's script and style."""
    hashes = (
        base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (style, script)
    )
    allowed = [f"{kind}-src 'sha256-{text}'" for kind, text in zip(KINDS, hashes, strict=True)]
    closed = ["default-src 'none'", "base-uri 'none'", "form-action 'none'"]
    return "; ".join([*closed, "img-src data:", *allowed])


def _anchors(contents: Contents) -> dict[str, str]:
    """Return the element id of each job and group on the page."""
    jobs = {entry.job.id: f"job-{entry.job.id}" for entry in contents.entries}
    return jobs | {each.group.id: f"group-{each.group.id}" for each in contents.groups}


def _counts(contents: Contents) -> dict[str, int]:
    statuses = [entry.job.listed_status for entry in contents.entries]
    return {status: statuses.count(status) for status in dict.fromkeys(statuses)}


def _number(value: Any, digits: int | None = None) -> str:
    return number_text(value, digits, missing="–")


def _moment(seconds: float | None) -> str:
    """Format a time with its UTC offset: the page may be read anywhere."""
    if seconds is None:
        return "–"
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %z")
    except (OSError, OverflowError, ValueError):  # a clock that was set wrong
        return "unknown"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{_number(seconds / 3600, 1)} h"
