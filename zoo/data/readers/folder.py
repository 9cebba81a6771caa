"""Folders of pictures: a folder for each class, perhaps within `train`, `test`, `validation`."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zoo.data.cache import Progress
from zoo.data.incoming import ALL, Incoming
from zoo.data.readers import pictures
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError, PictureError, reason, unknown
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from zoo.model import Array

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF")
"""Pillow's names of the formats."""
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"),
    *(".bmp", ".dib", ".tif", ".tiff"),
)
KNOWN = "PNG, JPEG, WebP, BMP or TIFF"
SPLIT_FOLDERS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"validation": "validation", "valid": "validation", "val": "validation"},
}
"""Names of folders that hold a split, in lower case."""
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")
"""Names, in lower case, that systems add; and whatever begins with a dot."""

THREADS = 4
"""Pictures decoded at a time: Pillow releases Python's lock, and one may take 0.3 GB."""
BATCH = 64
"""Most pictures that a thread takes at once."""
CHUNK_BYTES = 2**21
"""Bytes of pixels that are handed on at once."""
MOST_NAMED = 5
"""Sizes that one message names."""


class Picture(NamedTuple):
    """A picture before it is decoded."""

    size: tuple[int, int]
    """Height and width, turned as its EXIF orientation says."""
    is_colour: bool
    has_alpha: bool
    is_wide: bool
    """Whether its values have 16 bits."""
    is_several: bool
    """Whether the file holds further frames or pages."""


@dataclass
class Class:
    """The pictures of one class in one split."""

    name: str
    folder: str
    files: list[str]
    """Names, sorted."""


