"""The dataset of a submission: its name, its version and the contents that its jobs run on."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass

from zoo import dataset_names, jobs, settings
from zoo.data import added, datasets, sources, takes
from zoo.data.cache import Progress
from zoo.data.contents import Meta, Raw
from zoo.errors import UsageError, unknown
from zoo.job_spec import JobSpec
from zoo.jobs import Database, DatasetVersion
from zoo.jobs.cards import Card
from zoo.queue import catalogue

ROWS = ("csv", "parquet")
"""Forms of a source that has no splits unless an option names them."""
MAX_STEM = 50
"""Characters of a file's name in the automatic name of its dataset."""


@dataclass(frozen=True)
class PinnedDataset:
    """A dataset as a job records it."""

    name: str
    version: int | None = None
    """Of an added dataset."""
    contents: str | None = None
    """Fingerprint; None if this machine does not know it."""
    meta: Meta | None = None
    """The description; None if this machine does not know it."""


def pin(name: str, progress: Progress | None = None) -> PinnedDataset:
    """Find out what a dataset's name means now; files are read.

    On a team's database files are added under an automatic name first, so that every worker can
    fetch them.

    Args:
        name: As typed: a registered name, `NAME` or `NAME@VERSION` of an added dataset, or files.
        progress: Called with the progress of reading files.

    Raises:
        UsageError: For an unknown name or version, or a missing file.
        DatasetError: The files are no dataset.
        StoreError: The database cannot be read.
    """
    if name in datasets.names():
        meta = datasets.meta(name)
        return PinnedDataset(name, None, meta.fingerprint if meta else None, meta)
    with catalogue.database() as db:
        if db and (version := added_version(db, name)):
            return of_version(version)
    source = catalogue.dataset(name)
    if not _is_readable_here(source):
        return PinnedDataset(source)
    # Of files that were read before, the description suffices: it takes no numpy.
    meta = datasets.meta(source) or datasets.raw(source, progress).meta
    chosen = settings.load()
    if not chosen.database_url:
        return PinnedDataset(source, None, meta.fingerprint, meta)
    with contextlib.closing(jobs.connect(chosen.database)) as db:
        own = automatic_name(source, meta.fingerprint)
        version = jobs.find_dataset(db, own)
        if version is None or version.fingerprint != meta.fingerprint:
            found = datasets.raw(source, progress)
            version = added.add_cached(db, chosen.artifacts, own, source, found).version
    return of_version(version)


def pin_to_judge(name: str, trained: JobSpec, progress: Progress | None = None) -> PinnedDataset:
    """Find out what a dataset's name means on which a trained model is judged, as `pin` does.

    Of a file with a table all rows are the test split, unless one is spelled out; the column with
    the classes, and columns that are left out, are those of the training unless others are given.
    """
    is_path = ":" in name or (not _is_name(name) and os.path.lexists(dataset_names.absolute(name)))
    if not is_path:
        return pin(name, progress)
    source = catalogue.dataset(name)
    if source.partition(":")[0] in ROWS:
        source = _like(source, trained)
    return pin(source, progress)


def _is_name(name: str) -> bool:
    """Whether it is a dataset of this machine or an added one, which come before files."""
    if name in datasets.names():
        return True
    with catalogue.database() as db:
        return bool(db and added_version(db, name))


def _like(source: str, trained: JobSpec) -> str:
    """The spelling of a file of rows with the options that the training had, and all rows."""
    asked, first = sources.parse(source), _source_of(trained)
    more: dict[str, str | list[str]] = {}
    if asked.options.test is None:
        more["test"] = "1"
    if first and asked.options.target is None:
        kept = first.options
        more |= {"drop": list(kept.drop), "category": list(kept.category)}
        more |= {name: value for name in ("target", "weight") if (value := getattr(kept, name))}
    return sources.spell(sources.extended(asked, **more))


