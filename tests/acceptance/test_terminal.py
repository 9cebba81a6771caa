"""What a terminal shows, whatever the rows hold and however wide it is: by the real commands."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import re
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from helpers import hostile_texts as hostile
from helpers import row_shapes
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, folds, succeed
from helpers.terminals import Terminal, command, shown
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from zoo import jobs
from zoo.cli import leaving
from zoo.cli.render import console, progress, progress_bars
from zoo.cli.render.screen import Screen
from zoo.errors import UsageError
from zoo.jobs import Database, Outcome, ProgressUpdate
from zoo.plugins import isolated_listing
from zoo.plugins.registry import Plugin
from zoo.storage import job_files
from zoo.terminal_text import LogReader, counted, escaped, log_lines

WIDTHS = (40, 60, 80, 100, 160)
STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def harmless(text: str) -> None:
    """See that nothing but newlines steers."""
    assert not {c for c in text if unicodedata.category(c) in STEERING} - {"\n"}


rows = st.fixed_dictionaries(
    {
        "scene": st.lists(row_shapes.members(), min_size=1, max_size=4),
        "workers": row_shapes.workers,
        "cards": st.lists(hostile.cards, max_size=2),
        "texts": st.lists(hostile.texts, min_size=9, max_size=9),
    }
)
"""Rows of every shape, and texts that are put into some of them."""


def fill(db: Database, told: dict[str, Any]) -> None:
    """Put these rows in place of all others."""
    row_shapes.clear(db)
    row_shapes.store(db, told["scene"], told["workers"])
    model, dataset, pool, worker, error, tag, log, name, version = told["texts"]
    changes = {
        "job": {"model": model, "dataset": dataset, "pool": pool, "worker": worker},
        "attempt": {"worker": worker, "error": error},
        "worker": {"name": name, "version": version, "models": json.dumps(told["cards"])},
        "log": {"text": log},
    }
    changes["job"] |= {"error": error, "tags": json.dumps([tag])}
    with db.write() as table:
        for which, values in changes.items():
            sets = ", ".join(f"{each} = :{each}" for each in values)
            # The others keep what they were made with.
            some = {"job": "WHERE seq % 2 = 0"}.get(which, "")
            table.run(f"UPDATE {which} SET {sets} {some}", values)


def listings(db: Database) -> Iterator[tuple[str, ...]]:
    """The commands that print tables, of all that is there."""
    found = jobs.listing(db)
    yield ("jobs",)
    yield ("jobs", "--columns", "id,accuracy,model,dataset,worker,tags,error,params,loss")
    yield ("jobs", "--columns", "params.rate,params.a_long_name_of_a_param,params.epochs,id")
    yield ("leaderboard",)
    yield ("leaderboard", "--group-by", "params.rate")
    yield ("models", "list")
    yield ("pool", "list")
    yield ("worker", "list", "--all")
    yield ("data",)
    yield ("watch", "--once")
    for job in found[:2]:
        yield ("show", job.id)
    for group in {job.group for job in found if job.group}:
        yield ("show", group)
    done = [job.id for job in found if job.status == "succeeded"]
    if len(done) > 1:
        yield ("compare", *done[:3])


@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink a row takes minutes
)
@given(told=rows)
def test_no_listing_wraps_cuts_a_number_or_steers(here: Database, told: dict[str, Any]) -> None:
    """Some 500 cases: 10 databases, 10 to 15 commands each, 4 widths."""
    fill(here, told)
    ids = {job.id: job for job in jobs.listing(here)}
    for words in listings(here):
        run = command(*words)
        for width in WIDTHS[1:]:
            out, err = shown(run, width=width)
            harmless(out + err)
            assert not re.search(r"[0-9]…|…[0-9]", out), words
            prose = how_many_lines_of_prose(out) if words[0] == "show" else 0
            for number, line in enumerate(out.splitlines()):
                is_prose = number < prose and has_long_word(line, width)
                assert cell_len(line) <= width or is_prose, line
            if words == ("jobs",):
                the_jobs_are_whole(out, err, ids)


def how_many_lines_of_prose(out: str) -> int:
    """Those before the tables, in which a long word stays whole, to be copied."""
    is_table = re.compile(r"$|job |trial ")
    return next((n for n, each in enumerate(out.splitlines()) if is_table.match(each)), 10**6)


def has_long_word(line: str, width: int) -> bool:
    return any(cell_len(word) > width - 20 for word in line.split(" "))


def the_jobs_are_whole(out: str, err: str, ids: dict[str, jobs.Job]) -> None:
    head, *lines = out.splitlines()
    assert len(lines) == len(ids)
    left_out = re.search(r"Left out for width: (.*?);", err.replace("\n", " "))
    names = [*head.split(), *(left_out[1].split(", ") if left_out else [])]
    usual = {"id", "kind", "model", "dataset", "status", "accuracy", "age", "took", "params"}
    assert usual <= set(names) <= {*usual, "progress", "name", "user"}
    for line in lines:
        job = next(job for job in ids.values() if job.id.startswith(line.split()[0]))
        assert line.split()[0] == job.id[:8]
        if job.accuracy is not None and "accuracy" in head.split():
            digits = ".4f" if abs(job.accuracy) < 1e12 else ".3e"  # no column grows beyond
            digits = ".1e" if 0 < abs(job.accuracy) < 5e-5 else digits  # else it would be 0.0000
            assert f" {job.accuracy:{digits}}" in line


JSON = (
    "jobs",
    "leaderboard",
    "models list",
    "worker list --all",
    "pool list",
    "data",
    "show",
)


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(told=rows)
def test_json_is_whole_and_neither_it_nor_csv_steers(here: Database, told: dict[str, Any]) -> None:
    """64 cases: 8 databases, 7 commands with --json each, and one with --csv."""
    fill(here, told)
    found = {job.id: job for job in jobs.listing(here)}
    for words in JSON:
        if words == "show" and not found:  # every group has lost its jobs
            continue
        named = [*found][:1] if words == "show" else []
        out, _ = shown(command(*words.split(), *named, "--json"), is_terminal=False)
        harmless(out)
        read = json.loads(out)
        if words == "jobs":
            assert {job["id"]: (job["model"], job["tags"], job["dataset"]) for job in read} == {
                job.id: (job.model, job.tags, job.dataset) for job in found.values()
            }
    names = ["id", "model", "error", "params", "params.rate", "accuracy", "priority"]
    out, _ = shown(command("jobs", "--csv", "--columns", ",".join(names)))
    harmless(out.replace("\t", ""))
    for row in csv.DictReader(io.StringIO(out)):
        job = found[row["id"]]
        assert float(row["priority"]) == job.priority
        if isinstance(rate := job.spec["params"].get("rate"), int | float) and rate is not True:
            assert rate is False or float(row["params.rate"]) == rate
        for name in ("model", "error", "params.rate"):
            assert not row[name].startswith(console.FORMULA) or is_a_number(row[name])


def is_a_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return float(text) is not None
    return False


@given(st.text(st.characters()) | hostile.texts)
@example("\x7f\x9b\u202e\u2028\u2066\U000e0041\ufeff\x1b")
def test_json_says_the_same_with_what_steers_as_escapes(text: str) -> None:
    text = text.encode(errors="replace").decode()
    document = escaped(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    harmless(document)
    assert json.loads(document) == {text: [text]}


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-1, "-1"),
        (-0.5, "-0.5"),
        ("-1", "-1"),
        ("+1e5", "+1e5"),
        ("=1+1", "'=1+1"),
        ("-x", "'-x"),
        ("+x", "'+x"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("\r=x", "'=x"),
        ("\u202e=x", "'=x"),
        ("plain = x", "plain = x"),
        (None, ""),
    ],
)
def test_a_cell_that_a_spreadsheet_would_compute_is_quoted(
    capsys: pytest.CaptureFixture[str], value: Any, cell: str
) -> None:
    console.csv_out(["a", "b"], [[value, "x"]])
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[1] == [cell, "x"]


def test_whoever_writes_writes_what_is_safe(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typer, a plugin's command, a traceback: each of them has `sys.stdout` and `sys.stderr`."""
    out, err = Terminal(True), Terminal(True)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    console.guard()
    evil = "".join(hostile.CONTROLS)
    print(evil, "out")
    sys.stdout.writelines([evil, "\n"])
    typer.echo(evil)
    typer.echo(evil, err=True)
    sys.stderr.write(f"{evil} err\n")
    with console.unguarded():
        print("a bar\r", end="")
    assert "out" in out.text() and "err" in err.text() and out.text().endswith("a bar\r")
    harmless((out.text().removesuffix("a bar\r") + err.text()).replace("\t", ""))


