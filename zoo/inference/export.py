"""Export a trained model to a format of other tools, and verify its predictions."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import weights
from zoo.data import steps
from zoo.data.preprocessing import Fitted
from zoo.errors import ArtifactError, PluginError, UsageError, ZooError, reason
from zoo.images import prediction_inputs
from zoo.inference import predictor
from zoo.inference.predictor import LoadedModel, Predictor
from zoo.plugins import packages, registry, requirements
from zoo.regular_file import open_regular_file
from zoo.storage.output_file import write_output
from zoo.training import evaluation, run

if TYPE_CHECKING:
    from zoo.model import Array

NPZ, ONNX, SKOPS = "npz", "onnx", "skops"
CHECKED = 1000
"""Test inputs for which the exported model must predict the same."""
TOLERANCE = 1e-4
"""Allowed difference of a probability: other tools sum in another order and in float32."""
RECIPE = "recipe"
"""The name in an npz file of the JSON with model, params and classes."""
LEARNED = re.compile(rf"{run.STEPS}/([0-9]{{1,3}})-([a-z0-9._-]+)/([a-z0-9_]+)")
"""Names in an npz file of what the preprocessing steps have learned: number, step, array."""
PREFIX = "zoo."
"""Start of the names of the metadata of an ONNX file."""
LIBRARIES = ("onnx", "onnxruntime", "skl2onnx", "skops")


@dataclass(frozen=True)
class Exported:
    """An exported model and the result of its verification."""

    path: Path
    format: str
    size: int
    """Bytes."""
    sha256: str
    checked: int
    """Test inputs for which both predicted the same labels."""
    difference: float | None
    """Largest difference of a probability; None if one of the two has no probabilities."""
    unit: str = "images"
    """What the inputs are: images or rows."""
    own_types: Sequence[str] = ()
    """Types in the file that skops does not trust by itself, which its reader has to name."""

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "format": self.format,
            "bytes": self.size,
            "sha256": self.sha256,
            "check": {self.unit: self.checked, "max_difference": self.difference},
        }


def choose_target(model: str, format: str | None, target: Path | None) -> tuple[str, Path]:
    """Return format and path of an export, of which one may be missing: it follows from the other.

    A folder gets a file named after the model. Raises UsageError if both are missing.
    """
    is_named = target is not None and bool(target.suffix) and not target.is_dir()
    # An existing path that is not a folder, such as a device, is the file itself.
    is_folder = not (is_named or target is None or str(target) == "-") and (
        target.is_dir() or not target.exists()
    )
    if format is None and not is_named:
        raise UsageError(
            "Neither --format nor a file name with a suffix is given.",
            "For example: -o model.onnx.",
        )
    chosen = format or str(target).rpartition(".")[2]
    if target is None:
        return chosen, Path(f"{model}.{chosen}")
    return chosen, target / f"{model}.{chosen}" if is_folder else target


def export_formats(trained: LoadedModel) -> list[str]:
    """Return the formats of a model; npz works only if its weights are one file of arrays."""
    return [*trained.model.formats, NPZ]


def export_model(trained: LoadedModel, format: str, path: Path) -> Exported:
    """Export a model, read it back and compare both on the first 1,000 test inputs.

    An npz file has what the preprocessing steps have learned, and predicts raw inputs. An ONNX
    file takes prepared inputs, and describes in its metadata how to prepare them.

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
    raw = _checked_inputs(trained)
    x = trained.prepare(raw)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder, _libraries(trained):
        made = Path(folder) / f"model.{format}"
        if format == NPZ:
            _write_npz(trained, made)
            found = read_npz(made).predict_raw(raw)
            exported = found.labels, found.probabilities
        else:
            trained.model.export(format, made)
            if format == ONNX:
                _describe_onnx(trained, made)
            exported = _read_back(trained, format, made, x)
        difference = _check(trained, x, exported)
        content = made.read_bytes()
        own_types = _own_types(content) if format == SKOPS else []
    write_output(path, content, parents=True)
    digest = hashlib.sha256(content).hexdigest()
    unit = trained.inputs.unit
    return Exported(path, format, len(content), digest, len(x), difference, unit, own_types)


def _own_types(content: bytes) -> list[str]:
    from skops import io

    return sorted(io.get_untrusted_types(data=content))


def _checked_inputs(trained: LoadedModel) -> Array:
    """Return the first test inputs of the dataset that the model was trained on."""
    data = predictor.training_data(trained)
    rows = data.splits.get("test") or next(iter(data.splits.values()))
    return prediction_inputs.raw_inputs(rows.inputs[:CHECKED], data.meta, trained.inputs)


