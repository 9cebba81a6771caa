"""Shell completion of models, datasets, params, jobs, tags, statuses and columns.

Completion must be fast and must not print errors: the names of models and datasets are cached
until a plugin is added or removed, and on any error there are no suggestions.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import atomic, param_values
from zoo.dataset_names import FILE_FORMS, Spelling, expanded, joined

if TYPE_CHECKING:
    from zoo.jobs import Database

Suggestions = list[tuple[str, str]]
"""Values, each with its description."""

MAX_DESCRIPTION = 60
SPECIAL = "\\`$;|&<>"
"""Characters that are special to a shell even inside a word."""
MOST_DATASETS = 200
"""Added datasets that are suggested at once: more fill the screen, and their names take time."""
NAMES_FILE = "names.json"
NAMES_SECONDS = 3600.0
"""Lifetime of the cache: an installed plugin edited in place changes no folder."""


def safely(suggest: Callable[..., Iterable[tuple[str, str]]]) -> Callable[..., Suggestions]:
    """Return no suggestions on any error, and none that a shell could evaluate."""

    @functools.wraps(suggest)
    def suggested(*args: Any, **named: Any) -> Suggestions:
        with contextlib.suppress(Exception):
            # The description is cut to stay on one line of any terminal.
            return [
                (value, "".join(filter(_is_harmless, description))[:MAX_DESCRIPTION])
                for value, description in suggest(*args, **named)
                if all(map(_is_harmless, value))
            ]
        return []

    return suggested


def _is_harmless(character: str) -> bool:
    """Whether a suggestion may contain it: zsh evaluates suggestions, which may be user input.

    Typer escapes some characters, but a backslash defeats that.
    """
    return character.isprintable() and character not in SPECIAL


@safely
def models(incomplete: str) -> Iterator[tuple[str, str]]:
    for name, about in _names()["models"].items():
        if name.startswith(incomplete):
            yield name, about["summary"]


@safely
def datasets(incomplete: str) -> Iterator[tuple[str, str]]:
    """Names, files used before, the forms of files, and after one of them the paths."""
    for name, summary in _datasets(incomplete).items():
        if name.startswith(incomplete):
            yield name, summary
    form, colon, path = incomplete.partition(":")
    if not colon:
        yield from ((f"{each}:", "") for each in FILE_FORMS if each.startswith(form))
    elif form in FILE_FORMS and "?" not in path:
        folder, slash, begin = path.rpartition("/")
        for each in sorted(Path(expanded(folder + slash) or ".").iterdir()):
            if each.name.startswith(begin) and (begin or not each.name.startswith(".")):
                name = joined(Spelling(form, f"{folder}{slash}{each.name}", ()))
                yield f"{name}{'/' if each.is_dir() else ''}", ""


@safely
def params(incomplete: str) -> Iterator[tuple[str, str]]:
    """NAME= of each param of the model; after the sign, its possible values."""
    known = _names()["models"]
    schema = next(known[word]["schema"] for word in _typed_line() if word in known)
    name, sign, _ = incomplete.partition("=")
    defs = schema.get("$defs", {})
    for each, about in param_values.nested(schema, defs):
        if sign and each == name:
            yield from ((f"{each}={value}", "") for value in _values(about, defs))
        elif not sign and each.startswith(incomplete):
            yield f"{each}=", about.get("description", "")


@safely
def references(incomplete: str) -> Iterator[tuple[str, str]]:
    """The newest jobs and groups; after an @ the symbolic references."""
    if incomplete.startswith("@"):
        yield "@last", "your newest job, or its group"
        yield "@last-failed", "your newest job that failed, timed out or was lost"
        for name, models in _trained().items():
            yield f"@best:{name}", f"the most accurate training on {name}"
            if incomplete.startswith(f"@best:{name}/"):
                for model in models:
                    yield f"@best:{name}/{model}", f"the most accurate {model} on {name}"
        return
    from zoo.jobs import references

    if db := _database():
        yield from references.recent(db, incomplete)
        yield from _job_names(db, incomplete)


def references_of(*statuses: str, have_weights: bool = False) -> Callable[[str], Suggestions]:
    """Suggest references, and only jobs with one of these statuses.

    With `have_weights` only jobs with a stored model.
    """

    @safely
    def suggested(incomplete: str) -> Iterator[tuple[str, str]]:
        if incomplete.startswith("@"):
            yield from references(incomplete)
            return
        from zoo.jobs import references as rows

        if db := _database():
            yield from rows.recent(db, incomplete, statuses=statuses, have_weights=have_weights)
            yield from _job_names(db, incomplete)

    return suggested


def _job_names(db: Database, incomplete: str) -> Iterator[tuple[str, str]]:
    """The names of the newest jobs; none with a space, at which shells split."""
    from zoo.jobs import references

    for name in references.recent_names(db):
        if name.startswith(incomplete) and " " not in name:
            yield name, ""


def one_of(*values: str) -> Callable[[str], Suggestions]:
    """Suggest these values."""
    return safely(lambda incomplete: ((v, "") for v in values if v.startswith(incomplete)))


@safely
def schemas(incomplete: str) -> Iterator[tuple[str, str]]:
    """What `zoo schema` describes."""
    from zoo.cli.json_schemas import SCHEMAS

    for name, about in SCHEMAS.items():
        if name.startswith(incomplete):
            yield name, ", ".join(about.commands)


@safely
def metrics(incomplete: str) -> Iterator[tuple[str, str]]:
    """The metrics that Zoo computes."""
    from zoo.metrics import METRICS

    for name, about in METRICS.items():
        if name.startswith(incomplete):
            yield name, about.summary


@safely
def pools(incomplete: str) -> Iterator[tuple[str, str]]:
    """The pools of the registered workers."""
    from zoo import jobs

    db = _database()
    found = jobs.workers(db) if db else []
    for name in sorted({"default", *(worker.pool for worker in found)}):
        if name.startswith(incomplete):
            yield name, ""


@safely
def workers(incomplete: str) -> Iterator[tuple[str, str]]:
    from zoo import jobs

    db = _database()
    for worker in jobs.workers(db) if db else []:
        if worker.name.startswith(incomplete):
            yield worker.name, f"{worker.state}, pool {worker.pool}"


@safely
def columns(incomplete: str) -> Iterator[tuple[str, str]]:
    """Comma-separated column names; the last one is completed."""
    from zoo.jobs import FIELD_NAMES

    before, comma, last = incomplete.rpartition(",")
    for name in FIELD_NAMES:
        if "*" not in name and name.startswith(last):
            yield f"{before}{comma}{name}", ""


@safely
def sorts(incomplete: str) -> Iterator[tuple[str, str]]:
    from zoo.jobs import FIELD_NAMES

    sign = "-" if incomplete.startswith("-") else ""
    for name in FIELD_NAMES:
        if "*" not in name and name.startswith(incomplete[len(sign) :]):
            yield f"{sign}{name}", "largest first" if sign else ""


@safely
def tags(incomplete: str) -> Iterator[tuple[str, str]]:
    from zoo.jobs import references

    if db := _database():
        yield from ((tag, "") for tag in references.recent_tags(db) if tag.startswith(incomplete))


@safely
def users(incomplete: str) -> Iterator[tuple[str, str]]:
    """The owners of the newest jobs."""
    from zoo.jobs import references

    if db := _database():
        yield from (
            (user, "") for user in references.recent_users(db) if user.startswith(incomplete)
        )


@safely
def statuses(incomplete: str) -> Iterator[tuple[str, str]]:
    from zoo.jobs import LISTED

    yield from ((each, "") for each in LISTED if each.startswith(incomplete))


def _typed_line() -> list[str]:
    """The command line as typed: the parser has no arguments while an option lacks its value."""
    found = (os.environ.get(name) for name in ("_TYPER_COMPLETE_ARGS", "COMP_WORDS"))
    return next(filter(None, found), "").split()


def _values(about: Mapping[str, Any], defs: Mapping[str, Any]) -> list[str]:
    """The choices of a param according to its JSON schema, else its default."""
    listed = [
        each for side in param_values.sides(about, defs) for each in param_values.choices(side)
    ]
    found = list(dict.fromkeys(map(param_values.typed, listed)))
    default = about.get("default")
    return found or ([] if default is None else [param_values.typed(default)])


def _database() -> Database | None:
    """Connect to the database if there is one: completion creates none."""
    from zoo import jobs, settings

    chosen = settings.load()
    return jobs.connect(chosen.database) if chosen.has_database else None


def _trained() -> dict[str, list[str]]:
    """The datasets with a succeeded training, and their models: the values of `@best:`."""
    from zoo.jobs import best, references

    found: dict[str, list[str]] = {}
    if db := _database():
        for dataset, model in sorted({(each.dataset, each.model) for each in best(db)}):
            if references.has_best(db, dataset, model):
                found.setdefault(dataset, []).append(model)
    return found


def _datasets(beginning: str) -> dict[str, str]:
    """The named datasets, and files that a training has succeeded on.

    Of added datasets only the first that begin so.
    """
    from zoo import jobs
    from zoo.jobs import references

    db = _database()
    trained = references.recent_datasets(db) if db else []
    found: dict[str, str] = dict(_names()["datasets"])
    added = jobs.list_dataset_names(db, beginning, MOST_DATASETS) if db else []
    found |= dict.fromkeys(added, "added")
    files = [name for name in trained if ":" in name]
    return found | dict.fromkeys(files, "used by an earlier training")


def _names() -> dict[str, Any]:
    """{"models": {name: {"summary", "schema"}}, "datasets": {name: summary}}, cached."""
    from zoo import settings

    chosen = settings.load()
    file = chosen.home / NAMES_FILE
    key = _key(chosen.plugins_folder)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known: dict[str, Any] = json.loads(file.read_text())
        if known["key"] == key and 0 <= time.time() - known["at"] < NAMES_SECONDS:
            return known
    found = _load_names() | {"key": key, "at": time.time()}
    with contextlib.suppress(OSError):  # a missing home is not created
        atomic.write(file, json.dumps(found))
    return found


def _key(folder: Path) -> list[Any]:
    """A key that changes when a plugin is installed or removed, or a one-file plugin edited."""
    from zoo.plugins import entry_points

    files = sorted(folder.glob("*.py")) if folder.is_dir() else []
    stamps = [[str(file), file.stat().st_mtime_ns] for file in files]
    # As it is read back from JSON.
    key: list[Any] = json.loads(
        json.dumps([entry_points.key(), stamps, os.environ.get("ZOO_PLUGINS")])
    )
    return key


def _load_names() -> dict[str, Any]:
    from zoo.data.datasets import MNIST
    from zoo.plugins import registry

    cards = {c.name: {"summary": c.summary, "schema": c.schema} for c in registry.cards()}
    data = {
        f"{each.name}:" if each.scheme else each.name: each.summary
        for each in [MNIST, *registry.catalogue().datasets.values()]
    }
    return {"models": cards, "datasets": data}
