"""Deskewing: a slanted digit is sheared upright, its centre of mass put into the centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.model import Array


def deskew(images: Array) -> Array:
    """Deskew images (n, height, width) from 0 to 1; gives the same, float64.

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
        raise ZooError("To deskew images needs scipy.", "pip install scikit-learn") from None
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
