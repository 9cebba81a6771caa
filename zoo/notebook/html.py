"""Render a job or group for a notebook: a line of text or a small HTML table."""

from __future__ import annotations

import html as markup
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zoo.jobs import Estimate, Group, Job
from zoo.jobs.groups import result_text
from zoo.metrics import METRICS

COLOURS = {
    "succeeded": "#08693f",
    "running": "#0b6478",
    **dict.fromkeys(("cancelled", "paused", "pruned"), "#7a5200"),
    **dict.fromkeys(("failed", "timed_out", "lost"), "#b3261e"),
}
"""Those of page and report."""
MOST_JOBS = 20
"""Jobs of a group that are listed one by one."""
SHOWN = (*METRICS, "fit_seconds", "parameters")


def summary(found: Job | Group) -> str:
    """Return the line that `repr` shows."""
    if isinstance(found, Group):
        about = f"{found.kind} of {len(found.jobs)}"
        about += f", {found.jobs[0].model} on {found.jobs[0].dataset}" if found.jobs else ""
        return f"<group {found.id[:8]} {about}: {found.status}{_accuracy(found)}>"
    about = f"{found.model} on {found.dataset}: {found.listed_status}{_accuracy(found)}"
    return f"<job {found.id[:8]} {about}>"


def table(found: Job | Group, outlook: Estimate | None = None) -> str:
    """Return an HTML table with every text escaped; `outlook` is that of a running job."""
    facts = _group_facts(found) if isinstance(found, Group) else _job_facts(found, outlook)
    rows = "".join(f"<tr>{_head(name)}<td>{cell}</td></tr>" for name, cell in facts.items())
    return f'<table style="text-align: left">{rows}</table>'


def job_progress(job: Job, outlook: Estimate | None, charts: str) -> str:
    """Return the progress of a job as HTML; `charts` is SVG."""
    parts = [outlook.steps or outlook.phase, outlook.rest()] if outlook else [result_text(job)]
    parts += [job.error.splitlines()[0]] if job.error else []
    about = f"{_text(job.model)} on {_text(job.dataset)}"
    share = outlook.part if outlook else None
    return _progress(
        job.id, about, job.listed_status, share, ", ".join(filter(None, parts)), charts
    )


def group_progress(group: Group, text: str, charts: str) -> str:
    """Return the progress of a group as HTML: `text` in words, and `charts` as SVG."""
    ended = sum(job.is_terminal for job in group.jobs)
    share = None if group.is_terminal else ended / len(group.jobs)
    said = ", ".join(filter(None, [text, result_text(group)]))
    return _progress(group.id, _text(group.kind), group.status, share, said, charts)


def _progress(id: str, about: str, status: str, share: float | None, text: str, charts: str) -> str:
    head = f"<code>{_text(id[:8])}</code> {about} {_status(status)} "
    if share is not None:
        head += f'<progress value="{share:.3f}" style="vertical-align: middle"></progress> '
    charts = f"<div>{charts}</div>" if charts else ""
    return f'<div style="padding: 4px 0">{head}{_text(text)}</div>{charts}'


def _accuracy(found: Job | Group) -> str:
    text = result_text(found)
    return f", {text}" if text else ""


def _head(name: str) -> str:
    return f'<th style="text-align: left">{markup.escape(name)}</th>'


def _job_facts(job: Job, outlook: Estimate | None) -> dict[str, str]:
    facts = {
        job.kind: f"<code>{markup.escape(job.id[:8])}</code> {_text(job.model)} on "
        f"{_text(job.dataset)}",
        "status": _status(job.listed_status),
        "params": _pairs(job.changed) or "the defaults",
        "seed": _text(job.spec.get("seed")),
        "submitted": _time(job.created_at),
    }
    facts |= {name: _text(own) for name in ("name", "note") if (own := getattr(job, name))}
    if outlook:
        parts = [outlook.steps or outlook.phase, outlook.rest()]
        facts["progress"] = _text(", ".join(filter(None, parts)))
    measured = {name: n for name in SHOWN if (n := job.number(name)) is not None}
    facts |= {"metrics": _pairs(measured)} if measured else {}
    facts |= {"tags": _text(", ".join(job.tags))} if job.tags else {}
    facts |= {"error": f"<pre>{_text(job.error)}</pre>"} if job.error else {}
    return facts


def _group_facts(group: Group) -> dict[str, str]:
    found = group.metrics()
    measured: dict[str, Any] = {
        name: found[name].text() for name in (*METRICS, "fit_seconds") if name in found
    }
    result = {"result": _text(result_text(group) or "none yet")} if group.kind == "sweep" else {}
    lines = [markup.escape(summary(job)[5:-1]) for job in group.jobs[:MOST_JOBS]]
    lines += [f"and {len(group.jobs) - MOST_JOBS} more"] if len(group.jobs) > MOST_JOBS else []
    return {
        "group": f"<code>{markup.escape(group.id[:8])}</code> {_text(group.kind)} of "
        f"{len(group.jobs)}",
        "status": _status(group.status),
        **(result or {"metrics": _pairs(measured)}),
        "jobs": "<br>".join(lines),
    }


def _status(name: str) -> str:
    return f'<b style="color: {COLOURS.get(name, "inherit")}">{markup.escape(name)}</b>'


def _pairs(values: Mapping[str, Any]) -> str:
    texts = {
        name: f"{value:.4f}" if isinstance(value, float) and name in SHOWN else value
        for name, value in values.items()
    }
    return _text(
        " ".join(
            f"{name}={text if isinstance(text, str) else json.dumps(text)}"
            for name, text in texts.items()
        )
    )


def _text(value: Any) -> str:
    return markup.escape(str(value))


def _time(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):  # a clock that was set wrong
        return str(at)