@contextmanager
def _libraries(trained: LoadedModel) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        name = _distribution_with_export(trained)
        line = f"'{name}[export]'.{packages.IN_A_CLONE}" if name else f"{error.name}."
        raise ZooError(
            f"This format needs {error.name}, which is not here.", f"Install it: pip install {line}"
        ) from None
    except ZooError:
        raise
    # A converter may raise anything for a model that its author did not expect.
    except Exception as error:
        raise PluginError(
            f"The model cannot be exported so: {type(error).__name__}: {reason(error)}.",
            "Try another format, and tell the plugin's author.",
        ) from error


def _distribution_with_export(trained: LoadedModel) -> str:
    """Return the distribution with an extra `export`: the plugin's, or that of its base class.

    Empty if neither has one. The name of a one-file plugin is no distribution: an index may have
    another of this name.
    """
    known = {each.source.partition(".")[0]: each for each in registry.catalogue().plugins}
    for base in type(trained.model).__mro__:
        plugin = known.get(base.__module__.partition(".")[0])
        if plugin and requirements.has_extra(plugin.distribution, "export"):
            return plugin.distribution
    return ""


def _read_back(
    trained: LoadedModel, format: str, path: Path, x: Array
) -> tuple[Array, Array | None]:
    if format == ONNX:
        return _run_onnx(path, x)
    return trained.model.predict_exported(format, path, x)


def metadata(trained: Predictor) -> dict[str, str]:
    """Return how to prepare the inputs of a model, and its classes, by name as texts.

    The values but `x` are JSON.
    """
    recipe, model = trained.recipe, trained.model
    fitted = dict(zip((s.name for s in trained.fitted.steps), trained.fitted.learned, strict=True))
    chain = [
        {
            "name": step.name,
            "learned": {name: array.tolist() for name, array in fitted.get(step.name, {}).items()},
        }
        for step in steps.chain(recipe.preprocess)
    ]
    size = trained.inputs.input_shape if model.layout == "image" else (model.n_features,)
    facts = {
        "class_names": trained.class_names,
        "inputs": recipe.inputs.model_dump(mode="json"),
        "feature_names": recipe.inputs.feature_names,
        "preprocessing": chain,
        "model": recipe.model,
        "params": recipe.params,
    }
    return {
        **{name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()},
        "x": f"{model.dtype} ({', '.join(['n', *map(str, size)])}): {prepared_how(trained)}",
    }


def prepared_how(trained: Predictor) -> str:
    """Return a sentence on how raw inputs become those that the model itself takes."""
    about, chain = trained.inputs, steps.chain(trained.recipe.preprocess)
    if about.kind == "image":
        how = "pixels from 0 to 1"
        how += " (bytes / 255)" if about.dtype == "uint8" else ""
        if trained.model.layout == "flat":
            how += ", row by row" + (", the channels last" if len(about.shape) > 2 else "")
    else:
        how = "the features in their order, each category 1 in the feature of its name, else 0"
    if chain:
        how += f"; then the steps {', '.join(step.name for step in chain)}"
    return how


def _describe_onnx(trained: LoadedModel, path: Path) -> None:
    import onnx

    graph = onnx.load(path)
    known = {each.key: each.value for each in graph.metadata_props}
    described = {f"{PREFIX}{name}": text for name, text in metadata(trained).items()}
    onnx.helper.set_model_props(graph, known | described)
    onnx.save(graph, path)


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
    learned = {
        f"{run.STEPS}/{number}-{step.name}/{name}": array
        for number, (step, found) in enumerate(
            zip(trained.fitted.steps, trained.fitted.learned, strict=True)
        )
        for name, array in found.items()
    }
    np.savez(path, allow_pickle=False, **arrays, **learned, **{RECIPE: np.array(recipe)})


def read_npz(path: Path) -> Predictor:
    """Load the trained model from an npz file that `export_model` wrote.

    Its `predict` and `predict_proba` take inputs as they come: they are prepared as those of the
    training were.

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
        recipe = run.read_recipe(folder)
        fitted = _fitted(path, arrays, recipe.preprocess)
        (folder / run.WEIGHTS).mkdir()
        weights.save(folder / run.WEIGHTS, arrays)
        return Predictor(run.restore(folder), recipe, fitted)


def _fitted(path: Path, arrays: dict[str, Array], preprocess: str) -> Fitted:
    """Take what steps have learned out of the arrays of an npz file."""
    _, learning = steps.split_chain(preprocess)
    learned: list[dict[str, Array]] = [{} for _ in learning]
    for key in [key for key in arrays if key.startswith(f"{run.STEPS}/")]:
        found = LEARNED.fullmatch(key)
        number = int(found[1]) if found else -1
        if not found or number >= len(learning) or learning[number].name != found[2]:
            raise ArtifactError(f"{path} is no exported model: it has the array '{key}'.")
        learned[number][found[3]] = arrays.pop(key)
    for step, each in zip(learning, learned, strict=True):
        if step.learns and not each:
            raise ArtifactError(f"{path} is no exported model: {step.name} has learned nothing.")
    return Fitted(learning, learned) if learning else Fitted()
