"""The PyTorch models: the contract, plain PyTorch beside, exports, damaged weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_sample_images

torch = pytest.importorskip("torch", reason="PyTorch is not here: make torch")
pytest.importorskip("zoo_torch", reason="zoo-torch is not here: make torch")

from zoo_torch import TorchModel, tensor_files  # noqa: E402
from zoo_torch.cnn import Cnn  # noqa: E402
from zoo_torch.mlp import Mlp  # noqa: E402
from zoo_torch.pytorch import as_tensor  # noqa: E402

from zoo.data.preprocessing import prepare  # noqa: E402
from zoo.errors import ArtifactError, PluginError, UsageError  # noqa: E402
from zoo.plugins.registry import load_file  # noqa: E402
from zoo.testing import check_model, parametrize_with_checks  # noqa: E402

pytestmark = pytest.mark.xdist_group("torch")  # each process that imports it takes seconds for that
NAMES = list("0123456789")
FAST = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02}
README = Path(__file__).parents[1] / "README.md"


def ignore(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    pass


@parametrize_with_checks(
    [(Mlp, FAST | {"hidden": [8]}), (Cnn, FAST | {"maps": [2], "batch_size": 8})]
)
def test_the_networks_keep_the_contract(check: Any) -> None:
    check()


def test_the_model_of_the_readme_is_short_and_keeps_the_contract(tmp_path: Path) -> None:
    (text,) = re.findall("```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert text.count("\n") <= 30
    (tmp_path / "wide.py").write_text(text)
    model = load_file(tmp_path / "wide.py").Wide
    results = check_model(model, FAST | {"width": 8})
    assert [each.check for each in results if each.status != "passed"] == []
    # What batch normalization has seen is exported, too.
    x, y = digits(64)
    made = new(model, x, NAMES, width=8, **FAST)
    made.fit(x, y, ignore)
    found = exported(made, x, tmp_path / "model.onnx")[1]
    assert np.allclose(found, made.predict_proba(x), atol=1e-5)


def patches(side: int, *, grey: bool = False) -> tuple[Any, Any]:
    """Parts of scikit-learn's two photographs, scaled, and which of the two each is from."""
    found, labels = [], []
    for label, photograph in enumerate(load_sample_images().images):
        for top in range(0, 400, 40):
            for left in range(0, 600, 60):
                found.append(photograph[top : top + side, left : left + side] / 255.0)
                labels.append(label)
    order = np.random.default_rng(0).permutation(len(labels))
    x = np.array(found, dtype="float32")[order]
    return (x.mean(axis=3) if grey else x), np.array(labels)[order]


def new(kind: type[TorchModel], x: Any, names: Sequence[str], **params: Any) -> TorchModel:
    model = kind(kind.Params.resolve(params), names, 42)
    model.input_shape = x.shape[1:]
    return model


def digits(n: int, split: str = "train") -> tuple[Any, Any]:
    x, y, *_ = prepare("digits", split, "flat", "float32")
    return x[:n], y[:n]


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def exported(model: TorchModel, x: Any, path: Path) -> tuple[Any, Any]:
    """Labels and probabilities of the model in ONNX."""
    import onnxruntime

    model.export("onnx", path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(["label", "probabilities"], {"x": x})
    return labels, probabilities


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_the_cnn_learns_photographs_and_comes_back(tmp_path: Path, grey: bool) -> None:
    x, y = patches(16, grey=grey)
    params = {"maps": [8], "epochs": 6, "learning_rate": 0.02, "batch_size": 20}
    model = new(Cnn, x, ("china", "flower"), **params)
    model.fit(x, y, ignore)
    found = model.predict_proba(x)
    assert (found.argmax(axis=1) == y).mean() > (0.6 if grey else 0.8)
    (tmp_path / "weights").mkdir()
    model.save(tmp_path / "weights")
    loaded = new(Cnn, x, ("china", "flower"), **params)
    loaded.load(tmp_path / "weights")
    assert np.array_equal(loaded.predict_proba(x), found)
    labels, probabilities = exported(model, x, tmp_path / "model.onnx")
    assert np.allclose(probabilities, found, atol=1e-5)
    assert np.array_equal(labels, found.argmax(axis=1))


def test_a_table_is_learned_and_exported(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    x = x.astype("float32")
    model = new(
        Mlp,
        x,
        ("setosa", "versicolor", "virginica"),
        epochs=40,
        hidden=[16],
        dropout=0.1,
        learning_rate=0.02,
    )
    model.fit(x, y, ignore)
    found = model.predict_proba(x)
    assert (found.argmax(axis=1) == y).mean() > 0.9
    assert np.allclose(exported(model, x, tmp_path / "model.onnx")[1], found, atol=1e-5)
    assert model.weight_images() is None


def plain(x: Any, y: Any, weights: Any, epochs: int, batch_size: int) -> Any:
    """Training without the zoo, as one writes it by hand."""
    torch.manual_seed(42)
    network = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 8), torch.nn.ReLU(), torch.nn.Linear(8, 10)
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-4)
    steps = -(-len(x) // batch_size) * epochs
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(42)
    rows = torch.arange(len(x))
    for _ in range(epochs):
        order = rows[torch.randperm(len(x), generator=generator)]
        for chosen in order.split(batch_size):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                network(x[chosen]), y[chosen], reduction="none"
            )
            (loss * weights[chosen]).mean().backward()
            optimizer.step()
            scheduler.step()
    return network