def test_what_rich_draws_is_safe_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Group
    from rich.progress import Progress
    from rich.text import Text

    for text in (*hostile.CONTROLS, "".join(hostile.CONTROLS)):
        screen = Screen(file=Terminal(True), force_terminal=True, color_system=None, width=60)
        screen.print(text, Text(f"a{text}b"), Group(text, Text(text)))
        with Progress(console=screen, auto_refresh=False, disable=True) as bars:
            bars.add_task(text)
        screen.print(bars)
        harmless(screen.file.text().replace("\t", ""))  # type: ignore[attr-defined]


def test_a_file_for_a_terminal_is_safe_text_or_refused(home: Path) -> None:
    from zoo.errors import UsageError

    for content, is_terminal, seen in (
        (b"\x1b[31mred\r\n\xff", False, b"\x1b[31mred\r\n\xff"),
        ("\x1b[31mréd\n".encode(), True, "réd\n".encode()),
        (b"\x00\x01", True, None),
        (b"\xff\xfe", True, None),
    ):
        out = Terminal(is_terminal)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            if seen is None:
                with pytest.raises(UsageError, match="is not a text file"):
                    console.data_out(content, "weights.npz")
            else:
                console.data_out(content, "weights.npz")
                assert out.buffer.getvalue() == seen  # type: ignore[attr-defined]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(st.tuples(hostile.names, st.lists(hostile.names, max_size=4)), max_size=4))
