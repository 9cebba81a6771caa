"""The model card of an exported model, for people and for the Hugging Face hub.

Markdown that begins with metadata, as Hugging Face's hub reads it
(https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo import dataset_names
from zoo.canonical_json import read_json
from zoo.data import steps
from zoo.data.contents import Column
from zoo.images import prediction_inputs
from zoo.inference.export import PREFIX, Exported, prepared_how
from zoo.inference.predictor import LoadedModel
from zoo.jobs import Job
from zoo.jobs.environments import CodeVersion, Environment, Machine
from zoo.jobs.records import number_text
from zoo.metrics import METRICS
from zoo.model import Step
from zoo.param_values import as_options, typed_options
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo.storage.output_file import write_output
from zoo.training import provenance

FILE = "README.md"
"""The hub's file name for the card."""
LIBRARIES = {"keras": "keras", "skops": "sklearn", "onnx": "onnx", "npz": "mnist-zoo"}
"""The hub's name of the library that reads a format."""
HUB_NAMES = {"mnist": "ylecun/mnist"}
"""Datasets that the hub has."""
HEADINGS = {"f1_macro": "F1, macro", "roc_auc": "ROC AUC", "loss": "Loss"}
"""Names of metrics whose words are not those of the name."""
IMPORTS = {
    "onnx": "import onnxruntime",
    "skops": "from skops import io",
    "keras": "import keras",
    "npz": "from zoo.inference import export",
}
CODE = {
    "onnx": """session = onnxruntime.InferenceSession("{file}")
print(session.run(None, {{"x": x}}))""",
    "skops": """model = io.load("{file}", trusted={trusted})
print(model.predict(x))""",
    "keras": """model = keras.saving.load_model("{file}")
print(model(x))""",
    "npz": """model = export.read_npz("{file}")
print(model.predict({raw}), model.predict_proba({raw}))""",
}
"""Example code that reads each format."""
IMAGE_USE = "It says which class an image of {classes} shows: one image of {shape} pixels each."
STROKES_USE = """It says which class an image of {classes} shows, one image of 28 x 28 grey pixels
each, ink bright on a background of 0, centred by mass, the longest side of the ink 20 pixels.
`zoo predict` prepares any picture so."""
TABLE_USE = "It says which class a row of a table belongs to: {classes}."
LIMITS = """It is a small model for learning, comparing and teaching: it knows no other classes,
always answers with one of these, and was not made for decisions about people or money."""
MOST_CATEGORIES = 20
"""Categories of a column that the card names."""
MOST_LEARNED = 1000
"""Numbers that the card prints of what steps have learned."""


def write_card(
    settings: Settings, trained: LoadedModel, exported: Exported, path: Path, license: str
) -> None:
    """Write the card; raises ArtifactError if the job's files are missing, ZooError if it fails."""
    job = trained.job
    where, sha256 = job.stored_artifact()
    stored = read_json(artifacts.read(settings.artifacts, where, sha256, provenance.FILE))
    environment = Environment.from_json(stored)
    write_output(path, card_text(trained, exported, environment, license).encode())


def card_text(
    trained: LoadedModel, exported: Exported, environment: Environment, license: str
) -> str:
    """Return the card as Markdown; `environment` is that of the job."""
    job = trained.job
    parts = [
        "\n".join(["---", *_yaml(_metadata(trained, exported, license)), "---"]),
        f"# {_title(job)}",
        (type(trained.model).__doc__ or "").split("\n")[0],
        "## Intended use",
        _use(trained),
        "## How to use it",
        _usage(trained, exported),
        *_inputs(trained, exported),
        "## Results",
        _results(trained),
        "## Training",
        _training(trained, exported, environment),
    ]
    return "\n\n".join(parts) + "\n"


def training_command(job: Job) -> str:
    """Return the command that trains the model again."""
    words = ["zoo", "train", job.model, "--dataset", dataset_names.short(job.dataset)]
    words += ["--seed", str(job.spec["seed"]), *typed_options(job.spec)]
    return shlex.join([*words, *as_options(job.changed)])


def _title(job: Job) -> str:
    return f"{job.model} on {dataset_names.short(job.dataset)}"


