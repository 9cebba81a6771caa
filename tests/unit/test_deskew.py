"""Deskewing, and its prepared data beside the plain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.data import datasets, preprocessing
from zoo.data.preprocessing import prepare, prepare_all
from zoo.data.steps import deskew
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.training.run import read_recipe, run_job


def bar(shear: float, height: int = 20) -> Any:
    """A bar of 4 x `height` pixels around the middle, each line shifted by `shear` per row."""
    image = np.zeros((28, 28))
    for row in range(14 - height // 2, 14 + height // 2):
        left = 12 + round(shear * (row - 13.5))
        image[row, left : left + 4] = 1.0
    return image


def centre(image: Any) -> Any:
    """The centre of mass: (row, column)."""
    return np.array(np.nonzero(image)) @ image[np.nonzero(image)] / image.sum()


def slant(image: Any) -> float:
    """Columns per row: the covariance of columns and rows over the variance of rows."""
    rows, columns = np.array(np.nonzero(image)) - centre(image)[:, None]
    mass = image[np.nonzero(image)]
    return float((mass * rows * columns).sum() / (mass * rows**2).sum())


@pytest.mark.parametrize("shear", [-0.5, -0.25, 0.25, 0.5])
def test_a_slanted_bar_is_upright_afterwards(shear: float) -> None:
    upright = deskew(bar(shear)[None])
    assert slant(bar(shear)) == pytest.approx(shear, abs=0.05)
    assert abs(slant(upright[0])) < 0.01
    assert upright.sum() == pytest.approx(80, rel=0.01)


def test_an_upright_bar_stays_as_it_is() -> None:
    assert np.allclose(deskew(bar(0)[None])[0], bar(0))


@pytest.mark.parametrize("image", ["empty", "a point", "a line", "white"])
def test_images_without_a_slant_stay_finite_and_within_0_and_1(image: str) -> None:
    given = np.zeros((1, 28, 28))
    if image == "a point":
        given[0, 13:15, 13:15] = 0.5
    elif image == "a line":
        given[0, :, 13:15] = 1.0
    elif image == "white":
        given[:] = 1.0
    assert np.allclose(deskew(given), given)


def test_deskewed_data_is_prepared_once_beside_the_plain(home: Path) -> None:
    plain = prepare("digits", "test", "image", "float32")
    told: list[str] = []
    found = prepare(
        "digits", "test", "flat", "float32", lambda what, *_: told.append(what), preprocess="deskew"
    )
    assert isinstance(found.x, np.memmap)
    images = datasets.raw("digits").splits["test"].inputs / 255.0
    assert np.array_equal(found.x, deskew(images).astype("float32").reshape(-1, 784))
    assert not np.array_equal(found.x, plain.x.reshape(-1, 784))
    assert "preparing train images" in told
    told.clear()
    preprocessing.clear_mapped()
    prepare("digits", "test", "flat", "float32", lambda what, *_: told.append(what))
    (made,) = prepare_all("digits", ["float32"], preprocess="deskew")
    assert told == []
    assert (made.preprocess, made.path.name.split("-")[1:]) == ("deskew", ["deskew", "float32"])


def test_the_centre_of_mass_comes_into_the_middle() -> None:
    aside = np.roll(bar(0.25, height=10), (4, -3), axis=(0, 1))
    assert centre(deskew(aside[None])[0]) == pytest.approx([13.5, 13.5], abs=0.01)


@pytest.mark.parametrize("place", [(slice(3, 4), slice(4, 5)), (slice(9, 10), slice(28))])
def test_a_single_point_or_line_has_no_slant(place: tuple[slice, slice]) -> None:
    given = np.zeros((1, 28, 28))
    given[0, *place] = 1.0
    upright = deskew(given)
    # A shear would push some of a line over the edge.
    assert upright.sum() == pytest.approx(given.sum())
    assert centre(upright[0]) == pytest.approx([13.5, 13.5])


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", ["deskew", "none"])
def test_a_trained_model_knows_its_preprocessing(
    home: Path, tmp_path: Path, preprocess: str
) -> None:
    spec = {"kind": "train", "model": "logistic", "params": {}, "dataset": "digits"}
    run_job(
        JobSpec.model_validate(spec | {"preprocess": preprocess}), tmp_path, lambda *_, **__: None
    )
    assert read_recipe(tmp_path).preprocess == preprocess


@pytest.mark.slow
def test_a_slow_preparation_is_reported(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.training.run.REPORTED_SECONDS", 0.0)
    told: list[tuple[int, int, str]] = []

    def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        told.append((step, total, unit))

    spec = {"kind": "train", "model": "logistic", "params": {}, "dataset": "digits"}
    run_job(JobSpec.model_validate(spec | {"preprocess": "deskew"}), tmp_path, report)
    images = [(step, total) for step, total, unit in told if unit == "image"]
    # Read, then prepared: the training images and those of the test.
    assert [each for each in images if each[0] == each[1]] == [
        *((1797, 1797), (1437, 1437), (360, 360))
    ]


def test_an_unknown_preprocessing_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="No preprocessing step is called 'deskw'"):
        prepare("digits", "test", "flat", "float32", preprocess="deskw")
