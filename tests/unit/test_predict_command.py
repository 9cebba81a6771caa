"""`zoo predict` in this process: pictures of any size, folders of them, rows of a dataset."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from helpers import drawn_digits
from helpers.added_contents import a_table, add
from helpers.terminals import command, shown
from helpers.trained_jobs import train
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_iris

from zoo import jobs
from zoo.data import datasets
from zoo.data.contents import Column, Inputs
from zoo.data.readers import conversion, pictures
from zoo.errors import DatasetError, UsageError
from zoo.images import prediction_inputs
from zoo.plugins import registry
from zoo.queue import submit

RED, BLUE = (200, 30, 30), (30, 30, 200)
SHAPE = (6, 9, 3)


@pytest.fixture(scope="module", autouse=True)
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home of its own for the jobs of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        registry.catalogue.cache_clear()
        yield
    registry.catalogue.cache_clear()


def flags(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Red and blue images with noise."""
    drawn = np.random.default_rng(n)
    labels = np.array(["red", "blue"] * n)
    colours = np.array([RED, BLUE] * n)[:, None, None, :]
    noise = drawn.integers(-20, 20, (2 * n, *SHAPE))
    return (colours + noise).astype("uint8"), labels


@pytest.fixture(scope="module")
def coloured() -> str:
    """A job on images of 6 x 9 pixels in colour."""
    meta = add("flags", conversion.of_arrays({"train": flags(20), "test": flags(5)}))
    return train("logistic", "flags", meta.fingerprint, params={"max_iter": 20})


@pytest.fixture(scope="module")
def digits() -> str:
    """A job on digits, which are pen strokes."""
    return train("logistic", "digits", params={"max_iter": 20})


@pytest.fixture(scope="module")
def flowers() -> str:
    """A job on iris with the columns of its file."""
    x, y = load_iris(return_X_y=True)
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    splits = {"train": (x[::2], y[::2]), "test": (x[1::2], y[1::2])}
    given = a_table([Column(name=name) for name in names], splits)
    meta = add("flowers", given)
    return train("logistic", "flowers", meta.fingerprint, preprocess="standardize")


def predict(*words: str) -> tuple[str, str]:
    return shown(command("predict", *words), is_terminal=False)


def rows(*words: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(predict(*words)[0])))


def a_flag(path: Path, colour: Any, size: tuple[int, int] = (18, 12)) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new("RGB", size, colour).save(path)
    return path


def test_a_folder_of_pictures_is_a_sorted_table(coloured: str, tmp_path: Path) -> None:
    a_flag(tmp_path / "b.png", RED)
    a_flag(tmp_path / "a.jpg", BLUE)
    a_flag(tmp_path / "more" / "c.PNG", BLUE)
    (tmp_path / "notes.txt").write_text("no picture")
    a_flag(tmp_path / "._d.png", BLUE)
    found = rows(coloured, str(tmp_path), "--all", "--csv")
    assert [Path(row["file"]).name for row in found] == ["a.jpg", "b.png", "c.PNG"]
    assert [row["predicted"] for row in found] == ["blue", "red", "blue"]
    assert all(row["probability"] == row[f"probability_{row['predicted']}"] for row in found)
    out, err = predict(coloured, str(tmp_path))
    assert [line.split()[1] for line in out.splitlines()] == ["predicted", "blue", "red", "blue"]
    assert "proportions" not in err


def test_one_picture_is_drawn_in_its_own_size(coloured: str, tmp_path: Path) -> None:
    out, _ = predict(coloured, str(a_flag(tmp_path / "a.png", RED)))
    assert "a.png: red" in out and " %" in out
    assert json.loads(predict(coloured, str(tmp_path / "a.png"), "--json")[0])[0] == {
        "file": str(tmp_path / "a.png"),
        "predicted": "red",
        "label": None,
        "probabilities": json.loads(predict(coloured, str(tmp_path), "--json")[0])[0][
            "probabilities"
        ],
        "job": coloured,
        "model": "logistic",
    }


def test_other_proportions_are_said(coloured: str, tmp_path: Path) -> None:
    a_flag(tmp_path / "a.png", RED, (12, 18))
    _, err = predict(coloured, str(tmp_path))
    assert "a.png was resized to 6 x 9 (height x width) from other proportions" in " ".join(
        err.split()
    )