def test_the_list_of_plugins_fits_whatever_they_say(home: Path, found: Any) -> None:
    """60 cases: 15 lists, 4 widths."""
    plugins = [Plugin(name, name, name, name, each, each, each) for name, each in found]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolated_listing, "listing", lambda: plugins)
        run = command("plugins")
        for width in WIDTHS:
            out, err = shown(run, width=width)
            harmless(out + err)
            assert len(out.splitlines()) == len(plugins) + 1
            assert all(cell_len(line) <= width for line in out.splitlines())


# --- a log as a terminal would show it ---

BAR = "".join(f"\r{n:3}%|{'#' * (n // 10):<10}| {n}/100" for n in range(101))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\r\nb\n", ["a", "b"]),
        (f"{BAR}\ndone\n", ["100%|##########| 100/100", "done"]),
        ("a long line\rshort\n", ["shortg line"]),
        ("a long line\r\x1b[Kshort\n", ["short"]),
        ("a long line\x1b[2K\rshort\n", ["short"]),
        ("abc\b\bX\n", ["aXc"]),
        ("\x1b[32mok\x1b[0m \x1b[1;4mx\n", ["ok x"]),
        ("10%\x1b[A\r20%\n", ["20%"]),
        ("no end", ["no end"]),
        ("kept  \n", ["kept  "]),
        ("", []),
    ],
)
def test_a_log_is_read_as_a_terminal_would_show_it(text: str, lines: list[str]) -> None:
    assert log_lines(text) == lines


