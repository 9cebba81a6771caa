"""The root of the commands shows and runs what Typer's own group would, and builds less."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from zoo.cli.lazy_group import load_all, problems, root
from zoo.errors import UsageError
from zoo.plugins import entry_points, packages
from zoo.plugins.entry_points import Entry

PLUGIN = '''
import typer
import zoo

nest = typer.Typer(help="Build nests.")

@nest.command()
def build() -> None:
    """Build one."""

def sing(times: int = 1) -> None:
    """Sing."""
    print("la " * times)

@zoo.hookimpl
def register_commands(app):
    app.command()(sing)
    app.add_typer(nest, name="nest")
'''
CHANGED = (
    PLUGIN
    + """
@zoo.hookimpl(specname="register_commands")
def more(app):
    app.command("fly")(lambda: print("flap"))
"""
)


@pytest.fixture
def bird(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and a plugin with commands on the path; gives the plugin's file."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(entry_points, "of", lambda group: [Entry("bird", "bird", "zoo-bird", "1")])
    file = tmp_path / "bird.py"
    file.write_text(PLUGIN)
    sys.modules.pop("bird", None)
    return file


def an_app() -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    app.callback()(lambda: None)
    own = typer.Typer(help="Look after eggs.")
    own.command("count")(lambda: print(3))
    app.add_typer(own, name="eggs")

    @app.command()
    def walk(far: bool = False) -> None:
        """Walk. It takes a while."""
        print("far" if far else "near")

    @app.command(hidden=True)
    def hide() -> None:
        """Hide."""

    return app


def run(app: typer.Typer, *words: str) -> str:
    """What a command prints in a fresh process, as far as modules go."""
    sys.modules.pop("bird", None)
    return CliRunner().invoke(_AsGiven(app), list(words)).output


class _AsGiven(typer.Typer):
    """CliRunner asks Typer for the group: give it ours."""

    def __init__(self, app: typer.Typer) -> None:
        super().__init__()
        self.given = app


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.testing._get_command", lambda app: root(app.given))


def test_help_is_typers_own_and_the_second_time_imports_no_plugin(bird: Path) -> None:
    whole = an_app()
    load_all(whole)
    expected = typer.main.get_command(whole).get_help(typer.Context(typer.main.get_command(whole)))
    first = run(an_app(), "--help")
    assert "sing" in expected and "nest" in expected
    assert first.split("Options:")[1].strip() == expected.split("Options:")[1].strip()
    assert run(an_app(), "--help") == first
    assert "bird" not in sys.modules


def test_commands_of_both_run_with_their_options(bird: Path) -> None:
    for _ in range(2):
        assert run(an_app(), "walk", "--far") == "far\n"
        assert run(an_app(), "eggs", "count") == "3\n"
        assert run(an_app(), "sing", "--times", "2") == "la la \n"
        assert "build" in run(an_app(), "nest", "--help")
        assert "Did you mean 'sing'" in run(an_app(), "sin")


def test_a_plugin_that_was_changed_is_looked_at_again(bird: Path) -> None:
    assert "fly" not in run(an_app(), "--help")
    bird.write_text(CHANGED)
    assert "fly" in run(an_app(), "--help")
    assert run(an_app(), "fly") == "flap\n"


def test_a_plugin_that_is_broken_or_gone_takes_no_other_command_with_it(bird: Path) -> None:
    run(an_app(), "--help")
    bird.write_text("raise SystemExit(3)")
    assert "sing" not in run(an_app(), "--help")
    assert "No such command 'sing'" in run(an_app(), "sing")
    bird.unlink()
    assert run(an_app(), "walk") == "near\n"


GREEDY = {
    "train": "app.command('walk')(lambda: print('mine'))",
    "group": "app.add_typer(typer.Typer(), name='eggs')",
    "command for a group": "app.command('eggs')(lambda: print('mine'))",
    "inner": "app.registered_groups[0].typer_instance.command('count')(lambda: print('mine'))",
    "callback": "app.registered_commands[0].callback = lambda: print('mine')",
    "cleared": "app.registered_commands.clear(); app.registered_groups.clear()",
    "root": "app.callback()(lambda: print('mine'))",
    "instance": "app.registered_groups[0].typer_instance = typer.Typer()",
}


@pytest.mark.parametrize("greed", GREEDY.values(), ids=GREEDY)
def test_a_plugin_adds_commands_and_replaces_none(bird: Path, greed: str) -> None:
    begin = "def register_commands(app):\n"
    bird.write_text(PLUGIN.replace(begin, f"{begin}    {greed}\n"))
    for _ in range(2):
        assert run(an_app(), "walk", "--far") == "far\n"
        assert run(an_app(), "eggs", "count") == "3\n"
        assert run(an_app(), "sing") == "la \n"
        assert "Walk. It takes a while." in run(an_app(), "walk", "--help")
    assert "it replaces existing commands, which is not allowed: " in problems["bird"]


def test_of_two_plugins_with_one_command_the_first_keeps_it(
    bird: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [Entry(name, name, f"zoo-{name}", "1") for name in ("bird", "crow")]
    monkeypatch.setattr(entry_points, "of", lambda group: both)
    (bird.parent / "crow.py").write_text(PLUGIN.replace("la ", "kra "))
    for _ in range(2):
        sys.modules.pop("crow", None)
        assert run(an_app(), "sing") == "kra \n"  # pluggy calls the last one first


@pytest.mark.parametrize("name", packages.COMMANDS)
def test_a_command_whose_package_is_not_installed_names_it(
    bird: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(entry_points, "of", lambda group: [])
    done = CliRunner().invoke(_AsGiven(an_app()), [name])
    assert isinstance(done.exception, UsageError)
    assert f"pip install {packages.COMMANDS[name]}." in str(done.exception)


def test_every_command_of_our_packages_is_known_with_its_package() -> None:
    for entry in importlib.metadata.entry_points(group="zoo.commands"):
        if entry.dist and entry.dist.name in packages.COMMANDS.values():
            app = typer.Typer()
            entry.load().register_commands(app=app)
            names = {*map(_name_of, app.registered_commands), *map(_name_of, app.registered_groups)}
            assert names == {n for n, each in packages.COMMANDS.items() if each == entry.dist.name}


def _name_of(info: typer.models.CommandInfo | typer.models.TyperInfo) -> str:
    if isinstance(info, typer.models.TyperInfo):
        return str(info.name)
    return info.name or typer.main.get_command_name(info.callback.__name__)  # type: ignore[union-attr]


def test_what_is_remembered_wrongly_is_an_unknown_command(bird: Path) -> None:
    run(an_app(), "--help")
    file = bird.parent / "commands.json"
    known = json.loads(file.read_text())
    known["bird"]["summaries"].append([False, "swim", "Swim.", None, False])
    file.write_text(json.dumps(known))
    assert "No such command 'swim'" in run(an_app(), "swim")


def test_the_worker_commands_are_imported_by_those_who_call_them(tmp_path: Path) -> None:
    look = (
        "import sys; from zoo.cli import main, lazy_group as root; group = root.root(main.app); "
        "print('worker' in group.commands, 'zoo_workers.commands' in sys.modules)"
    )
    env = os.environ | {"ZOO_HOME": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", look], env=env, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert said == ["True True\n", "True False\n"]


def test_a_command_imports_the_modules_of_no_other(tmp_path: Path) -> None:
    run_it = (
        "import sys; from zoo.cli import main; main.run(sys.argv[1:]); "
        "print(*sorted(each for each in sys.modules if each.startswith('zoo.cli.commands.')))"
    )
    env = os.environ | {"ZOO_HOME": str(tmp_path)}

    def said(*words: str) -> list[str]:
        command = [sys.executable, "-c", run_it, *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    first, later = said("--help"), said("--help")
    assert first[:-1] == later[:-1] and "zoo.cli.commands.sweep" in first[-1]
    assert later[-1] == ""
    assert said("tag", "--help")[-1] == "zoo.cli.commands.job_actions"
    file = tmp_path / "commands.json"
    known = json.loads(file.read_text())
    known["own jobs"]["module"][1] -= 1  # an older version of the module
    known["own jobs"]["summaries"][0][2] = "Once."
    file.write_text(json.dumps(known))
    assert "Once." not in str(renewed := said("--help")) and renewed[:-1] == first[:-1]
    assert renewed[-1] == "zoo.cli.commands.jobs"