@pytest.mark.slow
def test_a_picture_of_the_models_size_is_predicted_with_its_own_pixels(
    coloured: str, tmp_path: Path
) -> None:
    raw = datasets.raw("flags", contents=jobs.get(jobs.connect(), coloured).spec["contents"])
    images = raw.splits["test"].inputs
    for number in range(4):
        Image.fromarray(np.asarray(images[number])).save(tmp_path / f"{number}.png")
    found = json.loads(predict(coloured, str(tmp_path), "--json")[0])
    own = json.loads(predict(coloured, "--index", "0-3", "--json")[0])
    assert [each["probabilities"] for each in found] == [each["probabilities"] for each in own]
    predict(coloured, str(tmp_path), "-o", str(tmp_path / "seen"))
    for number in range(4):
        with Image.open(tmp_path / "seen" / f"{number}.png") as image:
            assert (np.asarray(image) == images[number]).all()


@pytest.mark.slow
def test_pen_strokes_are_prepared_as_those_of_the_training(digits: str, tmp_path: Path) -> None:
    drawn_digits.drawn(0, (300, 200), width=20).save(tmp_path / "zero.png")
    (found,) = rows(digits, str(tmp_path), "--csv")
    assert found["predicted"] == "0"
    (other,) = rows(digits, str(tmp_path), "--as-is", "--csv")
    assert other["probability"] != found["probability"]


def test_of_other_images_of_that_size_it_is_said_that_they_are_not_prepared(
    tmp_path: Path,
) -> None:
    raw = datasets.raw("digits").splits
    shirts = conversion.of_arrays(
        {
            split: (255 - np.asarray(raw[split].inputs)[:100], np.asarray(raw[split].labels)[:100])
            for split in ("train", "test")
        }
    )
    meta = add("shirts", shirts)
    job = train("logistic", "shirts", meta.fingerprint, params={"max_iter": 2})
    drawn_digits.drawn(0, width=20).save(tmp_path / "zero.png")
    assert "--strokes prepares" in predict(job, str(tmp_path))[1]
    for choice in ("--as-is", "--strokes"):
        assert "--strokes prepares" not in predict(job, str(tmp_path), choice)[1]


def test_strokes_are_known_by_name_or_contents() -> None:
    own = datasets.raw("digits").fingerprint
    assert prediction_inputs.are_strokes(Inputs(), "mnist", "0" * 64)
    assert prediction_inputs.are_strokes(Inputs(), "mine", own)
    assert not prediction_inputs.are_strokes(Inputs(), "mine", "0" * 64)
    assert not prediction_inputs.are_strokes(Inputs(shape=(8, 8)), "digits", own)


