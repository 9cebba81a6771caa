"""Datasets as people have them in IDX and npz files, from scikit-learn's handwritten digits."""

from __future__ import annotations

import functools
import gzip
import struct
from pathlib import Path

import numpy as np

NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@functools.cache
def digits() -> dict[str, np.ndarray]:
    """60 and 20 images of 28 x 28 bytes, all ten digits in both splits, by Keras's names."""
    from sklearn.datasets import load_digits

    found = load_digits()
    large = np.kron((found.images[:80] * 255 / 16).astype("uint8"), np.ones((1, 3, 3), "uint8"))
    x, y = np.pad(large, ((0, 0), (2, 2), (2, 2))), found.target[:80].astype("uint8")
    return {"x_train": x[:60], "y_train": y[:60], "x_test": x[60:], "y_test": y[60:]}


def idx(array: np.ndarray, code: int = 0x08, dtype: str = ">u1", count: int | None = None) -> bytes:
    """An IDX file of that type; `count` is the number of rows that its header promises."""
    shape = (len(array) if count is None else count, *array.shape[1:])
    head = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    return head + array.astype(dtype).tobytes()


def write_idx(
    folder: Path,
    names: dict[str, str] = NAMES,
    *,
    gzipped: bool = True,
    **other: np.ndarray | bytes | None,
) -> Path:
    """Write the four files; a part may be an array, the bytes of its file, or None for no file."""
    folder.mkdir()
    for part, value in (digits() | other).items():
        if value is None:
            continue
        content = value
        if isinstance(value, np.ndarray):
            content = gzip.compress(idx(value), mtime=0) if gzipped else idx(value)
        (folder / (names[part] + ".gz" * gzipped)).write_bytes(content)
    return folder


def write_npz(path: Path, **other: np.ndarray) -> Path:
    """Write the four arrays, some of them replaced."""
    np.savez_compressed(path, **(digits() | other))
    return path
