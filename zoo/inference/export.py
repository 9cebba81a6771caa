"""Export a trained model to a format of other tools, and verify its predictions."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import weights
from zoo.data import datasets
from zoo.errors import ArtifactError, PluginError, UsageError, ZooError, reason
from zoo.inference.predictor import LoadedModel
from zoo.plugins import registry
from zoo.regular_file import open_regular_file
from zoo.storage.output_file import write_output
from zoo.training import evaluation, run

if TYPE_CHECKING:
    from zoo.model import Array

NPZ, ONNX = "npz", "onnx"
IMAGES = 1000
"""Test images for which the exported model must predict the same."""
TOLERANCE = 1e-4
"""Allowed difference of a probability: other tools sum in another order and in float32."""
RECIPE = "recipe"
"""The name in an npz file of the JSON with model, params and classes."""
LIBRARIES = ("onnx", "onnxruntime", "skl2onnx", "skops")


@dataclass(frozen=True)
class Exported:
    """An exported model and the result of its verification."""

    path: Path
    format: str
    size: int
    """Bytes."""
    sha256: str
    images: int
    """Test images for which both predicted the same labels."""
    difference: float | None
    """Largest difference of a probability; None if one of the two has no probabilities."""

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "format": self.format,
            "bytes": self.size,
            "sha256": self.sha256,
            "check": {"images": self.images, "max_difference": self.difference},
        }


def export_formats(trained: LoadedModel) -> list[str]:
    """Return the formats of a model; npz works only if its weights are one file of arrays."""
    return [*trained.model.formats, NPZ]


def export_model(trained: LoadedModel, format: str, path: Path) -> Exported:
    """Export a model, read it back and compare both on the first 1,000 test images.

    Raises:
        UsageError: If the model does not support the format.
        ZooError: If a library is missing, or the predictions differ; no file is written.
    """
    known = export_formats(trained)
    if format not in known:
        raise UsageError(
            f"The model '{trained.recipe.model}' cannot be exported as {format}.",
            f"It can as {', '.join(known)}.",
        )
    x = trained.prepare(_images(trained))
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder, _libraries(trained):
        made = Path(folder) / f"model.{format}"
        if format == NPZ:
            _write_npz(trained, made)
        else:
            trained.model.export(format, made)
        difference = _check(trained, x, _read_back(trained, format, made, x))
        content = made.read_bytes()
    write_output(path, content, parents=True)
    digest = hashlib.sha256(content).hexdigest()
    return Exported(path, format, len(content), digest, len(x), difference)


def _images(trained: LoadedModel) -> Array:
    """Return the first test images of the dataset that the model was trained on."""
    recipe = trained.recipe
    raw = datasets.raw(recipe.dataset, contents=recipe.fingerprint)
    return raw.splits["test"].inputs[:IMAGES]


@contextmanager
def _libraries(trained: LoadedModel) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        plugin = registry.catalogue().owners[trained.recipe.model].distribution
        raise ZooError(
            f"This format needs {error.name}, which is not here.",
            f"Install it: pip install '{plugin}[export]'.",
        ) from None
    except ZooError:
        raise
    # A converter may raise anything for a model that its author did not expect.
    except Exception as error:
        raise PluginError(
            f"The model cannot be exported so: {type(error).__name__}: {reason(error)}.",
            "Try another format, and tell the plugin's author.",
        ) from error


def _read_back(
    trained: LoadedModel, format: str, path: Path, x: Array
) -> tuple[Array, Array | None]:
    if format == ONNX:
        return _run_onnx(path, x)
    if format == NPZ:
        found = evaluation.predict(read_npz(path), x)
        return found.labels, found.probabilities
    return trained.model.predict_exported(format, path, x)


def _run_onnx(path: Path, x: Array) -> tuple[Array, Array | None]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"x": x}), strict=True))
    return found["label"], found.get("probabilities")


def _check(trained: LoadedModel, x: Array, exported: tuple[Array, Array | None]) -> float | None:
    """Compare with the model's own predictions; return the largest difference."""
    import numpy as np

    own, (labels, probabilities) = evaluation.predict(trained.model, x), exported
    different = int((np.asarray(labels) != own.labels).sum())
    off = None
    if probabilities is not None and own.probabilities is not None:
        off = float(np.abs(np.asarray(probabilities) - own.probabilities).max())
    # Not `off > TOLERANCE`: NaN is no agreement.
    if different or not (off is None or off <= TOLERANCE):
        what = f"; a probability differs by {off:.2g}" if off is not None else ""
        raise PluginError(
            f"The exported model is not the same: {different} of {len(x)} labels differ{what}.",
            "It was not kept. Try another format, and tell the plugin's author.",
        )
    return off


def _write_npz(trained: LoadedModel, path: Path) -> None:
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        trained.model.save(Path(folder))
        if [each.name for each in Path(folder).iterdir()] != [weights.FILE]:
            raise UsageError(
                f"The weights of '{trained.recipe.model}' are not one npz file of arrays."
            )
        with np.load(Path(folder) / weights.FILE, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    recipe = json.dumps(trained.recipe.model_dump(mode="json"))
    np.savez(path, allow_pickle=False, **arrays, **{RECIPE: np.array(recipe)})


def read_npz(path: Path) -> Any:
    """Load the trained model from an npz file that `export_model` wrote.

    Raises:
        ArtifactError: For any other file.
    """
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="zoo-") as name:
        folder = Path(name)
        try:
            with open_regular_file(path) as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {each: file[each] for each in file.files}
            (folder / run.RECIPE).write_text(str(arrays.pop(RECIPE)), encoding="utf-8")
        # A damaged file raises almost anything: BadZipFile, EOFError, ValueError, KeyError...
        except Exception as error:
            raise ArtifactError(f"{path} is no exported model: {reason(error)}.") from None
        (folder / run.WEIGHTS).mkdir()
        weights.save(folder / run.WEIGHTS, arrays)
        return run.restore(folder)
