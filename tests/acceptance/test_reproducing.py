"""Journeys: run a job again, verify it, take an earlier result, compare; through real workers."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import Zoo

from zoo import jobs
from zoo.jobs import Job

DIGITS = ("--dataset", "digits")


def run_in_a_terminal(zoo: Zoo, *args: str, **env: str) -> str:
    """What a person sees."""
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "zoo", *args],
        env=zoo.env | {"TERM": "xterm-256color"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    command.wait(timeout=120)
    os.close(ours)
    return seen.decode()


def fingerprint(job: Job) -> str:
    return str(job.to_json()["fingerprint"])


@pytest.fixture(scope="module")
def job(warm_zoo: Zoo) -> str:
    done = warm_zoo.run("train", "logistic", *DIGITS, "-q")
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_verified_job_is_identical_to_the_last_bit(warm_zoo: Zoo, job: str) -> None:
    found = warm_zoo.json("verify", job)
    assert (found["verdict"], found["differs"], found["job"]) == ("identical", {}, job)
    db = warm_zoo.database()
    first, again = (fingerprint(jobs.get(db, each)) for each in (job, found["repeated_by"]))
    assert first == again and len(first) == 64


def test_a_group_is_verified_job_by_job(warm_zoo: Zoo) -> None:
    group = warm_zoo.run("train", "logistic", *DIGITS, "--cv", "2", "-q").stdout.strip()
    assert [each["verdict"] for each in warm_zoo.json("verify", group)] == ["identical"] * 2


def test_a_rerun_says_what_differs_now_and_goes_with_the_same_params(
    warm_zoo: Zoo, job: str
) -> None:
    again = warm_zoo.run("rerun", job[:8], "-d")
    assert "No difference of data, code or environment is known." in again.stderr
    earlier = jobs.get(warm_zoo.database(), job).to_json()
    told = [warm_zoo.json("wait", again.stdout.strip())[0], earlier]
    for name in ("params", "seed", "dataset", "model", "split"):
        assert told[0][name] == told[1][name]
    assert told[0]["metrics"]["accuracy"] == told[1]["metrics"]["accuracy"]


def test_an_earlier_result_is_taken_only_if_it_is_asked_for(warm_zoo: Zoo, job: str) -> None:
    db = warm_zoo.database()
    before = jobs.count(db, jobs.ALL_JOBS)
    taken = warm_zoo.json("train", "logistic", *DIGITS, "--reuse")
    assert taken["status"] == "succeeded" and jobs.count(db, jobs.ALL_JOBS) == before
    other = warm_zoo.json("train", "logistic", *DIGITS, "--reuse", "--seed", "7")
    assert other["seed"] == 7 and jobs.count(db, jobs.ALL_JOBS) == before + 1
    piped = warm_zoo.run("train", "logistic", *DIGITS, "-d")
    assert "--reuse" not in piped.stderr
    seen = run_in_a_terminal(warm_zoo, "train", "logistic", *DIGITS, "-d")
    assert "has this result already: --reuse returns it" in seen


def test_two_results_are_compared_and_their_images_drawn_without_colour_in_a_pipe(
    warm_zoo: Zoo, job: str
) -> None:
    other = warm_zoo.run("train", "logistic", *DIGITS, "-p", "alpha=0.01", "-q").stdout.strip()
    found = warm_zoo.json("compare", job, other)
    assert found["differs"] == {"params.alpha": [0.0001, 0.01]}
    (met,) = found["against_first"]
    accuracy = found["metrics"]["accuracy"]
    assert met["test"]["difference"] == pytest.approx(accuracy[0] - accuracy[1])
    seen = warm_zoo.run("compare", job, other, "--show").stdout
    first = met["disagreement"]["first"][0]
    assert f"{first['label']}: {' | '.join(first['predicted'])}" in seen and "█" in seen
    assert "\x1b" not in seen
    plain = run_in_a_terminal(warm_zoo, "compare", job, other, "--show", NO_COLOR="1")
    assert "\x1b[3" not in plain and "█" in plain


def test_quiet_and_a_failure_leave_the_id_and_exit_code_1(tmp_path: Path, warm_zoo: Zoo) -> None:
    endless = ("-p", "max_iter=100000", "-p", "tol=null", "--timeout", "0.2")
    done = warm_zoo.run("train", "logistic", *DIGITS, *endless, "-q", code=1)
    assert len(done.stdout.strip()) == 32 and done.stderr == ""
    assert jobs.find_reference(warm_zoo.database(), "@last-failed").id == done.stdout.strip()
    refused = warm_zoo.run("verify", "@last-failed", code=2)
    assert "there is no result to verify" in refused.stderr
