"""Make docs/pictures/report-*.png: the page of `zoo report` in a real browser, of a real run.

A home of its own is filled with real jobs on MNIST and digits; Chromium and its driver must be on
the PATH. With the name of a report, pictures of that one are taken.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.browser import browser  # noqa: E402

ZOO = Path(sys.executable).with_name("zoo")
PICTURES = ROOT / "docs" / "pictures"
COLOURS = 96
JOBS = [
    "train logistic --dataset digits --tag baseline",
    "train logistic --dataset mnist --tag baseline",
    "train dense-softmax --dataset mnist --tag baseline",
    "train lenet-1 --dataset mnist -p epochs=4",
    "train dense-softmax --dataset digits -p epochs=30",
    "train dense-softmax --dataset digits -p epochs=30 -p learning_rate=0.01",
    "train lenet-1 --dataset digits -p epochs=12",
    "train knn --dataset digits",
    "train svm --dataset digits",
    "train logistic --dataset digits --cv 5",
    "sweep logistic -p alpha=0.00001,0.0001,0.001,0.01 --dataset digits",
]
DESK, PHONE = (1280, 900), (360, 780)
SHOTS = [
    ("desktop-light", DESK, False, "main"),
    ("desktop-dark", DESK, True, "curves"),
    ("phone-light", PHONE, False, "main"),
    ("phone-dark", PHONE, True, "mistakes"),
]


def main() -> None:
    """Run the jobs, make the page, take the pictures."""
    if len(sys.argv) > 1:
        take(Path(sys.argv[1]).resolve())
        return
    with tempfile.TemporaryDirectory(prefix="zoo-") as home:
        env = os.environ | {"ZOO_HOME": home}
        page = Path(home) / "report.html"
        try:
            for words in JOBS:
                zoo(words, env)
            zoo(f"report --all -o {page}", env)
        finally:
            zoo("down", env)
        take(page)


def zoo(words: str, env: dict[str, str]) -> None:
    command = [ZOO, *shlex.split(words)]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


def take(page: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    for name, size, dark, part in SHOTS:
        with browser(*size, dark=dark) as driver:
            driver.get(page.as_uri())
            show(driver, part)
            path = PICTURES / f"report-{name}.png"
            driver.save_screenshot(str(path))
        # A quarter of the bytes, and no difference that one would see.
        shrunk = Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        shrunk.save(path, optimize=True)


def show(driver: Any, part: str) -> None:
    """Bring a part of the page to the top, and use it as a reader would."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.select import Select

    if part == "main":
        return
    driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", part)
    if part == "curves":
        plot = driver.find_element("css selector", ".plot")
        ActionChains(driver).move_to_element_with_offset(plot, -220, 0).perform()
    if part == "mistakes":
        select = driver.find_element("css selector", "#mistakes select")
        best = next(each.text for each in Select(select).options if "lenet-1 epochs=4" in each.text)
        Select(select).select_by_visible_text(best)
        driver.execute_script("document.activeElement.blur()")


if __name__ == "__main__":
    main()
