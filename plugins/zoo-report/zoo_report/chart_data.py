"""What the page's script draws, as JSON: curves, confusion matrices, mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.jobs.records import finite
from zoo_report.contents import Contents, Entry, GroupEntry, Missed

POINTS = 200
"""Steps of a curve that are drawn; no screen shows more."""
MOST_CLASSES = 64
"""A confusion matrix of more classes is not drawn: nobody could read it."""


def data(contents: Contents) -> dict[str, Any]:
    """What the script draws, as JSON."""
    return {
        "jobs": [_drawn(entry) for entry in contents.entries],
        "pooled": [found for each in contents.groups if (found := _whole(each))],
        "images": contents.images,
        "missed": _exams(contents.missed),
    }


def _whole(each: GroupEntry) -> dict[str, Any] | None:
    """The confusion matrices of a whole cross-validation as one: each image is counted once."""
    folds = each.group.jobs
    if each.group.kind != "cv" or each.accuracy is None or each.group.status != "succeeded":
        return None
    classes, matrices = folds[0].class_names, [fold.confusion_matrix for fold in folds]
    if not all(matrices) or any(fold.class_names != classes for fold in folds):
        return None
    rows = zip(*(matrix for matrix in matrices if matrix), strict=True)
    matrix = [[sum(cells) for cells in zip(*row, strict=True)] for row in rows]
    return {
        "id": each.group.id,
        "name": each.name,
        "dataset": each.group.jobs[0].dataset,
        "judged": "all folds",
        "accuracy": each.accuracy["mean"],
        "aside": False,
        "classes": classes,
        "matrix": matrix if len(classes) <= MOST_CLASSES else None,
    }


def _exams(missed: Sequence[Missed]) -> list[dict[str, Any]]:
    """What was missed on the same images together; pairs, for JSON objects keep no order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in missed:
        told = {"image": each.image, "label": each.label, "asked": each.asked}
        found.setdefault(each.exam, []).append(told | {"said": list(each.said.items())})
    return [{"exam": exam, "images": images} for exam, images in found.items()]


def _drawn(entry: Entry) -> dict[str, Any]:
    job = entry.job
    classes, matrix = job.class_names, job.confusion_matrix
    return {
        "id": job.id,
        "name": entry.name,
        "dataset": job.dataset,
        "judged": entry.judged,
        "accuracy": job.accuracy,
        "aside": entry.has_seen or bool(job.spec["fold"]),
        "curves": curves(entry.steps),
        "classes": classes,
        "matrix": matrix if len(classes) <= MOST_CLASSES else None,
        "wrong": entry.gallery.wrong,
        "note": entry.gallery.note,
        "mistakes": [
            [f"{m.row}", m.label, m.predicted, _short(m.sure), _short(m.label_sure)]
            for m in entry.gallery.first
        ],
        "split": "train" if job.spec["fold"] else job.spec["split"],
    }


def curves(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """{"step": [...], metric: [...]}: thinned out, the last step always among them."""
    every = -(-len(steps) // POINTS) or 1
    kept = [each for n, each in enumerate(steps) if (len(steps) - 1 - n) % every == 0]
    names = dict.fromkeys(name for each in kept for name in each)
    columns = {name: [_short(each.get(name)) for each in kept] for name in names}
    return {name: values for name, values in columns.items() if any(v is not None for v in values)}


def _short(value: Any) -> Any:
    """A number with the five digits that a screen can show; nothing for what is none."""
    value = finite(value)
    # The largest floats of all are rounded up to infinity.
    return finite(float(f"{value:.5g}")) if isinstance(value, float) else value
