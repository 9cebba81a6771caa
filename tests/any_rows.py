"""Rows as the database can hold them, made by hypothesis: every status and kind, hostile texts."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from zoo.jobs import TERMINAL, Database

STATUSES = ("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost")

CONTROLS = [
    *("\x1b[31m", "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1b", "\x9b31m"),
    *("\x7f", "\x08", "\r", "\n", "\t", "\x85", "\u202e", "\u2066", "\u200b", "\u2028", "\ufeff"),
    "\U000e0041",
]
WIDE = [
    *("한국어 데이터", "手書き数字認識", "🙂", "👩\u200d🔬", "🇰🇷", "e\u0301", "☃\ufe0f", "ก็", "ﷺ"),
    "a\u0300" * 40,
]
PATHS = [
    "idx:/home/" + "/".join(f"folder-{n}" for n in range(40)),
    "/data/my pictures of digits/" + "x" * 250 + "/2024-05-01.npz",
    "npz:/" + "한글" * 120 + ".npz",
]
PLAIN = [
    "mnist",
    "dense-softmax",
    "no such file",
    "[red]x[/red]",
    "=cmd|' /C calc'!A0",
    "-1",
    "@x",
    "",
]
LONG = ["w" * 300, "word " * 60, "1" * 40, "0.123456789012345678", "loss 0.2793 acc 0.9111 " * 12]

texts = st.lists(
    st.sampled_from([*CONTROLS, *WIDE, *PATHS, *PLAIN, *LONG])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0…"), max_size=8),
    min_size=1,
    max_size=3,
).map("".join)
names = texts.filter(bool)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.integers(-(10**17), 10**17) | floats
shares = st.floats(0, 1)
values = numbers | st.booleans() | st.none() | texts | st.lists(numbers, max_size=3)
params = st.dictionaries(
    st.sampled_from(["epochs", "rate", "layers", "a_long_name_of_a_param"]), values
)
progresses = st.none() | st.fixed_dictionaries(
    {
        "phase": st.sampled_from(["prepare", "fit", "evaluate"]),
        "since": st.just(1e9),
        "step": st.integers(0, 10**6),
        "total": st.integers(1, 10**6),
        "unit": st.sampled_from(["epoch", "image"]),
        "metrics": st.dictionaries(st.sampled_from(["loss", "accuracy"]), floats),
    }
)
seconds = st.floats(0, 4e8)


@st.composite
def metrics(draw: st.DrawFn) -> dict[str, Any]:
    """What a job that has succeeded has measured."""
    classes = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    k = len(classes)
    counts = st.integers(0, 10**5)
    rows = st.lists(counts, min_size=k, max_size=k)
    each = {"precision": shares, "recall": shares, "f1": shares, "support": counts}
    optional = {"loss": floats, "parameters": st.integers(0, 10**12), "weights_bytes": counts}
    optional |= {"predict_us_per_image": seconds, "train_accuracy": shares}
    return draw(
        st.fixed_dictionaries(
            {
                "accuracy": shares,
                "n_images": counts,
                "fit_seconds": seconds,
                "classes": st.just(classes),
                "per_class": st.fixed_dictionaries(
                    {name: st.fixed_dictionaries(each) for name in classes}
                ),
                "confusion_matrix": st.lists(rows, min_size=k, max_size=k),
            },
            optional=optional,
        )
    )


@st.composite
def job(draw: st.DrawFn, at: float = 1.7e9) -> dict[str, Any]:
    """The columns of one row of the table `job`."""
    status, kind = draw(st.sampled_from(STATUSES)), draw(st.sampled_from(["train", "evaluate"]))
    given = draw(params)
    fold = draw(st.none() | st.just({"k": 5, "index": 4}))
    model, dataset = draw(names), draw(names)
    source = {"job": "0" * 32, "artifact": "a", "sha256": "0" * 64} if kind == "evaluate" else None
    spec = {"v": 1, "kind": kind, "model": model, "params": given, "dataset": dataset}
    spec |= {"changed": draw(st.none() | st.just([*given][:2])), "preprocess": "none"}
    spec |= {"split": "test", "seed": draw(st.integers(0, 2**32 - 1)), "fold": fold}
    spec |= {"source": source, "published": None, "keep_weights": True, "timeout": None}
    spec |= {"memory_mb": None, "plugin": draw(texts)}
    is_over, has_begun = status in TERMINAL, status != "queued"
    error = draw(texts) if is_over and status != "succeeded" else None
    created = at - draw(seconds)
    started = created + draw(seconds) if has_begun else None
    measured = draw(metrics()) if status == "succeeded" else None
    return {
        "kind": kind,
        "model": model,
        "dataset": dataset,
        "pool": draw(names),
        "priority": draw(st.integers(-(10**6), 10**6)),
        "tags": json.dumps(draw(st.lists(names, max_size=3))),
        "spec_version": 1,
        "spec": json.dumps(spec),
        "status": status,
        "attempt": int(has_begun),
        "max_attempts": 3,
        "owner": "o" if status == "running" else None,
        "lease_until": at + 1e6 if status == "running" else None,
        "worker": draw(names) if has_begun else None,
        "progress": json.dumps(draw(progresses) or {}) if has_begun else None,
        "metrics": json.dumps(measured) if measured else None,
        "artifact": "a/1" if status == "succeeded" else None,
        "artifact_sha256": "0" * 64 if status == "succeeded" else None,
        "error_code": "exception" if error is not None else None,
        "error": error,
        "created_at": created,
        "started_at": started,
        "finished_at": (started or created) + draw(seconds) if is_over else None,
        "accuracy": measured["accuracy"] if measured else None,
        "ranked": int(status == "succeeded"),
    }


@st.composite
def group(draw: st.DrawFn) -> dict[str, Any]:
    """A group with its jobs."""
    kind = draw(st.sampled_from(["cv", "seeds", "sweep"]))
    members = draw(st.lists(job(), min_size=1, max_size=4))
    about = {"sampler": "grid", "trials": len(members)} if kind == "sweep" else {}
    return {"kind": kind, "jobs": members, "about": json.dumps(about)}


cards = st.fixed_dictionaries(
    {
        "name": names,
        "plugin": texts,
        "summary": texts,
        "about": texts,
        "family": texts,
        "paper": texts,
        "layout": st.just("flat"),
        "dtype": st.just("float32"),
        "datasets": st.dictionaries(names, texts, max_size=2),
        "schema": st.fixed_dictionaries(
            {
                "properties": st.dictionaries(
                    names,
                    st.fixed_dictionaries(
                        {"type": st.just("integer"), "default": values, "description": texts}
                    ),
                    max_size=3,
                )
            }
        ),
    }
)
workers = st.fixed_dictionaries(
    {
        "name": names,
        "host": names,
        "pid": st.integers(1, 2**22),
        "pool": names,
        "slots": st.integers(1, 10**4),
        "busy": st.integers(0, 10**4),
        "state": st.sampled_from(["online", "draining", "stopped"]),
        "version": texts,
        "models": st.lists(cards, max_size=2),
    }
)
everything = st.fixed_dictionaries(
    {
        "jobs": st.lists(job(), min_size=1, max_size=4),
        "groups": st.lists(group(), max_size=2),
        "workers": st.lists(workers, max_size=2),
        "log": texts,
        "steps": st.lists(
            st.dictionaries(st.sampled_from(["loss", "accuracy", "a_longer_metric"]), floats),
            max_size=12,
        ),
    }
)


def fill(db: Database, told: dict[str, Any]) -> None:
    """Put these rows in place of all others."""
    with db.write() as rows:
        for table in ("log", "history", "attempt", "job", "job_group", "worker"):
            rows.run(f"DELETE FROM {table}")
        at = float(rows.value("SELECT now() AS at"))
        number = 0
        for g, each in enumerate([*told["groups"], {"jobs": told["jobs"], "kind": None}]):
            group_id = f"{g + 10:032x}"[::-1] if each["kind"] else None
            if group_id:
                _insert(rows, "job_group", {"id": group_id, "kind": each["kind"], "created_at": at,
                                            "about": each["about"]})  # fmt: skip
            for one in each["jobs"]:
                number += 1
                _job(rows, one | {"id": f"{number * 0x9e3779b97f4a7c15:032x}"[::-1],
                                  "group_id": group_id}, told)  # fmt: skip
        for n, each in enumerate(told["workers"]):
            row = each | {"id": f"{n:032x}", "started_at": at, "beat_at": at}
            _insert(rows, "worker", row | {"models": json.dumps(each["models"])})


def _job(rows: Any, row: dict[str, Any], told: dict[str, Any]) -> None:
    _insert(rows, "job", row)
    if row["status"] == "queued":
        return
    tried = {"job_id": row["id"], "n": 1, "worker": row["worker"], "plugin": "p 1"}
    tried |= {"started_at": row["started_at"], "ended_at": row["finished_at"]}
    tried |= {"outcome": None if row["status"] == "running" else row["status"]}
    _insert(rows, "attempt", tried | {"error": row["error"]})
    _insert(rows, "log", {"job_id": row["id"], "attempt": 1, "start": 0, "text": told["log"]})
    for step, measured in enumerate(told["steps"]):
        reported = {"job_id": row["id"], "attempt": 1, "step": step + 1}
        _insert(rows, "history", reported | {"metrics": json.dumps(measured)})


def _insert(rows: Any, table: str, values: dict[str, Any]) -> None:
    columns = ", ".join(values)
    rows.run(f"INSERT INTO {table} ({columns}) VALUES (:{', :'.join(values)})", values)
