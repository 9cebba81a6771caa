"""Datasets by name: MNIST, plugin datasets, IDX and npz files; validated once, then cached."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from zoo import dataset_names, settings
from zoo.data import cache, idx, mnist, npz
from zoo.data.cache import Progress
from zoo.errors import DatasetError, UsageError, ZooError, reason, unknown
from zoo.job_spec import Sha256, canonical
from zoo.model import Dataset, Images
from zoo.plugins import error_report, import_guard, registry

if TYPE_CHECKING:
    from typing import Any

    from zoo.model import Array

MNIST = Dataset(
    "mnist",
    "70,000 handwritten digits: 60,000 for training, 10,000 for the test",
    mnist.load,
    version="1",
)
FILES = {"idx": "a folder with the four IDX files", "npz": f"a file with {', '.join(npz.KEYS)}"}
"""Descriptions of the paths in `idx:PATH` and `npz:PATH`."""

SPLITS = ("train", "test")
RETURNS = 'load must return {"train": Images, "test": Images}'
SIDE = 28
MAX_CLASSES = 256
WAYS_OUT = {
    f"not uint8 (n, {SIDE}, {SIDE})": "Save them in grey, as integers from 0 to 255: multiply "
    "scaled ones by 255, take one of three channels, then .reshape(-1, 28, 28).astype('uint8').",
    "not integers (n,)": "Save one integer per image: .argmax(axis=1) of one-hot rows, .ravel() "
    "of a column, the index of a name; then .astype('uint8').",
    "are not all from 0": "Number the classes from 0.",
    "images and": "Each split needs images and a label for each; are two files mixed up?",
    "of one class": "Training needs at least two classes.",
}
"""Hints, by a part of the error message."""
MOST_NAMED = 10
"""Number of classes that one note names."""
FORMAT = "classes that occur"
"""Version of the cache format; datasets cached in another format are read again."""
META_FILE = "meta.json"
RAW_FILES = (META_FILE, *(f"{split}-{part}.npy" for split in SPLITS for part in Images._fields))
"""The files of a cached dataset."""


@dataclass(frozen=True)
class Raw:
    """A cached dataset, memory-mapped read-only."""

    name: str
    splits: Mapping[str, Images]
    class_names: tuple[str, ...]
    """The names of the labels 0, 1, ...; each occurs in some split."""
    fingerprint: str
    """The sha256 of the contents, see `contents_sha256`."""
    notes: tuple[str, ...] = ()
    """Warnings to print before a training, a sentence each."""


class Meta(BaseModel):
    """The contents of `meta.json` of a cached dataset; it is written last."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: str
    class_names: tuple[str, ...]
    counts: dict[str, int]
    """Images of each split."""
    fingerprint: Sha256
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listed:
    """A row of `zoo data`."""

    name: str
    summary: str
    cached: bool
    """True if it can be used without reading or downloading anything else."""
    where: str
    """Where it is, or where it would come from."""
    size: int
    """Size in the cache in bytes, raw and prepared."""


def resolve(name: str) -> str:
    """Return the canonical name: as registered, or `idx:` or `npz:` with an absolute path.

    Raises UsageError for an unknown name or a path that does not exist.
    """
    form, colon, path = name.partition(":")
    if colon and form in FILES:
        return f"{form}:{_existing(form, path)}"
    if name not in names():
        raise unknown("dataset", name, names(), "zoo data")
    return name


def names() -> list[str]:
    """Return the names of the registered datasets: MNIST, and those of plugins."""
    return [MNIST.name, *sorted(registry.catalogue().datasets)]


def raw(name: str, progress: Progress | None = None, *, contents: str | None = None) -> Raw:
    """Open a dataset from the cache; read (mnist: download) and validate it first if needed.

    Args:
        name: Name of the dataset.
        progress: Called with the progress of a download.
        contents: Fingerprint of contents that are used if the source cannot be read any more, but
            the cache still has them.

    Raises:
        UsageError: As `resolve` does.
        DatasetError: The dataset is missing or damaged.
    """
    try:
        return _raw(name, progress)
    except ZooError as error:
        if kept := _kept(name, contents):
            return kept
        if contents is not None and not error.hint:
            error.hint = "Restore it: the contents used by the job are not in the cache either."
        raise


