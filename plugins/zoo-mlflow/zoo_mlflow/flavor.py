"""Trained models in MLflow: a `pyfunc` whose loader restores it from recipe and weights.

Neither side pickles: the model's files are those of the job, `model.json` and `weights/`, and
MLmodel names this module as the one that loads them.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.training.run import RECIPE, STEPS, WEIGHTS, read_recipe
from zoo_mlflow import signature

if TYPE_CHECKING:
    from zoo.model import Array
    from zoo_mlflow.client import TrackingServer

DATA = "zoo"
"""The folder of the recipe and the weights in that of the model."""
NOT_A_NAME = str.maketrans(dict.fromkeys("/:.%\"'", "-"))


class PyfuncModel:
    """The model that MLflow's `pyfunc` calls."""

    def __init__(self, folder: Path) -> None:
        from zoo.inference import predictor

        self._found = predictor.restore(folder)
        self.model = self._found.model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Array:
        """Return the label of each input, int64 (n,).

        Images are (n, *shape) or (n, pixels), whole numbers 0 to 255 or scaled from 0 to 1; an
        array, a list or a DataFrame of pixels. Rows of a table are a DataFrame, with the columns
        by name. Raises UsageError for others. MLflow's own check comes before: it takes what the
        signature has, and `get_raw_model().predict` all of these.
        """
        return self._found.predict(model_input)

    def predict_proba(self, model_input: Any) -> Array | None:
        """Return the probability of each class, (n, n_classes); None if the model has none."""
        return self._found.predict_proba(model_input)

    def get_raw_model(self) -> PyfuncModel:
        """Return this object, which has `predict_proba`; called by MLflow's wrapper."""
        return self


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load the model; called by MLflow."""
    return PyfuncModel(Path(path))


def log(server: TrackingServer, run: Any, job: Mapping[str, Any], files: Path) -> str:
    """Write the run's model unless it exists; returns its id."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    run_id = run.info.run_id
    condition = f"source_run_id = '{run_id}'"
    known = server.client.search_logged_models([server.experiment], condition, max_results=1)
    model = known[0] if known else _create(server, run_id, job)
    if model.status != LoggedModelStatus.READY:
        _upload(server, model, run_id, files)
        server.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    linked = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in {each.model_id for each in linked}:
        server.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    return str(model.model_id)


def _create(server: TrackingServer, run_id: str, job: Mapping[str, Any]) -> Any:
    from zoo_mlflow import mapping

    return server.client.create_logged_model(
        server.experiment,
        name=job["model"].translate(NOT_A_NAME),
        source_run_id=run_id,
        tags={mapping.JOB_TAG: job["id"], "zoo.dataset": job["dataset"]},
        params=mapping.params(job),
        model_type=job["model"],
    )


def _upload(server: TrackingServer, model: Any, run_id: str, files: Path) -> None:
    from mlflow.models import Model

    inputs = read_recipe(files).inputs
    described = Model(
        run_id=run_id,
        artifact_path=model.name,
        model_id=model.model_id,
        signature=signature.of_inputs(inputs),
        saved_input_example_info=signature.example_info(inputs),
    )
    described.add_flavor(
        "python_function",
        loader_module=__name__,
        data=DATA,
        python_version=platform.python_version(),
        env={"virtualenv": "python_env.yaml"},
    )
    with tempfile.TemporaryDirectory(prefix="zoo-") as made:
        folder = Path(made)
        described.save(str(folder / "MLmodel"))
        for name, example in signature.input_examples(inputs).items():
            (folder / name).write_text(json.dumps(example))
        (folder / "requirements.txt").write_text(
            "".join(f"{line}\n" for line in _requirements(files))
        )
        env = f"python: {platform.python_version()}\ndependencies:\n- -r requirements.txt\n"
        (folder / "python_env.yaml").write_text(env)
        (folder / DATA).mkdir()
        (folder / DATA / RECIPE).write_bytes((files / RECIPE).read_bytes())
        server.client.log_model_artifacts(model.model_id, str(folder))
    for name in (WEIGHTS, STEPS):
        # There are no steps where nothing was learned.
        if (files / name).is_dir():
            server.client.log_model_artifacts(model.model_id, str(files / name), f"{DATA}/{name}")


def _requirements(files: Path) -> list[str]:
    """Return the pinned distributions that load the model: this plugin and those of the recipe."""
    names = {*read_recipe(files).versions, "zoo-mlflow"} - {"python"}
    return [f"{name}=={version}" for name in sorted(names) if (version := _installed(name))]


def _installed(name: str) -> str:
    # A one-file plugin is not a distribution.
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
