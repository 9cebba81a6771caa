"""Preprocessing steps: registered changes of the inputs, in a chain such as `impute,standardize`.

A step that learns something learns it from the training rows of its job alone; what it has learned
is kept with the weights as arrays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import ArtifactError, PluginError, UsageError, ZooError, reason, unknown
from zoo.job_spec import NO_STEPS
from zoo.model import Step
from zoo.plugins import registry

if TYPE_CHECKING:
    from zoo.model import Array

Learned = dict[str, "Array"]
"""The arrays that a step has learned, by name."""
SHAPE = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""A valid name of a learned array."""


class Deskew(Step):
    """Shift the lines of grey images so that their principal axis becomes vertical."""

    name = "deskew"
    takes = ("image",)
    learns = False

    def apply(self, x: Array, learned: Mapping[str, Array]) -> Array:
        if x.ndim != 3:
            raise UsageError("'deskew' takes grey images.", "Import them with --grey.")
        return deskew(x)


class Standardize(Step):
    """Subtract the mean of each feature and divide by its standard deviation (StandardScaler)."""

    name = "standardize"

    def fit(self, x: Array) -> Learned:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(x)
        return {"mean": scaler.mean_, "scale": scaler.scale_}

    def apply(self, x: Array, learned: Mapping[str, Array]) -> Array:
        # As StandardScaler.transform does, in its order of operations; NaN stays NaN.
        scaled: Array = x - learned["mean"]
        scaled /= learned["scale"]
        return scaled


class Impute(Step):
    """Replace missing numbers by the mean of their feature (SimpleImputer)."""

    name = "impute"
    takes = ("table",)
    handles_missing = True

    def fit(self, x: Array) -> Learned:
        from sklearn.impute import SimpleImputer

        imputer = SimpleImputer(keep_empty_features=True).fit(x)
        return {"mean": imputer.statistics_}

    def apply(self, x: Array, learned: Mapping[str, Array]) -> Array:
        import numpy as np

        filled: Array = np.where(np.isnan(x), learned["mean"], x)
        return filled


OWN: tuple[type[Step], ...] = (Deskew, Standardize, Impute)


def known() -> dict[str, type[Step]]:
    """Return every step of Zoo and of the plugins of this machine, by name."""
    return {step.name: step for step in OWN} | registry.catalogue().steps


def chain(preprocess: str) -> list[Step]:
    """Return the steps of a chain; none for `none`.

    Raises UsageError for an unknown step, or one that stands twice.
    """
    if preprocess == NO_STEPS:
        return []
    names = preprocess.split(",")
    steps = known()
    for name in names:
        if name not in steps:
            raise unknown("preprocessing step", name, [NO_STEPS, *steps])
        if names.count(name) > 1:
            raise UsageError(f"The preprocessing step '{name}' stands twice in '{preprocess}'.")
    return [steps[name]() for name in names]


def split_chain(preprocess: str) -> tuple[str, list[Step]]:
    """Split a chain into what is prepared once per machine, and what each job fits by itself.

    Returns the leading steps that learn nothing, as a chain, and the steps from the first that
    learns something. Raises UsageError as `chain` does.
    """
    steps = chain(preprocess)
    first = next((n for n, step in enumerate(steps) if step.learns), len(steps))
    return ",".join(step.name for step in steps[:first]) or NO_STEPS, steps[first:]


def fit(steps: Sequence[Step], x: Array) -> tuple[list[Learned], Array]:
    """Fit steps one after the other on training rows, (n, features).

    Returns what each has learned, and the transformed rows. Raises PluginError if a step breaks
    its contract.
    """
    learned = []
    for step in steps:
        found = _checked(step, step.fit(x)) if step.learns else {}
        learned.append(found)
        x = _applied(step, x, found)
    return learned, x


def apply(steps: Sequence[Step], learned: Sequence[Mapping[str, Array]], x: Array) -> Array:
    """Apply fitted steps to rows, (n, features); raises PluginError as `fit` does."""
    for step, found in zip(steps, learned, strict=True):
        x = _applied(step, x, found)
    return x


