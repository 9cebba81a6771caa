"""Base class of the PyTorch models: build, fit, predict, save, load, export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

import zoo
from zoo.errors import ArtifactError, UsageError
from zoo_torch import onnx_file, tensor_files
from zoo_torch.pytorch import as_tensor, find_device, load_torch, reproducible
from zoo_torch.training import EVALUATED, Rows, Training, outputs_of

if TYPE_CHECKING:
    from zoo.model import Array, Validation

FILE = "weights.safetensors"
"""Name of the file with the weights."""
Optimizer = Literal["adam", "adamw", "rmsprop", "sgd"]
CLASSES: dict[Optimizer, str] = {
    "adam": "Adam",
    "adamw": "AdamW",
    "rmsprop": "RMSprop",
    "sgd": "SGD",
}
"""PyTorch's name of each optimizer."""
WITH_MOMENTUM = ("rmsprop", "sgd")


class TorchParams(zoo.Params):
    """The params of every network; null stands for PyTorch's own default."""

    epochs: int = zoo.param(5, ge=1, le=10_000, help="passes over the training data")
    batch_size: int = zoo.param(32, ge=1, le=65_536, help="images or rows per step")
    optimizer: Optimizer = zoo.param("adam", help="the rule that changes the weights")
    learning_rate: float | None = zoo.param(
        None, gt=0, le=100, help="size of a step; null: the optimizer's own"
    )
    momentum: float | None = zoo.param(
        None, ge=0, lt=1, help="share of the last step in the next, of sgd and rmsprop"
    )
    schedule: Literal["constant", "cosine"] = zoo.param(
        "constant", help="how learning_rate changes; cosine: down to 0 with the last epoch"
    )
    weight_decay: float | None = zoo.param(
        None, ge=0, le=1, help="shrink the weights at each step; null: as the optimizer does"
    )
    patience: int | None = zoo.param(
        None,
        ge=0,
        le=10_000,
        help="end after this many epochs that are no better on validation rows; null: never",
        needs="validation",
    )
    monitor: Literal["val_loss", "val_accuracy"] = zoo.param(
        "val_loss", help="what patience watches"
    )
    restore_best: bool = zoo.param(
        True, help="with patience: go back to the weights of the best epoch at the end"
    )

    @model_validator(mode="after")
    def _only_some_have_momentum(self) -> TorchParams:
        if self.momentum is not None and self.optimizer not in WITH_MOMENTUM:
            raise ValueError(f"The optimizer {self.optimizer} has no param momentum.")
        return self


class TorchModel(zoo.Model):
    """A module trained by PyTorch; a subclass gives the module.

    The module gets inputs (n, n_features), or for the layout "image" (n, n_channels, height,
    width), and returns scores (n, n_classes), of which `probabilities` are the softmax.
    """

    dtype = "float32"
    formats = ("onnx",)
    can_stop = True
    Params = TorchParams

    def __init__(self, params: zoo.Params, class_names: Sequence[str], seed: int) -> None:
        super().__init__(params, class_names, seed)
        # Import PyTorch now, so that it does not count as time of `fit`.
        self.torch_device = find_device()
        """Where the module is."""

    @property
    def n_channels(self) -> int:
        """1 for grey images, 3 in colour."""
        return self.input_shape[2] if len(self.input_shape) == 3 else 1

    def module(self) -> Any:
        """Return a new `torch.nn.Module`, not trained."""
        raise NotImplementedError

    def losses(self, outputs: Any, y: Any) -> Any:
        """Return the loss of each row, (n,); by default the cross-entropy of the scores."""
        return load_torch().nn.functional.cross_entropy(outputs, y, reduction="none")

    def probabilities(self, outputs: Any) -> Any:
        """Convert the module's outputs to probabilities, (n, n_classes); by default by softmax."""
        return outputs.softmax(dim=1)

    def optimizer(self, network: Any) -> Any:
        """Return the optimizer of the params for the module."""
        params = self.params
        given = {
            "lr": params.learning_rate,
            "momentum": params.momentum,
            "weight_decay": params.weight_decay,
        }
        kind = getattr(load_torch().optim, CLASSES[params.optimizer])
        wanted = {name: value for name, value in given.items() if value is not None}
        return kind(network.parameters(), **wanted)

    def scheduler(self, optimizer: Any, steps: int) -> Any:
        """Return the schedule of the params, which steps after each of `steps` batches; or None."""
        if self.params.schedule == "constant":
            return None
        return load_torch().optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def arranged(self, x: Any) -> Any:
        """Return inputs as the module gets them: images as (n, n_channels, height, width)."""
        if self.layout == "flat" or len(self.input_shape) == 1:
            return x
        return x.unsqueeze(1) if len(self.input_shape) == 2 else x.permute(0, 3, 1, 2)

    def fit(
        self,
        x: Array,
        y: Array,
        report: zoo.Report,
        *,
        validation: Validation | None = None,
        sample_weight: Array | None = None,
        checkpoint: zoo.Checkpoint | None = None,
    ) -> None:
        patience = self.params.patience
        if patience is not None and validation is None:
            raise UsageError(
                f"patience={patience} needs validation rows, and the job has none.",
                "Hold some out with --validation 0.1, or leave out patience.",
            )
        with reproducible(self.seed, self.torch_device):
            self.network = self.module().to(self.torch_device)
            Training(
                self,
                Rows.of(x, y, sample_weight),
                report,
                validation=validation and Rows.of(*validation),
                checkpoint=checkpoint,
            ).run()

    def predict_proba(self, x: Array) -> Array:
        import numpy as np

        torch, rows = load_torch(), as_tensor(x)
        found = []
        with reproducible(self.seed, self.torch_device), torch.no_grad():
            for first in range(0, len(x), EVALUATED):
                outputs = outputs_of(self, rows[first : first + EVALUATED])
                found.append(self.probabilities(outputs).cpu().numpy())
        return np.concatenate(found)

    def save(self, folder: Path) -> None:
        tensor_files.save_tensors(folder / FILE, self.network.state_dict())

    def load(self, folder: Path) -> None:
        with reproducible(self.seed, self.torch_device):
            self.network = self.module().to(self.torch_device)
        found = tensor_files.load_tensors(folder / FILE)
        _check(folder / FILE, found, self.network.state_dict())
        self.network.load_state_dict(found)

    def export(self, format: str, path: Path) -> None:
        onnx_file.write(self, path)

    def parameters(self) -> int:
        return sum(each.numel() for each in self.network.parameters())


def _check(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise ArtifactError unless the tensors are those of the module."""
    advice = "Train the model again."
    if set(found) != set(expected):
        names = sorted(set(found) ^ set(expected))
        raise ArtifactError(f"{path} is of another module: {', '.join(names[:5])}.", advice)
    for name, want in expected.items():
        have = found[name]
        if have.dtype != want.dtype or have.shape != want.shape:
            raise ArtifactError(
                f"{path} holds '{name}' as {have.dtype} {tuple(have.shape)}; "
                f"{want.dtype} {tuple(want.shape)} is expected.",
                advice,
            )
