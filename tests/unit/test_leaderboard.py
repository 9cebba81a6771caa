"""What the leaderboard ranks, on rows that were made by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from zoo import jobs
from zoo.errors import UsageError
from zoo.job_spec import Fold, JobSpec
from zoo.jobs import Database, Filter, Outcome, ProgressUpdate
from zoo.jobs.environments import Environment
from zoo.query import parser
from zoo.results.leaderboard import leaderboard_rows


@pytest.fixture
def db(empty_file: Path, tmp_path: Path) -> Database:
    return Database(f"sqlite:///{shutil.copy(empty_file, tmp_path)}")


def done(
    db: Database,
    *accuracies: float,
    group: str | None = None,
    contents: str | None = "d" * 64,
    **params: Any,
) -> str:
    """Add trainings that have ended with these accuracies; gives the id of the job or group."""
    folds = [Fold(k=2, index=i) for i in range(2)] if group == "cv" else [None] * len(accuracies)
    spec = JobSpec(kind="train", model="m", params=params, dataset="digits", changed=list(params))
    specs = [spec.model_copy(update={"fold": fold}) for fold in folds]
    ids, group_id = jobs.add(db, specs, group_kind=group)
    for accuracy in accuracies:
        shared = {"worker": "w", "pool": "default", "datasets": ["digits"], "lease": 60}
        taken = jobs.claim(db, models={"m": "p"}, **shared)  # type: ignore[arg-type]
        assert taken is not None
        metrics = {"accuracy": accuracy, "loss": 1 - accuracy, "per_class": {"a": {}, "b": {}}}
        told = ProgressUpdate(environment=Environment(data=contents))
        jobs.finish(db, taken[0], Outcome("succeeded", metrics, "where", "0" * 64), told)
    return group_id or ids[0]


def test_seeds_count_by_their_mean_and_never_by_the_luckiest(db: Database) -> None:
    alone = done(db, 0.90)
    done(db, 0.80, 0.99, group="seeds", tries=1)
    (row,) = leaderboard_rows(db)
    assert row.test and row.test.id == alone and not row.test.is_group
    steady = done(db, 0.92, 0.94, group="seeds", tries=2)
    (row,) = leaderboard_rows(db)
    assert row.test and row.test.id == steady and row.changed == {"tries": 2}
    assert row.test.accuracy == pytest.approx(0.93)
    assert row.test.std == pytest.approx(0.01 * math.sqrt(2))
    assert row.test.is_group and row.test.values == [0.92, 0.94]


def test_a_cross_validation_stands_beside_a_test_of_the_same_params_alone(db: Database) -> None:
    done(db, 0.9, epochs=5)
    done(db, 0.95, 0.97, group="cv", epochs=9)
    apart = leaderboard_rows(db)
    assert [(bool(row.test), bool(row.cv)) for row in apart] == [(False, True), (True, False)]
    done(db, 0.98, 0.98, group="cv", epochs=5)
    (together,) = leaderboard_rows(db)
    assert together.test and together.cv and together.cv.accuracy == pytest.approx(0.98)


def test_a_group_that_is_not_whole_is_not_ranked(db: Database) -> None:
    done(db, 0.9, group="seeds")
    spec = JobSpec(kind="train", model="m", params={}, dataset="digits")
    jobs.add(db, [spec], group_kind="seeds")
    assert len(leaderboard_rows(db)) == 1


def test_a_row_for_each_value_of_a_param_and_only_of_what_is_meant(db: Database) -> None:
    for epochs, accuracy in ((5, 0.9), (5, 0.92), (9, 0.95), (20, 0.5)):
        done(db, accuracy, epochs=epochs)
    wanted = Filter(where=parser.parse("accuracy > 0.8", jobs.FIELD_NAMES))
    found = leaderboard_rows(db, wanted, by=["params.epochs"])
    values = [(row.by, row.accuracy) for row in found]
    assert values == [({"params.epochs": 9}, 0.95), ({"params.epochs": 5}, 0.92)]
    with pytest.raises(UsageError, match="No name is called"):
        leaderboard_rows(db, by=["no.such"])


def test_what_a_job_reproduces_stands_beside_what_it_reached(db: Database) -> None:
    ref = done(db, 0.9)
    with db.write() as rows:
        spec = json.loads(rows.value("SELECT spec FROM job WHERE id = :id", {"id": ref}))
        spec["published"] = {"table": "t", "row": "linear", "error": 12.0, "source": "1998"}
        rows.run("UPDATE job SET spec = :spec", {"spec": json.dumps(spec)})
    (row,) = leaderboard_rows(db)
    assert row.published and row.published["error"] == 12.0


def test_only_results_on_test_images_have_a_test_error(db: Database) -> None:
    done(db, 0.9, 0.8, group="cv", way="folds")
    done(db, 0.7, way="one")
    done(db, 0.6, 0.8, group="seeds", way="seeds")
    done(db, 0.5, way="both")
    done(db, 0.6, 0.7, group="cv", way="both")
    rows = {row.params["way"]: row for row in leaderboard_rows(db, by=["params.way"])}
    found = {way: row.test_error for way, row in rows.items()}
    assert found.pop("folds") is None
    assert found == {
        way: pytest.approx(e) for way, e in (("one", 0.3), ("seeds", 0.3), ("both", 0.5))
    }
