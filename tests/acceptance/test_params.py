"""Params of every type: what is accepted at submission runs in a worker, however it is typed."""

from __future__ import annotations

import json
import math
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import Zoo, share
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from zoo_web import param_form

import zoo
from zoo import param_values
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs.cards import Card
from zoo.model import resolved, to_json
from zoo.plugins import metadata
from zoo.queue.options import TrainingOptions
from zoo.sweeps import plan, samplers, search_space
from zoo.sweeps.plan import SweepRequest, TrialBuilder

PLUGINS = Path(__file__).parents[1] / "plugins"
Typed: type[zoo.Model] = runpy.run_path(str(PLUGINS / "typed.py"))["Typed"]
CARD = Card.from_json(json.loads(json.dumps(metadata.of(Typed, "typed 1").to_json())))
REBUILT = metadata.params(CARD)
NAMES = [*Typed.Params.model_fields]
OPTIONS = TrainingOptions("digits", seed=1)
LEAVES = [name for name in param_values.names(to_json(Typed.Params.resolve({}))) if "." in name]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
LIKELY = st.sampled_from(
    [
        *("True", "False", "None", "true", "null", "red", "2", "sgd", "1", "1.5", "", " ", "two"),
        *("a/b", "/", "[1, 2]", '[1, "b"]', '[1, "b", 2]', '["x", "y", "x"]', "[]", "{}"),
        *("2026-02-28", "2026-02-30", "2026-02-28T10:00:00+02:00", "P1DT2H", "3 days", "NaN"),
        *("0" * 32, '{"lr": 1}', '{"lr": 1, "more": 2}', '{"a": 5}', '"None"', "1e999", "9" * 400),
        *('"\\ud800"', '"\\u0000"', "1e400", "-0.0", "[" * 150 + "]" * 150, "[" * 9999),
    ]
)


def in_a_worker(text: str) -> zoo.Params:
    """What a worker makes of a job's spec."""
    return Typed.Params.resolve(JobSpec.parse(text).params)


@given(JSON)
@example("True")
@example("null")
@example(" 1")
def test_a_value_that_is_typed_is_read_back(value: Any) -> None:
    back = param_values.read(param_values.typed(value))
    assert back == value and type(back) is type(value)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*NAMES, *LEAVES, "optim.nope", "word.x", "nope", "pair.0"]),
        LIKELY | JSON.map(param_values.typed) | st.text(),
        max_size=3,
    ),
    st.booleans(),
)
@example({"optim.lr": "9" * 400}, False)
def test_what_is_accepted_at_the_door_runs_in_the_worker(
    typed: dict[str, str], is_light: bool
) -> None:
    params = REBUILT if is_light else Typed.Params
    try:
        values, changed = resolved(
            params, param_values.read_pairs([f"{n}={t}" for n, t in typed.items()])
        )
        spec = JobSpec(
            kind="train", model="typed", dataset="digits", params=values, changed=changed
        ).dump()
    except UsageError as error:
        assert error.message.endswith(".") and "\n" not in error.message
        return
    there = in_a_worker(spec)
    # Typed once more as a listing shows it, it is the same job.
    again = param_values.read_pairs(
        shlex.split(shlex.join(f"{name}={param_values.typed(values[name])}" for name in changed))
    )
    assert to_json(there) == values == resolved(params, again)[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_taken_as_it_is_shown_and_as_python_writes_it(name: str) -> None:
    default = CARD.param_schemas[name]["default"]
    ways = [param_values.typed(default), json.dumps(default)]
    ways += [repr(default)] if default in (True, None) else []
    for params in (Typed.Params, REBUILT):
        for way in ways:
            assert resolved(params, param_values.read_pairs([f"{name}={way}"]))[1] == []


def test_a_refusal_shows_the_default_as_it_is_typed() -> None:
    with pytest.raises(UsageError, match=r"flag: a flag; default true\.$"):
        Typed.Params.resolve({"flag": 1})
    with pytest.raises(UsageError, match=r"colour: an Enum; default red\.$"):
        Typed.Params.resolve({"colour": "blue"})
    with pytest.raises(UsageError, match="""quote it: -p word='"None"'"""):
        Typed.Params.resolve({"word": None})


def test_a_nested_value_keeps_the_defaults_beside_it() -> None:
    found = to_json(Typed.Params.resolve({"optim.lr": 0.125, "table.b": 2}))
    assert found["optim"] == {"lr": 0.125, "momentum": 0.25, "name": "sgd"}
    assert found["table"] == {"a": 1, "b": 2}
    given = {"optim": {"lr": 2.0}, "optim.name": "adam"}
    found = to_json(Typed.Params.resolve(given))
    assert found["optim"] == {"lr": 2.0, "momentum": 0.9, "name": "adam"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("optim.lrr", "No param is called 'optim.lrr'. Did you mean 'optim.lr'?"),
        ("optm.lr", "No param is called 'optm.lr'. Did you mean 'optim.lr'?"),
        ("word.lr", "The param word has no nested values"),
        ("optim.lr.x", "The param optim.lr has no nested values"),
    ],
)
def test_a_nested_name_that_there_is_not_is_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        Typed.Params.resolve({name: 1})
    assert str(error.value).startswith(said)


