"""Zoo: train, evaluate and compare many small models from a terminal.

For plugins: `zoo.Model`, `zoo.Params`, `zoo.param`, `zoo.Dataset`, `zoo.Step`,
`zoo.hookimpl`.
For notebooks: `zoo.train`, `zoo.sweep`, `zoo.evaluate`, `zoo.compare`, `zoo.get_job`,
`zoo.list_jobs`, `zoo.get_leaderboard`, `zoo.list_models`, `zoo.load_model`, `zoo.export_model`,
`zoo.tag_jobs`, `zoo.note_jobs`, `zoo.pin_jobs`, `zoo.remove_jobs`.
"""

from __future__ import annotations

# Nothing is imported here: `python -m zoo` runs this file before it has removed the working
# directory from sys.path and before `zoo.__main__` handles Ctrl-C. The types of the public names
# are in __init__.pyi.

__version__ = "0.1.0"

# Loaded on first use, so that `zoo --help` does not wait for pydantic. A name here must not be
# that of a module in this package: whichever was imported first would win.
_HOMES = {
    "DatasetError": "zoo.errors",
    "ZooError": "zoo.errors",
    "hookimpl": "zoo.hookspecs",
    "Metric": "zoo.metrics",
    "Checkpoint": "zoo.model",
    "Dataset": "zoo.model",
    "Images": "zoo.model",
    "Model": "zoo.model",
    "Params": "zoo.model",
    "Report": "zoo.model",
    "Step": "zoo.model",
    "Stop": "zoo.model",
    "Table": "zoo.model",
    "param": "zoo.model",
    "compare": "zoo.notebook.functions",
    "evaluate": "zoo.notebook.functions",
    "export_model": "zoo.notebook.functions",
    "get_job": "zoo.notebook.functions",
    "get_leaderboard": "zoo.notebook.functions",
    "list_jobs": "zoo.notebook.functions",
    "list_models": "zoo.notebook.functions",
    "load_model": "zoo.notebook.functions",
    "note_jobs": "zoo.notebook.functions",
    "pin_jobs": "zoo.notebook.functions",
    "remove_jobs": "zoo.notebook.functions",
    "sweep": "zoo.notebook.functions",
    "tag_jobs": "zoo.notebook.functions",
    "train": "zoo.notebook.functions",
    "ComparedResults": "zoo.notebook.compared_results",
    "GroupHandle": "zoo.notebook.handles",
    "JobHandle": "zoo.notebook.handles",
    "TrainedModel": "zoo.notebook.trained_model",
}
_RENAMED = {
    "job": "get_job",
    "jobs": "list_jobs",
    "leaderboard": "get_leaderboard",
    "load": "load_model",
    "models": "list_models",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __dir__() -> list[str]:
    """Return the public names, so that a shell or notebook completes them."""
    return __all__


def __getattr__(name: str) -> object:
    """Load a public name on first use; raise AttributeError for any other."""
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    hint = f"; the function is zoo.{_RENAMED[name]}()" if name in _RENAMED else ""
    raise AttributeError(f"module 'zoo' has no attribute '{name}'{hint}")
