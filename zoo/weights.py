"""Save and load weights: named arrays in one npz file, without pickle, validated when loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import ArtifactError, PluginError, reason

if TYPE_CHECKING:
    from zoo.model import Array

FILE = "weights.npz"

Expected = Mapping[str, tuple[str, tuple[int | None, ...]]]
"""The dtype and shape of each array; None stands for any length."""


def save(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Write the arrays into `weights.npz` of the folder.

    Raises PluginError for an array of Python objects, which would need a pickle.
    """
    import numpy as np

    for name, array in arrays.items():
        if np.asanyarray(array).dtype.hasobject:
            raise PluginError(
                f"The weights '{name}' are Python objects, which would need a pickle.",
                "Save numbers or text: arrays here, the rest as JSON in a file of its own.",
            )
    np.savez(folder / FILE, allow_pickle=False, **arrays)


def load(folder: Path, expected: Expected) -> dict[str, Array]:
    """Read the arrays that `save` has written: exactly the expected ones.

    Raises ArtifactError if the file is damaged, or an array has another dtype or shape.
    """
    arrays = _read(folder / FILE)
    if set(arrays) != set(expected):
        raise _error(folder, f"holds {', '.join(arrays)}; {', '.join(expected)} are expected")
    for name, (dtype, shape) in expected.items():
        array = arrays[name]
        if array.dtype != dtype or not _fits(array.shape, shape):
            what = f"{array.dtype} {array.shape}; {dtype} {shape} is expected"
            raise _error(folder, f"holds '{name}' as {what}")
    return arrays


def _read(path: Path) -> dict[str, Array]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            # A member that is not an array is read as bytes.
            return {name: np.asanyarray(file[name]) for name in file.files}
    # A damaged file raises almost anything: BadZipFile, EOFError, ValueError, MemoryError...
    except Exception as error:
        raise _error(path.parent, f"cannot be read: {reason(error)}") from None


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        want is None or size == want for size, want in zip(shape, expected, strict=True)
    )


def _error(folder: Path, what: str) -> ArtifactError:
    return ArtifactError(f"{folder / FILE} {what}.", "Train the model again.")
