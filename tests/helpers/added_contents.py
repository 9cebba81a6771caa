"""Contents of datasets in the cache of this machine, as an added dataset leaves them there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data import datasets, incoming
from zoo.data.contents import Column, Meta
from zoo.data.incoming import Incoming


def add(name: str, given: Incoming) -> Meta:
    """Write contents into the cache; jobs that name their fingerprint are run on them."""
    with tempfile.TemporaryDirectory() as made:
        meta = incoming.write(Path(made), name, given)
        shutil.copytree(made, datasets.added_folder(meta.fingerprint), dirs_exist_ok=True)
    return meta


def a_table(
    columns: Sequence[Column], splits: Mapping[str, tuple[Any, Any]], **more: Any
) -> Incoming:
    """A table of rows and labels by split, as a reader returns it."""
    rows = {split: np.asarray(values, "float64") for split, (values, _) in splits.items()}
    return Incoming(
        "table",
        (len(columns),),
        {split: np.asarray(labels) for split, (_, labels) in splits.items()},
        {split: lambda part=part: [part] for split, part in rows.items()},
        dtype="float64",
        columns=tuple(columns),
        **more,
    )
