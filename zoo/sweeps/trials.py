"""The trials of a sweep: from its jobs, and as a CSV file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import param_values
from zoo.canonical_json import canonical
from zoo.errors import UsageError, reason
from zoo.jobs import Group, RungEntry, groups
from zoo.jobs.group_metrics import Statistics
from zoo.regular_file import read_regular_file
from zoo.storage.output_file import write_output

MAX_BYTES = 16 * 2**20
"""Size limit of a CSV file of trials."""


@dataclass(frozen=True)
class Trial:
    """One combination of params: one job, or one job per seed or fold."""

    group: Group
    """Its jobs, as a group of their own."""

    @property
    def params(self) -> dict[str, Any]:
        """Every param, defaults filled in."""
        found: dict[str, Any] = self.group.jobs[0].spec["params"]
        return found

    @property
    def accuracy(self) -> Statistics | None:
        """The accuracy over its jobs; None until every one has succeeded."""
        return groups.accuracy_of(self.group)

    @property
    def statistics(self) -> Statistics | None:
        """The metric by which the sweep ranks, over its jobs; None until every one has it."""
        return groups.value_of(self.group)

    @property
    def status(self) -> str:
        return self.group.status

    @property
    def contents(self) -> str | None:
        """Fingerprint of the contents that it was evaluated on."""
        return self.group.jobs[0].contents

    @property
    def result(self) -> float | str:
        """The mean of the metric, or `running` while it may still get one, or `failed`."""
        if self.statistics:
            return self.statistics.mean
        return "failed" if self.group.is_terminal else "running"

    def value(self, name: str) -> Any:
        """Return the value of a param, or of a nested one by its dotted name."""
        return param_values.lookup(self.params, name)

    def to_json(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the trial with these params as `--json` prints it."""
        return {
            "params": {name: self.value(name) for name in names},
            "status": self.status,
            "accuracy": self.accuracy and self.accuracy.to_json(),
            "value": self.statistics and self.statistics.to_json(),
            "contents": self.contents,
            "jobs": [job.id for job in self.group.jobs],
        }


def list_trials(group: Group) -> list[Trial]:
    """Return the trials of a sweep in the order of submission."""
    return [Trial(each) for each in group.trials()]


def sort_trials(found: Sequence[Trial], last: Mapping[str, RungEntry] | None = None) -> list[Trial]:
    """Sort trials by the sweep's metric, then those without it in the order of submission.

    All trials on the newest contents of the dataset come before those on older contents. `last`
    has the metric of paused and pruned trials at their last rung, by job: those that were trained
    longer come first.
    """
    ranked = [Trial(each) for each in groups.best_first(trial.group for trial in found)]
    if not last:
        return ranked

    def order(trial: Trial) -> tuple[bool, int, float]:
        entry = None if trial.statistics else last.get(trial.group.jobs[0].id)
        if entry is None:
            return trial.statistics is None, 0, 0.0
        return True, -entry.resource, trial.group.objective.key(entry.value)

    return sorted(ranked, key=order)


def varied_params(group: Group) -> list[str]:
    """Return the names of the params in which the trials differ."""
    space = group.about.get("space")
    if isinstance(space, dict) and space:
        return list(space)
    values: dict[str, set[str]] = {}
    for job in group.jobs:
        for name, value in job.spec["params"].items():
            values.setdefault(name, set()).add(canonical(value))
    return [name for name, found in values.items() if len(found) > 1]


def read_trials(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a CSV file of trials as `parse_trials`; raises UsageError."""
    try:
        text = read_regular_file(file, MAX_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file {file} cannot be read: {reason(error)}.") from None
    return parse_trials(text, file)


def parse_trials(text: str, file: Path | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Parse CSV text with a header of params and one line per trial.

    An empty cell leaves the param at its default. Messages name the file, if there is one.

    Returns:
        The line number and the params of each trial.

    Raises:
        UsageError: For an invalid table; the message names the line.
    """
    source = f"The file {file}" if file else "The table"
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        found = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UsageError(f"{source} cannot be read: {reason(error)}.") from None
    if len(found) < 2:
        raise UsageError(
            f"{source} has no trials.", "Write a header of params, then one line per trial."
        )
    (_, header), *rows = found
    names = [name.strip() for name in header]
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"{place(file, 1)}: a param's name is missing or repeated.")
    return [(line, _cells(place(file, line), names, row)) for line, row in rows]


def place(file: Path | None, line: int) -> str:
    """Return how a message names a line of a file of trials, or of a table without a file."""
    return f"{file} line {line}" if file else f"Line {line} of the table"


def _cells(where: str, names: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    if len(row) != len(names):
        raise UsageError(f"{where}: {len(row)} values for {len(names)} params.")
    return {
        name: param_values.read(cell.strip())
        for name, cell in zip(names, row, strict=True)
        if cell.strip()
    }


def write_trials(file: Path, found: Sequence[dict[str, Any]]) -> None:
    """Write trials as `read_trials` reads them; raises ZooError if the file cannot be written."""
    write_output(file, format_trials(found).encode())


def format_trials(found: Sequence[Mapping[str, Any]]) -> str:
    """Format trials as `parse_trials` reads them."""
    names = list(dict.fromkeys(name for params in found for name in params))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(names)
    for params in found:
        writer.writerow(_cell(params[name]) if name in params else "" for name in names)
    return lines.getvalue()


def _cell(value: Any) -> str:
    """Return the value as `read_trials` reads it."""
    # The csv module does not quote a carriage return, and reads one as the end of a line.
    has_return = isinstance(value, str) and "\r" in value
    return json.dumps(value) if has_return else param_values.typed(value)