@given(hostile.texts | st.text(st.sampled_from("ab\r\n\b\x1b[0K2;m]\x07"), max_size=30), st.data())
def test_a_log_says_the_same_in_whatever_pieces_it_comes(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    reader = LogReader()
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    lines = [line for piece in pieces for line in reader.feed(piece)]
    lines += [reader.rest] if reader.rest else []
    assert lines == log_lines(text)
    harmless("".join(lines).replace("\t", ""))


def running(db: Database, **spec: Any) -> jobs.Claim:
    jobs.add(db, [a_spec(**spec)])
    models = {spec.get("model", "m"): "p 1"}
    taken = jobs.claim(
        db, pool="default", models=models, datasets=["digits"], worker="w", lease=600
    )
    assert taken is not None
    return taken[0]


def test_a_log_is_followed_line_by_line_with_the_steps_that_are_reported(zoo: Zoo) -> None:
    db = zoo.database()
    held = running(db)
    told = {"phase": "fit", "since": time.time(), "step": 1, "total": 3, "unit": "epoch"}
    told |= {"metrics": {"loss": 0.5}}
    half = "\rfit  50%|#####     |"
    jobs.beat(
        db, held, update=ProgressUpdate(told, None, ((1, {"loss": 0.5}),), ((0, half),)), lease=600
    )
    follower = zoo.start("logs", "-f", held.job)
    assert follower.stderr is not None and follower.stdout is not None
    assert follower.stderr.readline() == "epoch 1/3 loss 0.5000\n"
    told |= {"step": 2}
    rest = "\rfit 100%|##########|\x1b[0m\n\x1b[32mdone\x1b[0m"
    jobs.beat(
        db,
        held,
        update=ProgressUpdate(told, None, ((2, {"loss": 0.25}),), ((99, rest),)),
        lease=600,
    )
    assert follower.stderr.readline() == "epoch 2/3 loss 0.2500\n"
    assert follower.stdout.readline() == "fit 100%|##########|\n"
    jobs.finish(db, held, Outcome("failed", error="e", error_code="c"), ProgressUpdate())
    assert follower.stdout.read() == "done\n"
    assert zoo.run("logs", held.job).stdout == "fit 100%|##########|\ndone\n"


def test_files_that_plugins_are_about_to_leave_are_waited_for(zoo: Zoo, tmp_path: Path) -> None:
    db = zoo.database()
    job = succeed(db, [a_spec()], artifacts_url=zoo.settings.artifacts, with_hooks=True)
    listed = zoo.run("files", job)
    assert (
        "Incomplete: plugins are still making" in listed.stderr
        and "predictions.npz" in listed.stdout
    )
    waiting = zoo.start("files", job, "extra/report")
    assert waiting.stderr is not None and "Waiting: plugins" in waiting.stderr.readline()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "curves.png").write_bytes(b"png")
    job_files.keep(zoo.settings, job, tmp_path / "report")
    assert waiting.communicate(timeout=60)[0].split() == ["bytes", "name", "3", *CURVES]
    jobs.complete_hooks(db, [job])
    assert "Incomplete: plugins are still making" not in zoo.run("files", job).stderr
    assert "extra/none" in zoo.run("files", job, "extra/none", code=2).stderr


@pytest.fixture
def bar_job(here: Database) -> jobs.Job:
    return jobs.get(here, running(here).job)


CURVES = ["extra/report/curves.png"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(hostile.texts, st.integers(0, 1500), st.floats(-1e9, 1e9)), min_size=1),
    st.sampled_from(WIDTHS),
)
def test_a_bar_fits_with_whole_numbers(bar_job: jobs.Job, found: Any, width: int) -> None:
    from rich.progress import SpinnerColumn

    told = {"phase": "fit", "since": 0, "total": 1500, "unit": "epoch"}
    shown = []
    for model, step, loss in found:
        metrics = {"loss": loss, "accuracy": 0.9123}
        step_now = told | {"step": step, "metrics": metrics}
        shown.append(dataclasses.replace(bar_job, model=model, stored_progress=step_now))
    screen = Screen(file=Terminal(True), force_terminal=True, color_system=None, width=width)
    drawn = progress_bars.progress(screen)
    assert isinstance(drawn.columns[0], SpinnerColumn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "out", screen)
        outlooks = {bar_job.id: jobs.Estimate("fit", 0.5, left=12345.0)}
        for fields in progress.fitting_fields(shown, outlooks, width):
            drawn.add_task(**fields, start=False)
    screen.print(drawn)
    lines = screen.file.text().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == len(found)
    for line, (_, step, _) in zip(lines, found, strict=True):
        harmless(line)
        assert cell_len(line) <= width and not re.search(r"[0-9]…|…[0-9]", line)
        assert bar_job.id[:8] in line and "3 h left" in line and f"{step}/1500" in line


@pytest.mark.parametrize(("width", "name"), [(40, "0/15"), (60, "dense-softmax"), (80, "fold 2/5")])
def test_bars_keep_id_model_and_step_on_a_narrow_terminal(
    bar_job: jobs.Job, width: int, name: str
) -> None:
    told = {"phase": "fit", "since": 0, "total": 15, "unit": "epoch", "step": 10}
    spec = dict(bar_job.spec) | {"fold": {"k": 5, "index": 1}}
    job = dataclasses.replace(bar_job, model="dense-softmax", spec=spec, stored_progress=told)
    outlooks = {job.id: jobs.Estimate("fit", 0.5, left=700.0)}
    (fields,) = progress.fitting_fields([job], outlooks, width)
    line = f"{fields['description']} {fields['count']} {fields['left']}"
    assert line.startswith(f"{job.id[:8]} den") and "10/15" in line and name in line
    assert cell_len(line) <= width - progress_bars.SPINNER


