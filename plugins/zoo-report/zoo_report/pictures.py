"""The pictures of a job, with their titles and descriptions."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo_report.predictions as predictions
from zoo.canonical_json import object_in, read_json
from zoo.errors import reason
from zoo.jobs.environments import Environment
from zoo.results.predictions import read_predictions
from zoo.training.provenance import FILE as ENVIRONMENT
from zoo.training.run import HISTORY, PREDICTIONS, WEIGHT_IMAGES
from zoo_report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIST = "pictures.json"
"""Lists file, title and alternative text of each picture."""
TABLE = "per_class.csv"
MISTAKES = 20
CAPTION = 12
"""Characters of a class name below an image."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A figure with its texts."""

    name: str
    title: str
    alt: str
    """Alternative text."""
    figure: Figure
    legend: str = ""
    """How to read it, if the figure does not say."""


def draw_pictures(job: dict[str, Any], files: Path, folder: Path) -> None:
    """Draw the pictures of a succeeded job from its files into the folder.

    A picture that cannot be drawn is left out, and the reason is logged.
    """
    listed = []
    with plots.style():
        for make in MAKERS:
            try:
                picture = make(job, files)
                if picture is not None:
                    _save(job, picture, folder)
                    listed.append(_entry(picture))
            except Exception as error:  # a model may have written anything
                about = job["id"][:8], make.__name__, type(error).__name__, reason(error)
                logger.warning("job %s: no picture of %s: %s: %s", *about)
    _write_table(job["metrics"], folder / TABLE)
    text = json.dumps(listed, ensure_ascii=False, indent=1)
    (folder / LIST).write_text(text, encoding="utf-8")


def _save(job: dict[str, Any], picture: Picture, folder: Path) -> None:
    whose = f"{job['model']} on {job['dataset']}, job {job['id'][:8]}"
    head = f"{whose}{picture.legend}"
    picture.figure.suptitle(head, fontsize=8, color=plots.GREY)
    texts = {"Title": f"{picture.title}: {whose}", "Description": picture.alt, "Software": "zoo"}
    picture.figure.savefig(folder / _file(picture), metadata=texts)


def _entry(picture: Picture) -> dict[str, str]:
    return {"file": _file(picture), "title": picture.title, "alt": picture.alt}


def _file(picture: Picture) -> str:
    return f"{picture.name}.png"


def learning_curves(job: dict[str, Any], files: Path) -> Picture | None:
    """Draw the metrics over the steps, if there are several."""
    history = read_json((files / HISTORY).read_bytes()) if (files / HISTORY).exists() else []
    if len(history) < 2:
        return None
    first, last = history[0], history[-1]
    moved = [
        f"{name} from {first[name]:.4f} to {last[name]:.4f}"
        for name in last.keys() - {"step", "total", "unit"}
        if isinstance(first.get(name), float) and isinstance(last[name], float)
    ]
    alt = f"Over {len(history)} steps: {', '.join(sorted(moved))}."
    drawn = plots.learning_curves(history, job["metrics"])
    if drawn is None:
        return None
    return Picture("learning_curves", "Learning curves", alt, drawn)


def confusion_matrix(job: dict[str, Any], files: Path) -> Picture | None:
    """Draw the confusion matrix."""
    matrix, names = job["metrics"].get("confusion_matrix"), job["metrics"].get("classes")
    if not matrix or len(names) > plots.NUMBERED:
        return None
    pairs = [(n, i, k) for i, row in enumerate(matrix) for k, n in enumerate(row) if i != k and n]
    worst = [f"{names[i]} for {names[k]} ({n})" for n, i, k in sorted(pairs, reverse=True)[:3]]
    right, n_images = sum(row[i] for i, row in enumerate(matrix)), sum(map(sum, matrix))
    unit = _unit(job)
    alt = f"Of {n_images:,} {unit} {right:,} are right."
    alt += f" Most often taken: {', '.join(worst)}." if worst else ""
    drawn = plots.confusion_matrix(matrix, names)
    return Picture("confusion_matrix", "Confusion matrix", alt, drawn)


def mistakes(job: dict[str, Any], files: Path) -> Picture | None:
    """Draw the most confident mistakes; without probabilities, the first ones."""
    found = read_predictions(files / PREDICTIONS)
    rows = predictions.wrong_rows(found, MISTAKES)
    around = Environment.from_json(read_json((files / ENVIRONMENT).read_bytes()))
    images = predictions.load_images(job, found.index[rows], around.data) if len(rows) else None
    if images is None:
        return None
    names, sure = job["metrics"]["classes"], found.confidence
    captions, pairs = [], []
    for row in rows:
        true, taken = names[found.labels[row]], names[found.predicted[row]]
        how = f" ({100 * sure[row]:.1f} %)" if sure is not None else ""
        pairs.append(f"{true} for {taken}{how}")
        captions.append(f"{true[:CAPTION]} → {taken[:CAPTION]}\n#{found.index[row]}{how}")
    which = "it was surest of" if sure is not None else "that came first"
    alt = f"The {len(rows)} mistakes {which}: it took {', '.join(pairs)}."
    drawn = plots.mistakes(images, captions)
    title = "Most confident mistakes" if sure is not None else "Mistakes"
    return Picture("mistakes", title, alt, drawn, ": true → predicted")


def _unit(job: dict[str, Any]) -> str:
    return "rows" if job["metrics"].get("inputs") == "rows" else "images"


def calibration(job: dict[str, Any], files: Path) -> Picture | None:
    """Draw the reliability diagram, if there are probabilities."""
    found = predictions.measure_calibration(read_predictions(files / PREDICTIONS))
    if found is None:
        return None
    alt = (
        f"Expected calibration error {found.error:.4f}: how far, over {len(found.counts)} bins of "
        f"the confidence, the part that is right is from the confidence."
    )
    legend = f": expected calibration error {found.error:.4f}"
    return Picture("calibration", "Calibration", alt, plots.calibration(found, _unit(job)), legend)


def weights(job: dict[str, Any], files: Path) -> Picture | None:
    """Draw the weights of a linear model as images."""
    import numpy as np

    if not (files / WEIGHT_IMAGES).exists():
        return None
    images, names = np.load(files / WEIGHT_IMAGES, allow_pickle=False), job["metrics"]["classes"]
    alt = (
        f"The weights of {len(names)} classes as images, from {images.min():.3g} to "
        f"{images.max():.3g}: red pixels speak for the class, blue ones against it."
    )
    return Picture("weights", "Weights", alt, plots.weights(images, names))


MAKERS: tuple[Callable[[dict[str, Any], Path], Picture | None], ...] = (
    *(learning_curves, confusion_matrix, mistakes, calibration, weights),
)


def _write_table(metrics: dict[str, Any], path: Path) -> None:
    measured, names = object_in(metrics, "per_class"), metrics.get("classes")
    if not measured or not isinstance(names, list):
        return
    columns = ["precision", "recall", "f1", "support"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", *columns])
        for name in map(str, names):
            found = object_in(measured, name)
            writer.writerow([name, *(found.get(column) for column in columns)])
