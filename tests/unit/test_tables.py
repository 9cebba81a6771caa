"""Tables in CSV and parquet files: taken with exact values, or refused with what mends them."""

from __future__ import annotations

import io
import os
import re
import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder

import zoo
from zoo.data import contents, datasets, incoming
from zoo.data.contents import Raw
from zoo.data.incoming import Incoming
from zoo.data.readers import tables
from zoo.data.readers.table_files import MISSING_TEXTS
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError, UsageError
from zoo.plugins import registry

PEOPLE = "age,city,member,species\n30,Berlin,true,a\n,Seoul,false,b\n41,,true,a\n25,Berlin,NA,b\n"


def read(path: Path, **options: Any) -> Incoming:
    reader = tables.read_parquet if path.suffix == ".parquet" else tables.read_csv
    return reader(path, SourceOptions(**options))


def written(found: Incoming, **options: Any) -> Raw:
    """The contents that are written of a reader's rows."""
    with tempfile.TemporaryDirectory() as folder:
        incoming.write(Path(folder), "mine", found, SourceOptions(**options).shares)
        raw = contents.open_contents(Path(folder))
        assert raw is not None
        rows = {split: contents.Rows(*map(np.array, each)) for split, each in raw.splits.items()}
        return Raw(raw.name, raw.meta, rows, {s: np.array(w) for s, w in raw.weights.items()})


