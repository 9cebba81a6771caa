"""No list of arguments ends in a traceback, whatever is typed: every command, hostile words."""

from __future__ import annotations

import contextlib
import io
import resource
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers.command_line import Zoo, share
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.cli import lazy_group, main

CASES = 250
"""Lists of arguments that are tried at each run of the suite."""
SECONDS = 60
"""A command that takes longer hangs."""
ROOM = 3 * 2**30
"""Bytes that a command may take more than the test itself."""

STOPPED = "--no-such-option"
"""Appended to what would start servers or workers, run a plugin's checks, wait for a job that
nobody runs, or import MLflow for seconds: their options are still read, but nothing begins."""
HARMLESS: dict[str, list[str]] = {
    **{name: [STOPPED] for name in ("up", "ui", "worker start", "plugins check", "mlflow sync")},
    "verify": [STOPPED],
    # Else it serves until Ctrl-C; waits for jobs that nobody runs; follows a log; draws for ever.
    "metrics": ["--once"],
    "wait": ["--timeout", "0"],
    "watch": ["--once"],
    # Detached: no worker is there to run what is submitted.
    **{name: ["--detach"] for name in ("train", "evaluate", "sweep", "rerun", "reproduce")},
    # Asked at a terminal otherwise; and what is cancelled is the home's own.
    **{name: ["--yes"] for name in ("cancel", "retry")},
}
LEFT_OUT = {"--in-process", "--follow", "-f", "--install-completion", "--show-completion", "--help"}
"""Options that train here and now, follow a log for ever, or write into the shell's own files."""
WRITTEN = {"--output", "-o", "--card", "--save-trials"}
"""Options that name a file to write: none of the machine's devices."""

WORDS = [
    *("", " ", "-", "--", "---", "=", "a=b", "=1", "x=", "@", "@last", "@last-failed", "@best:"),
    *("@best:digits", "@best:digits/logistic", "@best:x/y/z", "@best:npz:x", "@last:", "@LAST"),
    *("logistic", "digits", "test", "train", "succeeded", "default", "onnx", "npz", "grid", "tpe"),
    *("accuracy", "-accuracy", "params.alpha", "id,model", ",", "metrics.", ".", "npz:", "idx:/"),
    *("0", "-1", "1", "2", "1.5", "1e400", "-1e400", "nan", "inf", "0x10", "1_000", "٣", "１"),
    *(str(10**9), str(2**63), str(-(2**63)), "9" * 20, "9" * 400, "9" * 5000, "1e-400"),
    *("\x01", "\x7f", "\x1b[31m", "\x9b", "\u202e", "\u2028", "\\0", "%00", "\\x00", "\udcff"),
    *("a\udcffb", "é", "한글", "😀", "a" * 300, "a" * 20_000, "'", '"', ";", "$(id)", "`id`"),
    *("../..", "~", "~nobody-there/x", "/", "//", "*", "?", "[", "[!", "dense-*", "%", "_", "!"),
    *("null", "True", "None", "{}", "[]", '{"a":', "[" * 500, '"\\u0000"', '"\\ud800"'),
    *("accuracy >", "accuracy > 0.5", "accuracy > 9e999", "params.alpha == 'a' and", "(" * 300),
    *("tags has 'x'", "not " * 300 + "seed == 1", "model ~ '['", "seed == " + "9" * 400),
    *("2h", "9" * 12 + "d", "-1d", "0001-01-01", "9999-12-31T23:59:59Z", "2026-02-30", "now"),
    *("alpha=1..2", "alpha=1..1e308:log", "alpha=1,2", "alpha=0.1", "max_iter=5..1", "alpha=,"),
    *(
        "alpha=" + "9" * 400,
        "alpha=nan",
        "alpha.x=1",
        "alpha=" + "[" * 2000,
        "@trials.csv",
        "@wide.csv",
        "@nul.csv",
        "@folder",
        "@binary",
        "@missing",
        "@/dev/zero",
    ),
    *("17", "0-3", "3-0", "0-999999999", "-", "stdin"),
]
FILES = [
    *("folder", "missing", "missing/missing", "binary", "empty", "text", "picture.png", "loop"),
    *("trials.csv", "wide.csv", "nul.csv", "x" * 300, "/dev/zero", "/dev/null", "/", ".", "", "~"),
    *("npz:folder", "npz:missing", "npz:binary", "npz:/dev/zero", "idx:folder", "idx:binary"),
]


