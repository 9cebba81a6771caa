"""What the terminal shows: nothing that steers it, and nothing cut in a pipe."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import unicodedata
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from zoo.cli.render import console, fitting, progress
from zoo.cli.render.log import LogPrinter
from zoo.jobs.records import Progress


@given(st.text(st.characters()))
@example("\x1b[2J\x1b]0;title\x07 \x9b31m \u202eabc\u2066 \u200b \u2028 \ud800")
def test_what_could_steer_a_terminal_is_taken_out_and_the_rest_stays(text: str) -> None:
    shown = console.safe(text)
    shown.encode()  # half a character could not be printed
    kept = [c for c in shown if c not in "\n\t"]
    assert not {unicodedata.category(c) for c in kept} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert console.safe(shown) == shown


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "한국어", "naïve ± 0.1", "🙂"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert console.safe(text) == text


def test_a_control_sequence_is_removed_as_a_whole() -> None:
    assert console.safe("\x1b[31mred\x1b[0m \x9b2Jx \x1b]0;title\x07y \x1b(Bz") == "red x y z"
    assert console.safe("\x1b]0;without an end") == "0;without an end"
    assert console.safe("user\u202egpj.exe") == "usergpj.exe"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (3.6, "4 s"),
        (89, "89 s"),
        (90, "2 min"),
        (59 * 60, "59 min"),
        (3600, "1 h"),
        (86399, "24 h"),
        (86400, "1 d"),
        (40 * 86400, "40 d"),
    ],
)
def test_a_span_of_time_is_short(seconds: float, text: str) -> None:
    assert console.ago(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.90111, "0.9011"), (1.0, "1.0000"), (7850, "7850"), ("text", "text")],
)
def test_a_number_is_rounded_a_count_is_not(value: Any, text: str) -> None:
    assert console.number(value) == text


def test_a_number_takes_other_digits() -> None:
    assert console.number(9.876, 1) == "9.9"


def test_params_are_shown_as_they_are_typed() -> None:
    values = {"epochs": 5, "rate": None, "shuffle": True, "loss": "log", "layers": [10]}
    assert console.params(values) == "epochs=5 rate=null shuffle=true loss=log layers=[10]"


def in_a_pipe(code: str) -> str:
    """What a fresh interpreter writes to a pipe; one whose stdout forgives nothing."""
    env = {"COLUMNS": "40", "PYTHONIOENCODING": "utf-8:strict", "PATH": ""}
    command = [sys.executable, "-c", "from zoo.cli.render import console as output\n" + code]
    return subprocess.run(
        command, env=env, capture_output=True, check=True, timeout=60
    ).stdout.decode()


def test_a_table_in_a_pipe_is_not_cut_wrapped_or_coloured() -> None:
    long = "x" * 300
    shown = in_a_pipe(f"output.table(['a', 'b'], [['{long}', '{long}'], ['1', 'two words']])")
    lines = shown.splitlines()
    assert [line.split() for line in lines if "x" in line] == [[long, long]]
    assert "\x1b" not in shown and "…" not in shown
    assert all(line == line.rstrip() for line in lines)


def on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int, *args: Any, **named: Any
) -> list[str]:
    """The lines that a terminal of that width is given for a table, without colours."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(console, "out", screen)
    console.table(*args, **named)
    return [line.rstrip() for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_narrow_terminal_gets_no_optional_column_and_a_shortened_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns, row = ["name", "n", "what it is"], ["logistic", 7, "one two three four"]
    shown = on_a_terminal(monkeypatch, 24, columns, [row], right=["n"], optional=["n"])
    assert shown == [
        "name      what it is",
        "logistic  one two …",
    ]
    whole = on_a_terminal(monkeypatch, 80, columns, [row], right=["n"], optional=["n"])
    assert whole[1] == "logistic  7  one two three four"


def test_columns_stand_below_each_other_also_with_hangul(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["숫자", "x"], ["digits", Text("y", "green")]]
    lines = on_a_terminal(monkeypatch, 80, ["dataset", "m"], rows)
    places = [cell_len(line[: line.index(c)]) for line, c in zip(lines, "mxy", strict=True)]
    assert places == [9, 9, 9]


def test_a_cell_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in in_a_pipe(r"output.table(['a'], [['\x1b[2Jx']])")


def test_square_brackets_in_a_cell_are_no_markup() -> None:
    assert "[red]x" in in_a_pipe("output.table(['a'], [['[red]x']])")


def test_json_is_one_document_as_wide_as_it_is() -> None:
    value = {"text": "[red]" + "한" * 500, "n": 1.5}
    assert json.loads(in_a_pipe(f"output.json_out({value!r})")) == value


def test_json_with_half_a_character_is_still_json() -> None:
    assert json.loads(in_a_pipe(r"output.json_out({'tag': 'a\udcff'})")) == {"tag": "a?"}


def test_ctrl_c_while_something_is_drawn_first_leaves_no_spinner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")  # a dumb one has no cursor to hide
    screen = Console(file=text, force_terminal=True, width=80)
    monkeypatch.setattr(console, "err", screen)
    monkeypatch.setattr(threading.Thread, "start", Mock(side_effect=KeyboardInterrupt))
    settings = Mock()
    for follow in (progress.follow_together, progress.follow):
        monkeypatch.setattr(progress, "QUIET_AFTER", -1)
        monkeypatch.setattr(progress, "JobWait", Mock(return_value=Mock(poll=lambda *_, **__: [1])))
        with pytest.raises(KeyboardInterrupt):
            follow(Mock(), settings, [])
    with pytest.raises(KeyboardInterrupt), console.live(screen.status("Looking ...")):
        pass
    hidden, shown = (text.getvalue().count(f"\x1b[?25{each}") for each in "lh")
    assert hidden == shown == 3


def test_an_error_is_a_sentence_and_a_hint_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    command = "output.error('No \\x1b[1mmodel.', 'Try [one].')"
    done = subprocess.run(
        [sys.executable, "-c", f"from zoo.cli.render import console as output; {command}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == ""
    assert done.stderr == "error: No model.\n       Try [one].\n"


def test_what_looks_like_markup_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.out.print("idx:/a[/b] [red]c")
    console.note("[/b] is not there")
    assert capsys.readouterr().out == "idx:/a[/b] [red]c\n"


def test_metrics_of_epochs_are_not_counted_as_batches(capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter()
    epoch = Progress("fit", step=2, total=5, unit="epoch", metrics={"loss": 0.5})
    printer.report([(1, 2, {"loss": 0.5})], epoch)
    batch = Progress("fit", step=250, total=500, unit="batch")
    printer.report([(1, 3, {"loss": 0.25})], batch)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 2/5 loss 0.5000",
        "epoch 3/5 loss 0.2500",
    ]
    LogPrinter().report([(1, 3, {"loss": 0.25})], batch)
    assert capsys.readouterr().err.splitlines() == ["step 3 loss 0.2500"]


def test_sentences_break_between_words_and_commands_do_not() -> None:
    text = "No model is here. Train it: `zoo train logistic --dataset iris --cv 3`, or not."
    for width in (20, 40, 60):
        lines = fitting.wrap(text, width)
        assert "`zoo train logistic --dataset iris --cv 3`," in " ".join(lines).split("it: ")[1]
        assert any("`zoo train logistic --dataset iris --cv 3`" in line for line in lines)
        assert " ".join(lines) == text
        assert all(len(line) <= width for line in lines if "`" not in line)
    assert fitting.wrap("a ` b c", 3) == ["a `", "b c"]
