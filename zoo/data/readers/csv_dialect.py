"""Find how a CSV file is written: encoding, separator, decimal point and header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data.cache import Progress
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError, reason
from zoo.regular_file import open_regular_file

SAMPLE = 2**22
"""Characters in which the header must end, and in which separators are counted."""
SAMPLE_ROWS = 50
CHUNK = 2**20
"""Bytes read at once."""
MAX_BYTES = 4 * 2**30
SEPARATORS = (",", ";", "\t", "|")
KOREAN = ("euc-kr", "cp949")
"""Encodings that are tried if a file is not UTF-8; the second has all characters of the first."""
HANGUL = re.compile("[가-힣]")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
OTHER_FILES = (
    (b"\x1f\x8b", "it is compressed by gzip", "Unpack it first: gunzip FILE."),
    (b"PK\x03\x04", "it is a zip archive or a spreadsheet", "Unpack it, or save it as CSV."),
    (b"PAR1", "it is a parquet file", "Name it parquet:FILE."),
    (b"\xd0\xcf\x11\xe0", "it is a spreadsheet", "Save it as CSV."),
)
"""The first bytes of other files, what is wrong and what to do."""

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written."""

    encoding: str
    sep: str
    decimal: str
    header: tuple[str, ...]
    """The names of the columns as in the file, not stripped."""
    has_quotes: bool
    ends_in_quotes: bool
    """Whether a quote may be left open at the end of the file."""
    first_row: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def refuse(path: Path, why: str, hint: str = "") -> DatasetError:
    """Return the error for a file that is no dataset; `why` completes "cannot be used: "."""
    return DatasetError(f"{path} cannot be used: {why}.", hint)


def find_dialect(path: Path, options: SourceOptions, progress: Progress | None = None) -> Dialect:
    """Find how a CSV file is written; the whole file is read once, in chunks.

    Raises DatasetError if it is no text, or has no header.
    """
    try:
        encoding, quotes = _find_encoding(path, options.encoding, progress)
        with open_regular_file(path) as binary:
            sample = io.TextIOWrapper(binary, encoding, newline="").read(SAMPLE)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.") from None
    if not sample.strip():
        raise refuse(path, "it is empty", "It must have a header and rows.")
    is_cut = len(sample) == SAMPLE
    sep = options.sep or _find_separator(sample, is_cut=is_cut)
    rows = _rows(sample, sep, is_cut=is_cut)
    header = tuple(rows[0])
    if _is_data(header):
        raise refuse(
            path,
            f"it has no header: its first line is data ({', '.join(header[:3])}, ...)",
            "Put the names of the columns into the first line.",
        )
    notes = []
    if options.encoding is None and encoding not in ("utf-8", "utf-8-sig"):
        korean = " (Korean)" if encoding in KOREAN else ""
        notes.append(f"{path.name} was read as {encoding}{korean}: it is not UTF-8.")
    decimal = options.decimal or _find_decimal(rows[1:], sep)
    if decimal != "." and options.decimal is None:
        notes.append(f"{path.name} has decimal commas.")
    first_row = tuple(rows[1]) if len(rows) > 1 else ()
    return Dialect(
        encoding, sep, decimal, header, quotes > 0, quotes % 2 == 1, first_row, tuple(notes)
    )


def _find_encoding(path: Path, given: str | None, progress: Progress | None) -> tuple[str, int]:
    """The encoding, and the number of quotes in the file."""
    with open_regular_file(path) as file:
        head = file.read(4)
    if path.stat().st_size > MAX_BYTES:
        raise refuse(path, f"it is larger than {MAX_BYTES >> 30} GiB", "Save it as parquet.")
    for magic, why, hint in OTHER_FILES:
        if head.startswith(magic):
            raise refuse(path, why, hint.replace("FILE", str(path)))
    if given is not None:
        return given, _check_text(path, _codec(given), progress)
    if head.startswith(UTF_16):
        return "utf-16", _check_text(path, "utf-16", progress)
    try:
        # utf-8-sig also reads files without the mark.
        return "utf-8-sig", _check_text(path, "utf-8-sig", progress)
    except UnicodeDecodeError:
        pass
    for encoding in KOREAN:
        try:
            return encoding, _check_text(path, encoding, progress, needed=HANGUL)
        except UnicodeDecodeError:
            continue
    raise refuse(
        path,
        "it is neither UTF-8 nor Korean text",
        "Name its encoding, such as --encoding latin-1 or --encoding shift_jis.",
    )


