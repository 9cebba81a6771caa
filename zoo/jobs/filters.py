"""Which jobs are meant: the filter words that every command shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.jobs.conditions import Values, condition, tag
from zoo.query.parser import Where


@dataclass(frozen=True)
class Filter:
    """A job is meant if it matches every field; of a field's values, one is enough (tags: all)."""

    statuses: Sequence[str] = ()
    models: Sequence[str] = ()
    """Names, or patterns with * and ?; so `datasets` and `tags`."""
    datasets: Sequence[str] = ()
    tags: Sequence[str] = ()
    groups: Sequence[str] = ()
    """Whole ids."""
    kind: str | None = None
    worker: str | None = None
    since: float | None = None
    """Submitted then or later; seconds since 1970, the database's clock."""
    until: float | None = None
    where: Where | None = None
    not_retried: bool = False
    held: bool | None = None
    """Only those that are held by a person, or only those that are not."""

    def __bool__(self) -> bool:
        return self != EVERY

    def sql(self, values: Values) -> str:
        """The condition on a row of the job table; its values are added to `values`."""
        parts = [values.among("status", self.statuses)] if self.statuses else []
        for column, names in (("model", self.models), ("dataset", self.datasets)):
            parts += [values.like_one(column, names)] if names else []
        # The first part is for the index of those that have any tag.
        parts += [f"tags <> '[]' AND {tag(each, values)}" for each in self.tags]
        parts += [values.among("group_id", self.groups)] if self.groups else []
        for column, name in (("kind", self.kind), ("worker", self.worker)):
            parts += [f"{column} = {values.add(name)}"] if name is not None else []
        parts += [f"created_at >= {values.add(self.since)}"] if self.since is not None else []
        parts += [f"created_at < {values.add(self.until)}"] if self.until is not None else []
        if self.not_retried:
            parts.append("NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)")
        parts += [f"held = {int(self.held)}"] if self.held is not None else []
        parts += [f"({condition(self.where.condition, values)})"] if self.where else []
        return " AND ".join(parts) or "1 = 1"


EVERY = Filter()
"""Every job."""
