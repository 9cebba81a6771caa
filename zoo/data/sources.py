"""Sources of data in files: `FORM:PATH?OPTIONS`, spelled, recognised and read."""

from __future__ import annotations

import codecs
import encodings.aliases
import os
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import dataset_names
from zoo.data.cache import Progress
from zoo.data.incoming import Incoming
from zoo.data.readers import idx
from zoo.data.source_options import SourceOptions
from zoo.dataset_names import Spelling
from zoo.errors import DatasetError, UsageError, reason, unknown
from zoo.regular_file import open_regular_file

PATHS = {
    "idx": "a folder with the four IDX files",
    "npz": "a file with arrays of images and labels",
    "folder": "a folder with a folder of pictures for each class",
    "csv": "a text file with a table",
    "parquet": "a Parquet file with a table",
}
"""Descriptions of the paths, by form."""
FOLDER_FORMS = ("idx", "folder")

ANY = ("classes", "metric", "test", "validation")
TABLE = (*ANY, "category", "drop", "drop-missing-target", "target", "weight")
OPTIONS = {
    "idx": (*ANY, "grey", "size", "transpose"),
    "npz": (*ANY, "grey", "size", "transpose"),
    "folder": (*ANY, "grey", "size"),
    "csv": (*TABLE, "decimal", "encoding", "sep"),
    "parquet": TABLE,
}
"""The options that the reader of each form knows."""
MAX_SIDE = 4096

SUFFIXES = {
    ".npz": "npz",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".data": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
"""Forms by the end of the name of a file."""
PARQUET = b"PAR1"
ZIP = b"PK\x03\x04"
HEAD = 4096
"""Bytes of a file that are looked at to recognise it."""


@dataclass(frozen=True)
class Source:
    """A dataset in files, and how it is read."""

    form: str
    path: Path
    """Absolute."""
    options: SourceOptions = field(default_factory=SourceOptions)


def parse(text: str) -> Source:
    """Read the spelling of a source; the path need not exist.

    Raises UsageError for another form, a missing path, or an option that is unknown, wrong, or
    none of this form.
    """
    form = text.partition(":")[0]
    if form not in PATHS:
        raise unknown("form of dataset", form, PATHS)
    found = dataset_names.split(text)
    if found is None or not _is_printable(found.path):
        raise UsageError(f"'{form}:' needs a path.", f"{form}:PATH is {PATHS[form]}.")
    return Source(form, Path(found.path), read_options(form, found.options))


def spell(source: Source) -> str:
    """Spell a source as jobs record it: absolute path, options sorted, defaults left out."""
    return dataset_names.joined(
        Spelling(source.form, str(source.path), tuple(sorted(_pairs(source.options))))
    )


def extended(source: Source, **given: str | Sequence[str] | bool | None) -> Source:
    """Return the source with further options, typed as those of `zoo data add`.

    Args:
        source: The source as spelled.
        given: Values by option: a text, a list of texts, or a flag. None, an empty list and False
            leave the option as it is; others replace it. Names of `classes` are separated by
            commas.

    Raises UsageError as `parse` does.
    """
    typed: dict[str, list[str]] = {}
    for name, value in given.items():
        key = name.replace("_", "-")
        if value is True:
            typed[key] = [""]
        elif isinstance(value, str):
            typed[key] = [value]
        elif value:
            typed[key] = list(value)
    kept = [(key, value) for key, value in _pairs(source.options) if key not in typed]
    added = [
        option
        for key, values in typed.items()
        for value in values
        for option in dataset_names.normal_option(key, value)
    ]
    options = read_options(source.form, tuple(sorted({*kept, *added})))
    return Source(source.form, source.path, options)


def read_options(form: str, pairs: Iterable[tuple[str, str]]) -> SourceOptions:
    """Make options from names and values in normal form, as `dataset_names.split` returns them.

    Raises UsageError for an option that is unknown, wrong, repeated, or none of this form.
    """
    values: dict[str, Any] = {}
    for key, text in pairs:
        _check_key(form, key)
        name = key.replace("-", "_")
        if not text and key not in dataset_names.FLAGS:
            raise UsageError(f"The option '{key}' of {form}: needs a value.")
        value = READERS[key](key, text) if key in READERS else text
        if key in dataset_names.LISTS:
            values[name] = (*values.get(name, ()), value)
        elif name in values:
            raise UsageError(f"The option '{key}' of {form}: is given twice.")
        else:
            values[name] = value
    return SourceOptions(**values)


def of_path(text: str) -> Source | None:
    """Recognise a path that exists by the name and the contents of a file, or those of a folder.

    Returns None if there is no such file or folder. Raises UsageError if it is of no known form.
    """
    path = Path(dataset_names.absolute(text))
    if not text or not _is_printable(str(path)):
        return None
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for a path that is too long)
        return Source(_form_of_folder(path), path)
    return Source(_form_of_file(path), path) if idx.is_file(path) else None


