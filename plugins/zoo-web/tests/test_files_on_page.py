"""Files on the page of `zoo ui`: pictures of any size and rows of tables, over HTTP."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from helpers import page_client as web
from PIL import Image
from sklearn.datasets import load_iris

from zoo import jobs
from zoo.jobs.worker_records import Gpu

# One process of the suite: they share a server and two trained models.
pytestmark = pytest.mark.xdist_group("test_files_on_page")
HEADER = "sepal length,sepal width,petal length,petal width,species"
CLASSES = ("setosa", "versicolor", "virginica")


def iris(count: int = 150) -> str:
    """Fisher's iris as CSV; `count` rows, repeated from the start if there are fewer."""
    found = load_iris()
    rows = [
        ",".join([*map(str, x), CLASSES[y]]) for x, y in zip(found.data, found.target, strict=True)
    ]
    return "\n".join([HEADER, *(rows[n % 150] for n in range(count))]) + "\n"


def colour_images(file: Path) -> None:
    """Write images of 6 x 9 pixels, red or blue."""
    labels = np.arange(40) % 2
    images = np.random.default_rng(0).integers(0, 60, (40, 6, 9, 3)).astype("uint8")
    images[np.arange(40), :, :, labels * 2] += 190
    names = np.array(["red", "blue"])[labels]
    np.savez(file, x_train=images[:30], y_train=names[:30], x_test=images[30:], y_test=names[30:])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web.Page]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "iris.csv").write_text(iris())
    colour_images(folder / "colours.npz")
    with web.served(folder / "home") as found:
        found.zoo.run("data", "add", "iris", str(folder / "iris.csv"), "--target", "species")
        found.zoo.run("data", "add", "colours", str(folder / "colours.npz"))
        found.zoo.run("train", "knn", "--dataset", "iris", "--preprocess", "standardize")
        found.zoo.run("train", "knn", "--dataset", "colours")
        yield found


def ask(page: web.Page, dataset: str, name: str, content: bytes, **headers: str | None) -> Any:
    """Send a file; returns the lines of the answer, or the refusal."""
    own = {"Origin": f"http://{page.host}", "X_CSRF_Token": page.csrf, "cookie": page.cookie}
    place = f"/draw/file?{urlencode({'dataset': dataset, 'name': name})}"
    answer = page.ask(place, "POST", content, **own | headers)
    if answer.status != 200:
        return answer
    return [json.loads(line) for line in answer.text.splitlines()]


