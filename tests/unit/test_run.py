"""One job in this process: from its spec to its metrics and files, and what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold

from zoo import weights
from zoo.canonical_json import canonical, read_json
from zoo.data import datasets
from zoo.data.preprocessing import prepare
from zoo.errors import ArtifactError, PluginError, UsageError
from zoo.job_spec import JobSpec
from zoo.plugins import registry
from zoo.training.run import read_recipe, restore, run_job

PLUGIN = '''
"""A small sound model, and broken ones made of it."""
from pathlib import Path

import zoo


class NearestMean(zoo.Model):
    name = "nearest-mean"

    class Params(zoo.Params):
        sharpness: float = zoo.param(1.0, gt=0, help="of the probabilities")
        noise: bool = zoo.param(False, help="add noise of the global generator")

    def fit(self, x, y, report):
        import numpy as np

        assert not (x.flags.writeable and isinstance(x, np.memmap))
        self.means = np.stack([x[y == c].mean(axis=0) for c in range(self.n_classes)])
        self.means += self.params.noise * np.random.standard_normal(self.means.shape)
        report(1, 2, "pass", train_accuracy=0.5)
        report(1, 2, "half")
        report(2, 2, "pass", train_accuracy=0.75, accuracy=0.123)

    def predict_proba(self, x):
        import numpy as np

        far = ((x[:, None, :] - self.means[None]) ** 2).sum(axis=2) * self.params.sharpness
        odds = np.exp(far.min(axis=1, keepdims=True) - far)
        return odds / odds.sum(axis=1, keepdims=True)

    def save(self, folder):
        import numpy as np

        np.save(folder / "means.npy", self.means)

    def load(self, folder):
        import numpy as np

        self.means = np.load(folder / "means.npy")

    def parameters(self):
        return self.means.size


class OddEven(NearestMean):
    name = "odd-even"

    def classes(self, class_names):
        return ["even", "odd"]

    def labels(self, y):
        return y % 2


class BadLabels(NearestMean):
    name = "bad-labels"

    def labels(self, y):
        return y + 1


class Diverged(NearestMean):
    name = "diverged"

    def fit(self, x, y, report):
        super().fit(x, y, lambda *a, **k: None)
        report(1, 1, train_loss=float("nan"), train_accuracy=0.1)


class Quiet(NearestMean):
    name = "quiet"

    def predict_proba(self, x):
        return None

    def predict(self, x):
        return super().predict_proba(x).argmax(axis=1)


class Answers(NearestMean):
    """Gives the probabilities, or the labels, that the test asks for."""

    name = "answers"

    class Params(zoo.Params):
        what: str = zoo.param("", help="the mistake")
        sharpness: float = 1.0
        noise: bool = False

    def predict_proba(self, x):
        good = super().predict_proba(x)
        what = self.params.what
        if what == "nan":
            good[3, 3] = float("nan")
        if what == "unscaled":
            good *= 1.01
        if what == "negative":
            good[:, 0] -= 1
            good[:, 1] += 1
        return good[:, 1:] if what == "narrow" else good[1:] if what == "short" else good

    def predict(self, x):
        good = self.predict_proba(x).argmax(axis=1)
        what = self.params.what
        return good + 9 if what == "range" else good / 1 if what == "float" else good


@zoo.hookimpl
def register_models(register):
    for model in (NearestMean, OddEven, BadLabels, Diverged, Quiet, Answers):
        register(model)
'''


@pytest.fixture(scope="module", autouse=True)
def installation(module_home: Path) -> Iterator[Path]:
    """An installation with the models above and the datasets of zoo-sklearn."""
    (module_home / "plugins").mkdir()
    (module_home / "plugins" / "small.py").write_text(PLUGIN)
    registry.catalogue.cache_clear()
    yield module_home
    registry.catalogue.cache_clear()


class Recorder:
    """Keeps what a model reports."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, int, str, dict[str, float]]] = []

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        self.reports.append((step, total, unit, metrics))


