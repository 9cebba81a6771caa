"""Checkpoints of a training in this process: what they keep, and from which one it goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.training.checkpoints import Checkpoints, Place

HERE = {"numpy": "1", "cpu": "a"}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Checkpoints]:
    def make(place: Place | None = None, key: str = "k", **named: Any) -> Checkpoints:
        named = {"environment": HERE, "steps": []} | named
        return Checkpoints(place or Place(tmp_path), key, **named)

    return make


def test_a_training_goes_on_with_files_curves_and_random_numbers(
    tmp_path: Path, make: Callable[..., Checkpoints]
) -> None:
    saved: list[tuple[str, int]] = []
    resumed: list[Any] = []
    reported: list[Any] = []
    place = Place(tmp_path, on_saved=lambda name, step: saved.append((name, step)))
    first = make(place, steps=[{"step": 1, "loss": 0.5}])
    random.seed(1)
    np.random.seed(1)
    with first.save(1) as folder:
        np.save(folder / "w.npy", np.arange(3))
    assert saved == [("1", 1)]
    then = random.random(), np.random.standard_normal()

    steps = [{"step": 2, "loss": 0.4}]
    earlier = Place(
        tmp_path,
        tmp_path / "1",
        attempt=7,
        on_resumed=resumed.append,
        on_history=reported.append,
    )
    found = make(earlier, steps=steps).latest()
    assert found is not None
    assert np.load(found / "w.npy").tolist() == [0, 1, 2]
    assert (random.random(), np.random.standard_normal()) == then
    assert [each["step"] for each in steps] == [1, 2]
    assert reported == [[{"step": 1, "loss": 0.5}]]
    assert resumed == [{"attempt": 7, "step": 1, "exact": True}]


def test_an_unfinished_checkpoint_does_not_count(
    tmp_path: Path, make: Callable[..., Checkpoints]
) -> None:
    saved: list[str] = []
    checkpoints = make(Place(tmp_path, on_saved=lambda name, step: saved.append(name)))
    with pytest.raises(ZeroDivisionError), checkpoints.save(1):
        raise ZeroDivisionError
    assert saved == []
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(
    ("key", "environment", "exact", "is_used"),
    [
        ("other", HERE, False, False),
        ("k", {"numpy": "2", "cpu": "a"}, False, True),
        ("k", {"numpy": "2", "cpu": "a"}, True, False),
        ("k", HERE, True, True),
    ],
)
def test_a_checkpoint_of_another_training_or_environment(
    tmp_path: Path,
    make: Callable[..., Checkpoints],
    key: str,
    environment: dict[str, str],
    exact: bool,
    is_used: bool,
) -> None:
    with make().save(1):
        pass
    resumed: list[Any] = []
    earlier = Place(tmp_path, tmp_path / "1", on_resumed=resumed.append)
    later = make(earlier, key, environment=environment, exact=exact)
    assert (later.latest() is not None) == is_used
    assert [each["exact"] for each in resumed] == ([environment == HERE] if is_used else [])


def test_with_a_damaged_checkpoint_it_begins_anew(
    tmp_path: Path, make: Callable[..., Checkpoints], caplog: pytest.LogCaptureFixture
) -> None:
    with make().save(1):
        pass
    (tmp_path / "1" / "checkpoint.json").write_text('{"v": 1}')
    assert make(Place(tmp_path, tmp_path / "1")).latest() is None
    assert "is no checkpoint: 'key'. It begins anew." in caplog.text


def test_after_one_that_is_too_large_no_more_are_taken(
    tmp_path: Path, make: Callable[..., Checkpoints], caplog: pytest.LogCaptureFixture
) -> None:
    saved: list[str] = []
    place = Place(
        tmp_path, seconds=0, most_bytes=2**20, on_saved=lambda name, step: saved.append(name)
    )
    checkpoints = make(place)
    assert checkpoints.is_due()
    with checkpoints.save(1) as folder:
        (folder / "w.bin").write_bytes(bytes(2**20))
    assert not checkpoints.is_due()
    assert saved == [] and not list(tmp_path.iterdir())
    assert "one takes 1 MB, and the limit is 1 MB" in caplog.text


def test_none_is_due_while_earlier_ones_wait_to_be_stored(
    tmp_path: Path, make: Callable[..., Checkpoints]
) -> None:
    checkpoints = make(Place(tmp_path, seconds=0))
    assert checkpoints.is_due()
    for step in (1, 2):
        with checkpoints.save(step):
            pass
    assert not make(Place(tmp_path, seconds=0)).is_due()
    (tmp_path / "1").rename(tmp_path / "taken")
    assert make(Place(tmp_path, seconds=0)).is_due()
    assert not make(Place(tmp_path, seconds=60)).is_due()
