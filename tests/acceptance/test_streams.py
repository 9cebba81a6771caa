"""Whatever stdout and stderr are: a sentence and an exit code, never a traceback."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import command_server
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, succeed
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.errors import PictureError
from zoo.images import normalize
from zoo.model import Model, Params
from zoo.training import evaluation

COMMANDS = [
    *(
        ["jobs"],
        ["jobs", "--json"],
        ["jobs", "--csv"],
        ["jobs", "-q"],
        ["show"],
        ["show", "--json"],
    ),
    *(["--help"], ["--version"], ["leaderboard"], ["models"], ["data"], ["train", "--help"]),
]
"""What prints its result on stdout."""


CLASS = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_file: Path) -> Zoo:
    """A home with a job, which nothing changes."""
    found = Zoo(tmp_path_factory.mktemp("streams") / "home")
    found.home.mkdir()
    shutil.copy(empty_file, found.home)
    db = found.database()
    succeed(db, [a_spec()], metrics={"per_class": dict.fromkeys("01", CLASS)})
    db.close()
    return found


def shell(home: Zoo, line: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command by bash, which opens and closes what the line says; `zoo` is "$@"."""
    command = [
        "bash",
        "-c",
        f"set -o pipefail; {line}",
        "bash",
        sys.executable,
        "-m",
        "zoo",
        *words,
    ]
    return subprocess.run(command, env=home.env, text=True, capture_output=True, timeout=60)


def fork(home: Zoo, *words: str, **streams: int | None) -> subprocess.CompletedProcess[str]:
    """Run a command with these streams, in a fork of a process that has imported it."""
    return command_server.run(words, home.env, 60, **streams)


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