@dataclass
class Contents:
    """The folders and files of a dataset, and those that are left out."""

    splits: dict[str, list[Class]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """Files that are no pictures."""
    outside: list[str] = field(default_factory=list)
    """Links that lead out of the folder."""
    empty: list[str] = field(default_factory=list)
    """Folders of no class."""

    def files(self, split: str) -> list[str]:
        """The paths of the pictures of a split, in order."""
        return [os.path.join(c.folder, name) for c in self.splits[split] for name in c.files]  # noqa: PTH118


def read(path: Path, options: SourceOptions, progress: Progress | None = None) -> Incoming:
    """Look at all pictures; they are decoded in chunks when they are written.

    Args:
        path: A folder with a folder for each class, or with `train`, `test`, `validation`.
        options: `size`, `grey`, `classes`, and folders for `test` and `validation`.
        progress: Called with the pictures looked at.

    Returns:
        uint8 images, grey if all pictures are, else colour, in the order of the names of their
        files. Transparent pictures are laid on white.

    Raises:
        DatasetError: Nothing there, or another layout; a picture is damaged; several sizes.
        UsageError: A class of `classes` is not there.
    """
    found = _find(path, options)
    looked = {split: _look(found.files(split), progress) for split in found.splits}
    everything = [each for facts in looked.values() for each in facts]
    height, width = options.size or _only_size(found, looked, path)
    is_colour = not options.grey and any(each.is_colour for each in everything)
    shape = (height, width, 3) if is_colour else (height, width)

    def chunks(split: str) -> Callable[[], Iterator[Array]]:
        return lambda: _decode(found.files(split), shape)

    return Incoming(
        "image",
        shape,
        {split: _labels(classes) for split, classes in found.splits.items()},
        {split: chunks(split) for split in found.splits},
        notes=tuple(_notes(found, everything, shape, options)),
        metric=options.metric or "",
    )


def state(path: Path, options: SourceOptions) -> str:
    """Return a hash of the names, sizes and times of all pictures; raises DatasetError."""
    digest = hashlib.sha256()
    for split, classes in _find(path, options).splits.items():
        for each in classes:
            digest.update(f"\n{split}/{each.name}\n".encode("utf-8", "surrogateescape"))
            for name in each.files:
                try:
                    now = os.stat(f"{each.folder}/{name}")  # noqa: PTH116 (a Path for each is slow)
                except OSError as error:
                    raise _unreadable(f"{each.folder}/{name}", error) from None
                facts = f"{name} {now.st_size} {now.st_mtime_ns} {now.st_ctime_ns}\n"
                digest.update(facts.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _find(path: Path, options: SourceOptions) -> Contents:
    """Find the class folders of all splits and their files."""
    found = Contents()
    folders, files = _entries(path, path, found)
    by_split = {name: SPLIT_FOLDERS.get(name.lower()) for name in folders}
    if folders and all(by_split.values()):
        found.left_out += [str(path / name) for name in files]
        for name, split in by_split.items():
            if split in found.splits:
                raise DatasetError(f"{path} has several folders for the split {split}.")
            _add_split(found, str(split), path / name, path)
    else:
        found = Contents()
        _add_split(found, ALL, path, path)
    for split in ("test", "validation"):
        if isinstance(folder := getattr(options, split), str):
            if split in found.splits:
                raise DatasetError(f"{path} has the split {split} already.", f"Omit {split}=.")
            _add_split(found, split, Path(folder), Path(folder))
    if ALL in found.splits and len(found.splits) > 1:
        others = {split: classes for split, classes in found.splits.items() if split != ALL}
        # Without a test split one is made of the rows of ALL.
        first = "train" if "test" in others else ALL
        found.splits = {first: found.splits[ALL]} | others
    if options.classes:
        _keep(found, options.classes)
    return found


def _add_split(found: Contents, split: str, folder: Path, root: Path) -> None:
    """Add the class folders of one split."""
    names, pictures_here = _entries(folder, root, found)
    if not names and pictures_here:
        raise DatasetError(
            f"{folder} holds pictures, but no folder for each class.",
            "Put the pictures of each class into a folder with its name.",
        )
    found.left_out += [str(folder / name) for name in pictures_here]
    classes = []
    for name in names:
        before = len(found.left_out)
        below, files = _entries(folder / name, root, found)
        if below:
            raise DatasetError(
                f"{folder / name} has the folder {below[0]} within it.",
                "The pictures of a class lie in its folder itself.",
            )
        if files:
            classes.append(Class(name, str(folder / name), files))
        elif len(found.left_out) > before:
            raise DatasetError(f"{folder / name} has no {KNOWN} file.", "Convert its pictures.")
        else:
            found.empty.append(str(folder / name))
    if not classes:
        raise DatasetError(
            f"{folder} has no folder with pictures.",
            f"It needs a folder of {KNOWN} files for each class.",
        )
    found.splits[split] = classes


def _entries(folder: Path, root: Path, found: Contents) -> tuple[list[str], list[str]]:
    """The names of the folders and of the pictures in a folder, sorted."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if each.name.startswith(".") or each.name.lower() in IGNORED:
                    continue
                if each.is_symlink() and not _is_within(each.path, root):
                    found.outside.append(each.path)
                elif each.is_dir():
                    folders.append(each.name)
                elif each.is_file() and each.name.lower().endswith(SUFFIXES):
                    files.append(each.name)
                else:
                    found.left_out.append(each.path)
    except OSError as error:
        raise _unreadable(str(folder), error) from None
    return sorted(folders), sorted(files)


def _is_within(link: str, root: Path) -> bool:
    return Path(link).resolve().is_relative_to(root.resolve())


def _keep(found: Contents, classes: Sequence[str]) -> None:
    """Keep some classes alone; raises UsageError for one that is not there."""
    known = {each.name for split in found.splits.values() for each in split}
    for name in classes:
        if name not in known:
            raise unknown("class", name, known)
    for split, every in found.splits.items():
        found.splits[split] = [each for each in every if each.name in classes]
    found.splits = {split: every for split, every in found.splits.items() if every}


def _labels(classes: Sequence[Class]) -> Array:
    import numpy as np

    return np.repeat([each.name for each in classes], [len(each.files) for each in classes])


def _look(files: Sequence[str], progress: Progress | None) -> list[Picture]:
    """Open each picture without decoding it."""
    facts: list[Picture] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(files), BATCH * THREADS):
            with pictures.quiet():
                facts += pool.map(_describe, files[start : start + BATCH * THREADS])
            if progress:
                progress("looking at pictures", len(facts), len(files))
    return facts


def _describe(file: str) -> Picture:
    try:
        return pictures.look(Path(file), _facts, formats=FORMATS)
    except PictureError as error:
        raise _broken(file, error) from None


def _facts(picture: ImageFile) -> Picture:
    if picture.mode in ("I", "F"):
        raise PictureError("Its pixels have 32 bits.", "Save it with 8 bits.")
    return Picture(
        pictures.size_of(picture),
        _has_colour(picture),
        picture.has_transparency_data,
        picture.mode.startswith("I;16"),
        getattr(picture, "is_animated", False),
    )


def _has_colour(picture: ImageFile) -> bool:
    if picture.mode not in ("P", "PA"):
        return picture.mode not in ("1", "L", "LA", "La") and not picture.mode.startswith("I;16")
    values = picture.getpalette("RGB") or []
    return not values[::3] == values[1::3] == values[2::3]


def _only_size(found: Contents, looked: dict[str, list[Picture]], path: Path) -> tuple[int, int]:
    """The one size of all pictures, height and width; raises DatasetError for several."""
    counts = Counter(each.size for facts in looked.values() for each in facts)
    common = counts.most_common(MOST_NAMED)
    if len(counts) == 1:
        return common[0][0]
    examples = {
        each.size: file
        for split, facts in looked.items()
        for each, file in zip(facts, found.files(split), strict=True)
    }
    named = "; ".join(
        f"{height} x {width} ({count:,}, such as {examples[height, width]})"
        for (height, width), count in common
    )
    more = f"; and {len(counts) - MOST_NAMED} more" if len(counts) > MOST_NAMED else ""
    height, width = common[0][0]
    raise DatasetError(
        f"The pictures in {path} have {len(counts)} sizes, height x width: {named}{more}.",
        f"Give the one to which they are resized: --size {height}x{width}.",
    )


def _notes(
    found: Contents, facts: Sequence[Picture], shape: tuple[int, ...], options: SourceOptions
) -> Iterator[str]:
    """Yield what was converted or left out, a sentence each."""
    is_colour = len(shape) == 3
    counts = {
        f"were resized to {shape[0]} x {shape[1]}, whatever their proportions": sum(
            each.size != shape[:2] for each in facts
        ),
        "in colour were converted to grey": sum(each.is_colour and not is_colour for each in facts),
        "in grey were read as colour": sum(is_colour and not each.is_colour for each in facts),
        "have an alpha channel, and were laid on white": sum(each.has_alpha for each in facts),
        "of 16 bits were reduced to 8 bits": sum(each.is_wide for each in facts),
        "hold several frames or pages, of which the first was read": sum(
            each.is_several for each in facts
        ),
    }
    for words, count in counts.items():
        if count:
            yield f"{count:,} of the {counted(len(facts), 'picture')} {words}."
    for files, words in (
        (found.left_out, "no pictures of a class"),
        (found.outside, "leading out of the folder"),
        (found.empty, "without a picture"),
    ):
        if len(files) == 1:
            yield f"1 file or folder was left out ({words}): {min(files)}."
        elif files:
            yield f"{len(files):,} files or folders were left out ({words}), such as {min(files)}."


def _decode(files: Sequence[str], shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield the pixels of the pictures in chunks, uint8 (k, *shape)."""
    import numpy as np

    rows = max(THREADS, min(BATCH * THREADS, CHUNK_BYTES // max(1, int(np.prod(shape)))))
    share = -(-rows // THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(files), rows):
            chunk = files[start : start + rows]
            parts = [chunk[first : first + share] for first in range(0, len(chunk), share)]
            pixels = np.empty((len(chunk), *shape), "uint8")
            targets = [pixels[first : first + share] for first in range(0, len(chunk), share)]
            with pictures.quiet():
                list(pool.map(_decode_into, targets, parts))
            yield pixels


def _decode_into(target: Array, files: Sequence[str]) -> None:
    shape = target.shape[1:]
    for row, file in zip(target, files, strict=True):
        try:
            row[...] = pictures.decoded(
                Path(file),
                lambda picture: pictures.to_pixels(picture, shape),
                draft=pictures.draft_of(shape),
                formats=FORMATS,
            )
        except PictureError as error:
            raise _broken(file, error) from None


def _broken(file: str, error: PictureError) -> DatasetError:
    hint = error.hint or "Replace it, or remove it from the folder."
    return DatasetError(f"{file} cannot be used: {error.message}", hint)


def _unreadable(path: str, error: OSError) -> DatasetError:
    return DatasetError(f"{path} cannot be read: {reason(error)}.", "The dataset needs it.")
