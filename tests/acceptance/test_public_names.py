"""The public names of `zoo`: typed for mypy and editors, the same in every order of imports."""

from __future__ import annotations

import ast
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

pytest.importorskip("pandas")
ROOT = Path(__file__).parents[2]
FUNCTIONS = [
    *("get_job", "get_leaderboard", "list_jobs", "list_models", "load_model"),
    *("pin_jobs", "remove_jobs", "train"),
]

TYPED = """
import zoo.jobs
import zoo
from typing import assert_type
from pandas import DataFrame

assert_type(zoo.train("logistic", epochs=5), zoo.JobHandle | zoo.GroupHandle)
assert_type(zoo.get_job("@last").wait().status, str)
assert_type(zoo.list_jobs(status=["queued"]), DataFrame)
assert_type(zoo.get_leaderboard(by="seed"), DataFrame)
assert_type(zoo.list_models(), DataFrame)
assert_type(zoo.load_model(), zoo.TrainedModel)
assert_type(zoo.load_model().class_names, list[str])
assert_type(zoo.remove_jobs("@last", dry_run=True), DataFrame)
assert_type(zoo.pin_jobs(zoo.get_job(), pinned=False), DataFrame)
"""
"""What mypy accepts as it stands."""


def mypy(folder: Path, code: str) -> list[str]:
    """Return the messages of mypy on a module, in order; pandas is a stub with one class."""
    (folder / "pandas").mkdir()
    (folder / "pandas" / "__init__.pyi").write_text("class DataFrame: ...\n")
    (folder / "mypy.ini").write_text("[mypy]\nignore_missing_imports = True\n")
    (folder / "script.py").write_text(code)
    options = ["--strict", "--no-site-packages", "--no-error-summary", "--follow-imports=silent"]
    options += [f"--config-file={folder / 'mypy.ini'}", f"--cache-dir={folder / 'cache'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(folder / "script.py")],
        env=os.environ | {"MYPYPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert not done.stderr, done.stderr
    return [line.partition(": ")[2] for line in done.stdout.splitlines()]


def test_the_stub_has_the_names_that_are_there() -> None:
    tree = ast.parse((ROOT / "zoo" / "__init__.pyi").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    names = {alias.asname for node in imports for alias in node.names}
    assert names == set(zoo.__all__) - {"__version__"}


def test_mypy_knows_the_type_of_every_public_name(tmp_path: Path) -> None:
    # pluggy, whose type hookimpl is, and all other packages are hidden from this mypy.
    names = [name for name in dir(zoo) if name not in ("__version__", "hookimpl")]
    assert set(FUNCTIONS) < set(names)
    asked = "\n".join(f"reveal_type(zoo.{name})" for name in names)
    *notes, error = mypy(tmp_path, f"{TYPED}\n{asked}\nzoo.no_such_name\n")
    assert 'Module has no attribute "no_such_name"' in error
    assert all(note.startswith("note: Revealed type is") for note in notes), notes
    for name, note in zip(names, notes, strict=True):
        revealed = note.partition('"')[2].removesuffix('"')
        assert revealed != "Any", name
        assert name not in FUNCTIONS or not revealed.endswith("-> Any"), revealed


ORDERS = """
import itertools, os, sys

# Once, for all of the forked processes.
import fsspec, pandas, pluggy, sqlalchemy.dialects.sqlite
from pydantic import BaseModel, TypeAdapter, create_model

statements = [
    "import zoo",
    "import zoo.jobs",
    "from zoo.results import leaderboard",
    "import zoo.notebook.functions",
]
assert not any(name.partition(".")[0] == "zoo" for name in sys.modules)
for order in itertools.permutations(statements):
    if pid := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, order
        continue
    try:
        for statement in order:
            exec(statement)
        # Called again after the others have imported what they need.
        for _ in range(2):
            assert len(zoo.list_jobs()) == len(zoo.get_leaderboard()) == 0
        assert all(callable(getattr(zoo, name)) for name in dir(zoo) if name != "__version__")
        assert zoo.jobs.connect
        os._exit(0)
    finally:
        sys.excepthook(*sys.exc_info()) if sys.exc_info()[0] else None
        os._exit(1)
print("done")
"""


def test_the_functions_work_in_every_order_of_imports(home: Path) -> None:
    zoo.list_jobs()  # makes the database, which the orders share
    done = subprocess.run([sys.executable, "-c", ORDERS], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def test_no_public_name_is_that_of_a_module() -> None:
    modules = {each.name for each in pkgutil.iter_modules(zoo.__path__)}
    assert not modules & set(dir(zoo))


def test_a_shell_completes_the_functions_and_nothing_private() -> None:
    assert set(FUNCTIONS) < set(dir(zoo))
    assert [name for name in dir(zoo) if name.startswith("_")] == ["__version__"]
    assert all(hasattr(zoo, name) for name in dir(zoo))
    assert not hasattr(zoo, "no_such_name")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("job", "get_job"),
        ("leaderboard", "get_leaderboard"),
        ("models", "list_models"),
        ("load", "load_model"),
    ],
)
def test_an_old_name_says_the_new_one(old: str, new: str) -> None:
    with pytest.raises(AttributeError, match=rf"the function is zoo\.{new}\(\)"):
        getattr(zoo, old)


def test_zoo_jobs_says_the_new_name_unless_the_package_was_imported() -> None:
    code = "import zoo\ntry: zoo.jobs\nexcept AttributeError as error: print(error)\n"
    code += "import zoo.jobs\nprint(zoo.jobs.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.endswith("the function is zoo.list_jobs()") and second == "zoo.jobs"


def test_to_import_zoo_loads_none_of_it() -> None:
    code = "import sys, zoo; from zoo import jobs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "numpy", "zoo.notebook", "sqlalchemy"} & set(done.stdout.split())
