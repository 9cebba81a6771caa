"""zoo-mlflow: each finished job is one run in MLflow, however often and by whomever it is told."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
from helpers.added_contents import a_table, add
from helpers.command_line import Zoo, share, until
from helpers.finished_jobs import claim
from helpers.servers import free_port
from helpers.trained_jobs import train
from zoo_mlflow import client, mapping, runs, sync
from zoo_workers import worker

from zoo import jobs, settings
from zoo.data import datasets
from zoo.data.contents import Column
from zoo.errors import UsageError, ZooError
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Filter, Outcome, ProgressUpdate
from zoo.jobs.environments import Environment
from zoo.storage import artifacts
from zoo.training.run import run_job

if importlib.util.find_spec("mlflow") is None:
    pytest.skip("mlflow is not installed", allow_module_level=True)
# MLflow itself is imported by its tests: 2 s, for the process of the suite that has this group.

pytestmark = pytest.mark.xdist_group("test_mlflow")  # one process makes MLflow's tables


@pytest.fixture(scope="module", autouse=True)
def _own_environment() -> Iterator[None]:
    """What the plugin tells MLflow's client through the environment ends with this file."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite file with MLflow's tables, which take seconds to make."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    client.connect(uri)
    return uri


@pytest.fixture
def to(
    tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[client.TrackingServer]:
    """An experiment of its own for this test."""
    monkeypatch.setenv("ZOO_MLFLOW", tables)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    monkeypatch.setenv("ZOO_PICTURES", "off")  # a second per job
    client.find_server.cache_clear()
    yield client.connect(tables)
    client.find_server.cache_clear()


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test lets MLflow's client take from the environment ends with it."""
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")


@pytest.fixture
def here(home: Path) -> Database:
    return jobs.connect()


def run_next(db: Database, tmp_path: Path) -> str:
    """Run the oldest queued job as a worker would; gives its id."""
    held = jobs.claim(
        db, pool="default", models={"logistic": "p"}, datasets=["digits"], worker="w", lease=60
    )
    assert held is not None
    spec, folder = JobSpec.parse_object(held[1].spec), tmp_path / held[0].job
    folder.mkdir()
    metrics = run_job(spec, folder, lambda *_, **__: None)
    where = f"{held[0].job}/1"
    sha256 = artifacts.put(folder, settings.load().artifacts, where, {})
    outcome = Outcome("succeeded", metrics, where, sha256)
    assert jobs.finish(
        db, held[0], outcome, ProgressUpdate(environment=Environment(fingerprint="f" * 64))
    )
    return held[0].job


def a_spec(**given: Any) -> JobSpec:
    params = {"max_iter": 3, "early_stopping": True}
    asked = {"kind": "train", "model": "logistic", "params": params, "dataset": "digits"}
    return JobSpec.parse_object(asked | given)


def two_folds(db: Database, tmp_path: Path) -> tuple[list[str], str]:
    folds = [a_spec(fold={"k": 2, "index": index}, keep_weights=index == 0) for index in (0, 1)]
    ids, group = jobs.add(db, folds, group_kind="cv")
    return [run_next(db, tmp_path) for _ in ids], str(group)


def by_job(to: client.TrackingServer) -> dict[str, Any]:
    return {run.data.tags.get(mapping.JOB_TAG, "group"): run for run in to.search("")}


def everything(to: client.TrackingServer) -> Any:
    """All that is in the experiment, to be compared."""
    found = {}
    for run in to.search(""):
        history = {
            name: [(m.step, m.value) for m in to.client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        files = [file.path for file in to.client.list_artifacts(run.info.run_id)]
        found[run.info.run_id] = (run.data.tags, run.data.params, history, files, run.info.status)
    return found


def test_a_group_is_a_run_with_a_run_for_each_job_and_nothing_is_written_twice(
    here: Database, to: client.TrackingServer, tmp_path: Path
) -> None:
    ids, group = two_folds(here, tmp_path)
    done = sync.sync(here, settings.load(), Filter())
    assert (done.written, done.there, done.without_files) == (2, 0, {})
    first, second, parent = (by_job(to)[name] for name in (*ids, "group"))
    job = jobs.get(here, ids[0])
    assert {run.data.tags[runs.PARENT] for run in (first, second)} == {parent.info.run_id}
    assert first.data.params["max_iter"] == "3" and first.data.params["early_stopping"] == "true"
    assert first.data.metrics["accuracy"] == job.metrics["accuracy"]
    tags = first.data.tags
    assert (tags["zoo.group"], tags["zoo.dataset"], tags["zoo.seed"]) == (group, "digits", "42")
    assert tags["zoo.fingerprint"] == "f" * 64 and tags["zoo.fold"] == "0 of 2"
    assert first.info.status == "FINISHED"
    assert first.info.end_time == int((job.finished_at or 0) * 1000)
    assert first.inputs.dataset_inputs[0].dataset.name == "digits"
    accuracy = jobs.get_group(here, group).metrics()["accuracy"]
    assert parent.data.metrics["accuracy"] == accuracy.mean
    assert parent.data.metrics["accuracy_std"] == accuracy.std
    assert parent.data.tags["zoo.kind"] == "cv" and parent.info.status == "FINISHED"
    whole = everything(to)
    again = sync.sync(here, settings.load(), Filter())
    assert (again.written, again.there) == (0, 2)
    # As a hook that is called twice, which had the files too.
    for job_id in ids:
        told = jobs.get(here, job_id).to_json()
        runs.record(to, told | {"group_result": None}, tmp_path / job_id)
    assert everything(to) == whole


def test_the_steps_of_a_training_are_metrics_and_its_files_artifacts(
    here: Database, to: client.TrackingServer, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    (files / "fit" / "tensorboard").mkdir(parents=True)
    (files / "fit" / "tensorboard" / "events").write_text("e")
    losses = {1: 1.0, 2: None, 3: 1 / 3}  # that of the second was not finite
    steps = [{"step": n, "at": 1.5 * n, "metrics": {"train_loss": x}} for n, x in losses.items()]
    job_id = jobs.add(here, [a_spec()])[0][0]
    told = jobs.get(here, job_id).to_json() | {"status": "succeeded", "finished_at": 5.0}
    told |= {"artifact": "a"}
    told |= {"metrics": {"accuracy": 0.5, "train_loss": 1 / 3, "classes": ["0"], "loss": None}}
    runs.record(to, told, files, steps)
    (run,) = to.search("")
    history = to.client.get_metric_history(run.info.run_id, "train_loss")
    # The value of the last step is a metric of the result, too: it is there once.
    assert [(m.step, m.timestamp, m.value) for m in history] == [(1, 1500, 1.0), (3, 4500, 1 / 3)]
    (accuracy,) = to.client.get_metric_history(run.info.run_id, "accuracy")
    assert (accuracy.step, accuracy.timestamp) == (3, 5000)
    assert run.data.metrics == {"train_loss": 1 / 3, "accuracy": 0.5}
    listed = to.client.list_artifacts(run.info.run_id, "fit/tensorboard")
    assert [file.path for file in listed] == ["fit/tensorboard/events"]


def test_the_model_is_loaded_without_pickle_and_predicts_as_the_job_did(
    here: Database, to: client.TrackingServer, tables: str, tmp_path: Path
) -> None:
    import mlflow

    jobs.add(here, [a_spec()])
    job_id = run_next(here, tmp_path)
    sync.sync(here, settings.load(), Filter())
    (model,) = to.client.search_logged_models([to.experiment])
    assert model.status == "READY" and model.tags[mapping.JOB_TAG] == job_id
    assert {"accuracy", "train_accuracy"} <= {each.key for each in model.metrics}
    mlflow.set_tracking_uri(tables)
    mlflow.set_registry_uri(tables)
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    images = datasets.raw("digits").splits["test"].inputs
    folder = Path(settings.load().artifacts) / str(jobs.get(here, job_id).artifact)
    with np.load(folder / "predictions.npz") as stored:
        assert np.array_equal(loaded.predict(images), stored["predicted"])
        said = loaded.get_raw_model().predict_proba(images.reshape(-1, 784) / 255.0)
        assert np.array_equal(said.astype("float32"), stored["probabilities"])
    names = [p.name for p in Path(model.artifact_location).rglob("*") if p.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]
    assert "weights.npz" in names
    tensor = loaded.metadata.signature.inputs.inputs[0]
    assert (tensor.shape, tensor.type) == ((-1, 28, 28), np.dtype("uint8"))
    example = loaded.metadata.load_input_example(f"models:/{model.model_id}")
    assert example.max() == 255 and loaded.predict(example).shape == (1,)


def test_a_model_of_a_table_takes_a_dataframe_and_keeps_its_preprocessing(
    here: Database, to: client.TrackingServer, tables: str
) -> None:
    import mlflow

    rows = np.array([[1.0, 5.0], [2.0, 6.0], [8.0, 1.0], [9.0, 0.0]] * 5)
    labels = np.array(["low", "low", "high", "high"] * 5)
    splits = dict.fromkeys(("train", "test"), (rows, labels))
    meta = add("pairs", a_table([Column(name="a"), Column(name="b")], splits))
    train("logistic", "pairs", meta.fingerprint, preprocess="standardize")
    sync.sync(here, settings.load(), Filter())
    (model,) = to.client.search_logged_models([to.experiment])
    mlflow.set_tracking_uri(tables)
    mlflow.set_registry_uri(tables)
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    given = pd.DataFrame({"id": [7, 8], "b": [0.5, 5.5], "a": [8.5, 1.5]})
    assert loaded.predict(given).tolist() == [0, 1]
    assert loaded.metadata.signature.inputs.input_names() == ["a", "b"]
    example = loaded.metadata.load_input_example(f"models:/{model.model_id}")
    assert loaded.predict(example).shape == (1,)
    assert loaded.get_raw_model().model.class_names == ["high", "low"]


def test_a_run_that_was_left_half_written_is_finished(
    here: Database, to: client.TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.add(here, [a_spec()])
    job_id = run_next(here, tmp_path)
    told = jobs.get(here, job_id).to_json()
    files = Path(settings.load().artifacts) / told["artifact"]
    with monkeypatch.context() as patch:
        patch.setattr(to.client, "log_artifact", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runs.record(to, told, files)
    assert runs.written(to) == set()
    runs.record(to, told, files)
    (run,) = to.search("")
    assert runs.written(to) == {job_id} and run.info.status == "FINISHED"
    history = to.client.get_metric_history(run.info.run_id, "accuracy")
    assert [m.value for m in history] == [told["metrics"]["accuracy"]]
    assert len(to.client.search_logged_models([to.experiment])) == 1


def test_two_workers_that_made_the_group_at_once_end_with_one(
    here: Database, to: client.TrackingServer, tmp_path: Path
) -> None:
    ids, group = two_folds(here, tmp_path)
    told = [jobs.get(here, each).to_json() for each in ids]
    runs.record(to, told[0], None)
    twin = mapping.group_tags(told[0]) | {"zoo.is_group": "yes"}
    other = to.client.create_run(to.experiment, 1, twin)
    child = to.client.create_run(to.experiment, 1, {runs.PARENT: other.info.run_id})
    runs.record(to, told[1] | {"group_result": None}, None)
    (parent,) = to.search(f"tags.`{mapping.GROUP_TAG}` = '{group}' and tags.`zoo.is_group` = 'yes'")
    parents = {run.data.tags[runs.PARENT] for run in to.search("") if runs.PARENT in run.data.tags}
    assert parents == {parent.info.run_id} and child.info.run_id in everything(to)


def test_a_job_that_failed_is_a_failed_run_with_its_error(
    here: Database, to: client.TrackingServer
) -> None:
    jobs.add(here, [a_spec(model="m")])
    held = claim(here)
    jobs.finish(here, held, Outcome("failed", error="it broke", error_code="exception"))
    jobs.add(here, [a_spec()])
    done = sync.sync(here, settings.load(), Filter())
    assert (done.written, done.going) == (1, 1)
    (run,) = to.search("")
    assert (run.info.status, run.data.tags["zoo.error"]) == ("FAILED", "it broke")


STEPS = [(1, {"loss": 0.5}), (2, {"loss": 0.25})]


def test_a_cancelled_and_a_failed_job_keep_their_curves_with_the_times_of_their_steps(
    here: Database, to: client.TrackingServer
) -> None:
    ends = (
        Outcome("cancelled", error="Cancelled while it ran.", error_code="cancelled"),
        Outcome("failed", error="it broke", error_code="exception"),
    )
    jobs.add(here, [a_spec(model="m", seed=n) for n in range(len(ends))])
    for end in ends:
        update = ProgressUpdate({"step": 2}, steps=STEPS, step_times={1: 100.25, 2: 101.5})
        assert jobs.finish(here, claim(here), end, update)
    sync.sync(here, settings.load(), Filter())
    assert {run.info.status for run in to.search("")} == {"KILLED", "FAILED"}
    for run in to.search(""):
        curve = to.client.get_metric_history(run.info.run_id, "loss")
        assert [(m.step, m.timestamp, m.value) for m in curve] == [
            (1, 100250, 0.5),
            (2, 101500, 0.25),
        ]


def test_a_sweep_is_a_run_with_its_params_and_its_best_trial(
    here: Database, to: client.TrackingServer
) -> None:
    space = {"a": {"values": [1, 2, 3]}}
    about = {"sampler": "grid", "trials": 3, "space": space, "fixed": {"b": 0.5}}
    about |= {"objective": "loss", "higher_is_better": False}
    specs = [a_spec(model="m", params={"a": n, "b": 0.5}) for n in (1, 2, 3)]
    ids, group = jobs.add(here, specs, group_kind="sweep", about=about)
    for value in (0.5, 0.25, None):
        measured = Outcome("succeeded", {"accuracy": 0.5, "loss": value}, "nowhere", "0" * 64)
        end = measured if value else Outcome("failed", error="it broke", error_code="exception")
        jobs.finish(here, claim(here), end)
    sync.sync(here, settings.load(), Filter())
    found = by_job(to)
    parent = found["group"]
    assert parent.data.params == {
        "a": '{"values": [1, 2, 3]}',
        "b": "0.5",
        "sweep.sampler": "grid",
        "sweep.trials": "3",
        "sweep.objective": "loss",
    }
    tags = parent.data.tags
    assert parent.data.metrics == {"best_accuracy": 0.5, "best_loss": 0.25}
    assert (tags["zoo.best_job"], tags["zoo.best_params"]) == (ids[1], '{"a": "2"}')
    best = found[ids[1]].info
    assert tags["zoo.best_run"] == best.run_id and best.run_id in tags["mlflow.note.content"]
    assert (parent.info.run_name, parent.info.status) == (
        f"sweep of m on digits {str(group)[:8]}",
        "FAILED",
    )


def test_a_run_appears_while_the_job_runs_and_is_ended_once_with_it(
    here: Database, to: client.TrackingServer, tmp_path: Path
) -> None:
    follower = sync.Follower(here, settings.load(), Filter())
    ids, _ = jobs.add(here, [a_spec(model="m", seed=n) for n in range(2)], group_kind="seeds")
    first, second = claim(here), claim(here)

    def report(held: Any, step: int, at: float) -> None:
        told = ProgressUpdate({"step": step}, steps=[STEPS[step - 1]], step_times={step: at})
        jobs.beat(here, held, lease=60, update=told)

    report(first, 1, 100.0)
    follower.poll()
    runs_then = by_job(to)
    assert {run.info.status for run in runs_then.values()} == {"RUNNING"} and len(runs_then) == 3
    assert runs_then[first.job].data.metrics == {"loss": 0.5}
    report(first, 2, 101.0)
    follower.poll()
    assert by_job(to)[first.job].data.metrics == {"loss": 0.25}
    # The hook of a worker writes the end of the first, the follower that of the second, whose
    # worker was killed and has no such plugin.
    jobs.finish(here, first, Outcome("cancelled", error="c", error_code="c", with_hooks=True))
    jobs.finish(here, second, Outcome("failed", error="lost", error_code="lost"))
    follower.poll()
    statuses = {name: run.info.status for name, run in by_job(to).items()}
    assert statuses == {first.job: "RUNNING", second.job: "FAILED", "group": "KILLED"}
    told = jobs.get(here, first.job).to_json() | {"group_result": None}
    runs.record(to, told, None, jobs.timed_steps(here, first.job))
    jobs.complete_hooks(here, [first.job])
    whole = everything(to)
    follower.poll()
    # A late report of a job that has ended, as by a follower that was suspended.
    runs.record_running(to, told | {"status": "running"}, jobs.timed_steps(here, first.job))
    sync.sync(here, settings.load(), Filter())
    assert everything(to) == whole and sorted(by_job(to)) == sorted([*ids, "group"])
    curve = to.client.get_metric_history(by_job(to)[first.job].info.run_id, "loss")
    assert [(m.step, m.timestamp) for m in curve] == [(1, 100000), (2, 101000)]


def test_the_pictures_of_a_job_are_among_its_files(
    here: Database, to: client.TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_PICTURES", "on")
    jobs.add(here, [a_spec(keep_weights=False)])
    run_next(here, tmp_path)
    sync.sync(here, settings.load(), Filter())
    (run,) = to.search("")
    listed = to.client.list_artifacts(run.info.run_id, "extra/report")
    assert "extra/report/confusion_matrix.png" in {file.path for file in listed}


def test_the_command_of_a_run_submits_the_same_again(here: Database) -> None:
    spec = a_spec(fold={"k": 5, "index": 1}, seed=7, preprocess="deskew")
    told = jobs.get(here, jobs.add(here, [spec])[0][0]).to_json()
    assert mapping.command(told) == (
        "zoo train logistic --dataset digits -p early_stopping=true -p max_iter=3 "
        "--preprocess deskew --seed 7 --cv 5"
    )
    told |= {"kind": "evaluate", "source": "a" * 32}
    assert mapping.command(told) == "zoo evaluate aaaaaaaa --dataset digits --split test"


def test_a_server_that_is_away_is_said_in_a_sentence_without_the_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        uri = f"http://me:SECRET@127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ZooError, match=r"127\.0\.0\.1:\d+ .*cannot be reached") as raised:  # noqa: SIM117
            with client.translate_errors(uri):
                client.connect(uri)
    assert "SECRET" not in str(raised.value) and "zoo mlflow sync" in str(raised.value)
    with pytest.raises(ZooError) as raised, client.translate_errors(uri):
        raise ValueError(f"no such place: {uri}?password=SECRET")
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("uri", ["SECRET", "http://", "http://me:SECRET@host:SECRET/"])
def test_what_is_no_address_is_refused_without_repeating_it(uri: str) -> None:
    with pytest.raises(UsageError) as raised, client.translate_errors(uri):
        client.connect(uri)
    assert "SECRET" not in str(raised.value)


def test_models_learn_no_password_of_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_MLFLOW", "http://me:SECRET@host")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "SECRET")
    told = worker.take_secrets(settings.load())
    assert told["ZOO_MLFLOW"] == "http://me:SECRET@host"
    assert told["MLFLOW_TRACKING_TOKEN"] == "SECRET"
    assert os.environ["ZOO_MLFLOW"] == "hidden" and "SECRET" not in os.environ.values()


def test_no_ordinary_command_waits_for_mlflow() -> None:
    code = "import sys; from zoo.cli import main, lazy_group; from zoo.plugins import registry;"
    code += "registry.catalogue(); lazy_group.load_all(main.app);"
    code += "assert 'zoo_mlflow.commands' in sys.modules;"
    code += "print('mlflow' in sys.modules, 'job_finished' in str(registry.catalogue().plugins))"
    env = os.environ | {"ZOO_MLFLOW": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "False True\n", done.stderr


def _is_whole() -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version("mlflow"))
    return False


@contextlib.contextmanager
def server(tables: str, folder: Path, port: int) -> Iterator[None]:
    """A real tracking server on these tables."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", tables]
    command += ["--artifacts-destination", str(folder / "files")]
    env = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    env |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "server.log").read_text()
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
        return False

    try:
        until(answers, 90)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.skipif(not _is_whole(), reason="the tracking server comes with mlflow, not its client")
def test_a_worker_writes_into_a_real_server_and_what_it_missed_is_written_later(
    tables: str, tmp_path: Path, cache: Path
) -> None:
    import mlflow

    port, name = free_port(), "of the worker"
    home = Zoo(
        share(cache, tmp_path / "home"),
        ZOO_MLFLOW=f"http://me:SECRET@127.0.0.1:{port}",
        ZOO_PLUGINS="sklearn,mlflow",
        MLFLOW_EXPERIMENT_NAME=name,
        ZOO_SLOTS="1",
    )
    log = home.home / "worker.log"
    training = ("train", "logistic", "--dataset", "digits")
    mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")

    def ended(how_many: int) -> Any:
        found = mlflow.search_runs(experiment_names=[name], output_format="list")
        ended = [run for run in found if run.info.status == "FINISHED"]
        return found if len(ended) == how_many else None

    try:
        missed = home.json(*training)["id"]
        until(lambda: "cannot be reached" in log.read_text(), 90)
        assert "SECRET" not in log.read_text()
        with server(tables, tmp_path, port):
            group = home.json(*training, "--cv", "2", "--keep-weights")
            found = until(lambda: ended(3), 90)
            children = [run for run in found if mapping.JOB_TAG in run.data.tags]
            (parent,) = [run for run in found if mapping.JOB_TAG not in run.data.tags]
            assert {c.data.tags[mapping.JOB_TAG] for c in children} == {
                j["id"] for j in group["jobs"]
            }
            assert {c.data.tags[runs.PARENT] for c in children} == {parent.info.run_id}
            assert parent.data.metrics["accuracy"] == group["metrics"]["accuracy"]["mean"]
            loaded = mlflow.pyfunc.load_model(f"runs:/{children[0].info.run_id}/logistic")
            assert loaded.predict(np.zeros((1, 28, 28), "uint8")).shape == (1,)
            # The settings of MLflow's client hold for every call: it prints no address of a run.
            assert "View run" not in log.read_text()
            done = home.json("mlflow", "sync", "--model", "logistic")
            assert (done["written"], done["there"]) == (1, 2)
            assert missed in {run.data.tags.get(mapping.JOB_TAG) for run in ended(4)}
    finally:
        home.close()
