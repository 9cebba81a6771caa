"""Without a guard the promises do not hold: each broken guard is noticed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from helpers.job_stories import (
    LATE,
    WAITS,
    Story,
    cancelled_and_drained,
    cancelled_and_lost,
    claimed_after_a_loss,
    claimed_before_what_it_waits_for,
    claimed_by_urgency,
    claimed_from_a_paused_pool,
    claimed_out_of_turn,
    claimed_twice,
    claimed_while_held,
    lost_beyond_its_checkpoint,
    lost_for_the_last_time,
)

from zoo import jobs
from zoo.jobs import RowRefused, transitions


def without(*names: str) -> dict[str, str]:
    """The fence as it is, but for the conditions on these columns."""
    token = transitions.FENCING_TOKEN
    assert set(names) <= set(token)
    return {name: condition for name, condition in token.items() if name not in names}


@pytest.mark.parametrize("tell", LATE)
def test_without_any_fence_a_late_word_is_noticed(
    tell: Callable[[Story], None], story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "FENCING_TOKEN", without("owner", "attempt", "status"))
    with pytest.raises((AssertionError, RowRefused)):
        tell(story)


@pytest.mark.parametrize("tell", LATE[:4])
def test_without_owner_and_attempt_a_late_word_is_noticed(
    tell: Callable[[Story], None], story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "FENCING_TOKEN", without("owner", "attempt"))
    with pytest.raises(AssertionError):
        tell(story)


@pytest.mark.parametrize("name", ["owner", "attempt", "status"])
@pytest.mark.parametrize("tell", LATE)
def test_no_single_part_of_the_fence_carries_it_alone(
    tell: Callable[[Story], None], name: str, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "FENCING_TOKEN", without(name))
    tell(story)


WHOLE_AFTER_LOSS = transitions.after_loss


@pytest.mark.parametrize(
    ("tell", "blind"),
    [
        (cancelled_and_lost, {"cancel_requested": 0}),
        (lost_for_the_last_time, {"max_attempts": 99}),
        (lost_beyond_its_checkpoint, {"checkpoint": None}),
    ],
)
def test_a_reaper_that_puts_back_what_nobody_may_claim_is_noticed(
    tell: Callable[[Story], None],
    blind: dict[str, int],
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forgetful(row: Any, backoff: float) -> Any:
        return WHOLE_AFTER_LOSS(row | blind, backoff)

    monkeypatch.setattr(transitions, "after_loss", forgetful)
    with pytest.raises(AssertionError):
        tell(story)


def test_a_reaper_that_counts_no_checkpoint_as_old_is_noticed(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "checkpoint_path", lambda job, attempt, name: job)
    with pytest.raises(AssertionError):
        lost_beyond_its_checkpoint(story)


def test_a_drain_that_forgets_the_cancel_is_noticed(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "CANCELLED", "1 = 0")
    with pytest.raises(AssertionError):
        cancelled_and_drained(story)


CLAIM = inspect.getsource(transitions.claim)

CLAIM_MUTANTS = {
    "sets no lease": ("lease_until = {sql.now} + :lease, ", "", claimed_twice),
    "sets no owner": ("owner = :owner, ", "", claimed_twice),
    "counts no attempt": ("attempt = attempt + 1, ", "", claimed_after_a_loss),
    "knows no urgency": ("priority DESC, ", "", claimed_by_urgency),
}


@pytest.mark.parametrize("name", CLAIM_MUTANTS)
def test_a_claim_without_one_of_its_words_is_noticed(
    name: str, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, tell = CLAIM_MUTANTS[name]
    assert old in CLAIM
    scope = dict(vars(transitions))
    exec(CLAIM.replace(old, new), scope)
    monkeypatch.setattr(jobs, "claim", scope["claim"])
    with pytest.raises((AssertionError, RowRefused)):
        tell(story)


@pytest.mark.parametrize("tell", WAITS[4:])
def test_an_end_that_is_not_told_to_those_that_wait_is_noticed(
    tell: Callable[[Story], None], story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "unblock_dependents", lambda rows, ends: None)
    with pytest.raises(AssertionError):
        tell(story)


GUARD_MUTANTS = {
    "queued": ("status IN ('queued', 'running')", claimed_twice),
    "held by nobody": ("1 = 1", claimed_while_held),
    "waits for no job": ("1 = 1", claimed_before_what_it_waits_for),
    "has its group's turn": ("1 = 1", claimed_out_of_turn),
    "the pool is open": ("1 = 1", claimed_from_a_paused_pool),
}


@pytest.mark.parametrize("name", GUARD_MUTANTS)
def test_a_claim_without_one_of_its_guards_is_noticed(
    name: str, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind, tell = GUARD_MUTANTS[name]
    monkeypatch.setitem(transitions.CLAIMABLE, name, blind)
    with pytest.raises((AssertionError, RowRefused)):
        tell(story)


def test_a_reaper_that_takes_live_leases_is_noticed(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.one_job()
    # Its clock is far ahead.
    monkeypatch.setattr(transitions, "expired", lambda sql: "lease_until < 4e9")
    with pytest.raises(AssertionError):
        story.step("reap")
