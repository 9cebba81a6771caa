"""Rows of every shape that the database can hold, as hypothesis strategies, and how to store them.

Specs are those that `JobSpec` accepts, also as older versions have written them; statuses, kinds
and times are bound by the schema's own constraints; all other columns hold any text and any JSON,
where most often the values of a real job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any

from hypothesis import strategies as st

from helpers.finished_jobs import a_spec
from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import STATUSES, TERMINAL, Database
from zoo.jobs.ranking import rank_group

Json = Any
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "\"'><img src=x onerror=window.hacked=1>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "</script><!--",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202eevil\u2028\u2029\u009b1m\x7f",
    "../../../etc/passwd",
    "한국어 모델 🦓",
    "a" * 300,
    "two\nlines",
    " ",
    "100%",
    "NaN",
]
SPECIAL = [0, 1, -1, 0.0, -0.0, 0.5, 1e308, -1e308, 5e-324, 2**63, 10**400, -(10**400)]

texts = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
)
"""What both databases store: no half of a letter, no NUL."""
numbers = (
    st.sampled_from(SPECIAL) | st.floats(allow_nan=False, allow_infinity=False) | st.integers()
)
"""NaN and infinity are no JSON: both databases refuse to look into a column that holds them."""
scalars = st.none() | st.booleans() | numbers | texts
anything: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
shares = st.floats(0, 1)


def usual(strategy: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    """Most often a value as it should be, else any."""
    return st.one_of(strategy, strategy, strategy, anything)


def objects(known: Mapping[str, st.SearchStrategy[Json]]) -> st.SearchStrategy[dict[str, Json]]:
    """JSON objects with some of the known names, and maybe other ones."""
    some = st.fixed_dictionaries({}, optional={name: usual(each) for name, each in known.items()})
    return st.builds(
        lambda more, some: more | some, st.dictionaries(texts, scalars, max_size=2), some
    )


@st.composite
def judged(draw: Any) -> dict[str, Json]:
    """The metrics of a judged model, as `zoo.training.evaluation` measures them, or others."""
    names = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    counts = st.lists(st.integers(0, 10**6), min_size=len(names), max_size=len(names))
    columns = ("precision", "recall", "f1", "support")
    of_class = st.fixed_dictionaries(dict.fromkeys(columns, shares | st.none()))
    known: dict[str, st.SearchStrategy[Json]] = {
        "accuracy": shares,
        "loss": st.none() | st.floats(0, 20),
        "train_accuracy": st.none() | shares,
        "classes": st.just(names),
        "per_class": st.fixed_dictionaries(dict.fromkeys(names, of_class)),
        "confusion_matrix": st.lists(counts, min_size=len(names), max_size=len(names)),
        "n_images": st.integers(0, 10**9),
        "parameters": st.none() | st.integers(0, 10**12),
        "weights_bytes": st.none() | st.integers(0, 10**12),
        "fit_seconds": st.none() | st.floats(0, 1e6),
        "predict_us_per_image": st.none() | st.floats(0, 1e6),
    }
    if draw(st.booleans()):
        return draw(st.fixed_dictionaries(known))
    return draw(objects(known))


progress = st.none() | objects(
    {
        "phase": st.sampled_from(["starting", "data", "fit", "evaluate"]),
        "since": st.floats(0, 2e9),
        "step": st.integers(0, 100),
        "total": st.integers(0, 100),
        "unit": st.sampled_from(["epoch", "step"]) | texts,
        "metrics": st.dictionaries(texts, numbers, max_size=2),
    }
)
environments = st.none() | objects(
    {
        "fingerprint": st.just("f" * 64),
        "data": st.just("d" * 64),
        "plugin": texts,
        "code": st.fixed_dictionaries(
            {
                "sha256": st.just("c" * 64),
                "commit": st.none() | texts,
                "dirty": st.none() | st.booleans(),
            }
        ),
        "versions": st.dictionaries(texts, texts, max_size=3),
        "machine": st.dictionaries(
            st.sampled_from(["host", "cpu", "cores", "threads", "system"]),
            texts | st.integers(1, 99),
        ),
    }
)
histories = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1) | st.integers(1, 9),
        st.dictionaries(st.sampled_from(["loss", "accuracy", "val_loss"]) | texts, scalars),
    ),
    max_size=5,
    unique_by=lambda each: each[0],
)
times = st.floats(1.7e9, 1.8e9) | st.sampled_from([0.0, -1e10, 1e18, 1e300])
OLDER = (
    "version",
    "contents",
    "changed",
    "preprocess",
    "published",
    "keep_weights",
    "timeout",
    "memory_mb",
    "plugin",
)
"""What a spec may lack, for older versions did not write it down."""


@st.composite
def specs(draw: Any, dataset: str, model: str, fold: Mapping[str, int] | None) -> dict[str, Json]:
    params = draw(
        st.dictionaries(
            texts,
            st.recursive(
                st.none()
                | st.booleans()
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.integers(-(2**53), 2**53)
                | texts,
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=4,
            ),
            max_size=4,
        )
    )
    kind = "train" if fold else draw(st.sampled_from(["train", "train", "evaluate"]))
    source = {"job": "0" * 32, "artifact": "x/1", "sha256": "0" * 64}
    published = {"table": draw(texts), "row": draw(texts)[:200], "error": draw(st.floats(0, 100))}
    asked = {
        "kind": kind,
        "model": model,
        "dataset": dataset,
        "params": params,
        "changed": draw(
            st.none() | st.lists(st.sampled_from([*params]), unique=True) if params else st.none()
        ),
        "version": draw(st.none() | st.integers(1, 99)),
        "contents": draw(st.none() | st.sampled_from(["0" * 64, "ab" * 32])),
        "preprocess": draw(st.sampled_from(["none", "deskew", "impute,standardize"])),
        "split": draw(st.sampled_from(["test", "train", "validation"]))
        if kind == "evaluate"
        else "test",
        "seed": draw(st.integers(0, 2**32 - 1)),
        "fold": fold,
        "source": source if kind == "evaluate" else None,
        "published": published
        if draw(st.booleans()) and published["table"] and published["row"]
        else None,
        "keep_weights": draw(st.booleans()),
        "timeout": draw(st.none() | st.floats(1, 1e6)),
        "memory_mb": draw(st.none() | st.integers(1, 10**6)),
        "plugin": draw(texts),
    }
    return asked


@dataclass(frozen=True)
class Row:
    """One job, with all that belongs to it."""

    spec: dict[str, Json]
    lacks: Sequence[str]
    status: str
    columns: dict[str, Any]
    metrics: Json
    progress: Json
    tags: list[str]
    steps: Sequence[tuple[int, dict[str, Json]]]
    lines: Sequence[str]
    environments: Sequence[Json]
    """One for each attempt."""
    contents: str | None = None
    """Of the dataset; None where the result does not know them."""


@dataclass(frozen=True)
class Member:
    """A job by itself, or a group of several."""

    kind: str | None
    rows: list[Row] = field(default_factory=list)
    about: dict[str, Json] = field(default_factory=dict)
    is_empty: bool = False
    """Of a group: all its jobs are gone."""


@st.composite
def rows(
    draw: Any, dataset: str, model: str, fold: Mapping[str, int] | None, statuses: Sequence[str]
) -> Row:
    status = draw(st.sampled_from(statuses))
    attempt = draw(st.integers(0, 3))
    columns = {
        "attempt": attempt,
        "worker": draw(st.none() | texts),
        **{name: draw(st.none() | texts) for name in ("submitted_by", "name", "note")},
        "priority": draw(st.integers(-(10**6), 10**6)),
        "cancel_requested": int(draw(st.booleans())),
        "held": int(draw(st.booleans())),
        "blockers": draw(st.integers(0, 2)),
        "parked": int(draw(st.booleans())),
        "error": draw(st.none() | texts),
        "error_code": draw(st.none() | st.just("exception") | texts),
        "fingerprint": draw(st.none() | st.just("f" * 64)),
        "started_at": draw(st.none() | times),
        "fit_started_at": draw(st.none() | times),
        "created_at": draw(times),
    }
    has_metrics = status == "succeeded" or draw(st.booleans())
    return Row(
        draw(specs(dataset, model, fold)),
        draw(st.lists(st.sampled_from(OLDER), unique=True, max_size=3)),
        status,
        columns,
        draw(judged()) if has_metrics else None,
        draw(progress),
        draw(st.lists(texts, max_size=3)),
        draw(histories),
        draw(st.lists(texts, max_size=3)),
        [draw(environments) for _ in range(attempt)],
        draw(st.sampled_from([None, "d" * 64, "d" * 64, "e" * 64])),
    )


abouts = objects(
    {
        "sampler": st.sampled_from(["grid", "random", "tpe"]),
        "trials": st.integers(0, 9),
        "space": st.dictionaries(texts, st.lists(scalars, max_size=2), max_size=2),
    }
)
"""What a sweep says of itself."""


@st.composite
def members(draw: Any) -> Member:
    """A job or a group; the jobs of a group have one model and dataset, as those of real ones."""
    kind = draw(st.sampled_from([None, "cv", "seeds", "sweep"]))
    dataset = draw(st.sampled_from(["digits", "mnist"]) | texts.filter(bool))
    model = draw(st.sampled_from(["logistic", "gone", "m"]))
    size = draw(st.integers(1, 3)) if kind else 1
    # Of a group none, some or all have succeeded.
    pools = [["succeeded"], STATUSES, [s for s in STATUSES if s != "succeeded"]]
    statuses = draw(st.sampled_from(pools))
    found = [
        draw(
            rows(
                dataset, model, {"k": max(size, 2), "index": n} if kind == "cv" else None, statuses
            )
        )
        for n in range(size)
    ]
    about = draw(abouts) if kind == "sweep" else {}
    return Member(kind, found, about, bool(kind) and draw(st.integers(0, 9)) == 0)


workers = st.lists(
    st.fixed_dictionaries(
        {
            "name": texts,
            "host": texts,
            "pool": st.just("default") | texts,
            "slots": st.integers(0, 99),
            "busy": st.integers(0, 99),
            "state": st.sampled_from(["online", "draining", "stopped"]),
            "version": texts,
        }
    ),
    max_size=2,
)


def plain_row(status: str, kind: str | None, number: int) -> Row:
    """A row as a worker leaves it, of a model as plain as can be."""
    fold = {"k": 3, "index": number} if kind == "cv" else None
    spec = a_spec(fold=fold, seed=number, dataset="digits").model_dump()
    has_result = status == "succeeded"
    told = {"accuracy": 0.5, "classes": ["0"], "per_class": {"0": {}}} if has_result else None
    error = None if status in ("queued", "running", "succeeded", "pruned") else "bad day"
    columns = {"attempt": 1, "worker": "w", "created_at": 1.7e9}
    columns |= {"error": error, "error_code": error and "exception"}
    return Row(spec, (), status, columns, told, None, [], [], [], [None])


def plain_groups(statuses: Sequence[str]) -> list[Member]:
    """Groups of two plain rows: every kind of group, every pair of these statuses."""
    return [
        Member(kind, [plain_row(status, kind, n) for n, status in enumerate(pair)])
        for kind in ("cv", "seeds", "sweep")
        for pair in combinations_with_replacement(statuses, 2)
    ]


@dataclass(frozen=True)
class Stored:
    """What `store` has made."""

    jobs: list[str]
    groups: list[str]


def clear(db: Database) -> None:
    """Leave no row of jobs and workers."""
    with db.write() as table:
        for name in (
            "outbox",
            "hook_error",
            "dependency",
            "history",
            "log",
            "attempt",
            "job",
            "job_group",
            "worker",
        ):
            table.run(f"DELETE FROM {name}")


def store(db: Database, scene: Sequence[Member], there: Sequence[Mapping[str, Any]] = ()) -> Stored:
    """Store the jobs, and workers with cards of their models."""
    made, groups = [], []
    for member in scene:
        parsed = [JobSpec.parse_object(row.spec) for row in member.rows]
        ids, group = jobs.add(db, parsed, group_kind=member.kind, about=member.about)
        groups += [group] if group else []
        with db.write() as table:
            for id, row in zip(ids, member.rows, strict=True):
                _fill(table, id, row)
            if group:
                rank_group(table, group)
            if member.is_empty:
                for name in ("history", "log", "attempt"):
                    some = "SELECT id FROM job WHERE group_id = :id"
                    table.run(f"DELETE FROM {name} WHERE job_id IN ({some})", {"id": group})
                table.run("DELETE FROM job WHERE group_id = :id", {"id": group})
        made += [] if member.is_empty else ids
    for n, worker in enumerate(there):
        named = {name: worker[name] for name in ("name", "host", "pool", "slots", "version")}
        jobs.register_worker(db, jobs.NewWorker(id=f"{n}", pid=n, models=[], **named))
        with db.write() as table:
            sets = "UPDATE worker SET busy = :busy, state = :state WHERE id = :id"
            table.run(sets, {"id": f"{n}", "busy": worker["busy"], "state": worker["state"]})
    return Stored(made, groups)


def _fill(table: Any, id: str, row: Row) -> None:
    """Give a queued job its shape; of what the schema ties together, all or nothing."""
    spec = {name: value for name, value in row.spec.items() if name not in row.lacks}
    is_running, has_ended = row.status == "running", row.status in TERMINAL
    succeeded = row.status == "succeeded"
    accuracy = row.metrics.get("accuracy") if succeeded and row.metrics else None
    is_number = isinstance(accuracy, int | float) and not isinstance(accuracy, bool)
    sets = row.columns | {
        "spec": json.dumps(spec, ensure_ascii=False),
        "tags": json.dumps(row.tags),
        "status": row.status,
        "owner": "o" if is_running else None,
        "lease_until": 9e9 if is_running else None,
        "finished_at": row.columns["created_at"] + 9 if has_ended else None,
        "metrics": None if row.metrics is None else json.dumps(row.metrics),
        "progress": None if row.progress is None else json.dumps(row.progress),
        "artifact": f"{id}/1" if succeeded else None,
        "artifact_sha256": "0" * 64 if succeeded else None,
        "contents": (row.contents or id) if succeeded else None,
        "dataset_version": spec.get("version"),
        # As `jobs.finish` would have it: what is no number that a column holds is none.
        "accuracy": float(accuracy) if is_number and abs(accuracy) < 1e300 else None,
    }
    listed = ", ".join(f"{name} = :{name}" for name in sets)
    table.run(f"UPDATE job SET {listed} WHERE id = :id", sets | {"id": id})
    for n, told in enumerate(row.environments, 1):
        is_last = n == len(row.environments)
        ended = {
            "outcome": None if is_last and not has_ended else "lost",
            "error": row.columns["error"],
        }
        base = {"id": id, "n": n, "worker": row.columns["worker"] or "w", "plugin": None, "at": 1.0}
        table.run(
            """
            INSERT INTO attempt
                (job_id, n, worker, plugin, started_at, outcome, error, environment)
            VALUES (:id, :n, :worker, :plugin, :at, :outcome, :error, :told)""",
            base | ended | {"told": None if told is None else json.dumps(told)},
        )
    table.many(
        "INSERT INTO history (job_id, attempt, step, metrics) VALUES (:id, 1, :step, :metrics)",
        [{"id": id, "step": n, "metrics": json.dumps(each)} for n, each in row.steps],
    )
    table.many(
        "INSERT INTO log (job_id, attempt, start, text) VALUES (:id, 1, :start, :text)",
        [{"id": id, "start": n, "text": each} for n, each in enumerate(row.lines)],
    )