def _use(trained: LoadedModel) -> str:
    about, recipe = trained.inputs, trained.recipe
    classes = ", ".join(trained.class_names)
    if about.kind == "table":
        use = TABLE_USE
    elif prediction_inputs.are_strokes(about, recipe.dataset, recipe.fingerprint):
        use = STROKES_USE
    else:
        use = IMAGE_USE
    return f"{use.format(classes=classes, shape=about.describe_shape())} {LIMITS}"


def _metadata(trained: LoadedModel, exported: Exported, license: str) -> dict[str, Any]:
    job, is_table = trained.job, trained.inputs.kind == "table"
    kind = "tabular-classification" if is_table else "image-classification"
    dataset, split = dataset_names.short(job.dataset), job.spec.get("split", "test")
    known = HUB_NAMES.get(dataset)
    measured = [
        {"type": name, "value": value, "name": _heading(name)}
        for name in METRICS
        if (value := job.number(name)) is not None
    ]
    result = {
        "task": {"type": kind, "name": kind.replace("-", " ").title()},
        "dataset": {"name": dataset, "type": known or dataset, "split": split},
        "metrics": measured,
    }
    return {
        "license": license,
        "library_name": LIBRARIES[exported.format],
        "pipeline_tag": kind,
        "tags": ["mnist-zoo", job.model, exported.format],
        **({"datasets": [known]} if known else {}),
        "metrics": [each["type"] for each in measured],
        "model-index": [{"name": _title(job), "results": [result]}],
    }