def saved(folder: Path, text: str, name: str = "data.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def all_rows(found: Incoming) -> np.ndarray:
    """The inputs in the order of the file."""
    return np.concatenate([chunk for read in found.inputs.values() for chunk in read()])


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
def test_csv_and_parquet_give_the_same_contents_and_exact_values(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    bunch = load(as_frame=True)
    frame = bunch.data.assign(species=bunch.target_names[bunch.target])
    frame.to_csv(tmp_path / "data.csv", index=False)
    frame.to_parquet(tmp_path / "data.parquet")
    csv, parquet = (read(tmp_path / f"data.{form}") for form in ("csv", "parquet"))
    assert np.array_equal(all_rows(csv), bunch.data.to_numpy())
    first, second = written(csv), written(parquet)
    assert first.meta == second.meta
    assert first.meta.class_names == tuple(sorted(bunch.target_names))
    assert first.meta.feature_names == list(bunch.data.columns)
    train, test = train_test_split(
        np.arange(len(frame)), test_size=0.2, stratify=frame["species"], random_state=42
    )
    assert np.array_equal(first.splits["test"].inputs, bunch.data.to_numpy()[np.sort(test)])
    assert np.array_equal(first.splits["train"].inputs, bunch.data.to_numpy()[np.sort(train)])


def test_numbers_texts_and_booleans_become_columns(tmp_path: Path) -> None:
    found = written(read(saved(tmp_path, PEOPLE)), test=0.5)
    age, city, member = found.meta.columns
    assert (age.kind, age.has_missing) == ("number", True)
    assert city.categories == ("Berlin", "Seoul") and city.has_missing
    assert member.categories == ("false", "true") and member.has_missing
    rows = all_rows(read(saved(tmp_path, PEOPLE)))
    assert np.array_equal(
        rows, [[30, 0, 1], [np.nan, 1, 0], [41, -1, 1], [25, 0, -1]], equal_nan=True
    )


def test_one_hot_is_that_of_scikit_learn_and_a_column_for_missing_ones(tmp_path: Path) -> None:
    found = read(saved(tmp_path, PEOPLE))
    columns = written(found, test=0.5).meta.columns
    features = contents.encode(all_rows(found), columns)
    names = [name for column in columns for name in column.features]
    assert names == [
        *("age", "city=Berlin", "city=Seoul", "city=missing"),
        *("member=false", "member=true", "member=missing"),
    ]
    texts = pd.read_csv(io.StringIO(PEOPLE), dtype=str)[["city", "member"]].fillna("missing")
    encoder = OneHotEncoder(
        categories=[[*column.categories, "missing"] for column in columns[1:]], sparse_output=False
    )
    assert np.array_equal(features[:, 1:], encoder.fit_transform(texts.to_numpy()))


def test_features_stand_in_the_order_of_the_columns() -> None:
    column = contents.Column
    columns = [
        *(column(name="a"), column(name="b")),
        column(name="city", kind="category", categories=("Berlin", "Seoul")),
        *(column(name="c"), column(name="d"), column(name="e")),
        column(name="member", kind="category", categories=("yes",), has_missing=True),
    ]
    values = np.array([[1.0, 2, 1, 3, 4, 5, 0], [6, 7, 0, 8, np.nan, 9, -1]])
    expected = [[1, 2, 0, 1, 3, 4, 5, 1, 0], [6, 7, 1, 0, 8, np.nan, 9, 0, 1]]
    assert np.array_equal(contents.encode(values, columns), expected, equal_nan=True)
    assert np.array_equal(contents.encode(values[:, :2], columns[:2]), values[:, :2])


@pytest.mark.parametrize("seed", range(5))
def test_the_stratified_rows_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, 203, p=[0.5, 0.3, 0.1, 0.06, 0.04])
    for share in (0.1, 0.2, 0.37):
        _, test = train_test_split(
            np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed
        )
        assert np.array_equal(incoming.stratified(labels, share, seed), np.sort(test))


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no target": ("a,b\n1,2\n", {}, "--target COLUMN. Its columns: 'a', 'b'"),
    "two targets": ("y,label,a\n1,2,3\n", {}, "--target COLUMN"),
    "unknown target": ("a,b\n1,2\n", {"target": "c"}, "no column 'c'.*Its columns: 'a', 'b'"),
    "unknown drop": ("a,y\n1,2\n", {"drop": ("c",)}, "no column 'c' for --drop"),
    "no header": ("1,2,3\n4,5,6\n", {}, "no header.*names of the columns into the first line"),
    "data first": ("5.1,3.5,1.4,rose\n4.9,3.0,1.4,rose\n", {}, "no header"),
    "empty": ("", {}, "it is empty"),
    "no rows": ("a,y\n", {}, "a header and no rows"),
    "same name": ("a,a,y\n1,2,3\n", {}, "several columns 'a'.*Rename"),
    "no name": ("a,,y\n1,2,3\n", {}, "without a name: 2"),
    "ragged": ("a,b,y\n1,2,x\n1,x\n", {}, "line 3 has 2 fields, and the header 3"),
    "open quote": ('a,y\n1,x\n2,"x\n3,y\n', {}, "a quote is not closed"),
    "nul": ("a,y\n1,x\n2,\0\n", {}, "NUL bytes"),
    "dates": ("d,y\n2020-01-02,a\n2021-03-04,b\n", {}, r"'d' \(dates\).*--drop d"),
    "other dates": ("d,y\n31.12.2020,a\n1.1.2021,b\n", {}, r"'d' \(dates\).*--drop d"),
    "no values": ("a,full name,y\n1,,a\n2,,b\n", {}, r"\(no values\).*--drop 'full name'"),
    "id": (
        "name,a,y\n" + "".join(f"n{i},1,{i % 2}\n" for i in range(30)),
        {},
        r"'name' \(another text in each row, like an id\).*--drop name",
    ),
    "free text": (
        "t,y\n" + "".join(f"{'words of a review ' * 3}{i // 2 * 2},{i % 2}\n" for i in range(29)),
        {"category": ("t",)},
        r"free text, 15 different ones in 29 rows\).*--drop t",
    ),
    "question mark": (
        "age,y\n" + "".join(f"{i},{i % 2}\n" for i in range(30)) + "?,0\n",
        {},
        r"numbers, and texts such as '\?'.*NA.*--category age",
    ),
    "thousands": ('a,y\n"1,200",a\n"3,400",b\n', {}, "numbers with commas.*--decimal"),
    "regression": ("a,y\n1,2.5\n2,3.5\n", {}, "real numbers such as 2.5.*regression target"),
    "many classes": (
        "a,y\n" + "".join(f"1,{i}\n" for i in range(300)),
        {},
        "more than 256 different values",
    ),
    "missing targets": (
        "a,y\n1,a\n2,\n3,b\n4,NA\n",
        {},
        "2 of 4 rows have no target 'y': rows 2, 4.*--drop-missing-target",
    ),
    "negative weight": ("a,w,y\n1,1,a\n2,-1,b\n", {"weight": "w"}, "row 2 is -1.0.*0 or more"),
    "text weight": ("a,w,y\n1,x,a\n2,z,b\n", {"weight": "w"}, "weights in 'w' are text"),
    "target alone": ("y\n1\n2\n", {}, "no columns beside the classes"),
    "encoding": ("a,y\n1,a\n", {"encoding": "utf-99"}, "no text encoding 'utf-99'"),
    "pixels alone": (
        ",".join(f"pixel{i}" for i in range(4)) + "\n1,2,3,4\n",
        {},
        "pixels and no column with labels",
    ),
    "pixels of 300": (
        "label," + ",".join(f"pixel{i}" for i in range(4)) + "\n1,2,300,3,4\n",
        {},
        "not whole numbers from 0 to 255",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_table_is_refused_with_what_mends_it(case: str, tmp_path: Path) -> None:
    text, options, words = REFUSED[case]
    path = saved(tmp_path, text)
    with pytest.raises(DatasetError, match=words) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,y\n1,\xe9t\n", "neither UTF-8 nor Korean.*--encoding"),
        (b"\x1f\x8b\x08\x00rest", "compressed by gzip.*gunzip"),
        (b"PK\x03\x04rest", "spreadsheet"),
        (b"PAR1rest", "parquet:"),
    ],
)
def test_other_files_are_recognized(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        read(tmp_path / "data.csv")


@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DatasetError, match="it is a pipe"):
        read(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"a,y\n1,2\n"])
