"""On data with 3 % positives each metric has its own order, the same wherever results are ranked.

The order is that of scikit-learn's values, computed from the stored predictions.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from helpers import page_client
from helpers.command_line import Zoo
from helpers.rare_positives import write_table
from sklearn import metrics as sklearn
from zoo_report import contents, page
from zoo_report.contents import Selection

import zoo as notebook
from zoo import jobs, settings
from zoo.jobs import Database, Group, Job, Outcome, ProgressUpdate
from zoo.metrics import METRICS, Objective
from zoo.queue import submit
from zoo.queue.options import TrainingOptions
from zoo.results.leaderboard import leaderboard_rows
from zoo.results.predictions import load_predictions
from zoo.storage import artifacts
from zoo.sweeps import plan, search_space, trials
from zoo.training.provenance import read_environment
from zoo.training.run import run_job

RECIPES: list[tuple[str, dict[str, Any], str | None]] = [
    ("logistic", {"alpha": 10.0}, None),
    ("logistic", {"alpha": 0.01}, None),
    ("logistic", {"alpha": 0.01}, "balanced"),
    ("knn", {"n_neighbors": 1}, None),
    ("knn", {"n_neighbors": 9}, None),
]
NAMES = [name for name in METRICS if name != "top_5_accuracy"]
"""Metrics of two classes."""


@dataclass
class Trained:
    """Results on the table, and what scikit-learn says of each."""

    zoo: Zoo
    db: Database
    dataset: str
    sweep: str
    values: dict[str, dict[str, float]]
    """By job and metric."""

    def order(self, ids: list[str], metric: str) -> list[str]:
        """Sort jobs by scikit-learn's value, of equals the first one."""
        by = Objective(metric, METRICS[metric].higher_is_better)
        return sorted(ids, key=lambda each: by.key(self.values[each][metric]))


def run(db: Database, dataset: str) -> None:
    """Run every queued job in this process and store its result, as a worker does."""
    models = {"logistic": "p", "knn": "p"}
    while taken := jobs.claim(
        db, pool="default", models=models, datasets=[dataset], worker="w", lease=60
    ):
        held, job = taken
        with tempfile.TemporaryDirectory() as made:
            metrics = run_job(spec_of(job), Path(made), lambda *_, **__: None)
            around = ProgressUpdate(environment=read_environment(Path(made)))
            sha256 = artifacts.put(Path(made), settings.load().artifacts, f"{job.id}/1", {})
        assert jobs.finish(db, held, Outcome("succeeded", metrics, f"{job.id}/1", sha256), around)


def spec_of(job: Job) -> Any:
    from zoo.job_spec import JobSpec

    return JobSpec.parse_object(job.spec)


