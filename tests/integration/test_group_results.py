"""What a group's result is, wherever it is shown: a mean of equal jobs, or the best trial."""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import pytest
from helpers import page_client as web
from helpers.finished_jobs import a_spec
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from zoo_mlflow import mapping
from zoo_notify import senders
from zoo_report import contents, tiles
from zoo_report import page as report
from zoo_report.contents import Selection

import zoo
from zoo import jobs
from zoo.cli.render.job_details import show_group
from zoo.cli.render.progress import summary
from zoo.errors import UsageError
from zoo.job_spec import Fold, JobSpec
from zoo.jobs import Database, Group, Outcome, ProgressUpdate
from zoo.jobs.environments import Environment
from zoo.results import comparison
from zoo.results.leaderboard import leaderboard_rows

pytestmark = pytest.mark.xdist_group("test_group_results")
Trial = Sequence[tuple[float | None, str]]
"""The accuracy of each of its jobs, None of a failed one, and the contents it was judged on."""
# Few values: ties are common.
results = st.tuples(st.sampled_from([None, 0.1, 0.5, 0.75, 1.0]), st.sampled_from("ab"))


@st.composite
def sweeps(draw: Any) -> tuple[str, list[Trial]]:
    """The kind of a sweep's trials, and the trials."""
    kind = draw(st.sampled_from(["job", "seeds", "cv"]))
    size = 1 if kind == "job" else draw(st.integers(2, 3))
    whole = st.lists(results, min_size=size, max_size=size)
    return kind, draw(st.lists(whole, min_size=1, max_size=4))


def spec_of(kind: str, trial: int, part: int, size: int) -> JobSpec:
    fold = Fold(k=size, index=part).model_dump() if kind == "cv" else None
    return a_spec(params={"a": trial}, fold=fold, seed=42 if kind == "cv" else part)


def stored(db: Database, kind: str, found: Sequence[Trial], group_kind: str = "sweep") -> Group:
    """Store a group that has ended so, its jobs in the order of their submission."""
    specs = [
        spec_of(kind, number, part, len(trial))
        for number, trial in enumerate(found)
        for part in range(len(trial))
    ]
    _, ref = jobs.add(db, specs, group_kind=group_kind)
    for accuracy, data in (each for trial in found for each in trial):
        taken = jobs.claim(
            db, pool="default", models={"m": "p"}, datasets=["digits"], worker="w", lease=60
        )
        assert taken is not None
        told = {"accuracy": accuracy, "loss": 0.5, "classes": ["0", "1"]}
        told |= {"per_class": {"0": {}, "1": {}}}
        end = Outcome("succeeded", told, f"{taken[0].job}/1", "0" * 64)
        if accuracy is None:
            end = Outcome("failed", error_code="exception", error="no")
        assert jobs.finish(
            db, taken[0], end, ProgressUpdate(environment=Environment(data=data * 64))
        )
    return jobs.get_group(db, str(ref))


def best_of(found: Sequence[Trial]) -> int | None:
    """Which trial is the best: of those on the newest contents the most accurate, the first."""
    whole = [
        number
        for number, trial in enumerate(found)
        if all(accuracy is not None for accuracy, _ in trial) and len({d for _, d in trial}) == 1
    ]
    if not whole:
        return None
    newest = found[whole[-1]][0][1]
    means = {n: fmean(a or 0.0 for a, _ in found[n]) for n in whole if found[n][0][1] == newest}
    return next(n for n, mean in means.items() if mean == max(means.values()))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web.Page]:
    with web.served(tmp_path_factory.mktemp("groups") / "home") as found:
        yield found


@pytest.fixture(scope="module")
def rows(site: web.Page) -> Iterator[Database]:
    with contextlib.closing(site.zoo.database()) as found:
        yield found


def plain(text: str) -> str:
    """The text of a page, in one line."""
    return html.unescape(" ".join(re.sub("<[^>]*>", "", text).split()))


