"""Convert labels of one meaning: one-hot rows, columns, floats, bytes; give them names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zoo.data.incoming import ALL, LARGEST_FLOAT, Unusable

if TYPE_CHECKING:
    import numpy as np

    from zoo.model import Array

NUMBERED = "Number the classes 0, 1, 2, ..."
TYPES = {"O": "Python objects", "U": "texts", "S": "texts", "c": "complex numbers"}


def describe_type(dtype: np.dtype) -> str:
    """Describe values that are no numbers."""
    return TYPES.get(dtype.kind, f"values of type {dtype}")


def convert(given: Mapping[str, Array]) -> tuple[dict[str, Array], list[str]]:
    """Turn labels into one whole number, text or boolean per row; says what was converted."""
    labels, notes = {}, []
    for split, each in given.items():
        of = "labels" if split == ALL else f"{split} labels"
        flat, shape_note = _one_per_row(each, of)
        labels[split], value_note = _class_values(flat, of)
        notes += [note for note in (shape_note, value_note) if note]
    kinds = {
        "text" if each.dtype.kind == "U" else "number" for each in labels.values() if each.size
    }
    if len(kinds) > 1:
        raise Unusable(
            "its splits have labels of several types, numbers and texts",
            "Save both in one way: .astype(str).",
        )
    return labels, notes


def _one_per_row(labels: Array, of: str) -> tuple[Array, str]:
    import numpy as np

    if labels.dtype.kind == "O":
        raise Unusable(
            f"its {of} are Python objects", "Save them as texts, .astype(str), or numbers."
        )
    if labels.ndim == 1:
        return labels, ""
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0], "Labels in a column, (n, 1), were read as one for each row."
    found = f"its {of} are {labels.dtype} {labels.shape}, not one for each row"
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "biuf":
        raise Unusable(found, "Save one label for each row: .ravel() of a row or a column.")
    if not np.isin(labels, (0, 1)).all():
        raise Unusable(found, "Save one label for each row, such as .argmax(axis=1) of scores.")
    ones = (labels == 1).sum(axis=1)
    if (ones > 1).any():
        raise Unusable(
            f"its {of} have several ones in row {np.flatnonzero(ones > 1)[0]}: several classes "
            "for one input",
            "Zoo trains classifiers of one class: save one column, such as labels[:, 0].",
        )
    if (ones == 0).any():
        raise Unusable(
            f"its {of} have no one in row {np.flatnonzero(ones == 0)[0]}: no class",
            "Leave out rows without a class, or save one label for each row.",
        )
    return labels.argmax(axis=1), "One-hot labels became the numbers of their columns."


def _class_values(labels: Array, of: str) -> tuple[Array, str]:
    import numpy as np

    kind = labels.dtype.kind
    if kind == "S":
        try:
            return np.char.decode(labels, "utf-8"), "Labels of bytes were read as UTF-8 texts."
        except UnicodeDecodeError:
            raise Unusable(
                f"its {of} are bytes that are no UTF-8", "Save texts: .decode(...) of each."
            ) from None
    if kind == "U":
        if (labels == "").any():
            raise Unusable(
                f"its {of} have an empty text in row {np.flatnonzero(labels == '')[0]}",
                "Leave out rows without a label.",
            )
        return labels, ""
    if kind == "f":
        return _whole_labels(labels, of)
    if kind not in "biu":
        raise Unusable(
            f"its {of} are {describe_type(labels.dtype)}", "Save whole numbers or texts."
        )
    if kind == "u" and labels.size and labels.max() > np.iinfo("int64").max:
        raise Unusable(f"its {of} are too large, such as {labels.max()}", NUMBERED)
    return labels, ""


def _whole_labels(labels: Array, of: str) -> tuple[Array, str]:
    import numpy as np

    if not np.isfinite(labels).all():
        raise Unusable(f"its {of} have missing values", "Leave out rows without a label.")
    is_real = labels != np.rint(labels)
    if is_real.any():
        raise Unusable(
            f"its {of} are real numbers such as {labels[is_real][0]}: a regression target, no "
            "classes",
            "Zoo trains classifiers: save classes, such as numpy.digitize(y, limits).",
        )
    if (abs(labels) > LARGEST_FLOAT).any():
        raise Unusable(f"its {of} are too large, such as {labels.max():g}", NUMBERED)
    return labels.astype("int64"), "Labels of floats, all of them whole, became whole numbers."


def named(
    labels: dict[str, Array], wanted: tuple[str, ...], found: tuple[str, ...] | None
) -> tuple[dict[str, Array], tuple[str, ...] | None]:
    """Give the labels the names of the options, in numerical order, or those of the file."""
    import numpy as np

    if not wanted:
        return labels, found
    if any(each.dtype.kind not in "biu" for each in labels.values() if each.size):
        raise Unusable("its labels are texts already, and 'classes' names numbers")
    if len(set(wanted)) < len(wanted) or not all(wanted):
        raise Unusable(f"'classes' has an empty name or one twice: {','.join(wanted)}")
    numbers = {split: each.astype("int64") for split, each in labels.items()}
    present = np.unique(np.concatenate(list(numbers.values())))
    count = len(wanted)
    if not present.size:
        return labels, wanted
    if len(present) == count:
        return {s: np.searchsorted(present, each) for s, each in numbers.items()}, wanted
    fits = [start for start in (0, 1) if present.min() >= start and present.max() < start + count]
    if len(fits) == 1:
        return {s: each - fits[0] for s, each in numbers.items()}, wanted
    raise Unusable(
        f"it has {len(present)} different labels, {present.min()} to {present.max()}, but "
        f"'classes' has {count} names",
        "Give one name for each label, in numerical order.",
    )
