"""Datasets by name: resolved, checked, cached, made again when the cache or the files change."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.data import cache, datasets, mnist, preprocessing
from zoo.data.readers import idx
from zoo.errors import DatasetError, UsageError
from zoo.plugins import registry

GENERATOR = np.random.default_rng(3)
IMAGES = GENERATOR.integers(0, 256, (40, 28, 28), dtype="uint8")
LABELS = np.arange(40, dtype="uint8") % 4
PLUGIN = """
import zoo

def load():
    import numpy as np
    with open({calls!r}, "a") as file:
        file.write("x")
    labels = np.arange(12) % 3
    images = np.zeros((12, 28, 28), "uint8")
    return {result}

@zoo.hookimpl
def register_datasets(register):
    register(zoo.Dataset("blank", "Empty images", load, ("a", "b", "c"), version={version!r}))
"""
SOUND = "{'train': zoo.Images(images, labels), 'test': zoo.Images(images, labels)}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No MNIST anywhere, no plugin but those of a test."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_PLUGINS", "blank")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    monkeypatch.delenv("ZOO_PLUGINS_DIR", raising=False)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    registry.catalogue.cache_clear()
    return tmp_path / "home"


@pytest.fixture
def plugin(home: Path, tmp_path: Path) -> Callable[..., Path]:
    """Install the dataset `blank`, and return the file that counts its calls."""

    def install(result: str = SOUND, version: str = "1") -> Path:
        calls = tmp_path / "calls"
        (home / "plugins").mkdir(parents=True, exist_ok=True)
        source = PLUGIN.format(calls=str(calls), result=result, version=version)
        (home / "plugins" / "blank.py").write_text(source)
        registry.catalogue.cache_clear()
        return calls

    return install


def write_idx(folder: Path, *arrays: np.ndarray, gzipped: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for (part, ndim), array in zip(idx.PARTS.items(), arrays or sound(), strict=True):
        content = idx.header(array.shape) + array.tobytes()
        name = f"{part}-idx{ndim}-ubyte" + ".gz" * gzipped
        (folder / name).write_bytes(gzip.compress(content) if gzipped else content)
    return folder


def write_npz(path: Path, **others: np.ndarray) -> Path:
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), sound(), strict=True))
    np.savez(path, **(arrays | others))
    return path


def sound() -> tuple[np.ndarray, ...]:
    return IMAGES, LABELS, IMAGES[:10], LABELS[:10]


def files(home: Path) -> list[Path]:
    """Everything in the cache but the locks."""
    return [p for p in (home / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_a_path_becomes_absolute_and_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert datasets.resolve("idx:mine/../mine/") == f"idx:{tmp_path}/mine"
    assert datasets.resolve(f"idx:{tmp_path}/mine") == f"idx:{tmp_path}/mine"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnits", "Did you mean 'mnist'"),
        ("", "No dataset is called"),
        ("nosuch.csv", "There is no file 'nosuch.csv'"),
        ("./pictures", "There is no file './pictures'"),
        ("csv:here", "no csv dataset at"),
        ("cvs:here", "Did you mean 'csv'"),
        ("idx:", "'idx:' needs a path"),
        ("npz:a\0b", "'npz:' needs a path"),
        ("npz:a\nb", "'npz:' needs a path"),
        ("idx:/no/such/folder", "no idx dataset at /no/such/folder"),
        ("npz:/dev/zero", "no npz dataset at /dev/zero"),
        ("npz:/" + "x" * 5000, "no npz dataset"),
        ("idx:/" + "x" * 5000, "no idx dataset"),
    ],
    ids=lambda value: value[:20],
)
def test_a_wrong_name_is_a_usage_error(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        datasets.resolve(name)


def test_idx_plain_and_gzipped_and_npz_give_the_same_dataset(tmp_path: Path) -> None:
    names = [
        f"idx:{write_idx(tmp_path / 'plain')}",
        f"idx:{write_idx(tmp_path / 'gz', gzipped=True)}",
        f"npz:{write_npz(tmp_path / 'mine.npz')}",
    ]
    found = [datasets.raw(name) for name in names]
    assert len({each.fingerprint for each in found}) == 1
    for each in found:
        images, labels = each.splits["train"]
        assert np.array_equal(images, IMAGES)
        assert labels.dtype == np.int64
        assert np.array_equal(labels, LABELS)
        assert each.class_names == ("0", "1", "2", "3")


LABELLED = st.lists(st.integers(0, 255), min_size=2, max_size=30)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LABELLED.filter(lambda labels: len(set(labels)) > 1), LABELLED)
def test_the_classes_are_the_labels_that_occur_in_any_split(
    tmp_path: Path, train: list[int], test: list[int]
) -> None:
    labels = {"train": train, "test": test}
    arrays = {
        f"{axis}_{split}": np.array(each, "uint8") if axis == "y" else IMAGES[: len(each)]
        for split, each in labels.items()
        for axis in "xy"
    }
    found = datasets.raw(f"npz:{write_npz(tmp_path / 'mine.npz', **arrays)}")
    present = sorted({*train, *test})
    assert found.class_names == tuple(map(str, present))
    for split, each in labels.items():
        named = [int(found.class_names[label]) for label in found.splits[split].labels]
        assert named == each
    plain = idx.sha256(*(arrays[f"{axis}_{split}"] for split in labels for axis in "xy"))
    is_plain = present == list(range(len(present)))
    assert (found.fingerprint == plain) == is_plain
    told = " ".join(found.notes)
    for rare in ([n for n in present if train.count(n) == count] for count in (0, 1)):
        assert all(f"'{label}'" in told for label in rare[:10])
    common = [label for label in present if train.count(label) > 1]
    assert not any(f"'{label}'" in told for label in common)
    assert bool(found.notes) == any(train.count(each) < 2 for each in present)


@pytest.mark.parametrize(
    ("turn", "names", "note"),
    [
        (lambda y: y % 26 + 1, [str(n) for n in range(1, 27)], None),
        (lambda y: y % 10 * 10, [str(n) for n in range(0, 100, 10)], None),
        (
            lambda y: np.where(np.arange(len(y)) == 7, 255, y % 10),
            [*map(str, range(10)), "255"],
            "The class '255' has a single training image: is it meant?",
        ),
        (
            lambda y: np.where(y % 10 == 9, 9 if len(y) == 60 else 8, y % 10),
            [str(n) for n in range(10)],
            "The class '9' has no training image: is it meant?",
        ),
    ],
    ids=["letters", "tens", "a stray one", "only in the test"],
)
def test_no_class_is_there_that_has_no_image_and_a_rare_one_is_told(
    tmp_path: Path, turn: Callable[[np.ndarray], np.ndarray], names: list[str], note: str | None
) -> None:
    sides = {"train": np.arange(260), "test": np.arange(60)}
    images = GENERATOR.integers(0, 256, (260, 28, 28), dtype="uint8")
    arrays = {f"x_{side}": images[: len(each)] for side, each in sides.items()}
    labels = {f"y_{side}": turn(each).astype("uint8") for side, each in sides.items()}
    if "255" in names:
        labels["y_test"] = (sides["test"] % 10).astype("uint8")
    name = f"npz:{write_npz(tmp_path / 'mine.npz', **arrays, **labels)}"
    found = datasets.raw(name)
    assert list(found.class_names) == names
    assert list(datasets.notes(name)) == ([note] if note else [])


def test_a_plugins_classes_without_an_image_are_none(plugin: Callable[..., Path]) -> None:
    result = "{s: zoo.Images(images, labels * 2 % 3) for s in ('train', 'test')}"
    plugin(result.replace("% 3", "% 4"))
    assert datasets.raw("blank").class_names == ("a", "c")


def test_what_the_cache_gives_cannot_be_written(tmp_path: Path) -> None:
    found = datasets.raw(f"idx:{write_idx(tmp_path / 'mine')}")
    with pytest.raises(ValueError, match="read-only"):
        found.splits["train"].inputs[0] = 0


def test_a_plugin_is_asked_once_per_version(plugin: Callable[..., Path]) -> None:
    calls = plugin()
    first, again = datasets.raw("blank"), datasets.raw("blank")
    assert first.class_names == ("a", "b", "c")
    assert (first.fingerprint, calls.read_text()) == (again.fingerprint, "x")
    plugin(version="2")
    datasets.raw("blank")
    assert calls.read_text() == "xx"


def test_without_a_version_the_code_of_the_plugin_and_the_files_it_names_are_one(
    plugin: Callable[..., Path], home: Path, tmp_path: Path
) -> None:
    read = tmp_path / "read.bin"
    read.write_bytes(b"1")
    calls = plugin()
    source = home / "plugins" / "blank.py"
    first = source.read_text().replace("version='1'", f"files=({str(read)!r},)")

    def is_read_again(change: Callable[[], object]) -> bool:
        before = len(calls.read_text()) if calls.exists() else 0
        change()
        registry.catalogue.cache_clear()
        datasets.raw("blank")
        assert datasets.is_cached("blank") and datasets.fingerprint("blank")
        return len(calls.read_text()) > before

    assert is_read_again(lambda: source.write_text(first))
    assert not is_read_again(lambda: None)
    assert is_read_again(lambda: source.write_text(first + "# another line"))
    assert is_read_again(lambda: read.write_bytes(b"2"))
    assert not is_read_again(lambda: None)
    read.unlink()
    assert datasets.fingerprint("blank") is None
    with pytest.raises(DatasetError, match=r"read\.bin cannot be read"):
        datasets.raw("blank")
    assert [each.cached for each in datasets.listing() if each.name == "blank"] == [False]


def test_a_changed_file_is_read_again_even_with_its_old_size_and_time(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mine")
    before = datasets.raw(f"idx:{folder}")
    file = folder / "train-images-idx3-ubyte"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_bytes(idx.header(IMAGES.shape) + (255 - IMAGES).tobytes())
    os.utime(file, ns=times)
    after = datasets.raw(f"idx:{folder}")
    assert np.array_equal(after.splits["train"].inputs, 255 - IMAGES)
    assert after.fingerprint != before.fingerprint
    # What a running job has mapped stays as it was.
    assert np.array_equal(before.splits["train"].inputs, IMAGES)


def test_superseded_contents_leave_the_cache_after_a_while(home: Path, tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mine")
    datasets.raw(f"idx:{folder}")
    (old,) = (p for p in (home / "cache" / "raw").glob("*/*") if p.is_dir())
    os.utime(old, (0, 0))
    write_idx(folder, 255 - IMAGES, *sound()[1:])
    datasets.raw(f"idx:{folder}")
    assert not old.exists()
    assert len(files(home)) == 5


@pytest.mark.parametrize("file", ["train-images.npy", "test-labels.npy", "meta.json"])
@pytest.mark.parametrize("harm", ["removed", "cut", "emptied", "replaced", "a folder"])
def test_a_damaged_cache_is_made_again(home: Path, tmp_path: Path, file: str, harm: str) -> None:
    name = f"idx:{write_idx(tmp_path / 'mine')}"
    before = datasets.raw(name)
    (path,) = (each for each in files(home) if each.name == file)
    content = path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(content[:-1])
    elif harm == "emptied":
        path.write_bytes(b"")
    elif harm == "replaced":
        np.save(path.open("wb"), np.zeros((2, 2)))
    elif harm == "a folder":
        path.mkdir()
    after = datasets.raw(name)
    assert after.fingerprint == before.fingerprint
    assert np.array_equal(after.splits["train"].inputs, IMAGES)
    assert path.read_bytes() == content


@pytest.mark.parametrize("change", [{"fingerprint": 5}, {"counts": {}}, {"name": "x"}])
def test_a_meta_file_that_says_something_else_is_made_again(
    home: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    name = f"idx:{write_idx(tmp_path / 'mine')}"
    before = datasets.raw(name)
    (path,) = (each for each in files(home) if each.name == "meta.json")
    written = path.read_text()
    path.write_text(json.dumps(json.loads(written) | change))
    assert datasets.raw(name).fingerprint == before.fingerprint
    assert json.loads(path.read_text()) == json.loads(written)


ODD: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "counts": ({"y_train": LABELS[:-1]}, "40 train images and 39 labels"),
    "sizes": ({"x_test": IMAGES[:10, 1:]}, r"several sizes: .*test \(10, 27, 28\)"),
    "flat": ({"x_test": IMAGES[:10].reshape(10, 784)}, r"\(10, 784\)"),
    "real pixels": ({"x_train": IMAGES / 300.0}, "several types"),
    "no images": ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, "no test images"),
    "real labels": ({"y_test": LABELS[:10] / 2}, "test labels are real numbers such as 0.5"),
    "several ones": ({"y_train": np.ones((40, 4), "uint8")}, "several ones in row 0"),
    "large labels": ({"y_train": LABELS.astype("uint64") + 2**63}, "labels are too large"),
    "large floats": ({"y_train": LABELS + 2.0**60}, "labels are too large"),
}


@pytest.mark.parametrize("case", ODD)
def test_a_dataset_of_another_form_is_refused_and_leaves_nothing(
    home: Path, tmp_path: Path, case: str
) -> None:
    others, words = ODD[case]
    path = write_npz(tmp_path / "mine.npz", **others)
    with pytest.raises(DatasetError, match=words) as caught:
        datasets.raw(f"npz:{path}")
    assert caught.value.exit_code == 1
    assert caught.value.hint  # the way out
    assert files(home) == []


def test_training_labels_of_one_class_are_kept_for_a_test_but_train_nothing(
    tmp_path: Path,
) -> None:
    name = f"npz:{write_npz(tmp_path / 'mine.npz', y_train=LABELS * 0)}"
    assert datasets.raw(name).class_names == ("0", "1", "2", "3")
    assert preprocessing.prepare(name, "test", "flat", "float32").y.tolist() == LABELS[:10].tolist()
    with pytest.raises(DatasetError, match="all training images are of one class") as caught:
        preprocessing.prepare(name, "train", "flat", "float32")
    assert caught.value.hint


def test_negative_labels_are_classes_in_numerical_order(tmp_path: Path) -> None:
    labels = LABELS.astype("int64") - 1
    found = datasets.raw(f"npz:{write_npz(tmp_path / 'mine.npz', y_train=labels)}")
    assert found.class_names == ("-1", "0", "1", "2", "3")
    assert np.array_equal(found.splits["train"].labels, LABELS)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("1 / 0", "The plugin of the dataset 'blank' failed: ZeroDivisionError"),
        ("None", "cannot be used"),
        ("{'train': (images, labels)}", "no split 'test'"),
        ("{'train': (images, labels), 'test': images}", "cannot be used"),
        ("{'train': (images, labels + 1), 'test': (images, labels)}", "3 class names"),
    ],
)
def test_what_a_plugin_returns_is_checked(
    plugin: Callable[..., Path], home: Path, result: str, words: str
) -> None:
    plugin(result)
    with pytest.raises(DatasetError, match=words):
        datasets.raw("blank")
    assert files(home) == []


def test_a_cache_that_cannot_be_written_is_named(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (home / "cache").write_text("a file where a folder should be")
    with pytest.raises(DatasetError, match=f"{home}/cache/raw/.* cannot be written: ") as caught:
        datasets.raw(f"idx:{write_idx(tmp_path / 'mine')}")
    assert "ZOO_HOME" in caught.value.hint


def test_a_disk_that_fills_up_is_named_and_nothing_is_left(home: Path, tmp_path: Path) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    name = f"idx:{write_idx(tmp_path / 'mine')}"
    program = f"""
