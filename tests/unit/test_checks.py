"""The conformance checks against models that break the contract, one way each."""

from __future__ import annotations

import contextlib
import pickle
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo import weights
from zoo.errors import UsageError
from zoo.testing import checks, isolation, suite
from zoo.testing.checks import Result, contract
from zoo.testing.checks.fixtures import Bench, Broken

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("module_home")]


class Means(zoo.Model):
    """Assign each image to the class with the nearest mean: keeps the contract."""

    name = "means"

    class Params(zoo.Params):
        scale: float = zoo.param(1.0, gt=0, le=10, help="of the distances")
        mode: str = zoo.param("plain", help="of no use", pattern="^plain$")

    def fit(self, x: Any, y: Any, report: Any) -> None:
        known = [c for c in range(self.n_classes) if (y == c).any()]
        self.means = np.full((self.n_classes, x.shape[1]), 1e3, dtype="float32")
        for c in known:
            self.means[c] = x[y == c].mean(axis=0)
        report(1, 1, "fit", train_accuracy=(self.predict(x) == y).mean())

    def predict_proba(self, x: Any) -> Any:
        scores = -self.params.scale * np.stack([((x - m) ** 2).sum(axis=1) for m in self.means], 1)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    def save(self, folder: Path) -> None:
        weights.save(folder, {"means": self.means})

    def load(self, folder: Path) -> None:
        self.means = weights.load(folder, {"means": ("float32", (self.n_classes, None))})["means"]


ASKED = [checks.title(c) for c in checks.ALL if c.__module__.endswith("fit_arguments")]
"""The checks of what `fit` asks for, which have a file of their own."""


def result(model: type[zoo.Model], check: str) -> Result:
    """How one check ends; those before it that train are left out."""
    (found,) = [c for c in checks.ALL if checks.title(c) == check]
    return checks.run(found, Bench(model))


def test_a_model_that_keeps_the_contract_passes_every_check() -> None:
    results = suite.check_model(Means)
    assert len(results) == len(checks.ALL) >= 18
    # This file is no plugin, and the model asks for nothing.
    assert {r.check for r in results if r.status != "passed"} == {"imports no framework", *ASKED}


class BadName(Means):
    """A model."""

    name = "Bad Name"


class Mute(Means):
    name = "mute"
    __doc__ = ""


class Lax(Means):
    """Takes any param."""

    class Params(zoo.Params):
        model_config = zoo.Params.model_config | {"extra": "allow"}


class Unbounded(Means):
    """Takes NaN."""

    class Params(zoo.Params):
        model_config = zoo.Params.model_config | {"allow_inf_nan": True}
        scale: float = zoo.param(1.0, help="of the distances")


class Unexplained(Means):
    """Has a param of which nobody knows what it does."""

    class Params(zoo.Params):
        scale: float = 1.0


class WrongShape(Means):
    """Forgets a class."""

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x)[:, :-1]


class NotANumber(Means):
    """Divides by zero."""

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x) * float("nan")


class NoSum(Means):
    """Gives scores for probabilities."""

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x) * 2


class Turned(Means):
    """Gives its weights with the classes in columns."""

    def weight_images(self) -> Any:
        return self.means.T


class Raises(Means):
    """Has a bad day."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        raise KeyError("bad day")


class Exits(Means):
    """Leaves."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        raise SystemExit(3)


class InPlace(Means):
    """Centres the images that all jobs share."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        x -= x.mean()
        super().fit(x, y, report)


class Sly(Means):
    """Changes them where it can."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, report)
        if x.flags.writeable:
            x[0] = 0.5


class SlyWithLabels(Means):
    """Turns the labels around where they stand."""

    def labels(self, y: Any) -> Any:
        if y.flags.writeable:
            y[:] = y[::-1].copy()
        return y


class Silent(Means):
    """Never reports."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, lambda *a, **k: None)


class Backwards(Means):
    """Reports falling steps."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        report(2, 2)
        super().fit(x, y, lambda *a, **k: report(1, 2))


class Unstoppable(Means):
    """Goes on, come what may."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        def deaf(*args: Any, **metrics: Any) -> None:
            with contextlib.suppress(Exception):
                report(*args, **metrics)

        super().fit(x, y, deaf)


class Crowd(Means):
    """Judges an image by its company."""

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x - x.mean(axis=0))


class Dice(Means):
    """Learns something else each time."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, report)
        self.means = self.means + np.random.default_rng().normal(0, 0.1, self.means.shape)


