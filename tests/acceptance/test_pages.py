"""README and docs/: each command that a page shows runs, and prints what the page shows, in shape.

One home with one worker serves all pages. `mnist` on a page is `digits` here: inputs of the same
shape, a fortieth of the rows.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import command_server, drawn_digits, page_blocks
from helpers.command_line import Zoo, share
from helpers.page_blocks import Step, shapes
from PIL import Image
from sklearn.datasets import load_breast_cancer

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for pattern in ("README.md", "docs/*.md", "plugins/*/README.md")
    for page in sorted(ROOT.glob(pattern))
    if not page.name.endswith(".ko.md")  # tests/unit/test_house.py: their commands are the same
]
NOT_RUN = {
    ("README.md", "zoo ui"): "serves until Ctrl-C",
    ("classics.md", "zoo reproduce"): "eighteen trainings on MNIST, 22 minutes",
    ("data.md", "10. A team"): "a team's servers and worker machines",
    ("export.md", "zoo export"): "TensorFlow in another process, 10 s: test_predict_and_export.py",
    ("metrics.md", "zoo metrics"): "serves until Ctrl-C",
    ("operating.md", "zoo files"): "pictures of a job: plugins/zoo-report/tests",
    ("plugins.md", ""): "test_plugin_page.py runs its commands",
    ("predict.md", "python -m benchmarks.pictures"): "three models on MNIST",
    ("sweeps.md", "zoo sweep dense-softmax"): "twelve networks, 10 s",
    ("training.md", "zoo stop"): "a training of minutes: tests/integration/test_stopping.py",
    ("training.md", "stopped on request"): "the end of that training",
    ("training.md", "resumed from"): "a training whose process is killed, 400 epochs",
    ("tutorial.md", "zoo sweep dense-softmax"): "twenty networks, 20 s",
    ("ui.md", "zoo ui"): "serves until Ctrl-C",
    ("zoo-keras", ""): "TensorBoard's files: plugins/zoo-keras/tests",
    ("zoo-mlflow", ""): "a tracking server: plugins/zoo-mlflow/tests",
    ("zoo-report", "ssh"): "another machine",
    ("zoo-report", "3f2a"): "an id that is nobody's",
}
"""Page, and a text in the command, its output or its chapter -> why it is not run."""
HEADINGS = {
    ("data.md", "to be downloaded"): "where MNIST is differs from machine to machine",
    ("data.md", "zoo data show patients"): "other patients",
    ("data.md", "zoo predict @best:patients"): "other patients",
    ("predict.md", "zoo predict @best:patients"): "other patients",
    ("tutorial.md", "zoo leaderboard"): "ranks on MNIST, and of the sweep that is left out",
}
"""Page and text -> why only the lines without a figure are compared."""
BEFORE = {
    ("data.md", "zoo data show patients"): ("zoo train hist-gradient-boosting --dataset patients",),
    ("data.md", "zoo data refresh"): ("head -n -10 iris.csv > few; mv few iris.csv",),
    ("operating.md", "zoo pack"): ("zoo train logistic --tag paper",),
    ("predict.md", "photo.jpg"): (
        "zoo train logistic",
        "zoo data add photos photos",
        "zoo train random-forest --dataset photos",
        "zoo data add patients patients.csv --drop patient --target outcome --weight weight",
        "zoo train hist-gradient-boosting --dataset patients",
    ),
    ("sweeps.md", "--reuse"): (
        "zoo sweep logistic -p alpha=1e-4,1e-3,1e-2 -p max_iter=2,5 --validation 0.2",
    ),
    ("zoo-report", "zoo report"): ("zoo train logistic",),
    ("tour.md", "zoo leaderboard"): ("zoo train nearest-mean",),
    ("training.md", "zoo leaderboard"): (
        "zoo data add rare rare.csv --target diagnosis",
        *(
            f"zoo train {words} --dataset rare --positive malignant"
            for words in ("random-forest", "hist-gradient-boosting")
        ),
        "zoo train logistic --preprocess standardize --dataset rare --positive malignant",
    ),
}
"""Page and text in a command -> commands whose jobs are there before it."""


@pytest.fixture(scope="module")
def warm_zoo(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    """A home with a worker, whose commands are started in a folder with the files of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "bin").mkdir()
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    found = Zoo(share(cache, folder / "home"), ZOO_SLOTS="1")
    found.env["PATH"] = f"{folder / 'bin'}:{found.env['PATH']}"
    with command_server.program(folder / "bin" / "zoo"):
        write_files(folder)
        found.run("up")
        yield found
        found.close()


def left_out(table: dict[tuple[str, str], str], step: Step) -> bool:
    texts = (step.command, step.chapter, *(step.output or ()))
    return any(step.page == page and any(text in t for t in texts) for page, text in table)