def check(source: Source) -> None:
    """Raise UsageError unless path, and paths among the options, are such as the form reads."""
    for path in _paths(source):
        is_there = os.path.isdir if source.form in FOLDER_FORMS else idx.is_file
        if not is_there(path):
            raise UsageError(
                f"There is no {source.form} dataset at {path}: it must be {PATHS[source.form]}."
            )


def state(source: Source) -> Iterator[str]:
    """Yield the names, sizes and times of the files that are read: they change with them.

    Raises DatasetError if a file cannot be read.
    """
    if source.form == "folder":
        from zoo.data.readers import folder

        yield folder.state(source.path, source.options)
        return
    for path in _paths(source):
        files = idx.find(path).values() if source.form == "idx" else [path]
        for file in files:
            yield stamp(file)


def stamp(file: Path) -> str:
    """Return name, size and times of a file; raises DatasetError if it cannot be read."""
    try:
        now = file.stat()
    except OSError as error:
        raise DatasetError(
            f"{file} cannot be read: {reason(error)}.", "The dataset needs it: restore it."
        ) from None
    # ctime too: a copy that preserves mtime would look like the old file
    return f"{file.name} {now.st_size} {now.st_mtime_ns} {now.st_ctime_ns}"


def read(source: Source, progress: Progress | None = None) -> Incoming:
    """Read a source; raises DatasetError for a file, ValueError for arrays that are no dataset."""
    # Imported here: a command that reads no files need not wait for the readers.
    from zoo.data.readers import folder, npz, tables

    if source.form == "idx":
        return idx.read(source.path, source.options, progress)
    if source.form == "npz":
        return npz.read(source.path, source.options, progress)
    if source.form == "folder":
        return folder.read(source.path, source.options, progress)
    if source.form == "csv":
        return tables.read_csv(source.path, source.options, progress)
    return tables.read_parquet(source.path, source.options, progress)


def _check_key(form: str, key: str) -> None:
    if key in OPTIONS[form]:
        return
    forms = [each for each, keys in OPTIONS.items() if key in keys]
    if not forms:
        error = unknown(f"option of {form}:", key, OPTIONS[form])
        if "." in key or "/" in key:
            error.hint = f"{error.hint} A question mark in a path is typed %3F.".strip()
        raise error
    known = ", ".join(f"{each}:" for each in forms)
    raise UsageError(f"The option '{key}' is for {known}, not for {form}:.")


def _pairs(options: SourceOptions) -> Iterator[tuple[str, str]]:
    """Yield the options that are set, in normal form."""
    for name in SourceOptions.model_fields:
        value, key = getattr(options, name), name.replace("_", "-")
        if value is None or value is False or value == ():
            continue
        if value is True:
            yield key, ""
        elif key == dataset_names.CLASSES:
            yield key, dataset_names.quoted_list(value)
        elif key == "size":
            yield key, "x".join(map(str, value))
        elif isinstance(value, tuple):
            yield from ((key, each) for each in value)
        elif key == "sep":
            yield key, dataset_names.SEPARATORS.get(value, value)
        else:
            yield key, value if isinstance(value, str) else repr(value)


def _flag(key: str, text: str) -> bool:
    if text:
        raise UsageError(f"The option '{key}' is true or false, not '{text}'.")
    return True