from zoo.data import datasets
from zoo import errors
try:
    datasets.raw({name!r})
except errors.DatasetError as error:
    print(error)
"""
    done = subprocess.run(
        # Without bytecode: Python would leave files of half a module behind.
        [sys.executable, "-B", "-c", program],
        capture_output=True,
        text=True,
        preexec_fn=little_room,
    )
    assert f"{home}/cache/raw/" in done.stdout, done.stderr
    assert "cannot be written: File too large." in done.stdout
    assert files(home) == []
    assert not list((home / "cache").rglob("*.tmp"))


def test_the_loser_of_a_race_takes_what_the_winner_made(tmp_path: Path) -> None:
    folder = tmp_path / "made"

    def load(where: Path) -> str | None:
        return (where / "by").read_text() if (where / "by").exists() else None

    def fill(where: Path) -> None:
        (where / "by").write_text("loser")
        folder.mkdir()
        (folder / "by").write_text("winner")

    assert cache.get(folder, load, fill) == "winner"
    assert not list(tmp_path.glob("*.tmp"))


def test_what_is_always_damaged_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is damaged each time"):
        cache.get(tmp_path / "made", lambda _: None, lambda _: None)


def test_the_listing_says_what_is_here_and_reads_nothing(
    plugin: Callable[..., Path], tmp_path: Path
) -> None:
    calls = plugin()
    before = {each.name: each for each in datasets.listing()}
    assert list(before) == ["mnist", "blank"]
    assert before["mnist"].where == "to be downloaded"
    assert not before["blank"].cached
    assert not calls.exists()
    name = f"idx:{write_idx(tmp_path / 'mine')}"
    datasets.raw("blank")
    datasets.raw(name)
    after = {each.name: each for each in datasets.listing()}
    assert list(after) == ["mnist", "blank", name]
    assert after["blank"].cached
    assert after["blank"].size > 2 * 12 * 28 * 28
    assert after[name].where == str(tmp_path / "mine")
