"""The language of `--where`: what it reads, what it refuses, and how it judges."""

from __future__ import annotations

import math
from typing import Any

import pytest
from helpers.conditions import conditions
from hypothesis import example, given
from hypothesis import strategies as st

from zoo.errors import UsageError
from zoo.query import parser
from zoo.query.expression import Compare, Condition
from zoo.query.parser import Where

JOB: dict[str, Any] = {
    "accuracy": 0.93,
    "status": "succeeded",
    "model": "dense-softmax",
    "took": 700,
    "tags": ["nightly", "a b"],
    "params": {"learning_rate": 0.005, "shuffle": True, "momentum": None, "epochs": 5},
    "metrics": {"per_class": {"3": {"f1": 0.91}}},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("accuracy > 0.92 and params.learning_rate < 0.01", True),
        ("accuracy > 0.92 and params.learning_rate < 1e-3", False),
        ("accuracy>.95 or status = 'succeeded'", True),
        ("0.9 < accuracy <= 0.93", True),
        ("0.93 < accuracy < 1", False),
        ('status in ("failed", "lost")', False),
        ("status not in ['failed', 'lost']", True),
        ("model ~ 'dense-*' and model !~ '*max-*'", True),
        ("model ~ 'dense'", False),
        ("'nightly' in tags and not 'a' in tags", True),
        ("'b' not in tags", True),
        ("took > 10min and took < 0.5h", True),
        ("params.shuffle == true", True),
        ("params.epochs != 5", False),
        ("metrics.per_class.3.f1 >= 0.9", True),
        ("not (accuracy < 0.5 or model == 'x')", True),
        ("accuracy > 0.95 or took > 1 and status == 'lost'", False),
        ("(accuracy > 0.95 or took > 1) and status == 'succeeded'", True),
    ],
)
def test_a_condition_is_judged_by_the_facts(text: str, holds: bool) -> None:
    assert parser.parse(text).matches(JOB) is holds


@pytest.mark.parametrize(
    "text",
    [
        "metrics.loss < 1",  # missing
        "accuracy == 'high'",  # of another type
        "params.shuffle == 1",
        "params.epochs == true",
        "params.momentum < 1",
        "params.learning_rate.deep == 1",
        "model == 3",
        "3 in model",
    ],
)
def test_what_is_missing_or_of_another_type_matches_neither_way(text: str) -> None:
    assert not parser.parse(text).matches(JOB)
    assert not parser.parse(f"not ({text})").matches(JOB)
    assert parser.parse(f"{text} or accuracy > 0").matches(JOB)
    assert parser.parse(f"not ({text} and accuracy < 0)").matches(JOB)


def test_null_asks_whether_there_is_a_value() -> None:
    assert parser.parse("metrics.loss == null and params.momentum == null").matches(JOB)
    assert parser.parse("params.epochs != null and not params.epochs = null").matches(JOB)


@pytest.mark.parametrize(
    ("text", "why", "at"),
    [
        ("", "expected a name or a value", 0),
        ("accuracy", "expected an operator", 8),
        ("accuracy > ", "expected a name or a value", 10),
        ("accuracy > loss", "compare a name with a value", 9),
        ("(accuracy > 1", "expected )", 13),
        ("accuracy > 1 2", "expected `and`, `or` or the end", 13),
        ("accuracy > 1e999", "too large", 11),
        ("accuracy > 0.9; drop", "expected a number, name, text or operator", 14),
        ("accuracy > 3x", "expected a number, name, text or operator", 11),
        ("model > 'a'", "> is for numbers", 6),
        ("model ~ 3", "~ takes a text", 6),
        ("'a*' ~ model", "write the name before ~", 5),
        ("model in 'a'", "`in` takes values in brackets", 6),
        ("accurcy > 1", "unknown name accurcy (did you mean accuracy or metrics.accurcy", 0),
        ("rate > 1", "unknown name rate (did you mean metrics.rate or params.rate?)", 0),
        ("model.name == 'x'", "unknown name model.name", 0),
        ("not " * 40 + "accuracy > 1", "more than 30 deep", 120),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, why: str, at: int) -> None:
    names = ["accuracy", "loss", "model", "params.*", "metrics.*"]
    with pytest.raises(UsageError) as refused:
        parser.parse(text, names)
    assert why in refused.value.message
    assert refused.value.hint == f"{text}\n{' ' * at}^"


def test_a_condition_without_end_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 2000 characters"):
        parser.parse("a > 1 or " * 300)


names = st.from_regex(r"[a-z_]\w{0,4}(\.[a-z0-9](-?\w){0,3}){0,2}", fullmatch=True).filter(
    lambda text: text.isascii() and text not in {*parser.WORDS, *parser.CONSTANTS}
)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | st.booleans() | numbers | st.text(max_size=5)


@st.composite
def comparisons(draw: st.DrawFn) -> Compare:
    value = draw(values)
    signs = ["==", "!="] + ([] if value is None else ["has"])
    if isinstance(value, str):
        signs.append("~")
    elif value is not None and not isinstance(value, bool):
        signs += parser.ORDER
    return Compare(tuple(draw(names).split(".")), draw(st.sampled_from(signs)), value)


@given(conditions(comparisons()))
def test_a_condition_that_is_written_down_is_read_back_as_it_was(condition: Condition) -> None:
    assert parser.parse(str(condition)) == Where(condition)


@given(st.text(max_size=60))
@example("\x00")
@example("'\\")
@example("a\u2003>\u20031")
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    try:
        parser.parse(text)
    except UsageError as error:
        assert error.hint.endswith("^")


pieces = ["(", ")", "a", "b.c", "1", "-2.5e3", "'x'", "<", "==", "~", "in", "not", "and", "or", ","]


@given(st.lists(st.sampled_from([*pieces, "null", "true", "5min", "[", "]"]), max_size=12))
def test_words_of_the_language_in_any_order_are_read_or_refused(words: list[str]) -> None:
    try:
        found = parser.parse(" ".join(words))
    except UsageError:
        return
    assert parser.parse(str(found)) == found
    found.matches({"a": 1, "b": {"c": math.pi}})
