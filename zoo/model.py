"""The contract of plugins: models, params and datasets."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import numbers
import os
import types
import typing
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from zoo import param_values
from zoo.canonical_json import canonical
from zoo.dataset_names import expanded
from zoo.errors import PluginError, UsageError, unknown

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Validation = tuple[Array, Array]
    """Inputs and labels to choose by: epochs, params."""


def param(default: Any, *, help: str, needs: str = "", **bounds: Any) -> Any:
    """Declare a param: default, help text and pydantic's bounds (`ge`, `gt`, `le`, `lt`...).

    `needs="validation"`: unless it is None, a job without validation rows is refused.
    """
    if needs:
        bounds["json_schema_extra"] = {"needs": needs}
    return Field(default, description=help, **bounds)


TEXTS_WANTED = ("string_type", "literal_error", "enum")
"""pydantic's errors that a text in the place of another value may mend."""


SEVERAL_WANTED = ("tuple_type", "list_type", "set_type", "frozen_set_type")
"""pydantic's errors that a list in the place of a text may mend."""


PLAIN = (str, int, float, bool, type(None))
"""Types whose values have no names within them."""


LONGEST_HINT = 80
"""A longer text is not repeated in the way it should have been typed."""


class Params(BaseModel):
    """The params of a model: strict types, bounds, no NaN or infinity, no unknown name."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> Params:
        """Validate the given params and fill in every default.

        Values are read as in JSON, here as in a worker: an Enum or a date from its text, a tuple
        or a set from a list. `optim.lr` is the value `lr` within the param `optim`.

        Raises UsageError for the first invalid param.
        """
        try:
            # Defaults are Python's; among JSON pydantic would take them for JSON too.
            usual = cls.model_validate({})
            if not given:
                return usual
            defaults = to_json(usual)
            values = defaults | param_values.nest(given, defaults)
            return cls.model_validate_json(_as_json(values), extra=_extra(cls))
        except ValidationError as error:
            raise _sentence(cls, error.errors(include_url=False)[0]) from None


@functools.cache
def _extra(params: type[Params]) -> Literal["forbid"] | None:
    """Reject unknown names within params, too, unless their type allows them."""
    is_usual = params.model_config.get("extra") == "forbid"
    if is_usual and all(_is_plain(each.annotation) for each in params.model_fields.values()):
        return "forbid"  # without the schema, which takes a millisecond for each model
    try:
        schema = params.model_json_schema()
    except PydanticUserError:  # a type without JSON schema; it is rejected elsewhere
        return "forbid"
    types = (schema, *schema.get("$defs", {}).values())
    return None if any(each.get("additionalProperties") is True for each in types) else "forbid"


def _is_plain(annotation: Any) -> bool:
    """Return whether no value of this type has names within it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _is_plain(inner[0])
    if origin in (typing.Union, types.UnionType, list):
        return all(map(_is_plain, inner))
    return origin is Literal or annotation in PLAIN


def to_json(params: BaseModel) -> dict[str, Any]:
    """Return the params as JSON, the same in every process.

    Raises UsageError for a value that JSON cannot represent.
    """
    try:
        dumped: dict[str, Any] = _in_order(params, params.model_dump(mode="json"))
    except PydanticSerializationError as error:
        raise UsageError(f"The params cannot be written as JSON: {error}.") from None
    for name, value in dumped.items():
        try:
            canonical(value)
        except ValueError:
            raise UsageError(f"The param {name} contains a number that is not finite.") from None
    return dumped


