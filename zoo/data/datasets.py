"""Datasets by name: MNIST, plugin datasets, files; checked once, then cached by their contents."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import dataset_names, settings
from zoo.data import cache, contents, incoming, mnist, sources
from zoo.data.cache import Progress
from zoo.data.contents import META_FILE, Meta
from zoo.data.contents import SPLITS as SPLITS
from zoo.data.contents import Raw as Raw
from zoo.data.incoming import Incoming
from zoo.errors import DatasetError, UsageError, ZooError, reason, unknown
from zoo.model import Dataset, Images, Table
from zoo.plugins import error_report, import_guard, registry

if TYPE_CHECKING:
    from typing import Any

MNIST = Dataset(
    "mnist",
    "70,000 handwritten digits: 60,000 for training, 10,000 for the test",
    mnist.load,
    version="1",
)
NEEDED_SPLITS = ("train", "test")
RETURNS = 'load must return {"train": Images, "test": Images}'
WAYS_OUT = {
    "not uint8 (n, height, width)": "Save them as integers from 0 to 255, (n, height, width) in "
    "grey or (n, height, width, 3) in colour, or as floats from 0 to 1.",
    "not one for each image": "Save one label per image: .argmax(axis=1) of one-hot rows, "
    ".ravel() of a column.",
    "different labels": "Is it a number to predict, or an id? Zoo trains classifiers.",
    "a regression target": "Zoo trains classifiers: give a column with classes.",
    "images and": "Each split needs images and a label for each; are two files mixed up?",
    "several sizes": "Resize the images to one size.",
    "several types": "Save the images of all splits as one type, such as uint8.",
    "too large": "Number the classes 0, 1, 2, ...",
    "but it has class names": "Save the labels 0, 1, ... of the classes.",
    "it has no ": "Save at least one input and its label.",
    "of one class": "Training needs at least two classes.",
}
"""Hints, by a part of the error message."""
MOST_NAMED = 10
"""Number of keys that one message names."""
FORMAT = "classes that occur"
"""Version of the cache format; datasets cached in another format are read again."""
_just_read: dict[str, tuple[str, ...]] = {}
"""The conversions of the datasets that this process has read, by canonical name."""
KEPT_SECONDS = 30 * 86400.0
"""Time that earlier contents of a file stay in the cache, for jobs submitted on them."""


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
    """Return the canonical name: as registered, as `sources.spell` does, or `SCHEME:PATH`.

    A path that exists becomes the spelling that fits it. Raises UsageError for an unknown name,
    a path that does not exist, or a wrong option.
    """
    form, colon, path = name.partition(":")
    if colon and form in sources.PATHS:
        source = sources.parse(name)
        sources.check(source)
        return sources.spell(source)
    if colon and form in schemes():
        if not path or not path.isprintable():
            raise UsageError(f"'{form}:' needs a path.")
        return name
    if name in names():
        return name
    if source_here := sources.of_path(name):
        return sources.spell(source_here)
    if colon:
        raise unknown("form of dataset", form, [*sources.PATHS, *schemes()])
    error = unknown("dataset", name, names(), "zoo data")
    if "/" in name or name.lower().endswith((*sources.SUFFIXES, ".gz")):
        raise UsageError(f"There is no file '{name}', and no dataset of this name.", error.hint)
    raise error


def names() -> list[str]:
    """Return the names of the registered datasets: MNIST, and those of plugins."""
    found = registry.catalogue().datasets.values()
    return [MNIST.name, *sorted(each.name for each in found if not each.scheme)]


def schemes() -> list[str]:
    """Return the schemes of plugins: the dataset `SCHEME:PATH` is read by its plugin."""
    return sorted(each.name for each in registry.catalogue().datasets.values() if each.scheme)


def raw(name: str, progress: Progress | None = None, *, contents: str | None = None) -> Raw:
    """Open a dataset from the cache; read (mnist: download) and check it first if needed.

    Args:
        name: Name of the dataset.
        progress: Called with the progress of a download or of reading.
        contents: Fingerprint of contents that are used if the source has others by now, or cannot
            be read any more, but the cache still has them.

    Raises:
        UsageError: As `resolve` does.
        DatasetError: The dataset is missing or damaged.
    """
    known = contents and (open_added(contents, name) or _kept_of_files(name, contents))
    if known:
        return known
    try:
        found = _raw(name, progress)
    except ZooError as error:
        if kept := _kept(name, contents):
            return kept
        if contents is not None and not error.hint:
            error.hint = "Restore it: the contents used by the job are not in the cache either."
        raise
    if contents is not None and found.fingerprint != contents:
        return _kept(name, contents) or found
    return found


def pinned(name: str, progress: Progress | None = None, *, contents: str | None = None) -> Raw:
    """Open exactly these contents of a dataset, or its present ones if `contents` is None.

    Raises DatasetError if they are not to be had any more, and as `raw` does.
    """
    try:
        found = raw(name, progress, contents=contents)
    except UsageError:
        if contents is None or ":" in name:
            raise
        # The name of an added dataset says nothing here: its contents are fetched beforehand.
        raise DatasetError(
            f"The contents of the dataset '{name}' are not on this machine.",
            "`zoo data` lists the datasets; was it removed?",
        ) from None
    if contents is not None and found.fingerprint != contents:
        raise DatasetError(
            f"The dataset '{name}' has other contents now than when the job was submitted.",
            "Submit the job again for the present ones.",
        )
    return found


def added_folder(fingerprint: str) -> Path:
    """Return the folder of this machine's cache for the contents of an added dataset."""
    return settings.cache() / "added" / fingerprint