def test_a_damaged_parquet_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match="no parquet file"):
        read(tmp_path / "data.parquet")


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("cp949", "cp949"),
        ("euc-kr", "euc-kr"),
        ("utf-16", "utf-16"),
    ],
)
def test_the_encoding_is_found_and_said(encoding: str, said: str, tmp_path: Path) -> None:
    city = "똠방" if encoding == "cp949" else "서울"
    text = f"도시,나이,label\n{city},1,예\n부산,2,아니요\n"
    found = read(saved(tmp_path, text, encoding=encoding))
    assert [column.name for column in found.columns] == ["도시", "나이"]
    assert found.columns[0].categories == tuple(sorted((city, "부산")))
    assert found.class_names == ("아니요", "예")
    assert any(said in note for note in found.notes if "was read as" in note) == bool(said)


def test_an_encoding_that_is_named_is_used(tmp_path: Path) -> None:
    path = saved(tmp_path, "größe,y\n1,ä\n2,b\n", encoding="latin-1")
    assert read(path, encoding="latin-1").columns[0].name == "größe"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a;b;y\n1,5;2;x\n2,5;3;z\n", {}),
        ("a\tb\ty\n1.5\t2\tx\n2.5\t3\tz\n", {}),
        ("a|b|y\n1.5|2|x\n2.5|3|z\n", {}),
        ("a:b:y\n1.5:2:x\n2.5:3:z\n", {"sep": ":"}),
        ("a;b;y\n1,5;2;x\n2,5;3;z\n", {"sep": ";", "decimal": ","}),
        ('"a", b ,y\r\n"1.5",2,x\r\n 2.5 ,3, "z"\r\n'.replace(', "z"', ", z"), {}),
        (",a,b,y\n0,1.5,2,x\n1,2.5,3,z\n", {}),
    ],
)
def test_separators_decimal_commas_and_blanks_are_found(
    text: str, options: dict[str, str], tmp_path: Path
) -> None:
    found = read(saved(tmp_path, text), **options)
    assert np.array_equal(all_rows(found), [[1.5, 2], [2.5, 3]])
    assert found.class_names == ("x", "z")


def test_kaggles_pixels_are_read_as_images(tmp_path: Path) -> None:
    images = np.arange(8 * 9, dtype="uint8").reshape(8, 9)
    frame = pd.DataFrame(images, columns=[f"pixel{i}" for i in range(9)])
    frame.insert(0, "label", [0, 1] * 4)
    frame.to_csv(tmp_path / "data.csv", index=False)
    frame.to_parquet(tmp_path / "data.parquet")
    for form in ("csv", "parquet"):
        found = read(tmp_path / f"data.{form}")
        assert (found.kind, found.shape, found.dtype) == ("image", (3, 3), "uint8")
        assert np.array_equal(all_rows(found), images.reshape(8, 3, 3))
        assert sum("read as images" in note for note in found.notes) == 1
    assert written(found).meta.class_names == ("0", "1")


