"""Open pictures from outside: known formats of plain pixels, within limits of time and memory."""

from __future__ import annotations

import contextlib
import errno
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from zoo.errors import PictureError, reason
from zoo.regular_file import open_regular_file, read_at_most, read_regular_file

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    from zoo.model import Array

T = TypeVar("T")

FORMATS = (
    *("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "JPEG2000"),
    *("PPM", "TGA", "PCX", "QOI", "SGI"),
)
"""Pillow's readers of plain pixels. EPS would run Ghostscript; an icon holds another file."""
OTHERS = {
    b"<svg": "an SVG drawing",
    b"<?xml": "an SVG drawing",
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"ftyphei": "a HEIC photograph",
    b"ftypmif1": "a HEIC photograph",
}
"""Unsupported formats that are reported by name, by the start of the file."""

MAX_PIXELS = 24_000_000
"""Largest picture that is decoded as a whole: it takes up to 0.3 GB and a second."""
MAX_PIXELS_JPEG = 50_000_000
"""Largest JPEG, which its reader scales down while it decodes."""
MAX_PIXELS_SLOW = 2_000_000
"""Of a picture whose reader is written in Python: QOI, plain PPM, run-length BMP."""
MAX_SCANS = 100
"""Passes over a progressive JPEG; a usual one has ten, and each of thousands takes its time."""
START_OF_SCAN = b"\xff\xda"
MAX_BYTES = 100_000_000


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about large pictures and odd metadata: limits are checked here.

    Not for several threads at once: the filters of warnings belong to the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decoded(
    source: Path | bytes,
    finish: Callable[[Image], T],
    *,
    draft: tuple[int, int] | None = None,
    formats: tuple[str, ...] = FORMATS,
) -> T:
    """Decode a picture; of several frames or pages the first.

    Args:
        source: A file, or its content.
        finish: Called with the picture; its result is returned.
        draft: Width and height to which a large JPEG may be scaled down while it is decoded.
        formats: Pillow's names of the formats.

    Raises PictureError if it is not a picture of these formats, is damaged, or has more than 24
    million pixels (a JPEG: 50 million).
    """
    from PIL import Image

    content = _content(source)
    if not content:
        raise PictureError("The file is empty.")
    with _refusals(content):
        picture = Image.open(io.BytesIO(content), formats=formats)
        _check_cost(picture, content)
        if draft:
            # Only the JPEG reader can scale down while decoding.
            picture.draft(picture.mode, draft)
        picture.load()
        return finish(picture)


def look(
    path: Path, describe: Callable[[ImageFile], T], *, formats: tuple[str, ...] = FORMATS
) -> T:
    """Open a picture without decoding it; raises PictureError as `decoded` does."""
    from PIL import Image

    try:
        stream = open_regular_file(path)
    except OSError as error:
        raise PictureError(f"The file cannot be read: {reason(error)}.") from None
    with stream, _refusals(stream):
        picture = Image.open(stream, formats=formats)
        _check_cost(picture, b"")
        return describe(picture)


def orientation(picture: Image) -> int:
    """Return how a picture is turned, 1 to 8 as EXIF has it; above 4 by a quarter."""
    from PIL.ExifTags import Base

    form = getattr(picture, "format", "")
    # A PNG whose EXIF data do not come before its pixels would be decoded to find them; the
    # reader of TIFF turns pictures itself.
    if form == "TIFF" or (form == "PNG" and "exif" not in picture.info):
        return 1
    found = picture.getexif().get(Base.Orientation, 1)
    return found if found in range(1, 9) else 1


def size_of(picture: Image) -> tuple[int, int]:
    """Return height and width, turned as the EXIF orientation says."""
    width, height = picture.size
    return (width, height) if orientation(picture) > 4 else (height, width)


def draft_of(shape: Sequence[int]) -> tuple[int, int]:
    """Return the `draft` of `decoded` with which `to_pixels` makes the same pixels each time."""
    # Twice the size, either way up: the rest is scaled down with all its pixels.
    return (2 * max(shape[:2]), 2 * max(shape[:2]))


def to_pixels(picture: Image, shape: Sequence[int]) -> Array:
    """Turn, convert and resize a decoded picture; a transparent one is laid on white.

    Args:
        picture: The picture.
        shape: (height, width) for grey, (height, width, 3) for colour.

    Returns:
        uint8 of that shape.
    """
    import numpy as np
    from PIL import Image, ImageOps
    from PIL.ExifTags import Base

    mode, turned = "RGB" if len(shape) > 2 else "L", orientation(picture)
    if picture.mode.startswith("I;16"):
        plain = Image.fromarray(np.rint(np.asarray(picture) / 257).astype("uint8"))
    elif picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        plain = Image.alpha_composite(white, picture.convert("RGBA"))
    else:
        plain = picture
    if plain.mode != mode:
        plain = plain.convert(mode)
    if turned != 1:
        plain.getexif()[Base.Orientation] = turned
        plain = ImageOps.exif_transpose(plain)
    size = (shape[1], shape[0])
    if plain.size != size:
        plain = plain.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(plain)


@contextlib.contextmanager
def _refusals(content: bytes | io.BufferedReader) -> Iterator[None]:
    """Raise PictureError for whatever a reader of pictures raises."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError:
        if not isinstance(content, bytes):
            content.seek(0)
            content = content.read(200)
        raise _no_picture(content) from None
    except Image.DecompressionBombError:
        raise _too_large() from None
    # Readers of damaged files raise almost anything: OSError, SyntaxError, struct.error...
    except Exception as error:
        raise PictureError(f"The picture is damaged: {reason(error)}.") from None


def _content(source: Path | bytes) -> bytes:
    try:
        if isinstance(source, bytes):
            return read_at_most(io.BytesIO(source), MAX_BYTES, "")
        return read_regular_file(source, MAX_BYTES)
    except OSError as error:
        hint = "Use - to read a picture from a pipe." if error.errno == errno.EINVAL else ""
        raise PictureError(f"The file cannot be read: {reason(error)}.", hint) from None


def _check_cost(picture: ImageFile, content: bytes) -> None:
    """Reject pictures that take too long or too much memory to decode, before decoding."""
    from PIL import Image

    width, height = picture.size
    # MPO: several JPEGs in one file, as cameras and telephones write it.
    is_jpeg = picture.format in ("JPEG", "MPO")
    is_slow = any(tile[0] in Image.DECODERS for tile in picture.tile)
    most = MAX_PIXELS_JPEG if is_jpeg else MAX_PIXELS_SLOW if is_slow else MAX_PIXELS
    if width * height > most:
        raise _too_large(f"{width} x {height}: ", most)
    if is_jpeg and content.count(START_OF_SCAN) > MAX_SCANS:
        raise PictureError("The picture is damaged: it has more scans than any camera makes.")


def _too_large(size: str = "", most: int = MAX_PIXELS) -> PictureError:
    return PictureError(
        f"The picture is too large ({size}more than {most // 1_000_000} million pixels).",
        "Make it smaller first.",
    )


def _no_picture(content: bytes) -> PictureError:
    begin = content[:200].lstrip().lower()
    for mark, what in OTHERS.items():
        if mark.lower() in begin:
            return PictureError(f"It is {what}, which is not supported.", "Save it as PNG or JPEG.")
    return PictureError("It is not a picture.", "PNG, JPEG, WebP, TIFF and others are supported.")
