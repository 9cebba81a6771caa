"""Quality of picture preparation: accuracy on MNIST's test images, and on pictures of them.

    python -m benchmarks.pictures JOB... [--images 500]

Each image becomes a picture: enlarged twenty times, dark on white, off-centre; then a simulated
photograph: out of focus, in warm light that falls off to one side, with noise.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from zoo import jobs, settings
from zoo.data import datasets
from zoo.images import normalize
from zoo.inference import predictor

SIDE, MARGINS = 560, ((100, 140), (240, 200))


def enlarged(image: Any) -> Image.Image:
    large = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return Image.fromarray(np.pad(255 - np.asarray(large), MARGINS, constant_values=255))


def photographed(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    blurred = picture.convert("RGB").filter(ImageFilter.GaussianBlur(2))
    pixels = np.asarray(blurred).astype("float64")
    rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    light = 1 - 0.6 * (0.6 * columns / pixels.shape[1] + 0.4 * rows / pixels.shape[0])
    lit = pixels * 0.8 * light[..., None] * [1, 0.96, 0.86] + 12
    grainy = lit + random.normal(0, 10, lit.shape)
    return Image.fromarray(grainy.clip(0, 255).astype("uint8"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", nargs="+")
    parser.add_argument("--images", type=int, default=500)
    asked = parser.parse_args()
    chosen = settings.load()
    db = jobs.connect(chosen.database)
    images, labels = (part[: asked.images] for part in datasets.raw("mnist").splits["test"])
    random = np.random.default_rng(0)
    pictures = [enlarged(image) for image in images]
    sets = {
        "as they are": np.asarray(images),
        "enlarged": np.stack([normalize.prepare(each) for each in pictures]),
        "photographed": np.stack([normalize.prepare(photographed(p, random)) for p in pictures]),
    }
    for ref in asked.jobs:
        trained = predictor.load_trained(db, chosen, ref)
        for name, prepared in sets.items():
            accuracy = float((trained.labels(prepared) == labels).mean())
            sys.stdout.write(f"{trained.job.model:16}{name:14}{accuracy:.3f}\n")


if __name__ == "__main__":
    main()
