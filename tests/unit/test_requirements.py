"""What a plugin requires and is not installed, and how `zoo models` says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zoo.cli.main import app
from zoo.jobs import Worker
from zoo.jobs.cards import Card
from zoo.plugins import registry, requirements
from zoo.queue import catalogue

PLUGIN = '''
"""A model whose framework is not installed."""
import zoo


class Nowhere(zoo.Model):
    """A model of a framework."""

    name = "nowhere"

    def fit(self, x, y, report):
        import json, numpy, torch_of_nobody


@zoo.hookimpl
def register_models(register):
    register(Nowhere)
'''


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    lines = {
        "zoo-mine": ["zoo-base>=1", "numpy", "absent[extra]>=2", 'odd; python_version < "3"'],
        "zoo-base": ["below>=1,<2", 'more; extra == "export"'],
    }
    for name, required in lines.items():
        folder = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
        folder.mkdir()
        text = "".join(f"Requires-Dist: {line}\n" for line in required)
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
        (folder / "METADATA").write_text(head + text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    requirements.required.cache_clear()
    requirements.installed_version.cache_clear()


@pytest.mark.usefixtures("distribution")
def test_requirements_that_are_not_installed_are_missing() -> None:
    assert requirements.missing("zoo-mine") == ["absent", "below"]
    assert requirements.required("zoo-mine") == ["zoo-base", "numpy", "absent", "odd", "below"]
    # Those of a one-file plugin are what it imports, and what plugins among it require.
    imported = ["json", "numpy", "zoo", "zoo_base", "absent_too"]
    assert requirements.missing("mine", imported) == ["zoo_base", "absent_too"]
    assert requirements.missing("zoo-sklearn") == []


def worker(name: str, missing: list[str] | None) -> Worker:
    card = Card("nowhere", "mine 1", missing=missing)
    return Worker(name, name, "h", 1, "default", 1, 0, "online", "1", [card], 0.0, 0.0)


def test_a_model_is_said_to_lack_what_no_worker_has(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "plugins").mkdir(parents=True, mode=0o700)
    (home / "plugins" / "mine.py").write_text(PLUGIN)
    registry.catalogue.cache_clear()
    try:
        run = CliRunner().invoke
        shown = " ".join(run(app, ["models", "nowhere"]).stdout.split())
        assert "torch_of_nobody is not installed. A model of a framework." in shown
        assert "missing  torch_of_nobody is not" in run(app, ["models", "show", "nowhere"]).stdout
        asked = ["models", "--where", '"torch_of_nobody" in missing', "--json"]
        assert [each["name"] for each in json.loads(run(app, asked).stdout)] == ["nowhere"]
        # The local worker is on this machine; those of a team are elsewhere.
        online = [worker("a", ["torch_of_nobody"]), worker("b", None)]
        assert catalogue.models(online)["nowhere"].missing == ["torch_of_nobody"]
        monkeypatch.setenv("ZOO_BROKER_URL", "redis://elsewhere")
        assert not catalogue.models(online)["nowhere"].missing
        assert catalogue.models(online[:1])["nowhere"].missing == ["torch_of_nobody"]
        assert catalogue.models([])["nowhere"].missing == ["torch_of_nobody"]
    finally:
        registry.catalogue.cache_clear()