def _source_of(trained: JobSpec) -> sources.Source | None:
    """The files that a model was trained on, as spelled; None if it were none with rows."""
    source = trained.dataset
    if trained.version is not None:
        with catalogue.database() as db:
            row = jobs.find_dataset(db, trained.dataset, trained.version) if db else None
        source = str(row.recipe.get("source", "")) if row else ""
    return sources.parse(source) if source.partition(":")[0] in ROWS else None


def added_version(db: Database, name: str) -> DatasetVersion | None:
    """Return the version of an added dataset that NAME or NAME@VERSION means; None for others.

    Raises UsageError for a version that there is not.
    """
    base, version = dataset_names.split_version(name)
    if not dataset_names.NAME.fullmatch(base):
        return None
    found = jobs.find_dataset(db, base, version)
    if found is None and version is not None:
        known = [str(each.version) for each in jobs.list_datasets(db, base)]
        if known:
            raise UsageError(
                f"The dataset '{base}' has no version {version}.", f"There is {', '.join(known)}."
            )
        if base in datasets.names():
            raise UsageError(f"Only added datasets have versions, and '{base}' is none.")
        raise unknown("dataset", base, [*datasets.names(), *catalogue.added_names()], "zoo data")
    return found


def of_version(version: DatasetVersion) -> PinnedDataset:
    """Return a version of an added dataset as a job records it."""
    meta = added.meta_of(version)
    return PinnedDataset(version.name, version.version, version.fingerprint, meta)


def open_dataset(name: str, progress: Progress | None = None) -> Raw:
    """Open a dataset on this machine, as typed; added ones are fetched, others read if needed.

    Raises UsageError also if only workers have it, and else as `pin` and `added.ensure` do.
    """
    found = pin(name, progress)
    if found.version is None:
        catalogue.see_here(found.name)
    else:
        bring(found.contents, name, progress)
    return datasets.raw(found.name, progress, contents=found.contents)


def described(name: str, contents: str | None) -> Meta | None:
    """Return the description of contents that a job was trained on, as far as it is known here."""
    if contents is None:
        return None
    with catalogue.database() as db:
        if db and (version := jobs.find_contents(db, contents)):
            return added.meta_of(version)
    here = datasets.open_added(contents, name)
    found = here.meta if here else datasets.meta(name)
    return found if found and found.fingerprint == contents else None


def bring(contents: str | None, label: str, progress: Progress | None = None) -> None:
    """Fetch contents that jobs refer to, if they are those of an added dataset and not here.

    `label` names the dataset in messages. Raises as `added.ensure` does.
    """
    if contents is None or added.is_here(contents):
        return
    with catalogue.database() as db:
        if db and jobs.find_contents(db, contents):
            added.ensure(db, settings.load().artifacts, contents, label, progress)


def check_model(card: Card, dataset: PinnedDataset, asked: takes.Asked) -> None:
    """Raise UsageError for a dataset on which the model cannot be trained, as far as is known."""
    meta = dataset.meta
    if meta is None:
        takes.check_options(takes.Takes.of_card(card), asked)
        return
    meta = meta.model_copy(update={"name": dataset.name})
    if meta.untrainable:
        raise UsageError(
            f"No model can be trained on the dataset '{dataset.name}': {meta.untrainable}.",
            "Training needs at least two classes.",
        )
    takes.check(takes.Takes.of_card(card), meta, asked)


def automatic_name(source: str, fingerprint: str) -> str:
    """Return the name of a dataset for files: that of the file and a part of the fingerprint."""
    spelled = dataset_names.split(source)
    path = spelled.path if spelled else source.partition(":")[2]
    stem = path.rstrip("/").rpartition("/")[2].partition(".")[0].lower()
    plain = re.sub(r"[^a-z0-9._-]+", "-", stem).strip("-._")[:MAX_STEM]
    return f"{plain or 'data'}-{fingerprint[:8]}"


def _is_readable_here(source: str) -> bool:
    """Return whether this machine reads the source: it is no name that only workers have."""
    form, colon, _ = source.partition(":")
    return bool(colon) and (form in dataset_names.FILE_FORMS or form in datasets.schemes())
