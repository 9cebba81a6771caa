"""Check a dataset as a source has it, and write its contents in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zoo.data import cache, contents
from zoo.data.cache import Progress
from zoo.data.contents import SPLITS, Column, Kind, Meta
from zoo.errors import reason

if TYPE_CHECKING:
    from typing import Literal

    from zoo.model import Array

ALL = "all"
"""The split of a source that has no splits: it is divided into train and test."""
MAX_CLASSES = 256
LARGEST_FLOAT = 2.0**53
"""Up to here each whole number has a float of its own."""
TEST_SHARE = 0.2
SPLIT_SEED = 42
MOST_NAMED = 10
"""Number of classes that one note names."""


@dataclass(frozen=True)
class Incoming:
    """A dataset as its reader has it; inputs are read only when they are written."""

    kind: Kind
    shape: tuple[int, ...]
    """Shape of one input, as in `Meta`."""
    labels: Mapping[str, Array]
    """By split (or ALL), one label per row, as in the source: whole numbers, texts or booleans."""
    inputs: Mapping[str, Callable[[], Iterable[Array]]]
    """By split: returns chunks of rows, (k, *shape), in order, already of type `dtype`."""
    dtype: Literal["uint8", "float32", "float64"] = "uint8"
    columns: tuple[Column, ...] = ()
    class_names: tuple[str, ...] | None = None
    """The names of the labels 0, 1, ...; None if the labels are the names."""
    weights: Mapping[str, Array] = field(default_factory=dict)
    """By split: weights of the rows, float64 (n,)."""
    notes: tuple[str, ...] = ()
    """Conversions that were made, a sentence each."""
    metric: str = ""


@dataclass(frozen=True)
class Shares:
    """The splits to make if the source has none."""

    test: float | None = None
    """Share of the rows for `test`; None for TEST_SHARE if the source has no test split."""
    validation: float | None = None
    """Share of the training rows for `validation`; None for none."""


def of_arrays(
    splits: Mapping[str, tuple[Array, Array]],
    class_names: tuple[str, ...] | None = None,
    notes: Sequence[str] = (),
) -> Incoming:
    """Take images that are in memory; raises ValueError if splits have different shapes."""
    for split, (images, labels) in splits.items():
        _check_images(split, images, labels)
    shapes = {images.shape[1:] for images, _ in splits.values()}
    if len(shapes) > 1:
        sizes = ", ".join(f"{split} {images.shape}" for split, (images, _) in splits.items())
        raise ValueError(f"its images have several sizes: {sizes}")
    dtypes = {str(images.dtype) for images, _ in splits.values()}
    if len(dtypes) > 1:
        raise ValueError(f"its splits have several types: {', '.join(sorted(dtypes))}")
    return Incoming(
        "image",
        shapes.pop(),
        {split: labels for split, (_, labels) in splits.items()},
        {split: _chunks_of(images) for split, (images, _) in splits.items()},
        dtypes.pop(),  # type: ignore[arg-type]
        class_names=class_names,
        notes=tuple(notes),
    )


def _check_images(split: str, images: Array, labels: Array) -> None:
    is_image = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if not is_image or images.dtype not in ("uint8", "float32", "float64"):
        found = f"{images.dtype} {images.shape}"
        raise ValueError(
            f"its {split} images are {found}, not uint8 (n, height, width) or (n, height, width, 3)"
        )
    if labels.ndim != 1:
        found = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"its {split} labels are {found}, not one for each image")
    if len(images) != len(labels):
        raise ValueError(f"it has {len(images)} {split} images and {len(labels)} labels")
    if not all(images.shape[1:]):
        raise ValueError(f"its {split} images have no pixels")


def _chunks_of(array: Array) -> Callable[[], Iterator[Array]]:
    rows = max(1, contents.CHUNK // max(1, array[:1].nbytes))

    def chunks() -> Iterator[Array]:
        for start in range(0, len(array), rows):
            yield array[start : start + rows]

    return chunks


def write(
    folder: Path,
    name: str,
    given: Incoming,
    shares: Shares | None = None,
    progress: Progress | None = None,
) -> Meta:
    """Write contents into an empty folder: splits that are missing are made, stratified.

    Args:
        folder: The folder.
        name: Name of the dataset, for `meta.json`.
        given: The dataset.
        shares: Splits to make.
        progress: Called with the rows written.

    Returns:
        The description with the fingerprint, as written.

    Raises:
        ValueError: The labels are no classes, or a split is empty.
        OSError: The folder cannot be written.
    """
    import numpy as np

    labels, class_names = classes(given)
    for split, each in labels.items():
        if not len(each) and split != "train":
            raise ValueError(f"it has no {split} {_unit(given)}")
    labels = {split: each for split, each in labels.items() if len(each)}
    if not labels:
        raise ValueError(f"it has no {_unit(given)}")
    parts, notes = _divide(labels, shares or Shares())
    counts = {
        target: sum(int((part == index).sum()) for part in parts.values())
        for index, target in enumerate(SPLITS)
    }
    counts = {split: count for split, count in counts.items() if count}
    _write_inputs(folder, given, parts, counts, progress)
    for index, target in enumerate(SPLITS):
        if target in counts:
            kept = [labels[source][part == index] for source, part in parts.items()]
            values = np.concatenate(kept).astype("int64")
            cache.save(folder / contents.labels_file(target), values.shape, "int64", [values])
    weighted = _write_weights(folder, given, parts, counts)
    train = [labels[source][part == 0] for source, part in parts.items()]
    in_training = np.concatenate(train) if train else np.empty(0, "int64")
    meta = Meta(
        name=name,
        kind=given.kind,
        shape=given.shape,
        dtype=given.dtype,
        columns=given.columns,
        class_names=class_names,
        counts=counts,
        weighted=weighted,
        fingerprint="0" * 64,
        notes=(*given.notes, *notes, *_rare(in_training, class_names, _unit(given)[:-1])),
        untrainable=_untrainable(in_training, given),
        metric=given.metric,
    )
    return contents.write_meta(folder, meta)


def _unit(given: Incoming) -> str:
    return "images" if given.kind == "image" else "rows"


def _untrainable(labels: Array, given: Incoming) -> str:
    import numpy as np

    if not len(labels):
        return f"it has no training {_unit(given)}"
    if len(np.unique(labels)) < 2:
        return f"all training {_unit(given)} are of one class"
    return ""


def classes(given: Incoming) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Turn labels into indices of classes: the labels that occur in any split.

    They are in numerical order if all are whole numbers, also as text; else sorted.

    Returns:
        The indices, int64 (n,) by split, and the names.

    Raises:
        ValueError: The labels are no classes: real numbers, missing ones, or too many.
    """
    import numpy as np

    labels = {split: np.asarray(each) for split, each in given.labels.items()}
    for split, each in labels.items():
        _check_labels(split, each)
    found = np.unique(np.concatenate([_plain(each) for each in labels.values()]))
    if given.class_names is not None:
        if found.dtype.kind not in "iu":
            raise ValueError("its labels are no whole numbers, but it has class names")
        if found.min() < 0 or found.max() >= len(given.class_names):
            raise ValueError(
                f"a label is {found.max() if found.min() >= 0 else found.min()}, "
                f"but there are {len(given.class_names)} class names"
            )
    if len(found) > MAX_CLASSES:
        raise ValueError(f"it has {len(found):,} different labels; {MAX_CLASSES} are the most")
    if found.dtype.kind == "U" and all(_is_whole(each) for each in found):
        found = found[np.argsort([int(each) for each in found], kind="stable")]
    names = [str(each) for each in found.tolist()]
    if given.class_names is not None:
        names = [given.class_names[int(label)] for label in found]
    order = np.argsort(found, kind="stable")
    indices = {
        split: order[np.searchsorted(found, _plain(each), sorter=order)].astype("int64")
        for split, each in labels.items()
    }
    return indices, tuple(names)


