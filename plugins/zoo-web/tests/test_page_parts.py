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
from starlette.datastructures import QueryParams
from zoo_web import (
    actions,
    compare_page,
    dashboard,
    group_page,
    job_page,
    model_page,
    submit_form,
)
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
            query_params=QueryParams(query or {}),
            url=SimpleNamespace(path=path, query=""),
            headers={},
        )

    def jobs(self, **query: str) -> str:
        return self.text(dashboard.jobs_page(self.request(query=query)))

    def group(self, group: str) -> str:
        return self.text(group_page.group_page(self.request(group=group)))

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
        "zoo_web.group_page.param_importance", lambda of, *_: calls.append(of.id) or known
    )
    visit = Visit(db)
    html = visit.group(group)
    assert visit.group(group) and calls == [group], "drawn again only after a change"
    (section,) = re.findall(r'<section class="slices".*?</section>', html, re.S)
    assert HOSTILE not in html and "<img src=x" not in html
    assert section.count("<zoo-dots>") == 2 and section.count("<zoo-chart ") == 1
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
    assert "slices" not in visit.group(seeds)


BASE = {"model": "logistic", "dataset": "digits"}
SWEPT = BASE | {"several": "sweep"}
LISTED = SWEPT | {"sampler": "file"}
PRUNED = SWEPT | {"model": "mlp", "validation": "0.1", "pruner": "median"}


@pytest.mark.parametrize(
    ("filled", "blamed"),
    [
        (BASE | {"param.max_iter": "0", "seed": "1_0", "tags": "mine"}, ["param.max_iter", "seed"]),
        (BASE | {"dataset": "minst", "tags": "mine"}, ["dataset"]),
        (BASE | {"model": "logistik"}, ["model"]),
        (BASE | {"several": "cv", "number": "1"}, ["number"]),
        (BASE | {"several": "all"}, ["several"]),
        (BASE | {"preprocess": "x", "validation": "2"}, ["preprocess", "validation"]),
        (BASE | {"priority": "high", "name": "@x"}, ["priority", "name"]),
        (BASE | {"class_weight": "x", "device": "tpu"}, ["class_weight", "device"]),
        # Refused only together with another field.
        (BASE | {"several": "seeds", "number": "9", "seed": str(2**32 - 3)}, ["seed"]),
        (SWEPT | {"param.max_iter": "2,3", "trials": "4"}, ["trials"]),
        (SWEPT | {"param.max_iter": "2,2", "metric": "f1"}, ["param.max_iter", "metric"]),
        (SWEPT | {"param.alpha": "1e-4..x", "sampler": "tpe"}, ["param.alpha", "sampler"]),
        (SWEPT | {"param.max_iter": "0,3", "pruner": "asha"}, ["param.max_iter", "pruner"]),
        (SWEPT | {"param.max_iter": "3"}, ["several"]),
        (LISTED, ["table"]),
        (
            LISTED | {"table": "tol\nx", "param.alpha": "x", "cv": "1"},
            ["table", "param.alpha", "cv"],
        ),
        # Each is right beside the others, of which one is wrong.
        (PRUNED | {"param.alpha": "1,x", "n_warmup_steps": "2"}, ["param.alpha"]),
        (PRUNED | {"param.alpha": "1,2", "min_resource": "2"}, ["min_resource"]),
    ],
)
def test_a_refused_form_keeps_what_was_typed_and_marks_the_fields_to_blame(
    db: Database, filled: dict[str, str], blamed: list[str]
) -> None:
    answer = actions.submit_training((visit := Visit(db)).request(form=filled))
    html = visit.text(answer)
    assert answer.status_code == 400 and not jobs.count(db, jobs.ALL_JOBS)
    marked = re.findall(
        r'name="([^"]+)"[^>]* aria-invalid="true" aria-describedby="e-([^ "]+)', html
    )
    assert sorted(marked) == sorted((name, name) for name in blamed)
    assert html.count("autofocus") == bool(blamed)
    for name in blamed:
        assert f'href="#f-{name}"' in html and f'id="f-{name}"' in html
        assert len(re.findall(f'class="wrong" id="e-{name}">[^<]', html)) == 1
    for name, text in filled.items():
        kept = (f'name="{name}" value="{text}"', f">{text}</option>", f'value="{text}" selected')
        assert any(each in html for each in kept) or name in blamed, name


@pytest.mark.parametrize(
    "filled",
    [
        BASE | {"param.max_iter": "7", "preprocess": "deskew,standardize", "seed": "3"},
        BASE | {"dataset": "digits", "validation": "0.2", "class_weight": "balanced"},
        BASE | {"several": "cv", "number": "3", "tags": "a b", "priority": "2", "exact": "yes"},
        BASE | {"several": "seeds", "number": "2", "pool": "own", "param.penalty": "null"},
        SWEPT | {"param.max_iter": "2,3", "param.penalty": "l1,null", "param.tol": "0.01"},
        SWEPT
        | {"param.alpha": "1e-06..0.1:log", "param.max_iter": "2..9", "validation": "0.1"}
        | {"sampler": "random", "trials": "3"},
        SWEPT | {"param.max_iter": "2,3", "cv": "3"},
        LISTED | {"table": "max_iter,penalty\n2,l1\n3,\n", "param.tol": "0.01", "seeds": "2"},
        PRUNED | {"param.alpha": "0.1,0.2", "n_startup_trials": "2"},
    ],
)
def test_train_again_submits_the_same_jobs(db: Database, filled: dict[str, str]) -> None:
    answer = actions.submit_training((visit := Visit(db)).request(form=filled))
    place = answer.headers["location"]
    ref = place.rpartition("/")[2]
    found = jobs.find_reference(db, ref)
    asked = submit_form.read_form(filled)
    again = submit_form.read_form(submit_form.filled_from(found))
    assert [*again.specs] == [*asked.specs] and again.queue == asked.queue
    assert again.group_kind == asked.group_kind == (found.kind if "groups" in place else None)
    assert (again.sweep and again.sweep.about) == (asked.sweep and asked.sweep.about)
    html = visit.text(actions.submit_page(visit.request("/submit", query={"from": ref})))
    for name, text in filled.items():
        assert f'"{text}"' in html or f">{text}<" in html or name == "table", name
    if "groups" in place:
        assert f"/submit?from={ref}" in visit.group(ref)
        count = len(found.jobs)
        question = group_page.cancel(visit.request(group=ref))
        assert f"Cancel {count} jobs?" in visit.text(question)
        group_page.cancel(visit.request(group=ref, form={"sure": "yes"}))
        assert {job.status for job in jobs.get_group(db, ref).jobs} == {"cancelled"}


