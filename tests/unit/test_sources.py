"""Sources of data in files: spelling, options, and recognition of a bare path."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import sources
from zoo.data.source_options import SourceOptions
from zoo.data.sources import Source
from zoo.dataset_names import canonical, short
from zoo.errors import UsageError

# Halves of characters cannot be typed, and control characters in a path are refused.
WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
PATHS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1)
LISTS = st.lists(WORDS, unique=True).map(lambda names: tuple(sorted(names)))
SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)
CHARACTERS = st.characters(exclude_categories=("Cs",))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "target": WORDS,
    "weight": WORDS,
    "metric": WORDS,
    "drop": LISTS,
    "category": LISTS,
    "classes": st.lists(WORDS, unique=True).map(tuple),
    "drop_missing_target": st.booleans(),
    "grey": st.booleans(),
    "transpose": st.booleans(),
    "sep": CHARACTERS,
    "decimal": CHARACTERS,
    "encoding": st.sampled_from(["utf-8", "cp949"]),
    "test": SHARES | PATHS.map(lambda name: f"/at/-{name}"),
    "validation": SHARES,
    "size": st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
}


@st.composite
def a_source(draw: st.DrawFn) -> Source:
    form = draw(st.sampled_from(list(sources.PATHS)))
    known = [each.replace("-", "_") for each in sources.OPTIONS[form]]
    options = draw(st.fixed_dictionaries({}, optional={each: VALUES[each] for each in known}))
    return Source(form, Path("/at", f"-{draw(PATHS)}"), SourceOptions(**options))


@given(a_source())
def test_a_spelling_is_read_back_and_is_canonical(source: Source) -> None:
    text = sources.spell(source)
    assert sources.parse(text) == source
    assert canonical(text) == text


def test_every_option_belongs_to_a_form() -> None:
    known = {key.replace("-", "_") for keys in sources.OPTIONS.values() for key in keys}
    assert known == set(SourceOptions.model_fields) == set(VALUES)


@pytest.mark.parametrize(
    ("typed", "spelled"),
    [
        ("csv:a.csv", "csv:{}/a.csv"),
        ("csv:b/../a.csv?test=.20&drop=name&drop=id", "csv:{}/a.csv?drop=id&drop=name&test=0.2"),
        ("csv:a.csv?drop_missing_target=yes", "csv:{}/a.csv?drop-missing-target"),
        ("csv:a.csv?sep=%09&encoding=CP949", "csv:{}/a.csv?encoding=cp949&sep=tab"),
        ("csv:a.csv?test=b.csv", "csv:{}/a.csv?test={}/b.csv"),
        ("csv:100%.csv", "csv:{}/100%25.csv"),
        ("csv:a&b#c%3Fd.csv", "csv:{}/a%26b%23c%3Fd.csv"),
        ("folder:a?grey=no", "folder:{}/a"),
        ("folder:a?size=032X16&grey", "folder:{}/a?grey&size=32x16"),
        ("idx:a?classes=b,a%2Cc,%25", "idx:{}/a?classes=b,a%2Cc,%25"),
        ("npz:a b.npz", "npz:{}/a b.npz"),
    ],
)
def test_what_is_typed_is_spelled_in_one_way(
    typed: str, spelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = spelled.replace("{}", str(tmp_path))
    assert sources.spell(sources.parse(typed)) == expected
    assert canonical(typed) == expected


def test_an_older_name_of_a_file_with_a_question_mark_still_names_it(tmp_path: Path) -> None:
    for name in ("a?b.npz", "a%20b.npz"):
        path = tmp_path / name
        path.touch()
        assert sources.parse(f"npz:{path}") == Source("npz", path)
        assert sources.parse(canonical(f"npz:{path}")) == Source("npz", path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cvs:a", "No form of dataset is called 'cvs'. Did you mean 'csv'"),
        ("csv:", "'csv:' needs a path. csv:PATH is a text file"),
        ("csv:?target=a", "'csv:' needs a path"),
        ("csv:a%0Ab", "'csv:' needs a path"),
        ("csv:a?targets=b", "No option of csv: is called 'targets'. Did you mean 'target'"),
        ("npz:a?.npz", "No option of npz: is called '.npz'.*A question mark in a path is"),
        ("csv:a?target", "The option 'target' of csv: needs a value"),
        ("csv:a?target=b&target=c", "'target' of csv: is given twice"),
        ("csv:a?grey", "The option 'grey' is for idx:, npz:, folder:, not for csv:"),
        ("folder:a?grey=maybe", "'grey' is true or false, not 'maybe'"),
        ("folder:a?size=32", "not HEIGHTxWIDTH, such as 32x32"),
        ("folder:a?size=0x32", "not HEIGHTxWIDTH"),
        ("folder:a?size=32x9999", "of up to 4096 pixels"),
        ("csv:a?test=20", "The share 'test' is 20.0, not between 0 and 1. Or name a file: ./NAME"),
        ("csv:a?sep=ab", "'sep' is one character, not 'ab'"),
        ("csv:a?encoding=cp499", "No encoding is called 'cp499'. Did you mean 'cp949'"),
    ],
)
def test_a_wrong_source_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sources.parse(text)


def test_options_of_a_command_replace_those_of_the_spelling() -> None:
    source = sources.parse("csv:/a.csv?target=x&drop=y&test=0.5")
    found = sources.extended(
        source,
        target="class",
        drop=["id", "name"],
        classes="b,a",
        test=None,
        drop_missing_target=True,
    )
    spelled = "csv:/a.csv?classes=b,a&drop=id&drop=name&drop-missing-target&target=class&test=0.5"
    assert sources.spell(found) == spelled
    assert sources.extended(source, weight=None, drop=(), drop_missing_target=False) == source
    with pytest.raises(UsageError, match="'grey' is for"):
        sources.extended(source, grey=True)


def test_a_short_name_has_no_folder() -> None:
    assert short("csv:/secret/a.csv?test=/secret/b.csv&target=c/d") == (
        "csv:a.csv?target=c/d&test=b.csv"
    )
    assert short("s3:secret/a") == "s3:a"
    assert short("mnist") == "mnist"


def test_a_bare_path_is_recognised(tmp_path: Path) -> None:
    written = {"a.csv": b"x", "b.TSV": b"x", "c.data": b"x", "d": b"x,y\n", "e.parquet": b"x"}
    written |= {"f": b"PAR1\0", "g.csv.gz": b"x", "h.npz": b"x", "idx/t10k-labels-idx1-ubyte": b"x"}
    written |= {"folder/cat/1.png": b"x"}
    for name, content in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "arrays", "w") as archive:
        archive.writestr("x.npy", "")
    forms = {"a.csv": "csv", "b.TSV": "csv", "c.data": "csv", "d": "csv", "e.parquet": "parquet"}
    forms |= {"f": "parquet", "g.csv.gz": "csv", "h.npz": "npz", "arrays": "npz"}
    forms |= {"idx": "idx", "folder": "folder"}
    for name, form in forms.items():
        path = tmp_path / name
        assert sources.of_path(str(path)) == Source(form, path), name
    assert sources.of_path(str(tmp_path / "missing")) is None
    assert sources.of_path("") is None


def test_a_path_of_no_known_form_is_refused_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="neither IDX files nor a folder of pictures"):
        sources.of_path(str(tmp_path / "folder"))
    (tmp_path / "folder/a.csv").touch()
    mends = {"table.xlsx": "Save the table as CSV", "picture.png": "Say which", "folder": "a.csv"}
    for name, mend in mends.items():
        with pytest.raises(UsageError, match=mend):
            sources.of_path(str(tmp_path / name))