class _Secret(zoo.Params):
    secret: SecretStr = zoo.param(SecretStr("a"), help="what JSON shows as stars")


class _Callable(zoo.Params):
    call: Any = zoo.param(print, help="a function")


@pytest.mark.parametrize("params", [_Secret, _Callable])
def test_a_type_that_json_cannot_hold_is_refused_when_the_plugin_is_loaded(
    params: type[zoo.Params],
) -> None:
    with pytest.raises(UsageError, match="JSON"):
        resolved(params, {})


def test_a_value_that_json_cannot_hold_is_refused() -> None:
    for value in (object(), math.nan, {1, "a"}.__iter__, b"\xff", "\ud800"):
        with pytest.raises(UsageError):
            resolved(Typed.Params, {"word": value})


@pytest.fixture
def typed_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(PLUGINS))
    monkeypatch.setenv("ZOO_PLUGINS", "typed,sklearn")
    yield


@pytest.mark.usefixtures("typed_here")
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_a_sweep_reaches_nested_params(sampler: str, home: Path) -> None:
    wanted = SweepRequest("typed", OPTIONS, sampler, None if sampler == "grid" else 3)
    texts = ["optim.lr=1,2,3", "optim.momentum=0.5", "flag=True,False"]
    planned = plan.plan_sweep(wanted, search_space.parse_search_space(texts))
    found = [spec.params for spec in planned.specs]
    assert all(each["optim"]["momentum"] == 0.5 for each in found)
    assert {each["optim"]["lr"] for each in found} <= {1.0, 2.0, 3.0}
    if sampler == "grid":
        assert len({json.dumps(each) for each in found}) == 6
        assert planned.about["space"] == {
            "optim.lr": {"values": [1.0, 2.0, 3.0]},
            "flag": {"values": [True, False]},
        }


@pytest.mark.usefixtures("typed_here")
def test_a_sweep_knows_that_a_nested_param_is_a_real_number(home: Path) -> None:
    builder = TrialBuilder(SweepRequest("typed", OPTIONS, "random", 3))
    normalized = builder.normalize(search_space.parse_search_space(["optim.lr=1..3"]))
    assert not normalized.varied["optim.lr"].is_whole  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=r"No param is called 'optimm\.lr'"):
        builder.normalize(search_space.parse_search_space(["optimm.lr=1..3"]))


def test_params_of_every_type_run_in_a_real_worker(zoo: Zoo, cache: Path) -> None:
    share(cache, zoo.home)
    zoo.env |= {"ZOO_PLUGINS_DIR": str(PLUGINS), "ZOO_PLUGINS": "typed,sklearn", "ZOO_SLOTS": "1"}
    texts = ["colour=None", "path=c", 'pair=[2, "b"]', "several=[1, 2]", 'names=["x"]', "one=True"]
    texts += ["day=2020-02-29", "moment=2020-01-01T00:00:00Z", "span=PT5M", "flag=False"]
    words = [word for text in texts for word in ("-p", text)]
    refused = zoo.run("train", "typed", "--dataset", "digits", *words, code=2)
    assert """quote it: -p colour='"None"'""" in refused.stderr
    words[1] = 'colour="None"'
    job = zoo.json("train", "typed", "--dataset", "digits", *words)
    assert job["status"] == "succeeded" and job["params"]["colour"] == "None"
    assert "colour=NONE day=2020" in zoo.run("logs", job["id"]).stdout
    group = zoo.json("sweep", "typed", "--dataset", "digits", "-p", "optim.lr=0.5,0.25")
    assert sorted(trial["params"]["optim.lr"] for trial in group["trials"]) == [0.25, 0.5]
    printed = zoo.run("logs", group["id"]).stdout
    assert "lr=0.25 momentum=0.25" in printed and "lr=0.5 momentum=0.25" in printed
    where = ("--where", "params.optim.lr < 0.4", "--columns", "params.optim.lr", "--csv")
    assert zoo.run("jobs", *where).stdout == "params.optim.lr\n0.25\n"


def test_the_form_of_the_page_offers_what_is_accepted() -> None:
    found = param_form.fields(CARD)
    assert [field.name for field in found if field.choices] == ["colour", "one", "flag"]
    for field in found:
        for text in (field.default, *field.choices):
            filled = {field.field: text}
            given = param_values.read_pairs(param_form.filled_params(filled, [field.name]))
            assert (field.name in given) == (text != "")
            resolved(Typed.Params, given)


class Inner(BaseModel):
    lr: float = 0.1


class Open(BaseModel, extra="allow"):
    lr: float = 0.1


@pytest.mark.parametrize("given", [{"inner.nope": 1}, {"inner": {"lr": 0.5, "nope": 1}}])
def test_an_unknown_name_inside_of_a_param_is_refused_as_one_of_a_param_is(
    given: dict[str, object],
) -> None:
    class Nested(zoo.Params):
        inner: Inner = zoo.param(Inner(), help="nested")

    class Asking(zoo.Params):
        inner: Open = zoo.param(Open(), help="nested, with any names")

    with pytest.raises(UsageError, match=r"No param is called 'inner\.nope'"):
        Nested.resolve(given)
    assert Asking.resolve(given).model_dump()["inner"]["nope"] == 1