@pytest.mark.parametrize("is_weighted", [False, True], ids=["alike", "weighted"])
def test_a_training_is_that_of_plain_pytorch_to_the_last_bit(is_weighted: bool) -> None:
    x, y = digits(200)
    weights = np.random.default_rng(0).random(len(y)) if is_weighted else np.ones(len(y))
    tensors = (torch.tensor(x), torch.tensor(y), torch.tensor(weights, dtype=torch.float32))
    with torch.random.fork_rng():
        expected = plain(*tensors, epochs=2, batch_size=32)
    given = {"optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.9, "weight_decay": 1e-4}
    model = new(Mlp, x, NAMES, epochs=2, batch_size=32, hidden=[8], schedule="cosine", **given)
    model.fit(x, y, ignore, sample_weight=weights if is_weighted else None)
    assert same(model.network.state_dict(), expected.state_dict())


def test_pytorch_is_as_it_was_after_a_training() -> None:
    x, y = digits(64)
    state = torch.get_rng_state()
    model = new(Mlp, x, NAMES, dropout=0.5, **FAST)
    model.fit(x, y, ignore)
    model.predict_proba(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_last_batch_of_one_row_joins_the_one_before() -> None:
    x, y = digits(33)
    batches = []

    class Counting(Mlp):
        def losses(self, outputs: Any, y: Any) -> Any:
            batches.append(len(y))
            return super().losses(outputs, y)

    new(Counting, x, NAMES, epochs=1, batch_size=16).fit(x, y, ignore)
    assert batches == [16, 17]


def test_without_hidden_layers_the_weights_are_images() -> None:
    x, y = digits(64)
    model = new(Mlp, x, NAMES, hidden=[], **FAST)
    model.fit(x, y, ignore)
    images = model.weight_images()
    assert images is not None and images.shape == (10, 784)
    scores = np.exp(x @ images.T + model.network[-1].bias.detach().numpy())
    expected = model.predict_proba(x)
    assert np.allclose(scores / scores.sum(axis=1, keepdims=True), expected, atol=1e-5)
    assert model.parameters() == 785 * 10


def test_the_weights_of_another_module_are_refused(tmp_path: Path) -> None:
    x, y = digits(64)
    model = new(Mlp, x, NAMES, hidden=[8], **FAST)
    model.fit(x, y, ignore)
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    with pytest.raises(ArtifactError, match=r"'0.weight' as torch.float32 \(8, 784\)"):
        new(Mlp, x, NAMES, hidden=[9]).load(tmp_path)
    with pytest.raises(ArtifactError, match="of another module"):
        new(Mlp, x, NAMES, hidden=[8, 8]).load(tmp_path)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="cannot be read"):
        new(Mlp, x, NAMES, hidden=[8]).load(tmp_path)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"optimizer": "adm"}, "optimizer='adm' is refused"),
        ({"momentum": 0.9}, "The optimizer adam has no param momentum"),
        ({"patience": -1}, "patience=-1 is refused"),
        ({"hidden": [0]}, r"hidden\.0=0 is refused"),
    ],
)
def test_bad_params_are_refused_in_a_sentence(params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Mlp.Params.resolve(params)


def test_early_stopping_without_validation_rows_is_refused() -> None:
    x, y = digits(8)
    with pytest.raises(UsageError, match="patience=3 needs validation rows"):
        new(Mlp, x, NAMES, patience=3).fit(x, y, ignore)


def test_read_only_inputs_become_tensors_on_the_same_memory() -> None:
    x = np.arange(6, dtype="float32").reshape(2, 3)
    x.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = as_tensor(x)
    assert found.data_ptr() == x.ctypes.data


def test_nested_values_are_kept_without_a_pickle(tmp_path: Path) -> None:
    tied = torch.tensor([1.5, float("nan")])
    values = {
        "state": {0: {"step": torch.tensor(3.0), "betas": (0.9, 0.999)}, 1: [None, True, "a"]},
        "loss": float("inf"),
        "tied": [tied, tied, tied[:1]],
        "random": torch.get_rng_state(),
    }
    tensor_files.save(tmp_path, values)
    found = tensor_files.load(tmp_path)
    assert str(found) == str(values)
    assert torch.equal(found["random"], values["random"])
    with pytest.raises(PluginError, match="'/a' of the training is function, which would need"):
        tensor_files.save(tmp_path, {"a": ignore})
