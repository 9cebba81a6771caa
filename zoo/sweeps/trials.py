"""The trials of a sweep: read off its rows, from a CSV file, and to one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import param_values
from zoo.errors import UsageError, reason
from zoo.job_spec import canonical
from zoo.jobs import Group, Job, records
from zoo.regular_file import read_regular_file
from zoo.storage.output_file import write_output

MAX_BYTES = 16 * 2**20
"""Of a CSV file of trials."""


@dataclass(frozen=True)
class Trial:
    """One combination of params: one job, or one for each seed or fold."""

    group: Group
    """Its jobs, as a group of their own."""

    @property
    def params(self) -> dict[str, Any]:
        """Every param, defaults filled in."""
        found: dict[str, Any] = self.group.jobs[0].spec["params"]
        return found

    @property
    def accuracy(self) -> dict[str, Any] | None:
        """Mean, std and values over the jobs; None until every one has succeeded."""
        return records.accuracy_of(self.group)

    @property
    def status(self) -> str:
        return self.group.status

    @property
    def contents(self) -> str | None:
        """The fingerprint of the contents that it was judged on."""
        return self.group.jobs[0].contents

    @property
    def result(self) -> float | str:
        """Its mean accuracy; else `running` while it may still have one, or `failed`."""
        if self.accuracy:
            return float(self.accuracy["mean"])
        return "failed" if self.group.is_terminal else "running"

    def value(self, name: str) -> Any:
        """The value of a param, or of a nested one by its dotted name."""
        return param_values.lookup(self.params, name)

    def to_json(self, names: Iterable[str]) -> dict[str, Any]:
        """The trial as scripts see it, with these params."""
        return {
            "params": {name: self.value(name) for name in names},
            "status": self.status,
            "accuracy": self.accuracy,
            "contents": self.contents,
            "jobs": [job.id for job in self.group.jobs],
        }


def of(group: Group) -> list[Trial]:
    """The trials of a sweep, in the order of their submission."""
    return [Trial(each) for each in group.trials()]


def best_first(found: Sequence[Trial]) -> list[Trial]:
    """The trials by accuracy; those that have none yet after them, as they were submitted.

    Those on the newest contents of the dataset come before those on older ones, whatever they have.
    """
    return [Trial(each) for each in records.best_first(trial.group for trial in found)]


def results(group: Group) -> list[Job | Group]:
    """What each trial of a sweep counts as, once it has succeeded: a job, or a group of its own."""
    done = [trial.group for trial in of(group) if trial.accuracy]
    return [each.jobs[0] if len(each.jobs) == 1 else each for each in done]


def varying(group: Group) -> list[str]:
    """The names of the params in which the trials differ."""
    space = group.about.get("space")
    if isinstance(space, dict) and space:
        return list(space)
    values: dict[str, set[str]] = {}
    for job in group.jobs:
        for name, value in job.spec["params"].items():
            values.setdefault(name, set()).add(canonical(value))
    return [name for name, found in values.items() if len(found) > 1]


def read(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a CSV file, a header of params and a line for each trial: (line number, params) each.

    An empty cell leaves the param at its default. Raises UsageError, with the line, for what is no
    such file.
    """
    try:
        text = read_regular_file(file, MAX_BYTES).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        found = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"The file {file} cannot be read: {reason(error)}.") from None
    if len(found) < 2:
        raise UsageError(
            f"The file {file} has no trials.", "A header of params, then a line for each trial."
        )
    (_, header), *rows = found
    names = [name.strip() for name in header]
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"{file} line 1: a param's name is missing, or is there twice.")
    return [(line, _cells(file, line, names, row)) for line, row in rows]


def _cells(file: Path, line: int, names: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    if len(row) != len(names):
        raise UsageError(f"{file} line {line}: {len(row)} values for {len(names)} params.")
    return {
        name: param_values.read(cell.strip())
        for name, cell in zip(names, row, strict=True)
        if cell.strip()
    }


def write(file: Path, found: Sequence[dict[str, Any]]) -> None:
    """Write trials so that `read` gives them back; raises ZooError where that is not possible."""
    names = list(dict.fromkeys(name for params in found for name in params))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(names)
    for params in found:
        writer.writerow(_cell(params[name]) if name in params else "" for name in names)
    write_output(file, lines.getvalue().encode())


def _cell(value: Any) -> str:
    """The value as `read` takes it."""
    # The csv module quotes no carriage return, and reads one as the end of a line.
    has_return = isinstance(value, str) and "\r" in value
    return json.dumps(value) if has_return else param_values.typed(value)