def _raw(name: str, progress: Progress | None) -> Raw:
    name = resolve(name)

    def load(folder: Path) -> Raw | None:
        return _open(folder, name)

    def fill(folder: Path) -> None:
        splits, class_names = _checked(name, *_read(name, progress))
        _write(folder, name, splits, class_names)

    return cache.get(_folder(name), load, fill)


def _kept(name: str, contents: str | None) -> Raw | None:
    """The cached contents with that fingerprint, if any, also if the dataset has changed since."""
    name = dataset_names.canonical(name)
    if contents is None or not (":" in name or dataset_names.NAME.fullmatch(name)):
        return None
    for file in (settings.cache() / "raw" / key(name)).glob(f"*/{META_FILE}"):
        if (found := _open(file.parent, name)) and found.fingerprint == contents:
            return found
    return None


def listing() -> list[Listed]:
    """List the datasets: MNIST, those of plugins, and files used before.

    It does not download or read any dataset.
    """
    return [_listed(name) for name in names() + sorted(set(_files_in_cache()))]


def is_cached(name: str, *, contents: str | None = None) -> bool:
    """Return whether the cache of this machine has the dataset; raises as `raw` does."""
    try:
        return (_folder(resolve(name)) / META_FILE).is_file()
    except ZooError:
        if _kept(name, contents):
            return True
        raise


def fingerprint(name: str) -> str | None:
    """Return the fingerprint of a dataset in the cache of this machine; None if it is not there."""
    meta = _meta(name)
    return meta.fingerprint if meta else None


def notes(name: str) -> tuple[str, ...]:
    """Return the warnings about a cached dataset to print before a training."""
    meta = _meta(name)
    return meta.notes if meta else ()


def _meta(name: str) -> Meta | None:
    try:
        return Meta.model_validate_json((_folder(resolve(name)) / META_FILE).read_bytes())
    except (OSError, ValueError, ZooError):
        return None


def key(name: str) -> str:
    """The name of a dataset in the cache: the canonical name without its path."""
    form, colon, path = name.partition(":")
    return f"{form}-{_short_hash(path)}" if colon else name


def _existing(form: str, path: str) -> Path:
    if not path or not path.isprintable():
        raise UsageError(f"'{form}:' needs a path.", f"{form}:PATH is {FILES[form]}.")
    absolute = Path(dataset_names.absolute(path))
    if not (os.path.isdir(absolute) if form == "idx" else idx.is_file(absolute)):  # noqa: PTH112
        raise UsageError(f"There is no {form} dataset at {absolute}: it must be {FILES[form]}.")
    return absolute


def _folder(name: str) -> Path:
    """The cache folder for the current files of the dataset: changed files, another folder."""
    form, colon, path = name.partition(":")
    if colon:
        files = [Path(path)] if form == "npz" else list(idx.find(Path(path)).values())
        state = [FORMAT, *(_stamp(file) for file in files)]
    else:
        # MNIST does not change, and the network it was downloaded from may be gone.
        state = [MNIST.version] if name == MNIST.name else [FORMAT, *_version(name)]
    return settings.cache() / "raw" / key(name) / _short_hash(json.dumps(state))


def _version(name: str) -> Iterator[str]:
    """The cache key of a plugin's dataset: its version, and the state of the files it names."""
    yield registry.dataset_version(name)
    for file in registry.catalogue().datasets[name].files:
        yield _stamp(Path(file))


def _stamp(file: Path) -> str:
    try:
        now = file.stat()
    except OSError as error:
        raise DatasetError(
            f"{file} cannot be read: {reason(error)}.", "The dataset needs it: restore it."
        ) from None
    # ctime too: a copy that preserves mtime would look like the old file
    return f"{file.name} {now.st_size} {now.st_mtime_ns} {now.st_ctime_ns}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(
    name: str, progress: Progress | None
) -> tuple[Mapping[str, Images], tuple[str, ...] | None]:
    """Read a dataset from its source; class names are None if the source has only labels."""
    # Before a download, and before a reader reports a missing package as a damaged file.
    import numpy  # noqa: F401

    form, colon, path = name.partition(":")
    if colon:
        return (idx.load if form == "idx" else npz.load)(Path(path)), None
    if name == MNIST.name:
        return mnist.load(progress), MNIST.class_names
    found = registry.catalogue()
    try:
        # In this process: a separate one would have to start the plugin's libraries again, and
        # protects only against crashes in native code, which print a traceback.
        with import_guard.loading():
            splits = _arrays(found.datasets[name].load())
    except KeyboardInterrupt:
        raise
    except _WrongResult as error:
        raise DatasetError(f"The dataset '{name}' cannot be used: {error}.") from None
    except BaseException as error:  # also SystemExit: `load` must not end the command
        detail = error_report.reason(error, found.dataset_owners[name].source).rstrip(".")
        raise DatasetError(f"The plugin of the dataset '{name}' failed: {detail}.") from error
    return splits, found.datasets[name].class_names


