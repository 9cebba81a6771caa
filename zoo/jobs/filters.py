"""Filters, conditions of `--where` and orders as SQL.

`Filter.sql` is the condition of a whole filter. For `where`, a condition that `zoo.query` has
parsed, it calls `where_condition`, which looks names up in `fields`: a column, or a path in a
column of JSON, which `JsonValue` reads. Values are collected in `Values`, never written into the
statement. On SQLite,

    accuracy > 0.92 and params.l2 < 0.01

becomes

    (accuracy > :v0) AND (CASE WHEN json_type(spec, :v1) IN ('integer', 'real')
        THEN json_extract(spec, :v1) END < :v2)

with v1 = '$."params"."l2"'. The result is that of `Where.matches`: a value that is missing or of
another type gives NULL.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from zoo.dataset_names import split_version
from zoo.errors import unknown
from zoo.jobs.dialects import POSTGRESQL, SQLITE, Dialect
from zoo.jobs.fields import FIELD_NAMES, JSON_FIELDS, NESTED, NUMBER_FIELDS, TEXT_FIELDS
from zoo.jobs.statuses import PAUSED
from zoo.query.expression import Compare, Condition, Joined, Not, Value
from zoo.query.parser import Where

SQL_OPERATORS = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "==": "=", "!=": "<>"}
UNKNOWN = "NULL"
READABLE = r"""
    (CASE WHEN strpos({0}, '\u0000') = 0 AND strpos({0}, '\ud') = 0 THEN {0} ELSE regexp_replace(
    {0}, '\\u0000|\\ud[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..)\\ud[c-f]..', '\\ufffd', 'g') END)"""
"""JSON without NUL and lone surrogates, for which PostgreSQL would refuse the query."""


class Values:
    """Collects the values of a statement, each under a name of its own."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.named: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """Add a value and return its placeholder in the statement."""
        if isinstance(value, str):  # replaced as in READABLE
            value = value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass")
            value = value.decode("utf-16", "replace")
        name = f"v{len(self.named)}"
        self.named[name] = value
        return f":{name}"

    def among(self, column: str, values: Any) -> str:
        """Return the condition that a column has one of these values."""
        return f"{column} IN ({', '.join(map(self.add, values))})"

    def like_any(self, column: str, patterns: Any) -> str:
        """Return the condition that a column equals or matches one of these names or patterns."""
        plain = [each for each in patterns if not is_pattern(each)]
        parts = [self.like(column, each) for each in patterns if is_pattern(each)]
        parts += [self.among(column, plain)] if plain else []
        return f"({' OR '.join(parts)})"

    def like(self, text: str, pattern: str) -> str:
        """Return the condition that a text matches a pattern with * and ?."""
        return f"{text} LIKE {self.add(_as_like(pattern))} ESCAPE '!'"


def is_pattern(text: str) -> bool:
    """Return whether a text contains the wildcards * or ?."""
    return "*" in text or "?" in text


def _as_like(pattern: str) -> str:
    plain = pattern.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return plain.replace("*", "%").replace("?", "_")


@dataclass(frozen=True)
class Filter:
    """Matches jobs that match every field; of a field's values, any one (of tags, all)."""

    statuses: Sequence[str] = ()
    """Of `LISTED`."""
    models: Sequence[str] = ()
    """Names or patterns with * and ?, as in `datasets` and `tags`."""
    datasets: Sequence[str] = ()
    tags: Sequence[str] = ()
    groups: Sequence[str] = ()
    """Full ids."""
    users: Sequence[str] = ()
    """Owners: names or patterns."""
    kind: str | None = None
    worker: str | None = None
    since: float | None = None
    """Submitted at this time or later, in seconds since 1970 of the database's clock."""
    until: float | None = None
    where: Where | None = None
    not_retried: bool = False
    held: bool | None = None
    """Whether the jobs are held; None for both."""

    def __bool__(self) -> bool:
        return self != ALL_JOBS

    def sql(self, values: Values) -> str:
        """Return the condition on a row of the table `job`; its values are added to `values`."""
        parts = [_status_condition(self.statuses, values)] if self.statuses else []
        parts += [values.like_any("model", self.models)] if self.models else []
        parts += [_dataset_condition(self.datasets, values)] if self.datasets else []
        # The first part selects the partial index of jobs that have tags.
        parts += [f"tags <> '[]' AND {tag_condition(each, values)}" for each in self.tags]
        parts += [values.among("group_id", self.groups)] if self.groups else []
        parts += [values.like_any("submitted_by", self.users)] if self.users else []
        for column, name in (("kind", self.kind), ("worker", self.worker)):
            parts += [f"{column} = {values.add(name)}"] if name is not None else []
        parts += [f"created_at >= {values.add(self.since)}"] if self.since is not None else []
        parts += [f"created_at < {values.add(self.until)}"] if self.until is not None else []
        if self.not_retried:
            parts.append("NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)")
        parts += [f"held = {int(self.held)}"] if self.held is not None else []
        parts += [f"({where_condition(self.where.condition, values)})"] if self.where else []
        return " AND ".join(parts) or "1 = 1"


