"""Prepared data: the exact values, made once per machine, whoever is killed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from zoo.data import datasets, preprocessing, steps
from zoo.data.preprocessing import Dtype, prepare, prepare_all
from zoo.data.readers import idx
from zoo.errors import UsageError
from zoo.plugins import registry

DATA = os.environ.get("ZOO_DATA_DIR", "")
HERE = [Path(p) for p in DATA.split(os.pathsep) if p and len(idx.find(Path(p))) == 4]

GENERATOR = np.random.default_rng(5)
IMAGES = GENERATOR.integers(0, 256, (2500, 28, 28), dtype="uint8")
LABELS = (np.arange(2500) % 10).astype("uint8")
# The child says when it is in the middle of preparing; if it is to be a victim it waits there.
CHILD = """
import sys
from zoo.data import cache
from zoo.data.preprocessing import prepare
name, patience, victim = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "victim"
cache.PATIENCE = patience

def progress(what, done, total):
    if victim:
        print("inside", flush=True)
        sys.stdin.read()

data = prepare(name, "train", "flat", "float32", progress)
print(f"{data.x.sum(dtype='float64'):.6f}", flush=True)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_PLUGINS", "")
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    registry.catalogue.cache_clear()
    return tmp_path / "home"


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A dataset of random images."""
    return write(tmp_path / "data", IMAGES)


def as_in_another_process() -> None:
    """Forget what this process has mapped."""
    preprocessing.clear_mapped()


def write(folder: Path, images: np.ndarray, labels: np.ndarray = LABELS) -> str:
    folder.mkdir(exist_ok=True)
    arrays = [images, labels, images[:500], labels[:500]]
    for (part, ndim), array in zip(idx.PARTS.items(), arrays, strict=True):
        content = idx.header(array.shape) + array.tobytes()
        (folder / f"{part}-idx{ndim}-ubyte").write_bytes(content)
    return f"idx:{folder}"


def prepared_files(home: Path) -> list[Path]:
    return sorted((home / "cache" / "prepared").rglob("*.npy"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_are_divided_by_255_in_float64_and_then_rounded(name: str, dtype: Dtype) -> None:
    for split, count in (("train", 2500), ("test", 500)):
        found = prepare(name, split, "image", dtype)
        assert found.x.dtype == dtype
        assert np.array_equal(found.x, (IMAGES[:count] / 255.0).astype(dtype))
        assert found.y.dtype == np.int64
        assert np.array_equal(found.y, LABELS[:count])
        assert found.class_names == tuple("0123456789")


def test_flat_and_image_are_the_same_file(home: Path, name: str) -> None:
    image, flat = (prepare(name, "train", layout, "float32") for layout in ("image", "flat"))
    assert flat.x.shape == (2500, 784)
    assert np.array_equal(flat.x, image.x.reshape(2500, 784))
    assert [file.name for file in prepared_files(home)] == ["test.npy", "train.npy"]


def test_the_map_is_read_only_and_not_a_copy(name: str) -> None:
    found = prepare(name, "train", "flat", "float32")
    assert isinstance(found.x, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found.x[0, 0] = 1


def test_an_unknown_split_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="No split is called 'dev'"):
        prepare(name, "dev", "flat", "float32")


def test_a_split_that_the_dataset_has_not_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="has no split 'validation', only train and test"):
        prepare(name, "validation", "flat", "float32")


def test_the_second_time_nothing_is_made(home: Path, name: str) -> None:
    told: list[tuple[str, int, int]] = []
    prepare(name, "train", "flat", "float32", lambda *args: told.append(args))
    assert told[-1] == ("preparing test images", 500, 500)
    steps = [done for what, done, _ in told if what == "preparing train images"]
    assert len(steps) > 2 and steps[-1] == 2500
    before = [file.stat().st_ino for file in prepared_files(home)]
    told.clear()
    as_in_another_process()
    prepare(name, "test", "image", "float32", lambda *args: told.append(args))
    assert told == []
    assert [file.stat().st_ino for file in prepared_files(home)] == before


def test_prepared_data_is_mapped_without_being_read(name: str) -> None:
    whole = prepare(name, "train", "flat", "float32").x.nbytes
    as_in_another_process()
    before = bytes_read()
    prepare(name, "train", "flat", "float32")
    assert bytes_read() - before < whole / 100


def bytes_read() -> int:
    """What this process has asked the system to read; a map is not among it."""
    told = Path("/proc/self/io").read_text()
    return int(told.split("rchar:")[1].split()[0])


@pytest.mark.parametrize("harm", ["removed", "cut", "emptied", "other type"])
def test_damaged_prepared_data_is_made_again(home: Path, name: str, harm: str) -> None:
    prepare(name, "train", "flat", "float32")
    file = prepared_files(home)[-1]
    content = file.read_bytes()
    file.unlink()
    if harm == "cut":
        file.write_bytes(content[:-1])
    elif harm == "emptied":
        file.touch()
    elif harm == "other type":
        np.save(file, IMAGES.astype("float64"))
    as_in_another_process()
    found = prepare(name, "train", "image", "float32")
    assert np.array_equal(found.x, (IMAGES / 255.0).astype("float32"))


def test_changed_contents_are_prepared_anew_and_the_old_ones_go(home: Path, name: str) -> None:
    before = prepare(name, "train", "image", "float64")
    for folder in (home / "cache" / "prepared").glob("*/*"):
        os.utime(folder, (0, 0))
    write(Path(name.removeprefix("idx:")), 255 - IMAGES)
    after = prepare(name, "train", "image", "float64")
    assert np.array_equal(after.x, (255 - IMAGES) / 255.0)
    assert np.array_equal(before.x, IMAGES / 255.0)
    assert len(prepared_files(home)) == 2


def test_preparing_ahead_makes_what_jobs_then_map(home: Path, name: str) -> None:
    (made,) = prepare_all(name)
    assert made.dtype == "float32"
    assert made.path.is_dir()
    assert 3000 * 784 * 4 < made.size < 3000 * 784 * 4 + 1000
    assert [each.dtype for each in prepare_all(name, ["float64", "float32"])] == [
        "float32",
        "float64",
    ]
    assert len(prepared_files(home)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("patience", [300, 0], ids=["taking turns", "all at once"])
def test_eight_processes_prepare_one_dataset_while_three_are_killed(
    home: Path, name: str, patience: float
) -> None:
    def start(role: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, name, str(patience), role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    inside, started = threading.Event(), threading.Event()

    def kill_inside(child: subprocess.Popen[str]) -> None:
        assert child.stdout
        if child.stdout.readline() == "inside\n":
            inside.set()
        assert started.wait(300)
        child.kill()
        child.communicate()

    with ThreadPoolExecutor(3) as pool:
        killed = [pool.submit(kill_inside, start("victim")) for _ in range(3)]
        assert inside.wait(300)
        others = [start("worker") for _ in range(5)]
        started.set()
        outputs = [each.communicate(timeout=300)[0] for each in others]
    for each in killed:
        each.result()
    expected = (IMAGES / 255.0).astype("float32").sum(dtype="float64")
    assert outputs == [f"{expected:.6f}\n"] * 5
    assert [file.name for file in prepared_files(home) if ".tmp" not in str(file)] == [
        "test.npy",
        "train.npy",
    ]


def test_what_killed_processes_left_is_swept_after_an_hour(home: Path, name: str) -> None:
    prepare(name, "train", "flat", "float32")
    (folder,) = (p for p in (home / "cache" / "prepared").glob("*/*") if p.is_dir())
    old, fresh = folder.with_name(".old.tmp"), folder.with_name(".fresh.tmp")
    for leftover in (old, fresh):
        leftover.mkdir()
        (leftover / "train.npy").write_bytes(b"half")
    # The prepared data is old too, but still what the dataset holds.
    for each in (old, folder):
        os.utime(each, (time.time() - 3700, time.time() - 3700))
    prepare(name, "train", "flat", "float64")
    assert not old.exists()
    assert fresh.exists()
    assert folder.exists()


def test_memory_stays_bounded_while_preparing(tmp_path: Path) -> None:
    name = write(tmp_path / "large", np.tile(IMAGES, (4, 1, 1)), np.tile(LABELS, 4))
    datasets.raw(name)
    tracemalloc.start()
    (made,) = prepare_all(name, ["float64"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.size > 60e6
    assert peak < 20e6


def test_deskewed_images_are_those_of_blocks_of_a_thousand(name: str) -> None:
    # The last bit of an image depends on its block, and figures on MNIST on the last bit.
    found = prepare(name, "train", "image", "float64", preprocess="deskew").x
    scaled = datasets.raw(name).splits["train"].inputs / 255.0
    blocks = [steps.deskew(scaled[at : at + 1000]) for at in range(0, len(scaled), 1000)]
    assert len(blocks) > 1
    assert np.array_equal(found, np.concatenate(blocks))


@pytest.mark.mnist
@pytest.mark.skipif(not HERE, reason="no MNIST files in ZOO_DATA_DIR")
def test_mnist_is_prepared_as_keras_would_be_given_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", DATA)
    found = prepare("mnist", "train", "flat", "float32")
    images = datasets.raw("mnist").splits["train"].inputs
    assert found.x.shape == (60000, 784)
    for rows in (slice(0, 3000), slice(57000, None)):
        expected = (images[rows] / 255.0).astype("float32").reshape(-1, 784)
        assert np.array_equal(found.x[rows], expected)


def test_a_process_maps_a_variant_once(home: Path, name: str) -> None:
    first, again = (prepare(name, "test", "flat", "float32").x for _ in range(2))
    assert np.shares_memory(first, again)
    for dtype in ("float64", "float32"):
        found = prepare(name, "test", "image", dtype)  # type: ignore[arg-type]
        assert found.x.dtype == dtype and found.x.shape == (500, 28, 28)
