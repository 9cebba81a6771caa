"""`zoo ui` in a real browser, with a real worker: submit, watch, cancel, draw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import browser
from helpers import page_client as web
from helpers.command_line import Zoo, share, until

# One process of the suite: they share a browser, a server and a worker.
pytestmark = pytest.mark.xdist_group("test_web_page")
PLUGINS = Path(__file__).parents[3] / "tests" / "plugins"
EVIL = "<img src=x onerror=document.title='evil'>"
ZERO = [(0, -90), (-40, -60), (-55, 0), (-40, 60), (0, 90), (40, 60), (55, 0), (40, -60), (0, -90)]
"""A ring, in pixels from the middle of the canvas."""
OPINION = """
const [at, seen] = [document.querySelector(arguments[0]), document.getElementById("seen")];
const part = (bar) => Number(getComputedStyle(bar).getPropertyValue("--part"));
return {
  top: at.querySelector(".top b")?.textContent,
  sure: at.querySelector(".top small")?.textContent,
  bars: [...at.querySelectorAll("i")].map(part),
  ink: [...seen.getContext("2d").getImageData(0, 0, 28, 28).data],
};
"""
"""What is told of a drawing at one moment: while a hand draws, it changes."""


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser.browser() as found:
        yield found


@pytest.fixture(scope="module")
def zoo(driver: Any, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    """After the browser: where there is none, no worker is started."""
    home = share(cache, tmp_path_factory.mktemp("page") / "home")
    # A person sees soon what happens; a second slot would import scikit-learn once more.
    quick = {"ZOO_BEAT_SECONDS": "0.3", "ZOO_LEASE_SECONDS": "60", "ZOO_SLOTS": "1"}
    found = Zoo(home, ZOO_PLUGINS_DIR=str(PLUGINS), ZOO_PLUGINS="teller,sklearn", **quick)
    found.run("up")
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(zoo: Zoo, driver: Any) -> Iterator[web.Page]:
    found = web.page(zoo)
    driver.get(found.address)
    yield found
    found.close()


def one(driver: Any, selector: str) -> Any:
    """The element, once it is there."""
    return until(lambda: next(iter(driver.find_elements("css selector", selector)), None))


def text(driver: Any, selector: str) -> str:
    """What stands there now; nothing where it is not."""
    script = "return document.querySelector(arguments[0])?.textContent ?? ''"
    return str(driver.execute_script(script, selector))


def count(driver: Any, selector: str) -> int:
    return len(driver.find_elements("css selector", selector))


def points(driver: Any) -> int:
    """The number of points of the first curve."""
    chart = driver.find_elements("css selector", ".curve zoo-chart[data-chart]")
    data = json.loads(chart[0].get_attribute("data-chart")) if chart else {"series": [{"y": []}]}
    return len(data["series"][0]["y"])


def fill(driver: Any, **values: str) -> None:
    for name, value in values.items():
        field = one(driver, f'.sheet [name="{name.replace("__", ".")}"]')
        if field.tag_name == "select":
            driver.execute_script("arguments[0].value = arguments[1]", field, value)
        else:
            field.clear()
            field.send_keys(value)


def press(driver: Any, selector: str) -> None:
    one(driver, selector).click()


def go(driver: Any, page: web.Page, path: str) -> None:
    driver.get(f"http://{page.host}{path}")


def test_a_training_is_submitted_watched_and_seen_to_end(
    page: web.Page, driver: Any, tmp_path: Path
) -> None:
    assert page.token not in driver.current_url
    gate = tmp_path / "gate"
    go(driver, page, "/submit?model=teller")
    press(driver, ".more summary")
    fill(driver, dataset="digits", param__steps="0", param__until=str(gate), tags="from-the-page")
    press(driver, ".sheet button.main")
    until(lambda: "The param steps=0 is refused" in text(driver, ".wrong"))
    # One goes on at the field, and Enter sends the form.
    assert driver.switch_to.active_element.get_attribute("name") == "param.steps"
    fill(driver, param__word=EVIL, param__steps="4\n")
    until(lambda: "step 2/4" in text(driver, ".jobhead .way"))
    bar = one(driver, ".jobhead progress")
    assert float(bar.get_attribute("value")) == pytest.approx(0.5)
    until(lambda: text(driver, "#log") == f"1 {EVIL}\n2 {EVIL}\n")
    until(lambda: points(driver) == 2)
    gate.touch()
    until(lambda: text(driver, ".status") == "succeeded" and "accuracy" in text(driver, ".line"))
    until(lambda: points(driver) == 4)
    until(lambda: text(driver, "#log").count("\n") == 4)
    assert text(driver, ".tag") == "from-the-page"
    until(lambda: count(driver, ".confusion tbody tr") == 10)
    assert driver.title.startswith("teller") and not count(driver, "#main img")


def test_a_running_job_is_cancelled_where_it_stands(
    page: web.Page, zoo: Zoo, driver: Any, tmp_path: Path
) -> None:
    go(driver, page, "/")
    one(driver, ".is-live")
    asked = ["teller", "--dataset", "digits", "-p", f"until={tmp_path / 'never'}", "-d"]
    job = zoo.run("train", *asked).stdout.strip()
    row = f'[data-key="job-{job}"]'
    until(lambda: "step 2/3" in text(driver, f"{row} .result"))
    driver.execute_script("document.querySelector(arguments[0]).mark = 'kept'", row)
    press(driver, f"{row} button")
    until(lambda: text(driver, f"{row} .status") == "cancelled")
    # The same element all the while: nothing that a person points at is replaced.
    assert driver.execute_script("return document.querySelector(arguments[0]).mark", row) == "kept"
    assert not count(driver, f"{row} button")
    until(lambda: "1 cancelled" in text(driver, ".counts"))


def test_a_drawn_digit_is_told_by_the_trained_models(page: web.Page, zoo: Zoo, driver: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    zoo.run("train", "knn", "--dataset", "digits")
    go(driver, page, "/draw")
    knn = ".opinions li:first-child"
    one(driver, f"{knn} .state .ready")
    canvas = one(driver, "#canvas")
    hand = ActionChains(driver, duration=10).move_to_element_with_offset(canvas, *ZERO[0])
    hand.click_and_hold()
    for spot in ZERO[1:]:
        hand.move_to_element_with_offset(canvas, *spot)
    hand.release().perform()
    assert text(driver, f"{knn} .who a") == "knn", "the most accurate stands first"

    def opinion() -> dict[str, Any]:
        found: dict[str, Any] = driver.execute_script(OPINION, knn)
        return found if found["top"] == "0" else {}

    found = until(opinion)
    assert len(found["bars"]) == 10 and found["sure"].endswith(" %")
    assert sum(found["bars"]) == pytest.approx(1) and max(found["bars"]) == found["bars"][0]
    seen = found["ink"][::4]
    rows = [n // 28 for n, value in enumerate(seen) if value > 30]
    assert max(rows) - min(rows) + 1 in (19, 20, 21), "as MNIST's: the longest side has 20 pixels"
    press(driver, "#clear")
    assert text(driver, f"{knn} .top") == ""


def test_the_five_minutes_of_the_readme_are_seen_on_the_page(
    page: web.Page, zoo: Zoo, driver: Any, tmp_path: Path
) -> None:
    def leaderboard() -> dict[str, str]:
        go(driver, page, "/leaderboard")
        rows = driver.find_elements("css selector", ".ranks tbody tr")
        return {row.find_element("css selector", ".model a").text: row.text for row in rows}

    # Until one of its jobs has succeeded a group has no numbers; then they come by themselves.
    gate = tmp_path / "gate"
    asked = ["teller", "--dataset", "digits", "-p", f"until={gate}", "--seeds", "2", "-d"]
    seeds = zoo.run("train", *asked).stdout.strip()
    go(driver, page, f"/?group={seeds}")
    until(lambda: f"Seeds {seeds[:8]} of 2 jobs, running" in text(driver, ".group"))
    gate.touch()
    until(lambda: "accuracy 0.1" in text(driver, ".group") and "(n = 2)" in text(driver, ".group"))
    zoo.run("train", "logistic", "--dataset", "digits")
    zoo.run("train", "logistic", "--dataset", "digits", "--cv", "5")
    press(driver, 'a[href="/leaderboard"]')
    one(driver, ".ranks")
    shown = leaderboard()
    told = zoo.run("leaderboard", "--dataset", "digits").stdout
    assert "(n = 5)" in shown["logistic"] and "(n = 5)" in told
    for link in (".ranks tbody tr:first-child .model a", ".ranks tbody tr:last-child .model a"):
        go(driver, page, "/leaderboard")
        press(driver, link)
        one(driver, "main h1")
        assert text(driver, "main h1") != "Error"
    # None of its jobs ever succeeds.
    stuck = zoo.run(
        "train", *asked[:4], f"until={tmp_path}/never", "--cv", "2", "-d"
    ).stdout.strip()
    go(driver, page, f"/?group={stuck}")
    until(lambda: "of 2 jobs, running" in text(driver, ".group"))
    zoo.run("cancel", stuck, "--yes")
    until(lambda: "of 2 jobs, cancelled" in text(driver, ".group"))


FOCUS = """
const at = document.activeElement, box = at.getBoundingClientRect();
const { outlineStyle, outlineWidth } = getComputedStyle(at);
const middle = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
return {
  at: at.name || at.className || at.textContent.trim() || at.tagName,
  isSeen: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
  isCovered: !at.contains(middle) && !middle?.contains(at),
};
"""
"""What has the focus: how that is shown, and whether something lies on it."""


BELOW_THE_FOLD = """
return [...document.querySelectorAll(".sheet button.main")]
  .map((each) => each.getBoundingClientRect().bottom).filter((bottom) => bottom > innerHeight);
