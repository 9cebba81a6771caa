"""Make the page: one HTML file that loads nothing, with its own style and script."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from zoo.errors import ZooError, reason
from zoo_report import again, tiles
from zoo_report.contents import Contents, Entry, Missed

SCRIPTS = (
    *("data", "theme", "tables", "chart", "cursor", "curves", "matrices", "mistakes", "copying"),
)
POINTS = 200
"""Steps of a curve that are drawn; no screen shows more."""
MOST_CLASSES = 64
"""A confusion matrix of more classes is not drawn: nobody could read it."""
KINDS = ("style", "script")


def render(contents: Contents) -> str:
    """The page as HTML: every text is escaped, and a policy lets its own script alone run."""
    style, script = _file("report.css"), "\n".join(_file(f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();'
    template = _environment().get_template("report.html")
    return template.render(
        page=contents,
        data=_data(contents),
        board=[_ranked(row) for row in contents.board],
        tiles=tiles.of(contents),
        counts=_counts(contents),
        shown=_anchors(contents),
        zoo_version=metadata.version("mnist-zoo"),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
    )


def save(text: bytes, path: Path) -> None:
    """Write the file whole, in place of one that is there.

    Raises ZooError if it cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        raise ZooError(f"{path} cannot be written: {reason(error)}.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo_report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    found.filters |= {"number": _number, "moment": _moment, "span": _span, "percent": _percent}
    found.filters["typed"] = again.typed
    return found


def _file(name: str) -> str:
    return (resources.files("zoo_report") / "templates" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing from elsewhere, no form, no frame; of scripts and styles only the page's own."""
    hashes = (
        base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (style, script)
    )
    allowed = [f"{kind}-src 'sha256-{text}'" for kind, text in zip(KINDS, hashes, strict=True)]
    closed = ["default-src 'none'", "base-uri 'none'", "form-action 'none'"]
    return "; ".join([*closed, "img-src data:", *allowed])


def _data(contents: Contents) -> dict[str, Any]:
    """What the script draws, as JSON."""
    return {
        "jobs": [_drawn(entry) for entry in contents.entries],
        "images": contents.images,
        "missed": _exams(contents.missed),
    }


def _exams(missed: Sequence[Missed]) -> list[dict[str, Any]]:
    """What was missed on the same images together; pairs, for JSON objects keep no order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in missed:
        told = {"image": each.image, "label": each.label, "asked": each.asked}
        found.setdefault(each.exam, []).append(told | {"said": list(each.said.items())})
    return [{"exam": exam, "images": images} for exam, images in found.items()]


def _drawn(entry: Entry) -> dict[str, Any]:
    job, metrics = entry.job, entry.job.metrics
    classes, matrix = metrics.get("classes", []), metrics.get("confusion_matrix")
    return {
        "id": job.id,
        "name": entry.name,
        "dataset": job.dataset,
        "judged": entry.judged,
        "accuracy": job.accuracy,
        "seen": entry.has_seen,
        "curves": _curves(entry.steps),
        "classes": classes,
        "matrix": matrix if len(classes) <= MOST_CLASSES else None,
        "wrong": entry.gallery.wrong,
        "note": entry.gallery.note,
        "mistakes": [
            [f"{m.row}", m.label, m.predicted, _short(m.sure), _short(m.label_sure)]
            for m in entry.gallery.first
        ],
        "split": "train" if job.spec["fold"] else job.spec["split"],
    }


def _curves(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """{"step": [...], metric: [...]}: thinned out, the last step always among them."""
    every = -(-len(steps) // POINTS) or 1
    kept = [each for n, each in enumerate(steps) if (len(steps) - 1 - n) % every == 0]
    names = dict.fromkeys(name for each in kept for name in each)
    columns = {name: [_short(each.get(name)) for each in kept] for name in names}
    return {name: values for name, values in columns.items() if any(v is not None for v in values)}


def _short(value: Any) -> Any:
    """A number with the five digits that a screen can show; nothing for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _ranked(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the leaderboard with the id that stands for it, and one side for what both have."""
    test, cv = row["test"], row["cv"]
    result = test or cv
    return {**row, "id": result.get("job") or result["group"], "result": result}


def _anchors(contents: Contents) -> dict[str, str]:
    """Where on the page a job or a group stands, by its id."""
    jobs = {entry.job.id: f"job-{entry.job.id}" for entry in contents.entries}
    return jobs | {each.group.id: f"group-{each.group.id}" for each in contents.groups}


def _counts(contents: Contents) -> dict[str, int]:
    statuses = [entry.job.status for entry in contents.entries]
    return {status: statuses.count(status) for status in dict.fromkeys(statuses)}


def _number(value: Any, digits: int = 4) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else f"{value:,}"


def _percent(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _moment(seconds: float | None) -> str:
    """A time, with its distance from UTC: the page may be read anywhere."""
    if seconds is None:
        return "–"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %z")


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
