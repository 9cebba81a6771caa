"""The spec and the params: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.canonical_json import canonical, read_json
from zoo.errors import UsageError
from zoo.job_spec import MAX_SPEC_BYTES, Fold, JobSpec, Source
from zoo.param_values import as_options, changed, read_pairs, typed_options

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FOLDS = st.integers(2, 100).flatmap(
    lambda k: st.builds(Fold, k=st.just(k), index=st.integers(0, k - 1))
)
SOURCES = st.builds(
    Source,
    job=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    artifact=st.text(max_size=50),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    kind = draw(st.sampled_from(["train", "evaluate"]))
    return JobSpec(
        kind=kind,
        model=draw(NAMES),
        params=draw(st.dictionaries(st.text(max_size=10), VALUES, max_size=4)),
        dataset=draw(TEXTS),
        split=draw(st.sampled_from(["train", "test"])),
        seed=draw(st.integers(0, 2**32 - 1)),
        fold=draw(st.none() | FOLDS),
        source=draw(SOURCES) if kind == "evaluate" else None,
        keep_weights=draw(st.booleans()),
        timeout=draw(st.none() | st.floats(0, 1e9, exclude_min=True)),
        memory_mb=draw(st.none() | st.integers(1, 10**6)),
        validation=draw(st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True)),
        class_weight=draw(st.sampled_from([None, "balanced"])),
        positive=draw(st.none() | TEXTS),
        device=draw(st.sampled_from([None, "gpu"])),
        exact=draw(st.booleans()),
        plugin=draw(st.text(max_size=20)),
    )


def fields(**changes: Any) -> dict[str, Any]:
    good = {"v": 1, "kind": "train", "model": "logistic", "params": {}, "dataset": "digits"}
    return {name: value for name, value in (good | changes).items() if value is not ...}


@given(specs())
def test_a_spec_comes_back_as_it_was_dumped(spec: JobSpec) -> None:
    text = spec.dump()
    assert JobSpec.parse(text) == spec
    assert JobSpec.parse(text).dump() == text


def test_a_typed_option_is_one_that_is_not_the_default() -> None:
    assert typed_options(JobSpec.parse_object(fields()).model_dump()) == []
    # Specs of before have none of them.
    assert typed_options(fields()) == []
    given = {"preprocess": "deskew", "validation": 0.1, "class_weight": "balanced"}
    given |= {"positive": "-1", "device": "gpu", "exact": True}
    assert typed_options(JobSpec.parse_object(fields(**given)).model_dump()) == [
        *("--preprocess", "deskew", "--validation", "0.1", "--class-weight", "balanced"),
        *("--positive=-1", "--device", "gpu", "--exact"),
    ]


@given(VALUES)
def test_the_order_of_names_changes_nothing(value: Any) -> None:
    turned = {"a": value, "b": 1}
    assert canonical(turned) == canonical({"b": 1, "a": value})


@pytest.mark.parametrize(
    "bad",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1" * 5000,
        "[" * 200_000,
        '{"a":' * 100_000,
        "1_0",
        "１２",
        "'a'",
        "{1: 2}",
        "[1,]",
        "",
        "\ufeff1",
    ],
    ids=lambda text: text[:20],
)
def test_what_the_standard_does_not_have_is_no_json(bad: str) -> None:
    with pytest.raises(UsageError, match="This is not JSON"):
        read_json(bad)
    with pytest.raises(UsageError):
        JobSpec.parse(canonical(fields())[:-1].replace('"params":{}', f'"params":{{"a":{bad}}}'))


def test_bytes_that_are_no_text_are_no_json() -> None:
    with pytest.raises(UsageError, match="This is not JSON"):
        read_json(b"\xff\xfe\xfa")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_never_written(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        JobSpec.parse_object(fields(params={"a": [bad]})).dump()


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 0},
        {"v": 3},
        {"v": "1"},
        {"v": None},
        {"kind": "dance"},
        {"kind": ...},
        {"model": ...},
        {"model": "Logistic"},
        {"model": "../etc"},
        {"model": "a\n"},
        {"model": "a" * 65},
        {"params": ...},
        {"params": []},
        {"dataset": ""},
        {"dataset": "d" * 4097},
        {"dataset": "\ud800"},
        {"split": "all"},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": True},
        {"seed": 1.0},
        {"seed": "1"},
        {"keep_weights": 1},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"memory_mb": 0},
        {"fold": {"k": 1, "index": 0}},
        {"fold": {"k": 101, "index": 0}},
        {"fold": {"k": 5, "index": 5}},
        {"fold": {"k": 5, "index": -1}},
        {"fold": {"k": 5}},
        {"fold": {"k": 5, "index": 0, "of": 3}},
        {"fold": 3},
        {"extra": 1},
        {"source": {"job": "0" * 32, "artifact": "a", "sha256": "0" * 64}},
        {"kind": "evaluate"},
        {"kind": "evaluate", "source": {"job": "x", "artifact": "a", "sha256": "0" * 64}},
        {"kind": "evaluate", "source": {"job": "0" * 32, "artifact": "a", "sha256": "0" * 63}},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_spec_that_dump_would_not_have_written_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="The job's spec is refused") as refused:
        JobSpec.parse_object(fields(**changes))
    assert "\n" not in refused.value.message and refused.value.message.endswith(".")


def test_classes_are_not_weighed_twice() -> None:
    for params, class_weight in (({}, "balanced"), ({"class_weight": "balanced"}, None)):
        JobSpec.parse_object(fields(params=params, class_weight=class_weight))
    with pytest.raises(UsageError, match="class_weight would weigh the classes twice"):
        JobSpec.parse_object(fields(params={"class_weight": "balanced"}, class_weight="balanced"))


@pytest.mark.parametrize("value", [None, [], "text", 1, [fields()]])
def test_a_spec_is_an_object(value: Any) -> None:
    with pytest.raises(UsageError, match="refused"):
        JobSpec.parse(json.dumps(value))


def test_params_up_to_the_limit_are_dumped_and_a_byte_more_is_refused() -> None:
    room = MAX_SPEC_BYTES - len(JobSpec.parse_object(fields(params={"a": ""})).dump())
    fits = JobSpec.parse_object(fields(params={"a": "x" * room}))
    assert len(fits.dump()) == MAX_SPEC_BYTES
    with pytest.raises(UsageError, match="the limit is 65536"):
        JobSpec.parse_object(fields(params={"a": "x" * (room + 1)})).dump()


# --- params ---


class Recipe(zoo.Params):
    epochs: int = zoo.param(5, ge=1, le=1000, help="passes over the images")
    rate: float | None = zoo.param(None, gt=0, help="step size")
    shuffle: bool = zoo.param(True, help="a new order in each epoch")
    loss: Literal["log", "hinge"] = zoo.param("log", help="what is minimised")
    layers: list[int] = zoo.param([10], help="units of each layer")


def resolve(*texts: str) -> Recipe:
    found = Recipe.resolve(read_pairs(texts))
    assert isinstance(found, Recipe)
    return found


def test_nothing_given_is_every_default() -> None:
    assert Recipe.resolve({}).model_dump() == {
        "epochs": 5,
        "rate": None,
        "shuffle": True,
        "loss": "log",
        "layers": [10],
    }


def test_what_is_typed_reaches_the_params_in_its_type() -> None:
    found = resolve("epochs=7", "rate=1e-3", "shuffle=false", "loss=hinge", "layers=[3, 4]")
    assert (found.epochs, found.rate, found.shuffle) == (7, 0.001, False)
    assert (found.loss, found.layers) == ("hinge", [3, 4])
    assert resolve("rate=null").rate is None
    assert resolve("rate=1").rate == 1.0


BAD = [
    *("epochs=0", "epochs=1001", "epochs=true", "epochs=5.0", "epochs=1_0", "epochs=１２"),
    *("epochs= 0x10", 'epochs="5"', "epochs=", "epochs=1e3", "epochs=" + "9" * 5000),
    *("rate=NaN", "rate=Infinity", "rate=1e999", "rate=true", "rate=0", "rate=nan"),
    *("shuffle=1", "shuffle=yes", "shuffle=TRUE", "loss=LOG", "loss=3", "loss=null"),
    *("layers=10", "layers=[true]", "layers=[1.5]", "layers=[[1]]", "layers=" + "[" * 100_000),
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:20])
def test_a_value_of_another_type_or_out_of_bounds_is_refused_in_a_sentence(text: str) -> None:
    name = text.partition("=")[0]
    with pytest.raises(UsageError, match=rf"^The param {name}\b.* is refused: ") as refused:
        resolve(text)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300
    assert refused.value.hint.startswith(f"{name}: ") and "default" in refused.value.hint


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_never_a_crash(text: str) -> None:
    try:
        resolve(text, f"epochs={text}")
    except UsageError as error:
        assert str(error)


@given(st.dictionaries(st.sampled_from([*Recipe.model_fields, "other"]), VALUES))
def test_params_either_resolve_to_something_canonical_or_are_refused(given: Any) -> None:
    try:
        found = Recipe.resolve(given)
    except UsageError:
        return
    text = canonical(found.model_dump())
    assert Recipe.resolve(read_json(text)) == found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=1.0", 1.0),
        ("a=true", True),
        ("a=null", None),
        ("a=[1, 2]", [1, 2]),
        ('a="1"', "1"),
        ("a=relu", "relu"),
        ("a=True", True),
        ("a=None", None),
        ("a=TRUE", "TRUE"),
        ("a=1_0", "1_0"),
        ("a=１２", "１２"),
        ("a=NaN", "NaN"),
        ("a=", ""),
    ],
)
def test_a_value_is_read_as_json_or_as_the_text_itself(text: str, value: Any) -> None:
    found = read_pairs([text])["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), True, 10**400], ids=["nan", "inf", "true", "10**400"]
)
def test_a_number_from_a_program_is_checked_as_strictly(bad: Any) -> None:
    with pytest.raises(UsageError, match="rate="):
        Recipe.resolve({"rate": bad})


def test_an_unknown_param_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"No param is called 'epoch'\. Did you mean 'epochs'\?"):
        resolve("epoch=3")


def test_an_unknown_param_that_is_like_none_is_refused_with_all() -> None:
    with pytest.raises(UsageError, match="Known: epochs, layers, loss, rate, shuffle"):
        resolve("zzzzz=3")


@pytest.mark.parametrize("text", ["epochs", "=5", ""])
def test_a_param_without_a_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not NAME=VALUE"):
        read_pairs([text])


def test_a_param_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="epochs is given twice"):
        read_pairs(["epochs=1", "epochs=2"])


def test_a_value_may_hold_an_equals_sign() -> None:
    assert read_pairs(["a=b=c"]) == {"a": "b=c"}


def test_params_written_as_options_are_read_back() -> None:
    params = {"a": "b=c", "b": [1, 2], "c": "1", "d": None, "e": 0.5}
    options = as_options(params)
    assert options[::2] == ["-p"] * len(params)
    assert read_pairs(options[1::2]) == params


def test_changed_params_are_all_where_their_names_were_not_recorded() -> None:
    params = {"a": 1, "b": 2}
    assert changed(params, ["b"]) == {"b": 2}
    assert changed(params, []) == {}
    assert changed(params, None) == params


def test_a_default_out_of_its_own_bounds_is_found() -> None:
    class Wrong(zoo.Params):
        epochs: int = zoo.param(0, ge=1, help="passes")

    with pytest.raises(UsageError, match="epochs=0"):
        Wrong.resolve({})


def test_params_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe.resolve({}).epochs = 6  # type: ignore[attr-defined]
