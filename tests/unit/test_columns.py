"""Inputs for a trained model: columns, categories and classes are matched by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.added_contents import a_table, add
from sklearn.datasets import load_iris

from zoo.canonical_json import canonical
from zoo.data import columns, datasets, table_rows
from zoo.data.contents import Column, Inputs
from zoo.errors import UsageError
from zoo.inference import predictor
from zoo.job_spec import JobSpec
from zoo.plugins import registry
from zoo.training.run import run_job

PLUGIN = '''
"""A model for tables and images."""
import zoo


class Means(zoo.Model):
    name = "means"
    takes = ("image", "table")
    dtype = "float64"

    def fit(self, x, y, report):
        import numpy as np

        self.means = np.stack([x[y == c].mean(axis=0) for c in range(self.n_classes)])

    def predict_proba(self, x):
        import numpy as np

        far = ((x[:, None, :] - self.means[None]) ** 2).sum(axis=2)
        odds = np.exp(far.min(axis=1, keepdims=True) - far)
        return odds / odds.sum(axis=1, keepdims=True)

    def save(self, folder):
        import numpy as np

        np.save(folder / "means.npy", self.means)

    def load(self, folder):
        import numpy as np

        self.means = np.load(folder / "means.npy")


@zoo.hookimpl
def register_models(register):
    register(Means)
'''

SIZE = Column(name="size", kind="category", categories=("big", "small"))
MEASURES = [Column(name=name) for name in ("sepal", "width", "petal", "depth")]
NAMES = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture(scope="module", autouse=True)
def installation(module_home: Path) -> Iterator[None]:
    """An installation with the model above."""
    (module_home / "plugins").mkdir()
    (module_home / "plugins" / "means.py").write_text(PLUGIN)
    registry.catalogue.cache_clear()
    yield
    registry.catalogue.cache_clear()


def iris() -> tuple[np.ndarray, np.ndarray]:
    """Iris with a category: whether the petal is shorter than 2 cm."""
    x, y = load_iris(return_X_y=True)
    return np.column_stack([x, (x[:, 2] < 2).astype(float)]), NAMES[y]


def spec(contents: str, kind: str = "train", **given: Any) -> JobSpec:
    source = {"job": "0" * 32, "artifact": "a", "sha256": "0" * 64}
    asked = {"kind": kind, "model": "means", "params": {}, "dataset": "flowers"}
    asked |= {"contents": contents} | ({"source": source} if kind == "evaluate" else {}) | given
    return JobSpec.parse(canonical(asked))


def run(folder: Path, asked: JobSpec, source: Path | None = None) -> dict[str, Any]:
    folder.mkdir()
    return run_job(asked, folder, lambda *_, **__: None, source)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on iris, standardized."""
    x, y = iris()
    splits = {"train": (x[::2], y[::2]), "test": (x[1::2], y[1::2])}
    meta = add("flowers", a_table([*MEASURES, SIZE], splits))
    folder = tmp_path_factory.mktemp("trained") / "job"
    metrics = run(folder, spec(meta.fingerprint, preprocess="standardize"))
    assert 0.8 < metrics["accuracy"] < 1
    return folder


def predictions(folder: Path) -> np.ndarray:
    with np.load(folder / "predictions.npz", allow_pickle=False) as file:
        return np.asarray(file["probabilities"])


def test_columns_in_another_order_other_categories_and_more_columns_change_nothing(
    trained: Path, tmp_path: Path
) -> None:
    x, y = iris()
    mixed = [
        Column(name="petal"),
        Column(name="size", kind="category", categories=("huge", "small", "big")),
        Column(name="id"),
        *(MEASURES[place] for place in (3, 1, 0)),
    ]
    values = np.column_stack([x[:, 2], 2 - x[:, 4], np.arange(150), x[:, [3, 1, 0]]])
    meta = add("other", a_table(mixed, {"test": (values[1::2], y[1::2])}))
    asked = spec(meta.fingerprint, "evaluate", dataset="other", preprocess="standardize")
    run(tmp_path / "judged", asked, trained)
    assert (predictions(tmp_path / "judged") == predictions(trained)).all()