def _check_labels(split: str, labels: Array) -> None:
    import numpy as np

    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError(f"its {split} labels have missing values")
        if (is_real := labels != np.rint(labels)).any():
            raise ValueError(
                f"its {split} labels are real numbers such as {labels[is_real][0]}: "
                "a regression target, no classes"
            )
        if (abs(labels) > LARGEST_FLOAT).any():
            raise ValueError(f"its {split} labels are too large, such as {labels.max():g}")
    elif labels.dtype.kind == "u":
        if len(labels) and labels.max() > np.iinfo("int64").max:
            raise ValueError(f"its {split} labels are too large, such as {labels.max()}")
    elif labels.dtype.kind not in "ibU":
        raise ValueError(f"its {split} labels are {labels.dtype}, not whole numbers or texts")


def _plain(labels: Array) -> Array:
    return labels.astype("int64") if labels.dtype.kind in "fu" else labels


def _is_whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19


def _divide(
    labels: Mapping[str, Array], shares: Shares
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The index in SPLITS of each row of each split of the source, and what is to be said."""
    import numpy as np

    parts = {
        source: np.full(len(each), 0 if source == ALL else SPLITS.index(source), "int8")
        for source, each in labels.items()
    }
    source = next((each for each in (ALL, "train") if each in parts), None)
    if source is None:
        return parts, ()
    notes = []
    if "test" not in parts:
        share = TEST_SHARE if shares.test is None else shares.test
        _hold_out(parts[source], labels[source], share, SPLITS.index("test"))
        notes.append(
            f"There is no test split: {share:.0%} of the rows, stratified, were held out for it."
        )
    if shares.validation and "validation" not in parts:
        _hold_out(parts[source], labels[source], shares.validation, SPLITS.index("validation"))
    return parts, tuple(notes)


def _hold_out(part: Array, labels: Array, share: float, target: int) -> None:
    """Assign a share of the training rows to another split; single rows of a class stay."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    rows = np.flatnonzero(part == 0)
    counts = np.bincount(labels[rows])
    several = rows[counts[labels[rows]] > 1]
    try:
        _, held_out = train_test_split(
            several, test_size=share, stratify=labels[several], random_state=SPLIT_SEED
        )
    except ValueError as error:
        raise ValueError(f"it cannot be split: {reason(error)}") from None
    part[held_out] = target


def _write_inputs(
    folder: Path,
    given: Incoming,
    parts: Mapping[str, Array],
    counts: Mapping[str, int],
    progress: Progress | None,
) -> None:
    total, done = sum(len(part) for part in parts.values()), 0
    with contextlib.ExitStack() as opened:
        files: dict[int, IO[bytes]] = {}
        for split, count in counts.items():
            path = folder / contents.inputs_file(split)
            stream = cache.open_array(path, (count, *given.shape), given.dtype)
            files[SPLITS.index(split)] = opened.enter_context(stream)
        for source, part in parts.items():
            start = 0
            for chunk in given.inputs[source]():
                targets = part[start : start + len(chunk)]
                if len(targets) < len(chunk):
                    raise ValueError(f"it has more {source} inputs than labels")
                start += len(chunk)
                _deal(chunk, targets, files, given)
                done += len(chunk)
                if progress:
                    progress(f"reading {_unit(given)}", done, total)
            if start != len(part):
                raise ValueError(f"it has {start} {source} inputs and {len(part)} labels")


def _deal(chunk: Array, targets: Array, files: Mapping[int, IO[bytes]], given: Incoming) -> None:
    import numpy as np

    if chunk.shape[1:] != given.shape or chunk.dtype != given.dtype:
        raise ValueError(f"it has inputs of {chunk.dtype} {chunk.shape[1:]} among others")
    first = int(targets[0]) if len(targets) else 0
    if (targets == first).all():
        files[first].write(np.ascontiguousarray(chunk).data)
        return
    for index, stream in files.items():
        stream.write(np.ascontiguousarray(chunk[targets == index]).data)


def _write_weights(
    folder: Path, given: Incoming, parts: Mapping[str, Array], counts: Mapping[str, int]
) -> tuple[str, ...]:
    import numpy as np

    if not given.weights:
        return ()
    for index, target in enumerate(SPLITS):
        if target in counts:
            kept = [given.weights[source][part == index] for source, part in parts.items()]
            values = np.concatenate(kept).astype("float64")
            if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
                raise ValueError("its weights are not finite numbers of 0 or more")
            cache.save(folder / contents.weights_file(target), values.shape, "float64", [values])
    return tuple(counts)


def _rare(labels: Array, class_names: Sequence[str], unit: str) -> Iterator[str]:
    """Yield warnings about classes without training rows, or with a single one."""
    import numpy as np

    counts = np.bincount(labels, minlength=len(class_names))
    for count, what in ((0, f"no training {unit}"), (1, f"a single training {unit}")):
        names = [f"'{class_names[label]}'" for label in np.flatnonzero(counts == count).tolist()]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        names_shown = ", ".join(names[:MOST_NAMED]) + more
        if len(names) == 1:
            yield f"The class {names_shown} has {what}: is it meant?"
        elif names:
            yield f"{len(names)} classes have {what} each: {names_shown}."