REFS = ["@last", "@last-failed", "@best:digits", "@best:digits/logistic", "@best:npz:x", "@best:/"]
PATTERN = ["dense-*", "*", "?", "[", "%", "logistic", "digits", "x", "a\udcffb", "\x1b[31m"]
NUMBERS = ["0", "1", "2", "3", "-1", "nan", "inf", "1e308", str(2**31), str(2**63), "9" * 20]
SORTS = ["accuracy", "-took", "params.alpha", "metrics.loss", "tags", "-", "params.", "a.b", "seed"]
STARTS = ("acc", "params", "(", "tags", "not", "model", "seed")
LIKELY: dict[str, list[str]] = {
    **dict.fromkeys(("ref", "refs", "job", "after", "after_any", "group", "resume"), REFS),
    **dict.fromkeys(("model", "dataset", "tag", "patterns", "exclude", "only", "name"), PATTERN),
    **dict.fromkeys(("files", "trials_from", "save_trials", "target", "card", "folder"), FILES),
    **dict.fromkeys(("seed", "seeds", "cv", "limit", "offset", "page", "timeout"), NUMBERS),
    **dict.fromkeys(("priority", "number", "memory", "trials", "max_parallel", "show"), NUMBERS),
    "param": [word for word in WORDS if word.startswith(("alpha", "max_iter", "@"))],
    "sort": SORTS,
    "columns": [",".join(SORTS[:3]), "id", ",,", *SORTS],
    "where": [word for word in WORDS if word.startswith(STARTS)],
    "since": ["2h", "9" * 12 + "d", "9999-12-31T23:59:59Z", "0001-01-01", "now", "1e9d"],
    "until": ["2h", "-1d", "0001-01-01T00:00:00+14:00", "2026-02-30", "1969-01-01"],
    "index": ["17", "0-3", "3-0", "-1", "0-999999999", "9" * 20, "٣"],
    "split": ["train", "test"],
    "format": ["onnx", "npz", "skops", "keras"],
    "status": ["succeeded", "queued", "lost"],
    "sampler": ["grid", "random", "tpe"],
    "group_by": ["model", "params.alpha", "", "seed", "nope"],
    "table": ["mnist-classics", "missing.toml", "binary", "folder", "/dev/zero", "nul.csv"],
    "names": ["metrics.json", "weights", "../../x", "", "*", "log"],
}
"""Words that a param is likely to take, by its name: they get further than any word would."""


class Param(NamedTuple):
    """An option or argument of a command."""

    name: str
    names: tuple[str, ...]
    """As it is typed; empty for an argument."""
    is_flag: bool


def commands() -> dict[str, list[Param]]:
    """Every command with its params, those of the plugins too."""
    lazy_group.load_all(main.app)
    group = lazy_group.root(main.app)
    found = {}
    with group.make_context("zoo", ["jobs"], resilient_parsing=True) as context:
        for name in group.list_commands(context):
            command = group.resolve_command(context, [name])[1]
            inner = getattr(command, "commands", {})
            for path, each in [(name, command), *((f"{name} {n}", c) for n, c in inner.items())]:
                found[path] = [
                    Param(
                        str(p.name),
                        tuple(p.opts + p.secondary_opts) if p.param_type_name == "option" else (),
                        bool(getattr(p, "is_flag", False)),
                    )
                    for p in each.params
                ]
    return found


COMMANDS = commands()