def _status_condition(statuses: Sequence[str], values: Values) -> str:
    """Return the condition that a job has one of these statuses of `LISTED`."""
    plain = [each for each in statuses if each != "paused"]
    is_queued, is_paused = "queued" in statuses, "paused" in statuses
    if (is_queued and is_paused) or not (is_queued or is_paused):
        return values.among("status", plain)
    others = [each for each in plain if each != "queued"]
    parts = [values.among("status", others)] if others else []
    parts.append(PAUSED if is_paused else "(status = 'queued' AND paused = 0)")
    return f"({' OR '.join(parts)})"


def _dataset_condition(names: Sequence[str], values: Values) -> str:
    """Return the condition that a job is on one of these datasets; NAME@VERSION is a version."""
    plain = [name for name in names if split_version(name)[1] is None]
    parts = [values.like_any("dataset", plain)] if plain else []
    for name, version in map(split_version, names):
        if version is not None:
            one = f"dataset = {values.add(name)} AND dataset_version = {values.add(version)}"
            parts.append(f"({one})")
    return f"({' OR '.join(parts)})"


ALL_JOBS = Filter()
"""Matches every job."""


def where_condition(wanted: Condition, values: Values) -> str:
    """Translate a parsed condition of `--where`; its values are added to `values`."""
    if isinstance(wanted, Not):
        return f"NOT ({where_condition(wanted.part, values)})"
    if isinstance(wanted, Joined):
        parts = (f"({where_condition(part, values)})" for part in wanted.parts)
        return f" {wanted.operator.upper()} ".join(parts)
    name = ".".join(wanted.path)
    if name in TEXT_FIELDS or name in NUMBER_FIELDS:
        return _compare_column(wanted, name, values)
    return _compare_json(wanted, values)


def _compare_column(wanted: Compare, name: str, values: Values) -> str:
    expression, kind = _expression(name, values), str if name in TEXT_FIELDS else float
    value, operator = wanted.value, wanted.operator
    if value is None:
        return f"{expression} IS {'NOT ' if operator == '!=' else ''}NULL"
    is_text, is_number = isinstance(value, str), not isinstance(value, str | bool)
    if operator == "has" or (kind is str and not is_text) or (kind is float and not is_number):
        return UNKNOWN
    if operator == "~":
        return values.like(expression, str(value))
    placeholder = values.add(value if is_text else float(value))
    return f"{expression} {SQL_OPERATORS[operator]} {placeholder}"


def _expression(name: str, values: Values) -> str:
    found = TEXT_FIELDS.get(name) or NUMBER_FIELDS[name]
    return found.format(now=values.dialect.now)


def _compare_json(wanted: Compare, values: Values) -> str:
    found = _json_value(wanted.path, values)
    if wanted.value is None:
        return f"{'NOT ' if wanted.operator == '!=' else ''}{found.missing}"
    if wanted.operator == "has":
        return found.any_element("==", wanted.value, values)
    return found.compare(wanted.operator, wanted.value, values)


def tag_condition(pattern: str, values: Values) -> str:
    """Return the condition that a job has a tag that equals or matches the pattern."""
    found = _json_value(("tags",), values)
    return found.any_element("~" if is_pattern(pattern) else "==", pattern, values)


def _json_value(path: tuple[str, ...], values: Values) -> JsonValue:
    name, *rest = path
    column, start = JSON_FIELDS[name]
    return JSON_VALUES[values.dialect.name].at(column, (*start, *rest), values)


def has_metric(path: tuple[str, ...], values: Values) -> str:
    """Return the condition that a job has a metric at this path, be it null."""
    return f"{_json_value(path, values).kind} IS NOT NULL"


def order_terms(sort: str, values: Values) -> list[str]:
    """Return the terms of ORDER BY for a field; `-accuracy` puts the largest first.

    Jobs without such a value come last. Raises UsageError for an unknown name.
    """
    name, direction = sort.lstrip("-"), "DESC" if sort.startswith("-") else "ASC"
    if name in ("", "created_at"):
        return [f"seq {direction}"]
    terms = [f"{term} {direction} NULLS LAST" for term in sort_expressions(name, values)]
    return [*terms, f"seq {direction}"]


