"""What `--json` prints has the schema that `zoo schema` prints: rows of every kind, in-process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import row_shapes
from helpers.carried_jobs import a_spec, fill
from helpers.json_checks import check
from helpers.row_shapes import Member
from helpers.swept_jobs import pruned_sweep
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zoo import jobs
from zoo.cli import json_schemas, lazy_group, main
from zoo.jobs import Database, QueueOptions
from zoo.jobs.cards import Card
from zoo.jobs.iso_times import iso_time

KEYS = Path(__file__).parents[1] / "data" / "json_keys.json"
"""The keys that version 1 of each schema promises; some may be null or, if optional, missing."""
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Not the search for a smaller example: it would store thousands of rows."""


@pytest.fixture
def filled(here: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Jobs and groups of every kind and status, a worker with a GPU, and a paused pool."""
    monkeypatch.setenv("ZOO_BROKER_URL", "redis://127.0.0.1:1/0")  # no worker is started
    fill(here, str(home / "artifacts"), 11)
    done = jobs.listing(here, statuses=["succeeded"], sort="created_at")[0]
    source = {"job": done.id, "artifact": done.artifact, "sha256": done.artifact_sha256}
    evaluation = a_spec(kind="evaluate", source=source, keep_weights=False)
    published = {"table": "t", "row": "r", "error": 2.5}
    jobs.add(here, [evaluation, a_spec(published=published, validation=0.1, device="gpu")])
    jobs.add(
        here, [a_spec(seed=n) for n in (1, 2)], QueueOptions(max_parallel=1), group_kind="seeds"
    )
    pruned_sweep(here, "shape", ["a", "b"])
    ids = jobs.add(here, [a_spec(), a_spec()], QueueOptions(name="mine", tags=["x"]))[0]
    jobs.cancel(here, ids[0])
    jobs.add(here, [a_spec(seed=3)], QueueOptions(after=[ids[1]]))
    taken = jobs.claim(
        here, pool="default", models={"logistic": "p"}, datasets=["digits"], worker="w", lease=60
    )
    assert taken is not None
    card = Card("logistic", "zoo-sklearn 1", takes=("image",), schema={"properties": {}})
    me = jobs.NewWorker("1" * 32, "w", "host", 1, "default", 2, "0.1", [card], 10.0)
    jobs.register_worker(here, me)
    jobs.pause(here, "night")
    yield here


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Run a command with --json and read what it prints."""
    capsys.readouterr()
    assert main.run([*words, "--json"]) in (0, 1), capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_every_listing_has_its_schema(filled: Database, capsys: pytest.CaptureFixture[str]) -> None:
    listed = printed(capsys, "jobs", "--limit", "100")
    check("job", *listed)
    found = {each["status"] for each in listed}
    assert found >= {"queued", "running", "succeeded", "failed", "cancelled", "pruned"}
    assert {each["kind"] for each in listed} == {"train", "evaluate"}
    one_of_each = {each["status"]: each["id"] for each in listed}.values()
    check("job", *(printed(capsys, "show", each) for each in one_of_each))
    groups = {each["group"] for each in listed if each["group"]}
    shown = [printed(capsys, "show", each) for each in groups]
    check("group", *shown)
    assert {each["kind"] for each in shown} == {"cv", "seeds", "sweep"}
    check("leaderboard", *printed(capsys, "leaderboard"))
    done = [each["id"] for each in listed if each["status"] == "succeeded"]
    check("comparison", printed(capsys, "compare", *done[:3]))
    check("file", *printed(capsys, "files", done[-1]))
    check("worker", *printed(capsys, "worker", "list"))
    check("pool", *printed(capsys, "pool", "list"))
    check("model", *printed(capsys, "models"), printed(capsys, "models", "show", "logistic"))
    check("dataset", *printed(capsys, "data", "list"))
    only = printed(capsys, "jobs", "--columns", "id,created_at,finished_at")
    assert [*only[0]] == ["id", "created_at", "created_at_iso", "finished_at", "finished_at_iso"]


def test_what_commands_do_has_its_schema(
    filled: Database, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = [each.id for each in jobs.listing(filled, statuses=["succeeded"], limit=3)]
    running = jobs.listing(filled, statuses=["running"])[0].id
    archive = str(tmp_path / "jobs.zip")
    check("pack", printed(capsys, "pack", archive, *done, running))
    check("unpack", printed(capsys, "unpack", archive, "--dry-run"))
    check("backup", printed(capsys, "backup", str(tmp_path / "backup")))
    would = printed(capsys, "rm", "--status", "succeeded", "--dry-run")
    assert {*done} <= {*would["removed"]} and jobs.get_many(filled, done)
    check("removal", would, printed(capsys, "rm", done[0], "--yes"))
    assert "No job" in main_error(capsys, "show", done[0])
    check("sweep-estimate", printed(capsys, "sweep", "logistic", "-p", "alpha=1,2", "--dry-run"))
    check("published-row", *printed(capsys, "reproduce", "--dry-run"))
    check("prepared-data", *printed(capsys, "data", "prepare", "digits"))
    table = tmp_path / "t.csv"
    table.write_text("size,colour,kind\n" + "1,red,a\n2,blue,b\n" * 10)
    added = printed(capsys, "data", "add", "t", str(table), "--target", "kind", "--test", "0.3")
    check("dataset-version", added)
    check("dataset-split", *(printed(capsys, "data", "show", each) for each in ("digits", "t")))


def main_error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that is refused and return what it says."""
    capsys.readouterr()
    assert main.run([*words]) == 2
    return capsys.readouterr().err


def test_every_command_with_json_has_a_schema() -> None:
    """And every schema a command; plugins describe the output of their own commands."""
    root = lazy_group.root(main.app)
    lazy_group.load_all(root.app)
    context = root.context_class(root, info_name="zoo")
    paths, with_json = set(), set()
    names = root.list_commands(context)
    todo = [(each, root.resolve_command(context, [each])[1]) for each in names]
    for path, command in todo:
        todo += [(f"{path} {n}", each) for n, each in getattr(command, "commands", {}).items()]
        paths.add(path)
        is_own = getattr(command.callback, "__module__", "").startswith("zoo.")
        if is_own and any("--json" in each.opts for each in command.params):
            with_json.add(path)
    described = {each for schema in json_schemas.SCHEMAS.values() for each in schema.commands}
    assert len(with_json) > 25 and with_json <= described
    assert {each.partition(" --")[0] for each in described} <= paths


@given(
    scene=st.lists(row_shapes.members(), max_size=3),
    seconds=st.floats() | st.integers() | row_shapes.anything,
)
@settings(max_examples=12, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
def test_whatever_the_rows_hold_jobs_have_their_schema(
    here: Database, scene: Sequence[Member], seconds: Any
) -> None:
    row_shapes.clear(here)
    stored = row_shapes.store(here, scene)
    check("job", *(json.loads(json.dumps(jobs.get(here, each).to_json())) for each in stored.jobs))
    check("group", *(jobs.get_group(here, each).to_json() for each in stored.groups))
    assert iso_time(seconds) is None or str(iso_time(seconds)).endswith("Z")


@pytest.mark.parametrize("name", json_schemas.SCHEMAS)
def test_no_key_of_a_version_is_taken_back(name: str) -> None:
    """A key may be added; to remove one, or to leave it out at times, raises the version."""
    promised = json.loads(KEYS.read_text())[str(json_schemas.VERSION)][name]
    found = json_schemas.json_schema(name)
    for part, keys in promised.items():
        schema = found if part == "" else found["$defs"][part]
        assert {*keys["always"], *keys["optional"]} <= schema["properties"].keys(), part
        assert {*keys["always"]} <= {*schema.get("required", ())}, part


def test_an_unknown_schema_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["schema", "jobs"]) == 2
    assert "Did you mean 'job'?" in capsys.readouterr().err
    assert main.run(["schema"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        *json_schemas.SCHEMAS
    ]