def png(colour: str, size: tuple[int, int] = (9, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def test_rows_are_shown_with_their_predictions_and_all_are_in_the_csv(page: web.Page) -> None:
    (found,) = ask(page, "iris", "../my rows.csv", iris(320).encode())
    assert found["columns"] == [*HEADER.split(","), "predicted", "probability"]
    assert (len(found["rows"]), found["total"]) == (200, 320)
    *first, species, predicted, probability = found["rows"][0]
    assert (first, species, predicted, probability) == ([5.1, 3.5, 1.4, 0.2], "setosa", "setosa", 1)
    every = list(csv.DictReader(io.StringIO(found["csv"])))
    assert len(every) == 320
    assert sum(row["species"] == row["predicted"] for row in every) / 320 > 0.9


def test_a_picture_of_any_size_is_resized_to_that_of_the_model(page: web.Page) -> None:
    for colour in ("red", "blue"):
        (found,) = ask(page, "colours", f"{colour}.png", png(colour, (90, 90)))
        assert found["classes"][found["label"]] == colour
        assert (found["shape"], found["note"]) == ([6, 9, 3], "Resized from other proportions.")
    assert ask(page, "colours", "a.png", png("red"))[0]["note"] == ""


@pytest.mark.parametrize(
    ("dataset", "name", "content", "says"),
    [
        ("iris", "rows.csv", b"a,b\n1,2\n", "rows.csv has no column 'sepal length'"),
        ("iris", "rows.csv", b"", "rows.csv"),
        ("iris", "rows.csv", b"\x00\xff" * 99, "rows.csv"),
        ("iris", "rows.parquet", b"PAR1 or not", "rows.parquet"),
        ("iris", "a.png", png("red"), "The model takes rows of 4 columns, no pictures."),
        ("colours", "a.png", b"no picture", "It is not a picture."),
        ("colours", "a.png", png("red")[:45], "The picture is damaged"),
        ("colours", "a.csv", b"a,b\n1,2\n", "The model takes images of 6 x 9 colour, no rows"),
        ("colours", "../../etc/passwd", b"", "The file is empty."),
    ],
    ids=["columns", "empty", "binary", "parquet", "for-rows", "text", "cut", "for-image", "path"],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(
    page: web.Page, dataset: str, name: str, content: bytes, says: str
) -> None:
    (found,) = ask(page, dataset, name, content)
    assert says in found["error"] and "\n" not in found["error"], found
    assert "zoo-page-" not in found["error"] and "Traceback" not in found["error"]


def test_a_file_of_another_page_or_too_large_is_refused_before_it_is_read(page: web.Page) -> None:
    assert ask(page, "iris", "a.csv", b"a", X_CSRF_Token="0" * 64).status == 403
    assert ask(page, "iris", "a.csv", b"a", X_CSRF_Token=None).status == 403
    assert ask(page, "iris", "a.csv", b"a", Origin="http://elsewhere.example").status == 403
    assert ask(page, "iris", "a.csv", b"a", cookie="").status == 403
    refused = ask(page, "iris", "a.csv", bytes(2**25 + 1))
    assert (refused.status, refused.text) == (413, "This is larger than 32 MB.\n")


def test_the_page_asks_for_what_the_models_take(page: web.Page) -> None:
    table, picture = (page.get(f"/draw?dataset={name}").text for name in ("iris", "colours"))
    assert "Drop a CSV or parquet file here" in table and "sepal length, sepal width" in table
    assert "Drop a picture here" in picture and "resized to 6 x 9 colour" in picture
    assert "canvas.js" not in table + picture and 'id="canvas"' not in table + picture
    assert 'id="canvas"' in page.get("/draw?dataset=digits").text


def test_added_datasets_are_offered_and_named_with_their_version(page: web.Page) -> None:
    form = page.get("/submit").text
    assert ">colours</option>" in form and ">iris</option>" in form and "impute,standardize" in form
    with contextlib.closing(page.zoo.database()) as db:
        job = jobs.listing(db, datasets=["iris"], limit=1)[0]
    shown = page.get(f"/jobs/{job.id}").text
    assert "iris@1" in shown and "table of 4 columns" in shown and "standardize" in shown
    refused = page.post("/submit", {"model": "knn", "dataset": "iris", "preprocess": "no, such"})
    assert refused.status == 400 and "No preprocessing step is called" in refused.text


def test_the_page_says_that_other_code_answers_than_the_one_that_trained(page: web.Page) -> None:
    with contextlib.closing(page.zoo.database()) as db:
        job = page.zoo.json("train", "knn", "--dataset", "colours", "-p", "n_neighbors=1")
        known = jobs.attempts(db, job["id"])[-1].environment
        assert known is not None
        edited = known.to_json() | {"code": {"sha256": "e" * 64}}
        with db.write() as rows:
            change = "UPDATE attempt SET environment = :environment WHERE job_id = :id"
            rows.run(change, {"environment": json.dumps(edited), "id": job["id"]})
    answer = next(each for each in ask(page, "colours", "red.png", png("red")) if "job" in each)
    assert "loader" not in answer
    shown = page.get("/draw?dataset=colours").text
    assert shown.count("predictions may differ") == 1


def test_the_page_names_the_gpus_of_a_worker(page: web.Page) -> None:
    gpus = [Gpu(n, "NVIDIA H200", 144_384) for n in range(2)]
    facts: dict[str, Any] = {"host": "h", "pid": 1, "slots": 2, "version": "1", "models": []}
    with contextlib.closing(page.zoo.database()) as db:
        jobs.register_worker(db, jobs.NewWorker(id="g", name="g", pool="gpu", gpus=gpus, **facts))
    assert "2 × NVIDIA H200" in page.get("/").text