def _heading(name: str) -> str:
    """Return the name of a metric as words: `F1 macro`."""
    return HEADINGS.get(name) or name.replace("_", " ").capitalize()


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Yield lines of YAML: objects and lists as blocks, scalars as JSON, which is valid YAML."""
    pairs = value.items() if isinstance(value, Mapping) else (("", each) for each in value)
    for key, each in pairs:
        head = f"{indent}{key}:" if isinstance(value, Mapping) else f"{indent}-"
        if isinstance(each, Mapping | list):
            yield head
            yield from _yaml(each, indent + "  ")
        else:
            yield f"{head} {json.dumps(each)}"


def _usage(trained: LoadedModel, exported: Exported) -> str:
    is_raw = exported.format == "npz"
    lines = [IMPORTS[exported.format], "import numpy as np"]
    if trained.inputs.kind == "image":
        lines += _picture_code(trained, is_raw)
    else:
        lines += _row_code(trained, is_raw)
    raw = "image" if trained.inputs.kind == "image" else "rows"
    code = CODE[exported.format]
    trusted = json.dumps(exported.own_types)
    lines.append(code.format(file=exported.path.name, raw=raw, trusted=trusted))
    code = "\n".join(lines)
    classes = json.dumps(trained.class_names, ensure_ascii=False)
    order = f"The classes, in the order of the labels 0, 1, ...: {classes}"
    return f"```python\n{code}\n```\n\n{order}"


def _picture_code(trained: LoadedModel, is_raw: bool) -> list[str]:
    about, model = trained.inputs, trained.model
    height, width, *channels = about.shape
    mode = "RGB" if channels else "L"
    size = about.input_shape if model.layout == "image" else (model.n_features,)
    shape = ", ".join(["1", *map(str, size)])
    picture = f'Image.open("picture.png").convert("{mode}").resize(({width}, {height}))'
    lines = ["from PIL import Image", "", f"image = np.asarray({picture})"]
    if not is_raw:
        note = (
            "  # then the steps described below" if steps.chain(trained.recipe.preprocess) else ""
        )
        lines.append(f'x = (image / 255).astype("{model.dtype}").reshape({shape}){note}')
    return lines


def _row_code(trained: LoadedModel, is_raw: bool) -> list[str]:
    if is_raw:
        example = {
            column.name: 0.0 if column.kind == "number" else column.categories[0]
            for column in trained.inputs.columns
        }
        return ["", f"rows = [{json.dumps(example, ensure_ascii=False)}]  # or a DataFrame"]
    size = len(trained.inputs.feature_names)
    note = "one row: its features in the order below, prepared as described there"
    return ["", f'x = np.zeros((1, {size}), "{trained.model.dtype}")  # {note}']


def _inputs(trained: LoadedModel, exported: Exported) -> Iterator[str]:
    """Yield the section about the inputs: columns of a table, and the preprocessing."""
    about, chain = trained.inputs, steps.chain(trained.recipe.preprocess)
    if about.kind == "image" and not chain:
        return
    yield "## Inputs"
    if about.kind == "table":
        rows = [[column.name, column.kind, _categories(column)] for column in about.columns]
        yield _table(["column", "kind", "categories"], rows)
        features = json.dumps(about.feature_names, ensure_ascii=False)
        yield f"The features, in the order in which the model takes them: {features}"
    if exported.format == "npz":
        yield "The file prepares its inputs by itself."
        return
    yield f"The file takes prepared inputs: {prepared_how(trained)}."
    if chain:
        yield "\n".join(f"* `{each.name}`: {_summary(each)}" for each in chain)
        yield _learned(trained, exported)


def _categories(column: Column) -> str:
    more = len(column.categories) - MOST_CATEGORIES
    named = ", ".join(column.categories[:MOST_CATEGORIES])
    return f"{named} and {more} more" if more > 0 else named


def _summary(step: Step) -> str:
    return (type(step).__doc__ or "").split("\n")[0]


def _learned(trained: LoadedModel, exported: Exported) -> str:
    fitted = trained.fitted
    count = sum(array.size for each in fitted.learned for array in each.values())
    if not count:
        return "None of these steps has learned anything from the training images or rows."
    if exported.format == "onnx":
        return (
            "What they have learned from the training rows is in the metadata of the file, as JSON "
            f"under `{PREFIX}preprocessing`."
        )
    if count > MOST_LEARNED:
        return (
            "What they have learned from the training rows is not in this file: export the model "
            "as npz or onnx to get it."
        )
    learned = {
        step.name: {name: array.tolist() for name, array in each.items()}
        for step, each in zip(fitted.steps, fitted.learned, strict=True)
    }
    return f"They have learned from the training rows:\n\n```json\n{json.dumps(learned)}\n```"


def _results(trained: LoadedModel) -> str:
    job, unit = trained.job, trained.inputs.unit
    split, count = job.spec.get("split", "test"), job.number("n_images")
    columns = ("precision", "recall", "f1", "support")
    rows = [
        [name, *(_number(each.get(column)) for column in columns)]
        for name, each in job.per_class.items()
    ]
    others = [n for n in METRICS if n != "accuracy" and job.number(n) is not None]
    more = "".join(f", {n.replace('_', ' ')} {_number(job.number(n))}" for n in others)
    of = f"{count} {unit} of " if count is not None else ""
    accuracy = _number(job.number("accuracy"))
    head = f"Accuracy {accuracy}{more} on {of}{dataset_names.short(job.dataset)} ({split})."
    return f"{head}\n\n{_table(['class', 'precision', 'recall', 'f1', unit], rows)}"


def _training(trained: LoadedModel, exported: Exported, environment: Environment) -> str:
    job = trained.job
    machine, code = environment.machine or Machine(), environment.code or CodeVersion()
    versions = environment.versions
    params = job.spec["params"].items()
    facts = [
        ["job", job.id],
        ["data", f"{dataset_names.short(job.dataset)}, sha256 {_text(environment.data)}"],
        ["fingerprint of all that decides the result", _text(environment.fingerprint)],
        ["plugin", _text(environment.plugin)],
        ["code", f"sha256 {_text(code.sha256)}"],
        [
            "ran on",
            f"{_text(machine.cpu)}, threads: {_text(machine.threads)}, {_text(machine.system)}",
        ],
        ["versions", ", ".join(f"{n} {v}" for n, v in sorted(versions.items())) or "unknown"],
        ["file", f"{exported.path.name}, {exported.size} bytes, sha256 {exported.sha256}"],
        ["check", _check(exported)],
    ]
    values = [[f"`{name}`", f"`{json.dumps(value)}`"] for name, value in params]
    return "\n\n".join(
        [
            f"```\n{training_command(job)}\n```",
            _table(["param", "value"], values),
            _table(["fact", "value"], facts),
        ]
    )


def _number(value: float | None) -> str:
    # A count without thousands separators.
    return str(value) if isinstance(value, int) else number_text(value, 4, missing="unknown")


def _text(value: str | int | None) -> str:
    return "unknown" if value is None else str(value)


def _check(exported: Exported) -> str:
    off = exported.difference
    note = f"; probabilities differ by at most {off:.2g}" if off is not None else ""
    checked = f"{exported.checked} test {exported.unit}"
    return f"read back, the file gave the same labels for {checked}{note}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruled = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in ruled)
