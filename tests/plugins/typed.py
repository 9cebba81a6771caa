"""A plugin for tests: a model with a param of every type that JSON can hold but has no word for."""

from __future__ import annotations

import datetime
import enum
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

import zoo


class Colour(enum.Enum):
    RED = "red"
    NONE = "None"
    TWO = 2


class Optim(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    lr: float = Field(0.5, gt=0)
    momentum: float = 0.9
    name: Literal["sgd", "adam"] = "sgd"


class Typed(zoo.Model):
    """Guess class 0, whatever the params."""

    name = "typed"

    class Params(zoo.Params):
        colour: Colour = zoo.param(Colour.RED, help="an Enum")
        path: Path = zoo.param(Path("a/b"), help="a path")
        pair: tuple[int, str] = zoo.param((1, "a"), help="a tuple")
        several: tuple[float, ...] = zoo.param((1.0,), help="a tuple of any length")
        names: frozenset[str] = zoo.param(frozenset({"b", "a", "c"}), help="a set")
        day: datetime.date = zoo.param(datetime.date(2026, 1, 2), help="a date")
        moment: datetime.datetime | None = zoo.param(None, help="a date and time, or nothing")
        span: datetime.timedelta = zoo.param(datetime.timedelta(hours=1), help="a span of time")
        key: UUID | None = zoo.param(None, help="a UUID, or nothing")
        one: Literal[1, "two", True, None] = zoo.param("two", help="one of unlike values")
        flag: bool = zoo.param(True, help="a flag")
        word: str = zoo.param("", help="a text")
        maybe: int | None = zoo.param(None, ge=0, help="a number, or nothing")
        optim: Optim = zoo.param(Optim(momentum=0.25), help="params of its own")
        table: dict[str, int] = zoo.param({"a": 1}, help="a table")

    def fit(self, x: Any, y: Any, report: Any) -> None:
        print(f"lr={self.params.optim.lr} momentum={self.params.optim.momentum}")
        print(f"colour={self.params.colour.name} day={self.params.day.year}")
        report(1, 1)

    def predict_proba(self, x: Any) -> Any:
        import numpy as np

        return np.tile(np.eye(self.n_classes)[0], (len(x), 1))

    def save(self, folder: Path) -> None:
        (folder / "none.json").write_text("{}")

    def load(self, folder: Path) -> None:
        pass


@zoo.hookimpl
def register_models(register: Any) -> None:
    register(Typed)
