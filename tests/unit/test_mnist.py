"""MNIST is found on the machine, or fetched from a mirror that gives the right bytes in time."""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from zoo.data import datasets, mnist
from zoo.data.readers import idx
from zoo.errors import DatasetError

DATA = os.environ.get("ZOO_DATA_DIR", "")
HERE = [Path(p) for p in DATA.split(os.pathsep) if p and len(idx.find(Path(p))) == 4]
needs_mnist = pytest.mark.skipif(not HERE, reason="no MNIST files in ZOO_DATA_DIR")

GENERATOR = np.random.default_rng(7)
ARRAYS = [
    GENERATOR.integers(0, 256, (30, 28, 28), dtype="uint8"),
    GENERATOR.integers(0, 10, 30, dtype="uint8"),
    GENERATOR.integers(0, 256, (10, 28, 28), dtype="uint8"),
    GENERATOR.integers(0, 10, 10, dtype="uint8"),
]
FILES = {
    name: idx.header(array.shape) + array.tobytes()
    for name, array in zip(mnist.SHA256, ARRAYS, strict=True)
}
EXPECTED = {name: idx.sha256(array) for name, array in zip(mnist.SHA256, ARRAYS, strict=True)}


class Mirror(ThreadingHTTPServer):
    """A mirror of the small files that gives its own answer for one of them."""

    daemon_threads = True

    def __init__(self, answer: Callable[..., None], name: str) -> None:
        self.answers = {name: answer}
        self.asked: list[str] = []
        self.seconds = 0.0
        """That have passed, as far as the one who downloads can tell."""
        self.was_left = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mnist/"


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name = self.path.removeprefix("/mnist/").removesuffix(".gz")
        self.server.asked.append(name)
        answer = self.server.answers.get(name, send)
        answer(self, gzip.compress(FILES[name]))

    def log_message(self, *args: object) -> None:
        pass


