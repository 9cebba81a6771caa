"""Trained models as files for other tools: each predicts the same, or is not kept."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from zoo_keras import onnx_graph
from zoo_keras.network import load_keras
from zoo_sklearn.logistic import Logistic

from zoo.data import datasets, preprocessing
from zoo.data.preprocessing import Fitted
from zoo.errors import ArtifactError, PluginError, UsageError, ZooError
from zoo.inference import export, model_card
from zoo.inference.predictor import LoadedModel
from zoo.jobs import Job
from zoo.jobs.environments import Environment
from zoo.param_values import read_pairs
from zoo.plugins import registry
from zoo.queue import submit
from zoo.queue.options import TrainingOptions
from zoo.training import run
from zoo.training.run import Recipe

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.usefixtures("module_home"),
]

FEW = 400
"""Images to train on: how good a model is does not matter here."""
LENET = {"epochs": 1, "activation": "relu", "pooling": "max", "distortion": 0.1, "dropout": 0.1}
EVERY: list[tuple[str, dict[str, Any], list[str]]] = [
    ("logistic", {}, ["skops", "onnx", "npz"]),
    ("logistic", {"loss": "hinge"}, ["skops", "onnx", "npz"]),
    ("knn", {}, ["skops", "onnx", "npz"]),
    ("svm", {"unit_length": True}, ["skops", "onnx", "npz"]),
    ("pairwise-linear", {}, ["skops", "onnx", "npz"]),
    ("pca-quadratic", {"components": 10}, ["skops", "onnx", "npz"]),
    ("rbf-network", {"centres": 50}, ["npz"]),
    ("boosted-stumps", {"max_iter": 5}, ["npz"]),
    ("dense-softmax", {"hidden": [16], "dropout": 0.1, "epochs": 1}, ["keras", "onnx", "npz"]),
    ("digit-detector", {"digit": 3, "epochs": 1}, ["keras", "onnx", "npz"]),
    ("lenet-1", {"epochs": 1}, ["keras", "onnx", "npz"]),
    ("lenet-5", LENET, ["keras", "onnx", "npz"]),
]


@cache
def trained(name: str, params: str = "{}") -> LoadedModel:
    """A model trained on digits, restored from its weights as `prediction.load` does."""
    kind = registry.model(name)
    data = preprocessing.prepare("digits", "train", kind.layout, kind.dtype)
    resolved = kind.Params.resolve(json.loads(params))
    model = kind(resolved, data.class_names, 42)
    model.fit(data.x[:FEW], model.labels(data.y[:FEW]), lambda *_, **__: None)
    recipe = Recipe(
        model=name,
        params=resolved.model_dump(mode="json"),
        class_names=list(data.class_names),
        seed=42,
        dataset="digits",
        fingerprint=data.fingerprint,
        versions={},
    )
    return LoadedModel(model, recipe, Fitted(), SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "params", "formats"), EVERY)
def test_every_format_of_every_model_predicts_the_same(
    name: str, params: dict[str, Any], formats: list[str], tmp_path: Path
) -> None:
    model = trained(name, json.dumps(params))
    assert export.export_formats(model) == formats
    for format in formats:
        done = export.export_model(model, format, tmp_path / "made" / f"m.{format}")
        assert done.checked == 360
        assert (done.difference or 0) < 1e-5
        assert done.size == done.path.stat().st_size > 1000


def test_a_format_that_a_model_lacks_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'rbf-network' cannot .* as onnx. It can as npz"):
        export.export_model(trained("rbf-network", '{"centres": 50}'), "onnx", tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"It can as skops, onnx, npz"):
        export.export_model(trained("logistic"), "h5", tmp_path / "m.h5")
    huber = trained("logistic", '{"loss": "modified_huber"}')
    with pytest.raises(UsageError, match="there is no ONNX"):
        export.export_model(huber, "onnx", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


class Careless(Logistic):
    """Exports another model than it is."""

    name = "careless"

    def export(self, format: str, path: Path) -> None:
        kept = self.classifier.coef_
        self.classifier.coef_ = kept[::-1].copy()
        super().export(format, path)
        self.classifier.coef_ = kept


def test_what_predicts_something_else_is_not_kept(tmp_path: Path) -> None:
    good = trained("logistic")
    model = Careless(good.model.params, good.recipe.class_names, 42)
    model.classifier = good.model.classifier  # type: ignore[attr-defined]
    for format in ("onnx", "skops"):
        with pytest.raises(PluginError, match=r"not the same: \d+ of 360 labels differ"):
            export.export_model(
                LoadedModel(model, good.recipe, Fitted(), good.job), format, tmp_path / "m"
            )
    assert list(tmp_path.iterdir()) == []


class Vague(Logistic):
    """Reads back probabilities that are no numbers."""

    name = "vague"

    def predict_exported(self, format: str, path: Path, x: Any) -> tuple[Any, Any]:
        labels, probabilities = super().predict_exported(format, path, x)
        return labels, probabilities * np.nan


def test_what_is_no_number_is_not_the_same(tmp_path: Path) -> None:
    good = trained("logistic")
    model = Vague(good.model.params, good.recipe.class_names, 42)
    model.classifier = good.model.classifier  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="0 of 360 labels differ; a probability differs by nan"):
        export.export_model(
            LoadedModel(model, good.recipe, Fitted(), good.job), "skops", tmp_path / "m"
        )


def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ZooError, match=r"needs onnx.* pip install 'zoo-keras\[export\]'"):
        export.export_model(
            trained("digit-detector", '{"digit": 3, "epochs": 1}'), "onnx", tmp_path / "m.onnx"
        )


def test_a_model_of_one_file_needs_the_libraries_of_its_base_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = trained("logistic")
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    # An index may have another distribution of its name.
    own = registry.Plugin("own", "own", source=str(tmp_path / "own.py"))
    monkeypatch.setitem(registry.catalogue().owners, "logistic", own)
    with pytest.raises(ZooError, match=r"needs skl2onnx.* pip install 'zoo-sklearn\[export\]'"):
        export.export_model(good, "onnx", tmp_path / "m.onnx")


def test_a_layer_or_activation_that_is_not_known_is_named() -> None:
    keras = load_keras()
    for layer, what in (
        (keras.layers.Dense(10, activation="gelu"), "activation gelu"),
        (keras.layers.LayerNormalization(), "layer LayerNormalization"),
    ):
        network = keras.Sequential([keras.Input((784,)), layer])
        with pytest.raises(PluginError, match=f"The {what} cannot be exported to ONNX"):
            onnx_graph.write(network, Path("none.onnx"))


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="cannot be written"):
        export.export_model(trained("logistic"), "npz", tmp_path / "file" / "m.npz")


def test_an_npz_file_is_a_model_again_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    good, path = trained("logistic"), tmp_path / "m.npz"
    export.export_model(good, "npz", path)
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert json.loads(str(arrays["recipe"]))["dataset"] == "digits"
    images = preprocessing.prepare("digits", "test", "flat", "float64").x
    assert (export.read_npz(path).predict(images) == good.model.predict(images)).all()
    np.savez(tmp_path / "short.npz", **{**arrays, "coef": arrays["coef"][:5]})
    np.savez(tmp_path / "bare.npz", coef=arrays["coef"])
    (tmp_path / "half.npz").write_bytes(path.read_bytes()[:5000])
    for name in ("short", "bare", "half"):
        with pytest.raises(ArtifactError):
            export.read_npz(tmp_path / f"{name}.npz")


AROUND = Environment.from_json(
    {
        "data": "d" * 64,
        "fingerprint": "f" * 64,
        "plugin": "zoo-sklearn 0.1.0",
        "code": {"sha256": "c" * 64},
        "machine": {"cpu": "one", "threads": 1, "system": "Linux"},
        "versions": {"numpy": "2.4.6"},
    }
)


def a_job(model: LoadedModel, **more: Any) -> Any:
    """The job of a model, as far as its card speaks of it."""
    classes = {name: dict.fromkeys(("precision", "recall", "f1"), 0.5) for name in "0123456789"}
    spec = {"seed": 7, "split": "test", "params": model.recipe.params, "preprocess": "deskew"}
    none = dict.fromkeys(Job.__dataclass_fields__)
    known = {
        "id": "a" * 32,
        "model": model.recipe.model,
        "dataset": "mnist",
        "spec": spec | {"params": spec["params"] | more, "changed": [*more]},
        "metrics": {
            "accuracy": 0.93,
            "loss": 0.25,
            "n_images": 10_000,
            "per_class": {name: each | {"support": 1000} for name, each in classes.items()},
        },
    }
    return Job(**(none | known))  # type: ignore[arg-type]


def a_card(model: LoadedModel, done: export.Exported, **changed: Any) -> str:
    job = a_job(model, **changed)
    return model_card.card_text(
        LoadedModel(model.model, model.recipe, Fitted(), job), done, AROUND, "apache-2.0"
    )


def test_the_card_begins_with_the_metadata_that_the_hub_reads(tmp_path: Path) -> None:
    done = export.export_model(trained("logistic"), "skops", tmp_path / "logistic.skops")
    _, front, body = a_card(trained("logistic"), done).split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "apache-2.0"
    assert told["library_name"] == "sklearn"
    assert told["datasets"] == ["ylecun/mnist"]
    assert "mnist-zoo" in told["tags"]
    (index,) = told["model-index"]
    (result,) = index["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"name": "mnist", "type": "ylecun/mnist", "split": "test"}
    assert result["metrics"] == [
        {"type": "accuracy", "value": 0.93, "name": "Accuracy"},
        {"type": "loss", "value": 0.25, "name": "Loss"},
    ]
    assert "Accuracy 0.9300, loss 0.2500 on 10000 images of mnist (test)." in body
    assert "| 3 | 0.5000 | 0.5000 | 0.5000 | 1000 |" in body
    assert done.sha256 in body


def test_the_command_of_the_card_trains_the_same_again(tmp_path: Path) -> None:
    changed = {"alpha": 0.01, "penalty": "l1", "tol": None, "fit_intercept": False}
    words = shlex.split(model_card.training_command(a_job(trained("logistic"), **changed)))
    assert words[:5] == ["zoo", "train", "logistic", "--dataset", "mnist"]
    assert words[5:9] == ["--seed", "7", "--preprocess", "deskew"]
    assert read_pairs(words[10::2]) == changed


@pytest.mark.parametrize(
    ("name", "params", "format"),
    [
        ("logistic", {}, "skops"),
        ("logistic", {}, "onnx"),
        ("logistic", {}, "npz"),
        ("lenet-1", {"epochs": 1}, "onnx"),
        ("lenet-1", {"epochs": 1}, "keras"),
    ],
)
def test_the_code_of_the_card_runs(
    name: str,
    params: dict[str, Any],
    format: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = trained(name, json.dumps(params))
    done = export.export_model(model, format, tmp_path / f"m.{format}")
    Image.new("L", (28, 28)).save(tmp_path / "picture.png")
    code = re.search(r"```python\n(.*?)```", a_card(model, done), re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    exec(code[1], {})
    assert re.search(r"\[[\d.]+", capsys.readouterr().out)


def test_the_card_does_not_tell_where_a_dataset_lies_on_somebodys_disk(tmp_path: Path) -> None:
    model = trained("logistic")
    done = export.export_model(model, "npz", tmp_path / "m.npz")
    job = dataclasses.replace(a_job(model), dataset="npz:/home/me/secret/own.npz")
    card = model_card.card_text(
        LoadedModel(model.model, model.recipe, Fitted(), job), done, AROUND, "mit"
    )
    assert "secret" not in card
    assert "npz:own.npz" in card
    assert 'license: "mit"' in card


@pytest.mark.parametrize("name", ["logistic", "dense-softmax"])
def test_labels_that_do_not_begin_with_0_are_exported_by_their_names(
    name: str, tmp_path: Path
) -> None:
    """As EMNIST's letters, 1 to 26: of a class that no image has, ONNX would know nothing."""
    raw = datasets.raw("digits")
    arrays = {
        f"{axis}_{split}": part if axis == "x" else part + 1
        for split in ("train", "test")
        for axis, part in zip("xy", raw.splits[split], strict=True)
    }
    np.savez(tmp_path / "shifted.npz", **arrays)
    spec = submit.training(name, {}, TrainingOptions(f"npz:{tmp_path / 'shifted.npz'}"))[0]
    (tmp_path / "job").mkdir()
    metrics = run.run_job(spec, tmp_path / "job", lambda *_, **__: None)
    names = [str(n) for n in range(1, 11)]
    assert metrics["classes"] == names and list(metrics["per_class"]) == names
    assert all(each["support"] for each in metrics["per_class"].values())
    recipe = run.read_recipe(tmp_path / "job")
    model = LoadedModel(run.restore(tmp_path / "job"), recipe, Fitted(), SimpleNamespace())  # type: ignore[arg-type]
    assert model.class_names == names
    done = export.export_model(model, "onnx", tmp_path / "model.onnx")
    assert done.checked == 360
    job = dataclasses.replace(a_job(model), metrics=metrics)
    text = model_card.card_text(
        LoadedModel(model.model, recipe, Fitted(), job), done, AROUND, "apache-2.0"
    )
    assert json.dumps(names) in text and "| 10 | " in text and "| 0 | " not in text
