"""zoo-metrics: the page says what the rows say, and its counters never fall."""

from __future__ import annotations

import json
import random
import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import servers
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from zoo_metrics import exporter

from zoo import jobs
from zoo.jobs import Claim, Database, Outcome, ProgressUpdate, QueueOptions, queue_stats
from zoo.jobs.environments import Environment

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "zoo.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
Page = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Page:
    """Every sample of a page, by name and labels; fails where Prometheus would."""
    found: Page = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def page(rows: exporter.QueueCollector) -> Page:
    return read(generate_latest(exporter.registry(rows)).decode())


def look(db: Database) -> Page:
    """The page of an exporter that has just been started."""
    rows = exporter.QueueCollector(db)
    # What Prometheus asks for first, and whose rules are stricter.
    text = openmetrics.generate_latest(exporter.registry(rows)).decode()
    assert list(openmetrics_parser.text_string_to_metric_families(text))
    return page(rows)


def value(found: Page, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def total(found: Page, name: str, **labels: str) -> float:
    """The sum over all samples with at least these labels."""
    return sum(
        v for (n, had), v in found.items() if n == name and labels.items() <= dict(had).items()
    )


def claim(db: Database, worker: str = "w", pool: str = "default") -> Claim | None:
    models = {"m": "p 1"}
    taken = jobs.claim(db, pool=pool, models=models, datasets=["digits"], worker=worker, lease=60)
    return taken and taken[0]


def succeed(db: Database, held: Claim | None) -> None:
    assert held
    assert jobs.finish(db, held, Outcome("succeeded", {}, "where", "0" * 64, with_hooks=True))


def lose(db: Database, worker: str = "w") -> None:
    jobs.expire_leases(db, worker)
    jobs.reap(db, backoff=0)


def announce(
    db: Database, name: str, *, slots: int = 2, busy: int = 0, pool: str = "default"
) -> str:
    facts: dict[str, Any] = {"id": name, "name": name, "host": "h", "pid": 1, "pool": pool}
    jobs.register_worker(db, jobs.NewWorker(**facts, slots=slots, version="1", models=[]))
    jobs.record_heartbeat(db, name, busy=busy)
    return name


def test_a_queued_job_is_counted_by_what_it_waits_for(db: Database) -> None:
    jobs.add(db, [a_spec()] * 3, QueueOptions(max_parallel=1), group_kind="sweep")
    (first,), _ = jobs.add(db, [a_spec()])
    jobs.add(db, [a_spec()], QueueOptions(after_any=[first]))
    jobs.hold(db, jobs.add(db, [a_spec()])[0])
    jobs.add(db, [a_spec()] * 4, QueueOptions(pool="gpu"))
    jobs.pause(db, "gpu")
    jobs.add(db, [a_spec()])
    with db.write() as rows:
        last = "seq = (SELECT max(seq) FROM job)"
        rows.run(f"UPDATE job SET not_before = {rows.sql.now} + 60 WHERE {last}")
        rows.run("UPDATE job SET created_at = created_at - 100")
    found = look(db)
    waits = {"worker": 2, "turn": 2, "job": 1, "hold": 1, "time": 1}
    for name, n in waits.items():
        queued = value(found, "zoo_jobs_queued", pool="default", model="m", waits_for=name)
        assert queued == n, name
    assert value(found, "zoo_jobs_queued", pool="gpu", model="m", waits_for="pool") == 4
    assert set(waits) | {"pool", "rung"} == set(queue_stats.WAITS_FOR)
    oldest = value(found, "zoo_jobs_oldest_queued_seconds", pool="default", model="m")
    assert oldest and oldest >= 100
    assert value(found, "zoo_jobs_oldest_queued_seconds", pool="gpu", model="m") is None
    assert value(found, "zoo_pool_paused", pool="gpu") == 1
    assert value(found, "zoo_slots_wanted", pool="gpu") == 0
    claim(db)
    found = look(db)
    assert value(found, "zoo_jobs_running", pool="default", model="m") == 1
    assert value(found, "zoo_slots_wanted", pool="default") == 2  # one runs, one may


def test_ends_attempts_and_losses_are_counted(db: Database) -> None:
    announce(db, "w")
    jobs.add(db, [a_spec()] * 3, max_attempts=2)
    succeed(db, claim(db))
    for _ in range(2):
        claim(db, "dead")
        lose(db, "dead")
    claim(db, "dead")
    lose(db, "dead")  # this one is queued again
    found = look(db)
    kind = {"pool": "default", "model": "m"}
    for status, n in (("succeeded", 1), ("lost", 1), ("failed", 0), ("cancelled", 0)):
        assert value(found, "zoo_jobs_finished_total", **kind, status=status) == n
    assert value(found, "zoo_lease_losses_total", **kind) == 3
    tried = {"pool": "default", "worker": "w"}
    assert value(found, "zoo_worker_attempts_total", **tried, outcome="succeeded") == 1
    assert value(found, "zoo_worker_attempts_total", **tried, outcome="lost") == 0
    assert total(found, "zoo_worker_attempts_total", worker="dead") == 0
    assert value(found, "zoo_hooks_owed") == 1
    assert value(found, "zoo_hooks_skipped") == 0


def test_the_histograms_hold_each_span_in_its_buckets_and_its_sum(db: Database) -> None:
    jobs.add(db, [a_spec()] * 3)
    for _ in range(2):
        succeed(db, claim(db))
    held = claim(db)
    assert held
    jobs.cancel(db, held.job)
    jobs.release(db, held, code="drained", reason="x")
    with db.write() as rows:
        rows.run(
            """UPDATE job SET created_at = 1000, started_at = 1000 + 2 * seq,
                finished_at = 1000.125 + 2 * seq + seq"""
        )
    found, kind = look(db), {"pool": "default", "model": "m"}
    waits = [
        value(found, "zoo_job_wait_seconds_bucket", **kind, le=le)
        for le in ("1.0", "2.5", "5.0", "+Inf")
    ]
    assert waits == [0, 1, 2, 3]
    assert value(found, "zoo_job_wait_seconds_sum", **kind) == 2 + 4 + 6
    # What was cancelled did not run to an end of its own.
    assert value(found, "zoo_job_run_seconds_count", **kind) == 2
    assert value(found, "zoo_job_run_seconds_sum", **kind) == 1.125 + 2.125
    with db.write() as rows:
        rows.run("UPDATE job SET started_at = created_at - 5")  # a clock was set back
    assert value(look(db), "zoo_job_wait_seconds_sum", **kind) == 0


def acts(db: Database) -> list[Callable[[random.Random], object]]:
    def running() -> list[str]:
        return jobs.list_ids(db, jobs.Filter(statuses=["running"]))

    held: dict[str, Claim] = {}

    def take(draw: random.Random) -> None:
        taken = claim(db, draw.choice("ab"))
        if taken:
            held[taken.job] = taken

    def end(draw: random.Random) -> None:
        for job in running()[:1]:
            status = draw.choice(["failed", "timed_out", "succeeded"])
            files = ("where", "0" * 64) if status == "succeeded" else (None, None)
            jobs.finish(db, held[job], Outcome(status, {}, *files))

    def give_back(_: random.Random) -> None:
        for job in running()[:1]:
            jobs.release(db, held[job], code="killed", reason="x", counts=True)

    return [
        lambda draw: jobs.add(db, [a_spec()] * 3, max_attempts=draw.randint(1, 3)),
        take,
        take,
        end,
        give_back,
        lambda draw: lose(db, draw.choice("ab")),
        lambda _: [jobs.cancel(db, each) for each in jobs.list_ids(db, jobs.ALL_JOBS)[:1]],
    ]


def test_an_exporter_that_watched_and_one_that_comes_later_count_alike_and_nothing_falls(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, watching = random.Random(5), exporter.QueueCollector(db)
    announce(db, "a")
    may_happen = acts(db)
    before: Page = {}
    for step in range(120):
        draw.choice(may_happen)(draw)
        # What has ended is soon counted for good here, and then again not for a while.
        monkeypatch.setattr(queue_stats, "FINAL_AFTER_SECONDS", draw.choice([0.0, 120.0]))
        if step % 4 == 0:
            found = page(watching)
            counted = {
                k: v
                for k, v in found.items()
                if k[0].endswith(("_total", "_bucket", "_sum", "_count"))
            }
            assert all(v >= before.get(k, 0) for k, v in counted.items())
            assert before.keys() <= counted.keys()
            before = counted
    late = look(db)
    assert {k: late[k] for k in before} == {k: page(watching)[k] for k in before}
    assert total(late, "zoo_jobs_finished_total") > 10
    assert total(late, "zoo_lease_losses_total") > 3


def test_an_end_that_commits_late_is_still_counted(db: Database) -> None:
    watching = exporter.QueueCollector(db)
    jobs.add(db, [a_spec()] * 2)
    succeed(db, claim(db))
    assert total(page(watching), "zoo_jobs_finished_total") == 1
    succeed(db, claim(db))  # its transaction had waited for a lock, for half a minute
    with db.write() as rows:
        rows.run(
            "UPDATE job SET finished_at = finished_at - 30 WHERE seq = (SELECT max(seq) FROM job)"
        )
    assert total(page(watching), "zoo_jobs_finished_total") == 2


def test_workers_are_counted_by_state_and_a_silent_one_has_no_slots(db: Database) -> None:
    announce(db, "here", slots=3, busy=2)
    announce(db, "leaving")
    jobs.drain(db, "leaving")
    announce(db, "silent")
    announce(db, "long-gone")
    jobs.record_heartbeat(db, announce(db, "stopped"), busy=0, state="stopped")
    with db.write() as rows:
        rows.run("UPDATE worker SET beat_at = beat_at - 60 WHERE id = 'silent'")
        rows.run("UPDATE worker SET beat_at = beat_at - 7200 WHERE id = 'long-gone'")
    found = look(db)
    assert value(found, "zoo_workers", pool="default", state="sick") == 0
    for state in ("online", "draining", "silent"):
        assert value(found, "zoo_workers", pool="default", state=state) == 1, state
    assert value(found, "zoo_slots", pool="default", state="busy") == 2
    assert value(found, "zoo_slots", pool="default", state="idle") == 1
    assert value(found, "zoo_worker_busy_slots", pool="default", worker="here") == 2
    assert value(found, "zoo_worker_slots", pool="default", worker="stopped") is None


def test_an_empty_zoo_shows_noughts_that_an_alert_can_see(db: Database) -> None:
    found = look(db)
    assert value(found, "zoo_workers", pool="default", state="online") == 0
    assert value(found, "zoo_slots_wanted", pool="default") == 0
    assert value(found, "zoo_database_up") == 1


def test_an_odd_name_of_a_pool_stays_one_label(tmp_path: Path) -> None:
    db = jobs.connect(f"sqlite:///{tmp_path / 'zoo.db'}")
    odd = 'a"b\\c\nzoo_fake 1\n'
    jobs.add(db, [a_spec()], QueueOptions(pool=odd))
    found = look(db)
    assert value(found, "zoo_jobs_queued", pool=odd, model="m", waits_for="worker") == 1
    assert value(found, "zoo_fake") is None


@pytest.fixture
def served(zoo: Zoo) -> Iterator[str]:
    """The URL of a real exporter, which ends well when it is asked to."""
    process = zoo.start("metrics", "--port", str(servers.free_port()))
    assert process.stderr
    yield process.stderr.readline().split()[-1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0


def get(url: str) -> Page:
    with urllib.request.urlopen(url, timeout=120) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return read(answer.read().decode())


def test_the_page_is_served_on_loopback_and_says_when_the_database_is_away(
    served: str, zoo: Zoo
) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", served)
    db = zoo.database()
    jobs.add(db, [a_spec()])
    assert value(get(served), "zoo_jobs_queued", pool="default", model="m", waits_for="worker") == 1
    taken = zoo.run("metrics", "--port", served.split(":")[-1].split("/")[0], code=1)
    assert "is not available" in taken.stderr and "Traceback" not in taken.stderr
    with db.write() as rows:
        rows.run("ALTER TABLE job RENAME TO away")
    away = get(served)
    assert value(away, "zoo_database_up") == 0
    assert total(away, "zoo_jobs_queued") == 0
    with db.write() as rows:
        rows.run("ALTER TABLE away RENAME TO job")
    assert value(get(served), "zoo_database_up") == 1


def test_a_real_worker_shows_its_slots_and_what_it_has_done(warm_zoo: Zoo) -> None:
    warm_zoo.run("train", "logistic", "--dataset", "digits")
    found = read(warm_zoo.run("metrics", "--once").stdout)
    assert value(found, "zoo_workers", pool="default", state="online") == 1
    assert total(found, "zoo_worker_attempts_total", outcome="succeeded") == 1
    assert total(found, "zoo_job_run_seconds_count", model="logistic") == 1
    assert total(found, "zoo_worker_slots") >= 1


def shown(tmp_path: Path) -> set[str]:
    """The name of every sample that a page can have."""
    db = jobs.connect(f"sqlite:///{tmp_path / 'zoo.db'}")
    announce(db, "w")
    jobs.add(db, [a_spec()] * 3)
    succeed(db, claim(db))
    claim(db)
    return {name for name, _ in look(db)}


def named(text: str) -> set[str]:
    return set(re.findall(r"\bzoo_\w+", text))


def test_dashboard_and_alerts_name_metrics_that_exist_and_the_dashboard_has_them_all(
    tmp_path: Path,
) -> None:
    known = shown(tmp_path)
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    drawn = set.union(*(named(each["expr"]) for panel in panels for each in panel["targets"]))
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    watched = set.union(*(named(rule["expr"]) for rule in rules))
    assert drawn | watched <= known
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}
    assert families == {re.sub(r"_(bucket|sum|count)$", "", name) for name in drawn}
    variables = DASHBOARD["templating"]["list"]
    assert set.union(*(named(str(each["query"])) for each in variables)) <= known


def test_the_dashboard_asks_the_chosen_data_source_and_its_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    names = [each["id"] for each in DASHBOARD["panels"]]
    assert len(names) == len(set(names))
    kinds = {each["name"]: each["type"] for each in DASHBOARD["templating"]["list"]}
    assert kinds == {"datasource": "datasource", "pool": "query", "model": "query"}


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in (rule for group in ALERTS["groups"] for rule in group["rules"]):
        assert re.fullmatch(r"Zoo[A-Za-z]+", rule["alert"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} <= rule["annotations"].keys()
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_the_best_results_are_exported_if_they_are_asked_for(db: Database) -> None:
    for accuracy, loss in ((0.9, 0.5), (0.8, 0.1)):
        jobs.add(db, [a_spec()])
        held, metrics = claim(db), {"accuracy": accuracy, "loss": loss}
        contents = ProgressUpdate(environment=Environment(data="d" * 64))
        outcome = Outcome("succeeded", metrics, "w", "0" * 64)
        assert held and jobs.finish(db, held, outcome, contents)
    assert total(look(db), "zoo_best_result") == 0
    found = page(exporter.QueueCollector(db, with_results=True))
    labels = {"dataset": "digits", "model": "m", "metric": "accuracy"}
    assert value(found, "zoo_best_result", **labels) == 0.9