def sort_expressions(name: str, values: Values) -> list[str]:
    """Return the expressions to order or group by for a field.

    A column gives one; a value in JSON gives two, its number and else its text. Raises UsageError
    for an unknown name.
    """
    first, dot, _ = name.partition(".")
    if name in TEXT_FIELDS or name in NUMBER_FIELDS:
        return [_expression(name, values)]
    if first not in JSON_FIELDS or (first in NESTED) != bool(dot):
        raise unknown("name", name, [n for n in FIELD_NAMES if "*" not in n])
    found = _json_value(tuple(name.split(".")), values)
    return [found.number, found.other_text]


class JsonValue:
    """SQL expressions for a value in a column of JSON; NULL if it is of another type."""

    def __init__(self, kind: str, value: str, numbers: str, text: str, number: str) -> None:
        is_other = f"{kind} NOT IN ({numbers}, 'null')"
        self.kind = kind
        """The type of the value, as the database names it."""
        self.number = f"CASE WHEN {kind} IN ({numbers}) THEN {number} END"
        self.text = f"CASE WHEN {kind} IN ('text', 'string') THEN {text} END"
        self.truth = self.truth_of(kind, value)
        # Of a value that is no number: for orders and groups.
        self.other_text = f"CASE WHEN {is_other} THEN {text} END"
        self.missing = f"coalesce({kind}, 'null') = 'null'"

    def compare(self, operator: str, value: Value, values: Values) -> str:
        if isinstance(value, bool):
            return f"{self.truth} {SQL_OPERATORS[operator]} {int(value)}"
        if operator == "~":
            return values.like(self.text, str(value))
        mine = self.text if isinstance(value, str) else self.number
        return f"{mine} {SQL_OPERATORS[operator]} {values.add(self.bound(value))}"

    def any_element(self, operator: str, value: Value, values: Values) -> str:
        """Return the condition that it is a list with an element for which the comparison holds."""
        each, element = self.elements()
        one = element.compare(operator, value, values)
        return f"CASE WHEN {self.kind} = 'array' THEN EXISTS (SELECT 1 FROM {each} WHERE {one}) END"

    def truth_of(self, kind: str, value: str) -> str:
        """Return an expression for a boolean as 1 or 0."""
        raise NotImplementedError

    def bound(self, value: Any) -> Any:
        """Convert a value for the driver."""
        return value

    def elements(self) -> tuple[str, JsonValue]:
        """Return a FROM item with the elements of a list, and the expressions for one of them."""
        raise NotImplementedError


class SqliteJson(JsonValue):
    def __init__(self, kind: str, value: str, place: str = "") -> None:
        super().__init__(kind, value, "'integer', 'real'", value, value)
        self.place = place

    @classmethod
    def at(cls, column: str, path: tuple[str, ...], values: Values) -> SqliteJson:
        place = f"{column}, {values.add('$' + ''.join(f'.{json.dumps(name)}' for name in path))}"
        return cls(f"json_type({place})", f"json_extract({place})", place)

    def truth_of(self, kind: str, value: str) -> str:
        return f"CASE {kind} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"

    def elements(self) -> tuple[str, JsonValue]:
        return f"json_each({self.place}) AS each", SqliteJson("each.type", "each.value")


class PostgresqlJson(JsonValue):
    def __init__(self, value: str) -> None:
        text = f"{value} #>> '{{}}'"
        super().__init__(f"json_typeof({value})", value, "'number'", text, f"({text})::numeric")
        self.value = value

    @classmethod
    def at(cls, column: str, path: tuple[str, ...], values: Values) -> PostgresqlJson:
        steps = "".join(f" -> {values.add(name)}::text" for name in path)
        return cls(f"({READABLE.format(column)}::json{steps})")

    def truth_of(self, kind: str, value: str) -> str:
        return f"CASE WHEN {kind} = 'boolean' THEN ({value})::text::boolean::int END"

    def bound(self, value: Any) -> Any:
        # Not a float: an integer in JSON may be larger than any, and is compared exactly.
        return value if isinstance(value, str) else Decimal(repr(value))

    def elements(self) -> tuple[str, JsonValue]:
        return f"json_array_elements({self.value}) AS each(value)", PostgresqlJson("each.value")


JSON_VALUES: dict[str, type[SqliteJson | PostgresqlJson]] = {
    SQLITE.name: SqliteJson,
    POSTGRESQL.name: PostgresqlJson,
}
"""The expressions for a value in a column of JSON, by the name of the dialect."""