class Mirrored(Means):
    """Has its columns in another order than the labels."""

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x)[:, ::-1]


class TenOnly(Means):
    """Knows of ten classes alone."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, report)
        self.means[9] = x.mean(axis=0)


class Standardised(Means):
    """Divides by the spread of an image."""

    def predict_proba(self, x: Any) -> Any:
        with np.errstate(all="ignore"):
            return super().predict_proba((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True))


class Careless(Means):
    """Names the mean of nothing, where a class is missing, the nearest."""

    def predict_proba(self, x: Any) -> Any:
        found = np.zeros((len(x), self.n_classes))
        empty = (self.means == 1e3).all(axis=1)
        found[:, int(empty.argmax())] = 1.0
        return found if empty.any() else super().predict_proba(x)


class OfNothing(Means):
    """Takes the mean of nothing."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, report)
        self.means[(self.means == 1e3).all(axis=1)] = float("nan")


class Wordless(Means):
    """Refuses without a word."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        if len(set(y.tolist())) < 2:
            raise ValueError
        super().fit(x, y, report)


class Forgetful(Means):
    """Keeps what it learned on the class: the next model to be trained overwrites it."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, report)
        self.offset = float(x[0].sum())

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x + getattr(self, "offset", 0.0))


class OfMnist(Means):
    """Knows the size of MNIST's images by heart."""

    def load(self, folder: Path) -> None:
        self.means = weights.load(folder, {"means": ("float32", (self.n_classes, 784))})["means"]


class NoMissing(Means):
    """Says that it takes missing numbers, and answers with them."""

    takes = ("table",)
    takes_missing = True


class Locked(Means):
    """Has a state that cannot be stored."""

    def save(self, folder: Path) -> None:
        weights.save(folder, {"lock": np.array([threading.Lock()], dtype=object)})


class Pickles(Means):
    """Stores a pickle."""

    def save(self, folder: Path) -> None:
        (folder / "means.bin").write_bytes(pickle.dumps(self.means))


class Huge(Means):
    """Stores half a gigabyte."""

    def save(self, folder: Path) -> None:
        with (folder / "huge.bin").open("wb") as file:
            file.truncate(2**29)


class Nothing(Means):
    """Stores nothing."""

    def save(self, folder: Path) -> None:
        pass


BREACHES = [
    (BadName, "has name and docstring", "'Bad Name' is not lower case"),
    (Mute, "has name and docstring", "no docstring"),
    (
        Lax,
        "rejects invalid params",
        "{'no_such_param': 1} are accepted, but that is an unknown name",
    ),
    (Unbounded, "rejects invalid params", "{'scale': nan} are accepted, but that is not a"),
    (Unexplained, "params round trip json", "The param scale has no help text"),
    (WrongShape, "fits and predicts", "probabilities as float32 (500, 9), not float (500, 10)"),
    (NotANumber, "fits and predicts", "probabilities that are not finite"),
    (NoSum, "fits and predicts", "do not sum to 1"),
    (Turned, "fits and predicts", "weights as float32 (784, 10), not float (10, 784)"),
    (Raises, "fits and predicts", f"KeyError: 'bad day' ({__file__}:"),
    (Exits, "fits and predicts", "SystemExit: 3"),
    (InPlace, "fits and predicts", "read-only: copy them"),
    (Sly, "leaves input unchanged", "The images are changed in place"),
    (SlyWithLabels, "leaves input unchanged", "The labels are changed in place"),
    (Silent, "reports progress", "never calls report"),
    (Backwards, "reports progress", "they end with 2 of 2, 1 of 2"),
    (Unstoppable, "stops when report raises", "swallows the exception"),
    (Crowd, "predicts inputs independently", "The prediction of one input depends on"),
    (Dice, "is reproducible", "the predictions of"),
    (Mirrored, "learns", "Are the columns in the order of the labels?"),
    (TenOnly, "works with 2 classes", "IndexError"),
    (Standardised, "handles blank images", "not finite"),
    (Careless, "handles single class", "the accuracy is 0%. Reject such data"),
    (OfNothing, "handles single class", "After images of a single class: The model 'means'"),
    (Wordless, "handles single class", "ValueError without a message"),
    (Forgetful, "loads saved weights", "inputs differ when saved and loaded"),
    (OfMnist, "handles other shapes", "On 12 x 10 colour images: "),
    (NoMissing, "handles other shapes", "On a table of 3 columns: The model 'means' returned"),
    (Locked, "loads saved weights", "'lock' are Python objects, which would need a pickle"),
    (Pickles, "saves no pickle", "means.bin is a pickle"),
    (Huge, "weights are small", "The weights are 512 MB, the largest file is huge.bin"),
    (Nothing, "weights are small", "writes no file"),
]


