"""Tables of published test errors, and the jobs that reproduce them."""

from __future__ import annotations

import fnmatch
import statistics
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from zoo import jobs
from zoo.canonical_json import canonical
from zoo.errors import UsageError, reason, unknown
from zoo.job_spec import JobSpec, Name, Preprocess, Published, Record
from zoo.jobs import Database, Job
from zoo.param_values import MAX_SEED
from zoo.queue import submit
from zoo.queue.options import TrainingOptions
from zoo.regular_file import read_text_file

MAX_BYTES = 2**20
"""Size limit of a table."""
MAX_HISTORY = 1000
"""Newest jobs of a model from which costs are estimated."""


class Row(Record):
    """One row: a published result, and the recipe to reproduce it."""

    name: Name
    """The name that `--only` matches."""
    title: Annotated[str, Field(min_length=1, max_length=200)]
    """The name in the published table."""
    published: Annotated[float, Field(ge=0, le=100)]
    """Test error in percent."""
    source: str
    model: str
    params: dict[str, Any] = Field(default_factory=dict)
    preprocess: Preprocess = "none"
    validation: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the training rows held out to choose by, as for early stopping."""
    class_weight: Literal["balanced"] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 42
    seconds: Annotated[float, Field(gt=0)] | None = None
    """A guess of the job's duration, used until a similar job was measured."""


class Table(Record):
    """A published table."""

    title: str
    url: str = ""
    dataset: str = "mnist"
    rows: Annotated[list[Row], Field(alias="row", min_length=1, max_length=1000)]


class Cost(NamedTuple):
    """The estimated duration of a job in seconds."""

    seconds: float | None
    source: Literal["measured", "guessed", "unknown"]
    """`measured`: the median of similar jobs that succeeded here."""


def table_names() -> list[str]:
    """Return the names of the tables that Zoo includes."""
    return sorted(Path(each.name).stem for each in _folder().iterdir())


def load_table(table: str) -> Table:
    """Load an included table by its name, or a TOML file by its path.

    Raises:
        UsageError: If there is no such table, or it is invalid.
    """
    text = _text(table)
    try:
        read = tomllib.loads(text)
    # Python itself refuses very long numbers and very deep nesting.
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{table} is not TOML: {reason(error)}.") from None
    found = Table.read(read, table)
    known = [row.name for row in found.rows]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise UsageError(f"{table} has two rows of the name {twice[0]}.")
    return found


def select_rows(table: Table, globs: Sequence[str]) -> list[Row]:
    """Return the rows whose names match a glob, or all rows if there is no glob.

    Raises:
        UsageError: For a glob that matches no row.
    """
    for glob in globs:
        if not any(fnmatch.fnmatchcase(row.name, glob) for row in table.rows):
            raise unknown("row", glob, [row.name for row in table.rows])
    if not globs:
        return table.rows
    return [r for r in table.rows if any(fnmatch.fnmatchcase(r.name, glob) for glob in globs)]


def table_specs(
    name: str, table: Table, rows: Sequence[Row], *, keep_weights: bool = False
) -> list[JobSpec]:
    """Return one training per row, with the published result in its spec.

    Raises:
        UsageError: As `submit.training` does, with the row's name.
    """
    return [_spec(name, table, row, keep_weights) for row in rows]


def estimate_costs(db: Database, wanted: Sequence[JobSpec], rows: Sequence[Row]) -> list[Cost]:
    """Estimate the duration of each job from similar jobs, else from the row's guess."""
    models = sorted({spec.model for spec in wanted})
    done = [
        job
        for model in models
        for job in jobs.listing(
            db, statuses=["succeeded"], models=[model], kind="train", limit=MAX_HISTORY
        )
    ]
    return [_cost(spec, row, done) for spec, row in zip(wanted, rows, strict=True)]


def _folder() -> Any:
    return resources.files("zoo") / "tables"


def _text(table: str) -> str:
    if not table.endswith(".toml"):
        if table not in table_names():
            raise unknown("table", table, table_names())
        return str((_folder() / f"{table}.toml").read_text(encoding="utf-8"))
    try:
        return read_text_file(table, MAX_BYTES)
    except (OSError, ValueError) as error:  # no text, or no path
        raise UsageError(f"{table} cannot be read: {reason(error)}.") from None


def _spec(name: str, table: Table, row: Row, keep_weights: bool) -> JobSpec:
    try:
        options = TrainingOptions(
            table.dataset,
            row.preprocess,
            row.validation,
            row.class_weight,
            seed=row.seed,
            keep_weights=keep_weights,
        )
        (spec,) = submit.training(row.model, row.params, options)
    except UsageError as error:
        raise UsageError(f"The row {row.name}: {error.message}", error.hint) from None
    published = Published(table=name, row=row.title, error=row.published, source=row.source)
    return spec.model_copy(update={"published": published})


def _cost(spec: JobSpec, row: Row, done: Sequence[Job]) -> Cost:
    same = _cost_key(spec.model_dump())
    took = [
        job.finished_at - job.started_at
        for job in done
        if job.started_at and job.finished_at and _cost_key(job.spec) == same
    ]
    if took:
        return Cost(statistics.median(took), "measured")
    return Cost(row.seconds, "guessed" if row.seconds else "unknown")


def _cost_key(spec: dict[str, Any]) -> str:
    """Return a key that is equal for jobs of similar cost: the spec without its seed."""
    parts = ("kind", "model", "params", "dataset", "split", "fold")
    return canonical([spec.get("preprocess", "none"), *(spec.get(part) for part in parts)])
