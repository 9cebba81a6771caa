"""Zoo in a notebook: what `import zoo` offers there, and what a script makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command_line import Zoo, share, until
from helpers.finished_jobs import a_spec, claim, folds, succeed

import zoo
from zoo import jobs
from zoo.errors import UsageError, ZooError
from zoo.jobs import Database, Outcome, ProgressUpdate
from zoo.notebook import arguments, live_display
from zoo.queue.options import TrainingOptions
from zoo.sweeps.pruners import PruningOptions

pd = pytest.importorskip("pandas")
TRICKS = Path(__file__).parents[1] / "plugins"


@pytest.fixture(scope="module")
def tricks(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    """A home whose worker, once a notebook has started it, has the trickster too."""
    found = Zoo(
        share(cache, tmp_path_factory.mktemp("tricks") / "home"),
        ZOO_PLUGINS_DIR=str(TRICKS),
        ZOO_PLUGINS="trickster,sklearn",
        ZOO_SLOTS="1",
    )
    yield found
    found.close()


@pytest.fixture
def here(home: Path) -> Database:
    return jobs.connect()


SCRIPT = """
import json, sys
from pathlib import Path
import zoo
from zoo.data import datasets

job = zoo.train("logistic", dataset="digits", max_iter=2, alpha=0.001, tags=["mine"])
group = zoo.train("logistic", {"max_iter": 2}, dataset="digits", seeds=2, wait=False)
test = datasets.raw("digits").splits["test"]
listed = zoo.list_jobs(tag="mine", where="params.max_iter == 2")
model = zoo.load_model(job.id[:8])
said = model.predict(test.inputs)
PAGE
json.dump({
    "sweep": json.loads(sweep.trials.to_json(orient="records")),
    "sweep types": {name: str(kind) for name, kind in sweep.trials.dtypes.items()},
    "sweep best": [sweep.best.id, sweep.best.tags],
    "judged": judged.to_dict(),
    "compared": [compared.metrics["accuracy"].tolist(), compared.tests["p"].tolist(),
        list(compared.differences.index), "<table" in compared._repr_html_()],
    "exported": [exported.path.name, exported.checked, sorted(map(str, Path().glob("*/*")))],
    "files": sorted(job.files["name"]),
    "saved": [str(each) for each in saved],
    "recipe": json.loads(recipe)["model"],
    "said": [job.tags, job.note],
    "job": job.to_dict(),
    "steps": job.history["train_accuracy"].tolist(),
    "right": float((said == test.labels).mean()),
    "sums": model.predict_proba(test.inputs[:5] / 255.0).sum(axis=1).tolist(),
    "ids": listed["id"].tolist(),
    "took": listed["took"].dt.total_seconds().tolist(),
    "group": [group.wait().status, group.metrics["accuracy"]["mean"], len(group.frame)],
    "best": zoo.get_leaderboard(dataset="digits")["accuracy"].tolist(),
    "models": zoo.list_models()["name"].tolist(),
    "texts": [repr(job), repr(group), repr(model)],
}, sys.stdout)
"""


def test_a_script_trains_lists_and_predicts(tricks: Zoo, tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    page = (Path(__file__).parents[2] / "docs" / "notebook.md").read_text()
    parts = (page.split(f"## {title}")[1] for title in ("Sweep, evaluate", "Files, export"))
    blocks = [part.split("```python\n")[1].split("```")[0] for part in parts]
    script.write_text(SCRIPT.replace("PAGE", "\n".join(blocks)))
    done = subprocess.run(
        [sys.executable, str(script)],
        env=tricks.env,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    job = told["job"]
    assert (job["status"], job["tags"]) == ("succeeded", ["good"])
    _check_more(told, job)
    assert job["params"]["alpha"] == 0.001 and told["right"] == job["metrics"]["accuracy"]
    assert told["steps"] == [job["metrics"]["train_accuracy"]]
    assert told["sums"] == pytest.approx([1] * 5) and told["ids"] == [job["id"]]
    assert told["took"][0] == pytest.approx(job["finished_at"] - job["started_at"], abs=1e-3)
    status, mean, members = told["group"]
    assert (status, members) == ("succeeded", 2)
    assert max(told["best"]) >= max(mean, job["metrics"]["accuracy"])
    assert {"logistic", "trickster"} <= set(told["models"])
    accuracy = f"{job['metrics']['accuracy']:.4f}"
    line = f"job {job['id'][:8]} logistic on digits: succeeded, accuracy {accuracy}>"
    assert told["texts"][0] == f"<{line}" and told["texts"][2] == f"<trained {line}"


def _check_more(told: dict[str, Any], job: dict[str, Any]) -> None:
    """What sweep, evaluate, compare, export, files, tag and note of the script have returned."""
    trials = told["sweep"]
    assert [each["status"] for each in trials] == ["succeeded"] * 3
    assert told["sweep best"] == [trials[0]["job"], ["tuned", "today"]]
    assert trials[0]["value"] >= trials[1]["value"] >= trials[2]["value"]
    assert trials[0]["metric"] == "val_accuracy"
    assert all(1e-4 <= each["params.alpha"] <= 0.1 for each in trials)
    kinds = told["sweep types"]
    assert {kinds[name] for name in ("value", "accuracy", "params.alpha")} == {"float64"}
    judged = told["judged"]
    assert (judged["split"], judged["source"]) == ("train", job["id"])
    (mine, other), (p,), differs, is_drawn = told["compared"]
    assert mine == job["metrics"]["accuracy"] and 0 < other <= 1 and 0 <= p <= 1
    assert {"params.alpha", "validation"} <= {*differs} and is_drawn
    name, checked, written = told["exported"]
    assert name == "logistic.npz" and checked > 300
    assert {"exported/logistic.npz", "exported/README.md"} <= {*written}
    assert {"metrics.json", "model.json", "predictions.npz"} <= {*told["files"]}
    assert "copy/model.json" in told["saved"] and len(told["saved"]) > 1
    assert told["recipe"] == "logistic" and told["said"] == [["good"], "the first that converged"]


def test_an_interrupt_leaves_the_job_running_and_says_how_to_return(
    tricks: Zoo, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    code = f"import zoo; zoo.train('trickster', dataset='digits', until={str(end)!r})"
    script = subprocess.Popen(
        [sys.executable, "-c", code], env=tricks.env, stderr=subprocess.PIPE, text=True
    )
    db = tricks.database()
    (job,) = until(lambda: jobs.listing(db, models=["trickster"], statuses=["running"]))
    script.send_signal(signal.SIGINT)
    said = script.communicate(timeout=120)[1]
    assert script.returncode != 0 and "KeyboardInterrupt" in said
    assert f'zoo.get_job("{job.id[:8]}").wait() waits again' in said
    assert jobs.get(db, job.id).status == "running"
    end.touch()
    # Back in another notebook.
    code = f"import zoo; print(zoo.get_job('{job.id[:8]}').wait().status, zoo.get_job().id)"
    back = subprocess.run(
        [sys.executable, "-c", code], env=tricks.env, capture_output=True, text=True, timeout=120
    )
    assert back.stdout.split() == ["succeeded", job.id], back.stderr


def test_an_interrupt_between_the_submission_and_the_waiting_leaves_a_job_too(
    tricks: Zoo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ZOO_HOME", "ZOO_PLUGINS", "ZOO_PLUGINS_DIR"):
        monkeypatch.setenv(name, tricks.env[name])

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.notebook.functions.make_handle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        zoo.train("trickster", dataset="digits")
    (job,) = jobs.listing(tricks.database(), limit=1)
    assert f'zoo.get_job("{job.id[:8]}").wait() waits again' in capsys.readouterr().err


def test_columns_have_types_also_where_there_is_nothing(here: Database) -> None:
    empty = zoo.list_jobs().dtypes
    succeed(here, [a_spec(seed=3)], accuracies=[0.5], metrics={"n_images": 7, "loss": None})
    jobs.add(here, [a_spec()])
    frame = zoo.list_jobs(sort="created_at")
    assert frame.dtypes[empty.index].to_dict() == empty.to_dict()
    assert str(frame["created_at"].dtype) == "datetime64[us, UTC]"
    done, queued = frame.iloc[0], frame.iloc[1]
    row = jobs.get(here, done["id"])
    # Pandas cuts the microseconds off where Python rounds them.
    assert abs(done["created_at"].timestamp() - row.created_at) < 2e-6
    assert (done["seed"], done["accuracy"], done["n_images"], done["params.a"]) == (3, 0.5, 7, 1)
    assert pd.isna(queued["accuracy"]) and pd.isna(queued["took"]) and pd.isna(queued["fold"])


def test_the_filters_are_those_of_the_command(here: Database) -> None:
    low = succeed(here, [a_spec()], accuracies=[0.2])
    high = succeed(here, [a_spec()], accuracies=[0.8])
    waits = jobs.add(here, [a_spec()])[0][0]
    jobs.tag(here, [low], ["x"])
    ranks = zoo.get_leaderboard(by=["params.a", "params.none"])
    assert ranks["accuracy"].tolist() == [0.8] and ranks["params.a"].tolist() == [1]
    assert ranks["params.none"].isna().all()
    assert zoo.list_jobs(status="queued")["id"].tolist() == [waits]
    assert zoo.list_jobs(status=["succeeded", "queued"], limit=2)["id"].tolist() == [waits, high]
    assert zoo.list_jobs(where="accuracy > 0.5")["id"].tolist() == [high]
    assert zoo.list_jobs(tag="x", dataset="dig*", model="m")["id"].tolist() == [low]
    assert zoo.list_jobs(sort="-accuracy", status="succeeded")["id"].tolist() == [high, low]
    assert len(zoo.list_jobs(since=datetime.now())) == 0 and len(zoo.list_jobs(since="1h")) == 3
    with pytest.raises(UsageError, match="No status is called 'done'"):
        zoo.list_jobs(status="done")


def test_a_log_is_given_as_a_terminal_would_show_it(here: Database) -> None:
    (job,), _ = jobs.add(here, [a_spec()])
    held = claim(here)
    pieces = [(0, " 1 %\r5"), (7, "0 %\x1b[K\r100 %\n\x1b[3"), (18, "2mgood\x1b[0m\u202e\nand on")]
    jobs.beat(here, held, lease=60, update=ProgressUpdate(lines=pieces))
    assert zoo.get_job(job).logs() == "100 %\ngood\nand on"


def test_what_did_not_succeed_is_raised_and_its_handle_still_tells(here: Database) -> None:
    _, group = jobs.add(here, folds(2), group_kind="cv")
    jobs.finish(here, claim(here), Outcome("succeeded", {"accuracy": 0.5}, "a", "0" * 64))
    jobs.finish(here, claim(here), Outcome("failed", error="it broke", error_code="exception"))
    found = zoo.get_job(str(group))
    with pytest.raises(ZooError, match="1 of 2 jobs did not succeed"):
        found.wait()
    assert found.status == "failed" and found.metrics["accuracy"]["values"] == [0.5]
    failed = found.jobs[1]
    assert failed.error == "it broke" and failed.logs() == ""
    assert len(failed.history) == 0
    with pytest.raises(ZooError, match="no model"):
        failed.load_model()


def test_a_page_shows_text_as_text(here: Database) -> None:
    nasty = "<script>alert('&')</script>"
    _, group = jobs.add(here, folds(2, params={"a": nasty}, changed=["a"]), group_kind="cv")
    held = claim(here)
    jobs.finish(here, held, Outcome("failed", error=nasty, error_code="exception"))
    for handle in (zoo.get_job(held.job), zoo.get_job(str(group))):
        page = handle._repr_html_()
        assert "<script" not in page and page.startswith("<table")
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)" in zoo.get_job(held.job)._repr_html_()
    assert "<script" not in zoo.list_jobs()._repr_html_()


def test_a_script_shows_a_line_on_a_terminal_and_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not live_display.open_display().is_live  # nobody looks at the stderr of a test
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line = live_display.open_display()
    for text in ("12 of 20", "12 of 20", "3"):
        line.show(live_display.View(text, ""))
    line.close()
    assert capsys.readouterr().err == "\r12 of 20\r3       \r \r"


CELL = """
import zoo
from zoo import jobs
from helpers.finished_jobs import a_spec, claim
from zoo.jobs import Outcome, ProgressUpdate
from zoo.notebook import waiting

