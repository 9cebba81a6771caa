"""Pages and actions of `zoo ui` in this process: results, forms, retries."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import servers
from helpers.finished_jobs import a_spec, claim, succeed
from helpers.report_jobs import HOSTILE
from helpers.swept_jobs import pruned_sweep
from zoo_web import actions, dashboard, job_page
from zoo_web.context import PageContext

from zoo import jobs, settings
from zoo.jobs import Database, Outcome
from zoo.sweeps.importance import Importance


@pytest.fixture
def db(home: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    # A broker that is away: no worker is started.
    monkeypatch.setenv("ZOO_BROKER_URL", f"redis://127.0.0.1:{servers.free_port()}/0")
    return jobs.connect()


class Visit:
    """A visit to the page: requests as the routes get them."""

    def __init__(self, db: Database) -> None:
        models: Any = None
        self.context = PageContext(db, settings.load(), models)

    def request(self, path: str = "/", form: Any = None, query: Any = None, **found: str) -> Any:
        state = SimpleNamespace(csrf="csrf", form={"csrf": "csrf", **(form or {})})
        return SimpleNamespace(
            app=SimpleNamespace(state=SimpleNamespace(context=self.context)),
            state=state,
            path_params=found,
            query_params=query or {},
            url=SimpleNamespace(path=path, query=""),
            headers={},
        )

    def jobs(self, **query: str) -> str:
        return self.text(dashboard.jobs_page(self.request(query=query)))

    def job(self, job: str) -> str:
        return self.text(job_page.job_page(self.request(job=job)))

    def text(self, answer: Any) -> str:
        return str(answer.body.decode())


def checkpointed(db: Database) -> str:
    """A failed job that has left a checkpoint."""
    (job,), _ = jobs.add(db, [a_spec()])
    held = claim(db)
    where = jobs.checkpoint_path(job, 1, "3")
    found = {"where": where, "sha256": "0" * 64, "attempt": 1, "step": 7, "total": 12}
    found |= {"unit": "epoch", "bytes": 10, "at": 1.0, "advanced": True}
    assert jobs.save_checkpoint(db, held, found)
    assert jobs.finish(db, held, Outcome("failed", error_code="x", error="x"))
    return job


def test_a_retry_goes_on_from_the_checkpoint_where_there_is_one(db: Database) -> None:
    visit, old = Visit(db), checkpointed(db)
    html = visit.job(old)
    assert "Continue from epoch 7/12</button>" in html and "epoch 7/12 of attempt 1" in html
    answer = actions.retry(visit.request(form={"resume": "yes"}, job=old))
    again = jobs.get(db, answer.headers["location"].rpartition("/")[2])
    assert again.retry_of == old and again.checkpoint_step == "epoch 7/12"
    jobs.cancel(db, again.id)
    anew = actions.retry(visit.request(job=again.id)).headers["location"].rpartition("/")[2]
    assert not jobs.get(db, anew).checkpoint
    jobs.cancel(db, anew)
    assert "Continue" not in visit.job(anew) and "Retry</button>" in visit.job(anew)
    refused = actions.retry(visit.request(form={"resume": "yes"}, job=anew))
    assert refused.status_code == 409
    assert "has no checkpoint to continue from." in visit.text(refused)


def test_the_form_has_device_and_exact(db: Database) -> None:
    visit, filled = Visit(db), {"model": "logistic", "dataset": "digits"}
    asked = filled | {"device": "gpu", "exact": "yes"}
    answer = actions.submit_training(visit.request(form=asked))
    job = jobs.get(db, answer.headers["location"].rpartition("/")[2])
    assert (job.spec["device"], job.spec["exact"], job.pool) == ("gpu", True, "gpu")
    wrong = visit.text(actions.submit_training(visit.request(form=asked | {"device": "tpu"})))
    assert "No device is called &#39;tpu&#39;" in wrong and 'value="yes" selected' in wrong
    answer = actions.submit_training(visit.request(form=filled))
    job = jobs.get(db, answer.headers["location"].rpartition("/")[2])
    assert (job.spec["device"], job.spec["exact"], job.pool) == (None, False, "default")


def test_the_list_shows_the_metric_of_the_sweep_or_the_one_that_is_chosen(db: Database) -> None:
    measured = {"f1_macro": 0.125, "val_accuracy": 0.625}
    succeed(db, [a_spec()], accuracies=[0.75], metrics=measured)
    about = {"objective": "val_accuracy", "higher_is_better": True}
    (trial,), group = jobs.add(db, [a_spec(params={"a": 2})], group_kind="sweep", about=about)
    told = {"accuracy": 0.5, **measured}
    assert jobs.finish(db, claim(db), Outcome("succeeded", told, "where", "0" * 64))
    seeds = [a_spec(seed=n) for n in range(2)]
    several = succeed(db, seeds, kind="seeds", accuracies=[0.25, 0.25], metrics=measured)
    visit = Visit(db)

    def results(**query: str) -> list[str]:
        cells = re.findall(r'<td class="result">(.*?)</td>', visit.jobs(**query))
        return [re.sub("<[^>]*>", "", cell) for cell in cells]

    assert results() == ["0.2500", "0.2500", "0.6250 val_accuracy", "0.7500"]
    assert results(metric="f1_macro") == 4 * ["0.1250 f1_macro"]
    assert 'class="result">f1_macro</th>' in visit.jobs(metric="f1_macro")
    assert results(metric="accuracy") == ["0.2500", "0.2500", "0.5000", "0.7500"]
    assert "best val_accuracy <b>0.6250</b>" in visit.jobs(group=str(group))
    assert "accuracy <b>0.2500" in visit.jobs(group=several)
    assert "f1_macro <b>0.1250" in visit.jobs(group=several, metric="f1_macro")
    assert "<span>val_accuracy <b>0.6250</b></span>" in visit.job(trial)
    assert "No job has the metric &#39;f1&#39;" in visit.jobs(metric="f1")
    for metric, heading in (("val_accuracy", "val_accuracy"), ("f1_macro", "Test f1_macro")):
        board = visit.text(dashboard.leaderboard_page(visit.request(query={"metric": metric})))
        assert f'<th scope="col" class="num">{heading}</th>' in board
        assert (">Test error %<" in board) == (metric == "val_accuracy")


def test_the_page_of_a_sweep_shows_its_metric_against_each_param(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = pruned_sweep(db, HOSTILE, ["x", HOSTILE])
    known = Importance("val_accuracy", 1, {"rate": 0.75, HOSTILE: 0.25})
    calls: list[str] = []
    monkeypatch.setattr(
        "zoo_web.dashboard.param_importance", lambda of, *_: calls.append(of.id) or known
    )
    visit = Visit(db)
    html = visit.jobs(group=group)
    assert visit.jobs(group=group) and calls == [group], "drawn again only after a change"
    (section,) = re.findall(r'<section class="slices".*?</section>', html, re.S)
    assert HOSTILE not in html and "<img src=x" not in html
    assert section.count('<figure class="slice">') == 3
    assert section.count("(logarithmic)") == 1 and "val_accuracy against each param" in section
    found = jobs.get_group(db, group)
    best = found.best()
    n_pruned = sum(job.status == "pruned" for job in found.jobs)
    assert best and section.count('<circle class="partial"') == 2 * n_pruned > 0
    linked = re.findall(r'<a href="/jobs/(\w+)" tabindex="-1"><circle class="best"', section)
    assert linked == [best.jobs[0].id] * 2
    assert "Importance of the params for val_accuracy at epoch 1" in section and "0.75" in section
    assert "1 trial without a value: 1 failed." in section
    seeds = succeed(db, [a_spec(seed=n) for n in range(2)], kind="seeds", accuracies=[0.1, 0.2])
    assert "slices" not in visit.jobs(group=seeds)
