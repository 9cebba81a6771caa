"""Results on versions of an added dataset: ranked apart, and an older one is called wine@1."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import page_client as web
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, succeed
from helpers.report_jobs import gathered
from zoo_report import page, tiles

from zoo import jobs, settings
from zoo.errors import UsageError
from zoo.jobs import Database, Filter, NewDataset
from zoo.results import comparison
from zoo.results.leaderboard import leaderboard_rows

OLD, NEW = "a" * 64, "b" * 64


def add(db: Database, contents: str) -> int:
    place = f"datasets/{contents}"
    meta = {"kind": "table", "shape": [2], "counts": {"train": 1}, "class_names": ["a"]}
    meta |= {"name": "wine", "fingerprint": contents}
    new = NewDataset("wine", contents, meta, {"source": "csv:/x.csv"}, place, "0" * 64, 1)
    return jobs.add_dataset(db, new)[0].version


def ended(db: Database, version: int, accuracy: float) -> str:
    contents = {1: OLD, 2: NEW, 3: OLD}[version]
    spec = a_spec(dataset="wine", version=version, contents=contents, model="logistic")
    return succeed(db, [spec], accuracies=[accuracy], environment={"data": contents})


@pytest.fixture
def wine(home: Path, empty_file: Path) -> Iterator[tuple[Database, str]]:
    """A good result on the first version, and a second version without any result."""
    home.mkdir()
    shutil.copy(empty_file, home)
    db = jobs.connect()
    add(db, OLD)
    first = ended(db, 1, 0.99)
    assert [row.dataset_label for row in leaderboard_rows(db)] == ["wine"]
    add(db, NEW)
    yield db, first
    db.close()


def test_the_leaderboard_calls_an_older_version_by_its_number(
    wine: tuple[Database, str], home: Path
) -> None:
    db, old = wine
    (row,) = leaderboard_rows(db)
    assert (row.dataset_label, row.is_newest, row.contents_note) == ("wine@1", False, "older")
    new = ended(db, 2, 0.7)
    found = [(row.dataset_label, row.result.id) for row in leaderboard_rows(db)]
    assert found == [("wine", new), ("wine@1", old)]
    only = leaderboard_rows(db, Filter(datasets=["wine@1"]))
    assert [row.result.id for row in only] == [old]
    assert len(leaderboard_rows(db, Filter(datasets=["wine@2", "wine@1", "x*"]))) == 2
    zoo = Zoo(home)
    assert [line.split()[0] for line in zoo.run("leaderboard").stdout.splitlines()[1:]] == [
        "wine",
        "wine@1",
    ]
    assert "wine@1" in zoo.run("models", "logistic").stdout
    assert "on wine@1" in zoo.run("show", old).stdout
    assert len(zoo.json("jobs", "--dataset", "wine@1")) == 1
    # The contents of before are back: the name means them, and the old result is of the newest.
    add(db, OLD)
    assert {(row.dataset_label, row.result.id) for row in leaderboard_rows(db)} == {
        ("wine", old),
        ("wine@2", new),
    }


def test_best_is_of_the_newest_version_or_of_the_one_that_is_named(
    wine: tuple[Database, str],
) -> None:
    db, old = wine
    with pytest.raises(UsageError, match="on its newest contents"):
        jobs.find_reference(db, "@best:wine")
    assert jobs.find_reference(db, "@best:wine@1").id == old
    assert jobs.find_reference(db, "@best:wine@1/logistic").id == old
    new = ended(db, 2, 0.7)
    assert jobs.find_reference(db, "@best:wine").id == new
    assert jobs.find_reference(db, "@best:wine@2").id == new
    assert jobs.find_reference(db, "@best:wine@1").id == old
    with pytest.raises(UsageError, match="No training on 'wine@3' has succeeded"):
        jobs.find_reference(db, "@best:wine@3")


def test_results_on_two_versions_are_not_compared(wine: tuple[Database, str]) -> None:
    db, old = wine
    pair = [comparison.load_result(db, jobs.get(db, ref)) for ref in (old, ended(db, 2, 0.7))]
    notes = comparison.compare_pair(settings.load(), *pair).notes
    assert "not evaluated on the same images (data" in notes[0]


def test_the_report_keeps_versions_apart(wine: tuple[Database, str]) -> None:
    db, old = wine
    made = gathered(db, old, ended(db, 2, 0.7))
    found = [(tile.value, tile.mark) for tile in tiles.best_results(made)]
    assert found == [(0.7, ""), (0.99, "wine@1")]
    assert "wine@1" in page.render(made) and "wine@2" not in page.render(made)


def test_the_page_keeps_versions_apart(tmp_path: Path, empty_file: Path) -> None:
    zoo = Zoo(tmp_path / "home")
    zoo.home.mkdir()
    shutil.copy(empty_file, zoo.home)
    db = zoo.database()
    for version, contents, accuracy in ((1, OLD, 0.99), (2, NEW, 0.7)):
        add(db, contents)
        ended(db, version, accuracy)
    shown = web.page(zoo)
    text = shown.get("/leaderboard").text
    shown.close()
    zoo.close()
    assert text.count('title="wine@1"') == 1 and "wine@2" not in text
    assert text.index("0.7000") < text.index("0.9900")


def test_both_databases_know_the_newest_version(db: Database) -> None:
    add(db, OLD)
    first = ended(db, 1, 0.9)
    add(db, NEW)
    assert jobs.newest_contents(db) == {"wine": NEW}
    assert not [best for best in jobs.best(db) if best.is_newest]
    assert jobs.find_reference(db, "@best:wine@1").id == first
    assert jobs.listing(db, datasets=["wine@1"])[0].id == first
    jobs.remove_datasets(db, "wine", [2], lambda _: None)
    assert jobs.newest_contents(db) == {"wine": OLD}
    assert jobs.find_reference(db, "@best:wine").id == first
