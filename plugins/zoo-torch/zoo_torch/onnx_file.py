"""Export a trained module to ONNX."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

from zoo_torch.learner import Learner
from zoo_torch.pytorch import load_torch

OPSET = 17
OUTPUTS = ("label", "probabilities")


def write(model: Learner, path: Path) -> None:
    """Write the model: `x`, float32, to `label` and `probabilities`, for any number of inputs."""
    torch = load_torch()

    class Exported(torch.nn.Module):  # type: ignore[misc,name-defined]
        """The module between inputs as of the zoo and its answers."""

        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(model.network).cpu()

        def forward(self, x: object) -> object:
            probabilities = model.probabilities(self.network(model.arranged(x)))
            return probabilities.argmax(dim=1), probabilities

    exported = Exported()
    exported.train(False)
    size = (model.n_features,) if model.layout == "flat" else model.input_shape
    with warnings.catch_warnings():
        # The exporter by tracing is called old; the new one needs onnxscript beside.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            exported,
            (torch.zeros(2, *size),),
            path,
            input_names=["x"],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "n"} for name in ("x", *OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )
