"""Pictures from elsewhere: what is read, what is refused in a sentence, what becomes of the ink."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import drawn_digits as strokes
from helpers import odd_files
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from zoo.data.readers import pictures
from zoo.errors import PictureError
from zoo.images import normalize, prediction_inputs

pytestmark = pytest.mark.slow


def saved(picture: Image.Image, format: str, **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **more)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is as large as this."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


SEVEN = strokes.drawn(7)
PNG, JPEG = saved(SEVEN, "PNG"), saved(SEVEN, "JPEG")
EXPECTED = normalize.prepare(SEVEN)


def is_alike(image: Any, other: Any = EXPECTED, tolerance: float = 6) -> bool:
    """Whether two images are the same but for a little grey, and a pixel to one side."""
    moved = [np.roll(other, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return min(float(np.abs(image.astype(int) - each).mean()) for each in moved) < tolerance


REFUSED = {
    "empty": (b"", "The file is empty."),
    "text": (b"hello", "It is not a picture."),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "It is an SVG drawing"),
    "xml svg": (b"<?xml version='1.0'?><svg></svg>", "It is an SVG drawing"),
    "pdf": (b"%PDF-1.7 ...", "It is a PDF"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0", "It is PostScript"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "It is a HEIC photograph"),
    "icon": (saved(SEVEN, "ICO"), "It is not a picture."),
    "truncated png": (PNG[: len(PNG) // 2], "The picture is damaged"),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "The picture is damaged"),
    "head of a png": (PNG[:20], "The picture is damaged"),
    "61 megapixels": (png_of_size(7_800, 7_800), "The picture is too large (7800 x 7800"),
    "a bomb": (png_of_size(60_000, 60_000), "The picture is too large"),
    "2 ** 31 pixels wide": (png_of_size(2**31 - 1, 1), "The picture is too large"),
    "less than it says": (png_of_size(3_000, 3_000), "The picture is damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sound_picture_is_refused_in_a_sentence(case: str, tmp_path: Path) -> None:
    content, sentence = REFUSED[case]
    (tmp_path / "picture").write_bytes(content)
    for source in (content, tmp_path / "picture"):
        with pytest.raises(PictureError) as refused:
            normalize.open(source)
        assert str(refused.value).startswith(sentence)
        assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PictureError, match="cannot be read: No such file"):
        normalize.open(tmp_path / "no.png")
    with pytest.raises(PictureError, match="cannot be read: Is a directory"):
        normalize.open(tmp_path)
    monkeypatch.setattr(pictures, "MAX_BYTES", 1_000_000)
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(1_000_001)
    with pytest.raises(PictureError, match="larger than 1 MB"):
        normalize.open(tmp_path / "large.png")
    with pytest.raises(PictureError, match="larger than 1 MB"):
        normalize.open((tmp_path / "large.png").read_bytes())


@pytest.mark.parametrize("kind", odd_files.KINDS)
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    odd_files.KINDS[kind](tmp_path / "odd")
    with pytest.raises(PictureError, match="The file cannot be read"):
        prediction_inputs.of_picture("odd", tmp_path / "odd")


def a_16_bit(picture: Image.Image) -> Image.Image:
    grey = np.asarray(picture.convert("L")).astype("uint16")
    return Image.fromarray(grey * 100 + 3000)


def in_lab(picture: Image.Image) -> Image.Image:
    none = Image.new("L", picture.size, 128)
    return Image.merge("LAB", (picture.convert("L"), none, none))


def turned() -> bytes:
    """A photograph with the camera held upright: turned pixels, and a note of how."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(SEVEN.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)


def animated(format: str) -> bytes:
    others = [strokes.drawn(3), strokes.drawn(1)]
    return saved(SEVEN, format, save_all=True, append_images=others)


READ: dict[str, Callable[[], bytes]] = {
    "png": lambda: PNG,
    "jpeg": lambda: JPEG,
    "webp": lambda: saved(SEVEN, "WEBP"),
    "bmp": lambda: saved(SEVEN, "BMP"),
    "ppm": lambda: saved(SEVEN, "PPM"),
    "tiff": lambda: saved(SEVEN, "TIFF", compression="tiff_lzw"),
    "jpeg 2000": lambda: saved(SEVEN, "JPEG2000"),
    "gif": lambda: saved(SEVEN, "GIF"),
    "one bit": lambda: saved(SEVEN.convert("1"), "PNG"),
    "palette": lambda: saved(SEVEN.convert("P"), "PNG"),
    "grey with transparency": lambda: saved(SEVEN.convert("LA"), "PNG"),
    "cmyk": lambda: saved(SEVEN.convert("CMYK"), "JPEG"),
    "16 bits": lambda: saved(a_16_bit(SEVEN), "PNG"),
    "16 bits in a tiff": lambda: saved(a_16_bit(SEVEN), "TIFF"),
    "32 bits": lambda: saved(SEVEN.convert("I"), "TIFF"),
    "floating point": lambda: saved(SEVEN.convert("F"), "TIFF"),
    "lab": lambda: saved(in_lab(SEVEN), "TIFF"),
    "turned by its camera": turned,
    "animated gif": lambda: animated("GIF"),
    "animated png": lambda: animated("PNG"),
    "two pages": lambda: animated("TIFF"),
    "jpeg of two pictures": lambda: animated("MPO"),
}


@pytest.mark.parametrize("case", READ)
def test_every_kind_of_picture_comes_to_the_same(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_alike(normalize.prepare(normalize.open(READ[case]())))


@pytest.mark.slow
@pytest.mark.parametrize("way", strokes.WAYS)
def test_paper_light_and_place_do_not_matter(way: str) -> None:
    whole = strokes.drawn(5, width=20)
    # A wide pen's line is wider in the end, too; how it is drawn is in the other tests.
    assert is_alike(normalize.prepare(strokes.WAYS[way](5)), normalize.prepare(whole), tolerance=22)


BLANK: dict[str, Image.Image] = {
    "white": Image.new("RGB", (200, 100), "white"),
    "black": Image.new("L", (28, 28), 0),
    "one pixel": Image.new("RGB", (1, 1), "red"),
    "one line": Image.new("L", (500, 1), 7),
    "nothing at all": Image.new("RGBA", (50, 50), (0, 0, 0, 0)),
    "light that falls off": strokes.photographed(Image.new("RGB", (300, 200), "white")),
    "a gradient": Image.linear_gradient("L"),
    "16 bits of nothing": a_16_bit(Image.new("L", (50, 50), 9)),
}


@pytest.mark.parametrize("case", BLANK)
def test_a_blank_picture_is_refused(case: str) -> None:
    with pytest.raises(PictureError, match="nothing that differs from its background"):
        normalize.prepare(BLANK[case])


@given(
    st.binary(max_size=60),
    st.integers(0, len(PNG)),
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
)
def test_a_damaged_picture_is_read_or_refused_and_nothing_else(
    noise: bytes, place: int, format: str
) -> None:
    content = bytearray(saved(SEVEN.resize((40, 40)), format))
    place %= len(content)
    content[place : place + len(noise)] = noise
    try:
        image = normalize.prepare(normalize.open(bytes(content)))
    except PictureError as error:
        assert str(error).count("\n") == 0
    else:
        assert_is_like_mnist(image)


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(["L", "RGB", "RGBA", "1", "CMYK", "F"]),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_prepared_looks_like_mnist(
    width: int, height: int, mode: str, seed: int
) -> None:
    shape = (height, width, 4)
    pixels = np.random.default_rng(seed).choice([0, 0, 0, 0, 0, 0, 0, 255], shape).astype("uint8")
    try:
        image = normalize.prepare(Image.fromarray(pixels).convert("RGBA").convert(mode))
    except PictureError:
        return
    assert_is_like_mnist(image)


def assert_is_like_mnist(image: Any) -> None:
    assert image.dtype == "uint8"
    assert image.shape == (28, 28)
    rows, columns = (np.flatnonzero((image > 0).any(axis=axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 <= 20


@pytest.mark.slow
def test_the_longest_side_is_20_and_the_centre_of_mass_is_in_the_centre() -> None:
    for digit in range(10):
        image = normalize.prepare(strokes.drawn(digit, (300, 200), box=(10, 20, 80, 120)))
        rows, columns = (np.flatnonzero((image > 0).any(axis=axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
        mass = image / image.sum()
        centre = [float(mass.sum(axis=1 - axis) @ np.arange(28)) for axis in (0, 1)]
        assert all(13.4 < each < 14.6 for each in centre)


def test_an_image_that_is_as_mnist_is_stays_as_it_is() -> None:
    again = normalize.prepare(Image.fromarray(EXPECTED))
    assert is_alike(again)


def test_a_fine_line_is_thickened_and_a_wide_one_is_not() -> None:
    fine = normalize.prepare(strokes.drawn(1, (1000, 1000), width=4))
    assert 2 <= (fine[14] > 127).sum() <= 3
    wide = normalize.prepare(strokes.drawn(1, (1000, 1000), width=105))
    assert (wide[14] > 127).sum() in (2, 3)


def test_dirt_beside_the_digit_is_left_out() -> None:
    dirty = SEVEN.copy()
    for x, y in ((3, 5), (250, 270), (10, 200)):
        dirty.paste("black", (x, y, x + 4, y + 4))
    assert is_alike(normalize.prepare(dirty), tolerance=1)


@pytest.mark.parametrize(("width", "colour"), [(8, "black"), (60, "#604020")])
def test_a_frame_around_the_paper_is_left_out(width: int, colour: str) -> None:
    assert is_alike(normalize.prepare(ImageOps.expand(SEVEN, width, colour)))


def test_the_thumbnail_is_the_whole_picture() -> None:
    small = normalize.thumbnail(strokes.drawn(7, (560, 280)))
    assert small.shape == (28, 28)
    assert small[0].max() == 0
    assert small[14].max() == 255


@given(
    st.sampled_from(["float32", "uint16", "int32"]),
    st.lists(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 255.0, 3e38, -3e38, np.nan, np.inf])
        | st.floats(width=32),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 2**32 - 1),
)
def test_a_picture_of_any_numbers_is_read_or_refused_and_nothing_else(
    dtype: str, values: list[float], seed: int
) -> None:
    with np.errstate(all="ignore"):
        chosen = np.random.default_rng(seed).choice(np.array(values, "float32"), (30, 40))
        numbers = chosen.astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            subject = prediction_inputs.of_picture(
                "odd.tif", saved(Image.fromarray(numbers), "TIFF")
            )
        except PictureError:
            return
    assert_is_like_mnist(subject.image)


COSTLY: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png": ("MAX_PIXELS", lambda: PNG),
    "png of 16 bits": ("MAX_PIXELS", lambda: saved(a_16_bit(SEVEN), "PNG")),
    "webp": ("MAX_PIXELS", lambda: saved(SEVEN, "WEBP")),
    "gif": ("MAX_PIXELS", lambda: saved(SEVEN, "GIF")),
    "bmp": ("MAX_PIXELS", lambda: saved(SEVEN, "BMP")),
    "tiff": ("MAX_PIXELS", lambda: saved(SEVEN, "TIFF")),
    "packed tiff": ("MAX_PIXELS", lambda: saved(SEVEN, "TIFF", compression="tiff_lzw")),
    "jpeg 2000": ("MAX_PIXELS", lambda: saved(SEVEN, "JPEG2000")),
    "avif": ("MAX_PIXELS", lambda: saved(SEVEN, "AVIF")),
    "ppm": ("MAX_PIXELS", lambda: saved(SEVEN, "PPM")),
    "tga": ("MAX_PIXELS", lambda: saved(SEVEN, "TGA", compression="tga_rle")),
    "pcx": ("MAX_PIXELS", lambda: saved(SEVEN, "PCX")),
    "sgi": ("MAX_PIXELS", lambda: saved(SEVEN, "SGI")),
    "jpeg": ("MAX_PIXELS_JPEG", lambda: JPEG),
    "jpeg of two pictures": ("MAX_PIXELS_JPEG", lambda: animated("MPO")),
    "qoi": ("MAX_PIXELS_SLOW", lambda: saved(SEVEN.convert("RGB"), "QOI")),
    "plain ppm": ("MAX_PIXELS_SLOW", lambda: b"P2 100 100 255\n" + b"0 " * 10_000),
}
"""By the limit that must hold for it: each format's reader costs something else."""


@pytest.mark.parametrize("case", COSTLY)
def test_what_has_too_many_pixels_is_refused_before_one_is_decoded(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, make = COSTLY[case]
    content = make()
    for name in ("MAX_PIXELS", "MAX_PIXELS_JPEG", "MAX_PIXELS_SLOW"):
        monkeypatch.setattr(pictures, name, 9_999 if name == limit else 10**9)

    def decoded(_: Any) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    with pytest.raises(PictureError, match="too large"):
        normalize.open(content)


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    scan = JPEG[JPEG.index(b"\xff\xda") : -2]
    with pytest.raises(PictureError, match="more scans"):
        normalize.open(JPEG[:-2] + scan * 100 + JPEG[-2:])


PEAK = """
import sys, time
from zoo.images import normalize as drawing, segmentation as ink
import scipy.ndimage
begun = time.process_time()
picture = drawing.open(sys.stdin.buffer.read())
drawing.prepare(picture)
drawing.thumbnail(picture)
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(time.process_time() - begun, int(peak[0].split()[1]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("mode", ["I;16", "RGBA"])
def test_the_largest_picture_of_few_bytes_costs_little_time_and_memory(mode: str) -> None:
    large = Image.new(mode, (4_800, 4_900), 60_000 if mode == "I;16" else "white")
    large.paste(0 if mode == "I;16" else "black", (1_000, 1_000, 2_000, 4_000))
    content = saved(large, "PNG", compress_level=1)
    assert len(content) < 800_000
    done = subprocess.run(
        [sys.executable, "-c", PEAK], input=content, capture_output=True, check=True
    )
    seconds, peak = map(float, done.stdout.split())
    # Measured: 1.1 s, 300 MB; it was 6 s and 1,290 MB of a picture twice as large.
    assert peak < 500
    assert seconds < 10
