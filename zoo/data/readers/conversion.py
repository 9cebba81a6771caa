"""Convert arrays of one meaning, as people save them, to images, tables and labels.

Arrays are read in chunks of rows: an array in a file is never in memory as a whole.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo import settings
from zoo.data import contents
from zoo.data.cache import Progress
from zoo.data.contents import Column
from zoo.data.incoming import ALL, LARGEST_FLOAT, Incoming, Unusable
from zoo.data.readers import image_options, label_conversion
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError, ZooError, reason

if TYPE_CHECKING:
    import numpy as np

    from zoo.model import Array

WHITE = 255
SMALLEST_SIDE = 8
"""Flat rows of fewer than 8 x 8 values are a table: a table of 4, 9 or 16 columns is common."""
DARK = 128
"""A largest pixel below this is mentioned: the scale may be another one."""


@dataclass(frozen=True)
class Stored:
    """An array whose rows are read on demand."""

    name: str
    """As messages name it, such as `x_train`."""
    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: Callable[[], Iterable[Array]]
    """Returns chunks of rows, (k, *shape[1:]), in order."""

    @property
    def variable(self) -> str:
        """The name in a line of Python."""
        return self.name if self.name.isidentifier() else "x"


@dataclass(frozen=True)
class Parts:
    """The arrays of a dataset as its source has them, by split or ALL."""

    inputs: Mapping[str, Stored]
    labels: Mapping[str, Array]
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    """The names of the labels 0, 1, ..."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """How a form of file is read, and what to say of one that is damaged."""

    parts: Callable[[Path], Parts]
    kind: str
    hint: str


@dataclass(frozen=True)
class _Change:
    """A conversion of chunks; `shape` is that of one input afterwards."""

    shape: tuple[int, ...]
    apply: Sequence[Callable[[Array], Array]] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Values:
    """Facts about the floats of all splits."""

    least: float = math.inf
    most: float = -math.inf
    are_whole: bool = True
    are_bytes: bool = True
    """Whether each is k/255, up to a rounding of its last bit."""
    missing: set[int] = field(default_factory=set)
    """Columns of a table with NaN."""


def in_memory(name: str, array: Array) -> Stored:
    """Describe an array that is in memory already."""

    def chunks() -> Iterator[Array]:
        step = rows_at_once(array.shape, array.dtype)
        for start in range(0, len(array), step):
            yield array[start : start + step]

    return Stored(name, array.shape, array.dtype, chunks)


def rows_at_once(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Return the number of rows in a chunk."""
    return max(1, contents.CHUNK // max(1, math.prod(shape[1:]) * dtype.itemsize))


def read_files(
    form: Form, path: Path, options: SourceOptions, progress: Progress | None
) -> Incoming:
    """Read the arrays of a path, and of the paths of other splits among the options.

    Raises DatasetError, as the chunks of inputs do.
    """
    # Before a reader reports a missing package as a damaged file.
    import numpy  # noqa: F401

    with _refusals(path, form):
        parts = form.parts(path)
    for split, other in (("test", options.test), ("validation", options.validation)):
        if isinstance(other, str):
            with _refusals(Path(other), form):
                parts = _joined(parts, form.parts(Path(other)), split)
    with _refusals(path, form):
        given = convert(parts, options, progress)

    def guarded(chunks: Callable[[], Iterable[Array]]) -> Callable[[], Iterator[Array]]:
        def read() -> Iterator[Array]:
            with _refusals(path, form):
                yield from chunks()

        return read

    return replace(given, inputs={each: guarded(rows) for each, rows in given.inputs.items()})


@contextlib.contextmanager
def _refusals(path: Path, form: Form) -> Iterator[None]:
    try:
        yield
    except ZooError:
        raise
    except Unusable as error:
        raise DatasetError(f"{path} cannot be used: {error}.", error.hint) from None
    # zipfile, zlib and numpy raise a dozen kinds of errors over foreign bytes.
    except Exception as error:
        raise DatasetError(
            f"{path} is not a valid {form.kind}: {reason(error)}.", form.hint
        ) from None


def _joined(parts: Parts, other: Parts, split: str) -> Parts:
    """Add a split of its own file; what is without splits becomes the training split."""
    if split in parts.inputs:
        raise Unusable(f"the dataset has a {split} split already", f"Leave out {split}=.")
    if split not in other.inputs and len(other.inputs) > 1:
        raise Unusable(f"it has several splits, but no {split} split")
    found = split if split in other.inputs else next(iter(other.inputs))
    renamed = {"train" if each == ALL else each: each for each in parts.inputs}
    return replace(
        parts,
        inputs={new: parts.inputs[old] for new, old in renamed.items()}
        | {split: other.inputs[found]},
        labels={new: parts.labels[old] for new, old in renamed.items()}
        | {split: other.labels[found]},
    )


def of_arrays(
    splits: Mapping[str, tuple[Array, Array]], class_names: tuple[str, ...] | None = None
) -> Incoming:
    """Take arrays that are in memory; raises Unusable if they have no meaning or several."""
    inputs = {split: in_memory(f"{split} images", images) for split, (images, _) in splits.items()}
    labels = {split: each for split, (_, each) in splits.items()}
    return convert(Parts(inputs, labels, class_names=class_names), SourceOptions())


def convert(parts: Parts, options: SourceOptions, progress: Progress | None = None) -> Incoming:
    """Decide the meaning of arrays; inputs are converted when they are read.

    Floats are read once to decide. Raises Unusable if there is no meaning, or several.
    """
    inputs = parts.inputs
    # Before the labels: one that does not fit them may have its rows in another axis.
    _check_axes(parts)
    labels, label_notes = label_conversion.convert(parts.labels)
    for split, each in inputs.items():
        if each.shape[0] != len(labels[split]):
            of = "" if split == ALL else f"{split} "
            raise Unusable(
                f"it has {each.shape[0]} {of}images and {len(labels[split])} labels",
                "Each input needs a label; are two files mixed up?",
            )
    labels, class_names = label_conversion.named(labels, options.classes, parts.class_names)
    _check_room(sum(math.prod(each.shape) for each in inputs.values()))
    given = (_table if _is_table(parts) else _images)(parts, options, progress)
    _check_room(
        sum(len(each) for each in labels.values())
        * math.prod(given.shape)
        * (1 if given.dtype == "uint8" else int(given.dtype[-2:]) // 8)
    )
    return replace(
        given,
        labels=labels,
        class_names=class_names,
        notes=tuple(dict.fromkeys((*parts.notes, *given.notes, *label_notes))),
        metric=options.metric or "",
    )


def _check_room(needed: int) -> None:
    folder = settings.cache()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Unusable(
            f"its arrays take more than the {free:,} bytes that the disk of {folder} has",
            "Free some space, or set ZOO_HOME to another folder.",
        )


def _check_axes(parts: Parts) -> None:
    for split, each in parts.inputs.items():
        if each.dtype.kind not in "biuf":
            found = label_conversion.describe_type(each.dtype)
            raise Unusable(
                f"there are {found} in {each.name}, not numbers",
                f"Save numbers: {each.variable}.astype('float32'), or a table as CSV.",
            )
        if len(each.shape) < 2:
            raise Unusable(
                f"the shape of {each.name} is {each.shape}, not a row for each label",
                f"Save images as (n, height, width), or one column as {each.variable}[:, None].",
            )
        count = parts.labels[split].shape[:1]
        if len(each.shape) == 4 and each.shape[:1] != count and each.shape[3:] == count:
            raise Unusable(
                f"the images of {each.name} are along the last axis, {each.shape}",
                f"Save {each.variable}.transpose(3, 0, 1, 2).",
            )
        if not all(each.shape[1:]):
            raise Unusable(f"there are no pixels in {each.name}: its shape is {each.shape}")
    shapes = {each.shape[1:] for each in parts.inputs.values()}
    if len(shapes) > 1:
        sizes = ", ".join(f"{split} {each.shape}" for split, each in parts.inputs.items())
        raise Unusable(
            f"its images have several sizes: {sizes}",
            "Save all splits in one size: resize the images, or use all columns in each.",
        )


# Images


def _is_table(parts: Parts) -> bool:
    shape = _row_shape(parts)
    side = math.isqrt(shape[0])
    is_flat_image = side >= SMALLEST_SIDE and side * side == shape[0]
    return len(shape) == 1 and (parts.feature_names is not None or not is_flat_image)


def _row_shape(parts: Parts) -> tuple[int, ...]:
    return next(iter(parts.inputs.values())).shape[1:]


def _images(parts: Parts, options: SourceOptions, progress: Progress | None) -> Incoming:
    layout = _layout(next(iter(parts.inputs.values())))
    dtype, values, value_notes = _pixels(parts, progress)
    wanted = image_options.changes(options, layout.shape, dtype)
    inputs = {
        split: _applied(each, [*layout.apply, values(each), *wanted.apply])
        for split, each in parts.inputs.items()
    }
    return Incoming("image", wanted.shape, {}, inputs, dtype, notes=(*layout.notes, *value_notes))


def _applied(
    stored: Stored, changes: Sequence[Callable[[Array], Array]]
) -> Callable[[], Iterator[Array]]:
    def chunks() -> Iterator[Array]:
        for chunk in stored.chunks():
            for change in changes:
                chunk = change(chunk)
            yield chunk

    return chunks


def _layout(stored: Stored) -> _Change:
    """Find the one layout of the shape as (n, height, width) or (n, height, width, 3)."""
    shape = stored.shape[1:]
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        return _Change(
            (side, side),
            [lambda x: x.reshape(len(x), side, side)],
            (f"Rows of {shape[0]} pixels were read as images of {side} x {side}.",),
        )
    found = [each for each in _layouts(shape) if min(each.shape[:2]) > 1]
    if len(found) == 1:
        return found[0]
    name = stored.variable
    if len(found) > 1:
        raise Unusable(
            f"the shape of {stored.name}, {stored.shape}, is channels first or channels last",
            f"Save (n, height, width, 3): {name}.transpose(0, 2, 3, 1) if channels are first, "
            f"else in grey, {name}.mean(axis=3) / 255.",
        )
    raise Unusable(
        f"the shape of {stored.name} is {stored.shape}, which is no image", _mend(name, shape)
    )


def _layouts(shape: tuple[int, ...]) -> Iterator[_Change]:
    if len(shape) == 2:
        yield _Change(shape)
    elif len(shape) == 3:
        first, last = shape[0], shape[2]
        if last == 3:
            yield _Change(shape)
        elif last == 1:
            yield _Change(
                shape[:2], [lambda x: x[..., 0]], ("The axis of a single channel was left out.",)
            )
        if first == 3:
            yield _Change(
                (*shape[1:], 3),
                [lambda x: x.transpose(0, 2, 3, 1)],
                ("The channels were first and are last now, (n, height, width, 3).",),
            )
        elif first == 1:
            yield _Change(
                shape[1:], [lambda x: x[:, 0]], ("The axis of a single channel was left out.",)
            )


def _mend(name: str, shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[-1] == 4:
        return f"Leave out the transparency: save {name}[..., :3]."
    if len(shape) == 3 and shape[-1] == 2:
        return f"Save one channel: {name}[..., 0]."
    if len(shape) == 3 and shape[0] == 4:
        return f"Leave out the transparency: save {name}[:, :3]."
    if len(shape) == 2:
        values = math.prod(shape)
        side = math.isqrt(values)
        if side * side == values:
            return f"Save {name}.reshape(-1, {side}, {side})."
        return f"Save images as (n, height, width), or a table as {name}.reshape(-1, {values})."
    return "Save images as (n, height, width) in grey or (n, height, width, 3) in colour."


def _pixels(
    parts: Parts, progress: Progress | None
) -> tuple[
    Literal["uint8", "float32", "float64"],
    Callable[[Stored], Callable[[Array], Array]],
    tuple[str, ...],
]:
    """Decide the type of pixels: returns it, the conversion of an array, and what to say."""
    stored = [each for each in parts.inputs.values() if each.shape[0]]
    floats = [each for each in stored if each.dtype.kind == "f"]
    notes = [
        f"Pixels of type {each.dtype} were converted to bytes."
        for each in stored
        if each.dtype.kind in "iu" and each.dtype != "uint8"
    ]
    if any(each.dtype.kind == "b" for each in stored):
        notes.append("Booleans became the pixels 0 and 255.")
    if not floats:
        return "uint8", _byte_conversion(scale=1), tuple(notes)
    values = _scan(floats, progress)
    _check_pixels(values, floats[0], parts)
    if values.most <= 1 and values.are_bytes:
        notes.append("Floats from 0 to 1, all of them k / 255, were converted to bytes.")
        return "uint8", _byte_conversion(scale=WHITE), tuple(notes)
    if values.most > 1:
        dark = ", where 255 is white" if values.most < DARK else ""
        notes.append(
            f"Floats, all of them whole numbers from {values.least:g} to {values.most:g}{dark}, "
            "were converted to bytes."
        )
        return "uint8", _byte_conversion(scale=1), tuple(notes)
    if len(floats) < len(stored):
        types = ", ".join(f"{each.name} is {each.dtype}" for each in stored)
        whole = next(each.variable for each in stored if each.dtype.kind != "f")
        raise Unusable(
            f"its splits have several types, and the floats are no bytes: {types}",
            f"Scale all of them: {whole} = {whole} / 255",
        )
    dtype: Literal["float32", "float64"] = (
        "float64" if any(each.dtype.itemsize > 4 for each in floats) else "float32"
    )
    if any(each.dtype != dtype for each in floats):
        notes.append(f"Floats were converted to {dtype}.")
    return dtype, lambda _: lambda x: x.astype(dtype, copy=False), tuple(notes)


def _byte_conversion(*, scale: int) -> Callable[[Stored], Callable[[Array], Array]]:
    """Return the conversion of arrays to bytes: floats times `scale`, others as they are."""

    def of(stored: Stored) -> Callable[[Array], Array]:
        def to_bytes(x: Array) -> Array:
            import numpy as np

            pixels: Array
            if x.dtype.kind == "b":
                pixels = np.where(x, np.uint8(WHITE), np.uint8(0))
                return pixels
            if x.dtype.kind == "f":
                pixels = np.rint(x * x.dtype.type(scale)).astype("uint8")
                return pixels
            if len(x) and (x.min() < 0 or x.max() > WHITE):
                strange = x.min() if x.min() < 0 else x.max()
                raise Unusable(
                    f"there is the pixel {strange} in {stored.name}, but whole numbers must be "
                    "from 0 to 255",
                    _scaling(stored, float(x.min()), math.inf),
                )
            return x.astype("uint8")

        def as_it_is(x: Array) -> Array:
            return x

        return as_it_is if stored.dtype == "uint8" else to_bytes

    return of


def _scaling(stored: Stored, least: float, most: float) -> str:
    name = stored.variable
    if least >= 0:
        how = f"{name} / 255" if most <= WHITE else f"{name} / {name}.max()"
    elif least >= -1 and most <= 1:
        how = f"({name} + 1) / 2"
    else:
        how = f"({name} - {name}.min()) / ({name}.max() - {name}.min())"
    return f"Scale the pixels: save {how}." + _table_hint(stored)


def _table_hint(stored: Stored) -> str:
    hint = " To read a table, save names of its columns beside it: feature_names=[...]."
    return hint if len(stored.shape) == 2 else ""


def _check_pixels(values: _Values, stored: Stored, parts: Parts) -> None:
    if values.missing:
        raise Unusable(
            "there is NaN or infinity among its pixels",
            f"Fill them: save numpy.nan_to_num({stored.variable}, posinf=1, neginf=0)."
            + _table_hint(stored),
        )
    if values.least < 0:
        raise Unusable(
            f"it has negative pixels such as {values.least:g}",
            _scaling(stored, values.least, values.most),
        )
    if values.most > 1 and not (values.are_whole and values.most <= WHITE):
        raise Unusable(
            f"its pixels are floats up to {values.most:g}, neither from 0 to 1 nor whole "
            "numbers up to 255",
            _scaling(stored, values.least, values.most),
        )


def _scan(floats: Sequence[Stored], progress: Progress | None, *, table: bool = False) -> _Values:
    """Read floats once, to decide what they are."""
    import numpy as np

    total, done = sum(each.shape[0] for each in floats), 0
    values = _Values()
    for each in floats:
        tolerance = np.finfo(each.dtype).eps
        for chunk in each.chunks():
            x = chunk.astype("float32") if each.dtype == "float16" else chunk
            done += len(x)
            if progress:
                progress("checking values", done, total)
            finite = np.isfinite(x)
            if not finite.all():
                strange = ~finite.reshape(len(x), -1)
                values.missing.update(np.flatnonzero(strange.any(axis=0)).tolist())
            if table:
                if np.isinf(x).any():
                    raise Unusable(
                        f"there is an infinite value in {each.name}",
                        "Mark it as missing: numpy.where(numpy.isinf(x), numpy.nan, x).",
                    )
                continue
            if values.missing or not x.size:
                continue
            values.least = min(values.least, float(x.min()))
            values.most = max(values.most, float(x.max()))
            values.are_whole = values.are_whole and bool((x == np.rint(x)).all())
            if values.are_bytes:
                near = np.rint(x * x.dtype.type(WHITE)) / x.dtype.type(WHITE)
                values.are_bytes = bool((abs(near - x) <= tolerance * abs(x)).all())
    return values


# Tables


def _table(parts: Parts, options: SourceOptions, progress: Progress | None) -> Incoming:
    width = _row_shape(parts)[0]
    names = parts.feature_names or tuple(f"feature{index}" for index in range(width))
    if len(names) != width or len(set(names)) != width or not all(names):
        raise Unusable(
            f"it has {len(set(names))} different names of columns, but {width} columns",
            "Save one name for each column.",
        )
    for option in ("size", "grey", "transpose"):
        if getattr(options, option):
            raise Unusable(f"it is a table, and '{option}' is for images", f"Leave out {option}.")
    floats = [each for each in parts.inputs.values() if each.dtype.kind == "f"]
    missing = _scan(floats, progress, table=True).missing
    columns = tuple(
        Column(name=name, has_missing=index in missing) for index, name in enumerate(names)
    )
    inputs = {split: _applied(each, [_numbers(each)]) for split, each in parts.inputs.items()}
    note = f"Rows of {width} numbers were read as a table."
    notes = () if parts.feature_names else (note,)
    return Incoming("table", (width,), {}, inputs, "float64", columns, notes=notes)


def _numbers(stored: Stored) -> Callable[[Array], Array]:
    def change(x: Array) -> Array:
        if x.dtype.kind in "iu" and x.size and max(-int(x.min()), int(x.max())) > LARGEST_FLOAT:
            raise Unusable(
                f"there are whole numbers above 2**53 in {stored.name}, which float64 would round",
                "Leave out ids, or save smaller numbers.",
            )
        return x.astype("float64", copy=False)

    return change
