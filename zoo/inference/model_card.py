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
from zoo.inference.export import Exported
from zoo.inference.predictor import LoadedModel
from zoo.jobs import Job
from zoo.jobs.environments import CodeVersion, Environment, Machine
from zoo.jobs.records import number_text
from zoo.param_values import as_options
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
print(model.predict(x), model.predict_proba(x))""",
}
"""Example code that reads each format."""
USE = """It says which class an image of {classes} shows, one image of 28 x 28 grey pixels
each, ink bright on a background of 0, centred by mass, the longest side of the ink 20 pixels.
`zoo predict` prepares any picture so. It is a small model for learning, comparing and teaching: it
knows no other classes, always answers with one of these, and was not made to read cheques or
forms."""


def write_card(
    settings: Settings, trained: LoadedModel, exported: Exported, path: Path, license: str
) -> None:
    """Write the card; raises ArtifactError if the job's files are missing, ZooError if it fails."""
    job = trained.job
    where, sha256 = str(job.artifact), str(job.artifact_sha256)
    stored = read_json(artifacts.read(settings.artifacts, where, sha256, provenance.FILE))
    environment = Environment.from_json(stored)
    write_output(path, card_text(trained, exported, environment, license).encode())


def card_text(
    trained: LoadedModel, exported: Exported, environment: Environment, license: str
) -> str:
    """Return the card as Markdown; `environment` is that of the job."""
    job = trained.job
    parts = [
        "\n".join(["---", *_yaml(_metadata(job, exported, license)), "---"]),
        f"# {_title(job)}",
        (type(trained.model).__doc__ or "").split("\n")[0],
        "## Intended use",
        USE.format(classes=", ".join(trained.class_names)),
        "## How to use it",
        _usage(trained, exported),
        "## Results",
        _results(job),
        "## Training",
        _training(trained, exported, environment),
    ]
    return "\n\n".join(parts) + "\n"


def training_command(job: Job) -> str:
    """Return the command that trains the model again."""
    words = ["zoo", "train", job.model, "--dataset", dataset_names.short(job.dataset)]
    words += ["--seed", str(job.spec["seed"])]
    if job.spec.get("preprocess", "none") != "none":
        words += ["--preprocess", job.spec["preprocess"]]
    return shlex.join([*words, *as_options(job.changed)])


def _title(job: Job) -> str:
    return f"{job.model} on {dataset_names.short(job.dataset)}"


def _metadata(job: Job, exported: Exported, license: str) -> dict[str, Any]:
    dataset, split = dataset_names.short(job.dataset), job.spec.get("split", "test")
    known = HUB_NAMES.get(dataset)
    measured = {"type": "accuracy", "value": job.number("accuracy"), "name": "Accuracy"}
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"name": dataset, "type": known or dataset, "split": split},
        "metrics": [measured],
    }
    return {
        "license": license,
        "library_name": LIBRARIES[exported.format],
        "pipeline_tag": "image-classification",
        "tags": ["mnist-zoo", job.model, exported.format],
        **({"datasets": [known]} if known else {}),
        "metrics": ["accuracy"],
        "model-index": [{"name": _title(job), "results": [result]}],
    }


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
    model = trained.model
    shape = "1, 784" if model.layout == "flat" else "1, 28, 28"
    lines = [
        IMPORTS[exported.format],
        "import numpy as np",
        "from PIL import Image",
        "",
        'image = np.asarray(Image.open("digit.png").convert("L"))  # 28 x 28, ink bright',
        f'x = (image / 255).astype("{model.dtype}").reshape({shape})',
        # Types that the model lists beside those that skops trusts by itself.
        CODE[exported.format].format(
            file=exported.path.name, trusted=[*getattr(model, "trusted", ())]
        ),
    ]
    code = "\n".join(lines)
    note = ""
    if trained.recipe.preprocess != "none":
        note = (
            f"The images were prepared with `{trained.recipe.preprocess}` before training; "
            "do the same to `image / 255` first (`zoo.data.preprocessing.deskew`).\n\n"
        )
    classes = json.dumps(trained.class_names, ensure_ascii=False)
    order = f"The classes, in the order of the labels 0, 1, ...: {classes}"
    return f"{note}```python\n{code}\n```\n\n{order}"


def _results(job: Job) -> str:
    split, loss, images = job.spec.get("split", "test"), job.number("loss"), job.number("n_images")
    columns = ("precision", "recall", "f1", "support")
    rows = [
        [name, *(_number(each.get(column)) for column in columns)]
        for name, each in job.per_class.items()
    ]
    loss_text = f", loss {_number(loss)}" if loss is not None else ""
    of = f"{images} images of " if images is not None else ""
    accuracy = _number(job.number("accuracy"))
    head = f"Accuracy {accuracy}{loss_text} on {of}{dataset_names.short(job.dataset)} ({split})."
    return f"{head}\n\n{_table(['class', 'precision', 'recall', 'f1', 'images'], rows)}"


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
    return f"read back, the file gave the same labels for {exported.images} test images{note}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruled = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in ruled)