def save(folder: Path, steps: Sequence[Step], learned: Sequence[Learned]) -> None:
    """Write what steps have learned into a new folder, one npz file each."""
    import numpy as np

    folder.mkdir()
    for number, (step, arrays) in enumerate(zip(steps, learned, strict=True)):
        np.savez(folder / f"{number}-{step.name}.npz", allow_pickle=False, **arrays)


def load(folder: Path, steps: Sequence[Step]) -> list[Learned]:
    """Read what `save` has written; raises ArtifactError if a file is missing or damaged."""
    return [_load(folder / f"{n}-{step.name}.npz") for n, step in enumerate(steps)]


def _load(file: Path) -> Learned:
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile and numpy raise a dozen kinds
        raise ArtifactError(f"{file} cannot be read: {reason(error)}.") from None


def _checked(step: Step, given: object) -> Learned:
    import numpy as np

    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and SHAPE.fullmatch(name) for name in given
    ):
        raise PluginError(f"The preprocessing step '{step.name}' returned no arrays by name.")
    learned = {name: np.asarray(value) for name, value in given.items()}
    for name, array in learned.items():
        if array.dtype.kind not in "fiub":
            raise PluginError(
                f"The preprocessing step '{step.name}' learned {name} as {array.dtype}."
            )
    return learned


def _applied(step: Step, x: Array, learned: Mapping[str, Array]) -> Array:
    import numpy as np

    given = np.asarray(step.apply(x, learned))
    if given.shape != x.shape or given.dtype.kind != "f":
        raise PluginError(
            f"The preprocessing step '{step.name}' made {given.dtype} {given.shape} "
            f"of {x.dtype} {x.shape}.",
            "Report it to the author of the plugin.",
        )
    return given


def deskew(images: Array) -> Array:
    """Deskew images (n, height, width) from 0 to 1; returns the same shape, float64.

    Lines are shifted so that the principal axis closest to the vertical becomes vertical (LeCun et
    al. 1998, Gradient-based learning applied to document recognition, section III-A). The shear is
    the covariance of columns and rows over the variance of rows, both weighted by the pixels.
    MNIST has each digit's centre of mass in the middle of its images up to a pixel; here it comes
    there exactly.
    Raises ZooError where scipy, which comes with scikit-learn, is missing.
    """
    import numpy as np

    try:
        from scipy.ndimage import affine_transform
    except ModuleNotFoundError:
        raise ZooError("Deskewing needs scipy.", "pip install scikit-learn") from None
    middle = (np.array(images.shape[1:]) - 1) / 2
    upright = np.empty(images.shape)
    centres, shears = _moments(images)
    for target, image, centre, shear in zip(upright, images, centres, shears, strict=True):
        # From a place in the upright image to one in the slanted: (row, column).
        matrix = np.array([[1.0, 0.0], [shear, 1.0]])
        affine_transform(image, matrix, centre - matrix @ middle, output=target, order=1)
    return upright.clip(0, 1, out=upright)


def _moments(images: Array) -> tuple[Array, Array]:
    """The centres of mass, (n, 2) as (row, column), and the shears, (n,) in columns per row."""
    import numpy as np

    rows, columns = (np.arange(float(size)) for size in images.shape[1:])
    mass = images.sum(axis=(1, 2))
    # An empty image has no centre: it stays empty.
    by_row = images.sum(axis=2) / np.where(mass > 0, mass, 1.0)[:, None]
    by_column = images.sum(axis=1) / np.where(mass > 0, mass, 1.0)[:, None]
    centres = np.stack([by_row @ rows, by_column @ columns], axis=1)
    away, aside = rows - centres[:, :1], columns - centres[:, 1:]
    variance = (by_row * away**2).sum(axis=1)
    mixed = np.einsum("nij,ni,nj->n", images, away, aside, optimize=True)
    # A single line of pixels has no slant.
    return centres, np.divide(mixed, variance * mass, out=np.zeros_like(mixed), where=variance > 0)
