"""MNIST, the handwritten digits of LeCun, Cortes and Burges: found locally or downloaded."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo import settings
from zoo.data.cache import Progress
from zoo.data.readers import idx, npz
from zoo.dataset_names import absolute
from zoo.errors import DatasetError, reason
from zoo.model import Images

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The sha256 of the uncompressed MNIST files: the gzip files differ between mirrors."""

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)

TIMEOUT = 20.0
"""Seconds without data after which a mirror has failed."""

DEADLINE = 300.0
"""Time limit of one file in seconds, for mirrors that send data too slowly."""

MAX_DOWNLOAD = 64 * 2**20

logger = logging.getLogger(__name__)


def places() -> list[Path]:
    """Return where MNIST may be on this machine: folders with IDX files, or npz files."""
    found = []
    for folder in settings.load().data_folders:
        if idx.find(folder, exact=True):
            found.append(folder)
        if idx.is_file(folder / "mnist.npz"):
            found.append(folder / "mnist.npz")
    keras = Path(absolute(os.environ.get("KERAS_HOME") or "~/.keras")) / "datasets"
    if idx.is_file(keras / "mnist.npz"):
        found.append(keras / "mnist.npz")
    return found


def load(progress: Progress | None = None) -> dict[str, Images]:
    """Read MNIST from this machine, or download it.

    Raises DatasetError, with the ways to provide it.
    """
    refused = []
    for place in places():
        try:
            found = idx.load(place) if place.is_dir() else npz.load(place)
            verify(found, str(place))
            return found
        except DatasetError as error:
            logger.warning("%s Looking for MNIST elsewhere.", error.message)
            refused.append(error.message)
    try:
        return download(MIRRORS, progress)
    except DatasetError as error:
        raise DatasetError(
            " ".join([*refused, error.message]),
            "Set ZOO_DATA_DIR to a folder with its four files, put mnist.npz into "
            "~/.keras/datasets, or connect to a network; the dataset 'digits' needs none of these.",
        ) from None


def verify(splits: Mapping[str, Images], where: str, expected: Mapping[str, str] = SHA256) -> None:
    """Check the hashes of the IDX files that hold these arrays.

    Raises DatasetError if one differs.
    """
    arrays = [array for split in ("train", "test") for array in splits[split]]
    for (file, wanted), array in zip(expected.items(), arrays, strict=True):
        if array.dtype != "uint8" or idx.sha256(array) != wanted:
            raise DatasetError(f"{where} does not hold MNIST: {file} has another sha256.")


def download(
    mirrors: Sequence[str],
    progress: Progress | None = None,
    expected: Mapping[str, str] = SHA256,
    timeout: float = TIMEOUT,
) -> dict[str, Images]:
    """Download the four files, each from the first mirror that has it valid and in time.

    Raises DatasetError, with the failure of each mirror.
    """
    from http.client import HTTPException
    from urllib.parse import urlsplit

    failures = []
    arrays = {}
    for mirror in mirrors:
        try:
            for (file, wanted), ndim in zip(expected.items(), idx.PARTS.values(), strict=True):
                if file not in arrays:
                    content = _fetch(f"{mirror}{file}.gz", file, timeout, progress)
                    array = idx.unpack(content, ndim, file)
                    if idx.sha256(array) != wanted:
                        raise DatasetError(f"{file} has another sha256 than MNIST's.")
                    arrays[file] = array
            return idx.splits(*arrays.values())
        except (OSError, HTTPException, ValueError, DatasetError) as error:
            # urllib wraps the error of the operating system.
            inner = getattr(error, "reason", None)
            why = reason(inner if isinstance(inner, OSError) else error)
            failures.append(f"{urlsplit(mirror).netloc}: {why}")
            logger.info("A mirror failed: %s", failures[-1])
    raise DatasetError(f"MNIST cannot be downloaded ({'; '.join(failures)}).")


def _fetch(url: str, file: str, timeout: float, progress: Progress | None) -> bytes:
    import urllib.request

    ends = time.monotonic() + DEADLINE
    content = bytearray()
    with urllib.request.urlopen(url, timeout=timeout) as response:
        total = int(response.headers.get("Content-Length") or 0)
        # read1 returns available data, so that the deadline is checked
        while chunk := response.read1(2**16):
            content += chunk
            if len(content) > MAX_DOWNLOAD:
                raise ValueError(f"{file} is larger than {MAX_DOWNLOAD} bytes")
            if time.monotonic() > ends:
                raise TimeoutError(f"{file} took more than {DEADLINE:g} s")
            if progress:
                progress(f"downloading {file}", len(content), total)
    return bytes(content)
