"""The data of the page's script as JSON: curves, confusion matrices, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.results.learning_curves import five_digits, step_unit, thinned
from zoo_report.contents import Contents, Entry, GroupEntry, MissedImage

MOST_CLASSES = 64
"""Maximum number of classes of a confusion matrix; larger ones are unreadable."""


def page_data(contents: Contents) -> dict[str, Any]:
    """Return the data of the page's script."""
    return {
        "jobs": [_job_data(entry) for entry in contents.entries],
        "pooled": [found for each in contents.groups if (found := _pooled(each))],
        "images": contents.images,
        "strokes": contents.strokes,
        "missed": _missed_images(contents.missed),
    }


def _pooled(each: GroupEntry) -> dict[str, Any] | None:
    """Return the sum of a cross-validation's confusion matrices: each image counts once."""
    folds = each.group.jobs
    if each.group.kind != "cv" or each.value is None or each.group.status != "succeeded":
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
        "unit": each.group.jobs[0].unit,
        "judged": "all folds",
        "accuracy": each.value.mean,
        "aside": False,
        "classes": classes,
        "matrix": matrix if len(classes) <= MOST_CLASSES else None,
    }


def _missed_images(missed: Sequence[MissedImage]) -> list[dict[str, Any]]:
    """Return missed images by test set; as pairs, because JSON objects have no order."""
    sets: dict[str, list[dict[str, Any]]] = {}
    for each in missed:
        found = {"image": each.image, "label": each.label, "jobs": each.jobs}
        sets.setdefault(each.test_set, []).append(
            found | {"predicted": list(each.predicted.items())}
        )
    return [{"test_set": name, "images": images} for name, images in sets.items()]


def _job_data(entry: Entry) -> dict[str, Any]:
    job = entry.job
    classes, matrix = job.class_names, job.confusion_matrix
    return {
        "id": job.id,
        "name": entry.name,
        "dataset": job.dataset,
        "judged": entry.judged,
        "accuracy": job.accuracy,
        "aside": entry.is_on_training_images or bool(job.spec["fold"]),
        "step": step_unit(job),
        "curves": thinned(entry.steps),
        "classes": classes,
        "matrix": matrix if len(classes) <= MOST_CLASSES else None,
        "wrong": entry.gallery.wrong,
        "note": entry.gallery.note,
        "mistakes": [
            [
                f"{m.row}",
                m.label,
                m.predicted,
                five_digits(m.probability),
                five_digits(m.label_probability),
            ]
            for m in entry.gallery.first
        ],
        "images": entry.gallery.images,
        "unit": job.unit,
    }
