"""Whatever happens to jobs, in whatever order, the promises hold.

A state machine plays submitters, workers that come back late, and reapers on a real SQLite.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.job_stories import (
    STORIES,
    WAITS,
    Promises,
    Story,
    claimed_after_a_loss,
    claimed_by_urgency,
    claimed_twice,
)
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from zoo.jobs import statuses, transitions


def play(empty_file: Path, examples: int) -> None:
    Promises.template = empty_file
    chosen = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Promises, settings=chosen)


def test_the_promises_hold_in_whatever_order_things_happen(empty_file: Path) -> None:
    play(empty_file, 30)


@pytest.mark.parametrize("tell", STORIES)
def test_with_every_guard_in_place_the_story_ends_well(
    tell: Callable[[Story], None], story: Story
) -> None:
    tell(story)


@pytest.mark.parametrize("tell", WAITS)
def test_what_waits_does_so_until_its_time_has_come(
    tell: Callable[[Story], None], story: Story
) -> None:
    tell(story)


def test_what_a_claim_asks_first_stands_word_for_word_in_its_index() -> None:
    assert " AND ".join(list(transitions.CLAIMABLE.values())[:5]) == statuses.MAY_RUN


@pytest.mark.parametrize("tell", [claimed_twice, claimed_after_a_loss, claimed_by_urgency])
def test_the_claim_as_it_is_tells_these_stories_well(
    tell: Callable[[Story], None], story: Story
) -> None:
    tell(story)
