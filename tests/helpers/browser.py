"""A real browser for tests of pages: headless Chromium, driven by Selenium."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Selenium's own manager would look for newer ones in the network.
PROGRAMS = {"browser": ("chromium", "chromium-browser"), "driver": ("chromedriver",)}
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # it refuses to run as root with it, which a container's tests do
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-software-rasterizer",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)


@contextlib.contextmanager
def browser(width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Any]:
    """A Chromium whose page is `width` x `height` pixels; `dark`: the person prefers dark pages.

    Skips the test where there is no Chromium or no driver for it. `requests(driver)` and
    `console_errors(driver)` tell what the page has done so far.
    """
    programs = {name: _found(names) for name, names in PROGRAMS.items()}
    for name, path in programs.items():
        if path is None:
            pytest.skip(f"no {' or '.join(PROGRAMS[name])} on the PATH (Debian's package chromium)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(programs["browser"])
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(str(programs["driver"]))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        resize(driver, width, height)
        prefer(driver, dark)
        yield driver
    finally:
        driver.quit()


def resize(driver: Any, width: int, height: int) -> None:
    """Make the page so large, also smaller than a window can be: a phone is 360 pixels wide."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(driver: Any, dark: bool) -> None:
    """Tell the page that the person prefers dark or light, and nothing that moves by itself.

    A click on what still scrolls misses it.
    """
    wishes = {"color-scheme": "dark" if dark else "light", "reduced-motion": "reduce"}
    features = [{"name": f"prefers-{name}", "value": value} for name, value in wishes.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def console_errors(driver: Any) -> list[str]:
    """What the console has said since the last call that is an error; also what a CSP refused."""
    return [e["message"] for e in driver.get_log("browser") if e["level"] == "SEVERE"]


def requests(driver: Any) -> list[str]:
    """The URLs that pages have asked for since the last call, other than `data:` and `blob:`."""
    import json

    messages = (json.loads(e["message"])["message"] for e in driver.get_log("performance"))
    sent = (m["params"] for m in messages if m["method"] == "Network.requestWillBeSent")
    urls = [each["request"]["url"] for each in sent]
    return [url for url in urls if not url.startswith(("data:", "blob:"))]


def is_wider_than_screen(driver: Any) -> bool:
    """Whether the page scrolls sideways."""
    script = "const d = document.documentElement; return d.scrollWidth > d.clientWidth"
    return bool(driver.execute_script(script))


CONTRASTS = """
const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (e) => {
  const found = rgba(getComputedStyle(e).backgroundColor);
  return found[3] > 250 || !e.parentElement ? found : ground(e.parentElement);
};
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), low = [];
for (let node; (node = walk.nextNode()); ) {
  const e = node.parentElement;
  if (!node.data.trim() || !e.checkVisibility() || e.closest("option, canvas")) continue;
  const css = getComputedStyle(e);
  const ink = light(rgba(e instanceof SVGElement ? css.fill : css.color)), paper = light(ground(e));
  const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  if (ratio < 4.5) low.push(`${node.data.trim()}: ${ratio.toFixed(2)} ${e.tagName} ${e.className}`);
}
return low;
"""


def low_contrasts(driver: Any) -> list[str]:
    """The texts of the page whose contrast is below 4.5."""
    found: list[str] = driver.execute_script(CONTRASTS)
    return found


AXE = """
const done = arguments[0];
axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => done(
  violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html).join(" ")}`)));
"""


def axe_findings(driver: Any) -> list[str]:
    """What axe-core finds on the page; nothing where its package, a test dependency, is missing."""
    package = importlib.util.find_spec("axe_core_python")
    if package is None:
        return []
    driver.execute_script((Path(str(package.origin)).parent / "axe.min.js").read_text())
    driver.set_script_timeout(120)
    found: list[str] = driver.execute_async_script(AXE)
    return found


BROKEN_WORDS = r"""
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), broken = [];
for (let node; (node = walk.nextNode()); ) {
  const at = node.parentElement;
  if (!at.checkVisibility() || at.closest("option, pre, .unseen")) continue;
  for (const word of node.data.matchAll(/[^\s\u200b-]+/g)) {
    if (word[0].length > arguments[0]) continue;
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    const lines = new Set([...range.getClientRects()].map((each) => Math.round(each.top)));
    if (lines.size > 1) broken.push(`${word[0]} in ${node.data.trim()}`);
  }
}
return broken;
"""


def broken_words(driver: Any, most: int = 20) -> list[str]:
    """Return the words of at most `most` letters that are broken over two lines of the page."""
    found: list[str] = driver.execute_script(BROKEN_WORDS, most)
    return found


def whole_page(driver: Any, path: Path) -> None:
    """Keep a screenshot of the whole page, also what is below the window, as a PNG file."""
    import base64

    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))


def _found(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)