def resolved(params: type[Params], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Resolve params for a spec: every value as JSON, and the names that differ from the defaults.

    Raises UsageError like `resolve`, and for a value that changes in a round trip through JSON.
    """
    found = params.resolve(given)
    values, defaults = to_json(found), to_json(params.resolve({}))
    try:
        again: Params | None = params.resolve(values)
    except UsageError:
        again = None
    if again != found:
        lost = [name for name in values if getattr(again, name, None) != getattr(found, name)]
        raise UsageError(
            f"The param {', '.join(lost)} changes in a round trip through JSON.",
            "Jobs are stored as JSON: the plugin has to declare another type for it.",
        )
    return values, [name for name, value in values.items() if value != defaults[name]]


def _as_json(given: Mapping[str, Any]) -> str:
    for name, value in given.items():
        try:
            json.dumps(to_jsonable_python(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"The param {name} cannot be written as JSON: {error}.") from None
    return json.dumps(to_jsonable_python(dict(given)))


def _in_order(value: Any, dumped: Any) -> Any:
    """The dumped value, with the elements of sets sorted: their order differs by process."""
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        return {name: _in_order(getattr(value, name, None), each) for name, each in dumped.items()}
    if isinstance(value, set | frozenset) and isinstance(dumped, list):
        return sorted(dumped, key=canonical)
    if isinstance(value, list | tuple) and isinstance(dumped, list) and len(value) == len(dumped):
        return [_in_order(inner, each) for inner, each in zip(value, dumped, strict=True)]
    if isinstance(value, dict) and isinstance(dumped, dict) and len(value) == len(dumped):
        pairs = zip(value.values(), dumped.items(), strict=True)
        return {name: _in_order(inner, each) for inner, (name, each) in pairs}
    return dumped


def _sentence(params: type[Params], error: Any) -> UsageError:
    if error["type"] == "value_error" and not error["loc"]:
        # A validator of several params together, with a message of its author.
        return UsageError(str(error["ctx"]["error"]))
    if error["type"] == "json_invalid":
        return UsageError(f"The params are refused: {error['msg']}.")
    where = ".".join(str(part) for part in error["loc"]) or "params"
    if error["type"] == "extra_forbidden":
        return unknown("param", where, param_values.names(to_json(params.resolve({}))))
    shown, hint = _short(error["input"]), _hint(params, error)
    return UsageError(f"The param {where}={shown} is refused: {error['msg']}.", hint)


def _hint(params: type[Params], error: Any) -> str:
    """What the param is and its default, as typed; and how a text is typed that looks like more."""
    name = str(error["loc"][0]) if error["loc"] else ""
    known = params.model_fields.get(name)
    if known is None:
        return ""
    hint = f"{name}: {known.description}"
    # Not where the default is what is refused: a plugin's own mistake.
    with contextlib.suppress(ValidationError):
        default = to_json(params.model_validate({}))[name]
        hint += f"; default {param_values.typed(default)}"
    value = error["input"]
    if error["type"] in SEVERAL_WANTED and isinstance(value, str) and len(value) < LONGEST_HINT:
        parts = [param_values.read(each.strip()) for each in value.split(",") if each.strip()]
        hint += f". Several values are typed as JSON: -p {name}='{json.dumps(parts)}'"
    if error["type"] in TEXTS_WANTED and not isinstance(value, str):
        text = str(value) if value in (True, False, None) else _short(value)
        hint += f". For the text, quote it: -p {name}='{json.dumps(text)}'"
    return hint + "."


def _short(value: Any) -> str:
    try:
        text = repr(value) if isinstance(value, str) else param_values.typed(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Stop(Exception):
    """Raised by `report` when the training is to end now, with what it has learned so far.

    `fit` need not catch it: the model is then judged and kept as it is.
    """


class Report(Protocol):
    """Reports the progress of `fit`, and records metrics."""

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        """Report that `step` of `total` units are done, with metrics measured at that step.

        Raises Stop if the job is to end with what the model has learned so far.
        """

    def done(self, why: str) -> None:
        """Record that `fit` ends before its last step: `no better for 5 epochs`."""


class Checkpoint(Protocol):
    """Keeps what `fit` needs to go on after an interruption, in this or another process."""

    def latest(self) -> Path | None:
        """Return the folder of the newest checkpoint, as `save` was given it; None to begin anew.

        Restores the states of `random` and of numpy's global generator, too.
        """

    def is_due(self) -> bool:
        """Return whether a checkpoint is wanted now; ask after each report."""

    def save(self, step: int) -> AbstractContextManager[Path]:
        """Provide an empty folder for arrays and JSON; the checkpoint counts once it is left.

        `step` is that of the last report.
        """


class Model:
    """Base class of all models; register subclasses with the hook `register_models`.

    Import frameworks within the methods, never at the top of the plugin's file.
    """

    name: ClassVar[str]
    """The name used in commands: lower case letters, digits, dashes."""

    takes: ClassVar[tuple[str, ...]] = ("image",)
    """The kinds of dataset that it can be trained on: "image", "table"."""

    takes_missing: ClassVar[bool] = False
    """Whether features may be NaN, where a table has missing numbers."""

    min_side: ClassVar[int] = 1
    """The least height and width of images, in pixels."""

    layout: ClassVar[Literal["flat", "image"]] = "flat"
    """Inputs come as (n, n_features) for "flat"; for "image" as (n, height, width), grey, or
    (n, height, width, 3), in colour. Flat images are row by row, the three channels last."""

    dtype: ClassVar[Literal["float32", "float64"]] = "float32"
    """The type of the inputs. Images are scaled to [0, 1]; numbers of tables are as they are."""

    family: ClassVar[str] = ""
    """The kind of the model: `linear`, `neural network`."""

    paper: ClassVar[str] = ""
    """Reference of the model: authors, year, title, and a DOI or URL if there is one."""

    formats: ClassVar[tuple[str, ...]] = ()
    """The formats that `export` can write: onnx, or one of the framework's own. npz needs none."""

    Params = Params
    """The params of this model; replace it by a subclass of `zoo.Params`."""

    can_stop: ClassVar[bool] = False
    """Whether it can predict after every report of `fit`, so that `zoo stop` may end it early."""

    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    """Where it trains: "gpu" asks for the pool `gpu`, unless the job names another."""

    input_shape: tuple[int, ...] = (28, 28)
    """The shape of one input: (height, width), (height, width, 3), or of a table (n_features,).

    Set after `__init__` and before `fit` or `load`."""

    feature_names: Sequence[str] = ()
    """The features of a table, one per number and one per category; empty for images.

    Set after `__init__` and before `fit` or `load`."""

    folder: Path | None = None
    """A folder, not there yet, where `fit` may leave files: they are kept as the job's `fit/...`.

    None where nothing keeps them, as in a check.
    """

    def __init__(self, params: BaseModel, class_names: Sequence[str], seed: int) -> None:
        """`class_names` are the dataset's, in the order of its labels 0, 1, ..."""
        self.params: Any = params
        self.seed = seed
        self.class_names = self.classes(class_names)
        self.n_classes = len(self.class_names)

    @property
    def n_features(self) -> int:
        """The number of features or pixels of one input, channels included."""
        return math.prod(self.input_shape)

    def classes(self, class_names: Sequence[str]) -> list[str]:
        """Return the classes that this model predicts, given the dataset's; by default the same."""
        return list(class_names)

    def labels(self, y: Array) -> Array:
        """Map the dataset's labels (n,) to those that this model predicts, int64 (n,)."""
        return y

    def fit(self, x: Array, y: Array, report: Report) -> None:
        """Train on inputs `x`, prepared and read-only, and labels `y`, int64 (n,).

        What else it needs it asks for by naming it, each `= None`:

        Args:
            validation: Inputs and labels to choose by, (x, y); None if the job has none.
            sample_weight: Weights of the rows, float64 (n,); None if all count alike.
            checkpoint: A `zoo.Checkpoint`; None where nothing keeps them, as in a check.
        """
        raise NotImplementedError

    def predict_proba(self, x: Array) -> Array | None:
        """Return the probability of each class: (n, n_classes), rows sum to 1.

        None if the model has no probabilities; then override `predict`.
        """
        raise NotImplementedError

    def predict(self, x: Array) -> Array:
        """Return the most probable class of each input, int64 (n,)."""
        probabilities = self.predict_proba(x)
        if probabilities is None:
            raise NotImplementedError(f"{type(self).__name__} must define predict")
        import numpy as np

        labels: Array = np.asarray(probabilities).argmax(axis=1).astype("int64")
        return labels

    def save(self, folder: Path) -> None:
        """Write the weights into the empty folder: arrays and JSON, never a pickle."""
        raise NotImplementedError

    def load(self, folder: Path) -> None:
        """Load the weights written by `save`; predictions are then the same to the last bit."""
        raise NotImplementedError

    def export(self, format: str, path: Path) -> None:
        """Write the trained model to a file in one of `formats`.

        An ONNX model takes `x` as this one does, and returns `label`, int64 (n,), and
        `probabilities`, (n, n_classes), if the model has any.
        """
        raise NotImplementedError

    def predict_exported(self, format: str, path: Path, x: Array) -> tuple[Array, Array | None]:
        """Predict with a file written by `export`: labels, and probabilities if any.

        Zoo compares them with the predictions of this model. It runs ONNX files itself.
        """
        raise NotImplementedError

    def parameters(self) -> int | None:
        """Return the number of trained parameters; None if it is not meaningful."""
        return None

    def weight_images(self) -> Array | None:
        """Return the weights of each class and pixel, (n_classes, n_features); None if not linear.

        For models whose score of a class is a weighted sum of the pixels. They are drawn as
        images: positive weights speak for the class, negative ones against it.
        """
        return None


FIT_ARGUMENTS = ("validation", "sample_weight", "checkpoint")
"""What `fit` may ask for by name."""


def fit_arguments(model: type[Model]) -> tuple[str, ...]:
    """Return those of FIT_ARGUMENTS that the model's `fit` names in its signature."""
    return _fit_arguments(model.fit)


@functools.cache  # each job asks several times
def _fit_arguments(fit: Callable[..., Any]) -> tuple[str, ...]:
    named = inspect.signature(fit).parameters
    return tuple(name for name in FIT_ARGUMENTS if name in named)


class Step:
    """Base class of preprocessing steps; register subclasses with `register_preprocessing`.

    Steps that learn nothing are applied once per machine. The others are fitted by each job on its
    own training rows, a fold's without the held-out ones, and kept with the weights.
    Import libraries within the methods.
    """

    name: ClassVar[str]
    """The name used in `--preprocess`: lower case letters, digits, dashes."""

    takes: ClassVar[tuple[str, ...]] = ("image", "table")
    """The kinds of dataset whose inputs it can change."""

    learns: ClassVar[bool] = True
    """Whether it is fitted; if not, it gets images in their shape instead of flat rows."""

    handles_missing: ClassVar[bool] = False
    """Whether no NaN is left after it."""

    def fit(self, x: Array) -> Mapping[str, Array]:
        """Return what it learns from the training rows, float64 (n, n_features), as arrays."""
        raise NotImplementedError

    def apply(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return rows changed, of the same shape; `x` is float64 and must not be modified."""
        raise NotImplementedError


class Images(NamedTuple):
    """Raw images and their labels.

    Images are uint8, (n, height, width) in grey, 0 = background, or (n, height, width, 3) in
    colour. Labels are whole numbers or texts, (n,).
    """

    images: Array
    labels: Array


class Table(NamedTuple):
    """Raw rows of a table and their labels.

    Columns are arrays by name, (n,): numbers, NaN if missing, or texts or booleans, which are
    categories. Labels are whole numbers or texts, (n,).
    """

    columns: Mapping[str, Any]
    labels: Array


@dataclass(frozen=True)
class Dataset:
    """Named images or a table with labels, in the splits `train`, `test`, perhaps `validation`."""

    name: str
    """The name used in commands."""
    summary: str
    """One line for `zoo data`."""
    load: Callable[..., Mapping[str, Images | Table]]
    """Returns {"train": Images, "test": Images} or Tables; called at most once per machine, then
    cached. That of a scheme takes the text after the colon."""
    class_names: tuple[str, ...] | None = None
    """The names of the labels 0, 1, ...; None if the labels are the names."""
    version: str = ""
    """Changes when `load` returns something else than before: what was kept is then made anew.

    Without it, the hash of the plugin's code."""
    files: tuple[str | Path, ...] = ()
    """The files that `load` reads: when one of them changes, it is called again.

    Absolute paths, or such as begin with `~`; a single one needs no tuple."""
    scheme: bool = False
    """True for datasets that are named NAME:PATH, as `s3:bucket/digits`: one for each path."""

    def __post_init__(self) -> None:
        if not callable(self.load):
            kind = type(self.load).__name__
            raise PluginError(f"load of the dataset {self.name!r} is not a function, but {kind}.")
        # The dataclass is frozen: set the normalized value directly.
        object.__setattr__(self, "class_names", _class_names(self.name, self.class_names))
        object.__setattr__(self, "files", _files(self.name, self.files))


def _class_names(dataset: str, given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    example = 'such as ("cat", "dog")'
    # A text is a sequence of letters, a set has no order, a mapping would be its keys.
    if isinstance(given, str | bytes | Set | Mapping) or not isinstance(given, Iterable):
        kind = type(given).__name__
        raise PluginError(
            f"class_names of the dataset {dataset!r} is {kind}, not a tuple of names, {example}."
        )
    names = tuple(given)
    for each in names:
        is_name = isinstance(each, str | numbers.Integral) and not isinstance(each, bool)
        if not is_name or not _is_shown_whole(str(each)):
            raise PluginError(
                f"The class name {each!r} of the dataset {dataset!r} is not a text of one line "
                f"without control characters, {example}."
            )
    texts = tuple(str(each) for each in names)
    if twice := [name for name, count in Counter(texts).items() if count > 1]:
        raise PluginError(f"Two classes of the dataset {dataset!r} are called {twice[0]!r}.")
    return texts


def _is_shown_whole(name: str) -> bool:
    """Whether a name is something to read, in one line, that cannot steer a terminal."""
    return bool(name.strip()) and not any(
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name
    )


def _files(dataset: str, given: Any) -> tuple[Path, ...]:
    several = [given] if isinstance(given, str | bytes | os.PathLike) else given
    if not isinstance(several, Iterable) or isinstance(several, Mapping):
        kind = type(given).__name__
        raise PluginError(f"files of the dataset {dataset!r} is {kind}, not a tuple of paths.")
    return tuple(_file(dataset, each) for each in several)


def _file(dataset: str, given: Any) -> Path:
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise PluginError(f"files of the dataset {dataset!r} holds {given!r}, which is no path.")
    file = Path(expanded(path))
    if not file.is_absolute():
        raise PluginError(
            f"files of the dataset {dataset!r} holds the relative path {path!r}, which leads "
            "elsewhere in each working directory.",
            "Give an absolute one: Path(__file__).parent is the folder of the plugin's file.",
        )
    return file
