"""Files of arrays as people have them: taken, with these arrays, or refused with a way to mend."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.array_files import NAMES, digits, idx, write_idx, write_npz

from zoo.data import contents, incoming
from zoo.data.contents import Raw
from zoo.data.readers import conversion
from zoo.data.readers import idx as idx_reader
from zoo.data.readers import npz as npz_reader
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError

D = digits()
X, Y, XT, YT = D["x_train"], D["y_train"], D["x_test"], D["y_test"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))


def imported(path: Path, **options: object) -> Raw:
    """Read a file or folder and open what was written of it."""
    reader = idx_reader if path.is_dir() else npz_reader
    chosen = SourceOptions(**options)
    folder = path.parent / f"{path.name}-contents"
    folder.mkdir()
    incoming.write(folder, "mine", reader.read(path, chosen), chosen.shares)
    found = contents.open_contents(folder)
    assert found
    return found


def both(change: Callable[[np.ndarray], np.ndarray], axis: str) -> dict[str, np.ndarray]:
    """The arrays of both splits, `x` or `y`, changed."""
    return {name: change(array) for name, array in D.items() if name.startswith(axis)}


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def floats(x: np.ndarray) -> bytes:
    return gz(idx(x / 255, 0x0D, ">f4"))


def qmnist(y: np.ndarray) -> bytes:
    rows = np.zeros((len(y), 8), "int32")
    rows[:, 0], rows[:, 2] = y, 7
    return gz(idx(rows, 0x0C, ">i4"))


DOTS = {part: name.replace("-idx", ".idx") for part, name in NAMES.items()}
EMNIST = {part: f"emnist-letters-{name.replace('t10k', 'test')}" for part, name in NAMES.items()}
QMNIST = {part: f"qmnist-{name.replace('t10k', 'test')}" for part, name in NAMES.items()}
IMAGES = gz(idx(X))

IDX: dict[str, dict[str, object]] = {
    "gzipped": {},
    "plain": {"gzipped": False},
    "plain, named as gzipped": {"x_train": idx(X)},
    "names with dots": {"names": DOTS},
    "names of EMNIST": {"names": EMNIST},
    "names of QMNIST": {"names": QMNIST},
    "in two members": {"x_train": gz(idx(X)[:5000]) + gz(idx(X)[5000:])},
    "zeros behind the end": {"x_train": IMAGES + bytes(512)},
    "floats": {"x_train": floats(X), "x_test": floats(XT)},
    "doubles": {"x_train": gz(idx(X, 0x0E, ">f8")), "x_test": gz(idx(XT, 0x0E, ">f8"))},
    "shorts": {"x_train": gz(idx(X, 0x0B, ">i2"))},
    "big-endian labels": {
        "y_train": gz(idx(Y, 0x0C, ">i4")),
        "y_test": gz(idx(YT, 0x09, ">i1")),
    },
    "labels of QMNIST": {"y_train": qmnist(Y), "y_test": qmnist(YT)},
}
"""Folders with the same contents."""


@pytest.mark.parametrize("case", IDX)
def test_an_idx_folder_is_taken(tmp_path: Path, case: str) -> None:
    found = imported(write_idx(tmp_path / "mine", **IDX[case]))  # type: ignore[arg-type]
    assert_digits(found)


def assert_digits(found: Raw) -> None:
    for split, x, y in (("train", X, Y), ("test", XT, YT)):
        assert found.splits[split].inputs.dtype == np.uint8
        assert np.array_equal(found.splits[split].inputs, x)
        assert np.array_equal(found.splits[split].labels, y)
    assert found.class_names == tuple("0123456789")
    assert found.fingerprint == idx_reader.sha256(X, Y, XT, YT)


BROKEN_IDX: dict[str, tuple[dict[str, object], str]] = {
    "cut": ({"x_train": IMAGES[:3000]}, "ended before the end"),
    "a web page": ({"x_train": b"<!DOCTYPE html>"}, "does not begin as one"),
    "cut in the header": ({"x_train": idx(X)[:9]}, "ends within its header"),
    "empty": ({"x_train": b""}, "does not begin as one"),
    "another type": ({"x_train": idx(X, 0x0A)}, "unknown type 0x0a"),
    "too many promised": ({"x_train": gz(idx(X, count=70)), "y_train": Y.repeat(2)[:70]}, "ends"),
    "too few promised": ({"x_train": gz(idx(X, count=50)), "y_train": Y[:50]}, "more than"),
    "fewer labels": ({"y_train": Y[:50]}, "60 train images and 50 labels"),
    "labels swapped": ({"y_train": YT, "y_test": Y}, "60 train images and 20 labels"),
    "a file less": ({"y_test": None}, "has no t10k-labels-idx1-ubyte"),
    "no test images": ({"x_test": XT[:0], "y_test": YT[:0]}, "no test images"),
    "several sizes": ({"x_test": np.pad(XT, ((0, 0), (2, 2), (2, 2)))}, "several sizes"),
    "floats with NaN": ({"x_train": floats(np.where(X > 200, np.nan, X))}, "NaN"),
}


@pytest.mark.parametrize("case", BROKEN_IDX)
def test_a_broken_idx_folder_is_refused(tmp_path: Path, case: str) -> None:
    change, words = BROKEN_IDX[case]
    folder = write_idx(tmp_path / "mine", **change)  # type: ignore[arg-type]
    assert_refused(folder, words)


def assert_refused(path: Path, words: str, **options: object) -> None:
    # What the writer finds, such as an empty test split, becomes a DatasetError in `datasets`.
    with pytest.raises((DatasetError, ValueError), match=words) as caught:
        imported(path, **options)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, DatasetError) or caught.value.hint


def test_emnists_letters_are_turned_and_get_their_names(tmp_path: Path) -> None:
    letters = np.arange(60) % 26 + 1
    folder = write_idx(
        tmp_path / "letters",
        EMNIST,
        x_train=X.transpose(0, 2, 1),
        y_train=letters,
        x_test=XT.transpose(0, 2, 1),
        y_test=letters[:20],
    )
    names = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    found = imported(folder, transpose=True, classes=names)
    assert np.array_equal(found.splits["train"].inputs, X)
    assert found.class_names == names
    assert found.splits["train"].labels.tolist() == (letters - 1).tolist()


def test_names_are_for_labels_from_0_or_from_1_and_not_for_others(tmp_path: Path) -> None:
    odd = write_npz(tmp_path / "odd.npz", y_train=Y % 3 + 1, y_test=YT % 3 + 1)
    assert_refused(odd, "3 different labels, 1 to 3", classes=tuple("abcd"))
    some = write_npz(tmp_path / "some.npz", y_train=Y % 2 * 3, y_test=YT % 2 * 3)
    assert imported(some, classes=tuple("abcd")).class_names == ("a", "d")


def test_a_folder_with_the_files_of_several_datasets_is_refused(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "both", EMNIST)
    for file in [*folder.iterdir()]:
        shutil.copy(file, folder / file.name.replace("letters", "digits"))
    assert_refused(folder, "several files of test images: emnist-digits-test-images")


def test_one_pair_of_files_is_enough(tmp_path: Path) -> None:
    test = imported(write_idx(tmp_path / "test", x_train=None, y_train=None))
    assert list(test.splits) == ["test"]
    assert test.meta.untrainable == "it has no training images"
    assert test.meta.conversions == ()
    train = imported(write_idx(tmp_path / "train", x_test=None, y_test=None))
    assert train.meta.counts == {"train": 48, "test": 12}
    assert "There is no test split" in train.meta.conversions[0]


TAKEN: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "bytes": ({}, ""),
    "an axis for the channel": (both(lambda x: x[..., None], "x"), "single channel"),
    "the channel first": (both(lambda x: x[:, None], "x"), "single channel"),
    "float32 from 0 to 1": (both(lambda x: (x / 255).astype("f4"), "x"), "k / 255"),
    "float32 by a factor": (both(lambda x: x.astype("f4") * np.float32(1 / 255), "x"), "k / 255"),
    "float16 from 0 to 1": (both(lambda x: (x / 255).astype("f2"), "x"), "k / 255"),
    "float64 from 0 to 255": (both(lambda x: x.astype("f8"), "x"), "whole numbers from 0 to 255"),
    "floats beside bytes": ({"x_test": XT / 255}, "k / 255"),
    "int64": (both(lambda x: x.astype("i8"), "x"), "type int64"),
    "big-endian": (both(lambda x: x.astype(">i4"), "x"), "type int32"),
    "Fortran order": (both(np.asfortranarray, "x"), ""),
    "flat": (both(lambda x: x.reshape(-1, 784), "x"), "28 x 28"),
    "one-hot": (both(lambda y: np.eye(10)[y], "y"), "One-hot"),
    "labels in a column": (both(lambda y: y[:, None], "y"), "column"),
    "labels of floats": (both(lambda y: y.astype("f8"), "y"), "whole"),
    "labels of texts": (both(lambda y: y.astype(str), "y"), ""),
    "labels of bytes": (both(lambda y: y.astype("S"), "y"), "UTF-8"),
}
"""Files with the digits, and what is said about a conversion."""


@pytest.mark.parametrize("case", TAKEN)
def test_an_npz_file_is_taken(tmp_path: Path, case: str) -> None:
    change, words = TAKEN[case]
    found = imported(write_npz(tmp_path / "mine.npz", **change))
    assert_digits(found)
    assert len(found.meta.conversions) == bool(words)
    assert all(words in note for note in found.meta.conversions)


KEYS = [
    ("X_train", "Y_train", "X_test", "Y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("trainX", "trainy", "testX", "testy"),
    ("images-train", "labels-train", "images-test", "labels-test"),
    ("data_training", "target_training", "data_testing", "target_testing"),
]


@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: keys[0])
def test_arrays_are_found_by_their_usual_names(tmp_path: Path, keys: tuple[str, ...]) -> None:
    np.savez(tmp_path / "mine.npz", **dict(zip(keys, D.values(), strict=True)))
    assert_digits(imported(tmp_path / "mine.npz"))


@pytest.mark.parametrize("keys", ["images labels", "X y", "x y", "data target"])
def test_arrays_without_a_split_are_divided(tmp_path: Path, keys: str) -> None:
    np.savez(tmp_path / "mine.npz", **dict(zip(keys.split(), (X, Y), strict=True)))
    found = imported(tmp_path / "mine.npz", test=0.25)
    assert found.meta.counts == {"train": 45, "test": 15}
    assert found.meta.conversions == (
        "There is no test split: 25% of the images, stratified, were held out for it.",
    )


def test_medmnists_file_has_a_validation_split(tmp_path: Path) -> None:
    colour = np.repeat(X[..., None], 3, 3)
    arrays = {
        f"{split}_{role}": array[start:end]
        for split, start, end in (("train", 0, 40), ("val", 40, 50), ("test", 50, 60))
        for role, array in (("images", colour), ("labels", Y[:, None]))
    }
    np.savez_compressed(tmp_path / "pathmnist.npz", **arrays)
    found = imported(tmp_path / "pathmnist.npz")
    assert found.meta.counts == {"train": 40, "test": 10, "validation": 10}
    assert found.meta.shape == (28, 28, 3)
    assert np.array_equal(found.splits["validation"].inputs, colour[40:50])
    assert np.array_equal(found.splits["validation"].labels, Y[40:50])


@pytest.mark.parametrize("first", [False, True])
def test_cifars_images_are_colour_of_any_size(tmp_path: Path, first: bool) -> None:
    generator = np.random.default_rng(10)
    x = generator.integers(0, 256, (700, 32, 32, 3), dtype="uint8")
    y = np.arange(700) % 10
    stored = x.transpose(0, 3, 1, 2) if first else x
    path = tmp_path / "cifar.npz"
    np.savez(path, x_train=stored[:600], y_train=y[:600, None], x_test=stored[600:], y_test=y[600:])
    found = imported(path)
    assert found.meta.shape == (32, 32, 3)
    # Of several chunks.
    assert np.array_equal(found.splits["train"].inputs, x[:600])
    assert any("channels were first" in note for note in found.meta.conversions) == first


def test_floats_that_are_no_bytes_are_kept(tmp_path: Path) -> None:
    for dtype, kept in (("f2", "float32"), ("f4", "float32"), ("f8", "float64")):
        change = both(lambda x: (x / 300).astype(dtype), "x")  # noqa: B023 (called at once)
        found = imported(write_npz(tmp_path / f"{dtype}.npz", **change))
        assert found.meta.dtype == kept
        assert np.array_equal(found.splits["train"].inputs, change["x_train"].astype(kept))


@pytest.mark.parametrize("names", [None, "texts", "bytes"])
def test_rows_of_numbers_are_a_table(tmp_path: Path, names: str | None) -> None:
    from sklearn.datasets import load_wine

    wine = load_wine()
    x = wine.data.copy()
    x[3, 1] = np.nan
    given = {}
    if names:
        given["feature_names"] = np.array(wine.feature_names, "S" if names == "bytes" else "U")
        given["target_names"] = wine.target_names
    np.savez(tmp_path / "wine.npz", data=x, target=wine.target, **given)
    found = imported(tmp_path / "wine.npz")
    assert (found.meta.kind, found.meta.shape) == ("table", (13,))
    expected = wine.feature_names if names else [f"feature{n}" for n in range(13)]
    assert [each.name for each in found.meta.columns] == expected
    assert [each.name for each in found.meta.columns if each.has_missing] == [expected[1]]
    assert found.class_names == (tuple(wine.target_names.tolist()) if names else ("0", "1", "2"))
    rows = np.concatenate([split.inputs for split in found.splits.values()])
    assert np.array_equal(np.sort(rows[:, 12]), np.sort(x[:, 12]))


def test_flat_rows_that_are_no_pixels_are_refused_with_the_way_to_a_table(tmp_path: Path) -> None:
    for name, x in (("below", X.reshape(60, -1) / 9 - 5.0), ("nan", np.full((60, 64), np.nan))):
        arrays = {"x": x, "y": Y}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert_refused(tmp_path / f"{name}.npz", r"feature_names=\[")
        names = np.array([f"f{n}" for n in range(x.shape[1])])
        np.savez(tmp_path / f"{name}-named.npz", **arrays, feature_names=names)
        assert imported(tmp_path / f"{name}-named.npz").meta.kind == "table"


def test_a_table_of_few_columns_is_none_of_tiny_images(tmp_path: Path) -> None:
    from sklearn.datasets import load_iris

    iris = load_iris()
    np.savez(tmp_path / "iris.npz", X=iris.data, y=iris.target_names[iris.target])
    found = imported(tmp_path / "iris.npz")
    assert (found.meta.kind, found.meta.shape) == ("table", (4,))
    assert found.class_names == ("setosa", "versicolor", "virginica")


def test_a_file_of_its_own_for_a_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=X, y=Y)
    np.savez(tmp_path / "own.npz", x=XT, y=YT)
    write_npz(tmp_path / "full.npz")
    assert_digits(imported(tmp_path / "mine.npz", test=str(tmp_path / "own.npz")))
    (tmp_path / "mine.npz-contents").rename(tmp_path / "first")
    found = imported(tmp_path / "mine.npz", test=str(tmp_path / "full.npz"))
    assert np.array_equal(found.splits["test"].inputs, XT)
    own = str(tmp_path / "own.npz")
    assert_refused(tmp_path / "full.npz", "has a test split already", test=own)
    (tmp_path / "full.npz").rename(tmp_path / "again.npz")
    assert_refused(tmp_path / "again.npz", "has a test split already", test=0.5)


def test_images_are_turned_resized_and_made_grey(tmp_path: Path) -> None:
    from PIL import Image

    colour = np.stack([X, X // 2, 255 - X], axis=3)
    path = tmp_path / "mine.npz"
    np.savez(path, x=colour[:, :20], y=Y)
    made = imported(path, transpose=True, grey=True, size=(14, 12)).splits
    assert made["train"].inputs.shape[1:] == (14, 12)
    turned = Image.fromarray(np.ascontiguousarray(colour[0, :20].swapaxes(0, 1)))
    expected = np.asarray(turned.convert("L").resize((12, 14), Image.Resampling.BILINEAR))
    everything = np.concatenate([made["train"].inputs, made["test"].inputs])
    assert any(np.array_equal(each, expected) for each in everything)


@pytest.mark.parametrize("grey", [False, True])
def test_images_of_floats_are_resized_within_0_and_1(tmp_path: Path, grey: bool) -> None:
    colour = np.stack([X, X // 2, 255 - X], axis=3) / 256
    np.savez(tmp_path / "mine.npz", x=colour, y=Y)
    found = imported(tmp_path / "mine.npz", grey=grey, size=(14, 14))
    inputs = found.splits["train"].inputs
    assert inputs.shape[1:] == ((14, 14) if grey else (14, 14, 3))
    assert 0 <= inputs.min() < inputs.max() <= 1
    assert abs(inputs.mean() - colour.mean()) < (0.2 if grey else 0.02)


def x_with(value: float, dtype: str = "f4") -> dict[str, np.ndarray]:
    x = (X / 255).astype(dtype)
    x[3, 5, 5] = value
    return {"x_train": x, "x_test": (XT / 255).astype(dtype)}


MANY = np.eye(10, dtype="uint8")[Y] | np.eye(10, dtype="uint8")[(Y + 1) % 10]
REFUSED: dict[str, tuple[dict[str, np.ndarray], str, str]] = {
    "objects": ({"x_train": X.astype(object)}, "Python objects in x_train", "tolist"),
    "objects as labels": ({"y_train": Y.astype(object)}, "Python objects in y_train", "tolist"),
    "NaN": (x_with(np.nan), "NaN or infinity among its pixels", "nan_to_num"),
    "infinity": (x_with(np.inf), "NaN or infinity among its pixels", "nan_to_num"),
    "from -1 to 1": (x_with(-1), "negative pixels such as -1", r"\(x_train \+ 1\) / 2"),
    "standardized": (both(lambda x: x / 90 - 1, "x"), "negative pixels", r"x_train.min\(\)"),
    "fractions to 255": (both(lambda x: x * 0.99, "x"), "floats up to 252", "x_train / 255"),
    "large floats": (both(lambda x: x * 16.0, "x"), "floats up to 4080", r"x_train.max\(\)"),
    "16 bits": (
        both(lambda x: x.astype("u2") * 257, "x"),
        "the pixel 65535 in x_train",
        r".max\(\)",
    ),
    "negative integers": (
        both(lambda x: x.astype("i2") - 1, "x"),
        "the pixel -1 in x_train",
        r".min\(\)",
    ),
    "complex": (both(lambda x: x.astype("c8"), "x"), "complex numbers in x_train, not", "astype"),
    "texts": (both(lambda x: x.astype("U3"), "x"), "texts in x_train", "CSV"),
    "two scales": ({"x_train": X / 300}, "several types", "x_test / 255"),
    "transparency": (both(lambda x: np.stack([x] * 4, 3), "x"), "no image", r"\.\.\., :3"),
    "two channels": (both(lambda x: np.stack([x] * 2, 3), "x"), "no image", r"\.\.\., 0"),
    "volumes": (both(lambda x: np.stack([x] * 28, 3), "x"), "no image", "height, width"),
    "first or last": (both(lambda x: x[:, :3, :, None].repeat(3, 3), "x"), "channels first or", ""),
    "a row of pixels": (both(lambda x: x.reshape(-1, 1, 784), "x"), "no image", "reshape"),
    "images last": (
        {"x_train": np.stack([X] * 3, 3).transpose(1, 2, 3, 0)},
        "are along the last axis",
        r"transpose\(3, 0, 1, 2\)",
    ),
    "one value a row": ({"x_train": Y, "x_test": YT}, "not a row for each label", "None"),
    "sizes": ({"x_test": XT[:, :20]}, "several sizes", "one size"),
    "counts": ({"y_train": Y[:50]}, "60 train images and 50 labels", "mixed up"),
    "several ones": ({"y_train": MANY}, "several ones in row 0", "one column"),
    "no ones": ({"y_train": np.eye(10)[Y] * (Y < 9)[:, None]}, "no one in row 9", "one label"),
    "scores": ({"y_train": np.eye(10)[Y] * 0.5}, "not one for each row", "argmax"),
    "missing labels": ({"y_train": np.where(Y == 9, np.nan, Y)}, "missing values", "Leave out"),
    "empty labels": ({"y_train": np.where(Y == 9, "", Y.astype(str))}, "empty text", "Leave out"),
    "real labels": ({"y_train": Y / 2}, "regression target", "digitize"),
    "texts and numbers": ({"y_train": Y.astype(str)}, "several types", "astype"),
    "dates": ({"y_train": Y.astype("M8[D]")}, "values of type datetime64", "texts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_npz_file_without_one_meaning_is_refused(tmp_path: Path, case: str) -> None:
    change, words, hint = REFUSED[case]
    path = write_npz(tmp_path / "mine.npz", **change)
    with pytest.raises(DatasetError, match=words) as caught:
        imported(path)
    assert caught.value.message.startswith(f"{path} cannot be used: ")
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert re.search(hint, caught.value.hint), caught.value.hint


NAMED: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "without names": ({"arr_0": X, "arr_1": Y}, "no array of images; it has arr_0, arr_1"),
    "without labels": ({"x_train": X}, "no array of labels"),
    "labels of another split": ({"x_train": X, "y_test": Y}, "but no"),
    "twice": ({"x_train": X, "X_train": X, "y_train": Y}, "two arrays for one purpose"),
    "with and without a split": ({"x": X, "y": Y, "x_test": X, "y_test": Y}, "and without"),
    "names of other columns": (
        {"x": np.ones((60, 3)), "y": Y, "columns": np.array(["a", "b"])},
        "2 different names of columns, but 3 columns",
    ),
    "names that are numbers": (
        {"x": np.ones((60, 3)), "y": Y, "columns": np.arange(3)},
        "not a list of texts",
    ),
    "infinite numbers": ({"x": np.full((60, 3), np.inf), "y": Y}, "infinite"),
    "ids": ({"x": np.full((60, 3), 2**60), "y": Y}, "above 2"),
}


@pytest.mark.parametrize("case", NAMED)
def test_arrays_whose_purpose_is_not_clear_are_refused(tmp_path: Path, case: str) -> None:
    arrays, words = NAMED[case]
    np.savez(tmp_path / "mine.npz", **arrays)
    assert_refused(tmp_path / "mine.npz", words)


def test_options_of_images_are_refused_for_a_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.ones((60, 3)), y=Y)
    assert_refused(tmp_path / "mine.npz", "'grey' is for images", grey=True)


def test_arrays_that_were_not_read_are_named(tmp_path: Path) -> None:
    found = imported(write_npz(tmp_path / "mine.npz", writers=Y))
    assert found.meta.conversions == ("Other arrays were not read: writers.",)


def test_more_than_the_disk_has_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda _: free)
    assert_refused(write_npz(tmp_path / "mine.npz"), "more than the 1,000 bytes that the disk")


@pytest.mark.parametrize("form", ["idx", "npz"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "mine"
    write = write_idx if form == "idx" else lambda path, **k: write_npz(path / "a.npz", **k)
    if form == "npz":
        path.mkdir()
    write(path)
    reader = idx_reader if form == "idx" else npz_reader
    found = reader.read(path if form == "idx" else path / "a.npz", SourceOptions())
    shutil.rmtree(path)
    if form == "npz":
        path.mkdir()
    write(path, x_train=X[:30], y_train=Y[:30])
    with pytest.raises(DatasetError, match="changed while it was read"):
        list(found.inputs["train"]())
