"""Rows of every shape leave one database and arrive in another, or are refused in a sentence."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import carried_jobs, row_shapes
from helpers.row_shapes import Member
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zoo import jobs
from zoo.jobs import TERMINAL, CarriedJob, Database

pytestmark = pytest.mark.xdist_group("test_carried_rows")  # the tests share their databases


@pytest.fixture(scope="module")
def both(
    empty_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, Database]]:
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    found = [jobs.Database(f"sqlite:///{shutil.copy(empty_file, folder)}") for folder in folders]
    yield found[0], found[1]
    for db in found:
        db.close()


def clear(db: Database) -> None:
    with db.write() as rows:
        for table in ("metric", "rung"):
            rows.run(f"DELETE FROM {table}")
    row_shapes.clear(db)


def of_groups(carried: list[CarriedJob]) -> list[str]:
    """The group of each job that has one."""
    return [each.job.group_id for each in carried if each.job.group_id]


@examples(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(scene=st.lists(row_shapes.members(), min_size=1, max_size=2))
def test_every_shape_of_row_arrives_as_it_was_or_is_refused(
    both: tuple[Database, Database], scene: list[Member]
) -> None:
    here, there = both
    clear(here)
    clear(there)
    row_shapes.store(here, scene)
    ended, others = jobs.split_ended(here, carried_jobs.order(here))
    assert not {*ended} & {*others}
    found = jobs.read_carried(here, ended)
    assert {*found} == {*ended}
    whole = [each for job in ended if isinstance(each := found[job], CarriedJob)]
    for each in found.values():
        assert isinstance(each, CarriedJob) or "\n" not in each.message
    members = Counter(of_groups(whole))
    groups = {group.id: group for group in jobs.read_groups(here, members)}
    if whole:
        ids = [each.id for each in whole]
        assert jobs.insert_carried(there, whole, groups, stored=ids) == ids
        assert jobs.read_carried(there, ids) == {each.id: each for each in whole}
        assert jobs.insert_carried(there, whole, groups, stored=[]) == []


def test_plain_rows_of_every_status_are_carried(both: tuple[Database, Database]) -> None:
    """None of them is refused: else the test above would say little."""
    here, there = both
    clear(here)
    clear(there)
    ids = row_shapes.store(here, row_shapes.plain_groups(sorted(TERMINAL))).jobs
    found = jobs.read_carried(here, ids)
    whole = [each for job in ids if isinstance(each := found[job], CarriedJob)]
    assert len(whole) == len(ids) == 126, found
    groups = {group.id: group for group in jobs.read_groups(here, Counter(of_groups(whole)))}
    assert jobs.insert_carried(there, whole, groups, stored=ids) == ids
    assert jobs.read_carried(there, ids) == found
