"""Values of params are converted as Typer converts them, and pydantic is not imported for most."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
import typer
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.cli import lazy_group, main, param_conversion

Number = st.integers() | st.floats() | st.integers(-20, 20)
TEXTS = st.text(max_size=6) | Number.map(str) | st.from_regex(r"[-+ 0]?[0-9_]{1,21}[ .]?0?")
TEXTS |= st.sampled_from(["", "true", "red", "RED", "\u0663", "1e3", "nan", "0x1f", "2026-01-01"])
VALUES: st.SearchStrategy[Any] = (
    st.none() | TEXTS | Number | st.booleans() | st.lists(TEXTS, max_size=3)
)
VALUES |= st.lists(TEXTS, max_size=3).map(tuple) | st.just(b"text") | st.just(Path("a"))


class Colour(Enum):
    RED = "red"


def of_every_kind(
    text: str,
    texts: list[str],
    several: Annotated[list[str] | None, typer.Option()] = None,
    whole: int = 1,
    ranged: Annotated[int, typer.Option(min=-3, max=12)] = 1,
    least: Annotated[int, typer.Option(min=1)] = 1,
    clamped: Annotated[int, typer.Option(min=1, max=3, clamp=True)] = 1,
    wholes: Annotated[list[int] | None, typer.Option()] = None,
    real: float = 0.5,
    share: Annotated[float, typer.Option(min=0, max=1)] = 0.5,
    switch: bool = False,
    counted: Annotated[int, typer.Option(count=True)] = 0,
    parsed: Annotated[str, typer.Option(parser=str.upper)] = "x",
    number: Annotated[int, typer.Option(parser=len)] = 0,
    colour: Colour = Colour.RED,
    letter: Literal["a", "b"] = "a",
    day: datetime | None = None,
    file: Path | None = None,
    existing: Annotated[str, typer.Option(exists=True, path_type=str)] = "/",
    opened: Annotated[typer.FileText | None, typer.Option()] = None,
    both: tuple[str, int] = ("a", 1),
) -> None:
    """Take a param of every kind that Typer has."""


def params() -> Iterator[Any]:
    """Yield the params of that command, and of all commands of Zoo and its plugins."""
    app = typer.Typer()
    app.command()(of_every_kind)
    yield from typer.main.get_command(app).params
    lazy_group.load_all(main.app)
    every = [typer.main.get_command(main.app)]
    for command in every:
        yield from command.params
        every += getattr(command, "commands", {}).values()


PARAMS = list(params())


def converted(param: Any, value: Any) -> Any:
    """Return a value as the param converts it, or the sentence that refuses it."""
    context: Any = SimpleNamespace(token_normalize_func=None, resilient_parsing=False)
    try:
        found = param.get_runtime_param().coerce(value, param=param, ctx=context)
    except Exception as error:
        return type(error), str(error)
    return type(found), repr(found) if not hasattr(found, "read") else found.name


@pytest.mark.parametrize("param", PARAMS[:21], ids=lambda each: each.name)
@settings(max_examples=60)
@given(value=VALUES)
def test_every_value_is_converted_or_refused_as_by_typer(param: Any, value: Any) -> None:
    _assert_equal(param, value)


@settings(max_examples=300)
@given(param=st.sampled_from(PARAMS), value=VALUES)
def test_so_are_those_of_all_commands(param: Any, value: Any) -> None:
    _assert_equal(param, value)


def _assert_equal(param: Any, value: Any) -> None:
    of_typer = converted(param, value)
    param_conversion.avoid_pydantic(param)
    try:
        assert converted(param, value) == of_typer
    finally:
        del param.get_runtime_param


COMMANDS = (
    "jobs -n 5 --status failed --where accuracy>0.5",
    "leaderboard",
    "watch --once",
    "tag a b",
    "cancel @last",
    "logs @last",
    "files @last",
    "wait @last",
)
RUN = """
import sys
from zoo.cli import main
main.run(["jobs"])  # fills the caches of the home
for line in sys.argv[1:]:
    sys.modules.pop("pydantic", None)
    main.run(line.split())
    if "pydantic" in sys.modules:
        sys.exit(f"{line} imports pydantic")
"""


def test_short_commands_do_not_import_pydantic(tmp_path: Path) -> None:
    env = os.environ | {"ZOO_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", RUN], env=env, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *COMMANDS], env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