def test_rows_of_a_table_are_shown_with_their_values(flowers: str) -> None:
    out, _ = predict(flowers, "--index", "3")
    assert "flowers test 3: 0, correct" in out
    assert "petal width" in out and "0.2" in out and " %" in out
    found = rows(flowers, "--index", "0-2", "--index", "70", "--csv")
    assert [*found[0]][:6] == [
        *("sepal length", "sepal width", "petal length", "petal width"),
        *("label", "predicted"),
    ]
    assert [row["predicted"] for row in found] == ["0", "0", "0", "2"]
    assert "4 of 4 are correct." in predict(flowers, "--index", "0-3")[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--index", "80"], "There is no row 80: the last one is 74."),
        (["--index", "a"], "'a' is not the index of a row."),
        (["--index", "1", "--split", "validation"], "No split is called 'validation'."),
        (["--index", "1", "-o", "{tmp}"], "Rows of a table are no images"),
        (["{tmp}", "{tmp}"], "of one file at a time"),
        (["rows.csv", "-o", "a.csv", "--json"], "as JSON or into a file"),
    ],
)
def test_what_does_not_fit_a_table_is_refused(
    words: list[str], sentence: str, flowers: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        predict(flowers, *(word.replace("{tmp}", str(tmp_path)) for word in words))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{tmp}"], "has no pictures"),
        (["{tmp}", "--strokes"], "the model takes 6 x 9 colour"),
        (["{tmp}", "--strokes", "--as-is"], "Only one of --as-is and --strokes"),
        (["{tmp}", "--csv", "--json"], "Only one of --csv and --json"),
        (["--index", "1", "--dataset", "digits"], "trained on 6 x 9 colour, but 'digits' has 28"),
    ],
)
def test_what_does_not_fit_images_is_refused(
    words: list[str], sentence: str, coloured: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        predict(coloured, *(word.replace("{tmp}", str(tmp_path)) for word in words))


def test_an_evaluation_on_inputs_that_do_not_fit_is_refused_when_it_is_submitted(
    flowers: str,
) -> None:
    datasets.raw("digits")  # known to this machine
    trained = jobs.get(jobs.connect(), flowers)
    with pytest.raises(UsageError, match="trained on 4 columns, but 'digits' has 28 x 28 grey"):
        submit.evaluation(trained, "digits", "test")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_a_picture_of_any_mode_becomes_grey_or_colour(mode: str, tmp_path: Path) -> None:
    grey = np.full((4, 6), 200 * 257, "uint16")
    picture = Image.fromarray(grey) if mode == "I;16" else Image.new("L", (6, 4), 255).convert(mode)
    picture.save(tmp_path / "a.tif")
    for shape in ((4, 6), (4, 6, 3), (2, 3)):
        found = prediction_inputs.of_picture(
            "a", tmp_path / "a.tif", Inputs(shape=shape), strokes=False
        )
        assert (found.raw == (200 if mode == "I;16" else 255)).all()
        assert found.raw.shape == shape and found.raw.dtype == "uint8"
    floats = Inputs(shape=(4, 6), dtype="float32")
    scaled = prediction_inputs.of_picture("a", tmp_path / "a.tif", floats, strokes=False)
    assert scaled.raw.max() <= 1


def test_what_is_transparent_is_white_and_a_turned_picture_is_turned(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (6, 4), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    raw = prediction_inputs.of_picture(
        "a", tmp_path / "clear.png", Inputs(shape=(4, 6, 3)), strokes=False
    ).raw
    assert (raw == 255).all()
    turned = Image.new("L", (6, 4), 0)
    turned.putpixel((0, 0), 255)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    found = prediction_inputs.of_picture(
        "a", tmp_path / "turned.png", Inputs(shape=(6, 4)), strokes=False
    )
    assert found.raw[0, 3] == 255 and not found.is_stretched
    assert pictures.draft_of((6, 4)) == (12, 12)


# --- files of rows ---


def trips(n: int) -> dict[str, list[Any]]:
    """Trips by land or sea, of which the price says which."""
    drawn = np.random.default_rng(n)
    kinds = ["land", "sea"] * n
    return {
        "price": [round(float(drawn.normal(20 if kind == "land" else 90, 3)), 2) for kind in kinds],
        "day": [["Mon", "Tue", "Wed"][number % 3] for number in range(2 * n)],
        "way": kinds,
    }


def written(path: Path, columns: dict[str, list[Any]], sep: str = ",") -> Path:
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join(sep.join(map(str, row)) for row in [[*columns], *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def by_price(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job on a CSV file with a number and a category."""
    file = written(tmp_path_factory.mktemp("trips") / "trips.csv", trips(40))
    return train("logistic", f"csv:{file}?target=way", preprocess="standardize")


def test_rows_of_a_file_keep_their_columns_and_get_class_and_probability(
    by_price: str, tmp_path: Path
) -> None:
    given = trips(3)
    # In another order, and with more columns.
    file = written(
        tmp_path / "rows.csv",
        {"id": [f"0{n}" for n in range(6)], "day": given["day"], "price": given["price"]},
    )
    found = rows(by_price, str(file))
    assert [*found[0]] == ["id", "day", "price", "predicted", "probability"]
    assert [row["predicted"] for row in found] == given["way"]
    assert [row["id"] for row in found] == ["00", "01", "02", "03", "04", "05"]
    assert all(0.5 < float(row["probability"]) <= 1 for row in found)
    every = rows(by_price, str(file), "--all")
    for row in every:
        shares = {name: float(row[f"probability_{name}"]) for name in ("land", "sea")}
        assert sum(shares.values()) == pytest.approx(1)
        assert shares[row["predicted"]] == float(row["probability"])
    predict(by_price, str(file), "-o", str(tmp_path / "out.csv"))
    assert list(csv.DictReader((tmp_path / "out.csv").open())) == found
    told = json.loads(predict(by_price, str(file), "--json")[0])
    assert told[0]["price"] == given["price"][0] and told[0]["id"] == "00"
    assert told[0]["probability"] == float(found[0]["probability"])


def test_parquet_is_read_and_written_and_predicts_the_same(by_price: str, tmp_path: Path) -> None:
    given = trips(3)
    expected = rows(by_price, str(written(tmp_path / "rows.csv", given)))
    parquet.write_table(pa.table(given), tmp_path / "rows.parquet")
    predict(by_price, str(tmp_path / "rows.parquet"), "-o", str(tmp_path / "out.parquet"))
    found = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert found == given | {
        "predicted": [row["predicted"] for row in expected],
        "probability": [float(row["probability"]) for row in expected],
    }


def test_decimal_commas_and_other_separators_are_read_and_kept(
    by_price: str, tmp_path: Path
) -> None:
    given = trips(3)
    plain = rows(by_price, str(written(tmp_path / "rows.csv", given)))
    given["price"] = [str(price).replace(".", ",") for price in given["price"]]
    out, _ = predict(by_price, str(written(tmp_path / "comma.csv", given, ";")))
    found = list(csv.DictReader(io.StringIO(out), delimiter=";"))
    assert [row["price"] for row in found] == given["price"]
    assert [row["probability"].replace(",", ".") for row in found] == [
        row["probability"] for row in plain
    ]


def test_an_unknown_category_is_missing_and_said(by_price: str, tmp_path: Path) -> None:
    given = trips(2) | {"day": ["Mon", "Sun", "", "Fri"]}
    out, err = predict(by_price, str(written(tmp_path / "rows.csv", given)))
    assert len(out.splitlines()) == 5
    assert "The categories 'Sun', 'Fri' of 'day' were not in the training" in " ".join(err.split())


def test_a_column_that_was_predicted_before_is_replaced_and_said(
    by_price: str, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.csv", trips(2) | {"predicted": ["?"] * 4})
    out, err = predict(by_price, str(file))
    assert out.splitlines()[0] == "price,day,way,predicted,probability" and "?" not in out
    assert "The column 'predicted'" in err and "was replaced" in err


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"day": ["Mon"]}, "has no column 'price', which the model was trained on. It has 'day'"),
        ({"day": ["Mon"], "price": ["dear"]}, "'price' holds 'dear' in row 1"),
        ({"day": ["Mon"], "price": [""]}, "Row 1 has no number in the column 'price'"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    columns: dict[str, list[Any]], sentence: str, by_price: str, tmp_path: Path
) -> None:
    file = written(tmp_path / "rows.csv", columns)
    with pytest.raises(UsageError, match=sentence):
        predict(by_price, str(file))


def test_what_is_no_file_of_rows_is_refused(by_price: str, coloured: str, tmp_path: Path) -> None:
    a_flag(tmp_path / "a.png", RED)
    for path in (tmp_path, tmp_path / "a.png", tmp_path / "none.csv"):
        with pytest.raises(DatasetError):
            predict(by_price, str(path))
    (tmp_path / "no.parquet").write_text("day,price")
    with pytest.raises(DatasetError, match="no parquet file"):
        predict(by_price, str(tmp_path / "no.parquet"))
    written(tmp_path / "rows.csv", {"a": [1]})
    assert "It is not a picture" in failed(coloured, str(tmp_path / "rows.csv"))


def failed(*words: str) -> str:
    def run() -> None:
        with pytest.raises(typer.Exit):
            command("predict", *words)()

    return shown(run, is_terminal=False)[1]


def test_the_job_that_answers_is_named_unless_its_id_was_given(flowers: str) -> None:
    asked = "@best:flowers"
    _, said = predict(asked, "--index", "1")
    assert said.startswith(f"{asked} is the job {flowers[:8]}: logistic on flowers ")
    assert predict(flowers[:6], "--index", "1")[1] == ""
    (found,) = json.loads(predict(asked, "--index", "1", "--json")[0])
    assert (found["job"], found["model"]) == (flowers, "logistic")
