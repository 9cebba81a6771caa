"""The model card: what an exported model is, for people and for the hub that lists it.

Markdown that begins with metadata, as Hugging Face's hub reads it
(https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.canonical_json import object_in, read_json
from zoo.inference.export import Exported
from zoo.inference.predictor import LoadedModel
from zoo.jobs import Job
from zoo.jobs.records import number_text
from zoo.param_values import as_options
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo.storage.output_file import write_output
from zoo.training import provenance

FILE = "README.md"
"""What the hub takes for the card."""
LIBRARIES = {"keras": "keras", "skops": "sklearn", "onnx": "onnx", "npz": "mnist-zoo"}
"""The hub's word for what reads a format."""
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
    "skops": """model = io.load("{file}", trusted=[])
print(model.predict(x))""",
    "keras": """model = keras.saving.load_model("{file}")
print(model(x))""",
    "npz": """model = export.read_npz("{file}")
print(model.predict(x), model.predict_proba(x))""",
}
"""How each format is read."""
USE = """It says which class an image of {classes} shows, one image of 28 x 28 grey pixels
each, ink bright on a background of 0, centred by mass, the longest side of the ink 20 pixels.
`zoo predict` prepares any picture so. It is a small model for learning, comparing and teaching: it
knows no other classes, always answers with one of these, and was not made to read cheques or
forms."""


def write(
    settings: Settings, trained: LoadedModel, exported: Exported, path: Path, license: str
) -> None:
    """Write the card; raises ArtifactError without the job's files, ZooError without a place."""
    job = trained.job
    where, sha256 = str(job.artifact), str(job.artifact_sha256)
    around = read_json(artifacts.read(settings.artifacts, where, sha256, provenance.FILE))
    write_output(path, text(trained, exported, around, license).encode())


def text(trained: LoadedModel, exported: Exported, around: Mapping[str, Any], license: str) -> str:
    """The card as Markdown; `around` is the job's environment."""
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
        _training(trained, exported, around),
    ]
    return "\n\n".join(parts) + "\n"


def command(job: Job) -> str:
    """The command that trains the model again."""
    words = ["zoo", "train", job.model, "--dataset", _short(job.dataset)]
    words += ["--seed", str(job.spec["seed"])]
    if job.spec.get("preprocess", "none") != "none":
        words += ["--preprocess", job.spec["preprocess"]]
    return shlex.join([*words, *as_options(job.changed)])


def _title(job: Job) -> str:
    return f"{job.model} on {_short(job.dataset)}"


def _short(dataset: str) -> str:
    """A dataset without the path of somebody's disk."""
    form, colon, path = dataset.partition(":")
    return f"{form}:{Path(path).name}" if colon else dataset


def _metadata(job: Job, exported: Exported, license: str) -> dict[str, Any]:
    dataset, split = _short(job.dataset), job.spec.get("split", "test")
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
    """Lines of YAML: objects and lists in blocks, all else as JSON, which YAML reads."""
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
        CODE[exported.format].format(file=exported.path.name),
    ]
    code = "\n".join(lines)
    told = ""
    if trained.recipe.preprocess != "none":
        told = (
            f"The images were prepared with `{trained.recipe.preprocess}` before training; "
            "do the same to `image / 255` first (`zoo.data.preprocessing.deskew`).\n\n"
        )
    classes = json.dumps(trained.class_names, ensure_ascii=False)
    order = f"The classes, in the order of the labels 0, 1, ...: {classes}"
    return f"{told}```python\n{code}\n```\n\n{order}"


def _results(job: Job) -> str:
    split, loss, images = job.spec.get("split", "test"), job.number("loss"), job.number("n_images")
    columns = ("precision", "recall", "f1", "support")
    rows = [
        [name, *(_number(each.get(column)) for column in columns)]
        for name, each in job.per_class.items()
    ]
    told = f", loss {_number(loss)}" if loss is not None else ""
    of = f"{images} images of " if images is not None else ""
    accuracy = _number(job.number("accuracy"))
    head = f"Accuracy {accuracy}{told} on {of}{_short(job.dataset)} ({split})."
    return f"{head}\n\n{_table(['class', 'precision', 'recall', 'f1', 'images'], rows)}"


def _training(trained: LoadedModel, exported: Exported, around: Mapping[str, Any]) -> str:
    job = trained.job
    machine, code, versions = (object_in(around, name) for name in ("machine", "code", "versions"))
    params = job.spec["params"].items()
    facts = [
        ["job", job.id],
        ["data", f"{_short(job.dataset)}, sha256 {_told(around, 'data')}"],
        ["fingerprint of all that decides the result", _told(around, "fingerprint")],
        ["plugin", _told(around, "plugin")],
        ["code", f"sha256 {_told(code, 'sha256')}"],
        [
            "ran on",
            f"{_told(machine, 'cpu')}, threads: {_told(machine, 'threads')}, "
            f"{_told(machine, 'system')}",
        ],
        ["versions", ", ".join(f"{n} {v}" for n, v in sorted(versions.items())) or "unknown"],
        ["file", f"{exported.path.name}, {exported.size} bytes, sha256 {exported.sha256}"],
        ["check", _check(exported)],
    ]
    values = [[f"`{name}`", f"`{json.dumps(value)}`"] for name, value in params]
    return "\n\n".join(
        [
            f"```\n{command(job)}\n```",
            _table(["param", "value"], values),
            _table(["fact", "value"], facts),
        ]
    )


def _number(value: float | None) -> str:
    # A count as it is, without a comma between its thousands.
    return str(value) if isinstance(value, int) else number_text(value, 4, missing="unknown")


def _told(about: Mapping[str, Any], name: str) -> str:
    found = about.get(name)
    return "unknown" if found is None else str(found)


def _check(exported: Exported) -> str:
    off = exported.difference
    told = f"; probabilities differ by at most {off:.2g}" if off is not None else ""
    return f"read back, the file gave the same labels for {exported.images} test images{told}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruled = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in ruled)