def test_splits_in_files_share_their_categories(tmp_path: Path) -> None:
    train = saved(tmp_path, "c,n,y\na,1,x\nb,2,z\n", "train.csv")
    test = saved(tmp_path, "c,n,y\nq,1.5,x\n1,2,w\n", "test.csv")
    found = written(read(train, test=str(test)))
    assert found.meta.columns[0].categories == ("1", "a", "b", "q")
    assert found.meta.class_names == ("w", "x", "z")
    assert found.meta.counts == {"train": 2, "test": 2}
    assert found.splits["test"].inputs.tolist() == [[3, 1.5], [0, 2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("c,n\na,1\n", "no column 'y', and a split needs the classes"),
        ("c,m,y\na,1,x\n", "lacks 'n' and also has 'm'.*--drop n --drop m"),
    ],
)
def test_a_test_file_with_other_columns_is_refused(text: str, words: str, tmp_path: Path) -> None:
    train = saved(tmp_path, "c,n,y\na,1,x\nb,2,z\n", "train.csv")
    with pytest.raises(DatasetError, match=words):
        read(train, test=str(saved(tmp_path, text, "test.csv")))


def test_rows_without_a_target_are_left_out_where_that_is_wanted(tmp_path: Path) -> None:
    path = saved(tmp_path, "a,w,y\n1,1,a\n2,2,\n3,3,b\n4,4,a\n5,5,b\n")
    found = read(path, drop_missing_target=True, weight="w")
    assert all_rows(found).ravel().tolist() == [1, 3, 4, 5]
    assert found.weights[incoming.ALL].tolist() == [1, 3, 4, 5]
    assert any("1 of 5 rows have no target" in note for note in found.notes)
    assert written(found, test=0.5).meta.weighted == ("train", "test")


def test_ids_are_warned_of_and_whole_numbers_stay_numbers(tmp_path: Path) -> None:
    text = "id,rooms,y\n" + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(30))
    found = read(saved(tmp_path, text))
    assert [column.kind for column in found.columns] == ["number", "number"]
    assert any("'id'" in note and "--drop id" in note for note in found.notes)
    wanted = read(saved(tmp_path, text), category=("rooms",), drop=("id",))
    assert wanted.columns[0].categories == ("0", "1", "2")
    assert not any("'id'" in note for note in wanted.notes)


def test_classes_keep_what_stands_in_the_file(tmp_path: Path) -> None:
    for values, names in (
        (("01", "02"), ("01", "02")),
        (("1.0", "2.0"), ("1", "2")),
        (("10", "9"), ("9", "10")),
        (("true", "false"), ("false", "true")),
    ):
        text = "a,y\n" + "".join(f"{i},{values[i % 2]}\n" for i in range(6))
        assert read(saved(tmp_path, text)).class_names == names


def test_infinite_values_are_refused(tmp_path: Path) -> None:
    found = read(saved(tmp_path, "a b,y\n1,x\ninf,z\n3,x\n4,z\n"))
    with pytest.raises(incoming.Unusable, match="column 'a b' has infinite values") as refused:
        written(found, test=0.5)
    assert "--drop 'a b'" in refused.value.hint


@pytest.mark.parametrize("rows", ["1,x\n", "1,x\n2,z\n"])
def test_single_rows_of_each_class_are_refused_until_the_test_split_is_named(
    tmp_path: Path, rows: str
) -> None:
    found = read(saved(tmp_path, f"a,y\n{rows}"))
    with pytest.raises(incoming.Unusable, match=r"not two of any class.*test split") as refused:
        written(found)
    assert "--test FILE" in refused.value.hint
    assert written(found, test=1.0).meta.counts == {"test": rows.count("\n")}


def test_options_that_mend_a_file_are_named_as_they_follow_a_path(tmp_path: Path) -> None:
    file = saved(tmp_path, "a,b\n1,2\n3,4\n")
    with pytest.raises(DatasetError) as refused:
        datasets.raw(f"csv:{file}")
    assert "--target COLUMN" in refused.value.hint and "?target=COLUMN" in refused.value.hint


