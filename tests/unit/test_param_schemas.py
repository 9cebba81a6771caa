"""Params that are rebuilt from a published schema refuse and give what the model's own do."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

import zoo
from zoo.errors import PluginError, UsageError
from zoo.jobs.cards import Card
from zoo.plugins import metadata, registry


class Layer(BaseModel):
    model_config = ConfigDict(strict=True)
    units: int = Field(ge=1)


class EverythingParams(zoo.Params):
    """One param of each kind that the schema tells apart."""

    whole: int = zoo.param(3, ge=1, lt=9, multiple_of=3, help="a whole number")
    real: float = zoo.param(1, gt=0, le=10, help="a number")
    word: str = zoo.param("ab", min_length=2, max_length=4, pattern="^[a-z]+$", help="a word")
    flag: bool = zoo.param(False, help="a flag")
    choice: Literal["x", "y", 3] = zoo.param("x", help="a choice")
    maybe: float | None = zoo.param(None, ge=0, help="a number or nothing")
    mixed: int | str | None = zoo.param(1, help="of two types")
    rows: list[Annotated[int, Field(ge=0)]] = zoo.param([1], max_length=3, help="a list")
    table: dict[str, float] = zoo.param({}, help="a table")
    layer: Layer = zoo.param(Layer(units=2), help="a model of its own")


class Everything(zoo.Model):
    """A model for a test.

    Its second paragraph.
    """

    name = "everything"
    Params = EverythingParams


def published(model: type[zoo.Model]) -> Card:
    """A card as it comes out of the worker's row."""
    return Card.from_json(json.loads(json.dumps(metadata.of(model, "p 1").to_json())))


MODELS = {
    "everything": Everything,
    **{n: registry.model(n) for n in ("logistic", "dense-softmax", "digit-detector")},
}
REBUILT = {name: metadata.params(published(model)) for name, model in MODELS.items()}

ODD = st.sampled_from(
    [
        *(math.nan, math.inf, 0, 1, 3, 6, 9, 1.0, 2.5, -1, 10**400, True, False, None),
        *("x", "ab", "hinge", "l2", "adam", "pa1", "optimal", "", "5", "nan"),
        *([], [0], [1, 2, 3, 4], [1, "a"], {}, {"a": 1}),
        *({"units": 0}, {"units": 5, "more": 1}, {"units": "5"}),
    ]
)


@st.composite
def given_params(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    model = draw(st.sampled_from(sorted(MODELS)))
    known = [*MODELS[model].Params.model_fields, "epoch", "unknwon"]
    values = st.one_of(ODD, st.integers(), st.floats(), st.text(max_size=5))
    return model, draw(st.dictionaries(st.sampled_from(known), values, max_size=3))


def verdict(params: type[zoo.Params], values: dict[str, Any]) -> tuple[str, str]:
    try:
        return "accepted", json.dumps(params.resolve(values).model_dump())
    except UsageError as error:
        # A default that is a model of its own is shown as one, or as the JSON of it.
        return "refused", str(error).replace("Layer(units=2)", "{'units': 2}")


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(given_params())
def test_rebuilt_params_judge_and_resolve_as_the_models_own(
    case: tuple[str, dict[str, Any]],
) -> None:
    model, values = case
    own, rebuilt = verdict(MODELS[model].Params, values), verdict(REBUILT[model], values)
    # A check of several params together is the worker's: no schema has it.
    of_several = own[0] == "refused" and own[1].startswith("The schedule")
    assert own == rebuilt or (of_several and rebuilt[0] == "accepted")


@pytest.mark.parametrize("model", sorted(MODELS))
def test_rebuilt_params_have_the_same_defaults_order_and_help(model: str) -> None:
    own, rebuilt = MODELS[model].Params, REBUILT[model]
    assert list(own.model_fields) == list(rebuilt.model_fields)
    assert own.resolve({}).model_dump() == rebuilt.resolve({}).model_dump()
    assert [f.description for f in own.model_fields.values()] == [
        f.description for f in rebuilt.model_fields.values()
    ]


def test_an_unknown_param_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'epochs'"):
        REBUILT["dense-softmax"].resolve({"epoch": 3})


class HalfParams(zoo.Params):
    odd: int = zoo.param(1, help="an odd number")
    pair: tuple[int, ...] = zoo.param((1, 2), help="a type that JSON does not know")
    made: list[int] = Field(default_factory=lambda: [7], description="made by a factory")

    @field_validator("odd")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("even")
        return value


class Half(zoo.Model):
    name = "half"
    Params = HalfParams


def test_what_a_schema_cannot_say_is_left_to_the_worker() -> None:
    params = metadata.params(published(Half))
    assert params.resolve({}).model_dump() == {"odd": 1, "pair": [1, 2], "made": [7]}
    assert params.resolve({"odd": 2}).model_dump()["odd"] == 2
    with pytest.raises(UsageError, match="odd"):
        params.resolve({"odd": "2"})


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": 3},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"properties": {"a": {"type": "string", "pattern": "(", "default": "x"}}},
    ],
)
def test_a_schema_that_is_none_is_refused_in_a_sentence(schema: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match="for the model 'bad' cannot be read"):
        metadata.params(Card("bad", "p 1", schema=schema))


def test_a_card_without_params_takes_none() -> None:
    with pytest.raises(UsageError, match="No param is called 'a'"):
        metadata.params(Card("bare", "p 1", schema={})).resolve({"a": 1})


def test_a_card_has_the_whole_text_and_where_the_model_is_described() -> None:
    card = metadata.of(Everything, "p 1")
    assert card.summary == "A model for a test."
    assert card.about and card.about.endswith("\n\nIts second paragraph.")
    assert registry.card("logistic").family == "linear" and registry.card("logistic").paper