def open_added(fingerprint: str, name: str) -> Raw | None:
    """Map the contents of an added dataset; None if the cache of this machine has not got them.

    `name` is what they are called in messages.
    """
    found = contents.open_contents(added_folder(fingerprint))
    if found is None or found.fingerprint != fingerprint:
        return None
    return dataclasses.replace(found, name=name, meta=found.meta.model_copy(update={"name": name}))


def cached_folder(name: str) -> Path:
    """Return the folder of the cache for the present contents of a dataset; raises as `raw`."""
    return _folder(resolve(name))


def _raw(name: str, progress: Progress | None) -> Raw:
    name = resolve(name)

    def load(folder: Path) -> Raw | None:
        return contents.open_contents(folder, name)

    def build(folder: Path) -> None:
        try:
            fill(folder, name, progress)
        except DatasetError as error:
            error.hint = _as_query(error.hint)
            raise

    stale = KEPT_SECONDS if ":" in name else cache.STALE
    return cache.get(_folder(name), load, build, stale=stale)


def fill(folder: Path, name: str, progress: Progress | None = None) -> Meta:
    """Read a dataset from its source and write its contents into an empty folder.

    `name` is a canonical one. Raises DatasetError for what cannot be read or is no dataset.
    """
    with _refusals(name):
        if name.partition(":")[0] in sources.PATHS:
            source = sources.parse(name)
            given, shares = sources.read(source, progress), source.options.shares
        else:
            given, shares = _read(name, progress), None
        found = incoming.write(folder, name, given, shares, progress)
        _just_read[name] = found.conversions
        return found