def a_spec(model: str = "nearest-mean", **given: Any) -> JobSpec:
    params = registry.model(model).Params.resolve(given.pop("params", {})).model_dump()
    spec = {"kind": "train", "model": model, "params": params, "dataset": "digits"} | given
    return JobSpec.parse(canonical(spec))


def run(folder: Path, spec: JobSpec, **more: Any) -> dict[str, Any]:
    folder.mkdir()
    return run_job(spec, folder, more.pop("report", Recorder()), **more)


def an_evaluation(model: str = "nearest-mean", **given: Any) -> JobSpec:
    source = {"job": "0" * 32, "artifact": "a", "sha256": "0" * 64}
    return a_spec(model, kind="evaluate", source=source, **given)


def test_a_training_leaves_its_files_and_returns_its_metrics(tmp_path: Path) -> None:
    metrics = run(tmp_path / "job", a_spec())
    files = {p.relative_to(tmp_path / "job").as_posix() for p in (tmp_path / "job").rglob("*.*")}
    assert files == {
        "metrics.json",
        "environment.json",
        "model.json",
        "history.json",
        "predictions.npz",
        "plugin.py",
        "weights/means.npy",
    }
    assert read_json((tmp_path / "job" / "metrics.json").read_text()) == metrics
    assert metrics["n_images"] == 360
    assert metrics["parameters"] == 7840
    assert metrics["weights_bytes"] == (tmp_path / "job/weights/means.npy").stat().st_size
    assert metrics["fit_seconds"] > 0
    assert metrics["predict_us_per_image"] > 0


