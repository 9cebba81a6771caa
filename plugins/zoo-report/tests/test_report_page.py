"""The page of `zoo report` in a real browser: it draws, sorts, filters, and lets nothing in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import (
    axe_findings,
    browser,
    console_errors,
    is_wider_than_screen,
    low_contrasts,
    prefer,
    requests,
    resize,
)
from helpers.command_line import until
from helpers.finished_jobs import a_spec, claim, folds
from helpers.report_jobs import HOSTILE, dataset, gathered, hostile, seen, trained
from helpers.swept_jobs import pruned_sweep
from zoo_report import page

from zoo import jobs
from zoo.jobs import Database, Outcome, ProgressUpdate
from zoo.sweeps.importance import Importance

# One browser serves them all.
pytestmark = pytest.mark.xdist_group("report_page")
PHONE = (360, 780)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A report of jobs of every kind."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(folder / "home"))
        html = page.render(gathered(jobs.connect(), *made(jobs.connect())))
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8", errors="replace")
    yield path


def made(db: Database) -> list[str]:
    found = []
    for number, (accuracy, predicted) in enumerate([(0.75, [1, 0, 1, 1]), (0.5, [1, 1, 1, 1])]):
        spec = a_spec(dataset=dataset(), seed=number, params={"a": number}, changed=["a"])
        matrix = [[2 - number, number + 1], [0, 2]]
        told = {"confusion_matrix": matrix, "n_images": 4, "loss": 1.5 - number}
        found.append(
            trained(db, predicted, spec, accuracies=[accuracy], metrics=told, environment=seen())
        )
    waiting, _ = jobs.add(db, [a_spec(seed=9)])
    held = jobs.claim(
        db, pool="default", models={"m": "p"}, datasets=["digits"], worker="w", lease=60
    )
    assert held
    steps = [
        (n, {"accuracy": n / 40, "loss": 2 / n, "train_loss": 2 / n, "val_loss": 3 / n})
        for n in range(1, 31)
    ]
    jobs.beat(db, held[0], lease=60, update=ProgressUpdate(steps=steps, progress={"step": 30}))
    many = [f"ankle boot {n}" for n in range(20)]
    told = {"classes": many, "confusion_matrix": [[n + k for k in range(20)] for n in range(20)]}
    cv = trained(db, [0, 0, 1, 1], *folds(2), kind="cv", accuracies=[0.99, 0.97], metrics=told)
    return [*found, *waiting, cv, *hostile(db)]


@pytest.fixture(scope="module")
def opened(file: Path) -> Iterator[Any]:
    with browser() as driver:
        driver.get(file.as_uri())
        yield driver


@pytest.fixture
def shown(opened: Any, file: Path) -> Any:
    """The page as it is when it was just opened, on a desk."""
    resize(opened, 1280, 900)
    prefer(opened, dark=False)
    opened.get(file.as_uri())
    return opened


def find(driver: Any, css: str) -> Any:
    return driver.find_element("css selector", css)


def texts(driver: Any, css: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())"
    return list(driver.execute_script(script, css))


def press(driver: Any, css: str, *keys: str) -> None:
    """Focus an element and press keys on it."""
    driver.execute_script("arguments[0].focus()", find(driver, css))
    driver.switch_to.active_element.send_keys(*keys)


def choose(driver: Any, css: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(find(driver, css)).select_by_visible_text(text)


def test_it_draws_all_parts_without_an_error_or_a_request(shown: Any, file: Path) -> None:
    assert console_errors(shown) == []
    assert set(requests(shown)) == {file.as_uri()}
    assert len(texts(shown, "#t-jobs tbody tr")) == 8
    assert len(texts(shown, "#curves .line")) == 1
    assert len(texts(shown, "#matrices table.matrix")) == 2
    assert len(texts(shown, "#mistakes .gallery img")) > 0


SHOWN = "#t-jobs tbody tr:not([hidden])"
ACCURACIES = "#t-jobs tbody td[data-label='accuracy']"


def test_a_press_on_a_column_sorts_it_by_mouse_and_by_keyboard(shown: Any) -> None:
    head = "#t-jobs th:nth-child(4)"
    find(shown, f"{head} button").click()
    assert find(shown, head).get_attribute("aria-sort") == "descending"
    falling = ["0.9900", "0.9700", "0.9000", "0.7500", "0.5000", "–", "–", "–"]
    assert texts(shown, ACCURACIES) == falling
    press(shown, f"{head} button", " ")
    assert find(shown, head).get_attribute("aria-sort") == "ascending"
    assert texts(shown, ACCURACIES) == [*falling[4::-1], "–", "–", "–"]
    find(shown, "#t-jobs th:nth-child(3) button").click()
    statuses = texts(shown, "#t-jobs tbody td[data-label='status']")
    assert statuses == sorted(statuses) and len(set(statuses)) > 2
    assert len(shown.find_elements("css selector", "#t-jobs [aria-sort]")) == 1


def test_the_filter_shows_the_rows_that_hold_every_word(shown: Any) -> None:
    box = find(shown, "[data-filters='t-jobs']")
    box.send_keys("FOLD  m")
    assert find(shown, "[data-counts='t-jobs']").text == "2 of 8 rows"
    folds_shown = texts(shown, f"{SHOWN} [data-label='judged on']")
    assert sorted(folds_shown) == ["fold 1 of 2", "fold 2 of 2"]
    box.clear()
    choose(shown, "[data-status='t-jobs']", "queued")
    assert set(texts(shown, f"{SHOWN} [data-label='status']")) == {"queued"}


def test_a_curve_tells_its_values_by_mouse_and_by_keyboard(shown: Any) -> None:
    from selenium.webdriver import ActionChains

    plot = find(shown, ".plot")
    ActionChains(shown).move_to_element(plot).perform()
    until(lambda: find(shown, ".tip").is_displayed())
    assert find(shown, ".tip strong").text in ("step 15", "step 16")
    press(shown, ".plot", "\ue011")  # Home
    assert find(shown, ".tip strong").text == "step 1"
    press(shown, ".plot", "\ue014", "\ue014")  # right, twice
    assert find(shown, ".plot").get_attribute("aria-valuetext").startswith("accuracy, step 3: ")
    assert find(shown, ".tip b").text == "0.0750"
    press(shown, ".plot", "\ue00c")  # Escape
    assert not find(shown, ".tip").is_displayed()


def test_metrics_of_one_kind_share_a_chart_and_those_of_validation_rows_are_dashed(
    shown: Any,
) -> None:
    assert texts(shown, "#metric option")[:2] == ["accuracy", "loss"]
    choose(shown, "#metric", "loss")
    assert len(texts(shown, "#curves .line")) == 3
    assert len(texts(shown, "#curves .line.dashed")) == 1
    press(shown, ".plot", "\ue010")  # End
    assert texts(shown, ".tip b") == ["0.1000", "0.0667", "0.0667"]
    assert texts(shown, ".tip .muted") == ["val_loss", "loss", "train_loss"]


def test_curves_can_be_taken_away_logarithmic_and_read_as_a_table(shown: Any) -> None:
    before = find(shown, "#curves .line").get_attribute("d")
    find(shown, "#log").click()
    assert find(shown, "#curves .line").get_attribute("d") != before
    find(shown, "#curves summary").click()
    until(lambda: len(texts(shown, "#curves .values tbody tr")) == 30)
    find(shown, ".legend input").click()
    assert texts(shown, "#curves .line") == []


def test_two_matrices_are_chosen_and_walked_by_arrow_keys(shown: Any) -> None:
    matrix, says = "#matrices .side:nth-child(1) table", "#matrices .side:nth-child(1) .says"
    before = texts(shown, f"{matrix} td")
    picker = "#matrices .side:nth-child(1) select"
    option = next(each for each in texts(shown, f"{picker} option") if each.startswith("0.5000"))
    choose(shown, picker, option)
    assert texts(shown, f"{matrix} td") == ["1", "2", "33", "·", "2", "100"] != before
    press(shown, f"{matrix} [tabindex='0']", "\ue014")
    assert find(shown, says).text == "2 of 3 images of 0 taken for 1 (66.7 %)"
    press(shown, f"{matrix} [tabindex='0']", "\ue015")
    assert find(shown, says).text == "2 of 2 images of 1 recognised (100.0 %)"


def test_mistakes_are_shown_with_words_for_those_who_do_not_see_them(shown: Any) -> None:
    option = next(each for each in texts(shown, "#mistakes option") if "0.5000" in each)
    choose(shown, "#mistakes select", option)
    script = """return [...document.querySelectorAll('.gallery img')].map(
        (i) => [i.alt, i.naturalWidth, i.complete])"""
    until(lambda: all(each[2] for each in shown.execute_script(script)))
    assert [each[:2] for each in shown.execute_script(script)] == [
        ["image 0: 0 taken for 1", 28],
        ["image 1: 0 taken for 1", 28],
    ]


def test_hostile_words_are_shown_as_words(shown: Any) -> None:
    from selenium.webdriver.support.select import Select

    for select in ("#matrices select", "#mistakes select"):
        options = texts(shown, f"{select} option")[: len(Select(find(shown, select)).options)]
        place = next(n for n, text in enumerate(options) if "onerror=" in text)
        Select(find(shown, select)).select_by_index(place)
    assert any(HOSTILE in text for text in texts(shown, ".matrix th"))
    assert any(HOSTILE in text for text in texts(shown, ".gallery bdi"))
    assert any("onerror=" in text for text in texts(shown, "details.job .command code"))
    assert shown.execute_script("return window.hacked") is None
    assert shown.find_elements("css selector", "[onerror]") == []


def test_the_theme_follows_the_system_until_a_button_says_otherwise(shown: Any) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = shown.execute_script(ground)
    prefer(shown, dark=True)
    dark = until(lambda: (found := shown.execute_script(ground)) != light and found)
    find(shown, "#theme").click()
    assert shown.execute_script(ground) == light
    find(shown, "#theme").click()
    prefer(shown, dark=False)
    assert shown.execute_script(ground) == dark
    find(shown, "#theme").click()


def test_a_link_to_a_job_opens_it(shown: Any) -> None:
    link = find(shown, "#t-jobs td[data-label='job'] a")
    target = link.get_attribute("href").rpartition("#")[2]
    link.click()
    until(lambda: find(shown, f"[id='{target}']").get_attribute("open"))


def test_a_failed_job_begins_with_its_error_and_has_no_empty_parts(
    opened: Any, home: Path, tmp_path: Path
) -> None:
    db = jobs.connect()
    (failed,), _ = jobs.add(db, [a_spec()])
    outcome = Outcome("failed", error_code="exception", error="It fell over.")
    assert jobs.finish(db, claim(db), outcome, ProgressUpdate())
    path = tmp_path / "failed.html"
    path.write_text(page.render(gathered(db, failed)), encoding="utf-8")
    opened.get(path.as_uri())
    assert texts(opened, ".hero .wrong") == ["exception It fell over."]
    assert len(texts(opened, ".wrong")) == 1 and console_errors(opened) == []
    assert texts(opened, "main h2") == ["Jobs", "Commands"]


ALL_SHADES = """
for (const kind of ["right", "wrong"]) for (const level of [1, 2, 3, 4, 5]) {
  const cell = document.querySelector("table.matrix").rows[1].insertCell();
  cell.className = kind + level;
  cell.textContent = kind + level;
}
document.querySelectorAll('details').forEach((d) => (d.open = true));
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_a_contrast_of_4_5_and_a_phone_need_not_scroll_sideways(
    shown: Any, dark: bool
) -> None:
    prefer(shown, dark)
    resize(shown, *PHONE)
    shown.execute_script(ALL_SHADES)
    assert low_contrasts(shown) == []
    assert dark or axe_findings(shown) == []
    assert not is_wider_than_screen(shown)
    assert console_errors(shown) == []


