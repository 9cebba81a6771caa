"""Datasets of plugins: whatever their `load` does, commands and workers go on and say it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command_line import Zoo, until
from helpers.finished_jobs import a_spec
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo import jobs
from zoo.errors import PluginError
from zoo.plugins import registry

PLUGIN = '''
import zoo
from pathlib import Path

def sound():
    import numpy as np
    labels = np.arange(12) % 3
    images = np.full((12, 28, 28), 7, "uint8") * labels[:, None, None].astype("uint8")
    return {"train": zoo.Images(images, labels), "test": zoo.Images(images, labels)}

def made(code):
    def load():
        import ctypes, os, signal, subprocess, sys, threading, time
        import numpy as np
        found = sound()
        images, labels = found["train"]
        names = {**globals(), **locals()}
        exec(compile(code, __file__, "exec"), names)
        return names["found"]
    return load

class Odd(Exception):
    def __str__(self):
        raise ValueError

class Listing(zoo.Model):
    """Gives its probabilities as a list of lists."""
    name = "listing"
    class Params(zoo.Params):
        size: tuple[int, int] = zoo.param((3, 3), help="two numbers")
    def fit(self, x, y, report):
        self.means = [float(x[y == n].mean()) for n in range(self.n_classes)]
    def predict_proba(self, x):
        import numpy as np
        near = np.exp(-1000 * np.abs(x.mean(axis=1)[:, None] - np.array(self.means)))
        return (near / near.sum(axis=1)[:, None]).tolist()
    def save(self, folder):
        import numpy as np
        from zoo import weights
        weights.save(folder, {"means": np.array(self.means)})
    def load(self, folder):
        from zoo import weights
        found = weights.load(folder, {"means": ("float64", (self.n_classes,))})
        self.means = found["means"].tolist()

def load_file():
    import numpy as np
    with np.load(FILE) as found:
        pair = zoo.Images(found["x"], found["y"])
    return {"train": pair, "test": pair}

FILE = Path(__file__).parents[1] / "shapes.npz"

@zoo.hookimpl
def register_models(register):
    register(Listing)

@zoo.hookimpl
def register_datasets(register):
    for name, code in WAYS.items():
        register(zoo.Dataset(name, "Odd", made(code), ("a", "b", "c"), version="1"))
    register(zoo.Dataset("filed", "Of a file", load_file, ("a", "b", "c"), files=FILE))

WAYS = @WAYS@
'''
WELL = ""
RETURN = 'load must return {"train": Images, "test": Images}, but '
WAYS: dict[str, tuple[str, str]] = {
    "prints": ("print('NOISE'); print('NOISE', file=sys.__stdout__)", WELL),
    "descriptor": ("os.write(1, b'NOISE')", WELL),
    "child": ("os.system('echo NOISE')", WELL),
    "popen": ("subprocess.run(['echo', 'NOISE'])", WELL),
    "printf": ("ctypes.CDLL(None).printf(b'NOISE')", WELL),
    "forks-well": ("pid = os.fork()\nif not pid: os._exit(0)\nos.waitpid(pid, 0)", WELL),
    "fork-returns": ("pid = os.fork()\nif pid: os.waitpid(pid, 0)", WELL),
    "keeps-stdout": ("sys.stdout = open(os.devnull, 'w')", WELL),
    "changes": ("os.chdir('/'); os.umask(0); signal.signal(signal.SIGINT, signal.SIG_IGN)", WELL),
    "lasting-thread": ("threading.Thread(target=time.sleep, args=(999,)).start()", WELL),
    "exits": ("sys.exit('no data today')", "failed: SystemExit: no data today"),
    "exits-with-0": ("sys.exit(0)", "failed: SystemExit: 0"),
    "exits-silently": ("sys.exit()", "failed: SystemExit"),
    "ends": ("os._exit(3)", "failed: it calls os._exit(3) in load"),
    "kills": ("os.kill(os.getpid(), 9)", "failed: it calls os.kill("),
    "aborts": ("os.abort()", "failed: it calls os.abort() in load"),
    "interrupts": ("raise KeyboardInterrupt", "failed: it raises KeyboardInterrupt in load"),
    "ends-generator": ("raise GeneratorExit", "failed: GeneratorExit"),
    "base": ("raise type('Mine', (BaseException,), {})('x')", "failed: Mine: x"),
    "memory": ("raise MemoryError", "failed: MemoryError"),
    "no-words": ("raise Odd", "failed: Odd"),
    "lines": ("raise ValueError('one\\ntwo')", "failed: ValueError: one two"),
    "recursion": ("f = lambda: f()\nf()", "failed: RecursionError"),
    "zoo-error": ("from zoo.errors import UsageError\nraise UsageError('Mine.')", "failed: Mine."),
    "none": ("found = None", RETURN + "it returned NoneType"),
    "list": ("found = [images, labels]", RETURN + "it returned list of 2"),
    "array": ("found = images", RETURN + "it returned ndarray of uint8 (12, 28, 28)"),
    "pair": ("found = found['train']", RETURN + "it returned Images of 2"),
    "text": ("found = 'train test'", RETURN + "it returned str"),
    "generator": ("found = (x for x in 'ab')", RETURN + "it returned generator"),
    "no-test": ("found = {'train': found['train'], 1: 2}", "it has no split 'test': " + RETURN),
    "no-splits": ("found = {}", RETURN + "it returned dict without such keys"),
    "an-array": ("found['test'] = images", RETURN + "'test' is ndarray"),
    "three": ("found['test'] = (1, 2, 3)", RETURN + "'test' is tuple of 3"),
    "a-dict": ("found['test'] = {'images': 1}", RETURN + "'test' is dict with the keys 'images'"),
    "one-none": ("found['test'] = None", RETURN + "'test' is NoneType"),
    "ragged": ("found['test'] = ([[1], [1, 2]], [0])", RETURN + "'test' holds no array"),
    "of-none": ("found['test'] = (None, None)", "there are Python objects in test images"),
    "floats": ("found['test'] = (images / 255, labels)", WELL),
    "halves": ("found['test'] = (images / 2, labels)", "its pixels are floats up to 7"),
    "texts": ("found['test'] = (images, list('aaaabbbbcccc'))", "labels of several types"),
    "lazy": (
        "class Lazy:\n def __array__(self, *_, **__): sys.exit(4)\nfound['test'] = (Lazy(), 0)",
        "failed: SystemExit: 4",
    ),
}
"""What `load` does, and what is said of it if it is refused."""
DONE = ("succeeded", "failed", "lost", "timed_out", "cancelled")


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """One home with all of them, and with one warm worker."""
    fast = {"ZOO_SLOTS": "1", "ZOO_LEASE_SECONDS": "60", "ZOO_PLUGINS": "odd"}
    found = Zoo(tmp_path_factory.mktemp("odd") / "home", **fast)
    (found.home / "plugins").mkdir(parents=True)
    source = PLUGIN.replace("@WAYS@", repr({name: code for name, (code, _) in WAYS.items()}))
    (found.home / "plugins" / "odd.py").write_text(source)
    write_file(found.home / "shapes.npz", 7)
    found.run("up")
    yield found
    found.close()


def write_file(path: Path, grey: int) -> None:
    labels = np.arange(12) % 3
    images = (labels[:, None, None] * np.full((12, 28, 28), grey)).astype("uint8")
    np.savez(path, x=images, y=labels)


SCRIPT = """
import json, os, signal, sys
from zoo.data import datasets
from zoo import errors
from zoo.plugins import registry as plugins
found = {}
os.umask(0o077)
own, interrupt, folder = os.getpid(), signal.getsignal(signal.SIGINT), os.getcwd()
for name in json.loads(sys.argv[1]):
    try:
        datasets.raw(name)
        found[name] = ""
    except errors.ZooError as error:
        assert error.exit_code == 1
        found[name] = str(error)
    assert os.getpid() == own and os.getcwd() == folder and os.umask(0o077) == 0o077
    assert signal.getsignal(signal.SIGINT) is interrupt