@needs_full
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_output_that_cannot_be_written_ends_in_a_sentence(home: Zoo, words: list[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        for streams, reason in (
            ({"stdout": full.fileno()}, "No space left on device"),
            ({"stdout": None}, "Bad file descriptor"),
            ({"stdout": full.fileno(), "stdin": None}, "No space left on device"),
        ):
            refuses(fork(home, *words, **streams), reason)


@needs_full
@pytest.mark.parametrize("words", [["jobs"], ["--help"]], ids=" ".join)
def test_streams_that_are_full_or_closed_before_python_starts_end_in_a_sentence(
    home: Zoo, words: list[str]
) -> None:
    for line, reason in (
        ('"$@" > /dev/full', "No space left on device"),
        ('"$@" >&-', "Bad file descriptor"),
        ('"$@" > /dev/full <&-', "No space left on device"),
    ):
        refuses(shell(home, line, *words), reason)


def refuses(done: subprocess.CompletedProcess[str], reason: str) -> None:
    """See that the command has failed with a sentence."""
    assert done.stderr.splitlines()[-1] == f"error: The output cannot be written: {reason}."
    assert "Traceback" not in done.stderr and done.returncode == 1


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_reader_that_has_seen_enough_breaks_no_pipe(home: Zoo, words: list[str]) -> None:
    for reads in (True, False):
        reader, writer = os.pipe()
        with open(reader, "rb", buffering=0) as pipe, ThreadPoolExecutor(1) as pool:  # noqa: PTH123
            if not reads:  # gone before anything is written
                pipe.close()
            done = pool.submit(fork, home, *words, stdout=writer)
            assert not reads or pipe.read(1)
            pipe.close()
            assert (done.result().returncode, done.result().stderr) == (0, "")
            os.close(writer)


@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_a_shells_reader_that_has_seen_enough_breaks_no_pipe(home: Zoo, reader: str) -> None:
    done = shell(home, f'"$@" | {reader}', "jobs")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_fails_fails_also_without_a_reader(home: Zoo) -> None:
    assert shell(home, '"$@" | true', "show", "nothing-like-it").returncode == 2


@pytest.mark.parametrize("to", ["2> /dev/full", "2>&-"])
def test_messages_that_cannot_be_written_change_nothing(home: Zoo, to: str) -> None:
    if to == "2> /dev/full" and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    done = shell(home, f'"$@" {to}', "jobs", "-q")
    assert (done.returncode, done.stderr, len(done.stdout)) == (0, "", 33)
    assert shell(home, f'"$@" {to}', "show", "nothing-like-it").returncode == 2
    assert shell(home, f'"$@" {to}', "no-such-command").returncode == 2


def test_no_file_takes_the_place_of_a_closed_stream(home: Zoo) -> None:
    before = (home.home / "zoo.db").read_bytes()[:100]
    done = shell(home, '"$@" 0<&- 1>&- 2>&-', "jobs")
    assert done.returncode == 1
    assert (home.home / "zoo.db").read_bytes()[:100] == before


SITE = '''
import os, signal, sys
at, seen = int(os.environ["INTERRUPT_AT"]), 0

def hook(event, args):
    """Interrupt this process at its Nth import, counted from the first of its own."""
    global seen
    if event == "import" and (seen or args[0] == "zoo.cli"):
        seen += 1
        if seen == at + 1:
            os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(hook)
'''


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233])
def test_an_interrupt_while_the_command_is_imported_says_nothing(
    home: Zoo, tmp_path: Path, at: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    command = tmp_path / "zoo"
    command.write_text("import sys\nfrom zoo.__main__ import main\nsys.exit(main())\n")
    env = home.env | {"PYTHONPATH": str(tmp_path), "INTERRUPT_AT": str(at)}
    done = subprocess.run(
        [sys.executable, str(command), "jobs"], env=env, text=True, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_an_ignored_interrupt_stays_ignored(home: Zoo, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    env = home.env | {"PYTHONPATH": str(tmp_path), "INTERRUPT_AT": "20"}
    line = 'trap "" INT; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", "zoo", "jobs", "-q"],
        env=env,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr, len(done.stdout)) == (0, "", 33)


class _Strict(Model):
    """Refuses no images at all, as scikit-learn does."""

    name = "strict"

    def predict_proba(self, x: np.ndarray) -> np.ndarray | None:  # type: ignore[type-arg]
        if not len(x):
            raise ValueError("Found array with 0 sample(s)")
        return np.full((len(x), self.n_classes), 1 / self.n_classes)


class _Bare(_Strict):
    """Has no probabilities."""

    def predict_proba(self, x: np.ndarray) -> None:  # type: ignore[type-arg]
        return None

    def predict(self, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        if not len(x):
            raise ValueError("Found array with 0 sample(s)")
        return np.zeros(len(x), dtype="int64")


@pytest.mark.parametrize("shape", [(0, 784), (0, 28, 28)])
@pytest.mark.parametrize("layout", ["flat", "image"])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_of_no_images_there_are_no_predictions(
    shape: tuple[int, ...], layout: str, dtype: str
) -> None:
    from zoo.data.contents import Inputs
    from zoo.data.preprocessing import Fitted, model_input
    from zoo.images import arrays

    for kind, probabilities in ((_Strict, (0, 3)), (_Bare, None)):
        model = kind(Params(), ["a", "b", "c"], 1)
        model.layout = layout  # type: ignore[assignment, misc]
        raw = arrays.raw_images(np.empty(shape, dtype), Inputs())
        x = model_input(raw, Inputs(), model, "none", Fitted())
        assert x.shape == ((0, 784) if layout == "flat" else (0, 28, 28))
        found = evaluation.predict(model, x)
        assert (found.labels.shape, found.labels.dtype) == ((0,), np.dtype("int64"))
        shown = found.probabilities
        assert (None if shown is None else shown.shape) == probabilities


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["float32", "uint16", "int32"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.lists(
        st.sampled_from([0, 1, -1, np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 65535, 0.5]),
        max_size=4,
    ),
)
def test_a_picture_of_any_numbers_is_read_or_refused(
    kind: str, height: int, width: int, seed: int, values: list[float]
) -> None:
    random = np.random.default_rng(seed)
    pixels = np.frombuffer(random.bytes(height * width * np.dtype(kind).itemsize), kind)
    pixels = pixels.reshape(height, width).copy()
    if kind == "float32" and values:
        pixels = random.choice(np.array(values, kind), (height, width))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's too: a person would see them
        try:
            picture = normalize.open(file.getvalue())
            normalize.thumbnail(picture)
            found = normalize.prepare(picture)
        except PictureError:
            return
    assert (found.shape, found.dtype) == ((28, 28), np.dtype("uint8"))


def test_what_libraries_warn_of_is_not_shown(home: Zoo) -> None:
    code = (
        "import sys, warnings; from zoo.cli import main\n"
        "main.app.command('warn')(lambda: warnings.warn('deprecated', FutureWarning))\n"
        "sys.argv = ['zoo', 'warn']; main.main()"
    )
    for options, said in ([], False), (["-W", "default"], True):
        done = subprocess.run(
            [sys.executable, *options, "-c", code], env=home.env, text=True, capture_output=True
        )
        assert done.returncode == 0 and ("deprecated" in done.stderr) == said