class _WrongResult(Exception):
    """`load` has not returned two splits of images and labels."""


def _arrays(given: Any) -> dict[str, Images]:
    """The splits returned by `load` as arrays; raises _WrongResult, and what iterating raises."""
    import numpy as np

    if not isinstance(given, Mapping):
        raise _WrongResult(f"{RETURNS}, but it returned {_kind(given)}")
    found = {}
    for split in SPLITS:
        if split not in given:
            what = f"{RETURNS}, but it returned {_kind(given)}"
            raise _WrongResult(f"it has no split '{split}': {what}")
        pair = given[split]
        if not isinstance(pair, tuple | list) or len(pair) != len(Images._fields):
            raise _WrongResult(f"{RETURNS}, but '{split}' is {_kind(pair)}")
        try:
            found[split] = Images(*(np.asarray(each) for each in pair))
        except (ValueError, TypeError) as error:  # for example rows of different lengths
            raise _WrongResult(
                f"{RETURNS}, but '{split}' holds no array: {reason(error)}"
            ) from None
    return found


def _kind(given: Any) -> str:
    """Describe the type of a value in a few words."""
    name = type(given).__name__
    if given is None:
        return name
    if isinstance(given, Mapping):
        keys = ", ".join(repr(key) for key in list(given)[:MOST_NAMED] if isinstance(key, str))
        return f"{name} with the keys {keys[:100]}" if keys else f"{name} without such keys"
    if hasattr(given, "dtype") and hasattr(given, "shape"):
        return f"{name} of {given.dtype} {given.shape}"
    return f"{name} of {len(given)}" if isinstance(given, tuple | list) else name


def _checked(
    name: str, splits: Mapping[str, Images], class_names: tuple[str, ...] | None
) -> tuple[dict[str, Images], tuple[str, ...]]:
    """Check shapes, types and labels; labels become int64 indices into the class names.

    The classes are the labels that occur in any split, in numerical order.
    """
    import numpy as np

    try:
        if missing := set(SPLITS) - set(splits):
            raise ValueError(f"it has no split '{min(missing)}'")
        found = {s: Images(*(np.asarray(array) for array in splits[s])) for s in SPLITS}
        for split in SPLITS:
            _check_split(split, *found[split])
        present = np.unique(np.concatenate([found[s].labels.astype("int64") for s in SPLITS]))
        if class_names is not None and present[-1] >= len(class_names):
            raise ValueError(
                f"a label is {present[-1]}, but there are {len(class_names)} class names"
            )
        if len(np.unique(found["train"].labels)) < 2:
            raise ValueError("all training images are of one class")
    except (ValueError, TypeError) as error:
        raise DatasetError(
            f"The dataset '{name}' cannot be used: {reason(error)}.", _way_out(str(error))
        ) from None
    checked = {
        s: Images(each.images, np.searchsorted(present, each.labels).astype("int64"))
        for s, each in found.items()
    }
    names = class_names or [str(label) for label in range(MAX_CLASSES)]
    return checked, tuple(names[label] for label in present)


def contents_sha256(splits: Mapping[str, Images], class_names: Sequence[str]) -> str:
    """Return the fingerprint of contents.

    For classes named 0, 1, ..., n-1 it is the sha256 of the four IDX files that would hold them,
    concatenated; for others the hash of that and the class names.
    """
    digest = idx.sha256(*(array for split in SPLITS for array in splits[split]))
    if tuple(class_names) == tuple(str(label) for label in range(len(class_names))):
        return digest
    return hashlib.sha256(canonical([digest, list(class_names)]).encode()).hexdigest()