@contextlib.contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Raise DatasetError, with a hint, for the ValueError of what is no dataset."""
    try:
        yield
    except (ValueError, TypeError) as error:
        hint = getattr(error, "hint", "") or _way_out(str(error))
        raise DatasetError(f"The dataset '{name}' cannot be used: {reason(error)}.", hint) from None


def _as_query(hint: str) -> str:
    """Add to a hint with options of `zoo data add` how they are typed after a path."""
    if "--" not in hint:
        return hint
    return f"{hint} With `zoo data add`; after a path: '?target=COLUMN&drop=COLUMN&size=HxW'."


def conversions(name: str) -> tuple[str, ...]:
    """Return what this process had to convert when it read a dataset; each is returned once."""
    return _just_read.pop(dataset_names.canonical(name), ())


def _kept(name: str, fingerprint: str | None) -> Raw | None:
    """The cached contents with that fingerprint, if any, also if the dataset has changed since."""
    name = dataset_names.canonical(name)
    if fingerprint is None or not (":" in name or dataset_names.NAME.fullmatch(name)):
        return None
    for file in (settings.cache() / "raw" / key(name)).glob(f"*/{META_FILE}"):
        found = contents.open_contents(file.parent, name)
        if found and found.fingerprint == fingerprint:
            return found
    return None


def _kept_of_files(name: str, fingerprint: str) -> Raw | None:
    """As `_kept` for a name with a path, whose files need not be looked at then."""
    return _kept(name, fingerprint) if ":" in name else None


def listing() -> list[Listed]:
    """List the datasets: MNIST, those of plugins, and files used before.

    It does not download or read any dataset.
    """
    plugins = registry.catalogue().datasets
    open_ended = [Listed(f"{s}:", plugins[s].summary, False, "a plugin", 0) for s in schemes()]
    return [*(_listed(name) for name in names() + sorted(set(_files_in_cache()))), *open_ended]


def is_cached(name: str, *, contents: str | None = None) -> bool:
    """Return whether the cache of this machine has the dataset; raises as `raw` does."""
    if contents is not None and open_added(contents, name):
        return True
    try:
        return (_folder(resolve(name)) / META_FILE).is_file()
    except ZooError:
        if _kept(name, contents):
            return True
        raise


def fingerprint(name: str) -> str | None:
    """Return the fingerprint of a dataset in the cache of this machine; None if it is not there."""
    found = meta(name)
    return found.fingerprint if found else None


def notes(name: str) -> tuple[str, ...]:
    """Return the warnings about a cached dataset to print before a training."""
    found = meta(name)
    return found.notes if found else ()


def meta(name: str) -> Meta | None:
    """Return the description of a dataset in the cache of this machine; None if not there."""
    try:
        return contents.read_meta(_folder(resolve(name)))
    except ZooError:
        return None


def key(name: str) -> str:
    """The name of a dataset in the cache: the canonical name without its path."""
    form, colon, path = name.partition(":")
    return f"{form}-{_short_hash(path)}" if colon else name


def _folder(name: str) -> Path:
    """The cache folder for the current files of the dataset: changed files, another folder."""
    if name == MNIST.name:
        # MNIST does not change, and the network it was downloaded from may be gone.
        state = [MNIST.version]
    elif name.partition(":")[0] in sources.PATHS:
        state = [FORMAT, *sources.state(sources.parse(name))]
    else:
        state = [FORMAT, *_version(name)]
    return settings.cache() / "raw" / key(name) / _short_hash(json.dumps(state))


def _version(name: str) -> Iterator[str]:
    """The cache key of a plugin's dataset: its version, and the state of the files it names."""
    yield registry.dataset_version(name)
    for file in registry.catalogue().datasets[_registered(name)].files:
        yield sources.stamp(Path(file))


def _registered(name: str) -> str:
    """The name under which a plugin has registered a dataset or the scheme of its path."""
    return name.partition(":")[0]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(name: str, progress: Progress | None) -> Incoming:
    """Read MNIST or a plugin's dataset; raises ValueError for arrays that are no dataset."""
    # Before a download, and before a reader reports a missing package as a damaged file.
    import numpy  # noqa: F401

    if name == MNIST.name:
        from zoo.data.readers import conversion

        return conversion.of_arrays(mnist.load(progress))
    found = registry.catalogue()
    about = found.datasets[_registered(name)]
    owner = found.dataset_owners[about.name]
    return _of_plugin(about, owner.source, name)


def fill_from_plugin(folder: Path, about: Dataset, source: str, path: str = "") -> Meta:
    """Call `load` of a plugin's dataset, and write its contents into an empty folder.

    Args:
        folder: The folder.
        about: The dataset, which need not be registered.
        source: The module or file of the plugin, for messages.
        path: The text after the colon, of a scheme.

    Raises:
        DatasetError: `load` fails, or what it returns is no dataset.
    """
    name = f"{about.name}:{path}" if about.scheme else about.name
    with _refusals(name):
        return incoming.write(folder, name, _of_plugin(about, source, name))