def send(handler: Handler, content: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


def wrong(handler: Handler, content: bytes) -> None:
    other = bytearray(FILES["train-images-idx3-ubyte"])
    other[-1] ^= 1
    send(handler, gzip.compress(bytes(other)))


def cut(handler: Handler, content: bytes) -> None:
    send(handler, content[: len(content) // 2], len(content))


def page(handler: Handler, content: bytes) -> None:
    send(handler, b"<html>please log in to this network</html>")


def missing(handler: Handler, content: bytes) -> None:
    handler.send_error(404)


def stalled(handler: Handler, content: bytes) -> None:
    send(handler, content[:100], len(content))
    handler.connection.settimeout(120)
    if handler.connection.recv(1) == b"":  # nothing more was asked: the other end has closed
        handler.server.was_left.set()


def trickling(handler: Handler, content: bytes) -> None:
    send(handler, b"", len(content))
    for byte in content:
        handler.server.seconds += 1
        handler.wfile.write(bytes([byte]))


def flooding(handler: Handler, content: bytes) -> None:
    # gzip allows zeros at the end, so this is a sound file but for its size.
    send(handler, content + bytes(4 * 2**20))


@pytest.fixture
def serve() -> Iterator[Callable[..., Mirror]]:
    mirrors = []

    def start(answer: Callable[..., None] = send, name: str = "train-images-idx3-ubyte") -> Mirror:
        mirrors.append(Mirror(answer, name))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.shutdown()
        mirror.server_close()


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No MNIST anywhere, and no way out."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:1/",))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the small files for MNIST."""
    for name, sha256 in EXPECTED.items():
        monkeypatch.setitem(mnist.SHA256, name, sha256)


def write_idx(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


def write_npz(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = ("x_train", "y_train", "x_test", "y_test")
    np.savez(path, **dict(zip(keys, ARRAYS, strict=True)))


def test_a_mirror_gives_the_four_files_and_progress_is_told(serve: Callable[..., Mirror]) -> None:
    told: list[tuple[str, int, int]] = []
    found = mnist.download([serve().url], lambda *args: told.append(args), EXPECTED)
    assert np.array_equal(found["train"].images, ARRAYS[0])
    assert np.array_equal(found["test"].labels, ARRAYS[3])
    assert {what for what, _, _ in told} == {f"downloading {name}" for name in FILES}
    assert all(0 < done <= total for _, done, total in told)


@pytest.mark.parametrize("answer", [wrong, cut, page, missing, trickling, flooding])
def test_a_bad_mirror_is_left_for_the_next(
    serve: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch, answer: Callable[..., None]
) -> None:
    monkeypatch.setattr(mnist, "MAX_DOWNLOAD", 2**20)
    bad, good = serve(answer), serve()
    # The mirror says how late it is.
    monkeypatch.setattr(mnist, "time", SimpleNamespace(monotonic=lambda: bad.seconds))
    found = mnist.download([bad.url, good.url], None, EXPECTED)
    assert np.array_equal(found["train"].images, ARRAYS[0])
    assert len(good.asked) == 4


def test_a_mirror_that_falls_silent_is_left_for_the_next(serve: Callable[..., Mirror]) -> None:
    # Where this process stands still, the good mirror may be as late as the silent one.
    for patience in (0.1, 3, 60):
        bad, good = serve(stalled), serve()
        with contextlib.suppress(DatasetError):
            found = mnist.download([bad.url, good.url], None, EXPECTED, timeout=patience)
            break
    assert bad.was_left.wait(60)
    assert np.array_equal(found["train"].images, ARRAYS[0])
    assert len(good.asked) == 4


def test_only_what_the_first_mirror_did_not_give_is_asked_of_the_second(
    serve: Callable[..., Mirror],
) -> None:
    names = list(FILES)
    first, second = serve(missing, names[2]), serve()
    mnist.download([first.url, second.url], None, EXPECTED)
    assert (first.asked, second.asked) == (names[:3], names[2:])


def test_when_every_mirror_fails_each_failure_is_named(serve: Callable[..., Mirror]) -> None:
    bad, worse = serve(missing), serve(wrong)
    with pytest.raises(DatasetError) as caught:
        mnist.download([bad.url, worse.url], None, EXPECTED)
    message = str(caught.value)
    assert f"127.0.0.1:{bad.server_port}: HTTP Error 404" in message
    assert f"127.0.0.1:{worse.server_port}: train-images-idx3-ubyte has another sha256" in message


def test_without_files_and_network_the_ways_out_are_named() -> None:
    with pytest.raises(DatasetError) as caught:
        datasets.raw("mnist")
    message = str(caught.value)
    for way in ("ZOO_DATA_DIR", "mnist.npz", "network", "digits"):
        assert way in message
    assert "Connection refused" in message


def test_the_folders_of_the_settings_come_before_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    write_idx(tmp_path / "b")
    write_npz(tmp_path / "c" / "mnist.npz")
    write_npz(tmp_path / "keras" / "datasets" / "mnist.npz")
    monkeypatch.setenv("ZOO_DATA_DIR", f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c")
    assert mnist.places() == [
        tmp_path / "b",
        tmp_path / "c" / "mnist.npz",
        tmp_path / "keras" / "datasets" / "mnist.npz",
    ]


@pytest.mark.parametrize("place", ["idx", "npz", "keras"])
def test_every_place_gives_the_same_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None, place: str
) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "data"))
    if place == "idx":
        write_idx(tmp_path / "data")
    elif place == "npz":
        write_npz(tmp_path / "data" / "mnist.npz")
    else:
        write_npz(tmp_path / "keras" / "datasets" / "mnist.npz")
    found = datasets.raw("mnist")
    assert found.fingerprint == idx.sha256(*ARRAYS)
    assert np.array_equal(found.splits["train"].inputs, ARRAYS[0])


def test_other_images_under_mnists_names_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    write_idx(tmp_path / "fashion")
    other = bytearray(FILES["t10k-images-idx3-ubyte"])
    other[-1] ^= 1
    (tmp_path / "fashion" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(other)))
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "fashion"))
    with pytest.raises(DatasetError, match="fashion does not hold MNIST: t10k-images-idx3-ubyte"):
        datasets.raw("mnist")
    write_npz(tmp_path / "keras" / "datasets" / "mnist.npz")
    assert datasets.raw("mnist").fingerprint == idx.sha256(*ARRAYS)


def test_once_cached_the_files_are_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None, serve: Callable[..., Mirror]
) -> None:
    mirror = serve()
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.url,))
    first = datasets.raw("mnist").fingerprint
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:1/",))
    assert datasets.raw("mnist").fingerprint == first
    assert len(mirror.asked) == 4


@pytest.mark.mnist
@needs_mnist
def test_the_real_files_are_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", DATA)
    found = datasets.raw("mnist")
    assert found.splits["train"].inputs.shape == (60000, 28, 28)
    assert found.splits["test"].labels.shape == (10000,)
    assert found.splits["train"].labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(found.splits["train"].labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