def test_a_test_split_alone_with_some_of_the_classes_is_judged(
    trained: Path, tmp_path: Path
) -> None:
    x, y = iris()
    meta = add("some", a_table([*MEASURES, SIZE], {"test": (x[51::2], y[51::2])}))
    assert meta.class_names == ("versicolor", "virginica")
    asked = spec(meta.fingerprint, "evaluate", dataset="some", preprocess="standardize")
    metrics = run(tmp_path / "judged", asked, trained)
    assert metrics["classes"] == NAMES.tolist()
    assert [each["support"] for each in metrics["per_class"].values()] == [0, 25, 25]
    assert (predictions(tmp_path / "judged") == predictions(trained)[25:]).all()


@pytest.mark.parametrize(
    ("names", "labels", "sentence"),
    [
        (["sepal", "width", "petal", "size"], NAMES, "'some' has no column 'depth'"),
        (["a", "b", "c", "d"], NAMES, "no column 'sepal', 'width', 'petal', 'depth', 'size'"),
        (["sepal", "width", "petal", "depth", "size"], ["lily"] * 3, "which have no lily"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    names: list[str], labels: list[str], sentence: str, trained: Path, tmp_path: Path
) -> None:
    table = a_table(
        [Column(name=name) for name in names], {"test": (np.ones((3, len(names))), labels)}
    )
    meta = add("some", table)
    asked = spec(meta.fingerprint, "evaluate", dataset="some", preprocess="standardize")
    with pytest.raises(UsageError, match=sentence):
        run(tmp_path / "judged", asked, trained)


def test_images_of_another_size_are_refused(trained: Path, tmp_path: Path) -> None:
    asked = spec("0" * 64, "evaluate", dataset="digits", preprocess="standardize")
    with pytest.raises(UsageError, match="trained on 5 columns, but 'digits' has 28 x 28 grey"):
        run(tmp_path / "judged", asked, trained)


def test_a_number_that_is_missing_is_refused_with_its_row(trained: Path, tmp_path: Path) -> None:
    x, y = iris()
    x[3, 1] = np.nan
    holes = [*MEASURES[:1], MEASURES[1].model_copy(update={"has_missing": True}), *MEASURES[2:]]
    meta = add("holes", a_table([*holes, SIZE], {"test": (x, y)}))
    asked = spec(meta.fingerprint, "evaluate", dataset="holes", preprocess="standardize")
    with pytest.raises(UsageError, match="Row 4 has no number in the column 'width'"):
        run(tmp_path / "judged", asked, trained)


def test_categories_that_the_training_did_not_have_are_missing_and_said(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = iris()
    tiny = SIZE.model_copy(update={"categories": ("big", "tiny")})
    meta = add("tiny", a_table([*MEASURES, tiny], {"test": (x, y)}))
    asked = spec(meta.fingerprint, "evaluate", dataset="tiny", preprocess="standardize")
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "judged", asked, trained)
    assert "The category 'tiny' of 'size' was not in the training: it counts as missing." in (
        caplog.messages
    )


def test_numbers_are_categories_by_their_text_and_categories_numbers() -> None:
    month = Column(name="month", kind="category", categories=("1", "2", "10"))
    given = np.array([[10.0], [2.0], [np.nan], [3.0]])
    found, notes = columns.recode(given, [Column(name="month")], [month])
    assert found.ravel().tolist() == [2, 1, -1, -1]
    assert notes == ["The category '3' of 'month' was not in the training: it counts as missing."]
    back, _ = columns.recode(np.array([[2.0], [0.0], [-1.0]]), [month], [Column(name="month")])
    assert back[:2].ravel().tolist() == [10, 1] and np.isnan(back[2, 0])
    texts = Column(name="month", kind="category", categories=("May",))
    with pytest.raises(UsageError, match="'month' holds 'May', but the model was trained on numb"):
        columns.recode(np.zeros((1, 1)), [texts], [Column(name="month")])


@pytest.mark.parametrize("phantom", [[], ["10"]])
def test_a_model_of_the_first_version_is_judged_and_predicts(
    phantom: list[str], tmp_path: Path
) -> None:
    """Its recipe has no inputs, and of EMNIST a class that no image had."""
    spec = {"kind": "train", "model": "means", "params": {}, "dataset": "digits"}
    run(tmp_path / "job", JobSpec.parse_object(spec))
    recipe = json.loads((tmp_path / "job" / "model.json").read_text())
    del recipe["inputs"]
    recipe["class_names"] += phantom
    (tmp_path / "job" / "model.json").write_text(json.dumps(recipe))
    weights = tmp_path / "job" / "weights" / "means.npy"
    if phantom:
        np.save(weights, np.vstack([np.load(weights), np.full((1, 784), 9.0)]))
    source = {"job": "0" * 32, "artifact": "a", "sha256": "0" * 64}
    judging = JobSpec.parse_object(spec | {"kind": "evaluate", "source": source})
    metrics = run(tmp_path / "judged", judging, tmp_path / "job")
    before = json.loads((tmp_path / "job" / "metrics.json").read_text())
    assert metrics["accuracy"] == before["accuracy"]
    assert metrics["classes"] == [*"0123456789", *phantom]
    images = datasets.raw("digits").splits["test"].inputs
    found = predictor.restore(tmp_path / "job").predict_proba(images)
    assert found is not None
    assert (found.astype("float32") == predictions(tmp_path / "judged")).all()


# --- rows from outside ---


def frame() -> pd.DataFrame:
    x, _ = iris()
    rows = pd.DataFrame(x[1::2, :4], columns=[column.name for column in MEASURES])
    rows["size"] = np.array(["big", "small"])[x[1::2, 4].astype(int)]
    return rows


def test_rows_in_any_form_are_predicted_as_the_job_did(trained: Path) -> None:
    model, expected = predictor.restore(trained), predictions(trained)
    rows = frame()
    mixed = rows.assign(note="seen").iloc[:, ::-1].astype({"size": "category"})
    forms = [
        rows,
        mixed,
        rows.astype({"sepal": "string"}),
        rows.convert_dtypes(),
        rows.to_dict("records"),
        rows.to_dict("list"),
        rows.to_numpy(object),
        rows.to_numpy(object).tolist(),
    ]
    for form in forms:
        found = model.predict_proba(form)
        assert found is not None and (found.astype("float32") == expected).all()
    for row in (rows.iloc[7], rows.iloc[7].to_dict(), rows.iloc[7].tolist()):
        found = model.predict_proba(row)
        assert found is not None and (found.astype("float32") == expected[7:8]).all()
    assert model.predict([]).tolist() == model.predict(rows[:0]).tolist() == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": None}, "Row 1 has no number in the column 'width'"),
        ({"width": "wide"}, "'width' holds 'wide' in row 1, but the model was trained on numbers"),
        ({"width": np.inf}, "'width' holds 'inf' in row 1"),
    ],
)
def test_what_is_no_number_is_refused_by_column_and_row(
    change: dict[str, Any], sentence: str, trained: Path
) -> None:
    row = frame().iloc[0].to_dict() | change
    with pytest.raises(UsageError, match=sentence):
        predictor.restore(trained).predict([row])


