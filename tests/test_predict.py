"""Pictures that the tests draw themselves, and what trained models say about them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import strokes
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.lenet import LeNet5

from zoo import drawing, judge, mnist, preprocessing
from zoo.model import Model

pytestmark = [
    pytest.mark.xdist_group("test_keras_models"),  # one process imports TensorFlow
    pytest.mark.mnist,
    pytest.mark.skipif(
        not os.environ.get("ZOO_DATA_DIR"), reason="ZOO_DATA_DIR names no MNIST files"
    ),
]
NAMES = list("0123456789")
IMAGES = 15_000
"""Of MNIST's training images: enough for these pictures, in a second or two."""


def trained(kind: type[Model], **params: Any) -> Model:
    images, labels = mnist.load(None)["train"]
    x = preprocessing.scale(images[:IMAGES], kind.dtype)
    x = x.reshape(IMAGES, -1) if kind.layout == "flat" else x
    model = kind(kind.Params.resolve(params), NAMES, 42)
    model.fit(x, labels[:IMAGES].astype("int64"), lambda *_, **__: None)
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Model]]:
    """Both networks, trained on a part of MNIST."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        yield {
            "dense-softmax": trained(DenseSoftmax, epochs=5),
            "lenet-5": trained(LeNet5, epochs=3, optimizer="adam"),
        }


@pytest.mark.parametrize("way", strokes.WAYS)
@pytest.mark.parametrize("name", ["dense-softmax", "lenet-5"])
def test_a_drawn_digit_is_known_however_it_comes(
    models: dict[str, Model], name: str, way: str
) -> None:
    prepared = np.stack([drawing.prepare(strokes.WAYS[way](digit)) for digit in range(10)])
    x = preprocessing.scale(prepared, "float32")
    flat = x.reshape(10, -1) if models[name].layout == "flat" else x
    assert judge.predict(models[name], flat).labels.tolist() == list(range(10))
