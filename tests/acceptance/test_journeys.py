"""Journeys through the real command line, a real Valkey and real workers, on the digits dataset."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from helpers.command_line import Zoo, share, until

from zoo import jobs, settings
from zoo.cli import leaving, main
from zoo.jobs import QueueOptions
from zoo.queue import submit
from zoo.queue.broker import Broker
from zoo.queue.options import TrainingOptions
from zoo.queue.submit import Left
from zoo.storage import artifacts

TRICKS = Path(__file__).parents[1] / "plugins"
DIGITS = ("--dataset", "digits")


@pytest.fixture(scope="module")
def warm_zoo(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    """A home whose worker has the trickster from the start, as a file of the home."""
    found = Zoo(share(cache, tmp_path_factory.mktemp("warm") / "home"), ZOO_SLOTS="1")
    plugins(found).mkdir(parents=True)
    shutil.copy(TRICKS / "trickster.py", plugins(found))
    found.run("up")
    yield found
    found.close()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """A home in which nothing is ever begun."""
    found = Zoo(tmp_path_factory.mktemp("refusing") / "home")
    return found


def plugins(zoo: Zoo) -> Path:
    return zoo.home / "plugins"


def train(zoo: Zoo, model: str, *args: str, code: int = 0) -> dict:  # type: ignore[type-arg]
    found: dict = zoo.json("train", model, *DIGITS, *args, code=code)  # type: ignore[type-arg]
    return found


def trained(
    zoo: Zoo,
    params: dict[str, Any] | None = None,
    model: str = "logistic",
    cv: int | None = None,
    tags: Sequence[str] = (),
) -> dict[str, Any]:
    """Submit a training, or its folds, from this process, and wait for it; gives the first job."""
    db, kind = zoo.database(), "cv" if cv else None
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zoo.env.items():
            patch.setenv(name, value)
        specs = submit.training(model, params or {}, TrainingOptions("digits", cv=cv))
        ids = submit.submit(db, zoo.settings, specs, QueueOptions(tags=tags), group_kind=kind).ids
    until(lambda: all(jobs.get(db, each).is_terminal for each in ids))
    return jobs.get(db, ids[0]).to_json()


# --- those who submit jobs ---


def test_a_training_goes_through_the_queue_and_leaves_metrics_and_files(warm_zoo: Zoo) -> None:
    job = train(warm_zoo, "logistic")
    assert (job["status"], job["attempt"], job["params"]["loss"]) == ("succeeded", 1, "log_loss")
    assert job["metrics"]["accuracy"] > 0.85
    assert job["worker"]
    names = artifacts.files(warm_zoo.settings.artifacts, job["artifact"], job["artifact_sha256"])
    small = {"metrics.json", "model.json", "history.json", "environment.json"}
    assert small | {"predictions.npz", "weights/weights.npz"} <= set(names)
    folder = warm_zoo.home / "artifacts" / job["artifact"]
    assert {path.name for path in folder.iterdir()} == {
        *("manifest.json", "predictions.npz", "weights", "weight_images.npy")
    }


def test_the_folds_of_a_cross_validation_equal_scikit_learns_to_the_last_bit(
    warm_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import cross_validate

    from zoo.data import datasets

    group = train(warm_zoo, "logistic", "--cv", "5")
    monkeypatch.setenv("ZOO_HOME", str(warm_zoo.home))
    images, labels = datasets.raw("digits").splits["train"]
    x = images.reshape(len(images), -1) / 255.0
    plain = SGDClassifier(loss="log_loss", max_iter=5, random_state=42)
    assert (
        group["metrics"]["accuracy"]["values"]
        == cross_validate(plain, x, labels)["test_score"].tolist()
    )
    assert len({job["id"] for job in group["jobs"]}) == 5


def test_seeds_are_a_group_whose_jobs_differ_in_nothing_else(
    warm_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import SGDClassifier

    from zoo.data import datasets

    group = train(warm_zoo, "logistic", "--seeds", "3", "--seed", "7")
    assert group["kind"] == "seeds" and [job["seed"] for job in group["jobs"]] == [7, 8, 9]
    monkeypatch.setenv("ZOO_HOME", str(warm_zoo.home))
    splits = datasets.raw("digits").splits
    (x, y), (test_x, test_y) = (
        (part.inputs.reshape(-1, 784) / 255.0, part.labels)
        for part in (splits["train"], splits["test"])
    )
    expected = [
        SGDClassifier(loss="log_loss", max_iter=5, random_state=seed)
        .fit(x, y)
        .score(test_x, test_y)
        for seed in (7, 8, 9)
    ]
    found = group["metrics"]["accuracy"]
    assert found["values"] == expected
    assert (found["mean"], found["std"]) == (np.mean(expected), np.std(expected, ddof=1))


@pytest.fixture(scope="module")
def evaluated(warm_zoo: Zoo) -> list[dict[str, Any]]:
    """A training, its evaluation by its id, and then one of @last."""
    job = trained(warm_zoo)
    judged = warm_zoo.json("evaluate", job["id"][:8])
    return [job, judged, warm_zoo.json("evaluate", "@last", "--split", "train")]


def test_an_evaluation_is_a_job_of_its_own_made_from_the_artifact_alone(
    evaluated: list[dict[str, Any]],
) -> None:
    job, judged, on_train = evaluated
    assert judged["kind"] == "evaluate" and judged["source"] == job["id"]
    for name in ("accuracy", "loss", "per_class", "confusion_matrix"):
        assert judged["metrics"][name] == job["metrics"][name]
    assert on_train["metrics"]["n_images"] == 1437


def test_evaluate_last_means_the_model_also_after_an_evaluation(
    evaluated: list[dict[str, Any]],
) -> None:
    job, _, last = evaluated
    assert last["kind"] == "evaluate" and last["source"] == job["id"]


def test_an_artifact_that_was_tampered_with_is_refused(warm_zoo: Zoo) -> None:
    job = trained(warm_zoo)
    weights = warm_zoo.home / "artifacts" / job["artifact"] / "weights"
    file = next(path for path in weights.iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    judged = warm_zoo.json("evaluate", job["id"][:8], code=1)
    assert (
        judged["status"] == "failed" and "not the one that was stored" in judged["error"]["message"]
    )


def test_a_detached_submit_prints_the_id_and_the_next_three_commands(warm_zoo: Zoo) -> None:
    done = warm_zoo.run("train", "logistic", *DIGITS, "-d")
    job_id = done.stdout.strip()
    assert len(job_id) == 32
    for command in ("zoo wait", "zoo logs -f", "zoo cancel"):
        assert f"{command} {job_id[:8]}" in done.stderr
    assert "accuracy" in warm_zoo.run("wait", job_id[:8]).stdout


def test_a_warm_worker_needs_neither_another_hint_nor_another_process_for_the_next_job(
    warm_zoo: Zoo,
) -> None:
    db, known = warm_zoo.database(), set[str]()

    def is_warm() -> bool:
        job = trained(warm_zoo, {"trick": "tell_pid"}, model="trickster")["id"]
        with db.read() as rows:
            # A hint that is sent again is stamped anew.
            hinted = "SELECT dispatched_at = created_at AS once FROM job WHERE id = :id"
            once = bool(rows.value(hinted, {"id": job}))
        pid = "".join(each.text for each in jobs.log_after(db, job))
        was_known = pid in known
        known.add(pid)
        return was_known and once

    # The first is run by a new process; and where something stands still, the next job tells.
    assert any(is_warm() for _ in range(8))


def test_the_newest_jobs_come_first_and_filters_narrow_them(warm_zoo: Zoo) -> None:
    job = trained(warm_zoo, {"alpha": 0.01}, tags=["mine"])
    assert warm_zoo.json("jobs", "-n", "1")[0]["id"] == job["id"]
    assert [each["id"] for each in warm_zoo.json("jobs", "--tag", "mine")] == [job["id"]]
    assert "alpha=0.01" in warm_zoo.run("jobs", "--tag", "mine").stdout
    assert warm_zoo.json("jobs", "--status", "lost") == []


def test_the_leaderboard_keeps_test_and_cross_validation_and_params_apart(warm_zoo: Zoo) -> None:
    board = ("--tag", "board")
    plain = trained(warm_zoo, tags=["board"])
    trained(warm_zoo, {"max_iter": 20}, cv=3, tags=["board"])
    rows = warm_zoo.json("leaderboard", *board)
    by_params = {row["params"]["max_iter"]: row for row in rows}
    assert by_params[5]["test"]["accuracy"] == plain["metrics"]["accuracy"]
    assert by_params[5]["cv"] is None and by_params[20]["test"] is None
    assert len(by_params[20]["cv"]["values"]) == 3
    assert "max_iter=20" in warm_zoo.run("leaderboard", *board).stdout


def test_ctrl_c_detaches_and_the_job_goes_on(warm_zoo: Zoo, tmp_path: Path) -> None:
    end, db = tmp_path / "end", warm_zoo.database()
    command = warm_zoo.start("train", "trickster", *DIGITS, "-p", f"until={end}")
    assert command.stderr is not None
    try:
        # The job may run before the command has come to follow it: it says when it sees that.
        followed = next(line for line in command.stderr if line.endswith(": running\n"))
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=120)
        assert command.returncode == 130 and "zoo wait" in said and "Traceback" not in said
        (job,) = jobs.listing(db, models=["trickster"], statuses=["running"])
        assert followed.startswith(job.id[:8])
    finally:
        end.touch()
    assert "accuracy" in warm_zoo.run("wait", job.id).stdout


def test_ctrl_c_says_whether_anything_was_submitted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as before, leaving.submitting():
        raise KeyboardInterrupt
    assert "Nothing was submitted" in capsys.readouterr().err
    with pytest.raises(typer.Exit) as after, leaving.submitting():
        raise Left("0123456789")
    said = capsys.readouterr().err
    assert "zoo wait 01234567" in said and "Nothing" not in said
    with pytest.raises(typer.Exit) as later, leaving.going_on("0123456789"):
        raise KeyboardInterrupt
    assert "zoo wait 01234567" in capsys.readouterr().err
    assert {each.value.exit_code for each in (before, after, later)} == {130}


def test_ctrl_c_while_the_hints_go_out_names_the_job_that_is_there(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Broker, "send", interrupted)
    db = zoo.database()
    setup = dataclasses.replace(settings.load(), broker_url="redis://127.0.0.1:1/0")
    with pytest.raises(Left) as left:
        submit.submit(db, setup, submit.training("logistic", {}, TrainingOptions("digits")))
    assert left.value.args[0] == jobs.find_reference(db, "@last").id


def test_in_process_runs_here_without_queue_or_record(warm_zoo: Zoo) -> None:
    db = warm_zoo.database()
    before = jobs.list_ids(db, jobs.ALL_JOBS)
    (done,) = warm_zoo.json("train", "logistic", *DIGITS, "--in-process")
    assert done["metrics"]["accuracy"] > 0.85
    assert jobs.list_ids(db, jobs.ALL_JOBS) == before


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["train", "logistik"], 2, "Did you mean 'logistic'?"),
        (["train", "logistic", "--dataset", "digitz"], 2, "Did you mean 'digits'?"),
        (["train", "logistic", "-p", "alfa=1"], 2, "Did you mean 'alpha'?"),
        (["train", "logistic", "-p", "max_iter=0"], 2, "greater than"),
        (["train", "logistic", "-p", "max_iter=5.5"], 2, "max_iter=5.5 is refused"),
        (["train", "logistic", "-p", "max_iter=true"], 2, "max_iter=true is refused"),
        (["train", "logistic", "-p", "alpha=NaN"], 2, "alpha='NaN' is refused"),
        (["train", "logistic", "-p", "alpha=1e999"], 2, "is refused"),
        (["train", "logistic", "-p", "alpha"], 2, "NAME=VALUE"),
        (["train", "logistic", "--dataset", "idx:/nowhere"], 2, "/nowhere"),
        (["train", "logistic", "--seed", "-1"], 2, "greater than"),
        (["train", "logistic", "--cv", "3", "--seeds", "3"], 2, "not both"),
        (["train", "logistic", "--seed", str(2**32 - 1), "--seeds", "2"], 2, "would go past"),
        (["train", "dense-softmax", "-p", "epochs=0"], 2, "epochs=0 is refused"),
        (["show", "ffff"], 2, "No job or group"),
        (["evaluate", "ffff"], 2, "No job or group"),
        (["jobs", "--status", "ok"], 2, "No status"),
        (["dance"], 2, "No such command"),
        (["jobs", "-n", "1" + "0" * 20], 2, "less than or equal"),
        (["train", "logistic", "--timeout", "inf"], 2, "timeout"),
        (["train", "logistic", "--timeout", "nan"], 2, "timeout"),
    ],
)
def test_a_wrong_command_ends_with_a_sentence(
    refusing: Zoo,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    code: int,
    says: str,
) -> None:
    for name, value in refusing.env.items():
        monkeypatch.setenv(name, value)
    ended = main.run(args)
    said = capsys.readouterr()
    assert ended == code and says in said.err, said.err
    assert "Traceback" not in said.err and said.out == ""
    assert jobs.listing(refusing.database()) == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["train", "logistik"], "Did you mean 'logistic'?"),
        (["dance"], "No such command"),
        (["jobs", "--model", b"\xff"], "is not UTF-8 text"),
    ],
    ids=["refused by Zoo", "refused by its parser", "no text"],
)
def test_a_shell_sees_of_a_wrong_command_a_sentence_and_exit_code_2(
    refusing: Zoo, args: list[Any], says: str
) -> None:
    done = refusing.run(*args, code=2)
    assert says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize("kind", ["truncated", "mismatched"])
def test_a_bad_idx_file_is_refused_and_leaves_nothing_in_the_cache(
    zoo: Zoo, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for split, n in (("train", 4), ("t10k", 2)):
        images = (
            b"\0\0\x08\x03" + b"".join(v.to_bytes(4, "big") for v in (n, 28, 28)) + bytes(784 * n)
        )
        labels = b"\0\0\x08\x01" + n.to_bytes(4, "big") + bytes(range(n))
        (folder / f"{split}-images-idx3-ubyte").write_bytes(
            images[: -5 if kind == "truncated" else None]
        )
        short = labels[:4] + (n - 1).to_bytes(4, "big") + labels[8:-1]
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(
            short if kind == "mismatched" else labels
        )
    done = zoo.run("train", "logistic", "--dataset", f"idx:{folder}", code=1)
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert not [p for p in (zoo.home / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_a_corrupt_npz_is_refused(zoo: Zoo, tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    file.write_bytes(b"PK\x03\x04 and then nothing of the kind")
    done = zoo.run("data", "show", f"npz:{file}", code=1)
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_the_first_images_their_labels_and_the_class_counts_are_shown(
    warm_zoo: Zoo, tmp_path: Path
) -> None:
    facts = warm_zoo.json("data", "show", "digits", "-o", str(tmp_path / "ten.png"))
    assert sum(facts["class_counts"].values()) == facts["images"] == 1437
    assert len(facts["first_labels"]) == 10
    assert (tmp_path / "ten.png").read_bytes().startswith(b"\x89PNG")
    assert "█" in warm_zoo.run("data", "show", "digits").stdout


# --- those who add models ---


def test_a_model_in_one_file_is_picked_up_and_picked_up_again_when_it_changes(
    warm_zoo: Zoo,
) -> None:
    file = plugins(warm_zoo) / "guesser.py"
    source = (TRICKS / "trickster.py").read_text().replace('"trickster"', '"guesser"')
    file.write_text(source)
    assert guess(train(warm_zoo, "guesser")) == 0
    file.write_text(source.replace("found[:, 0]", "found[:, 1]"))
    assert guess(train(warm_zoo, "guesser")) == 1


def guess(job: dict) -> int:  # type: ignore[type-arg]
    """The class that a model predicts which always predicts the same one."""
    columns = [sum(column) for column in zip(*job["metrics"]["confusion_matrix"], strict=True)]
    return columns.index(max(columns))


def test_a_models_params_are_shown_with_their_bounds(warm_zoo: Zoo) -> None:
    shown = warm_zoo.run("models", "show", "logistic").stdout
    assert "max_iter" in shown and ">= 1" in shown


@pytest.mark.parametrize("command", [["--help"], ["models"], ["train", "logistic", *DIGITS, "-d"]])
def test_the_terminal_loads_no_framework(warm_zoo: Zoo, command: list[str]) -> None:
    if "digits" in command:
        warm_zoo.run("data", "prepare", "digits")  # its first reading needs scikit-learn
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "zoo", *command],
        env=warm_zoo.env,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "typer" in loaded
    assert not loaded & {"tensorflow", "sklearn", "keras", "scipy", "numpy"}


def test_the_model_of_the_five_minutes_trains_as_written(warm_zoo: Zoo) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tour.md").read_text()
    model = page.split("```python\n")[1].split("```")[0]
    (plugins(warm_zoo) / "nearest_mean.py").write_text(model)
    job = train(warm_zoo, "nearest-mean")
    assert job["metrics"]["accuracy"] > 0.85
    judged = warm_zoo.json("evaluate", job["id"])
    assert judged["metrics"]["accuracy"] == job["metrics"]["accuracy"]


def test_ctrl_c_before_the_command_has_begun_prints_nothing() -> None:
    script = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":  # one of the first imports
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)
from zoo.__main__ import main
main()"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