db = jobs.connect()
job = zoo.get_job(jobs.add(db, [a_spec(seed=1)])[0][0])
held = claim(db)
waiting.DRAW_SECONDS = 0


def poll(self, ids, read):
    for n in (1, 2, 3):
        told = ProgressUpdate({"step": n, "unit": "epoch"}, steps=[(n, {"loss": 1 / n})])
        jobs.beat(db, held, lease=60, update=told)
        yield read()
    self.notify("a note")
    jobs.finish(db, held, Outcome("succeeded", {"accuracy": 0.5}, "a", "0" * 64))
    yield read()


waiting.JobWait.poll = poll
job.wait()
group = zoo.get_job(jobs.add(db, [a_spec()], group_kind="seeds")[1])
"""


def test_a_notebook_shows_progress_in_one_display_and_completes_names(home: Path) -> None:
    manager = pytest.importorskip("jupyter_client").KernelManager()
    pytest.importorskip("ipykernel")
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    manager.start_kernel(env=os.environ | {"PYTHONPATH": path})
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        sent: list[dict[str, Any]] = []
        reply = client.execute_interactive(CELL, timeout=60, output_hook=sent.append)
        assert reply["content"]["status"] == "ok", reply["content"]
        outputs = [m for m in sent if m["msg_type"] not in ("status", "execute_input")]
        kinds = [m["msg_type"] for m in outputs]
        # No stream: what goes to stderr is red in a notebook.
        assert kinds == ["display_data", *["update_display_data"] * 2, *kinds[3:]]
        assert kinds[3:] == ["display_data", "update_display_data"], kinds
        texts = [m["content"]["data"]["text/plain"] for m in outputs]
        assert texts[3] == "a note" and "succeeded, accuracy 0.5000" in texts[4]
        last = outputs[4]["content"]["data"]["text/html"]
        assert "<polyline" in last and "<polyline" not in outputs[0]["content"]["data"]["text/html"]
        shown: dict[str, list[str]] = {}
        for begun in ("job.fin", "zoo.remo", "group[", "group.jobs[0].to"):
            found = client.complete(begun, reply=True, timeout=60)["content"]
            shown[begun] = found["matches"]
        assert any("finished_at" in each for each in shown["job.fin"])
        assert any("remove_jobs" in each for each in shown["zoo.remo"])
        assert len(shown["group["]) == 1 and "'" in shown["group["][0]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_times_are_datetimes_and_spans_timedeltas(here: Database) -> None:
    jobs.add(here, [a_spec()])
    held = claim(here)
    told = ProgressUpdate(steps=[(1, {"loss": 0.5})], step_times={1: 1.5})
    jobs.finish(here, held, Outcome("succeeded", {"accuracy": 0.5}, "a", "0" * 64), told)
    job = zoo.get_job(held.job)
    assert isinstance(job, zoo.JobHandle) and job.started_at and job.finished_at
    assert job.started_at.utcoffset() == timedelta(0)
    assert job.took == job.finished_at - job.started_at
    history = job.history
    assert history["at"].tolist() == [pd.Timestamp(1.5, unit="s", tz="UTC")]
    assert history["loss"].tolist() == [0.5]
    row = zoo.list_jobs().iloc[0]
    assert row["waited"] == row["started_at"] - row["created_at"]
    assert str(zoo.get_leaderboard()["fit_time"].dtype).startswith("timedelta64")


def test_jobs_are_pinned_and_removed_as_by_the_commands(here: Database) -> None:
    kept = succeed(here, [a_spec()], accuracies=[0.2])
    gone = succeed(here, [a_spec()], accuracies=[0.8])
    waits = jobs.add(here, [a_spec()])[0][0]
    assert zoo.pin_jobs(kept)["pinned"].tolist() == [True]
    for refs, filters in ((None, {}), (kept, {"status": "failed"})):
        with pytest.raises(UsageError, match="jobs"):
            zoo.remove_jobs(refs, **filters)
    with pytest.raises(UsageError, match=r"Nothing is removed: .*pinned"):
        zoo.remove_jobs([zoo.get_job(gone), kept])
    with pytest.raises(UsageError, match="Nothing is removed"):
        zoo.get_job(waits).remove()
    assert zoo.remove_jobs(dataset="digits", dry_run=True)["id"].tolist() == [gone]
    assert zoo.remove_jobs(dataset="digits")["id"].tolist() == [gone]
    zoo.get_job(kept).unpin().remove()
    assert zoo.list_jobs()["id"].tolist() == [waits]


def test_jobs_are_tagged_and_noted_as_by_the_commands(here: Database) -> None:
    first, second = jobs.add(here, [a_spec(seed=1), a_spec(seed=2)])[0]
    assert zoo.tag_jobs([first, second], add=["x", "y"])["tags"].tolist() == [["x", "y"]] * 2
    assert zoo.tag_jobs(tag="x", remove="y", status="queued")["tags"].tolist() == [["x"]] * 2
    assert zoo.note_jobs(None, "why", tag="x")["note"].tolist() == ["why"] * 2
    assert zoo.note_jobs(first, "")["note"].isna().all()
    for wrong in (lambda: zoo.tag_jobs(first), lambda: zoo.note_jobs(first, "a\0b")):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(UsageError, match="no sweep"):
        _ = zoo.GroupHandle(str(jobs.add(here, folds(2), group_kind="cv")[1])).trials


def test_a_search_space_is_of_lists_and_of_what_the_command_reads() -> None:
    given = {"a": np.logspace(-3, -1, 3), "b": range(2), "c": "1..10", "d": "x,y", "e": 7, "f": [1]}
    space = arguments.search_space(given)
    assert space.fixed == {"e": 7, "f": 1} and space.varied["b"] == [0, 1]
    assert space.varied["a"] == pytest.approx([0.001, 0.01, 0.1])
    assert str(space.varied["c"]) == "1..10" and space.varied["d"] == ["x", "y"]
    for wrong in ({"a": []}, {"a": [1, 1]}, {"a": "2..1"}):
        with pytest.raises(UsageError):
            arguments.search_space(wrong)
    with pytest.raises(TypeError, match="'epoch'"):
        arguments.sweep_options({"epoch": 1})  # type: ignore[typeddict-unknown-key]
    names = {each.name for each in fields(TrainingOptions) + fields(PruningOptions)}
    assert names <= arguments.SweepKeywords.__annotations__.keys()


def test_a_cancel_ends_what_waits(here: Database) -> None:
    found = zoo.get_job(jobs.add(here, [a_spec()])[0][0])
    assert found.cancel().status == "cancelled"
    with pytest.raises(ZooError, match="is cancelled"):
        found.wait()


def test_params_may_be_numbers_of_numpy_and_nothing_that_json_has_no_word_for() -> None:
    given = {"a": np.int64(3), "b": (1, 2), "c": np.float32(0.5), "d": [np.int8(1)]}
    plain = arguments.merge_params(given, {"e": "x"})
    assert plain == {"a": 3, "b": [1, 2], "c": 0.5, "d": [1], "e": "x"}
    assert [type(plain[name]) for name in "abc"] == [int, list, float]
    with pytest.raises(UsageError, match="given twice"):
        arguments.merge_params({"a": 1}, {"a": 1})
    with pytest.raises(UsageError, match="is a object"):
        arguments.merge_params({"a": object()}, {})
    # What is no JSON but what params are declared as comes as JSON has it.
    given = {"a": {1}, "b": Path("c"), "c": datetime(2026, 1, 2).date(), "d": {"e": (1,)}}
    assert arguments.merge_params(given, {}) == {
        "a": [1],
        "b": "c",
        "c": "2026-01-02",
        "d": {"e": [1]},
    }


def test_without_pandas_a_sentence_says_what_to_install(
    here: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ZooError, match=r"need pandas.*mnist-zoo\[notebook\]"):
        zoo.list_jobs()
