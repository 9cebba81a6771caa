"""Images for people: a strip in the terminal, a row in a png, counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.errors import ZooError
from zoo.images import render

BLANK = np.zeros((12, 28, 28), "uint8")
FULL = BLANK + np.uint8(255)


@pytest.mark.parametrize(("columns", "rows"), [(5, 10), (14, 10), (80, 2), (148, 2), (149, 1)])
def test_the_strip_wraps_to_the_terminal(columns: int, rows: int) -> None:
    lines = render.strip(FULL, columns, color=False).split("\n")
    assert len(lines) == 7 * rows
    assert max(map(len, lines)) <= max(columns, 14)


def test_ink_is_drawn_where_it_is() -> None:
    images = BLANK[:2].copy()
    images[0, :2, :2] = 255
    images[0, 2:4, 2:4] = 255
    images[1, :4, -2:] = 255
    first = render.strip(images, 80, color=False).split("\n")[0]
    assert first == "▀▄" + " " * 12 + " " + " " * 13 + "█"


def test_without_color_there_is_no_escape_and_with_it_every_line_ends_plain() -> None:
    assert "\x1b" not in render.strip(FULL, 80, color=False)
    for line in render.strip(FULL, 80, color=True).split("\n"):
        assert line.endswith("\x1b[0m")
        assert "38;2;255;255;255" in line


def test_captions_stand_under_their_images() -> None:
    lines = render.strip(BLANK, 29, color=False, captions=[str(n) for n in range(10)]).split("\n")
    assert len(lines) == 5 * 8
    assert lines[7].split() == ["0", "1"]
    assert lines[-1].split() == ["8", "9"]


def test_fewer_images_and_captions_are_enough() -> None:
    assert len(render.strip(BLANK[:3], 80, False, ["a", "b", "c"]).split("\n")) == 8
    assert render.strip(BLANK[:0], 80, False) == ""


def test_the_png_shows_ten_images_dark_on_white(tmp_path: Path) -> None:
    images = BLANK.copy()
    images[9, 14, 14] = 255
    render.save_png(images, tmp_path / "first.png")
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (10 * (28 * 4 + 8), 28 * 4 + 16)
        pixels = np.asarray(picture)
    dark = np.argwhere(pixels == 0)
    assert len(dark) == 16
    assert dark[0].tolist() == [8 + 14 * 4, 9 * 120 + 4 + 14 * 4]
    assert [file.name for file in tmp_path.iterdir()] == ["first.png"]


def test_a_png_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"no/first.png cannot be written: No such file"):
        render.save_png(FULL, tmp_path / "no" / "first.png")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ZooError, match="folder cannot be written"):
        render.save_png(FULL, tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_classes_without_an_image_are_counted_too() -> None:
    assert render.class_counts(np.array([0, 2, 2]), 4) == [1, 0, 2, 0]


def test_images_side_by_side_are_drawn_in_full_with_captions() -> None:
    lines = render.side_by_side(FULL[:2], color=False, captions=["before", "after"]).split("\n")
    assert lines[:14] == ["█" * 28 + " " + "█" * 28] * 14
    assert lines[14].split() == ["before", "after"]
    coloured = render.side_by_side(FULL[:1], color=True, captions=["it"]).split("\n")
    assert all(line.endswith("\x1b[0m") for line in coloured[:14])


@pytest.mark.parametrize(
    ("part", "drawn"), [(0, ""), (0.5, "█████"), (1, "██████████"), (0.0125, "▏"), (0.26, "██▋")]
)
def test_a_bar_is_drawn_to_an_eighth_of_a_column(part: float, drawn: str) -> None:
    assert render.bar(part, 10) == drawn


SHAPES = [(8, 8), (12, 30), (28, 28), (32, 32), (33, 17), (64, 64), (1, 1), (200, 100)]


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "rgb"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_of_any_size_are_drawn_within_their_columns(
    shape: tuple[int, int], dtype: str, colour: bool
) -> None:
    images = np.ones((12, *shape, *[3] * colour), dtype) * (255 if dtype == "uint8" else 1)
    lines = render.strip(images, 80, False, ["caption"] * 10).split("\n")
    assert max(map(len, lines)) <= 80
    assert "█" in lines[0] or shape[0] < 2
    coloured = render.strip(images, 80, True).split("\n")
    assert all("38;2;255;255;255" in line for line in coloured if "\x1b" in line)
    assert len(render.side_by_side(images[:2], False, ["a", "b"]).split("\n")) <= 102


def test_colours_are_those_of_the_image(tmp_path: Path) -> None:
    images = np.zeros((1, 2, 2, 3), "uint8")
    images[0, 0] = (200, 30, 10)
    assert "\x1b[38;2;200;30;10;48;2;0;0;0m▀" in render.strip(images, 80, color=True)
    render.save_png(images, tmp_path / "colour.png")
    with Image.open(tmp_path / "colour.png") as picture:
        assert picture.mode == "RGB"
        assert picture.getpixel((4, 8)) == (200, 30, 10)


def test_a_bright_grey_picture_is_saved_as_it_is(tmp_path: Path) -> None:
    render.save_png(FULL[:1] // 2, tmp_path / "grey.png")
    with Image.open(tmp_path / "grey.png") as picture:
        assert picture.getpixel((60, 60)) == 127