@st.composite
def lists_of_arguments(draw: st.DrawFn, known: Sequence[str]) -> list[str]:
    """A command with some of its own options and arguments, and some of anything."""
    path = draw(st.sampled_from(sorted(COMMANDS)))
    named = [p for p in COMMANDS[path] if p.names and not LEFT_OUT & {*p.names}]
    hostile = st.sampled_from([*WORDS, *FILES, *known]) | st.text(max_size=8)

    def word(param: Param) -> str:
        likely = LIKELY.get(param.name, [])
        likely = [*likely, *known] if likely is REFS else likely
        mostly = st.sampled_from(likely) if likely and draw(st.integers(0, 3)) else hostile
        return draw(mostly.filter(lambda word: "\0" not in word and word not in LEFT_OUT))

    found = path.split()
    for param in draw(st.lists(st.sampled_from(named), max_size=4)) if named else []:
        name = draw(st.sampled_from(param.names))
        if param.is_flag:
            found.append(name)
            continue
        value = word(param)
        if name in WRITTEN and "/dev/" in value:
            value = "written"
        is_joined = name.startswith("--") and draw(st.booleans())
        found += [f"{name}={value}"] if is_joined else [name, value]
    for param in [p for p in COMMANDS[path] if not p.names]:
        found += [word(param) for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2])))]
    return [*found, *HARMLESS.get(path, [])]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuple[Zoo, list[str]]]:
    """A home with jobs and groups of all kinds, a folder of hostile files, and the ids."""
    folder = tmp_path_factory.mktemp("arguments")
    zoo = Zoo(folder / "home", ZOO_SLOTS="2")
    share(cache, zoo.home)
    try:
        zoo.run("train", "logistic", "--dataset", "digits", "--seeds", "2", "--tag", "x")
        zoo.run("evaluate", "@best:digits", "--dataset", "digits")
        zoo.run("sweep", "logistic", "--dataset", "digits", "-p", "alpha=0.1,0.2")
        db = zoo.database()
        ids = zoo.run("jobs", "-q").stdout.split()
        db.close()
        zoo.run("down")
        _make_files(folder)
        yield zoo, [*ids[:3], ids[0][:8], ids[-1][:1]]
    finally:
        zoo.close()


def _make_files(folder: Path) -> None:
    from PIL import Image

    (folder / "folder").mkdir()
    (folder / "binary").write_bytes(bytes(range(256)) * 40)
    (folder / "empty").touch()
    (folder / "text").write_text("one\ntwo\n")
    (folder / "loop").symlink_to("loop")
    (folder / "trials.csv").write_text("alpha,max_iter\n0.1,5\n0.2,\n")
    (folder / "wide.csv").write_text("alpha\n" + "1" * 200_000 + "\n")
    (folder / "nul.csv").write_bytes(b"alpha\0,\xff\n\0,1\n")
    Image.new("L", (40, 40), 200).save(folder / "picture.png")


class Ended(NamedTuple):
    code: Any
    out: str
    err: str


def ends(words: list[str]) -> Ended:
    """Run a command in this process; whatever it raises is shown as its traceback."""
    out, err = (io.TextIOWrapper(io.BytesIO(), errors="replace") for _ in range(2))

    def late(*_: object) -> None:
        raise TimeoutError(f"not within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    stdin = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"\xff\x00"))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main.run(words)
            except BaseException:
                traceback.print_exc()
                code = "a traceback"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.stdin = stdin
    texts = []
    for each in (out, err):
        each.flush()
        texts.append(each.buffer.getvalue().decode(errors="replace"))  # type: ignore[attr-defined]
    return Ended(code, *texts)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Whoever reads /dev/zero to its end fails, and not the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited by /proc")
def test_no_list_of_arguments_ends_in_a_traceback(
    there: tuple[Zoo, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo, ids = there
    for name, value in zoo.env.items():
        monkeypatch.setenv(name, value)
    # A broker that is away: rows are written, and no worker is started to run them.
    monkeypatch.setenv("ZOO_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(zoo.home.parent)

    @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(lists_of_arguments(ids))
    def one(words: list[str]) -> None:
        ended = ends(words)
        assert ended.code in (0, 1, 2), f"{words}: {ended.code}\n{ended.err}"
        assert "Traceback" not in ended.err + ended.out, f"{words}\n{ended.err}"
        # A command that did not do it says why.
        assert ended.code == 0 or ended.err or ended.out, words

    with little_memory():
        one()


def test_every_command_is_among_them() -> None:
    assert {"train", "jobs", "predict", "export", "worker start", "models show"} <= {*COMMANDS}
    assert {*HARMLESS} <= {*COMMANDS}


LISTING = [
    (group, option, sub)
    for group, options in COMMANDS.items()
    for option in options
    for sub in [each.removeprefix(f"{group} ") for each in COMMANDS if each.startswith(f"{group} ")]
    if option.names and not LEFT_OUT & {*option.names}
]
"""Options of groups of commands, which list something by themselves, and the subcommands."""


def test_an_option_before_a_subcommand_is_refused_instead_of_ignored() -> None:
    assert {group for group, _, _ in LISTING} == {"data", "plugins"}
    for group, option, sub in LISTING:
        ended = ends([group, option.names[0], *([] if option.is_flag else ["5"]), sub])
        told = f"{option.names[0]} before `{sub}` would be ignored", f"`zoo {group} {sub}`"
        assert ended.code == 2 and all(each in ended.err for each in told)