@pytest.mark.parametrize("width", (40, 60, 80))
def test_commands_to_type_next_are_never_wrapped(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    ref = "0123456789abcdef"
    for run in (lambda: leaving.detached(ref), lambda: console.commands([("x" * 20, "y" * 30)])):
        _, err = shown(run, width=width)
        assert max(map(len, err.splitlines())) <= width
    assert "zoo wait 01234567" in shown(lambda: leaving.detached(ref), width=width)[1]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_leaderboard_keeps_the_id_that_the_next_command_needs(
    here: Database, width: int
) -> None:
    succeed(here, folds(2), kind="cv", accuracies=(0.91, 0.93))
    seeds = succeed(here, [a_spec(seed=n) for n in range(2)], kind="seeds", accuracies=(0.9, 0.8))
    found, left_out = shown(command("leaderboard"), width=width)
    assert seeds[:8] in found and "0.8500 ± 0.0707 (n = 2)" in found
    assert width > 100 or "parameters" in left_out
    assert " job" not in left_out


def test_each_frame_of_a_bar_takes_the_place_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> None:
        monkeypatch.setenv("TERM", "xterm-256color")  # a dumb one has no cursor to move
        with progress_bars.progress(console.err) as live:
            live.add_task("evil \x1b[2J", count="epoch 1/2", left="", total=2)
            for _ in range(3):
                live.refresh()

    _, err = shown(run)
    assert err.count("epoch 1/2") >= 3
    assert err.count("\r\x1b[2K") >= err.count("epoch 1/2") - 1 and "\x1b[2J" not in err


def test_a_metric_has_four_decimals_and_a_noun_its_number(here: Database) -> None:
    cv = succeed(here, folds(2), kind="cv", accuracies=(0.951389, 0.972222))
    found, _ = shown(command("show", cv))
    assert "0.9514" in found and "0.95138" not in found and "cv of 2 jobs" in found
    lone = succeed(here, [a_spec()], kind="seeds", accuracies=(0.9,))
    sweep = succeed(here, [a_spec(params={"a": 1})], kind="sweep", accuracies=(0.9,))
    assert "seeds of 1 job," in shown(command("show", lone))[0]
    assert ": 1 trial, 1 succeeded" in shown(command("show", sweep))[0]
    nouns = {"job": "jobs", "class": "classes", "entry": "entries", "day": "days", "box": "boxes"}
    for noun, many in nouns.items():
        assert [counted(n, noun) for n in (0, 1, 2000)] == [
            f"0 {many}",
            f"1 {noun}",
            f"2,000 {many}",
        ]


def test_a_group_without_weights_names_the_commands_that_work(here: Database) -> None:
    params = {"params": {"rate": 0.5}, "changed": ["rate"], "keep_weights": False}
    made = [spec.model_copy(update=params) for spec in folds(3)]
    cv = succeed(here, made, kind="cv", accuracies=(0.5, 0.75, 0.25))
    for words in (
        *(("evaluate", cv), ("predict", cv, "--index", "1"), ("export", cv, "-o", "x.npz")),
        ("evaluate", "@best:digits"),
    ):
        with pytest.raises(UsageError, match=r"kept no weights|but folds of a cross") as refused:
            shown(command(*words))
        assert "zoo train m -p rate=0.5 --dataset digits`" in refused.value.hint
        assert "--cv 3 --keep-weights`" in refused.value.hint


@pytest.mark.parametrize("leave", [leaving.planning, leaving.submitting])
def test_ctrl_c_before_a_job_is_submitted_says_that_none_is(leave: Any) -> None:
    def run() -> None:
        with pytest.raises(typer.Exit) as left, leave():
            raise KeyboardInterrupt
        assert left.value.exit_code == 130

    assert "Nothing was submitted." in shown(run)[1]
