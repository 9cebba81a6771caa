"""Pictures that the tests draw themselves, and what trained models say about them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import drawn_digits as strokes
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.lenet import LeNet5

from zoo.data import mnist, preprocessing
from zoo.data.contents import Inputs
from zoo.images import normalize
from zoo.model import Model
from zoo.training import evaluation

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.mnist,
    pytest.mark.skipif(
        not os.environ.get("ZOO_DATA_DIR"), reason="ZOO_DATA_DIR names no MNIST files"
    ),
]
NAMES = list("0123456789")
SOME = (1, 2, 4, 5, 9)
"""The digits that are drawn in every way."""


def trained(kind: type[Model], count: int, **params: Any) -> Model:
    """A model trained on the first images of MNIST: enough of them for these pictures."""
    images, labels = mnist.load(None)["train"]
    model = kind(kind.Params.resolve(params), NAMES, 42)
    model.fit(scaled(model, images[:count]), labels[:count].astype("int64"), lambda *_, **__: None)
    return model


def scaled(model: Model, images: Any) -> Any:
    x = preprocessing.scale(images, Inputs(), model.dtype)
    return x.reshape(len(x), -1) if model.layout == "flat" else x


def said(models: dict[str, Model], pictures: list[Any]) -> dict[str, list[int]]:
    """What each model says that the pictures show."""
    images = np.stack([normalize.prepare(each) for each in pictures])
    return {
        name: evaluation.predict(model, scaled(model, images)).labels.tolist()
        for name, model in models.items()
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Model]]:
    """Both networks, trained on a part of MNIST."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        yield {
            "dense-softmax": trained(DenseSoftmax, 30_000, epochs=3),
            "lenet-5": trained(LeNet5, 4_000, epochs=3, optimizer="adam"),
        }


def test_every_digit_that_is_drawn_is_known(models: dict[str, Model]) -> None:
    pictures = [strokes.drawn(digit) for digit in range(10)]
    assert said(models, pictures) == {name: [*range(10)] for name in models}


@pytest.mark.parametrize("way", strokes.WAYS)
def test_the_same_digit_is_known_however_it_comes(models: dict[str, Model], way: str) -> None:
    pictures = [strokes.WAYS[way](digit) for digit in SOME]
    assert said(models, pictures) == {name: [*SOME] for name in models}