@pytest.mark.parametrize(
    ("model", "check", "says"), BREACHES, ids=[model.__name__ for model, _, _ in BREACHES]
)
def test_a_model_that_breaks_the_contract_fails_the_check_in_a_sentence(
    model: type[zoo.Model], check: str, says: str
) -> None:
    found = result(model, check)
    assert found.status == "failed" and says in found.detail, found
    assert "\n" not in found.detail
    assert result(Means, check).status in ("passed", "skipped")


def test_check_model_names_every_check_that_failed() -> None:
    with pytest.raises(Broken, match=r"(?s)Silent fails.*reports progress: fit never calls"):
        suite.check_model(Silent)


def test_what_hangs_on_a_training_that_failed_is_skipped_not_passed() -> None:
    bench = Bench(Raises)
    results = {r.check: r for r in (checks.run(check, bench) for check in checks.ALL)}
    assert results["fits and predicts"].status == "failed"
    assert results["learns"].status == "skipped" and results["learns"].detail
    assert results["saves no pickle"].status == "skipped"


def test_a_model_that_refuses_so_few_classes_is_skipped_with_its_reason() -> None:
    class Picky(Means):
        """Wants ten classes."""

        def classes(self, class_names: Any) -> list[str]:
            if len(class_names) < 10:
                raise UsageError("It takes ten classes.")
            return list(class_names)

    found = result(Picky, "works with 2 classes")
    assert (found.status, "It takes ten classes." in found.detail) == ("skipped", True)


def test_params_of_every_type_are_tried_past_their_bounds() -> None:
    class Loose(Means):
        """Accepts what its schema refuses."""

        class Params(zoo.Params):
            model_config = zoo.Params.model_config | {"strict": False}
            number: int = zoo.param(1, ge=0, help="a number")

    assert "'number': True" in result(Loose, "rejects invalid params").detail


class OfTables(Means):
    """Takes tables alone, missing numbers among them."""

    takes = ("table",)
    takes_missing = True

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(np.nan_to_num(x), y, report)

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(np.nan_to_num(x))


class OfBoth(Means):
    """Takes images as they are, and tables."""

    takes = ("image", "table")
    layout = "image"
    dtype = "float64"

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x.reshape(len(x), -1), y, report)

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x.reshape(len(x), -1))

    def load(self, folder: Path) -> None:
        shape = (self.n_classes, self.n_features)
        self.means = weights.load(folder, {"means": ("float32", shape)})["means"]


def test_models_of_tables_and_of_both_pass_the_checks() -> None:
    found = {r.check: r for r in suite.check_model(OfTables)}
    skipped = {name for name, each in found.items() if each.status == "skipped"}
    others = {"imports no framework", "works with 10 classes", "handles blank images"}
    assert skipped == {*others, *ASKED}
    assert result(OfBoth, "handles other shapes").status == "passed"


@suite.parametrize_with_checks([Means, (Means, {"scale": 2.0})])
def test_the_checks_run_as_tests(check: Any) -> None:
    check()


class Early(Means):
    """Ends when it is no better, long before its last step."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, lambda *_, **__: None)
        for step in range(1, 4):
            report(step, 100)


class CountsFromNought(Means):
    """Says that it has done none of its steps, and never that it has done the last."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, lambda *_, **__: None)
        for step in range(5):
            report(step, 5)