def every_way(
    site: web.Page, rows: Database, group: Group, capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    """What each surface says of a group."""
    handle = zoo.get_job(group.id)
    said = {"notebook": repr(handle), "table": plain(handle._repr_html_())}
    for name, show in (("show", show_group), ("wait", summary)):
        show(group)
        said[name] = capsys.readouterr().out
    whole = re.search('<p class="group".*?</p>', site.get(f"/?group={group.id}").text, re.S)
    assert whole
    said["page"] = plain(whole[0])
    made = report.render(contents.gather(rows, site.zoo.settings, Selection(group.jobs, "A")))
    row = re.search(f'<tr id="group-{group.id}">.*?</tr>', made, re.S)
    assert row
    said["report"] = plain(row[0])
    told = group.jobs[-1].to_json() | {"group_result": group.to_json()}
    said["notification"] = senders.summary_line(told)
    return said


@given(sweep=sweeps())
@examples(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_sweep_is_its_best_trial_wherever_it_is_shown(
    site: web.Page,
    rows: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    sweep: tuple[str, list[Trial]],
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(site.zoo.home))
    kind, found = sweep
    group, best = stored(rows, kind, found), best_of(found)
    handle = zoo.get_job(group.id)
    assert handle.metrics == group.to_json()["metrics"] == {}
    said = every_way(site, rows, group, capsys)
    if best is None:
        assert handle.best is None and group.to_json()["best"] is None
        wrong = {name: text for name, text in said.items() if "best" in text or "±" in text}
        assert not wrong
        with pytest.raises(UsageError, match="No trial of the sweep"):
            comparison.load_result(rows, group)
        return
    size = len(found[0])
    first = group.jobs[best * size]
    accuracies = [accuracy for accuracy, _ in found[best]]
    assert handle.best and handle.best.id == group.to_json()["best"]["job"] == first.id
    assert group.to_json()["best"]["accuracy"]["values"] == accuracies
    assert mapping.group_metrics(group.to_json()) == {"best_accuracy": fmean(accuracies)}
    trained = jobs.find_training(rows, group)
    assert kind != "job" or trained.id == first.id
    mean = f"{fmean(accuracies):.4f}"
    for surface, text in said.items():
        shown = mean if surface == "report" else f"accuracy {mean}"
        assert re.search(rf"best {shown}.*job {first.id[:8]}", text), (surface, text)
        # No deviation over trials: of one job for each there is none at all.
        assert size > 1 or "±" not in text, (surface, text)
    side = comparison.load_result(rows, group)
    assert [job.id for job in side.jobs] == [j.id for j in group.jobs[best * size :][:size]]
    assert f"best accuracy {mean}" in side.note and f"job {first.id[:8]}" in side.note


@pytest.mark.parametrize("kind", ["seeds", "cv"])
def test_a_mean_is_said_in_the_same_words_everywhere(
    site: web.Page,
    rows: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(site.zoo.home))
    group = stored(rows, kind, [[(0.5, "a"), (0.75, "a")]], kind)
    for surface, text in every_way(site, rows, group, capsys).items():
        shown = "0.6250 ± 0.1768"
        assert shown in text and "best" not in text, (surface, text)


@given(
    found=st.lists(st.sampled_from([0.5, 0.75]), min_size=2, max_size=5),
    kind=st.sampled_from(["sweep", "seeds", "cv", None]),
    is_newest_first=st.booleans(),
)
@examples(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_of_equal_results_that_submitted_first_is_the_best_everywhere(
    site: web.Page,
    rows: Database,
    monkeypatch: pytest.MonkeyPatch,
    found: list[float],
    kind: str | None,
    is_newest_first: bool,
) -> None:
    """`kind` is that of each result: a job of its own, a trial, or a group of two jobs."""
    monkeypatch.setenv("ZOO_HOME", str(site.zoo.home))
    with rows.write() as table:
        for name in ("history", "attempt", "job", "job_group"):
            table.run(f"DELETE FROM {name}")
    if kind == "sweep":
        members = stored(rows, "job", [[(each, "a")] for each in found]).jobs
        expected = members[found.index(max(found))].id
    elif kind is None:
        groups = [stored(rows, "job", [[(each, "a")]]).jobs[0] for each in found]
        members, expected = groups, groups[found.index(max(found))].id
    else:
        several = [stored(rows, kind, [[(each, "a")] * 2], kind) for each in found]
        members = [job for each in several for job in each.jobs]
        expected = several[found.index(max(found))].id
    (row,) = leaderboard_rows(rows)
    assert row.result.id == expected and bool(row.cv) == (kind == "cv")
    listed = members[::-1] if is_newest_first else members
    (tile,) = tiles.best_results(contents.gather(rows, site.zoo.settings, Selection(listed, "A")))
    assert tile.anchor.endswith(expected)
    if kind in ("sweep", None):
        assert jobs.find_reference(rows, "@best:digits").id == expected
