"""Checks of a dataset of a plugin."""

from __future__ import annotations

from pathlib import Path

from zoo.dataset_names import NAME
from zoo.testing.checks.fixtures import Broken, DatasetBench

MOST_NAMED = 10
"""Classes that one message names."""


def has_name_and_summary(bench: DatasetBench) -> None:
    """The name is lower case letters, digits and dashes; the summary is one line."""
    name, summary = bench.dataset.name, bench.dataset.summary
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Broken(f"The name {name!r} is not lower case letters, digits and dashes.")
    if not isinstance(summary, str) or not summary.strip():
        raise Broken("The dataset has no summary: it is what `zoo data` shows.")
    if not summary.isprintable():
        raise Broken(f"The summary {summary!r} is not one line of text.")


def loads(bench: DatasetBench) -> None:
    """`load` returns the splits `train` and `test`, perhaps `validation`, with inputs and labels.

    Images are uint8 or floats from 0 to 1, all of one size; columns of a table are numbers or
    texts, the same in each split; labels are whole numbers or texts, at most 256 different ones.
    """
    bench.first  # noqa: B018 (it raises what is wrong)


def has_classes_to_learn(bench: DatasetBench) -> None:
    """Two classes or more have training rows, and each class has several."""
    meta = bench.first.meta
    if meta.untrainable:
        raise Broken(f"No model can be trained on it: {meta.untrainable}.")
    if rare := [repr(name) for name, count in bench.first.training.items() if count < 2]:
        raise Broken(
            f"{', '.join(rare[:MOST_NAMED])}: {'a class' if len(rare) == 1 else 'classes'} with "
            "fewer than two training rows."
        )


def names_only_classes_that_occur(bench: DatasetBench) -> None:
    """Each name of `class_names` has rows in some split."""
    given, found = bench.dataset.class_names or (), bench.first.meta.class_names
    if absent := [repr(name) for name in given if name not in found]:
        raise Broken(f"class_names has {', '.join(absent)}, which no row has.")


def is_deterministic(bench: DatasetBench) -> None:
    """Two calls of `load` return the same: jobs are compared by the contents of their data."""
    first, second = bench.first.meta, bench.second.meta
    if first.fingerprint != second.fingerprint:
        raise Broken(
            f"A second call of load returns other contents ({second.fingerprint[:8]}, before "
            f"{first.fingerprint[:8]}): sort the files, and seed what is random."
        )


def prints_nothing(bench: DatasetBench) -> None:
    """`load` writes nothing to stdout, which is for the output of commands."""
    if printed := bench.first.printed:
        line = printed.strip().splitlines()[:1]
        raise Broken(f"load writes to stdout: {(line or [printed])[0][:80]!r}. Use logging.")


def closes_its_files(bench: DatasetBench) -> None:
    """`load` leaves no file open."""
    if left := bench.second.left_open:
        raise Broken(f"load leaves open: {left[0]}. Open it in a with block.")


def names_its_files(bench: DatasetBench) -> None:
    """The files that the dataset names are there: when one changes, `load` is called again."""
    bench.first  # noqa: B018 (it may download them)
    if absent := [str(each) for each in bench.dataset.files if not Path(each).exists()]:
        raise Broken(f"files names {absent[0]}, which is not there.")