def test_the_tables_of_a_plugin_are_taken(tmp_path: Path) -> None:
    columns = {"n": [1, 2, 3], "c": np.array(["b", None, "a"], object), "t": [True, False, True]}
    table = zoo.Table(columns, np.array(["x", "y", "x"]))
    found = written(tables.of_tables(dict.fromkeys(contents.SPLITS, table)))
    assert found.meta.counts == dict.fromkeys(contents.SPLITS, 3)
    assert found.splits["validation"].inputs.tolist() == [[1, 1, 1], [2, -1, 0], [3, 0, 1]]
    assert [column.has_missing for column in found.meta.columns] == [False, True, False]


PLUGIN = """
import zoo

def load():
    table = zoo.Table({"n": [1.0, 2.0, 3.0], "c": ["b", "a", "b"]}, [0, 1, 1])
    return {"train": table, "validation": table, "test": LAST}

@zoo.hookimpl
def register_datasets(register):
    register(zoo.Dataset("rows", "Rows of a table", load, ("no", "yes"), version="1"))
"""


@pytest.mark.parametrize(
    ("last", "words"),
    [("table", ""), ("zoo.Images([[[1]]], [1])", "Images and some Tables"), ("{}", "'test' is")],
)
def test_a_dataset_of_a_plugin_may_be_a_table(
    last: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_PLUGINS", "rows")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "rows.py").write_text(PLUGIN.replace("LAST", last))
    registry.catalogue.cache_clear()
    if words:
        with pytest.raises(DatasetError, match=words):
            datasets.raw("rows")
        return
    found = datasets.raw("rows")
    assert found.meta.feature_names == ["n", "c=a", "c=b"]
    assert found.meta.class_names == ("no", "yes")
    assert found.splits["validation"].inputs.tolist() == [[1, 1], [2, 0], [3, 1]]


def test_a_csv_file_is_a_dataset_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    saved(tmp_path, PEOPLE)
    found = datasets.raw(f"csv:{tmp_path}/data.csv?test=0.5&drop=member")
    assert [column.name for column in found.meta.columns] == ["age", "city"]
    assert found.meta.counts == {"train": 2, "test": 2}


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.csv", None)
    with pytest.raises(UsageError, match=r"needs pyarrow.*mnist-zoo\[tables\]"):
        read(saved(tmp_path, PEOPLE))


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
TEXTS = st.one_of(
    st.none(), st.text(string.ascii_letters + " ,;\"'\n-äß한", min_size=1, max_size=6)
)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(NUMBERS, TEXTS, st.booleans()), min_size=4, max_size=15))
def test_what_was_written_to_a_file_comes_back(rows: list[tuple[Any, ...]]) -> None:
    # Blanks around texts do not come back, nor texts that mean a missing value.
    rows = [(n, (text or "").strip() or None, is_member) for n, text, is_member in rows]
    rows = [(n, None if t in MISSING_TEXTS else t, m) for n, t, m in rows]
    frame = pd.DataFrame(rows, columns=["n", "t", "m"])
    frame["n"] = frame["n"].astype("float64")
    frame["y"] = [("a", "b")[index % 2] for index in range(len(rows))]
    if not frame["n"].notna().any() or not frame["t"].notna().any():
        return
    names = sorted({text for _, text, _ in rows if text is not None})
    expected = [
        [np.nan if n is None else n, -1 if t is None else names.index(t), int(m)]
        for n, t, m in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        frame.to_csv(Path(folder, "d.csv"), index=False)
        frame.to_parquet(Path(folder, "d.parquet"))
        for file in ("d.csv", "d.parquet"):
            found = read(Path(folder, file), category=("t", "m"))
            assert list(found.columns[1].categories) == names
            members = found.columns[2].categories
            got = all_rows(found)
            got[:, 2] = [members[int(code)] == "True" for code in got[:, 2]]
            assert np.array_equal(got, expected, equal_nan=True)


def test_a_conversion_is_said_in_a_sentence(tmp_path: Path) -> None:
    found = read(saved(tmp_path, "a;y\n1,5;x\n2,5;z\n"))
    assert all(re.fullmatch(r"[A-Z].*\.", note) for note in (n for n in found.notes if n[0] != "d"))