def test_the_text_of_a_one_file_plugin_is_kept_and_never_loaded(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = a_spec()
    # Edited since its import: the job's file is what ran.
    (installation / "plugins" / "small.py").write_text("raise SystemExit")
    try:
        run(tmp_path / "job", spec)
    finally:
        (installation / "plugins" / "small.py").write_text(PLUGIN)
    kept = tmp_path / "job" / "plugin.py"
    assert kept.read_text() == PLUGIN
    code = read_json((tmp_path / "job" / "environment.json").read_text())["code"]
    assert code["file"] == "plugin.py"
    kept.write_text("raise SystemExit")
    assert restore(tmp_path / "job").predict_proba(np.zeros((1, 784), "float32")) is not None
    again = run(tmp_path / "again", an_evaluation(), source=tmp_path / "job")
    assert again["n_images"] == 360
    assert (tmp_path / "again" / "plugin.py").read_text() == PLUGIN
    monkeypatch.setattr(registry, "KEPT_BYTES", len(PLUGIN) - 1)
    registry.catalogue.cache_clear()
    run(tmp_path / "large", a_spec())
    assert not (tmp_path / "large" / "plugin.py").exists()
    monkeypatch.undo()
    registry.catalogue.cache_clear()


def test_accuracy_and_loss_are_those_of_scikit_learn(tmp_path: Path) -> None:
    metrics = run(tmp_path / "job", a_spec())
    model, data = restore(tmp_path / "job"), prepare("digits", "test", "flat", "float32")
    probabilities = model.predict_proba(data.x)
    assert probabilities is not None
    assert metrics["accuracy"] == accuracy_score(data.y, probabilities.argmax(axis=1))
    assert metrics["loss"] == log_loss(data.y, probabilities)
    assert 0.8 < metrics["accuracy"] < 1


def test_each_class_and_the_confusion_add_up(tmp_path: Path) -> None:
    metrics = run(tmp_path / "job", a_spec())
    confusion = np.array(metrics["confusion_matrix"])
    assert list(metrics["per_class"]) == list("0123456789")
    for c, measured in enumerate(metrics["per_class"].values()):
        assert measured["support"] == confusion[c].sum()
        assert measured["recall"] == pytest.approx(confusion[c, c] / confusion[c].sum())
        assert measured["precision"] == pytest.approx(confusion[c, c] / confusion[:, c].sum())
        both = confusion[c].sum() + confusion[:, c].sum()
        assert measured["f1"] == pytest.approx(2 * confusion[c, c] / both)
    assert confusion.trace() / confusion.sum() == pytest.approx(metrics["accuracy"])


def test_predictions_name_their_images(tmp_path: Path) -> None:
    run(tmp_path / "job", a_spec())
    with np.load(tmp_path / "job" / "predictions.npz", allow_pickle=False) as file:
        found = dict(file)
    assert found["index"].tolist() == list(range(360))
    assert found["label"].tolist() == prepare("digits", "test", "flat", "float32").y.tolist()
    assert found["predicted"].tolist() == found["probabilities"].argmax(axis=1).tolist()
    assert found["probabilities"].dtype == "float32"


def test_the_recipe_says_how_the_model_came_to_be(tmp_path: Path) -> None:
    run(tmp_path / "job", a_spec(seed=7, params={"sharpness": 2.0}))
    recipe = read_recipe(tmp_path / "job")
    assert (recipe.model, recipe.seed, recipe.dataset) == ("nearest-mean", 7, "digits")
    assert recipe.params == {"sharpness": 2.0, "noise": False}
    assert recipe.class_names == list("0123456789")
    assert recipe.fingerprint == prepare("digits", "train", "flat", "float32").fingerprint
    assert {"python", "numpy", "mnist-zoo", "scikit-learn", "small"} <= set(recipe.versions)


def test_reports_are_passed_on_and_those_with_metrics_kept(tmp_path: Path) -> None:
    report = Recorder()
    metrics = run(tmp_path / "job", a_spec(), report=report)
    last = {"train_accuracy": 0.75, "accuracy": 0.123}
    assert report.reports == [
        (1, 2, "pass", {"train_accuracy": 0.5}),
        (1, 2, "half", {}),
        (2, 2, "pass", last),
    ]
    assert json.loads((tmp_path / "job" / "history.json").read_text()) == [
        {"step": 1, "total": 2, "unit": "pass", "train_accuracy": 0.5},
        {"step": 2, "total": 2, "unit": "pass", **last},
    ]
    assert metrics["train_accuracy"] == 0.75
    # What a model says of itself never stands for what was measured.
    assert metrics["accuracy"] != 0.123


def test_the_phases_come_in_order(tmp_path: Path) -> None:
    phases: list[str] = []
    run(tmp_path / "job", a_spec(), phase=phases.append)
    assert phases == ["prepare", "fit", "judge", "save"]


def test_a_fold_is_judged_on_its_held_out_images(tmp_path: Path) -> None:
    data = prepare("digits", "train", "flat", "float32")
    folds = list(StratifiedKFold(5).split(data.x, data.y))
    for index in (0, 4):
        folder = tmp_path / str(index)
        metrics = run(folder, a_spec(fold={"k": 5, "index": index}, keep_weights=False))
        with np.load(folder / "predictions.npz", allow_pickle=False) as file:
            assert file["index"].tolist() == folds[index][1].tolist()
            assert file["label"].tolist() == data.y[folds[index][1]].tolist()
        assert metrics["n_images"] == len(folds[index][1])
        assert metrics["weights_bytes"] is None
        assert not (folder / "weights").exists()


def test_a_fold_learns_nothing_from_its_held_out_images(tmp_path: Path) -> None:
    run(tmp_path / "job", a_spec(fold={"k": 5, "index": 2}))
    data = prepare("digits", "train", "flat", "float32")
    train = list(StratifiedKFold(5).split(data.x, data.y))[2][0]
    zeros = data.x[train][data.y[train] == 0].mean(axis=0)
    assert np.array_equal(np.load(tmp_path / "job/weights/means.npy")[0], zeros)


def test_more_folds_than_images_of_a_class_are_refused(tmp_path: Path) -> None:
    images = np.zeros((8, 28, 28), dtype="uint8")
    labels = np.arange(8, dtype="uint8") % 2
    file = tmp_path / "tiny.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(UsageError, match="cannot be split into 5 folds"):
        run(tmp_path / "job", a_spec(dataset=f"npz:{file}", fold={"k": 5, "index": 0}))


def test_a_job_can_be_judged_on_the_training_images(tmp_path: Path) -> None:
    assert run(tmp_path / "job", a_spec(split="train"))["n_images"] == 1437


def test_the_global_generators_start_from_the_seed(tmp_path: Path) -> None:
    spec = a_spec(params={"noise": True})
    first = run(tmp_path / "a", spec)["loss"]
    np.random.random(100)
    assert run(tmp_path / "b", spec)["loss"] == first
    assert run(tmp_path / "c", a_spec(params={"noise": True}, seed=1))["loss"] != first


def test_an_evaluation_needs_the_artifact_alone(tmp_path: Path) -> None:
    trained = run(tmp_path / "job", a_spec())
    phases: list[str] = []
    judged = run(tmp_path / "again", an_evaluation(), source=tmp_path / "job", phase=phases.append)
    timings = {"predict_us_per_image"}
    assert {k: v for k, v in judged.items() if k not in timings} == {
        k: trained[k] for k in judged if k not in timings
    }
    assert "fit_seconds" not in judged
    assert phases == ["prepare", "judge", "save"]
    predictions = [(tmp_path / f / "predictions.npz").read_bytes() for f in ("job", "again")]
    assert predictions[0] == predictions[1]


def test_an_evaluation_takes_the_split_of_its_spec(tmp_path: Path) -> None:
    run(tmp_path / "job", a_spec())
    metrics = run(tmp_path / "again", an_evaluation(split="train"), source=tmp_path / "job")
    assert metrics["n_images"] == 1437


def test_an_evaluation_with_other_params_than_the_artifact_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "job", a_spec())
    other = an_evaluation(params={"sharpness": 3.0})
    with pytest.raises(ArtifactError, match="other params"):
        run(tmp_path / "again", other, source=tmp_path / "job")


