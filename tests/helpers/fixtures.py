"""Shared by all tests: a home of their own, both databases, and the real command line."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers
from zoo_keras.network import load_keras

from helpers import servers
from helpers.command_line import EMPTY, Zoo, share
from helpers.job_stories import Promises, Story
from zoo import jobs
from zoo.jobs import Database
from zoo.plugins import registry

# Where it is set, each of the hundreds of commands and workers would compile Zoo anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell's own settings name rows, hints and artifacts that are in use: no test may touch those.
for _name in [name for name in os.environ if name.startswith("ZOO_") and name != "ZOO_DATA_DIR"]:
    del os.environ[_name]
# Nor may one read or write the home of whoever runs the suite.
_HOMES = tempfile.TemporaryDirectory(prefix="zoo-suite-")
os.environ["ZOO_HOME"] = str(Path(_HOMES.name) / "home")
# Nor does a worker draw pictures of each job, but where a test looks at them.
os.environ["ZOO_PICTURES"] = "off"
# Between two calls the threads of OpenBLAS and OpenMP keep a core busy, in case a third one comes.
# Where processes outnumber cores they take it from those they wait for: a boosting of ten rounds
# takes 0.75 s of processor time instead of 0.04, a product of matrices 30 ms instead of 6.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # 2^4 cycles; by default 2^26
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A suite that a shell started in the background ignores Ctrl-C and Ctrl-\, and would hand that on:
# the first runner of a worker would differ from those after Celery has set its handlers.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


# A busy machine is no fault of the code; and half of the usual examples leave the suite its time.
# The examples are the same in each run, so that a run says something of a change, not of chance:
# `pytest --hypothesis-profile=hunt` looks for new ones.
hypothesis.settings.register_profile("hunt", max_examples=50, deadline=None)
hypothesis.settings.register_profile("suite", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")
# Nor do they depend on which modules a process has imported: it would take constants from those.
providers.is_local_module_file = lambda _: False

SHARED = {
    *("warm_zoo", "refusing", "tricks", "terminal", "scene", "there", "zoo_among_others"),
    *("trapped", "trained", "runners", "writers", "server", "bucket"),
}
"""Fixtures of a whole file that take seconds to make: workers, servers, trainings."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage in what is imported and collected: it stays.

    That is a fifth of the time of the collection, which each process of the suite has to do.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that share something dear to one process of the suite; the long ones first."""
    for item in items:
        if isinstance(item, pytest.Function):
            name = item.module.__name__.rpartition(".")[2]
            if item.get_closest_marker("tensorflow"):  # 4 s for each process that imports it
                item.add_marker(pytest.mark.xdist_group("tensorflow"))
            elif SHARED & set(item.fixturenames) and not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(name))
    # The short ones fill the gaps at the end: no process waits long for another.
    items.sort(key=_length)


def _length(item: pytest.Item) -> int:
    """0: the tests with TensorFlow, which one process runs for a third of the whole time."""
    if item.get_closest_marker("tensorflow"):
        return 0
    is_long = any(item.get_closest_marker(each) for each in ("slow", "xdist_group", "mnist"))
    return 1 if is_long else 2


_declared: list[str] = []
"""The tests of this process that may import TensorFlow."""


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ZOO_HOME that the tests of one file share, such as for prepared data."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _only_marked_tests_import_tensorflow(request: pytest.FixtureRequest) -> Iterator[None]:
    """`make test-quick` leaves out the tests with the marker: no other one may take 4 s more."""
    if request.node.get_closest_marker("tensorflow"):
        if not _declared:
            load_keras()
            gc.collect()
            gc.freeze()
        _declared.append(request.node.name)
    yield
    assert _declared or "tensorflow" not in sys.modules, "mark the test: pytest.mark.tensorflow"


@pytest.fixture(autouse=True)
def _fresh_catalogue() -> Iterator[None]:
    """The plugins are found once per process; a test may set which there are."""
    registry.catalogue.cache_clear()
    yield
    registry.catalogue.cache_clear()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a real PostgreSQL server."""
    with tempfile.TemporaryDirectory(prefix="zoo-pg-") as folder:
        server = servers.postgresql_here(Path(folder))
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty, migrated database, to be copied: to migrate one takes 0.16 s."""
    file = tmp_path_factory.mktemp("empty") / "zoo.db"
    jobs.connect(f"sqlite:///{file}").close()
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, empty_file: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database, once of each kind."""
    if request.param == "sqlite":
        found = jobs.Database(f"sqlite:///{shutil.copy(empty_file, tmp_path)}")
    else:
        servers.empty(request.getfixturevalue("postgresql"))
        found = jobs.Database(request.getfixturevalue("postgresql"))
    yield found
    found.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ZOO_HOME of its own for this test."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def here(home: Path, empty_file: Path) -> Iterator[Database]:
    """The database of that home, empty."""
    home.mkdir(parents=True)
    (home / "zoo.db").write_bytes(empty_file.read_bytes())
    db = jobs.connect(f"sqlite:///{home / 'zoo.db'}")
    yield db
    db.close()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, empty_file: Path) -> Path:
    """A cache for homes of the whole suite: to make digits, scikit-learn is imported (2 s)."""
    base = tmp_path_factory.getbasetemp()
    found = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    found.mkdir(exist_ok=True)
    copied = shutil.copy(empty_file, found.parent / f"empty-{os.getpid()}.db")
    Path(copied).replace(found.parent / EMPTY)  # other processes make the same
    return found


@pytest.fixture
def story(empty_file: Path) -> Iterator[Story]:
    """A state machine of jobs that a test plays by hand."""
    Promises.template = empty_file
    found = Story()
    yield found
    found.teardown()


@pytest.fixture
def zoo(empty_file: Path, tmp_path: Path) -> Iterator[Zoo]:
    """The command line with a home without jobs; its servers are ended afterwards."""
    found = Zoo(tmp_path / "home")
    found.home.mkdir()
    shutil.copy(empty_file, found.home)  # else the first command has to make it: 0.3 s
    yield found
    found.close()


@pytest.fixture(scope="module")
def warm_zoo(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    """One home with one warm worker for all tests of a file.

    It has one slot, for each slot imports a framework of its own; and it keeps its jobs though the
    machine stands still for a while.
    """
    patient = {"ZOO_SLOTS": "1", "ZOO_BEAT_SECONDS": "1", "ZOO_LEASE_SECONDS": "60"}
    found = Zoo(share(cache, tmp_path_factory.mktemp("warm") / "home"), **patient)
    found.run("up")
    yield found
    found.close()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as a login session has it, whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="zoo-session-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    if folder.is_dir():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
