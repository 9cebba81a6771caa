"""Preprocessing steps: chains, what they learn and from which rows, and steps of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zoo.data import contents, incoming, preprocessing, steps
from zoo.data.contents import Column
from zoo.data.incoming import Incoming
from zoo.errors import ArtifactError, PluginError, UsageError
from zoo.job_spec import JobSpec
from zoo.plugins import registry
from zoo.training import run

PLUGIN = '''
"""A model that records the rows that it was given, and steps, sound and broken."""
import numpy as np

import zoo


class Recorder(zoo.Model):
    name = "recorder"
    takes = ("table", "image")
    dtype = "float64"

    def fit(self, x, y, report):
        self.x = x

    def predict_proba(self, x):
        self.seen = x
        return np.eye(self.n_classes)[np.zeros(len(x), int)]

    def save(self, folder):
        np.save(folder / "x.npy", self.x)

    def load(self, folder):
        self.x = np.load(folder / "x.npy")


class Largest(zoo.Step):
    """Replace each value by the largest of its feature."""
    name = "largest"

    def fit(self, x):
        return {"most": x.max(axis=0)}

    def apply(self, x, learned):
        return np.broadcast_to(learned["most"], x.shape).copy()


class Halve(zoo.Step):
    name = "halve"
    learns = False

    def apply(self, x, learned):
        return x / 2


class Narrow(zoo.Step):
    name = "narrow"

    def fit(self, x):
        return {}

    def apply(self, x, learned):
        return x[:, :1]


class Texts(zoo.Step):
    name = "texts"

    def fit(self, x):
        return {"names": np.array(["a"])}


class Unnamed(zoo.Step):
    name = "unnamed"

    def fit(self, x):
        return [x]


@zoo.hookimpl
def register_models(register):
    register(Recorder)


@zoo.hookimpl
def register_preprocessing(register):
    for each in (Largest, Halve, Narrow, Texts, Unnamed):
        register(each)
'''


@pytest.fixture(autouse=True)
def plugin(home: Path) -> None:
    (home / "plugins").mkdir(parents=True, exist_ok=True)
    (home / "plugins" / "recording.py").write_text(PLUGIN)
    registry.catalogue.cache_clear()


def add(values: Any, labels: Any, test: Any = None) -> str:
    """Keep a table of numbers among the added datasets; returns its fingerprint."""
    from zoo.data import datasets

    rows = {"train": (values, labels), "test": test or (values[:10], labels[:10])}
    given = Incoming(
        "table",
        values.shape[1:],
        {split: each for split, (_, each) in rows.items()},
        {split: (lambda found=found: [found]) for split, (found, _) in rows.items()},
        "float64",
        tuple(
            Column(name=f"c{n}", has_missing=bool(np.isnan(values[:, n]).any()))
            for n in range(values.shape[1])
        ),
    )
    folder = datasets.added_folder("new")
    folder.mkdir(parents=True, exist_ok=True)
    meta = incoming.write(folder, "mine", given)
    folder.rename(datasets.added_folder(meta.fingerprint))
    return meta.fingerprint


def spec(contents: str, preprocess: str, fold: Mapping[str, int] | None = None) -> JobSpec:
    values = {"kind": "train", "model": "recorder", "params": {}, "dataset": "mine", "version": 1}
    return JobSpec.parse_object(
        values | {"contents": contents, "preprocess": preprocess, "fold": fold}
    )


def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    """Take a report."""


def trained_rows(tmp_path: Path, given: JobSpec) -> Any:
    """Run a job; returns the rows that the model was given."""
    tmp_path.mkdir(exist_ok=True)
    run.run_job(given, tmp_path, report)
    return np.load(tmp_path / "weights" / "x.npy")


IRIS, SPECIES = load_iris(return_X_y=True)


def test_a_fold_is_standardized_by_its_own_training_rows(tmp_path: Path) -> None:
    stored = add(IRIS, SPECIES)
    for index, (train, _) in enumerate(StratifiedKFold(5).split(IRIS, SPECIES)):
        job = spec(stored, "standardize", {"k": 5, "index": index})
        found = trained_rows(tmp_path / str(index), job)
        assert np.array_equal(found, StandardScaler().fit_transform(IRIS[train]))


def test_a_value_of_the_held_out_rows_reaches_no_step(tmp_path: Path) -> None:
    # The largest value of each fold betrays which rows were held out.
    values = np.arange(50.0)[:, None]
    labels = np.tile([0, 1], 25)
    stored = add(values, labels)
    for index, (train, _) in enumerate(StratifiedKFold(5).split(values, labels)):
        job = spec(stored, "largest", {"k": 5, "index": index})
        found = trained_rows(tmp_path / str(index), job)
        assert set(found.ravel()) == {values[train].max()}


def test_missing_numbers_are_filled_in_and_scaled_as_scikit_learn_does(tmp_path: Path) -> None:
    values = IRIS.copy()
    values[::7, 1] = np.nan
    pipeline = make_pipeline(SimpleImputer(), StandardScaler())
    found = trained_rows(tmp_path, spec(add(values, SPECIES), "impute,standardize"))
    assert np.array_equal(found, pipeline.fit_transform(values))


def test_missing_numbers_are_refused_with_the_step_that_helps(tmp_path: Path) -> None:
    values = IRIS.copy()
    values[3, 2] = np.nan
    with pytest.raises(UsageError, match="takes no missing numbers, but the column 'c2'") as caught:
        trained_rows(tmp_path, spec(add(values, SPECIES), "standardize"))
    assert "--preprocess impute,standardize" in str(caught.value)


def test_a_trained_model_applies_what_its_steps_have_learned(tmp_path: Path) -> None:
    trained_rows(tmp_path, spec(add(IRIS, SPECIES), "standardize"))
    fitted, recipe = run.restore_steps(tmp_path), run.read_recipe(tmp_path)
    model = run.restore(tmp_path)
    found = preprocessing.model_input(IRIS[:9], recipe.inputs, model, recipe.preprocess, fitted)
    assert np.array_equal(found, StandardScaler().fit(IRIS).transform(IRIS[:9]))


@pytest.mark.parametrize("damage", ["cut", "removed", "emptied"])
def test_damaged_steps_of_a_trained_model_are_an_error_in_one_sentence(
    tmp_path: Path, damage: str
) -> None:
    trained_rows(tmp_path, spec(add(IRIS, SPECIES), "standardize"))
    (file,) = (tmp_path / run.STEPS).iterdir()
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:50] if damage == "cut" else b"")
    with pytest.raises(ArtifactError, match="cannot be read"):
        run.restore_steps(tmp_path)


@pytest.mark.parametrize(
    ("preprocess", "sentence"),
    [
        ("standard", "No preprocessing step is called 'standard'"),
        ("impute,impute", "stands twice"),
        ("none,impute", "No preprocessing step is called 'none'"),
    ],
)
def test_a_chain_that_makes_no_sense_is_refused(preprocess: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        steps.chain(preprocess)


def test_a_step_that_learns_nothing_is_applied_once_per_machine() -> None:
    once, learning = steps.split_chain("halve,standardize,impute")
    assert (once, [step.name for step in learning]) == ("halve", ["standardize", "impute"])
    # After a step that learns, it changes what that one returned.
    once, learning = steps.split_chain("standardize,halve")
    assert (once, [step.name for step in learning]) == ("none", ["standardize", "halve"])


def test_a_step_of_a_plugin_changes_the_prepared_rows(tmp_path: Path) -> None:
    found = trained_rows(tmp_path, spec(add(IRIS, SPECIES), "halve"))
    assert np.array_equal(found, IRIS / 2)


def test_a_step_that_takes_no_tables_is_refused_for_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'deskew' takes no tables, but 'mine' has 4 columns"):
        trained_rows(tmp_path, spec(add(IRIS, SPECIES), "deskew"))


@pytest.mark.parametrize("step", ["narrow", "texts", "unnamed"])
def test_a_step_that_breaks_its_contract_is_named(tmp_path: Path, step: str) -> None:
    with pytest.raises(PluginError, match=f"The preprocessing step '{step}'"):
        trained_rows(tmp_path, spec(add(IRIS, SPECIES), step))


NUMBERS = arrays.arrays(
    "float64",
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6)),
)


@given(NUMBERS)
def test_steps_equal_scikit_learn_on_any_numbers(values: Any) -> None:
    chain = [steps.Impute(), steps.Standardize()]
    learned, found = steps.fit(chain, values)
    pipeline = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    assert np.array_equal(found, pipeline.fit_transform(values))
    assert np.array_equal(steps.apply(chain, learned, values), pipeline.transform(values))


def test_categories_are_one_hot_with_a_feature_for_missing_ones() -> None:
    columns = [
        Column(name="n"),
        Column(name="kind", kind="category", categories=("a", "b"), has_missing=True),
        Column(name="sex", kind="category", categories=("f", "m")),
    ]
    values = np.array([[1.5, 0, 1], [2.5, -1, -1]])
    assert contents.encode(values, columns).tolist() == [[1.5, 1, 0, 0, 0, 1], [2.5, 0, 0, 1, 0, 0]]
    assert [n for c in columns for n in c.features] == [
        *("n", "kind=a", "kind=b", "kind=missing", "sex=f", "sex=m")
    ]