def test_an_evaluation_on_other_classes_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "job", a_spec())
    images = np.zeros((8, 28, 28), dtype="uint8")
    labels = np.array([0, 11] * 4, dtype="uint8")
    np.savez(tmp_path / "two.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    spec = an_evaluation(dataset=f"npz:{tmp_path / 'two.npz'}")
    with pytest.raises(UsageError, match=r"trained on the classes 0, 1, 2.* have no 11"):
        run(tmp_path / "again", spec, source=tmp_path / "job")


@pytest.mark.parametrize("kept", [range(9), range(1, 10), (3,), (9, 2, 5), range(10)])
def test_an_evaluation_on_some_of_the_classes_maps_them_by_name(
    tmp_path: Path, kept: Sequence[int]
) -> None:
    """As one's own photographs lack some, and artifacts of before had classes without images."""
    run(tmp_path / "job", a_spec())
    raw = datasets.raw("digits")
    (x, y), (a, b) = raw.splits["train"], raw.splits["test"]
    chosen = np.isin(b, kept)
    # A second class, of which there is no test image to judge.
    extra = np.isin(y, [kept[0], 7])
    arrays = {"x_train": x[extra], "y_train": y[extra], "x_test": a[chosen], "y_test": b[chosen]}
    np.savez(tmp_path / "some.npz", **arrays)
    spec = an_evaluation(dataset=f"npz:{tmp_path / 'some.npz'}")
    metrics = run(tmp_path / "again", spec, source=tmp_path / "job")
    assert metrics["classes"] == [str(n) for n in range(10)]
    for name, each in metrics["per_class"].items():
        assert each["support"] == (b[chosen] == int(name)).sum()
    with np.load(tmp_path / "again" / "predictions.npz", allow_pickle=False) as file:
        assert np.array_equal(file["label"], b[chosen])
        assert metrics["accuracy"] == (file["predicted"] == b[chosen]).mean()


def test_an_evaluation_of_a_job_without_weights_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "job", a_spec(keep_weights=False))
    with pytest.raises(ArtifactError, match="kept no weights"):
        run(tmp_path / "again", an_evaluation(), source=tmp_path / "job")


@pytest.mark.parametrize("content", [None, "", "[]", '{"model": "nearest-mean"}', '{"seed": NaN}'])
def test_a_damaged_recipe_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "model.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"model\.json is not a valid recipe: .+\.$"):
        restore(tmp_path)


