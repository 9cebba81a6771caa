"""Checks of what a trained model saves."""

from __future__ import annotations

import io
import pickletools
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo import judge
from zoo.checks.behaviour import same_answers
from zoo.checks.bench import SEED, Bench, Broken

LARGEST = 256 * 2**20
"""Bytes of weights from 500 images; larger ones are most likely more than weights."""
SUFFIXES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
DEEPEST = 3
"""Archives within archives that are opened."""


def loads_what_it_saved(bench: Bench) -> None:
    """A fresh model that loads the saved weights says the same to the last bit."""
    before = bench.trained.says
    with _saved(bench) as folder:
        params = bench.model.Params.resolve(bench.params.model_dump(mode="json"))
        again = bench.model(params, bench.names, SEED)
        again.load(folder)
        same_answers(before, judge.predict(again, bench.images), "saved and loaded")
        if again.parameters() != bench.trained.model.parameters():
            raise Broken("It counts other parameters when saved and loaded.")


def saves_no_pickle(bench: Bench) -> None:
    """No file, nor a member of an archive, is a pickle: whoever loads one runs its code."""
    with _saved(bench) as folder:
        for file in _files(folder):
            name = str(file.relative_to(folder))
            # What is too large for a sane model is the next check's, and not read.
            content = file.read_bytes() if file.stat().st_size <= LARGEST else b""
            if found := _pickle_in(name, content):
                raise Broken(f"{found} is a pickle: save arrays (zoo.weights) and JSON.")


def saves_little(bench: Bench) -> None:
    """The weights are files in the folder they are given, of a sane size, and counted."""
    with _saved(bench) as folder:
        sizes = {file: file.stat().st_size for file in _files(folder)}
        if not sizes:
            raise Broken("save leaves no file in the folder.")
        if sum(sizes.values()) > LARGEST:
            largest = max(sizes, key=lambda file: sizes[file])
            raise Broken(
                f"The weights are {sum(sizes.values()) / 2**20:.0f} MB, most of it "
                f"{largest.name}; {LARGEST // 2**20} MB is the most that a model may keep here."
            )
    count = bench.trained.model.parameters()
    if count is not None and not (isinstance(count, int) and count >= 0):
        raise Broken(f"parameters() gives {count!r}, not a whole number or None.")


@contextmanager
def _saved(bench: Bench) -> Iterator[Path]:
    model = bench.trained.model
    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        model.save(Path(folder))
        yield Path(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _pickle_in(name: str, content: bytes, depth: int = 0) -> str:
    """The name of what is a pickle in a file, or in an archive; empty if nothing is."""
    if name.endswith(SUFFIXES) or _is_pickle(content):
        return name
    if content.startswith(b"\x93NUMPY"):
        return f"{name} (an array of Python objects)" if _has_objects(content) else ""
    if depth < DEEPEST and zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                found = _pickle_in(f"{name}/{member}", archive.read(member), depth + 1)
                if found:
                    return found
    return ""


def _is_pickle(content: bytes) -> bool:
    if content[:1] == b"\x80" and content[1:2] in b"\2\3\4\5":
        return True
    # The old protocols have no mark: what makes sense as one to its very end is one. It is taken
    # apart here, never run.
    stream = io.BytesIO(content)
    try:
        pickletools.dis(stream, io.StringIO())
    except (ValueError, IndexError, OverflowError):
        return False
    return stream.tell() == len(content)


def _has_objects(content: bytes) -> bool:
    import numpy as np

    try:
        np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:
        return "allow_pickle" in str(error)
    return False