def _codec(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError:
        raise DatasetError(
            f"There is no text encoding '{encoding}'.", "Such are utf-8, cp949 and latin-1."
        ) from None
    return encoding


def _check_text(
    path: Path, encoding: str, progress: Progress | None, needed: re.Pattern[str] | None = None
) -> int:
    """Decode a file and return its number of quotes.

    Raises UnicodeDecodeError, also if no character is `needed`, and DatasetError for NUL bytes.
    """
    quotes, is_found, done, total = 0, needed is None, 0, path.stat().st_size
    decoder = codecs.getincrementaldecoder(encoding)()
    for part, is_last in _parts(path):
        try:
            text = decoder.decode(part, is_last)
        except UnicodeDecodeError:
            if needed is not None or encoding == "utf-8-sig":
                raise
            raise refuse(path, f"it is not {encoding}", "Name its encoding: --encoding.") from None
        if "\0" in text:
            raise refuse(path, "it has NUL bytes", "It is not text, or it is damaged.")
        quotes += text.count('"')
        is_found = is_found or (needed is not None and needed.search(text) is not None)
        done += len(part)
        if progress:
            progress(f"checking {path.name}", done, total)
    if not is_found:
        raise UnicodeDecodeError(encoding, b"", 0, 0, "no such letters")
    return quotes


def _parts(path: Path) -> Iterator[tuple[bytes, bool]]:
    with open_regular_file(path) as file:
        while part := file.read(CHUNK):
            yield part, False
    yield b"", True


def _rows(sample: str, sep: str, *, is_cut: bool) -> list[list[str]]:
    """The first rows of the sample that are not empty."""
    found: list[list[str]] = []
    try:
        # strict=False: a quote within a field is an ordinary character
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=sep):
            if row:
                found.append(row)
            if len(found) > SAMPLE_ROWS:
                return found
    except csv.Error:  # such as a field that is longer than the limit
        pass
    # The last row of a cut sample is cut too.
    return found[:-1] if is_cut and len(found) > 1 else found or [sample.splitlines()[:1]]


def _is_data(header: Sequence[str]) -> bool:
    """Whether a first line is no header: numbers alone, or mostly, with decimals among them."""
    numbers = [name for name in map(str.strip, header) if NUMBER.fullmatch(name)]
    has_decimals = any(DECIMAL_POINT.fullmatch(name) for name in numbers)
    return len(numbers) == len(header) or (has_decimals and 2 * len(numbers) > len(header))


def _find_separator(sample: str, *, is_cut: bool) -> str:
    """The separator that divides the most rows into as many fields as the header has."""
    best, most = ",", (0.0, 1)
    for sep in SEPARATORS:
        rows = _rows(sample, sep, is_cut=is_cut)
        width = len(rows[0])
        if width < 2:
            continue
        share = sum(len(row) == width for row in rows) / len(rows)
        if (share, width) > most:
            best, most = sep, (share, width)
    return best


def _find_decimal(rows: Sequence[Sequence[str]], sep: str) -> str:
    if sep == ",":
        return "."
    fields = [field.strip() for row in rows for field in row]
    has_commas = any(DECIMAL_COMMA.fullmatch(field) for field in fields)
    has_points = any(DECIMAL_POINT.fullmatch(field) for field in fields)
    return "," if has_commas and not has_points else "."
