"""What the shell offers when a word is completed: models, datasets, params, jobs, tags, statuses.

A key was pressed, so nothing here may take long or fail: the names of models and datasets are
remembered until a plugin comes or goes, and whatever goes wrong, nothing is offered.
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

from zoo import param_values

if TYPE_CHECKING:
    from zoo.jobs import Database

Offers = list[tuple[str, str]]
"""Each word, and what stands beside it."""

WIDEST = 60
STEERING = "\\`$;|&<>"
"""Letters that mean something to a shell, even in the middle of a word."""
NAMES_FILE = "names.json"
NAMES_SECONDS = 3600.0
"""An installed plugin that is edited in place changes no folder: it is asked again after this."""


def _gently(offer: Callable[..., Iterable[tuple[str, str]]]) -> Callable[..., Offers]:
    """Offer nothing rather than show an error in the middle of somebody's line."""

    @functools.wraps(offer)
    def offered(*args: Any, **named: Any) -> Offers:
        with contextlib.suppress(Exception):
            # On one line, whatever the terminal's width.
            return [
                (word, "".join(filter(_is_harmless, beside))[:WIDEST])
                for word, beside in offer(*args, **named)
                if all(map(_is_harmless, word))
            ]
        return []

    return offered


def _is_harmless(letter: str) -> bool:
    """Whether a shell can be given it: zsh evaluates what it is offered, and others wrote tags.

    What Typer does against that, a backslash undoes.
    """
    return letter.isprintable() and letter not in STEERING


@_gently
def models(incomplete: str) -> Iterator[tuple[str, str]]:
    for name, about in _names()["models"].items():
        if name.startswith(incomplete):
            yield name, about["summary"]


@_gently
def datasets(incomplete: str) -> Iterator[tuple[str, str]]:
    for name, summary in _datasets().items():
        if name.startswith(incomplete):
            yield name, summary


@_gently
def params(incomplete: str) -> Iterator[tuple[str, str]]:
    """NAME= of each param of the model; after the sign, the values that it can have."""
    known = _names()["models"]
    schema = next(known[word]["schema"] for word in _line() if word in known)
    name, sign, _ = incomplete.partition("=")
    defs = schema.get("$defs", {})
    for each, about in param_values.nested(schema, defs):
        if sign and each == name:
            yield from ((f"{each}={value}", "") for value in _values(about, defs))
        elif not sign and each.startswith(incomplete):
            yield f"{each}=", about.get("description", "")


@_gently
def references(incomplete: str) -> Iterator[tuple[str, str]]:
    """The newest jobs and groups, and with an @ the words for some of them."""
    if incomplete.startswith("@"):
        yield "@last", "the newest job, or its group"
        yield "@last-failed", "the newest job that failed, timed out or was lost"
        for name, models in _trained().items():
            yield f"@best:{name}", f"the most accurate training on {name}"
            if incomplete.startswith(f"@best:{name}/"):
                for model in models:
                    yield f"@best:{name}/{model}", f"the most accurate {model} on {name}"
        return
    from zoo.jobs import references

    if db := _database():
        yield from references.recent(db, incomplete)


def references_of(*statuses: str, have_weights: bool = False) -> Callable[[str], Offers]:
    """Offer references, and of the newest jobs only those with one of these statuses.

    With `have_weights` only those that have left a trained model.
    """

    @_gently
    def offered(incomplete: str) -> Iterator[tuple[str, str]]:
        if incomplete.startswith("@"):
            yield from references(incomplete)
            return
        from zoo.jobs import references as rows

        if db := _database():
            yield from rows.recent(db, incomplete, statuses=statuses, have_weights=have_weights)

    return offered


def one_of(*words: str) -> Callable[[str], Offers]:
    """Offer these words."""
    return _gently(lambda incomplete: ((w, "") for w in words if w.startswith(incomplete)))


@_gently
def pools(incomplete: str) -> Iterator[tuple[str, str]]:
    """The pools of the workers that are known."""
    from zoo import jobs, settings

    db = _database()
    found = jobs.workers(db, beat=settings.load().beat_seconds) if db else []
    for name in sorted({"default", *(worker.pool for worker in found)}):
        if name.startswith(incomplete):
            yield name, ""


@_gently
def workers(incomplete: str) -> Iterator[tuple[str, str]]:
    from zoo import jobs, settings

    db = _database()
    for worker in jobs.workers(db, beat=settings.load().beat_seconds) if db else []:
        if worker.name.startswith(incomplete):
            yield worker.name, f"{worker.state}, pool {worker.pool}"