"""
"""The buttons of forms that are not in sight at once."""


def test_axe_has_no_finding_and_no_page_scrolls_sideways(
    page: web.Page, zoo: Zoo, driver: Any
) -> None:
    values = ["-p", "max_iter=1,2", "-p", "alpha=0.001,0.01"]
    sweep = zoo.run("sweep", "logistic", "--dataset", "digits", *values, "-d").stdout.strip()
    zoo.run("wait", sweep)
    trials = [job["id"] for job in json.loads(zoo.run("show", sweep, "--json").stdout)["jobs"]]
    paths = [
        *("/", "/leaderboard", "/submit?model=logistic", f"/submit?from={sweep}", "/draw"),
        "/submit?several=sweep&sampler=file&pruner=asha",
        *(f"/jobs/{trials[0]}", f"/groups/{sweep}", f"/draw?job={trials[0]}&input=file"),
        *(f"/jobs/{trials[0]}/evaluate", f"/jobs/{trials[0]}/export"),
        *(f"/compare?ref={trials[0]}&ref={trials[1]}", "/?status=x", "/sign-in"),
    ]
    for n, path in enumerate(paths):
        browser.resize(driver, *((390, 844) if n % 2 else (1280, 900)))
        browser.prefer(driver, dark=n % 4 > 1)
        go(driver, page, path)
        one(driver, "main h1")
        assert not browser.is_wider_than_screen(driver), path
        assert browser.low_contrasts(driver) == [], path
        assert browser.axe_findings(driver) == [], path
        assert driver.execute_script(BELOW_THE_FOLD) == [], path
    browser.resize(driver, 1280, 900)


def test_the_form_is_filled_by_keyboard_alone(page: web.Page, zoo: Zoo, driver: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def keys(*texts: str) -> dict[str, Any]:
        ActionChains(driver, duration=0).send_keys(*texts).perform()
        found: dict[str, Any] = driver.execute_script(FOCUS)
        return found

    go(driver, page, "/submit?model=logistic&dataset=digits")
    assert keys(Keys.TAB)["at"] == "skip"
    keys(Keys.ENTER)
    order = []
    for _ in range(40):
        found = keys(Keys.TAB)
        order.append(found["at"])
        assert found["isSeen"] and not found["isCovered"], found
        if found["at"] == "main":
            break
    assert order[:3] == ["model", "dataset", "several"]
    assert order.index("param.alpha") < order.index("param.max_iter") < order.index("main")
    press(driver, "#f-several")
    keys(Keys.ESCAPE)
    fill(driver, param__max_iter="1,2")
    driver.find_element("id", "f-several").send_keys("sweep")
    until(lambda: count(driver, "#f-sampler"))
    # What was typed is kept, and so is the focus.
    assert driver.switch_to.active_element.get_attribute("name") == "several"
    field = driver.find_element("id", "f-param.max_iter")
    assert field.get_attribute("value") == "1,2"
    field.send_keys(Keys.ENTER)
    until(lambda: "Sweep of logistic" in text(driver, "main h1"))
    until(lambda: count(driver, ".trials .pick input") == 2)
    until(lambda: count(driver, "body[data-ended]"))
    for box in driver.find_elements("css selector", ".trials .pick input"):
        box.send_keys(" ")
    press(driver, ".selection button")
    until(lambda: "Compare 2 results" in text(driver, "main h1"))
    assert count(driver, ".compared") == 2
    until(lambda: "McNemar" in text(driver, ".pair"))


def test_open_tabs_go_on_after_the_server_was_started_again(
    page: web.Page, zoo: Zoo, driver: Any, tmp_path: Path
) -> None:
    asked = ["teller", "--dataset", "digits", "-p", f"until={tmp_path / 'never'}", "-d"]
    job = zoo.run("train", *asked).stdout.strip()
    go(driver, page, "/")
    one(driver, ".is-live")
    live = driver.current_window_handle
    driver.switch_to.new_window("tab")
    go(driver, page, "/submit?model=logistic&dataset=digits")
    fill(driver, param__max_iter="7")
    assert page.close() == 130
    driver.switch_to.window(live)
    until(lambda: "does not answer" in text(driver, "#trouble:not([hidden])"))
    process, host = zoo.start("ui", "--no-browser"), page.host
    assert process.stdout is not None
    page.process, page.address = process, process.stdout.readline().strip()
    assert page.host == host, "the port of the last time"
    until(lambda: "asks for its new token" in text(driver, "#trouble:not([hidden])"))
    assert count(driver, "#trouble a") == 1
    driver.switch_to.window(driver.window_handles[1])
    press(driver, ".sheet button.main")
    until(lambda: "asks for its token" in text(driver, "main h1"))
    driver.switch_to.active_element.send_keys(f"{page.address}\n")
    until(lambda: "Train" in text(driver, "main h1"))
    assert driver.find_element("id", "f-param.max_iter").get_attribute("value") == "7"
    driver.close()
    driver.switch_to.window(live)
    until(lambda: count(driver, ".is-live") and not count(driver, "#trouble:not([hidden])"))
    # Its forms have the token of the new session.
    press(driver, f'[data-key="job-{job}"] button')
    until(lambda: text(driver, f'[data-key="job-{job}"] .status') == "cancelled")


def test_nothing_came_from_elsewhere_and_no_script_has_failed(page: web.Page, driver: Any) -> None:
    asked = browser.requests(driver)
    assert asked and all(url.startswith(f"http://{page.host}/") for url in asked)
    # What was refused stands in the console as the answer that it was; so does the server's end.
    known = ("400 (Bad Request)", "403 (Forbidden)", "404 (Not Found)", "ERR_", "net::")
    errors = [e for e in browser.console_errors(driver) if not any(each in e for each in known)]
    assert errors == []
