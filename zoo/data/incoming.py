"""Check a dataset as a source has it, and write its contents in bounded memory."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zoo.data import cache, contents
from zoo.data.cache import Progress
from zoo.data.contents import SPLITS, Column, Kind, Meta

if TYPE_CHECKING:
    from concurrent import futures
    from typing import Any, Literal, Self

    from zoo.model import Array

ALL = "all"
"""The split of a source that has no splits: it is divided into train and test."""
MAX_CLASSES = 256
LARGEST_FLOAT = 2.0**53
"""Up to here each whole number has a float of its own."""
TEST_SHARE = 0.2
SPLIT_SEED = 42
MOST_PENDING = 2
"""Chunks that wait to be written."""
MOST_NAMED = 10
"""Number of classes that one note names."""


class Unusable(ValueError):
    """An array without one meaning; the message completes "FILE cannot be used: "."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Incoming:
    """A dataset as its reader has it; inputs are read only when they are written."""

    kind: Kind
    shape: tuple[int, ...]
    """Shape of one input, as in `Meta`."""
    labels: Mapping[str, Array]
    """By split (or ALL), one label per row, as in the source: whole numbers, texts or booleans."""
    inputs: Mapping[str, Callable[[], Iterable[Array]]]
    """By split: returns chunks of rows, (k, *shape), in order, already of type `dtype`.

    A chunk stays as it is after the next one was asked for: it is written by another thread.
    """
    dtype: Literal["uint8", "float32", "float64"] = "uint8"
    columns: tuple[Column, ...] = ()
    """The columns of a table; which have missing values is found when they are written."""
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
    """Share of the rows for `test`, 1 for all; None for TEST_SHARE if there is no test split."""
    validation: float | None = None
    """Share of the training rows for `validation`; None for none."""


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
    parts, notes = _divide(labels, shares or Shares(), _unit(given))
    counts = {
        target: sum(int((part == index).sum()) for part in parts.values())
        for index, target in enumerate(SPLITS)
    }
    counts = {split: count for split, count in counts.items() if count}
    lows, digests = _write_inputs(folder, given, parts, counts, progress)
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
        columns=_with_missing(given.columns, lows),
        class_names=class_names,
        counts=counts,
        weighted=weighted,
        fingerprint="0" * 64,
        notes=tuple(_rare(in_training, class_names, _unit(given)[:-1])),
        conversions=(*given.notes, *notes),
        untrainable=_untrainable(in_training, given),
        metric=given.metric,
    )
    return contents.write_meta(folder, meta, digests)


