"""docs/plugins.md: what it says to type works as written, and its reference is the code's."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_line import Zoo

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Zoo]:
    """An environment of its own, in which a plugin can be installed, over that of the tests."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "below.pth").write_text("\n".join(p for p in sys.path if Path(p).is_dir()))
    for command in ("zoo", "pip", "pytest"):
        script = python.with_name(command)
        script.write_text(f'#!/bin/sh\nexec "{python}" -m {command} "$@"\n')
        script.chmod(0o755)
    found = Zoo(tmp_path / "home", PIP_DISABLE_PIP_VERSION_CHECK="1")
    found.env["PATH"] = f"{python.parent}:{found.env['PATH']}"
    yield found
    found.close()


def blocks() -> list[tuple[str, str]]:
    """The language and the text of each fenced block, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S)


@pytest.mark.slow
def test_every_command_of_the_page_works_as_written(newcomer: Zoo, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    said = []
    for language, text in blocks():
        if language == "python":
            path = folder / text.splitlines()[0].removeprefix("# ")
            assert path.exists()
            path.write_text(text)
        for command in re.findall(r"^\$ (.*)$", text, flags=re.M):
            done = subprocess.run(
                command, shell=True, cwd=folder, env=newcomer.env, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            said.append((command, done.stdout + done.stderr))
    output = dict(said)
    assert len(said) >= 11
    assert "19 passed / 0 failed / 4 skipped" in output["zoo plugins check my-knn"]
    assert "19 passed, 4 skipped" in output["pytest -q my-knn"]
    assert re.search(
        r"accuracy 0\.9[6-9]", output["zoo train my-knn --dataset digits -p k=5 --in-process"]
    )
    assert [file.name for file in (folder / "dist").iterdir()] == ["my_knn-0.1.0-py3-none-any.whl"]


def test_the_reference_is_that_of_the_code() -> None:
    path = PAGE.with_name("reference.py")
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None and spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    text = PAGE.read_text()
    assert reference.page(text) == text, "python docs/reference.py"
    assert len(reference.reference().splitlines()) > 100
