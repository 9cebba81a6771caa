"""`zoo train --in-process`: run in this process; record nothing."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.job_spec import JobSpec


@contextlib.contextmanager
def _short_traceback(model: str) -> Iterator[None]:
    """Have the traceback of an error begin at the first line of the model's own."""
    from zoo.plugins import error_report, registry

    try:
        yield
    except Exception as error:
        found = error_report.own_traceback(error, registry.source_of(model))
        # Not printed here: the error goes on, to `python -m pdb` for example.
        sys.excepthook = lambda kind, value, _: traceback.print_exception(kind, value, found)
        raise


def run_here(specs: list[JobSpec], as_json: bool) -> None:
    """Run the jobs in this process and print the accuracy of each."""
    import tempfile

    from zoo.cli.render import console
    from zoo.jobs.queue_options import GPU
    from zoo.queue import gpus, pinning
    from zoo.training.run import run_job

    def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        values = " ".join(f"{name} {console.number(value)}" for name, value in metrics.items())
        if values:
            console.note(f"{unit} {step}/{total} {values}")

    def phase(name: str) -> None:
        console.note(f"{name} ...")

    # As in a slot: where a job runs is not decided by what the machine has.
    gpu = gpus.find_gpus("auto")[0] if specs[0].device == GPU else None
    os.environ.update(gpus.environment(gpu, os.environ))
    if specs[0].version is not None:
        with console.progress() as tell:
            pinning.bring(specs[0].contents, specs[0].dataset, tell)
    results = []
    for spec in specs:
        # The model prints directly to the terminal, as in any script.
        with (
            tempfile.TemporaryDirectory(prefix="zoo-") as folder,
            console.unguarded(),
            _short_traceback(spec.model),
        ):
            results.append(run_job(spec, Path(folder), report, phase=phase))
    if as_json:
        console.json_out(
            [{"spec": s.model_dump(), "metrics": m} for s, m in zip(specs, results, strict=True)]
        )
    else:
        for metrics in results:
            console.out.print(f"accuracy {metrics['accuracy']:.4f}")