def _with_missing(columns: Sequence[Column], lows: Array | None) -> tuple[Column, ...]:
    """The columns with `has_missing`: a lowest value of NaN, or -1 of a category."""
    if lows is None:
        return tuple(columns)
    return tuple(
        column.model_copy(
            update={"has_missing": low < 0 if column.kind == "category" else math.isnan(low)}
        )
        for column, low in zip(columns, lows.tolist(), strict=True)
    )


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


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names: in numerical order if all are whole numbers."""
    found = sorted(names)
    return sorted(found, key=int) if all(map(_is_whole, found)) else found


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
    labels: Mapping[str, Array], shares: Shares, unit: str
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
    for split, given in (("test", shares.test), ("validation", shares.validation)):
        if given is not None and split in parts:
            raise Unusable(
                f"it has a {split} split already, so that no share is held out for another",
                f"Leave out the share for {split}.",
            )
    if "test" not in parts:
        share = TEST_SHARE if shares.test is None else shares.test
        if share == 1:
            parts[source][:] = SPLITS.index("test")
            return parts, (f"All {unit} are the test split.",)
        _hold_out(parts[source], labels[source], share, SPLITS.index("test"))
        notes.append(
            f"There is no test split: {share:.0%} of the {unit}, stratified, were held out for it."
        )
    if shares.validation and "validation" not in parts:
        _hold_out(parts[source], labels[source], shares.validation, SPLITS.index("validation"))
    return parts, tuple(notes)


def _hold_out(part: Array, labels: Array, share: float, target: int) -> None:
    """Assign a share of the training rows to another split; single rows of a class stay.

    Raises Unusable if no class has two rows.
    """
    import numpy as np

    rows = np.flatnonzero(part == 0)
    counts = np.bincount(labels[rows])
    several = rows[counts[labels[rows]] > 1]
    if not len(several):
        split = SPLITS[target]
        raise Unusable(
            f"there are not two of any class, so that none can be held out for the {split} split",
            f"Add more, or name the {split} split: --{split} FILE.",
        )
    part[several[stratified(labels[several], share, SPLIT_SEED)]] = target


def stratified(labels: Array, share: float, seed: int) -> Array:
    """Choose a share of rows, stratified by their labels.

    They are those of scikit-learn's `train_test_split(test_size=share, stratify=labels,
    random_state=seed)`, whose import takes longer than reading a million rows of a table, and
    which terminals need not have.

    Args:
        labels: int64 (n,), indices of classes.
        share: The share, between 0 and 1.
        seed: The seed of the choice.

    Returns:
        The indices of the chosen rows, ascending.

    Raises:
        ValueError: A class would have no row in one of both parts.
    """
    import numpy as np

    chosen = math.ceil(share * len(labels))
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    if min(chosen, len(labels) - chosen) < len(present):
        raise ValueError(
            f"it cannot be split: {len(labels)} rows of {len(present)} classes are too few "
            f"for a share of {share:g}"
        )
    rng = np.random.RandomState(seed)
    in_training = _drawn(counts[present], len(labels) - chosen, rng)
    held_out = _drawn(counts[present] - in_training, chosen, rng)
    # The fast stable sort is that of small whole numbers.
    ordered = np.argsort(labels.astype("int16"), kind="stable")
    found, start = [], 0
    for count, first, many in zip(counts[present], in_training, held_out, strict=True):
        rows = ordered[start : start + count]
        found.append(rows[rng.permutation(count)[first : first + many]])
        start += count
    chosen_rows: Array = np.sort(np.concatenate(found))
    return chosen_rows


def _drawn(counts: Array, draws: int, rng: Any) -> Array:
    """The number of rows of each class in a stratified draw; rounding is decided by `rng`."""
    import numpy as np

    exact = counts / counts.sum() * draws
    drawn = np.floor(exact)
    needed, remainders = int(draws - drawn.sum()), exact - drawn
    for remainder in np.unique(remainders)[::-1]:
        if needed == 0:
            break
        tied = np.flatnonzero(remainders == remainder)
        tied = rng.choice(tied, size=min(len(tied), needed), replace=False)
        drawn[tied] += 1
        needed -= len(tied)
    counted: Array = drawn.astype("int64")
    return counted


def _write_inputs(
    folder: Path,
    given: Incoming,
    parts: Mapping[str, Array],
    counts: Mapping[str, int],
    progress: Progress | None,
) -> tuple[Array | None, dict[str, str]]:
    """Write the inputs of all splits.

    Returns:
        Of a table the lowest value of each column, NaN if one is NaN; and the hashes of the
        files, which are made here because the values are at hand.
    """
    total, done = sum(len(part) for part in parts.values()), 0
    with contextlib.ExitStack() as opened:
        files: dict[int, _File] = {}
        is_hashed = not contents.has_idx_form(given.kind, given.shape, given.dtype, counts)
        for split, count in counts.items():
            path = folder / contents.inputs_file(split)
            stream = cache.open_array(path, (count, *given.shape), given.dtype)
            files[SPLITS.index(split)] = _File(opened.enter_context(stream), is_hashed)
        output = opened.enter_context(_Output(given, files))
        for source, part in parts.items():
            start = 0
            for chunk in given.inputs[source]():
                targets = part[start : start + len(chunk)]
                if len(targets) < len(chunk):
                    raise ValueError(f"it has more {source} inputs than labels")
                start += len(chunk)
                output.put(chunk, targets)
                done += len(chunk)
                if progress:
                    progress(f"reading {_unit(given)}", done, total)
            if start != len(part):
                raise ValueError(f"it has {start} {source} inputs and {len(part)} labels")
        output.flush()
    digests = {
        contents.inputs_file(SPLITS[index]): each.digest.hexdigest()
        for index, each in files.items()
        if is_hashed
    }
    return output.lows, digests


@dataclass(frozen=True)
class _File:
    """The file of an array, and the hash of its values."""

    stream: IO[bytes]
    is_hashed: bool
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def write(self, rows: Array) -> None:
        import numpy as np

        data = np.ascontiguousarray(rows).reshape(-1).view("uint8").data
        self.stream.write(data)
        if self.is_hashed:
            self.digest.update(data)


class _Output:
    """Deals rows to the files of their splits, in a thread beside the one that reads them."""

    def __init__(self, given: Incoming, files: Mapping[int, _File]) -> None:
        self.lows: Array | None = None
        self._given, self._files = given, files
        from concurrent import futures  # for writers alone

        self._thread = futures.ThreadPoolExecutor(1)
        self._pending: collections.deque[futures.Future[None]] = collections.deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def put(self, chunk: Array, targets: Array) -> None:
        """Write a chunk, soon; raises what the writing of earlier ones has raised."""
        if len(self._pending) >= MOST_PENDING:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._deal, chunk, targets))

    def flush(self) -> None:
        """Wait until all is written; raises as `put` does."""
        while self._pending:
            self._pending.popleft().result()

    def _deal(self, chunk: Array, targets: Array) -> None:
        import numpy as np

        given = self._given
        if chunk.shape[1:] != given.shape or chunk.dtype != given.dtype:
            raise ValueError(f"it has inputs of {chunk.dtype} {chunk.shape[1:]} among others")
        if not len(chunk):
            return
        if given.kind == "table":
            self._check(chunk)
        if (targets == targets[0]).all():
            self._files[int(targets[0])].write(chunk)
            return
        for index, file in self._files.items():
            file.write(chunk[np.flatnonzero(targets == index)])

    def _check(self, rows: Array) -> None:
        """Take the lowest values; raises ValueError for infinite ones."""
        import numpy as np

        low, high = rows.min(axis=0), rows.max(axis=0)
        self.lows = low if self.lows is None else np.minimum(self.lows, low)
        infinite = np.isinf(low) | np.isinf(high)
        if infinite.any():
            name = self._given.columns[int(infinite.argmax())].name
            raise Unusable(
                f"its column '{name}' has infinite values",
                "Write NA for a missing value, or a number, or leave the column out: "
                f"--drop {shlex.quote(name)}.",
            )


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
    if not len(labels):
        return
    for count, what in ((0, f"no training {unit}"), (1, f"a single training {unit}")):
        names = [f"'{class_names[label]}'" for label in np.flatnonzero(counts == count).tolist()]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        names_shown = ", ".join(names[:MOST_NAMED]) + more
        if len(names) == 1:
            yield f"The class {names_shown} has {what}: is it meant?"
        elif names:
            yield f"{len(names)} classes have {what} each: {names_shown}."