assert not [p.error for p in plugins.broken()], plugins.broken()
os.write(int(sys.argv[2]), json.dumps(found).encode())
"""


def test_whatever_load_does_its_process_goes_on_and_stdout_stays_clean(refusing: Zoo) -> None:
    ours, theirs = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(list(WAYS)), str(theirs)],
        env=refusing.env,
        pass_fds=[theirs],
        capture_output=True,
        text=True,
        timeout=120,
    )
    os.close(theirs)
    with os.fdopen(ours) as told:
        answer = told.read()
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("NOISE") == 6
    said = json.loads(answer)
    assert list(said) == list(WAYS)
    for name, (_, words) in WAYS.items():
        if not words:
            assert said[name] == ""
            continue
        start = f"The dataset '{name}' cannot be used: ", f"The plugin of the dataset '{name}' "
        assert said[name].startswith(start) and words in said[name], said[name]
        assert "\n" not in said[name] and ".." not in said[name].replace("...", "")
        if words.startswith("failed: it "):
            assert "odd.py:" in said[name]
    assert said["memory"].count("MemoryError") == 1


def test_commands_print_their_data_alone_or_one_error(refusing: Zoo) -> None:
    shutil.rmtree(refusing.home / "cache", ignore_errors=True)
    assert refusing.json("data", "show", "prints")["class_counts"] == {"a": 4, "b": 4, "c": 4}
    shutil.rmtree(refusing.home / "cache")
    (found,) = refusing.json("train", "listing", "--dataset", "child", "--in-process")
    assert found["metrics"]["accuracy"] == 1.0
    shutil.rmtree(refusing.home / "cache")
    assert refusing.json("train", "listing", "--dataset", "popen")["status"] == "succeeded"
    for *words, name in (
        ("data", "show", "ends"),
        ("data", "show", "interrupts"),
        ("train", "listing", "--dataset", "exits-with-0"),
    ):
        done = refusing.run(*words, name, code=1)
        start = f"error: The plugin of the dataset '{name}' failed: "
        assert done.stderr.startswith(start) and done.stdout == "", done.stderr


def test_a_worker_has_what_load_prints_in_the_jobs_log_and_its_end_in_the_error(
    refusing: Zoo,
) -> None:
    shutil.rmtree(refusing.home / "cache", ignore_errors=True)
    db = refusing.database()
    # Not by a command: that would read the data itself.
    specs = [a_spec(model="listing", params={}, dataset=name) for name in WAYS]
    ids, _ = jobs.add(db, specs)
    found = until(lambda: all_done([jobs.get(db, each) for each in ids]))
    for job, (name, (code, words)) in zip(found, WAYS.items(), strict=True):
        assert job.attempt == 1, (name, job.error)
        if words:
            assert job.status == "failed" and words in str(job.error), (name, job.error)
        else:
            assert job.status == "succeeded", (name, job.error)
        log = refusing.run("logs", job.id).stdout if "NOISE" in code else "NOISE"
        assert "NOISE" in log, name
    db.close()


def all_done(found: list[Any]) -> list[Any]:
    return found if all(job.status in DONE for job in found) else []


def test_a_trained_model_answers_for_contents_whose_file_is_gone(
    refusing: Zoo, tmp_path: Path
) -> None:
    file = refusing.home / "shapes.npz"
    job = refusing.json("train", "listing", "--dataset", "filed")["id"]
    before = file.read_bytes()
    file.unlink()
    (answer,) = refusing.json("predict", job, "--index", "1")
    assert answer["predicted"] == answer["label"]
    assert refusing.json("evaluate", job)["metrics"]["accuracy"] == 1.0
    # So does a training again: of the very contents that the job was pinned to.
    again = refusing.run("rerun", job)
    assert "No difference of data, code or environment is known" in again.stderr
    # Where those are gone too, it is refused.
    shutil.rmtree(refusing.home / "cache" / "raw" / "filed")
    again = refusing.run("rerun", job, code=1)
    assert f"{file} cannot be read" in again.stderr and "restore it" in again.stderr
    file.write_bytes(before)
    refusing.run("rerun", job)


def test_so_it_does_for_a_dataset_of_a_file_and_else_names_the_file(
    refusing: Zoo, tmp_path: Path
) -> None:
    file = tmp_path / "own.npz"
    labels = np.arange(12) % 3
    images = (labels[:, None, None] * np.full((12, 28, 28), 7)).astype("uint8")
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    job = refusing.json("train", "listing", "--dataset", f"npz:{file}")["id"]
    file.unlink()
    export = ("export", job, "--format", "npz", "-o", str(tmp_path / "made.npz"))
    refusing.run(*export)
    assert (tmp_path / "made.npz").exists()
    shutil.rmtree(refusing.home / "cache" / "raw")
    refused = refusing.run(*export, code=2)
    assert str(file) in refused.stderr and "Restore it: " in refused.stderr


def test_class_names_in_the_cache_stand_in_a_line_and_cannot_steer_a_terminal(
    refusing: Zoo,
) -> None:
    refusing.run("data", "show", "forks-well")
    (meta,) = (refusing.home / "cache" / "raw" / "forks-well").glob("*/meta.json")
    names = ["a\x1b[31m", "b\nx", "c"]  # as a program of before may have written them
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"class_names": names}))
    shown = refusing.run("data", "show", "forks-well").stdout
    assert "\x1b" not in shown and "b x" in shown and "\nx" not in shown
    job = refusing.json("train", "listing", "--dataset", "forks-well")["id"]
    said = refusing.run("predict", job, "--index", "1").stdout
    assert said.startswith("forks-well test 1: b x, correct\n") and "\x1b" not in said


def test_a_param_of_several_values_is_refused_with_how_it_is_typed(refusing: Zoo) -> None:
    done = refusing.run("train", "listing", "--dataset", "prints", "-p", "size=5,6", code=2)
    assert "-p size='[5, 6]'" in done.stderr
    (found,) = refusing.json(
        "train", "listing", "--dataset", "prints", "-p", "size=[5, 6]", "--in-process"
    )
    assert found["spec"]["params"]["size"] == [5, 6]


# --- what is registered ---


def load() -> Any:
    raise AssertionError("nothing is read")


TEXTS = st.text(st.characters() | st.sampled_from("\n\r\t\x1b\x9b\u2028\0 "), max_size=4)


@given(st.lists(TEXTS | st.integers(0, 9), min_size=0, max_size=4))
def test_class_names_that_are_taken_are_distinct_and_stand_in_a_line(names: list[Any]) -> None:
    texts = [str(each) for each in names]
    is_sound = len(set(texts)) == len(texts) and all(
        each.strip() and len(f"a{each}a".splitlines()) == 1 and not set(each) & CONTROLS
        for each in texts
    )
    try:
        found = zoo.Dataset("d", "x", load, names)  # type: ignore[arg-type]
    except PluginError as error:
        assert not is_sound
        assert str(error).isprintable()
    else:
        assert is_sound and found.class_names == tuple(texts)


CONTROLS = {chr(code) for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
ODD: dict[str, tuple[dict[str, Any], str]] = {
    "a text": ({"class_names": "abc"}, "class_names of the dataset 'd' is str"),
    "bytes": ({"class_names": b"abc"}, "is bytes"),
    "a set": ({"class_names": {"a", "b"}}, "is set"),
    "a mapping": ({"class_names": {0: "a"}}, "is dict"),
    "a number": ({"class_names": 3}, "is int"),
    "none": ({"class_names": ("a", None)}, "class name None"),
    "half a letter": ({"class_names": ("a", "\ud800")}, "class name"),
    "equal ones": (
        {"class_names": ("a", "b", "a")},
        "Two classes of the dataset 'd' are",
    ),
    "equal texts": ({"class_names": (1, "1")}, "called '1'"),
    "load": ({"load": {}}, "load of the dataset 'd' is not a function, but dict"),
    "relative": ({"files": ("x.npz",)}, "the relative path 'x.npz'"),
    "one relative": ({"files": "x.npz"}, "the relative path 'x.npz'"),
    "nobody's home": ({"files": "~no-such-user/x"}, "the relative path"),
    "no path": ({"files": (3,)}, "holds 3, which is no path"),
    "empty path": ({"files": ("",)}, "holds '', which is no path"),
    "bytes path": ({"files": b"/x"}, "which is no path"),
    "no files": ({"files": 3}, "files of the dataset 'd' is int"),
}


@pytest.mark.parametrize("case", ODD)
def test_a_dataset_that_cannot_be_used_is_a_broken_plugin(
    home: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    given, words = ODD[case]
    usual = {"name": "d", "summary": "x"}
    (home / "plugins").mkdir(parents=True)
    monkeypatch.setenv("ZOO_PLUGINS", "odd")
    text = ", ".join(f"{name}={value!r}" for name, value in (usual | given).items())
    (home / "plugins" / "odd.py").write_text(
        "import zoo\ndef load(): pass\n@zoo.hookimpl\ndef register_datasets(register):\n"
        f"    register(zoo.Dataset({text}{'' if 'load' in given else ', load=load'}))\n"
    )
    (plugin,) = registry.catalogue().plugins
    assert words in plugin.error and f"{home}/plugins/odd.py:5" in plugin.error
    assert plugin.error.isprintable() and registry.catalogue().datasets == {}


def test_files_are_one_path_or_several_and_the_home_folder_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    for files in ("~/x", Path("~/x"), ["~/x"], ("/somebody/x",), (each for each in ["~/x"])):
        assert zoo.Dataset("d", "x", load, files=files).files == (Path("/somebody/x"),)  # type: ignore[arg-type]
    assert zoo.Dataset("d", "x", load, range(3)).class_names == ("0", "1", "2")  # type: ignore[arg-type]
    assert zoo.Dataset("d", "x", load, np.array(["a", "b"])).class_names == ("a", "b")  # type: ignore[arg-type]
