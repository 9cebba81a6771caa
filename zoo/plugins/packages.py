"""The packages of this project, which may not be installed: what each has, how to install it."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

from zoo.errors import UsageError

COMMANDS = {
    "metrics": "zoo-metrics",
    "mlflow": "zoo-mlflow",
    "notify": "zoo-notify",
    "report": "zoo-report",
    "ui": "zoo-web",
    "worker": "mnist-zoo-workers",
}
"""Package of each command that is not in mnist-zoo."""

MODELS = {
    **dict.fromkeys(
        (
            *("boosted-stumps", "hist-gradient-boosting", "knn", "logistic", "mlp"),
            *("pairwise-linear", "pca-quadratic", "random-forest", "rbf-network", "svm"),
        ),
        "zoo-sklearn",
    ),
    **dict.fromkeys(
        ("cnn", "dense-softmax", "digit-detector", "lenet-1", "lenet-4", "lenet-5"), "zoo-keras"
    ),
    **dict.fromkeys(("torch-cnn", "torch-mlp"), "zoo-torch"),
}
"""Package of each model."""

DATASETS = {"digits": "zoo-sklearn"}
"""Package of each dataset that is not in mnist-zoo."""

LOCAL = "'mnist-zoo[local]'"
"""The extra with what a single machine needs."""
IS_A_CLONE = (Path(__file__).parents[2] / "plugins" / "zoo-sklearn").is_dir()
IN_A_CLONE = " In this clone: make install." if IS_A_CLONE else ""
"""A clone installs what belongs to it, where an index may have nothing, or something else."""
IN_LOCAL = ("mnist-zoo-workers", "zoo-report", "zoo-sklearn", "zoo-web")


def has_worker() -> bool:
    """Return whether a worker can run on this machine."""
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec("zoo_workers") is not None
    return False


def check_worker() -> None:
    """Raise UsageError if no worker can run on this machine."""
    if not has_worker():
        raise UsageError(
            "Jobs need a worker, and mnist-zoo-workers is not installed here.",
            f"Install it: pip install {LOCAL}.{IN_A_CLONE}",
        )


def missing_command(name: str) -> UsageError | None:
    """Return the error for a command whose package is not installed; None if no package has it."""
    return _error("command", name, COMMANDS[name]) if name in COMMANDS else None


def missing(kind: str, name: str) -> UsageError | None:
    """Return the error for a model or dataset whose package is not installed; else None."""
    from zoo.plugins.requirements import installed_version

    package = {"model": MODELS, "dataset": DATASETS}[kind].get(name)
    if package is None or installed_version(package):
        return None
    if has_worker():
        return _error(kind, name, package)
    return _error(kind, name, package, LOCAL if package in IN_LOCAL else f"{LOCAL} {package}")


def _error(kind: str, name: str, package: str, line: str = "") -> UsageError:
    return UsageError(
        f"The {kind} '{name}' is in {package}, which is not installed.",
        f"Install it: pip install {line or package}.{IN_A_CLONE}",
    )
