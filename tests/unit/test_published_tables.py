"""Recipes: the tables that Zoo brings, anybody's own, and `zoo reproduce`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.published_table import TABLE

from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.results import published_tables

PAGE = (Path(__file__).parents[2] / "docs" / "classics.md").read_text()


def written(folder: Path, text: str = TABLE) -> str:
    file = folder / "two.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("name", published_tables.table_names())
def test_every_row_of_a_table_that_zoo_brings_can_be_submitted(name: str) -> None:
    table = published_tables.load_table(name)
    specs = published_tables.table_specs(name, table, table.rows)
    assert all(spec == JobSpec.parse(spec.dump()) for spec in specs)
    for row, spec in zip(table.rows, specs, strict=True):
        assert spec.params.items() >= row.params.items()
        assert spec.published is not None
        assert (spec.published.error, spec.preprocess) == (row.published, row.preprocess)
        assert row.seconds is not None


def test_the_classics_have_the_rows_and_the_numbers_of_the_page() -> None:
    rows = published_tables.load_table("mnist-classics").rows
    published = [12.0, 8.4, 7.6, 5.0, 2.4, 3.3, 3.6, 1.4, 1.1, 7.7, 4.7, 1.6, 3.05, 1.53]
    assert [row.published for row in rows] == [*published, 1.7, 1.1, 0.95, 0.8]


def test_globs_choose_rows_and_one_that_matches_none_is_refused() -> None:
    table = published_tables.load_table("mnist-classics")
    names = [row.name for row in published_tables.select_rows(table, ["lenet-?", "knn"])]
    assert names == ["knn", "lenet-1", "lenet-4", "lenet-5"]
    with pytest.raises(UsageError, match="No row is called 'lenet-6'"):
        published_tables.select_rows(table, ["knn", "lenet-6"])


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('"knn"', '"kmn"', "The row near: No model is called 'kmn'"),
        ("n_neighbors", "neighbors", "The row near: No param is called 'neighbors'"),
        ("n_neighbors = 1", "n_neighbors = 0", "The row near: The param n_neighbors=0 is refused"),
        ('"deskew"', '"deskw"', "The row far: No preprocessing step is called .deskw."),
        (
            "n_neighbors = 1 }",
            'n_neighbors = 1 }\nclass_weight = "balanced"',
            "The row near: The model 'knn' cannot weigh",
        ),
        ("seconds = 7", "validation = 2.0", "two.toml is refused: row.1.validation"),
        ("published = 5.0", "published = 500.0", "two.toml is refused: row.0.published"),
        ("seconds = 7", "second = 7", "two.toml is refused: row.1.second"),
        ('"far"', '"near"', "two.toml has two rows of the name near"),
        ("title = ", "title ", "two.toml is not TOML"),
        ("published = 5.0", f"published = {'9' * 5000}", "two.toml is not TOML"),
        ("published = 5.0", f"published = {'[' * 5000}", "two.toml is not TOML"),
        ("title = ", "#" * 2**20 + "\ntitle = ", "two.toml cannot be read: it is larger than 1 MB"),
    ],
)
def test_a_table_with_an_error_is_refused_in_a_sentence(
    tmp_path: Path, before: str, after: str, sentence: str
) -> None:
    file = written(tmp_path, TABLE.replace(before, after))
    with pytest.raises(UsageError, match=sentence):
        published_tables.table_specs(file, table := published_tables.load_table(file), table.rows)


def test_a_row_may_hold_out_rows_to_choose_by(tmp_path: Path) -> None:
    table = published_tables.load_table(
        written(tmp_path, TABLE.replace("seconds = 7", "validation = 0.1"))
    )
    specs = published_tables.table_specs("two.toml", table, table.rows)
    assert [spec.validation for spec in specs] == [None, 0.1]


def test_a_table_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        published_tables.load_table("nowhere.toml")
    with pytest.raises(UsageError, match="No table is called 'mnist-clasics'"):
        published_tables.load_table("mnist-clasics")


def test_the_table_on_the_page_can_be_submitted(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.S)
    file = written(tmp_path, block)
    table = published_tables.load_table(file)
    assert [spec.model for spec in published_tables.table_specs(file, table, table.rows)] == [
        "knn",
        "logistic",
    ]


def test_the_page_has_each_row_of_the_classics_with_its_recipe() -> None:
    for row in published_tables.load_table("mnist-classics").rows:
        params = [
            f"{name}={value if isinstance(value, str) else json.dumps(value)}"
            for name, value in row.params.items()
        ]
        recipe = " ".join([row.model, *params])
        line = (
            rf"\| {re.escape(row.title)} \| `{row.name}` \| {row.preprocess} \| {row.published:g} "
            rf"\| \d+\.\d\d \| \d+ \| `{re.escape(recipe)}` \|"
        )
        assert re.search(line, PAGE), row.name