def test_a_model_judges_by_its_own_classes(tmp_path: Path) -> None:
    metrics = run(tmp_path / "job", a_spec("odd-even"))
    assert list(metrics["per_class"]) == ["even", "odd"]
    assert np.shape(metrics["confusion_matrix"]) == (2, 2)
    with np.load(tmp_path / "job" / "predictions.npz", allow_pickle=False) as file:
        assert set(file["label"]) == {0, 1}


def test_a_model_without_probabilities_has_no_loss(tmp_path: Path) -> None:
    metrics = run(tmp_path / "job", a_spec("quiet"))
    assert metrics["loss"] is None
    assert metrics["accuracy"] > 0.8
    with np.load(tmp_path / "job" / "predictions.npz", allow_pickle=False) as file:
        assert "probabilities" not in file


def test_a_metric_that_is_not_finite_is_null_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = Recorder()
    with caplog.at_level(logging.WARNING):
        metrics = run(tmp_path / "job", a_spec("diverged"), report=report)
    assert metrics["train_loss"] is None
    assert metrics["train_accuracy"] == 0.1
    assert report.reports == [(1, 1, "epoch", {"train_accuracy": 0.1})]
    assert "train_loss is nan at epoch 1" in caplog.text


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("nan", "not finite. Its training may have diverged"),
        ("unscaled", "negative or do not sum to 1"),
        ("negative", "negative or do not sum to 1"),
        ("narrow", r"as float32 \(360, 9\), not float \(360, 10\)"),
        ("short", r"as float32 \(359, 10\), not float \(360, 10\)"),
        ("range", r"predicted 9\.\.18, but has 10 classes"),
        ("float", "predicted float64 .* not one integer for each image"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_refused(
    tmp_path: Path, what: str, sentence: str
) -> None:
    with pytest.raises(PluginError, match=f"The model 'answers' .*{sentence}"):
        run(tmp_path / "job", a_spec("answers", params={"what": what}))
    assert not (tmp_path / "job" / "metrics.json").exists()


def test_labels_outside_the_models_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="'bad-labels' turned the dataset's labels into 1"):
        run(tmp_path / "job", a_spec("bad-labels"))


def test_an_unknown_param_in_an_old_row_is_refused(tmp_path: Path) -> None:
    spec = a_spec().model_copy(update={"params": {"sharpnes": 1.0}})
    with pytest.raises(UsageError, match="Did you mean 'sharpness'"):
        run(tmp_path / "job", spec)


WANTED: weights.Expected = {"w": ("float32", (None, 3))}


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    w = np.asfortranarray(np.random.default_rng(0).random((4, 3), dtype="float32"))
    weights.save(tmp_path, {"w": w})
    assert np.array_equal(weights.load(tmp_path, WANTED)["w"], w)


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 3)), np.zeros((2, 4), "float32"), np.zeros(3, "float32")],
    ids=["dtype", "columns", "axes"],
)
def test_weights_of_another_form_are_refused(tmp_path: Path, array: Any) -> None:
    weights.save(tmp_path, {"w": array})
    with pytest.raises(ArtifactError, match="is expected"):
        weights.load(tmp_path, WANTED)


def test_weights_with_other_names_are_refused(tmp_path: Path) -> None:
    weights.save(tmp_path, {"v": np.zeros((2, 3), "float32")})
    with pytest.raises(ArtifactError, match="holds v; w are expected"):
        weights.load(tmp_path, WANTED)


def test_weights_that_are_a_pickle_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", w=np.array([[print, 1, 2]], dtype=object))
    with pytest.raises(ArtifactError, match="cannot be read"):
        weights.load(tmp_path, WANTED)


@pytest.mark.parametrize("keep", [0, 10, 100, -30])
def test_truncated_weights_are_refused(tmp_path: Path, keep: int) -> None:
    weights.save(tmp_path, {"w": np.ones((4, 3), "float32")})
    content = (tmp_path / "weights.npz").read_bytes()
    (tmp_path / "weights.npz").write_bytes(content[:keep])
    with pytest.raises(ArtifactError, match="cannot be read"):
        weights.load(tmp_path, WANTED)