def test_a_sweep_is_drawn_against_each_param_and_links_to_its_jobs(
    opened: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Importance("val_accuracy", 1, {"rate": 0.75, HOSTILE: 0.25})
    monkeypatch.setattr("zoo_report.contents.param_importance", lambda *_: known)
    db = jobs.connect()
    group = jobs.get_group(db, pruned_sweep(db, HOSTILE, ["x", HOSTILE, "y" * 40]))
    path = tmp_path / "sweep.html"
    path.write_text(page.render(gathered(db, group.id)), encoding="utf-8")
    resize(opened, 1280, 900)
    opened.get(path.as_uri())
    assert console_errors(opened) == [] and not opened.execute_script("return window.hacked")
    assert texts(opened, ".slice figcaption") == [
        "rate (logarithmic)",
        HOSTILE,
        "Importance of the params for val_accuracy at epoch 1",
        "All params together: a line is a trial, the stronger its colour the better",
    ]
    n_pruned = sum(job.status == "pruned" for job in group.jobs)
    assert len(texts(opened, "circle.partial")) == 2 * n_pruned
    best = group.best()
    assert best is not None
    target = f"{path.as_uri()}#job-{best.jobs[0].id}"
    find(opened, "circle.best").click()
    assert opened.current_url == target
    # By keyboard: dots from left to right, trials from the best one on.
    opened.get(path.as_uri())
    press(opened, "zoo-dots", "\ue011")  # Home
    assert find(opened, "zoo-dots").get_attribute("aria-valuetext").startswith("val_accuracy 0.58")
    assert find(opened, "zoo-dots .tip").is_displayed()
    assert len(texts(opened, ".parallel .trial")) == 8
    press(opened, ".parallel .plot", "\ue011")
    said = find(opened, ".parallel .plot").get_attribute("aria-valuetext")
    assert said.startswith("val_accuracy 0.5800: rate=") and len(texts(opened, ".trial.at")) == 1
    press(opened, ".parallel .plot", "\ue007")  # Enter
    assert opened.current_url == target
    assert texts(opened, ".slices .note") == ["1 trial without a value: 1 failed."]
    for dark in (False, True):
        prefer(opened, dark)
        assert low_contrasts(opened) == []
    resize(opened, *PHONE)
    assert axe_findings(opened) == []
    assert not is_wider_than_screen(opened)