TO_RUN = {
    page: [each for each in page_blocks.steps(page) if not left_out(NOT_RUN, each)]
    for page in PAGES
}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if TO_RUN[page]], ids=page_blocks.name)
def test_each_command_of_a_page_prints_what_the_page_shows(page: Path, warm_zoo: Zoo) -> None:
    folder = warm_zoo.home.parent
    run(warm_zoo, "zoo rm --model '*' --yes; zoo data rm iris --yes")
    (folder / "iris.csv").write_bytes((folder / "all.csv").read_bytes())
    for name, text in page_blocks.files(TO_RUN[page]):
        (folder / name).write_text(text)
    wrong, before = [], dict(BEFORE)
    ids: dict[str, str] = {}
    for step in TO_RUN[page]:
        command = page_blocks.replaced(adapted(step.command, folder), ids)
        for key in [each for each in before if each[0] == step.page and each[1] in command]:
            for each in before.pop(key):
                said, code = run(warm_zoo, adapted(each, folder))
                assert code == 0, said
        printed, code = run(warm_zoo, command)
        shown = [adapted(line) for line in step.output or ()]
        if step.output is None:
            missing = [f"exit code {code}"] if code else []
        elif left_out(HEADINGS, step):
            missing = [each for each in page_blocks.headings(shown) if each not in shapes(printed)]
        else:
            missing = page_blocks.differences(shown, printed)
        ids |= page_blocks.matched_ids(shown, printed)
        if missing:
            place = f"{step.page}:{step.line}: {command}"
            wrong.append("\n".join([place, *missing, "printed:", *printed]))
    assert not wrong, "\n\n".join(wrong)


def test_each_reason_to_leave_a_command_out_is_about_one() -> None:
    found = [each for page in PAGES for each in page_blocks.steps(page)]
    for table in (NOT_RUN, HEADINGS):
        for key, reason in table.items():
            assert any(left_out({key: reason}, each) for each in found), key


def adapted(text: str, folder: Path | None = None) -> str:
    """Return a line on digits, and by `logistic`; of a command also with places in the folder."""
    text = re.sub(r"\bmnist\b(?!-)", "digits", text)
    text = text.replace("digits/lenet-5", "digits/logistic").replace("lenet-5 on", "logistic on")
    if folder:
        text = re.sub(r"(?<=[ =])/(?=[a-z])", f"{folder}/", text).replace("ls ", "ls -C ")
        if re.match(r"zoo (train|sweep) ", text) and "--dataset" not in text:
            text += " --dataset digits"
        if text == "zoo data prepare":
            text += " digits"
    return text


def run(zoo: Zoo, command: str) -> tuple[list[str], int]:
    """Return what a shell shows of the command, with the folder of a user, and its exit code."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=zoo.home.parent,
        env=zoo.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    text = done.stdout.replace(str(zoo.home), "/home/you/.zoo")
    lines = text.replace(str(zoo.home.parent), "/home/you").splitlines()
    return [each for each in lines if not page_blocks.PROGRESS.match(each)], done.returncode


def write_files(folder: Path) -> None:
    """Write the files that the pages name; the lines of Python on the pages make some of them."""
    with contextlib.chdir(folder):
        for page, line in (("tutorial", "to_csv"), ("data", "savez_compressed")):
            exec(python(page, line), {})
    (folder / "iris.csv").rename(folder / "all.csv")
    random = np.random.default_rng(0)
    patients = []
    for n in range(200):
        age, pressure = random.integers(20, 90), random.normal(115, 12)
        is_ill = (age > 55) != (pressure > 115)  # a tree finds that, a line does not
        words = (random.choice(["no", "yes"]), random.choice(["east", "north", "west"]))
        shown = (
            "" if n % 12 == 5 else f"{pressure:.1f}",
            words[0],
            "" if n % 50 == 49 else words[1],
        )
        patients.append(
            f"{n},{age},{','.join(shown)},{random.random():.2f},{('healthy', 'ill')[int(is_ill)]}"
        )
    for name, rows in (("patients", patients), ("later", patients[:30])):
        lines = ["patient,age,pressure,smoker,ward,weight,outcome", *rows]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    for kind, shade in (("china", 90), ("flower", 160)):
        (folder / "photos" / kind).mkdir(parents=True)
        for n in range(20):
            pixels = random.normal(shade, 30, size=(32, 32, 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / "photos" / kind / f"{n:03}.png")
    drawn_digits.drawn(7).save(folder / "photo.jpg")
    (folder / "notes.txt").write_text("No picture.\n")
    (folder / "trials.csv").write_text("alpha,max_iter\n0.1,5\n0.01,5\n0.001,5\n0.001,x\n")
    rare = load_breast_cancer(as_frame=True)
    rows = rare.data.assign(diagnosis=rare.target_names[rare.target])
    rows.groupby("diagnosis").head(60).to_csv(folder / "rare.csv", index=False)
    (folder / "home" / "plugins").mkdir()
    (folder / "home" / "plugins" / "nearest_mean.py").write_text(python("tour", "NearestMean"))


def python(page: str, word: str) -> str:
    """Return the block of Python on a page with this word."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)
    return next(each for each in blocks if word in each)