def _share(key: str, text: str) -> float | str:
    if text.startswith("/"):
        return text
    share = float(text)
    is_whole = share == 1 and key == WHOLE
    if not (0 < share < 1 or is_whole):
        raise UsageError(
            f"The share '{key}' is {text}, not between 0 and 1.", "Or name a file: ./NAME."
        )
    return share


def _size(key: str, text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    sides = (height, width)
    if not all(
        s.isascii() and s.isdigit() and len(s) < 6 and 0 < int(s) <= MAX_SIDE for s in sides
    ):
        raise UsageError(
            f"The {key} is '{text}', not HEIGHTxWIDTH, such as 32x32, of up to {MAX_SIDE} pixels."
        )
    return int(height), int(width)


def _separator(key: str, text: str) -> str:
    return "\t" if text == "tab" else _character(key, text)


def _character(key: str, text: str) -> str:
    if len(text) != 1:
        raise UsageError(f"The option '{key}' is one character, not '{text}'.")
    return text


def _encoding(_: str, text: str) -> str:
    try:
        codecs.lookup(text)
    except (LookupError, ValueError):
        raise unknown("encoding", text, {*encodings.aliases.aliases.values()}) from None
    return text


WHOLE = "test"
"""The split that may be all rows of a source: a dataset to judge models on alone."""
READERS: Mapping[str, Callable[[str, str], Any]] = {
    **dict.fromkeys(dataset_names.FLAGS, _flag),
    **dict.fromkeys(dataset_names.SHARES, _share),
    "size": _size,
    "sep": _separator,
    "decimal": _character,
    "encoding": _encoding,
    dataset_names.CLASSES: lambda _, text: tuple(dataset_names.unquoted_list(text)),
}
"""Functions that read the value of an option; raise UsageError."""


def _paths(source: Source) -> list[Path]:
    """The path of a source, and those of splits that are named by an option."""
    splits = (source.options.test, source.options.validation)
    return [source.path, *(Path(each) for each in splits if isinstance(each, str))]


def _is_printable(path: str) -> bool:
    """Whether a path has neither control characters nor halves of characters."""
    return not any(unicodedata.category(each) in ("Cc", "Cs") for each in path)


def _form_of_folder(folder: Path) -> str:
    from zoo.data.readers import folder as folder_reader

    try:
        entries = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {reason(error)}.") from None
    if any(_is_idx(each.name) for each in entries):
        return "idx"
    if any(each.is_dir() for each in entries):
        return "folder"
    files = [each for each in entries if each.suffix.lower() in SUFFIXES]
    if not files and any(each.suffix.lower() in folder_reader.SUFFIXES for each in entries):
        raise UsageError(
            f"{folder} holds pictures, but no folder for each class.",
            f"Move those of a class into a folder with its name: {folder / 'cat'}, "
            f"{folder / 'dog'}, ...",
        )
    raise UsageError(
        f"{folder} holds neither IDX files nor a folder of pictures for each class.",
        f"Name the file: {files[0]}."
        if files
        else f"Pictures are in a folder for each class, such as {folder / 'cat' / 'one.png'}.",
    )


def _is_idx(name: str) -> bool:
    plain = name.lower().removesuffix(".gz")
    return plain.endswith(("-ubyte", ".idx", ".idx1", ".idx3"))


def _form_of_file(file: Path) -> str:
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    try:
        with open_regular_file(file) as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {reason(error)}.") from None
    if head.startswith(PARQUET):
        return "parquet"
    if head.startswith(ZIP) and _holds_arrays(file):
        return "npz"
    if not suffix and head and b"\0" not in head:
        return "csv"
    forms = ", ".join(f"{form}:" for form in ("npz", "csv", "parquet"))
    hint = "Save the table as CSV." if suffix.startswith((".xls", ".ods")) else ""
    raise UsageError(
        f"{file} is no file that Zoo reads: {forms} are.", hint or f"Say which: npz:{file}."
    )


def _holds_arrays(file: Path) -> bool:
    try:
        with open_regular_file(file) as stream, zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
    # zipfile raises several kinds of errors over foreign bytes.
    except Exception:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)
