"""Plugins of one file with one model, written by the tests."""

from __future__ import annotations

from pathlib import Path

MODEL = """
import zoo
class Mine(zoo.Model):
    "A model for a test."
    name = {name!r}
    {body}
@zoo.hookimpl
def register_models(register):
    register({what})
"""


def write(folder: Path, file: str, name: str = "mine", body: str = "", what: str = "Mine") -> None:
    """Write FILE.py into a folder of plugins; `body` is of the class, `what` is registered."""
    (folder / f"{file}.py").write_text(MODEL.format(name=name, body=body, what=what))
