"""Jobs for reports, made by hand: with predictions of a small dataset, curves, hostile words."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import numpy as np
from zoo_report import contents
from zoo_report.contents import Contents, Selection

from helpers.finished_jobs import a_spec, succeed
from zoo import jobs, settings
from zoo.data import datasets
from zoo.jobs import Database, Outcome, ProgressUpdate
from zoo.jobs.environments import Environment

LABELS = [0, 0, 1, 1]


def gathered(db: Database, *refs: str) -> Contents:
    found = [job for ref in refs for job in jobs.members(jobs.find_reference(db, ref))]
    return contents.gather(db, settings.load(), Selection(found, "Some jobs"))


def predictions(**arrays: Any) -> dict[str, bytes]:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{name: np.array(each) for name, each in arrays.items()})
    return {"predictions.npz": file.getvalue()}


def trained(db: Database, predicted: list[int], *specs: Any, **made: Any) -> str:
    """A job that has succeeded, with predictions of the first images of the dataset."""
    given = {"labels": LABELS, "predicted": predicted, "artifacts_url": settings.load().artifacts}
    return succeed(db, specs or [a_spec(dataset=dataset())], **(given | made))


def dataset() -> str:
    """A dataset of 30 and 10 random images, mostly dark, as a file; made with the first call."""
    path = settings.load().home / "small.npz"
    if not path.exists():
        rng = np.random.default_rng(1)
        arrays = {}
        for split, count in (("train", 30), ("test", 10)):
            ink = rng.integers(0, 256, (count, 28, 28), dtype="uint8")
            arrays[f"x_{split}"] = ink * (rng.random(ink.shape) < 0.2)
            arrays[f"y_{split}"] = np.arange(count) % 2
        np.savez(path, allow_pickle=False, **arrays)
    return f"npz:{path}"


def seen() -> dict[str, Any]:
    """The environment of a job that saw that dataset as it is here."""
    return {"data": datasets.raw(dataset()).fingerprint}


def data_of(html: str) -> Any:
    found = re.search(r'id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


HOSTILE = "</script><img src=x onerror=window.hacked=1>'\"&{{7*7}}\u202e"


def hostile(db: Database) -> list[str]:
    """Jobs that carry such words in params, tags, classes, versions, dataset and error."""
    spec = a_spec(
        dataset=dataset(), params={"a": HOSTILE, "b<i>": 1}, changed=["a", "b<i>"], plugin=HOSTILE
    )
    around = seen() | {"plugin": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    around["machine"] = dict.fromkeys(("host", "cpu", "system"), HOSTILE) | {
        "cores": 1,
        "threads": 1,
    }
    told = {"classes": [HOSTILE, "1"], "confusion_matrix": [[1, 1], [0, 2]], "n_images": 4}
    recorded = Environment.from_json(around)
    steps = ProgressUpdate(environment=recorded, steps=[(1, {HOSTILE: 0.5}), (2, {HOSTILE: 0.7})])
    first = trained(db, [1, 0, 1, 1], spec, environment=around, metrics=told)
    jobs.tag(db, [first], [HOSTILE], [])
    (second,), _ = jobs.add(db, [a_spec(dataset=f"npz:/{HOSTILE}")])
    (third,), _ = jobs.add(db, [spec])
    held = jobs.claim(
        db, pool="default", models={"m": HOSTILE}, datasets=["digits"], worker=HOSTILE, lease=60
    )
    assert held
    jobs.finish(db, held[0], Outcome("failed", error_code="exception", error=HOSTILE), steps)
    return [first, second, third]