def _of_plugin(about: Dataset, source: str, name: str) -> Incoming:
    try:
        # In this process: a separate one would have to start the plugin's libraries again, and
        # protects only against crashes in native code, which print a traceback.
        with import_guard.loading():
            splits = _splits(about.load(name.partition(":")[2]) if about.scheme else about.load())
    except KeyboardInterrupt:
        raise
    except _WrongResult as error:
        raise DatasetError(f"The dataset '{name}' cannot be used: {error}.") from None
    except BaseException as error:  # also SystemExit: `load` must not end the command
        detail = error_report.reason(error, source).rstrip(".")
        raise DatasetError(f"The plugin of the dataset '{name}' failed: {detail}.") from error
    from zoo.data.readers import conversion, tables

    if any(isinstance(each, Table) for each in splits.values()):
        return tables.of_tables(splits, about.class_names)
    return conversion.of_arrays(splits, about.class_names)


class _WrongResult(Exception):
    """`load` has not returned two splits of images and labels."""


def _splits(given: Any) -> dict[str, Any]:
    """The splits returned by `load`, all Images or all Tables.

    Raises _WrongResult, and what iterating raises.
    """
    if not isinstance(given, Mapping):
        raise _WrongResult(f"{RETURNS}, but it returned {_kind(given)}")
    for split in NEEDED_SPLITS:
        if split not in given:
            what = f"{RETURNS}, but it returned {_kind(given)}"
            raise _WrongResult(f"it has no split '{split}': {what}")
    found = {split: _rows(split, given[split]) for split in SPLITS if split in given}
    if len({type(rows) for rows in found.values()}) > 1:
        raise _WrongResult("some of its splits are Images and some Tables")
    return found


def _rows(split: str, given: Any) -> Images | Table:
    import numpy as np

    if isinstance(given, Table):
        if not isinstance(given.columns, Mapping) and not hasattr(given.columns, "items"):
            raise _WrongResult(f"the columns of '{split}' are {_kind(given.columns)}, no mapping")
        return given
    if not isinstance(given, tuple | list) or len(given) != len(Images._fields):
        raise _WrongResult(f"{RETURNS}, but '{split}' is {_kind(given)}")
    try:
        return Images(*(np.asarray(each) for each in given))
    except (ValueError, TypeError) as error:  # for example rows of different lengths
        raise _WrongResult(f"{RETURNS}, but '{split}' holds no array: {reason(error)}") from None


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


def _way_out(wrong: str) -> str:
    """The hint for an error message of a dataset, if there is one."""
    return next((hint for words, hint in WAYS_OUT.items() if words in wrong), "")


def _files_in_cache() -> Iterator[str]:
    """The `idx:` and `npz:` names in the cache whose files still exist."""
    for file in (settings.cache() / "raw").glob(f"*-*/*/{META_FILE}"):
        with contextlib.suppress(OSError, ValueError, UsageError):
            found = contents.read_meta(file.parent)
            if found and ":" in (name := found.name):
                yield resolve(name)


def _listed(name: str) -> Listed:
    form, colon, path = name.partition(":")
    try:
        cached = contents.open_contents(_folder(name), name) is not None
    except DatasetError:
        cached = False
    if colon:
        spelling = dataset_names.split(name)
        summary, where = f"{form} dataset", spelling.path if spelling else path
    elif name == MNIST.name:
        places = mnist.places()
        summary = MNIST.summary
        where = str(places[0]) if places else "to be downloaded"
    else:
        summary, where = registry.catalogue().datasets[name].summary, "a plugin"
    home = settings.cache()
    size = cache.size(home / "raw" / key(name)) + cache.size(home / "prepared" / key(name))
    return Listed(name, summary, cached, "the cache" if cached and not colon else where, size)
