"""Make docs/pictures/web-*.png: what a real browser shows of `zoo ui` (Chromium on the PATH).

A home of its own is filled with real jobs on MNIST (ZOO_DATA_DIR), or on digits without it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from helpers import browser  # noqa: E402

ZOO = Path(sys.executable).with_name("zoo")
DATASET = "mnist" if os.environ.get("ZOO_DATA_DIR") else "digits"
ENDED = [
    "logistic",
    "knn",
    "dense-softmax -p epochs=3",
    "lenet-5 -p epochs=2",
    "logistic --cv 5",
]
SWEEP = "logistic -p alpha=1e-6..1e-1:log -p max_iter=2..30 --sampler random --trials 20"
RUNNING = "dense-softmax -p epochs=200 --seeds 3 --tag long -d"
SEVEN = [(-50, -80), (55, -80), (15, 0), (-20, 90)]
"""Strokes, in pixels from the middle of the canvas."""
DESK, PHONE = (1280, 900), (360, 780)
MOST_BYTES = 150_000


def main() -> None:
    """Run the jobs, open the pages, keep the pictures."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as home:
        env = os.environ | {"ZOO_HOME": home, "ZOO_SLOTS": "2"}
        try:
            zoo(f"sweep {SWEEP} --dataset {DATASET} --validation 0.1", env)
            for words in ENDED:
                zoo(f"train {words} --dataset {DATASET}", env)
            zoo(f"train {RUNNING} --dataset {DATASET}", env)
            with page(env) as addresses:
                take(next(addresses), DESK, dark=False, suffix="")
                take(next(addresses), PHONE, dark=True, suffix="-phone")
        finally:
            zoo("cancel --tag long --yes", env)
            zoo("down", env)


def zoo(words: str, env: dict[str, str]) -> None:
    subprocess.run([ZOO, *words.split()], env=env, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def page(env: dict[str, str]) -> Iterator[Iterator[str]]:
    """A running `zoo ui`: its addresses, each of which opens it once."""
    process = subprocess.Popen(
        [ZOO, "ui", "--no-browser"], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield (line.strip() for line in process.stdout)
    finally:
        process.terminate()
        process.wait()


def take(address: str, size: tuple[int, int], dark: bool, suffix: str) -> None:
    """The pages in a window of that size."""
    with browser.browser(*size, dark=dark) as driver:
        base = address.partition("/?")[0]
        driver.get(address)
        until(lambda: shows(driver, ".jobs progress[value]"))
        keep(driver, f"web-jobs{suffix}")
        link = driver.find_element("css selector", "tr:has(progress[value]) .id a")
        driver.get(link.get_attribute("href"))
        until(lambda: shows(driver, ".curve zoo-chart .plot svg"))
        keep(driver, f"web-job{suffix}")
        driver.get(f"{base}/?status=succeeded")
        sweep = driver.find_element("xpath", "//a[@class='part'][text()='trial']")
        driver.get(sweep.get_attribute("href"))
        until(lambda: shows(driver, ".parallel .plot svg"))
        keep(driver, f"web-sweep{suffix}")
        driver.get(f"{base}/draw?dataset={DATASET}")
        until(lambda: not shows(driver, ".state .waiting, .state .loading"))
        draw(driver)
        until(lambda: all(each.text for each in found(driver, ".top")))
        keep(driver, f"web-draw{suffix}")
        driver.get(f"{base}/leaderboard")
        keep(driver, f"web-leaderboard{suffix}")
        driver.get(f"{base}/submit?model=dense-softmax")
        keep(driver, f"web-train{suffix}")


def draw(driver: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = driver.find_element("id", "canvas")
    hand = ActionChains(driver, duration=30).move_to_element_with_offset(canvas, *SEVEN[0])
    hand.click_and_hold()
    for spot in SEVEN[1:]:
        hand.move_to_element_with_offset(canvas, *spot)
    hand.release().perform()


def found(driver: Any, selector: str) -> list[Any]:
    return list(driver.find_elements("css selector", selector))


def shows(driver: Any, selector: str) -> bool:
    return bool(found(driver, selector))


def until(fact: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 180
    while not fact():
        if time.monotonic() > deadline:
            raise SystemExit("The page does not show what it should within three minutes.")
        time.sleep(0.1)


def keep(driver: Any, name: str) -> None:
    """The window as a PNG of few colours, small enough for a repository."""
    path = HERE / "pictures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    driver.save_screenshot(str(path))
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes.")


if __name__ == "__main__":
    main()