class OnAThreshold(Means):
    """Takes a branch at a number that an image has to the last bit, as trees behind a PCA do."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        self.turn = np.random.default_rng(0).normal(size=(x.shape[1], 16)).astype("float32")
        self.at = (x[:20] @ self.turn)[0]
        super().fit(x, y, report)

    def predict_proba(self, x: Any) -> Any:
        branch = (x @ self.turn <= self.at).all(axis=1)  # of the first image: by rounding
        found = super().predict_proba(x)
        return np.where(branch[:, None], np.roll(found, 1, axis=1), found)


class OfTheBatch(Means):
    """Leans towards what it says of the others."""

    def predict_proba(self, x: Any) -> Any:
        found = super().predict_proba(x)
        return 0.9 * found + 0.1 * found.mean(axis=0)


def test_a_fit_that_ends_early_reports_well_and_one_that_counts_from_nought_does_not() -> None:
    assert result(Early, "reports progress").status == "passed"
    assert "count from 1" in result(CountsFromNought, "reports progress").detail


def test_rounding_at_a_threshold_is_no_dependence_on_other_images() -> None:
    found = result(OnAThreshold, "predicts inputs independently")
    assert found.status == "passed", found.detail
    assert result(OfTheBatch, "predicts inputs independently").status == "failed"


LITERALS = st.lists(
    st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["a", "b", "1", "True", "no"])),
    min_size=1,
    max_size=4,
    unique_by=lambda value: (type(value), value),
)


@given(LITERALS, st.booleans())
def test_a_param_of_any_values_is_checked_without_cause_for_complaint(
    values: list[Any], optional: bool
) -> None:
    kind = Literal[tuple(values)]

    body = {"chosen": zoo.param(values[0], help="one of them"), "__module__": __name__}
    body["__annotations__"] = {"chosen": kind | None if optional else kind}

    class Listed(Means):
        """Takes one of a few values."""

        Params = type("Params", (zoo.Params,), body)  # type: ignore[assignment]

    for check in (contract.rejects_invalid_params, contract.params_round_trip_json):
        check(Bench(Listed))


# --- in a process of its own ---

GREEDY = """
import os, signal, time, zoo
class Greedy(zoo.Model):
    "Takes what it can get."
    name = "greedy"
    class Params(zoo.Params):
        what: str = zoo.param("memory", help="what it takes")
    def fit(self, x, y, report):
        if self.params.what == "parent":
            os.kill(os.getppid(), signal.SIGKILL)
        elif self.params.what == "threads":
            raise ValueError(os.environ["OMP_NUM_THREADS"] + os.environ["TF_NUM_INTRAOP_THREADS"])
        else:
            kept = [bytearray(os.urandom(1) * 2**22) for _ in range(100)]
            time.sleep(60)
@zoo.hookimpl
def register_models(register):
    register(Greedy)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("memory", "Stopped above 300 MB, the share of a job"),
        ("parent", "It ended its process: SIGKILL."),
        ("threads", "ValueError: 33"),
    ],
)
def test_a_check_has_what_a_job_has_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, says: str
) -> None:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_JOB_MEMORY_MB", "300")
    monkeypatch.setattr("zoo.settings.cores", lambda: 6)
    monkeypatch.setenv("ZOO_SLOTS", "2")
    (tmp_path / "greedy.py").write_text(GREEDY)
    with contextlib.closing(isolation.run("greedy", "digits", {"what": what})) as found:
        first = next(each for each in found if each.check == "fits and predicts")
    assert first.status == "failed" and says in first.detail


DEADLY = """
import os, zoo
class Deadly(zoo.Model):
    "Ends the process."
    name = "deadly"
    def fit(self, x, y, report):
        os.write(1, b"not JSON\\n")
        os._exit(7)
@zoo.hookimpl
def register_models(register):
    register(Deadly)
"""


@pytest.mark.slow
def test_a_model_that_ends_the_process_fails_two_checks_and_the_rest_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path))
    (tmp_path / "deadly.py").write_text(DEADLY)
    results = {each.check: each for each in isolation.run("deadly", "digits")}
    assert len(results) == len(checks.ALL)
    assert results["rejects invalid params"].status == "passed"
    assert results["fits and predicts"].detail == "It ended its process: exit code 7."
    assert [r.status for r in results.values()].count("failed") == isolation.MOST_DEATHS
    assert results["weights are small"].status == "skipped"


def test_a_check_that_hangs_is_ended_and_fails_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path))
    this = psutil.Process()
    before = this.children(recursive=True)
    (found,) = isolation.run("hanging", "digits", seconds=0.1)
    assert (found.check, found.status) == (isolation.IMPORT, "failed")
    assert found.detail == "Stopped after 0.1 s: see -p and --timeout."
    assert this.children(recursive=True) == before


def test_params_that_the_model_refuses_fail_the_first_check() -> None:
    (found,) = isolation.run("logistic", "digits", {"max_iter": 0})
    assert found.status == "failed" and "max_iter=0 is refused" in found.detail


def test_a_dataset_that_the_model_does_not_take_fails_the_first_check() -> None:
    (found,) = isolation.run("lenet-1", "idx:/nowhere")
    assert found.status == "failed" and "nowhere" in found.detail


def test_a_model_that_is_not_there_fails_the_first_check() -> None:
    (found,) = isolation.run("no-such-model", "digits")
    assert found.status == "failed" and "No model is called 'no-such-model'" in found.detail
