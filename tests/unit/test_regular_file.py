"""Files are read only if they are regular ones, and never past a limit."""

from __future__ import annotations

import contextlib
import io
import signal
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import odd_files

from zoo import regular_file, settings
from zoo.data.readers import idx, npz
from zoo.errors import DatasetError, ZooError, reason
from zoo.images import prediction_inputs
from zoo.inference import export
from zoo.plugins import registry
from zoo.results import published_tables
from zoo.sweeps import trials


@pytest.mark.parametrize("kind", odd_files.KINDS)
def test_what_is_no_regular_file_or_too_large_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "odd"
    odd_files.KINDS[kind](path)
    begun = time.thread_time()
    with pytest.raises(OSError) as caught:
        regular_file.read_regular_file(path, 1000)
    assert time.thread_time() - begun < 1
    assert reason(caught.value)


def test_a_file_of_the_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert regular_file.read_regular_file(link, 10) == b"x" * 10
    with pytest.raises(OSError, match="larger than 9 bytes"):
        regular_file.read_regular_file(path, 9)


def test_of_a_stream_no_more_than_one_byte_past_the_limit_is_read() -> None:
    stream = io.BytesIO(b"x" * 100)
    with pytest.raises(OSError, match="larger than 10 bytes"):
        regular_file.read_at_most(stream, 10, "stdin")
    assert stream.tell() == 11


@pytest.mark.parametrize(("count", "words"), [(12, "12 bytes"), (65536, "64 kB"), (2**20, "1 MB")])
def test_a_limit_is_said_in_the_unit_that_people_use(count: int, words: str) -> None:
    assert regular_file.size(count) == words


def _idx(path: Path) -> None:
    idx.load(path.parent)


def _plugin(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_PLUGINS_DIR", str(path.parent))
        patch.setenv("ZOO_HOME", str(path.parent))
        registry.catalogue.cache_clear()
        found = {plugin.name: plugin.error for plugin in registry.broken()}
    if path.stem in found:
        raise ZooError(found[path.stem])
    assert path.is_dir() or not path.exists() or registry.catalogue()


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a picture": ("odd.png", lambda path: prediction_inputs.of_picture(path.name, path)),
    "an npz dataset": ("odd.npz", npz.load),
    "an idx dataset": ("train-images-idx3-ubyte", _idx),
    "a gzipped idx dataset": ("train-images-idx3-ubyte.gz", _idx),
    "an exported model": ("odd.npz", export.read_npz),
    "a secret": ("odd", lambda path: settings.load({"ZOO_DATABASE_URL_FILE": str(path)})),
    "a table of recipes": ("odd.toml", lambda path: published_tables.load_table(str(path))),
    "the trials of a sweep": ("odd.csv", trials.read_trials),
    "a plugin": ("odd.py", _plugin),
}
"""Whatever reads a file that a person names: what the file is called, and the reader."""


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", odd_files.KINDS)
def test_whatever_reads_a_named_file_refuses_an_odd_one_at_once(
    kind: str, reader: str, tmp_path: Path
) -> None:
    name, read = READERS[reader]
    odd_files.KINDS[kind](tmp_path / name)
    with ended_after(5), pytest.raises(ZooError) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Have what hangs raise TimeoutError."""

    def ring(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
def test_of_a_header_in_an_npz_file_no_more_is_read_than_one_may_have(tmp_path: Path) -> None:
    # 256 MB of header in 260 kB: numpy would unpack them all, to say that they are too many.
    header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**28)
    with zipfile.ZipFile(tmp_path / "odd.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as odd:
        for key in npz.KEYS:
            with odd.open(f"{key}.npy", "w") as member:
                member.write(header)
                for _ in range(64 if key == "x_train" else 1):
                    member.write(bytes(2**22))
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="header"):
            npz.load(tmp_path / "odd.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