def test_a_trained_model_is_evaluated_on_other_rows_and_the_form_marks_its_field(
    db: Database,
) -> None:
    visit = Visit(db)
    files = {"weights_weights.npz": b"x"}
    told = {"weights_bytes": 10, "inputs": "images"}
    where = visit.context.settings.artifacts
    job = succeed(db, [a_spec(model="logistic")], metrics=told, files=files, artifacts_url=where)
    html = visit.job(job)
    for page in ("/draw?job=", "/submit?from="):
        assert f'href="{page}{job}"' in html
    for page in ("evaluate", "export"):
        assert f'href="/jobs/{job}/{page}"' in html
    for wrong in ({"split": "all"}, {"dataset": "minst"}):
        (name,) = wrong
        answer = model_page.evaluate(visit.request(job=job, form=wrong))
        assert answer.status_code == 400
        assert f'name="{name}" id="f-{name}" aria-invalid="true"' in visit.text(answer)
    answer = model_page.evaluate(visit.request(job=job, form={"split": "train"}))
    done = jobs.get(db, answer.headers["location"].rpartition("/")[2])
    assert (done.kind, done.spec["split"], done.spec["source"]["job"]) == ("evaluate", "train", job)
    exported = visit.text(model_page.export_page(visit.request(job=job)))
    assert re.findall('name="format" value="([a-z]+)"', exported) == ["skops", "onnx", "npz"]
    without = succeed(db, [a_spec(seed=2)])
    assert model_page.evaluate_page(visit.request(job=without)).status_code == 404
    assert "/evaluate" not in visit.job(without) and "/draw?job" not in visit.job(without)


def test_selected_results_stand_side_by_side(db: Database) -> None:
    first = succeed(db, [a_spec(params={"a": 1})], accuracies=[0.75])
    second = succeed(db, [a_spec(params={"a": HOSTILE})], accuracies=[0.5])
    seeds = succeed(db, [a_spec(seed=n) for n in (1, 2)], kind="seeds", accuracies=[0.25, 0.75])
    visit = Visit(db)

    def compared(*refs: str) -> Any:
        query = [("ref", ref) for ref in refs]
        return compare_page.compare_page(visit.request("/compare", query=query))

    def accuracies(html: str) -> list[str]:
        (row,) = re.findall('<th scope="row">accuracy</th>(.*?)</tr>', html)
        return re.findall("<td[^>]*>(.*?)</td>", row)

    html = visit.text(compared(first, second, seeds, first))
    assert accuracies(html) == ["0.7500", "0.5000", "0.5000 ± 0.3536"] and "<b>" not in html
    assert "cannot be compared with a group of seeds" in html.partition("<table")[0]
    alike = visit.text(compared(first, second))
    assert accuracies(alike) == ["<b>0.7500</b>", "0.5000"] and "cannot be" not in alike
    assert HOSTILE not in html
    assert f'href="/jobs/{first}"' in html and f'href="/groups/{seeds}"' in html
    assert f'value="{first}" form="selection"' in visit.jobs()
    for refs in ((), (first,), [f"{n}" for n in range(9)]):
        answer = compared(*refs)
        assert answer.status_code == 400 and "2 to 8 results" in visit.text(answer)


def test_a_large_group_lists_its_first_jobs_and_counts_the_rest(db: Database) -> None:
    most = group_page.MOST_ROWS
    specs = [a_spec(seed=n) for n in range(most + 20)]
    seeds, sweep = (
        str(jobs.add(db, some, group_kind=kind)[1])
        for kind, some in (
            ("seeds", specs),
            ("sweep", [a_spec(params={"a": n}) for n in range(most)]),
        )
    )
    for group, rest in ((seeds, 20), (sweep, 0)):
        html = Visit(db).group(group)
        assert html.count('data-key="job-') == most
        assert (f"{rest} more:" in html) == bool(rest)


def test_added_datasets_are_offered_by_name_and_their_older_versions(db: Database) -> None:
    meta, recipe = {"counts": {}}, {"source": "csv:/x.csv", "options": {}}
    added = [("wine", 1), ("wine", 2), ("beans", 3), ("wine", 4), ("beans", 5)]
    for name, content in added:
        fingerprint = f"{content:064}"
        place: Any = {"artifact": f"datasets/{content}", "artifact_sha256": "0" * 64, "bytes": 1}
        jobs.add_dataset(db, jobs.NewDataset(name, fingerprint, meta, recipe, **place))
    known = actions.known_datasets(Visit(db).context)
    found = [each for each in known if each.startswith(("wine", "beans"))]
    assert found == ["beans", "beans@1", "wine", "wine@1", "wine@2"]
