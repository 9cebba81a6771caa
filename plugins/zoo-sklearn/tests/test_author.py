"""The example of the README: a plugin of few lines, which keeps the contract."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from zoo_sklearn import export
from zoo_sklearn.digits import DIGITS
from zoo_sklearn.estimator import FILE

import zoo
from zoo.errors import ArtifactError
from zoo.model import fit_arguments
from zoo.plugins import registry
from zoo.queue.options import TrainingOptions
from zoo.sweeps.plan import SweepRequest, TrialBuilder
from zoo.testing import suite
from zoo.training.run import restore, run_job

FEW = {"max_iter": 3}


@pytest.fixture(scope="module")
def kind(example: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The model, from its file in the plugins folder."""
    home = tmp_path_factory.mktemp("home")
    (home / "plugins").mkdir()
    (home / "plugins" / "pca-boosting.py").write_text(example)
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setenv("ZOO_HOME", str(home))
        registry.catalogue.cache_clear()
        yield registry.model("pca-boosting")
    registry.catalogue.cache_clear()


def ignore(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    pass


def test_it_has_thirty_lines_and_can_all_that_its_estimator_can(kind: Any, example: str) -> None:
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 30
    assert set(fit_arguments(kind)) == {"sample_weight", "checkpoint"}
    assert kind.can_stop


def test_the_top_of_a_plugins_file_imports_no_framework() -> None:
    frameworks = {"sklearn", "numpy", "scipy", "skops"}
    code = f"import zoo_sklearn, sys; print(sorted({frameworks} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_it_keeps_the_contract(kind: Any) -> None:
    results = suite.check_model(kind, FEW)
    assert {each.status for each in results} <= {"passed", "skipped"}, results


def test_its_trials_are_those_of_scikit_learn_exported_and_read_back(
    kind: Any, tmp_path: Path
) -> None:
    trials = TrialBuilder(SweepRequest("pca-boosting", TrainingOptions("digits")))
    (x, y), (x_test, _) = (
        (images.reshape(-1, 784) / 255.0, labels) for images, labels in DIGITS.load().values()
    )
    for variance in (0.3, 0.5):
        (spec,) = trials.specs(FEW | {"variance": variance})
        folder = tmp_path / str(variance)
        folder.mkdir()
        run_job(spec, folder, ignore)
        model = restore(folder)
        boosting = HistGradientBoostingClassifier(max_iter=3, random_state=42)
        plain = make_pipeline(StandardScaler(), PCA(variance), boosting).fit(x, y)
        expected = plain.predict_proba(x_test)
        assert np.array_equal(model.predict_proba(x_test), expected)
        file = folder / "model.skops"
        model.export("skops", file)
        labels, probabilities = model.predict_exported("skops", file, x_test)
        assert np.array_equal(labels, plain.predict(x_test))
        assert np.array_equal(probabilities, expected)  # type: ignore[arg-type]


def made(kind: type[zoo.Model], n_features: int) -> Any:
    model = kind(kind.Params.resolve(FEW), list("ab"), 42)
    model.input_shape = (n_features,)
    return model


def break_tree(pipeline: Any) -> Any:
    pipeline[-1]._predictors[0][0].nodes["feature_idx"][0] = 4
    return pipeline


def put_trees_first(pipeline: Any) -> Any:
    return make_pipeline(*(step for _, step in reversed(pipeline.steps)))


def test_trees_of_a_file_are_checked_and_stand_where_the_model_has_them(
    kind: Any, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).random((90, 4))
    y = (x.sum(axis=1) > 2).astype(int)
    for change in (break_tree, put_trees_first):
        model = made(kind, 4)
        model.fit(x, y, ignore)
        export.write_skops(change(model.classifier), tmp_path / FILE)
        with pytest.raises(ArtifactError, match="are not those of 2 classes"):
            made(kind, 4).load(tmp_path)
