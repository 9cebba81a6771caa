"""Folders of pictures: layouts, conversions that are said, and refusals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.cli.render import dataset_view
from zoo.data import datasets, sources
from zoo.data.contents import Raw
from zoo.data.readers import folder
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError, UsageError

GREY = np.arange(24, dtype="uint8").reshape(4, 6) * 10
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)
"""4 pixels high, 6 wide."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_PLUGINS", "")
    return tmp_path / "pictures"


def save(file: Path, pixels: np.ndarray | Image.Image = GREY, **options: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, **options)


def fill(root: Path, *, splits: tuple[str, ...] = ("train", "test")) -> None:
    """Save three pictures of `cat` and two of `dog` in each split, each of another brightness."""
    for split in splits:
        for index, name in enumerate(["cat/b", "cat/a", "cat/c", "dog/a", "dog/b"]):
            save(root / split / f"{name}.png", GREY + np.uint8(index))


def opened(root: Path, query: str = "") -> Raw:
    return datasets.raw(f"folder:{root}{query}")


def test_class_folders_in_splits_become_images_in_the_order_of_their_names(root: Path) -> None:
    fill(root, splits=("Train", "test", "val"))
    found = opened(root)
    assert found.class_names == ("cat", "dog")
    assert found.meta.counts == {"train": 5, "test": 5, "validation": 5}
    assert not found.meta.conversions
    for rows in found.splits.values():
        assert rows.labels.tolist() == [0, 0, 0, 1, 1]
        assert (rows.inputs == [GREY + np.uint8(i) for i in (1, 0, 2, 3, 4)]).all()


def test_without_splits_a_test_split_is_held_out(root: Path) -> None:
    for index in range(10):
        save(root / f"{index % 2}" / f"{index}.png", GREY + np.uint8(index))
    found = opened(root, "?test=0.4&validation=0.5")
    assert found.meta.counts == {"train": 3, "test": 4, "validation": 3}
    assert any("no test split" in note for note in found.meta.conversions)


def test_further_folders_hold_the_other_splits(root: Path) -> None:
    fill(root)
    found = opened(root / "train", f"?test={root}/test&validation={root}/test")
    assert found.meta.counts == {"train": 5, "test": 5, "validation": 5}
    with pytest.raises(DatasetError, match="has the split test already"):
        opened(root, f"?test={root}/test")


def test_each_format_is_read_as_pillow_does(root: Path) -> None:
    names = ["a.bmp", "b.JPG", "c.png", "d.tif", "e.webp"]
    for name in names:
        save(root / "train/x" / name, COLOUR)
    save(root / "test/y/1.png", GREY)
    found = opened(root)
    for name, image in zip(names, found.splits["train"].inputs, strict=True):
        with Image.open(root / "train/x" / name) as picture:
            assert (image == np.asarray(picture.convert("RGB"))).all(), name
    assert (found.splits["test"].inputs[0] == GREY[..., np.newaxis]).all()
    assert "1 of the 6 pictures in grey were read as colour." in found.meta.conversions


def test_grey_pictures_of_every_kind_stay_grey(root: Path) -> None:
    save(root / "train/x/bits.png", Image.fromarray(GREY > 100))
    palette = Image.fromarray(GREY).convert("P", palette=Image.Palette.ADAPTIVE)
    save(root / "train/x/palette.png", palette)
    save(root / "test/y/wide.png", GREY.astype("uint16") * 257)
    found = opened(root)
    bits, from_palette = found.splits["train"].inputs
    (wide,) = found.splits["test"].inputs
    assert (bits == (GREY > 100) * 255).all()
    assert (from_palette == GREY).all()
    assert (wide == GREY).all()
    assert "1 of the 3 pictures of 16 bits were reduced to 8 bits." in found.meta.conversions


def test_pictures_are_turned_as_their_exif_says(root: Path) -> None:
    save(root / "test/x/plain.png", COLOUR)
    for name, orientation in (("jpeg", 6), ("tiff", 8), ("png", 3)):
        picture = Image.fromarray(COLOUR)
        exif = picture.getexif()
        exif[274] = orientation
        turned = picture.rotate({6: 90, 8: -90, 3: 180}[orientation], expand=True)
        options = {"quality": 100, "subsampling": 0} if name == "jpeg" else {}
        save(root / f"train/y/{name}.{name}", turned, exif=exif, **options)
    found = opened(root)
    assert found.meta.shape == (4, 6, 3)
    for image in found.splits["train"].inputs:
        assert np.abs(image.astype(int) - COLOUR).max() <= 24


def test_transparent_pictures_are_laid_on_white_and_that_is_said(root: Path) -> None:
    pixels = np.dstack([COLOUR, np.where(GREY > 100, 255, 0).astype("uint8")])
    save(root / "train/x/1.png", pixels)
    save(root / "test/y/1.png", COLOUR)
    found = opened(root)
    expected = np.where(GREY[..., np.newaxis] > 100, COLOUR, 255)
    assert (found.splits["train"].inputs[0] == expected).all()
    assert (
        "1 of the 2 pictures have an alpha channel, and were laid on white."
        in found.meta.conversions
    )


def test_several_sizes_are_refused_with_the_option_that_mends_it(root: Path) -> None:
    fill(root)
    save(root / "train/cat/other.png", COLOUR.swapaxes(0, 1))
    with pytest.raises(
        DatasetError,
        match=r"2 sizes.*4 x 6 \(10, .*6 x 4 \(1, .*--size 4x6.*\?.*size=HxW",
    ):
        opened(root)
    found = opened(root, "?size=2x3&grey")
    assert found.meta.shape == (2, 3)
    said = " ".join(found.meta.conversions)
    assert "11 of the 11 pictures were resized to 2 x 3" in said
    assert "1 of the 11 pictures in colour were converted to grey" in said


