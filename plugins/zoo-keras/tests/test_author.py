"""The plugin of the README: what an author of a network writes, and what comes with it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_keras import progress

from zoo.data.preprocessing import prepare
from zoo.job_spec import JobSpec
from zoo.plugins import registry
from zoo.testing import checks
from zoo.testing.checks import fit_arguments
from zoo.testing.checks.fixtures import Bench
from zoo.training import checkpoints
from zoo.training.checkpoints import Place
from zoo.training.run import restore, run_job

pytestmark = pytest.mark.tensorflow
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def plugin(home: Path) -> Path:
    """The plugin's file, where Zoo looks for it."""
    (text,) = re.findall("```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    code = [line for line in text.splitlines() if line.strip()]
    assert len(code) <= 30
    file = home / "plugins" / "noisy.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    registry.catalogue.cache_clear()
    assert not registry.broken()
    return file


def test_its_file_imports_no_framework(plugin: Path) -> None:
    heavy = "{'keras', 'tensorflow', 'numpy'}"
    code = f"import sys, runpy; runpy.run_path(sys.argv[1]); print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code, plugin], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.slow
@pytest.mark.usefixtures("plugin")
def test_it_keeps_the_contract() -> None:
    bench = Bench(registry.model("noisy"), {"epochs": 2, "width": 16})
    # Validation rows, weights and a kill are in the next test, with whole jobs.
    chosen = [each for each in checks.ALL if each.__module__ != fit_arguments.__name__]
    results = [checks.run(each, bench) for each in chosen]
    assert {each.status for each in results} <= {"passed", "skipped"}, results


class Killed(Exception):
    """Stands for the end of the process."""


class Report:
    """Raises at one report of the training."""

    def __init__(self, dies_at: int = 0) -> None:
        self.left = dies_at

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        self.left -= unit in ("batch", "epoch")
        if self.left == 0 and unit in ("batch", "epoch"):
            raise Killed

    def done(self, why: str) -> None:
        pass


def by_onnx(path: Path, x: Any) -> Any:
    """The probabilities of the model in a file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"x": x})[0]


@pytest.mark.usefixtures("plugin")
def test_it_stops_early_goes_on_after_a_kill_and_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "MAX_SHARE", 1e9)
    params = {
        "epochs": 30,
        "batch_size": 600,
        "patience": 1,
        "optimizer": "adam",
        "learning_rate": 0.1,
    }
    spec = JobSpec.model_validate(
        {"kind": "train", "model": "noisy", "dataset": "digits", "params": params}
        | {"validation": 0.1, "class_weight": "balanced"}
    )
    for name in ("whole", "killed", "resumed", "checkpoints"):
        (tmp_path / name).mkdir()
    expected = run_job(spec, tmp_path / "whole", Report())
    assert expected["ended_early"].startswith("no better for 1 epoch")
    saved = tmp_path / "checkpoints"
    with pytest.raises(Killed):
        run_job(spec, tmp_path / "killed", Report(5), checkpoints=Place(saved, seconds=0))
    newest = max(saved.iterdir(), key=lambda each: int(each.name))
    place = Place(tmp_path / "killed", newest, seconds=3600)
    found = run_job(spec, tmp_path / "resumed", Report(), checkpoints=place)
    for name in ("accuracy", "loss", "ended_early", "val_loss", "train_loss"):
        assert found[name] == expected[name]
    arrays = [np.load(tmp_path / name / "weights" / "weights.npz") for name in ("whole", "resumed")]
    assert arrays[0].files == arrays[1].files
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0].files)
    model, x = restore(tmp_path / "resumed"), prepare("digits", "test", "flat", "float32").x
    for format in ("onnx", "keras"):
        model.export(format, tmp_path / f"model.{format}")
    read_back = model.predict_exported("keras", tmp_path / "model.keras", x)[1]
    assert np.array_equal(read_back, model.predict_proba(x))
    assert np.allclose(by_onnx(tmp_path / "model.onnx", x), read_back, atol=1e-5)


@pytest.mark.parametrize(
    "activation", ["elu", "selu", "silu", "softplus", "leaky_relu", "softsign"]
)
def test_usual_layers_are_exported(tmp_path: Path, activation: str) -> None:
    from keras import Input, Sequential, layers
    from zoo_keras import onnx_graph

    network: Any = Sequential(
        [
            Input((12, 10, 3)),
            layers.Rescaling(2.0, offset=-1),
            layers.Conv2D(6, 3, groups=3, activation=activation),
            layers.BatchNormalization(scale=False, center=False),
            layers.Conv2D(4, 3, dilation_rate=2, use_bias=False),
            layers.LeakyReLU(),
            layers.SpatialDropout2D(0.5),
            layers.GlobalMaxPooling2D(),
            layers.Dense(8, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(5, 12, 10, 3)).astype("float32")
    onnx_graph.write(network, tmp_path / "model.onnx")
    found = by_onnx(tmp_path / "model.onnx", x)
    assert np.allclose(found, np.asarray(network(x, training=False)), atol=1e-5)
