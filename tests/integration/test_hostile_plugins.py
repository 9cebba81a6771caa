"""Plugins that mean harm: they hang, crash or end the process that imports them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import Zoo
from helpers.plugin_files import MODEL
from zoo_workers import worker
from zoo_workers.runner_pool import Runner


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path))
    return tmp_path


SHORT = """
import zoo
from zoo.plugins import import_guard as guard
whole = guard.importing
def importing(name):
    hangs = name in ("b_loop", "z_deaf")
    guard.IMPORT_SECONDS, guard.RING_SECONDS = (0.2, 0.1) if hangs else (600, 60)
    return whole(name)
guard.importing = importing
@zoo.hookimpl
def register_models(register): pass
"""

HOSTILE = {
    "a_short": SHORT,  # for those that hang no twenty seconds, for the others all the time
    "b_loop": "import time\nwhile True:\n    time.sleep(0.01)\n",
    "c_import": "import no_such_package\n",
    "d_exit": "print('hello')\nraise SystemExit('no')\n",
    "e_name": MODEL.format(name="Not A Name", body="", what="Mine"),
    "f_hook": "import zoo\n@zoo.hookimpl\ndef register_model(register): pass\n",
    "g_slow": "import time\nclock = time.perf_counter\ntime.perf_counter = lambda: clock() + 5\n"
    + MODEL.format(name="slow", body="", what="Mine"),
    "h_none": "def register_models(register): pass\n",
    "i_return": "import zoo\n@zoo.hookimpl\ndef register_models():\n    return []\n",
    "k_kill": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n",
    "x_crash": "import ctypes, os\nos.write(1, b'hello')\nctypes.string_at(0)\n",
    "y_die": "import os\nos.write(1, b'hello')\nos._exit(7)\n",
    "z_deaf": "import time\nwhile True:\n    try:\n        time.sleep(9)\n"
    "    except BaseException:\n        pass\n",
}


def test_hostile_plugins_are_each_listed_in_a_sentence_and_the_others_work(zoo: Zoo) -> None:
    folder = zoo.home / "plugins"
    folder.mkdir(parents=True)
    for name, source in HOSTILE.items():
        (folder / f"{name}.py").write_text(source)
    for _ in range(3):
        told = zoo.run("plugins", "--json")
        found = {p["name"]: p for p in json.loads(told.stdout)}
        if ".py:3)" in found["b_loop"]["error"] and "ended" in found["z_deaf"]["error"]:
            break  # else it stood still for those 0.2 s, and was stopped before its loop began
    assert "hello" in told.stderr
    for name, says in {
        "h_none": "It implements no hook: is @zoo.hookimpl missing above",
        "i_return": "register_models has no argument `register`",
        "b_loop": f"it took over 0.2 s to import and was stopped ({folder}/b_loop.py:3)",
        "c_import": f"No module named 'no_such_package' ({folder}/c_import.py:1)",
        "d_exit": f"SystemExit: no ({folder}/d_exit.py:2)",
        "e_name": "The model name 'Not A Name' is not lower case",
        "f_hook": "No hook is called 'register_model'. Did you mean 'register_models'?",
        "k_kill": "it calls os.kill(",
        "x_crash": "it ended the process that imported it (SIGSEGV)",
        "y_die": f"it calls os._exit(7) at import ({folder}/y_die.py:3)",
        "z_deaf": "it ended the process that imported it (exit code 1)",
    }.items():
        assert says in found[name]["error"], found[name]
    assert found["sklearn"]["models"] and not found["sklearn"]["error"]
    assert found["workers"]["hooks"] == ["register_commands"] and not found["workers"]["error"]
    assert found["g_slow"]["models"] == ["slow"] and found["g_slow"]["seconds"] > 5


def test_a_listing_whose_process_dies_before_any_plugin_ends(zoo: Zoo, tmp_path: Path) -> None:
    """It was started again and again, without end."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'zoo.plugins.isolated_listing' in sys.orig_argv:\n"
        f"    open({str(tmp_path / 'starts')!r}, 'a').write('.')\n    os._exit(4)\n"
    )
    zoo.env["PYTHONPATH"] = str(tmp_path)
    told = zoo.run("plugins", code=1).stderr
    assert "The process that lists the plugins failed" in told and "exit code 4" in told
    assert (tmp_path / "starts").read_text() == "."


def test_a_worker_is_not_kept_by_a_plugin_that_never_ends_its_import(
    folder: Path,
) -> None:
    for name in ("a_short", "b_loop"):
        (folder / f"{name}.py").write_text(HOSTILE[name])
    runner = Runner()
    try:
        answer = worker.ask_catalogue(runner)
    finally:
        runner.kill()
    assert answer["broken"].keys() == {"b_loop"} and "was stopped" in answer["broken"]["b_loop"]
    assert "logistic" in {card["name"] for card in answer["models"]}


def test_a_plugin_that_cannot_be_stopped_ends_the_command_with_a_sentence(zoo: Zoo) -> None:
    folder = zoo.home / "plugins"
    folder.mkdir(parents=True)
    for name in ("a_short", "z_deaf"):
        (folder / f"{name}.py").write_text(HOSTILE[name])
    for _ in range(3):
        command = zoo.start("models")
        said, complained = command.communicate(timeout=120)
        if command.returncode:
            break  # else it stood still for 0.2 s, and was stopped before its loop began
    assert command.returncode == 1 and not said
    assert complained.startswith("error: The plugin z_deaf hangs at import")
