"""Whatever the rows hold, commands, cards and notebooks tell of results: generated, not listed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import finished_jobs as results
from helpers import row_shapes
from helpers.row_shapes import Member, Row
from helpers.terminals import command, shown
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zoo import jobs
from zoo import settings as chosen_settings
from zoo.cli.render import progress
from zoo.data.preprocessing import Fitted
from zoo.errors import UsageError
from zoo.inference import model_card
from zoo.inference.export import Exported
from zoo.inference.predictor import LoadedModel
from zoo.jobs import Database, Group, Job
from zoo.jobs.environments import Environment
from zoo.notebook import frames, html, waiting
from zoo.results import comparison, reproducibility
from zoo.results.comparison import ComparedResult
from zoo.training import provenance
from zoo.training.run import Recipe

generated = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink a row takes minutes
)


def every(db: Database, stored: row_shapes.Stored) -> list[Job | Group]:
    """The jobs and groups that were stored."""
    return [
        *(jobs.get(db, each) for each in stored.jobs),
        *(jobs.get_group(db, each) for each in stored.groups),
    ]


# --- results against each other ---


@st.composite
def comparable(draw: Any) -> tuple[list[Member], list[list[int]]]:
    """Two results of one kind on the same contents, and what each of their jobs has predicted."""
    kind = draw(st.sampled_from([None, "cv", "seeds"]))
    size = draw(st.integers(2, 3)) if kind else 1
    found = []
    names = draw(st.lists(row_shapes.texts, min_size=2, max_size=3, unique=True))
    for _ in range(2):
        rows = []
        for n in range(size):
            fold = {"k": size, "index": n} if kind == "cv" else None
            row: Row = draw(row_shapes.rows("digits", "m", fold, ["succeeded"]))
            spec = row.spec | {"kind": "train", "source": None, "split": "test", "seed": n}
            told = {"classes": names, "accuracy": draw(row_shapes.numbers | row_shapes.shares)}
            told = row.metrics | (told if draw(st.integers(0, 4)) else {})
            made = {"spec": spec, "metrics": told, "contents": "d" * 64}
            rows.append(dataclasses.replace(row, **made))
        found.append(Member(kind, rows))
    said = st.lists(st.integers(0, len(names)), min_size=4, max_size=4)
    return found, draw(st.lists(said, min_size=2 * size, max_size=2 * size))


@generated
@given(drawn=comparable())
def test_any_two_results_are_compared_or_refused_in_a_sentence(
    here: Database, tmp_path: Path, drawn: tuple[list[Member], list[list[int]]]
) -> None:
    scene, said = drawn
    row_shapes.clear(here)
    stored = row_shapes.store(here, scene)
    chosen = chosen_settings.load()
    for id, predicted in zip(stored.jobs, said, strict=True):
        held: Any = SimpleNamespace(job=id)
        where, sha256 = results.store(chosen.artifacts, held, predicted, [0, 1, 0, 1])
        with here.write() as table:
            sets = "UPDATE job SET artifact = :where, artifact_sha256 = :sha256 WHERE id = :id"
            table.run(sets, {"where": where, "sha256": sha256, "id": id})
    refs = stored.groups or stored.jobs
    one, two = (comparison.load_result(here, jobs.find_reference(here, ref)) for ref in refs)
    for pair in ((one, two), (one, one)):
        see_a_meeting(chosen, *pair)
    shown(command("compare", *refs))
    out, _ = shown(command("compare", *refs, "--json"), is_terminal=False)
    json.loads(out)
    around = [provenance.environment_of(here, jobs.get(here, id)) for id in stored.jobs[:2]]
    then, now = (around[0] or Environment(), around[-1] or Environment())
    assert all(reproducibility.environment_differences(then, now))


def see_a_meeting(
    chosen: chosen_settings.Settings, one: ComparedResult, two: ComparedResult
) -> None:
    found = comparison.compare_pair(chosen, one, two)
    assert found.test or found.notes
    comparison.compared_metrics([one, two])
    comparison.differences([one, two])
    json.dumps(found.to_json())


# --- each by itself ---


def a_card(job: Job, around: Environment | None) -> str:
    model: Any = SimpleNamespace(
        class_names=["0", "1"], layout="flat", dtype="float64", n_features=784
    )
    recipe = Recipe(
        model=job.model,
        params={},
        class_names=["0"],
        seed=0,
        dataset="digits",
        fingerprint="f",
        versions={},
    )
    done = Exported(Path("m.npz"), "npz", 1, "0" * 64, 1, None)
    trained = LoadedModel(model, recipe, Fitted(), job)
    return model_card.card_text(trained, done, around or Environment(), "mit")


@generated
@given(scene=st.lists(row_shapes.members(), min_size=1, max_size=3))
def test_every_shape_of_result_is_told_by_commands_cards_and_notebooks(
    here: Database, capsys: pytest.CaptureFixture[str], scene: list[Member]
) -> None:
    row_shapes.clear(here)
    found = every(here, row_shapes.store(here, scene))
    for each in found:
        assert html.summary(each).startswith("<")
        html.table(each)
        shown(command("show", each.id))
        out, _ = shown(command("show", each.id, "--json"), is_terminal=False)
        json.loads(out)
        progress.summary(each)
        try:
            comparison.load_result(here, each)
        except UsageError:
            is_sweep = isinstance(each, Group) and each.kind == "sweep"
            statuses = {job.status for job in jobs.members(each)}
            assert statuses != {"succeeded"} or (is_sweep and each.best() is None)
    singles = [each for each in found if isinstance(each, Job)]
    for job in singles:
        outlook = jobs.estimate_job(here, job)
        html.table(job, outlook)
        waiting.one(job, outlook)
        a_card(job, provenance.environment_of(here, job))
        frames.steps_frame(jobs.timed_steps(here, job.id))
    known = {job.id: each for job in singles if (each := jobs.estimate_job(here, job))}
    for job in singles:
        progress.fitting_fields([job], known, 80)
    assert len(frames.jobs_frame(singles)) == len(singles)
    capsys.readouterr()
