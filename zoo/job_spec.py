"""The spec: everything that a worker needs to run a job, as canonical JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo.canonical_json import canonical, read_json
from zoo.dataset_names import NAME
from zoo.errors import UsageError
from zoo.param_values import MAX_SEED

SPEC_VERSION: Literal[2] = 2
MAX_SPEC_BYTES = 64 * 1024

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NO_STEPS = "none"
Preprocess = Annotated[str, Field(max_length=1024, pattern=f"^{NAME.pattern}(,{NAME.pattern})*$")]
"""A chain of preprocessing steps such as `impute,standardize`, or `none`."""


class Record(BaseModel):
    """A record from untrusted input: strict types, no NaN or infinity, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, value: Any, what: str) -> Self:
        """Validate a value read from JSON or TOML.

        Raises UsageError for the first invalid field; the message begins with `what`.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"{what} is refused: {where}: {first['msg']}.") from None


class Fold(Record):
    """One fold of a cross-validation: train on the others, evaluate on this one."""

    k: Annotated[int, Field(ge=2, le=100)]
    index: Annotated[int, Field(ge=0)]


class Source(Record):
    """The trained model of an evaluation."""

    job: JobId
    artifact: str
    sha256: Sha256
    """Hash of the manifest, which has the hash of every file."""


class Published(Record):
    """The row of a published table that a job reproduces."""

    table: Annotated[str, Field(min_length=1, max_length=4096)]
    row: Annotated[str, Field(min_length=1, max_length=200)]
    error: Annotated[float, Field(ge=0, le=100)]
    """The published test error, in percent."""
    source: str = ""


class JobSpec(Record):
    """The task of a job; resolved at submission, validated again by the worker."""

    v: Literal[1, 2] = SPEC_VERSION
    """2 says which contents of the dataset; 1 does not, and is still run."""
    kind: Literal["train", "evaluate"]
    model: Name
    params: dict[str, Any]
    """All params of the model, with defaults filled in."""
    changed: list[str] | None = None
    """Names of the params changed from their defaults: listings show only these."""
    dataset: Annotated[str, Field(min_length=1, max_length=4096)]
    """A registered or added name, or a file such as `npz:PATH` with an absolute path."""
    version: Annotated[int, Field(ge=1)] | None = None
    """The version of an added dataset, which workers fetch from the artifact store."""
    contents: Sha256 | None = None
    """Fingerprint of the contents of the dataset at submission; None if it was not known."""
    preprocess: Preprocess = NO_STEPS
    split: Literal["train", "test", "validation"] = "test"
    """The rows on which the model is evaluated."""
    validation: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the training rows held out to choose by; None: the dataset's own split, if any."""
    class_weight: Literal["balanced"] | None = None
    """balanced: rows weigh inversely to the frequency of their class in the training rows."""
    positive: Annotated[str, Field(max_length=1024)] | None = None
    """The class that metrics of two classes look for; None: the second one."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 42
    fold: Fold | None = None
    """Set for a job of a cross-validation: both splits come from the dataset's `train`."""
    source: Source | None = None
    published: Published | None = None
    keep_weights: bool = True
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Time limit of one attempt, in seconds."""
    memory_mb: Annotated[int, Field(gt=0)] | None = None
    """Limit for the resident memory of the runner process and its children."""
    device: Literal["gpu"] | None = None
    """Where it runs; None: on the processor."""
    exact: bool = False
    """Go on from a checkpoint only where the result is sure to have the same bits."""
    plugin: str = ""
    """Distribution and version of the model's plugin where the job was submitted."""

    @property
    def is_cross_validation(self) -> bool:
        """Whether it is one fold of a cross-validation."""
        return self.fold is not None

    def dump(self) -> str:
        """Return the spec as canonical JSON.

        Raises UsageError if it is larger than MAX_SPEC_BYTES.
        """
        text = canonical(self.model_dump())
        if len(text) > MAX_SPEC_BYTES:
            raise UsageError(f"The params take {len(text)} bytes; the limit is {MAX_SPEC_BYTES}.")
        return text

    @classmethod
    def parse(cls, text: str) -> JobSpec:
        """Parse a spec.

        Raises UsageError for text that `dump` does not return for any spec.
        """
        return cls.parse_object(read_json(text))

    @classmethod
    def parse_object(cls, value: Any) -> JobSpec:
        """Validate a parsed spec; raises UsageError like `parse`."""
        return cls.read(value, "The job's spec").checked()

    def checked(self) -> Self:
        """Return the spec; raises UsageError for fields that contradict each other."""
        if self.fold and self.fold.index >= self.fold.k:
            raise UsageError("The job's spec is refused: the index of a fold must be below k.")
        if (self.kind == "evaluate") != (self.source is not None):
            raise UsageError("The job's spec is refused: only evaluations have a source.")
        if self.class_weight and self.params.get("class_weight"):
            raise UsageError(
                "--class-weight and the param class_weight would weigh the classes twice.",
                "Leave one of them out.",
            )
        return self


def trial_of(spec: Mapping[str, Any]) -> str:
    """Return a key that the jobs of one trial of a sweep share; `spec` is a spec's JSON.

    It includes model and preprocessing, which differ between the rows of a published table.
    """
    return canonical([spec["model"], spec.get("preprocess", "none"), spec["params"]])
