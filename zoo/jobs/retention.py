"""Retention: which ended jobs are removed after some days, or once there are newer ones."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zoo.errors import UsageError
from zoo.jobs.database import Database
from zoo.jobs.filters import Values, tag_condition
from zoo.jobs.removal import AT_ONCE, remove_jobs
from zoo.jobs.statuses import TERMINAL

FOREVER = "forever"
SWEEP_SECONDS = 10.0
MAX_SWEEP_SECONDS = 600.0
SWEEP_SHARE = 0.01
"""Looking at jobs that stay takes at most this share of the time: a short sweep is repeated after
SWEEP_SECONDS, a long one after MAX_SWEEP_SECONDS at the latest. One that has removed AT_ONCE jobs
or more is repeated after SWEEP_SECONDS, since as many may end meanwhile."""
NAME = re.compile(r"[a-z_]+|tag:\S+")
EXAMPLE = "For example: ZOO_KEEP_DAYS='90 failed=7 tag:tmp=1 tag:paper=forever'."


@dataclass(frozen=True)
class Rule:
    """How long, or how many, jobs with a status or a tag are kept."""

    number: float | None
    """Days or jobs; None: for ever."""
    status: str = ""
    tag: str = ""
    """A name or pattern; without a status and a tag the rule is for all other jobs."""

    def condition(self, values: Values) -> str:
        """Return the condition on a job that the rule is for it, unless an earlier one is."""
        if self.tag:
            return f"tags <> '[]' AND {tag_condition(self.tag, values)}"
        return f"status = {values.add(self.status)}" if self.status else "1 = 1"


def parse_rules(name: str, text: str) -> list[Rule]:
    """Read a setting such as `90 failed=7 tag:tmp=1`; rules for tags come first, in their order.

    Raises UsageError for another form; `name` is that of the variable.
    """
    found = []
    for word in text.split():
        what, equals, number = word.rpartition("=")
        if equals and not NAME.fullmatch(what):
            raise UsageError(f"{name} has '{word}', which is no rule.", EXAMPLE)
        is_tag = what.startswith("tag:")
        if what and not is_tag and what not in TERMINAL:
            raise UsageError(
                f"{name} has '{word}', but no job ends as '{what}'.",
                f"A job ends as {', '.join(sorted(TERMINAL))}.",
            )
        kept = None if number == FOREVER else _number(name, word, number)
        found.append(Rule(kept, "" if is_tag else what, what[4:] if is_tag else ""))
    # The sort is stable.
    return sorted(found, key=lambda rule: 0 if rule.tag else 1 if rule.status else 2)


def _number(name: str, word: str, text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        raise UsageError(f"{name} has '{word}', but '{text}' is no number.", EXAMPLE)
    return float(text)


class Retention:
    """Removes the jobs that the settings do not keep, a part in each pass.

    Any number of workers may do so at a time. A sweep begins with the jobs that ended first and
    goes on where the pass before has stopped, so that jobs which stay are not looked at each time.
    """

    def __init__(self, *, days: str = "", jobs: str = "", keep_metrics: bool = False) -> None:
        """`days` and `jobs` are as in ZOO_KEEP_DAYS and ZOO_KEEP_JOBS; UsageError for others."""
        self._days = parse_rules("ZOO_KEEP_DAYS", days)
        self._jobs = parse_rules("ZOO_KEEP_JOBS", jobs)
        self._keep_metrics = keep_metrics
        self._position: tuple[float, int] | None = None
        self._next_sweep = 0.0
        self._spent = 0.0
        """Seconds that the current sweep has looked for jobs."""
        self._n_removed = 0
        """Number of jobs that the current sweep has removed."""

    @property
    def is_set(self) -> bool:
        """Whether there is any rule."""
        return bool(self._days or self._jobs)

    @property
    def is_under_way(self) -> bool:
        """Whether the last pass has ended before its sweep, as there was more to remove."""
        return self._position is not None

    def run_pass(
        self, db: Database, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> list[str]:
        """Remove jobs for at most this time, and AT_ONCE more; return their ids."""
        removed: list[str] = []
        end = clock() + seconds
        if not self.is_set or (self._position is None and clock() < self._next_sweep):
            return removed
        if self._position is None:
            self._position, self._spent, self._n_removed = (-1.0, 0), 0.0, 0
        while True:
            began = clock()
            page = self._page(db, self._position)
            self._spent += clock() - began
            if page:
                self._position = (page[-1][0], page[-1][1])
                ids = [job for _, _, job in page]
                gone = remove_jobs(db, ids, keep_metrics=self._keep_metrics).ids
                self._n_removed += len(gone)
                removed += gone
            if len(page) < AT_ONCE:
                is_busy = self._n_removed >= AT_ONCE
                wait = 0.0 if is_busy else min(self._spent / SWEEP_SHARE, MAX_SWEEP_SECONDS)
                self._position, self._next_sweep = None, clock() + max(wait, SWEEP_SECONDS)
                return removed
            if clock() >= end:
                return removed

    def _page(self, db: Database, position: tuple[float, int]) -> list[tuple[float, int, str]]:
        """Return the next jobs to remove: when they ended, their place in line, and id."""
        values = Values(db.sql)
        days = _case(self._days, values, lambda rule: self._is_old(rule, values))
        newest = self._newest(db)
        jobs = _case(self._jobs, values, lambda rule: _is_beyond(newest[rule], values))
        at, seq = (values.add(each) for each in position)
        query = f"""
            SELECT finished_at, seq, id FROM job
            WHERE finished_at >= {at} AND (finished_at > {at} OR seq > {seq}) AND pinned = 0
                {"AND files_removed_at IS NULL" if self._keep_metrics else ""}
                AND coalesce({days}, {jobs}, 0) = 1
                AND coalesce({days}, 1) = 1 AND coalesce({jobs}, 1) = 1
            ORDER BY finished_at, seq LIMIT {AT_ONCE}"""
        rows = db.alone(query, values.named)
        return [(row["finished_at"], row["seq"], row["id"]) for row in rows]

    def _is_old(self, rule: Rule, values: Values) -> str:
        if rule.number is None:
            return "0"
        age = values.add(rule.number * 86400.0)
        return f"CASE WHEN finished_at < {values.dialect.now} - {age} THEN 1 ELSE 0 END"

    def _newest(self, db: Database) -> dict[Rule, int | None]:
        """Return the place in line of the oldest job that each rule keeps; None if it keeps all."""
        found: dict[Rule, int | None] = {}
        for rule in self._jobs:
            found[rule] = None
            if rule.number is None:
                continue
            values = Values(db.sql)
            query = f"""
                SELECT seq FROM job WHERE {rule.condition(values)}
                ORDER BY seq DESC LIMIT 1 OFFSET {values.add(int(rule.number))}"""
            if rows := db.alone(query, values.named):
                found[rule] = rows[0]["seq"]
        return found


def _is_beyond(newest: int | None, values: Values) -> str:
    if newest is None:
        return "0"
    return f"CASE WHEN seq <= {values.add(newest)} THEN 1 ELSE 0 END"


def _case(rules: Sequence[Rule], values: Values, is_over: Callable[[Rule], str]) -> str:
    """Return an expression: 1 if the rule for a job lets it go, 0 if not, NULL without a rule."""
    parts = [f"WHEN {rule.condition(values)} THEN {is_over(rule)}" for rule in rules]
    return f"CASE {' '.join(parts)} END" if parts else "NULL"
