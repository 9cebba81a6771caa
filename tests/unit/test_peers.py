"""benchmarks/peers.py: what is installed for the comparison, and how its results are laid out."""

from __future__ import annotations

import copy
import re

import pytest

import benchmarks.__main__ as bench
from benchmarks import peers

ROOT = peers.ROOT


def test_shared_distributions_have_the_version_of_the_lock_file() -> None:
    """Else another release of scikit-learn could train other weights."""
    lock = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text()))
    text = re.sub(r"\[.*?\]", "", peers.REQUIREMENTS.read_text())
    pinned = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", text))
    assert {"scikit-learn", "rq", "celery"} <= pinned.keys() & lock.keys()
    assert {name: lock[name] for name in pinned.keys() & lock.keys()}.items() <= pinned.items()


def test_a_peer_that_cannot_be_installed_is_said_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"done": 19, "failed": 0, "stuck": 1, "lost": 0, "run_again": 0, "seconds": 30.0}
    told = {"kill": {"after_30_s": counts, "at_last": counts | {"done": 20, "stuck": 0}}}
    same = {"seconds": 2.0, "values": [0.5]}
    results = {"noop": 300.0, "start": 10.0, "twenty": same, "sweep": same} | told
    monkeypatch.setattr(peers, "install", lambda: {"ray": "no such wheel"})
    monkeypatch.setattr(
        peers, "run_test", lambda peer, test, careful=False: copy.deepcopy(results[test])
    )
    monkeypatch.setattr("sys.argv", ["benchmarks", "peers"])
    bench.main()
    said = capsys.readouterr().out
    assert re.search(r"(?m)^ray-tune .*no such wheel \(not installed\)$", said)
    assert re.search(r"(?m)^joblib +300 +10\.0 +2\.00 +2\.00 ", said)
    assert "joblib (defaults): done 19 stuck 1 seconds 30; then done 20 seconds 30" in said
    assert "ray (defaults)" not in said


def test_the_comparison_stops_if_a_model_differs() -> None:
    sides = {"zoo": {"sweep": {"values": [0.5]}}, "optuna": {"sweep": {"values": [0.6]}}}
    with pytest.raises(AssertionError, match="sweep: optuna"):
        peers.compare(sides)