def _rare(labels: Array, class_names: Sequence[str]) -> Iterator[str]:
    """Yield warnings about classes without training images, or with a single one."""
    import numpy as np

    counts = np.bincount(labels, minlength=len(class_names))
    for count, what in ((0, "no training image"), (1, "a single training image")):
        names = [f"'{class_names[label]}'" for label in np.flatnonzero(counts == count).tolist()]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        names_shown = ", ".join(names[:MOST_NAMED]) + more
        if len(names) == 1:
            yield f"The class {names_shown} has {what}: is it meant?"
        elif names:
            yield f"{len(names)} classes have {what} each: {names_shown}."


def _way_out(wrong: str) -> str:
    """The hint for an error message of a dataset, if there is one."""
    return next((hint for words, hint in WAYS_OUT.items() if words in wrong), "")


def _check_split(split: str, images: Array, labels: Array) -> None:
    if images.dtype != "uint8" or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        found = f"{images.dtype} {images.shape}"
        raise ValueError(f"its {split} images are {found}, not uint8 (n, {SIDE}, {SIDE})")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        found = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"its {split} labels are {found}, not integers (n,)")
    if not len(images) == len(labels) > 0:
        raise ValueError(f"it has {len(images)} {split} images and {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= MAX_CLASSES:
        raise ValueError(f"its {split} labels are not all from 0 to {MAX_CLASSES - 1}")


def _write(
    folder: Path, name: str, splits: Mapping[str, Images], class_names: tuple[str, ...]
) -> None:
    for split, arrays in splits.items():
        for part, array in arrays._asdict().items():
            cache.save(folder / f"{split}-{part}.npy", array.shape, str(array.dtype), [array])
    meta = Meta(
        name=name,
        class_names=class_names,
        counts={split: len(each.labels) for split, each in splits.items()},
        fingerprint=contents_sha256(splits, class_names),
        notes=tuple(_rare(splits["train"].labels, class_names)),
    )
    (folder / META_FILE).write_text(meta.model_dump_json())


def _open(folder: Path, name: str) -> Raw | None:
    """Map the files of the folder; None if one is missing or damaged."""
    try:
        raw = _mapped(str(folder), tuple(_stamp(folder / file) for file in RAW_FILES))
    except (OSError, ValueError, KeyError, DatasetError):
        return None
    return raw if raw.name == name else None


@functools.lru_cache(maxsize=4)
def _mapped(folder: str, stamps: tuple[str, ...]) -> Raw:
    """The mapped arrays, shared by the jobs of a warm runner while the files are the same."""
    del stamps  # part of the cache key
    meta = Meta.model_validate_json(Path(folder, META_FILE).read_bytes())
    splits = {split: _map(Path(folder), split, meta.counts[split]) for split in SPLITS}
    return Raw(meta.name, splits, meta.class_names, meta.fingerprint, meta.notes)


def _map(folder: Path, split: str, count: int) -> Images:
    images = cache.mapped(folder / f"{split}-images.npy", (count, SIDE, SIDE), "uint8")
    return Images(images, cache.mapped(folder / f"{split}-labels.npy", (count,), "int64"))


def _files_in_cache() -> Iterator[str]:
    """The `idx:` and `npz:` names in the cache whose files still exist."""
    for file in (settings.cache() / "raw").glob(f"*-*/*/{META_FILE}"):
        with contextlib.suppress(OSError, ValueError, UsageError):
            name = Meta.model_validate_json(file.read_bytes()).name
            if ":" in name:
                yield resolve(name)


def _listed(name: str) -> Listed:
    form, colon, path = name.partition(":")
    try:
        cached = _open(_folder(name), name) is not None
    except DatasetError:
        cached = False
    if colon:
        summary, where = f"{form} dataset", path
    elif name == MNIST.name:
        places = mnist.places()
        summary = MNIST.summary
        where = str(places[0]) if places else "to be downloaded"
    else:
        summary, where = registry.catalogue().datasets[name].summary, "a plugin"
    home = settings.cache()
    size = cache.size(home / "raw" / key(name)) + cache.size(home / "prepared" / key(name))
    return Listed(name, summary, cached, "the cache" if cached and not colon else where, size)