def test_what_is_no_table_is_refused(trained: Path) -> None:
    model = predictor.restore(trained)
    for given in (3, np.zeros((2, 4)), [[1.0, 2.0]], {"sepal": [1.0], "width": [1.0, 2.0]}):
        with pytest.raises(UsageError, match=r"cannot be read as a table.* \(n, 5\)"):
            model.predict(given)
    with pytest.raises(UsageError, match="The table has no column 'petal'"):
        model.predict(frame().drop(columns="petal"))
    with pytest.raises(UsageError, match="two columns 'petal'"):
        model.predict(pd.concat([frame(), frame()[["petal"]]], axis=1))


def test_a_category_that_is_new_or_missing_is_warned_of_or_not(trained: Path) -> None:
    model, rows = predictor.restore(trained), frame()[:2]
    with pytest.warns(UserWarning, match="'tiny' of 'size' was not in the training"):
        new = model.predict_proba(rows.assign(size=["tiny", "big"]))
    missing = model.predict_proba(rows.assign(size=[None, "big"]))
    assert new is not None and missing is not None and (new == missing).all()


def test_booleans_and_whole_numbers_match_categories_by_their_text() -> None:
    wanted = Inputs(
        kind="table",
        shape=(2,),
        dtype="float64",
        columns=(
            Column(name="yes", kind="category", categories=("false", "true")),
            Column(name="month", kind="category", categories=("1", "2")),
        ),
    )
    rows = pd.DataFrame({"month": [2.0, None, 1.0], "yes": [True, False, True]})
    values, notes = table_rows.values_of(table_rows.columns_of(rows, wanted), wanted)
    assert values.tolist() == [[1, 1], [0, -1], [1, 0]] and notes == []