def test_some_of_the_classes_can_be_kept(root: Path) -> None:
    fill(root)
    save(root / "train/eel/1.png")
    assert opened(root, "?classes=eel,cat").class_names == ("cat", "eel")
    with pytest.raises(UsageError, match="Did you mean 'dog'"):
        opened(root, "?classes=cat,dgo")


def test_what_is_no_picture_is_left_out_and_said(root: Path, tmp_path: Path) -> None:
    fill(root)
    for name in ("train/cat/notes.txt", "labels.csv"):
        (root / name).touch()
    for name in ("Thumbs.db", ".DS_Store", "train/.hidden"):
        (root / name).touch()
    (root / "train/empty").mkdir()
    save(tmp_path / "secret.png")
    (root / "train/cat/within.png").symlink_to(root / "train/cat/a.png")
    (root / "train/cat/link.png").symlink_to(tmp_path / "secret.png")
    (root / "test/link").symlink_to(tmp_path)
    found = opened(root)
    assert found.meta.counts == {"train": 6, "test": 5}
    assert [note.partition(", such")[0] for note in found.meta.conversions] == [
        "2 files or folders were left out (no pictures of a class)",
        "2 files or folders were left out (leading out of the folder)",
        f"1 file or folder was left out (without a picture): {root}/train/empty.",
    ]


def test_a_broken_picture_is_refused_by_its_name_and_leaves_nothing(
    root: Path, tmp_path: Path
) -> None:
    fill(root)
    file = root / "train/cat/a.png"
    content = file.read_bytes()
    for broken in (b"", b"no picture", content[:20], content[:-30]):
        file.write_bytes(broken)
        with pytest.raises(DatasetError, match=r"train/cat/a\.png cannot be used"):
            opened(root)
    assert not list((tmp_path / "home").rglob("*.npy"))


def test_a_picture_of_too_many_pixels_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root)
    monkeypatch.setattr("zoo.data.readers.pictures.MAX_PIXELS", 23)
    with pytest.raises(DatasetError, match="too large"):
        opened(root)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "has no folder with pictures"),
        (("1.png",), "no folder for each class.* with its name"),
        (("train/1.png", "test/1.png"), "test holds pictures, but no folder for each class"),
        (("cat/sub/1.png",), "cat has the folder sub within it"),
        (("val/x/1.png", "valid/x/1.png"), "several folders for the split validation"),
        (("cat/1.gif", "dog/1.png"), "cat has no PNG, JPEG, WebP, BMP or TIFF file"),
    ],
)
def test_another_layout_is_refused(root: Path, names: tuple[str, ...], words: str) -> None:
    root.mkdir()
    for name in names:
        save(root / name)
    with pytest.raises(DatasetError, match=words):
        opened(root)


def test_changed_pictures_are_read_again(root: Path) -> None:
    fill(root)
    options = SourceOptions()
    before = folder.state(root, options)
    first = opened(root).fingerprint
    assert folder.state(root, options) == before
    assert opened(root).fingerprint == first
    save(root / "test/dog/a.png", 255 - GREY)
    assert folder.state(root, options) != before
    assert opened(root).fingerprint != first
    (root / "test/dog/a.png").rename(root / "test/cat/z.png")
    assert opened(root).meta.counts == {"train": 5, "test": 5}
    assert opened(root).splits["test"].labels.tolist() == [0, 0, 0, 0, 1]


def test_pinned_contents_are_opened_without_looking_at_the_files(root: Path) -> None:
    fill(root)
    fingerprint = opened(root).fingerprint
    for file in root.rglob("*.png"):
        os.truncate(file, 0)
    found = datasets.raw(f"folder:{root}", contents=fingerprint)
    assert found.fingerprint == fingerprint


def test_a_bare_path_becomes_a_folder_of_pictures(root: Path) -> None:
    fill(root)
    assert datasets.resolve(str(root)) == sources.spell(sources.parse(f"folder:{root}"))
    assert datasets.raw(str(root)).name == f"folder:{root}"


def test_rows_are_decoded_in_chunks_with_progress(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root)
    monkeypatch.setattr(folder, "CHUNK_BYTES", 1)
    said: list[tuple[str, int, int]] = []
    found = datasets.raw(f"folder:{root}", lambda *about: said.append(about))
    assert found.meta.counts == {"train": 5, "test": 5}
    assert ("looking at pictures", 5, 5) in said
    assert ("reading images", 4, 10) in said
    assert said[-1] == ("reading images", 10, 10)


def test_pictures_directly_in_a_folder_are_refused_with_the_layout_that_works(root: Path) -> None:
    for name in ("one.png", "two.JPG"):
        save(root / name)
    with pytest.raises(UsageError, match="holds pictures, but no folder for each class") as found:
        datasets.resolve(str(root))
    assert f"{root / 'cat'}" in found.value.hint


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([0] * 20 + [1] * 20, [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]),
        ([0] * 3 + [1] * 40, [0, 1, 2, *range(3, 10)]),
        ([*np.repeat(range(12), 4)], [*range(0, 40, 4)]),
        ([1, 0] * 20, [*range(10)]),
        ([0, 0], [0, 1]),
        ([], []),
    ],
)
def test_some_pictures_of_each_class_are_shown(labels: list[int], shown: list[int]) -> None:
    assert dataset_view.rows_of_each_class(np.array(labels, "int64")) == shown
