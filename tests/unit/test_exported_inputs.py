"""Exported models of tables and of images of any size: each says how its inputs are prepared."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from helpers.added_contents import a_table, add
from helpers.trained_jobs import train
from PIL import Image
from sklearn.datasets import load_iris

from zoo import jobs, settings
from zoo.data.contents import Column
from zoo.data.readers import conversion
from zoo.errors import ArtifactError
from zoo.inference import export, model_card, predictor
from zoo.inference.export import Exported
from zoo.inference.predictor import LoadedModel
from zoo.jobs.environments import Environment
from zoo.plugins import registry

SIZE = Column(name="size", kind="category", categories=("big", "small"))
MEASURES = [
    Column(name="sepal", has_missing=True),
    *(Column(name=name) for name in ("width", "petal", "depth")),
]


@pytest.fixture(scope="module", autouse=True)
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home of its own for the jobs of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        registry.catalogue.cache_clear()
        yield
    registry.catalogue.cache_clear()


def loaded(job: str) -> LoadedModel:
    return predictor.load_trained(jobs.connect(), settings.load(), job)


@pytest.fixture(scope="module")
def flowers() -> LoadedModel:
    """A model of iris with a category and a missing number, imputed and standardized."""
    x, y = load_iris(return_X_y=True)
    values = np.column_stack([x, x[:, 2] < 2]).astype(float)
    values[::10, 0] = np.nan
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    splits = {"train": (values[::2], names[::2]), "test": (values[1::2], names[1::2])}
    meta = add("flowers", a_table([*MEASURES, SIZE], splits))
    return loaded(train("logistic", "flowers", meta.fingerprint, preprocess="impute,standardize"))


@pytest.fixture(scope="module")
def trees() -> LoadedModel:
    """A model whose file of skops has types that its reader has to name."""
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    splits = {"train": (x[::2], names[::2]), "test": (x[1::2], names[1::2])}
    meta = add("trees", a_table([Column(name=name) for name in "abcd"], splits))
    return loaded(train("random-forest", "trees", meta.fingerprint, params={"n_estimators": 2}))


@pytest.fixture(scope="module")
def flags() -> LoadedModel:
    """A model of images of 6 x 9 pixels in colour."""
    pixels = np.random.default_rng(1).integers(0, 100, (40, 6, 9, 3)).astype("uint8")
    pixels[::2, ..., 0] += 150
    labels = np.array(["red", "dark"] * 20)
    splits = {"train": (pixels[:30], labels[:30]), "test": (pixels[30:], labels[30:])}
    meta = add("flags", conversion.of_arrays(splits))
    return loaded(train("logistic", "flags", meta.fingerprint))


ROWS: list[dict[str, Any]] = [
    {"size": "big", "sepal": None, "width": 3.4, "petal": 5.2, "depth": 2.1},
    {"size": "small", "sepal": 5.0, "width": 3.1, "petal": 1.3, "depth": 0.2},
]


def test_an_npz_file_predicts_rows_as_they_come_bit_for_bit(
    flowers: LoadedModel, tmp_path: Path
) -> None:
    done = export.export_model(flowers, "npz", tmp_path / "m.npz")
    assert done.to_json()["check"] == {"rows": 75, "max_difference": 0.0}
    again = export.read_npz(tmp_path / "m.npz")
    expected = flowers.predict_proba(ROWS)
    found = again.predict_proba(ROWS)
    assert expected is not None and found is not None and (found == expected).all()
    assert [again.class_names[label] for label in again.predict(ROWS)] == ["virginica", "setosa"]


@pytest.mark.parametrize(
    "name", ["preprocessing/0-impute/../mean", "preprocessing/7-impute/mean", "preprocessing/x"]
)
def test_an_npz_file_with_other_steps_is_refused(
    name: str, flowers: LoadedModel, tmp_path: Path
) -> None:
    export.export_model(flowers, "npz", tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "more.npz", **arrays, **{name: np.zeros(3)})
    with pytest.raises(ArtifactError, match=f"array '{re.escape(name)}'"):
        export.read_npz(tmp_path / "more.npz")
    less = {key: array for key, array in arrays.items() if "impute" not in key}
    np.savez(tmp_path / "less.npz", **less)
    with pytest.raises(ArtifactError, match="impute has learned nothing"):
        export.read_npz(tmp_path / "less.npz")


@pytest.mark.slow
def test_an_onnx_file_says_how_to_prepare_its_inputs(flowers: LoadedModel, tmp_path: Path) -> None:
    export.export_model(flowers, "onnx", tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    told = session.get_modelmeta().custom_metadata_map
    names = json.loads(told["zoo.feature_names"])
    assert names == ["sepal", "width", "petal", "depth", "size=big", "size=small"]
    x = np.array(
        [
            [row[n] if n in row else float(f"size={row['size']}" == n) for n in names]
            for row in ROWS
        ],
        dtype="float64",
    )
    impute, standardize = json.loads(told["zoo.preprocessing"])
    assert (impute["name"], standardize["name"]) == ("impute", "standardize")
    x = np.where(np.isnan(x), impute["learned"]["mean"], x)
    x = (x - standardize["learned"]["mean"]) / standardize["learned"]["scale"]
    labels, _ = session.run(["label", "probabilities"], {"x": x.astype(flowers.model.dtype)})
    assert json.loads(told["zoo.class_names"]) == flowers.class_names
    assert labels.tolist() == flowers.predict(ROWS).tolist()
    assert json.loads(told["zoo.inputs"])["columns"][4]["categories"] == ["big", "small"]
    assert told["zoo.x"].startswith("float64 (n, 6): the features in their order")


def test_an_onnx_file_of_images_says_their_shape(flags: LoadedModel, tmp_path: Path) -> None:
    export.export_model(flags, "onnx", tmp_path / "m.onnx")
    told = onnxruntime.InferenceSession(tmp_path / "m.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(told["zoo.inputs"])["shape"] == [6, 9, 3]
    assert (
        "(n, 162): pixels from 0 to 1 (bytes / 255), row by row, the channels last"
        in (told["zoo.x"])
    )


def card(model: LoadedModel, done: Exported) -> str:
    return model_card.card_text(model, done, Environment(), "apache-2.0")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["skops", "onnx", "npz"])
@pytest.mark.parametrize("which", ["flowers", "flags"])
def test_the_code_of_the_card_runs_and_no_other_shape_is_named(
    which: str,
    format: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: LoadedModel = request.getfixturevalue(which)
    text = card(model, export.export_model(model, format, tmp_path / f"m.{format}"))
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    Image.new("RGB", (20, 20)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code[1], {})
    assert re.search(r"\[", said.getvalue())
    # As whole words: the id of the job and the hashes have any three digits in a row now and then.
    assert not re.search(r"\b(28 x 28|784)\b", text)


def test_the_code_of_the_card_trusts_the_types_of_the_file(
    trees: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = card(trees, export.export_model(trees, "skops", tmp_path / "m.skops"))
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None and "sklearn.tree._tree.Tree" in code[1]
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code[1], {})
    assert said.getvalue().strip() in ("[0]", "[1]", "[2]")


def test_the_card_of_a_table_names_its_columns_and_preprocessing(
    flowers: LoadedModel, tmp_path: Path
) -> None:
    text = card(flowers, export.export_model(flowers, "skops", tmp_path / "m.skops"))
    front, body = text.split("---\n", 2)[1:]
    told = yaml.safe_load(front)
    assert told["pipeline_tag"] == "tabular-classification"
    assert "| size | category | big, small |" in body and "| sepal | number |  |" in body
    learned = re.search(r"```json\n(.*?)\n```", body)
    assert learned and [*json.loads(learned[1])] == ["impute", "standardize"]
    assert "| class | precision | recall | f1 | rows |" in body
