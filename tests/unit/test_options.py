"""The records of options: their checks, and that every entry point has all of their fields."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from zoo.cli import filter_options, options
from zoo.errors import UsageError
from zoo.jobs.queue_options import Limits, QueueOptions, limits
from zoo.notebook import arguments, functions
from zoo.param_values import MAX_SEED
from zoo.queue.job_filters import FilterWords
from zoo.queue.options import TrainingOptions


def names(record: type) -> set[str]:
    return {each.name for each in fields(record)}


@pytest.mark.parametrize(
    ("record", "values", "message"),
    [
        (TrainingOptions, {"seed": -1}, "The seed is -1, but it must be a whole number from 0 to"),
        (TrainingOptions, {"seed": MAX_SEED + 1}, "from 0 to 4,294,967,295"),
        (TrainingOptions, {"seed": 1.0}, "The seed is 1.0, but it must be a whole number"),
        (TrainingOptions, {"seed": True}, "The seed is True"),
        (TrainingOptions, {"cv": 1}, "The cv is 1, but it must be a whole number from 2 to 100"),
        (TrainingOptions, {"cv": "5"}, "The cv is '5'"),
        (TrainingOptions, {"seeds": 1001}, "from 2 to 1,000"),
        (TrainingOptions, {"seed": MAX_SEED, "seeds": 2}, "The seeds would go past 4294967295"),
        (TrainingOptions, {"cv": 2, "seeds": 2}, "A group has folds or seeds, not both"),
        (TrainingOptions, {"timeout": 0}, "The timeout is 0, but it must be a number of at least"),
        (TrainingOptions, {"timeout": float("nan")}, "The timeout is nan"),
        (TrainingOptions, {"memory_mb": 0}, "a whole number of at least 1"),
        (TrainingOptions, {"validation": 0.0}, "The validation is 0.0, but it must be a number"),
        (TrainingOptions, {"validation": 1}, "a number from 0.001 to 0.999"),
        (TrainingOptions, {"validation": True}, "The validation is True"),
        (TrainingOptions, {"class_weight": "balance"}, "No class_weight is called 'balance'"),
        (TrainingOptions, {"device": "tpu"}, "No device is called 'tpu'"),
        (TrainingOptions, {"preprocess": "deskw"}, "No preprocessing step is called 'deskw'"),
        (QueueOptions, {"priority": 10**6 + 1}, "from -1,000,000 to 1,000,000"),
        (QueueOptions, {"max_parallel": 0}, "The max_parallel is 0"),
    ],
)
def test_an_option_out_of_its_bounds_is_refused_in_one_sentence(
    record: Any, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        record(**values)
    assert message in refused.value.message


def test_the_bounds_themselves_are_accepted() -> None:
    for record in (TrainingOptions, QueueOptions):
        for name in names(record):
            default, low, high = limits(record, name)
            for value in (default, low, high):
                if value is not None and name != "seeds":
                    assert getattr(record(**{name: value}), name) == value
    assert limits(TrainingOptions, "seeds") == Limits(None, 2, 1000)


def test_the_records_are_frozen() -> None:
    for record in (TrainingOptions(), QueueOptions(), FilterWords()):
        with pytest.raises(FrozenInstanceError):
            setattr(record, fields(record)[0].name, "x")


def test_every_field_is_an_option_of_the_command_line() -> None:
    assert set(options.TRAINING) == names(TrainingOptions)
    # The owner is that of the settings.
    assert set(options.GROUP) == names(QueueOptions) - {"submitted_by"}
    assert set(filter_options.OPTIONS) == names(FilterWords)


def test_the_notebook_takes_every_option_with_the_same_default() -> None:
    assert set(arguments.FilterKeywords.__annotations__) == names(FilterWords)
    taken = inspect.signature(functions.train).parameters
    for record, missing in (
        (TrainingOptions, set()),
        (QueueOptions, {"after", "after_any", "submitted_by"}),
    ):
        for each in fields(record):
            if each.name not in missing | {"max_parallel"}:
                assert taken[each.name].default == each.default, each.name


@pytest.mark.parametrize(
    ("values", "kind", "parts", "keeps"),
    [
        ({}, None, 1, True),
        ({"cv": 5}, "cv", 5, False),
        ({"cv": 5, "keep_weights": True}, "cv", 5, True),
        ({"seeds": 3}, "seeds", 3, True),
        ({"keep_weights": False}, None, 1, False),
    ],
)
def test_folds_keep_no_weights_unless_asked_for(
    values: dict[str, Any], kind: str | None, parts: int, keeps: bool
) -> None:
    found = TrainingOptions(**values)
    assert (found.group_kind, found.parts, found.keeps_weights) == (kind, parts, keeps)


def test_the_options_of_a_sweep_are_stored_and_read_back() -> None:
    given = TrainingOptions(
        "digits", "deskew", 0.1, "balanced", "9", seed=7, cv=3, timeout=1.5, memory_mb=100
    )
    stored = given.to_json()
    assert stored == {
        "preprocess": "deskew",
        "validation": 0.1,
        "class_weight": "balanced",
        "positive": "9",
        "device": None,
        "exact": False,
        "seed": 7,
        "cv": 3,
        "seeds": None,
        "keep_weights": False,
        "timeout": 1.5,
        "memory_mb": 100,
    }
    again = TrainingOptions.from_json("digits", stored)
    assert again.to_json() == stored and again.dataset == "digits"


def test_options_of_a_sweep_of_an_older_version_are_read() -> None:
    assert TrainingOptions.from_json("digits", {"seed": 1}) == TrainingOptions("digits", seed=1)


def test_filter_words_are_true_once_one_is_given() -> None:
    assert not FilterWords()
    assert FilterWords(where="") and FilterWords(status=["failed"])
