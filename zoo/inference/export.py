"""Write a trained model in a format that other tools read, and see that it predicts the same."""

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
"""Test images on which the exported model must predict the same."""
TOLERANCE = 1e-4
"""By which a probability may differ: other tools add up in another order, and in float32."""
RECIPE = "recipe"
"""The name in an npz file of what the arrays are not: model, params, classes, as JSON."""
LIBRARIES = ("onnx", "onnxruntime", "skl2onnx", "skops")


@dataclass(frozen=True)
class Exported:
    """A model that was written, and how it did when it was read back."""

    path: Path
    format: str
    size: int
    """Bytes."""
    sha256: str
    images: int
    """Test images on which both gave the same labels."""
    difference: float | None
    """The largest difference of a probability; None if one of both has none."""

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "format": self.format,
            "bytes": self.size,
            "sha256": self.sha256,
            "check": {"images": self.images, "max_difference": self.difference},
        }


def formats(trained: LoadedModel) -> list[str]:
    """The formats in which a model can be written; npz where its weights are one file of arrays."""
    return [*trained.model.formats, NPZ]


def write(trained: LoadedModel, format: str, path: Path) -> Exported:
    """Write the model, read it back, let both predict the first 1,000 test images, compare.

    Raises UsageError for a format that the model has not, ZooError if a library is missing or the
    exported model predicts something else; then there is no file.
    """
    known = formats(trained)
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
    """The first test images of the dataset that the model was trained on."""
    recipe = trained.recipe
    raw = datasets.raw(recipe.dataset, contents=recipe.fingerprint)
    return raw.splits["test"].images[:IMAGES]


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
    # A converter meets what its author did not think of in as many ways as there are.
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
    """Compare with the model's own answers; gives the largest difference of a probability."""
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
    """The trained model in an npz file that `write` made, its weights checked as ever.

    Raises ArtifactError if it is no such file.
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