def by_scikit_learn(job: Job) -> dict[str, float]:
    """The metrics of a job from its stored predictions; the positive class is the second."""
    found = load_predictions(settings.load(), job)
    y, predicted, p = found.labels, found.predicted, found.probabilities
    assert p is not None
    return {
        "accuracy": sklearn.accuracy_score(y, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(y, predicted),
        "f1_macro": sklearn.f1_score(y, predicted, average="macro", labels=[0, 1], zero_division=0),
        "matthews_corrcoef": sklearn.matthews_corrcoef(y, predicted),
        "loss": sklearn.log_loss(y, p.astype("float64"), labels=[0, 1]),
        "roc_auc": sklearn.roc_auc_score(y, p[:, 1]),
        "average_precision": sklearn.average_precision_score(y, p[:, 1]),
        # scikit-learn has none: its formula is tested in tests/unit/test_metrics.py.
        "expected_calibration_error": float(job.metrics["expected_calibration_error"]),
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("rare")
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(Zoo(folder / "home")) as zoo:
        patch.setenv("ZOO_HOME", str(zoo.home))
        db, dataset = jobs.connect(), write_table(folder / "rare.csv")
        for model, params, class_weight in RECIPES:
            options = TrainingOptions(dataset, class_weight=class_weight)
            jobs.add(db, submit.training(model, params, options))
        request = plan.SweepRequest("logistic", TrainingOptions(dataset))
        planned = plan.plan_sweep(
            request, search_space.parse_search_space(["alpha=0.001,0.1", "penalty=l1,l2"])
        )
        _, sweep = jobs.add(db, planned.specs, group_kind="sweep", about=planned.about)
        run(db, planned.specs[0].dataset)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = {job.id: by_scikit_learn(job) for job in jobs.listing(db)}
        yield Trained(zoo, db, planned.specs[0].dataset, str(sweep), values)
        db.close()


def rows_of(trained: Trained, metric: str) -> list[tuple[str, float]]:
    """The best job of each model by scikit-learn's value, and that value."""
    ended = jobs.listing(trained.db, sort="created_at")
    order = trained.order([job.id for job in ended], metric)
    model = {job.id: job.model for job in ended}
    first = {model[each]: each for each in reversed(order)}
    best = [each for each in order if first[model[each]] == each]
    return [(each, trained.values[each][metric]) for each in best]


def test_the_metrics_of_each_job_are_those_of_scikit_learn(trained: Trained) -> None:
    for job in jobs.listing(trained.db):
        found = {name: job.metrics[name] for name in NAMES}
        # Stored probabilities are rounded to float32.
        assert found == pytest.approx(trained.values[job.id], rel=1e-5, abs=1e-6), job.id


def test_under_accuracy_and_under_f1_other_models_are_first(trained: Trained) -> None:
    first = {metric: rows_of(trained, metric)[0][0] for metric in ("accuracy", "f1_macro")}
    assert len(set(first.values())) == 2
    balanced = trained.values[first["accuracy"]]["balanced_accuracy"]
    assert balanced < trained.values[first["f1_macro"]]["balanced_accuracy"]


@pytest.mark.parametrize("metric", NAMES)
def test_rows_references_sweep_report_and_notebook_have_one_order(
    trained: Trained, metric: str
) -> None:
    db, expected = trained.db, rows_of(trained, metric)
    ids = [each for each, _ in expected]
    rows = leaderboard_rows(db, metric=metric)
    assert [row.result.id for row in rows] == ids
    assert [row.value for row in rows] == pytest.approx([v for _, v in expected], rel=1e-5)
    assert jobs.find_reference(db, f"@best:{trained.dataset}", metric).id == ids[0]
    assert jobs.find_reference(db, f"@best:{trained.dataset}:{metric}").id == ids[0]

    frame = notebook.get_leaderboard(metric=metric)
    assert frame["job"].tolist() == ids
    assert notebook.get_job(f"@best:{trained.dataset}:{metric}").id == ids[0]

    selection = Selection(jobs.listing(db), "All", 0, jobs.ALL_JOBS, metric)
    html = page.render(contents.gather(db, settings.load(), selection))
    table = html[html.index('id="t-board"') : html.index("</table>", html.index('id="t-board"'))]
    assert re.findall(r'data-label="job">.*?<code>(\w+)<', table) == [each[:8] for each in ids]
    assert f"test {metric}" in table

    name = "accuracy" if metric == "accuracy" else metric
    by_value = jobs.listing(db, sort=name if metric in LOWER else f"-{name}")
    values = [job.metrics[metric] for job in by_value]
    assert values == sorted(values, reverse=metric not in LOWER)


LOWER = ("loss", "expected_calibration_error")


@pytest.mark.parametrize("metric", NAMES)
def test_trials_of_a_sweep_are_ranked_by_each_metric(trained: Trained, metric: str) -> None:
    group = jobs.get_group(trained.db, trained.sweep)
    objective = Objective(metric, METRICS[metric].higher_is_better)
    ranked: Group = replace(group, about=group.about | objective.to_json())
    found = [trial.group.jobs[0].id for trial in trials.sort_trials(trials.list_trials(ranked))]
    assert found == trained.order([job.id for job in group.jobs], metric)
    best = ranked.to_json()["best"]
    assert (best["job"], best["metric"]) == (found[0], metric)


def test_command_and_page_rank_by_the_metric_that_is_asked_for(trained: Trained) -> None:
    expected = [each[:8] for each, _ in rows_of(trained, "f1_macro")]
    shown = trained.zoo.run("leaderboard", "--metric", "f1_macro").stdout
    assert "test f1_macro" in shown and re.findall(r" ([0-9a-f]{8}) ", shown) == expected
    refused = trained.zoo.run("leaderboard", "--metric", "f1", code=2)
    assert "There are accuracy, balanced_accuracy" in refused.stderr
    with page_client.served(trained.zoo.home) as page:
        for metric in ("accuracy", "f1_macro", "loss"):
            html = page.get(f"/leaderboard?metric={metric}").text
            jobs_shown = re.findall(r'<td class="model"><a href="/jobs/(\w+)"', html)
            assert jobs_shown == [each for each, _ in rows_of(trained, metric)]
            assert f"Test {metric}" in html
        refused_page = page.get("/leaderboard?metric=f1")
        assert refused_page.status == 400 and "There are accuracy" in refused_page.text