@_gently
def columns(incomplete: str) -> Iterator[tuple[str, str]]:
    """Names with commas between them: the last one is completed."""
    from zoo.jobs import FIELD_NAMES

    before, comma, last = incomplete.rpartition(",")
    for name in FIELD_NAMES:
        if "*" not in name and name.startswith(last):
            yield f"{before}{comma}{name}", ""


@_gently
def sorts(incomplete: str) -> Iterator[tuple[str, str]]:
    from zoo.jobs import FIELD_NAMES

    sign = "-" if incomplete.startswith("-") else ""
    for name in FIELD_NAMES:
        if "*" not in name and name.startswith(incomplete[len(sign) :]):
            yield f"{sign}{name}", "the largest first" if sign else ""


@_gently
def tags(incomplete: str) -> Iterator[tuple[str, str]]:
    from zoo.jobs import references

    if db := _database():
        yield from ((tag, "") for tag in references.recent_tags(db) if tag.startswith(incomplete))


@_gently
def statuses(incomplete: str) -> Iterator[tuple[str, str]]:
    from zoo.jobs import STATUSES

    yield from ((each, "") for each in STATUSES if each.startswith(incomplete))


def _line() -> list[str]:
    """The words of the line: the parser has none where an option still lacks its value."""
    found = (os.environ.get(name) for name in ("_TYPER_COMPLETE_ARGS", "COMP_WORDS"))
    return next(filter(None, found), "").split()


def _values(about: Mapping[str, Any], defs: Mapping[str, Any]) -> list[str]:
    """The values of a param that can be listed, by its JSON schema; else its default."""
    listed = [
        each for side in param_values.sides(about, defs) for each in param_values.choices(side)
    ]
    found = list(dict.fromkeys(map(param_values.typed, listed)))
    default = about.get("default")
    return found or ([] if default is None else [param_values.typed(default)])


def _database() -> Database | None:
    """The database, if there is one: to press a key makes none."""
    from zoo import jobs, settings

    chosen = settings.load()
    if not chosen.database_url and not (chosen.home / "zoo.db").exists():
        return None
    return jobs.connect(chosen.database)


def _trained() -> dict[str, list[str]]:
    """What `@best:` can name: the datasets that a training has succeeded on, and its models."""
    from zoo.jobs import best, references

    found: dict[str, list[str]] = {}
    if db := _database():
        for dataset, model in sorted({(each.dataset, each.model) for each in best(db)}):
            if references.has_best(db, dataset, model):
                found.setdefault(dataset, []).append(model)
    return found


def _datasets() -> dict[str, str]:
    """The datasets that have a name, and those in files that a training has succeeded on."""
    from zoo.jobs import references

    db = _database()
    trained = references.recent_datasets(db) if db else []
    found: dict[str, str] = dict(_names()["datasets"])
    files = [name for name in trained if name.startswith(("npz:", "idx:"))]
    return found | dict.fromkeys(files, "of an earlier training")


def _names() -> dict[str, Any]:
    """{"models": {name: {"summary", "schema"}}, "datasets": {name: summary}}, as remembered."""
    from zoo import settings

    chosen = settings.load()
    file = chosen.home / NAMES_FILE
    key = _key(chosen.plugins_folder)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known: dict[str, Any] = json.loads(file.read_text())
        if known["key"] == key and 0 <= time.time() - known["at"] < NAMES_SECONDS:
            return known
    found = _ask() | {"key": key, "at": time.time()}
    with contextlib.suppress(OSError):  # a home that is not there yet stays so
        fresh = file.with_name(f"{file.name}.{os.getpid()}")
        fresh.write_text(json.dumps(found))
        fresh.replace(file)
    return found


def _key(folder: Path) -> list[Any]:
    """Changes when a plugin is installed or removed, or a one-file plugin is edited."""
    from zoo.plugins import entry_points

    files = sorted(folder.glob("*.py")) if folder.is_dir() else []
    stamps = [[str(file), file.stat().st_mtime_ns] for file in files]
    # As JSON gives it back.
    key: list[Any] = json.loads(
        json.dumps([entry_points.key(), stamps, os.environ.get("ZOO_PLUGINS")])
    )
    return key


def _ask() -> dict[str, Any]:
    from zoo.data.datasets import MNIST
    from zoo.plugins import registry

    cards = {c["name"]: {"summary": c["summary"], "schema": c["schema"]} for c in registry.cards()}
    data = {each.name: each.summary for each in [MNIST, *registry.catalogue().datasets.values()]}
    return {"models": cards, "datasets": data}
