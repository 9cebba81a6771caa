"""Every page of `zoo ui` and `zoo report` for every shape of row: generated, not listed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from helpers import browser, row_shapes
from helpers import page_client as web
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec
from helpers.row_shapes import Member, Row, Stored
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from zoo_report import contents
from zoo_report import page as report
from zoo_report.contents import Selection

from zoo import jobs
from zoo.jobs import STATUSES, Database

# They share the database of one server.
pytestmark = pytest.mark.xdist_group("test_row_shapes")
SCENES = 30
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Not the search for a smaller example: it would open thousands of pages."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web.Page]:
    with web.served(tmp_path_factory.mktemp("shapes") / "home") as found:
        os.set_blocking(found.process.stderr.fileno(), False)
        yield found


@pytest.fixture(scope="module")
def rows(site: web.Page) -> Iterator[Database]:
    with contextlib.closing(site.zoo.database()) as found:
        yield found


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser.browser() as found:
        yield found


def opens(site: web.Page, path: str) -> str:
    """Open a page that must be there."""
    answer = site.get(path)
    assert answer.status == 200, f"{path}: {answer.status}\n{site.process.stderr.read()}"
    assert "<script>window" not in answer.text and "<img src=x" not in answer.text
    return answer.text


def every_page(site: web.Page, rows: Database, stored: Stored) -> None:
    """Open all that shows these rows."""
    opens(site, "/")
    opens(site, "/leaderboard")
    opens(site, "/draw")
    opens(site, "/submit")
    names = {jobs.get(rows, each).dataset for each in stored.jobs}
    for name in names:
        opens(site, f"/leaderboard?dataset={quote(name, safe='')}")
        opens(site, f"/draw?dataset={quote(name, safe='')}")
        opens(site, f"/?dataset={quote(name, safe='')}")
    for each in stored.groups:
        opens(site, f"/groups/{each}")
    for each in stored.jobs:
        opens(site, f"/jobs/{each}")
    first = [*stored.groups[:1]]
    for each in first:
        opens(site, f"/?group={each}")
    live = [f"/jobs/{each}" for each in stored.jobs[:1]] + [f"/groups/{each}" for each in first]
    for path in ["/", "/leaderboard", *live]:
        with site.events(f"/live{path}") as events:
            event, _ = next(events)
        assert event == "parts", site.process.stderr.read()


def every_report(rows: Database, zoo: Zoo, stored: Stored) -> None:
    """Make the report of all, and of each group."""
    found = [jobs.get(rows, each) for each in stored.jobs]
    meant = [Selection(found, "All", 1, jobs.ALL_JOBS), Selection([], "None", 0, jobs.ALL_JOBS)]
    groups = [jobs.get_group(rows, each).jobs for each in stored.groups]
    meant += [Selection(each, "A group") for each in groups if each]
    for each in meant:
        assert "</html>" in report.render(contents.gather(rows, zoo.settings, each))


@pytest.mark.slow
@given(scene=st.lists(row_shapes.members(), max_size=3), there=row_shapes.workers)
@examples(
    max_examples=SCENES,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_every_page_and_report_of_every_shape_of_row(
    site: web.Page, rows: Database, scene: Sequence[Member], there: list[dict[str, object]]
) -> None:
    row_shapes.clear(rows)
    stored = row_shapes.store(rows, scene, there)
    every_page(site, rows, stored)
    every_report(rows, site.zoo, stored)


def test_every_group_of_every_combination_of_statuses(site: web.Page, rows: Database) -> None:
    row_shapes.clear(rows)
    stored = row_shapes.store(rows, row_shapes.plain_groups(STATUSES))
    assert len(stored.groups) == 108
    for each in stored.groups:
        opens(site, f"/groups/{each}")
    opens(site, "/leaderboard")
    every_report(rows, site.zoo, stored)


@given(scenes=st.lists(st.lists(row_shapes.members(), min_size=1, max_size=3), min_size=8))
@examples(
    max_examples=1,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_script_of_a_report_draws_every_shape_of_row(
    site: web.Page, rows: Database, driver: Any, tmp_path_factory: Any, scenes: list[list[Member]]
) -> None:
    file = tmp_path_factory.mktemp("report") / "report.html"
    for scene in scenes:
        row_shapes.clear(rows)
        stored = row_shapes.store(rows, scene)
        found = [jobs.get(rows, each) for each in stored.jobs]
        meant = Selection(found, "All", 0, jobs.ALL_JOBS)
        html = report.render(contents.gather(rows, site.zoo.settings, meant))
        file.write_text(html, encoding="utf-8")
        driver.get(file.as_uri())
        assert browser.console_errors(driver) == []
        assert driver.execute_script("return window.hacked") is None


TOO_WIDE = """
return [...document.querySelectorAll("main *")]
  .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter((each) => !each.closest(".scroll"))
  .map((each) => each.outerHTML.slice(0, 300));
"""
SQUEEZED = """
return [...document.querySelectorAll(".jobs .id a, .jobs .model, .jobs .status, .ranks .model a")]
  .filter((each) => each.getBoundingClientRect().width < 6 || each.offsetHeight > 400)
  .map((each) => each.outerHTML);
"""
"""What a person must be able to see and press, and cannot."""


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 780)])
@given(scene=st.lists(row_shapes.members(), min_size=6, max_size=9))
@examples(
    max_examples=2,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_no_row_of_any_shape_breaks_the_layout(
    site: web.Page, rows: Database, driver: Any, width: int, height: int, scene: list[Member]
) -> None:
    row_shapes.clear(rows)
    stored = row_shapes.store(rows, scene)
    browser.resize(driver, width, height)
    if driver.get_cookie(f"zoo-{site.port}") is None:
        driver.get(site.address)
        site.address = site.next_address()
    paths = ["/", "/leaderboard", *(f"/groups/{each}" for each in stored.groups[:2])]
    for path in [*paths, *(f"/jobs/{each}" for each in stored.jobs[:4])]:
        driver.get(f"http://{site.host}{path}")
        is_wider = browser.is_wider_than_screen(driver)
        assert not is_wider, (path, driver.execute_script(TOO_WIDE))
        assert driver.execute_script(SQUEEZED) == [], path
        assert driver.execute_script("return window.hacked") is None


PARAMS = {
    "alpha": 0.0001,
    "early_stopping": False,
    "n_iter_no_change": 5,
    "schedule": "optimal",
    "validation_fraction": 0.1,
}
ENDED = {
    "accuracy": 0.9262,
    "loss": 2.3172,
    "train_accuracy": 0.9589,
    "fit_seconds": 0.25,
    "parameters": 393_373,
    "weights_bytes": 63_638,
    "predict_us_per_image": 331.5408,
    "n_images": 1437,
    "epochs": 5.0,
    "classes": [str(n) for n in range(10)],
    "confusion_matrix": [[36 if m == n else m % 3 for m in range(10)] for n in range(10)],
    "per_class": {
        str(n): {"precision": 1.0, "recall": 0.8537, "f1": 0.9091, "support": 36} for n in range(10)
    },
}
STEPS = [(n, {"train_loss": 1.7 / n, "train_accuracy": 1 - 0.4 / n}) for n in range(1, 9)]
SENTENCE = "RuntimeError: cannot go on with k = 2. The traceback is in its log."


def usual_row(status: str, number: int, **more: Any) -> Row:
    """A row as a real worker leaves it."""
    asked = {"model": "dense-softmax", "params": PARAMS, "seed": 40 + number} | more.pop("spec", {})
    spec = a_spec(**asked, changed=["alpha"] if "alpha" in asked["params"] else []).model_dump()
    has_begun, failed = status != "queued", status not in ("queued", "running", "succeeded")
    columns = {"attempt": int(has_begun), "worker": "vm-13791" if has_begun else None}
    columns |= {"created_at": 1.7e9, "started_at": 1.7e9 + 1 if has_begun else None}
    columns |= {
        "error": SENTENCE if failed else None,
        "error_code": "exception" if failed else None,
    }
    running = {"phase": "fit", "since": 1.7e9, "step": 8, "total": 10_000, "unit": "epoch"}
    return Row(
        spec,
        (),
        status,
        columns | more.pop("columns", {}),
        ENDED if status == "succeeded" else None,
        running if status == "running" else None,
        more.pop("tags", ["baseline"]),
        STEPS if has_begun else [],
        more.pop("lines", []),
        [None] if has_begun else [],
        "d" * 64,
    )


def usual_scene() -> list[Member]:
    """A dozen shapes of job, as a person would have them after a day."""
    source = {"job": "0" * 32, "artifact": "x/1", "sha256": "0" * 64}
    evaluation = {"kind": "evaluate", "split": "train", "source": source}
    long = ["a-rather-long-tag-of-a-person", "two"]
    alone = [
        *(usual_row(status, n) for n, status in enumerate(STATUSES)),
        usual_row("queued", 0, columns={"held": 1}),
        usual_row("succeeded", 0, tags=long, lines=["epoch 1/2 loss 0.25\n"], spec={"params": {}}),
        usual_row("succeeded", 1, spec=evaluation),
        usual_row("succeeded", 2, spec={"model": "logistic", "params": {"alpha": 0.1}}),
    ]
    parts = [{"fold": {"k": 2, "index": n}, "model": "logistic"} for n in range(2)]
    return [
        *(Member(None, [each]) for each in alone),
        Member("cv", [usual_row("succeeded", 0, spec=each) for each in parts]),
        Member(
            "cv", [usual_row("failed", 0, spec=parts[0]), usual_row("succeeded", 0, spec=parts[1])]
        ),
        Member("seeds", [usual_row("succeeded", n) for n in range(3)]),
        Member("sweep", [usual_row(s, 0) for s in ("succeeded", "failed", "running")]),
    ]


OVERFLOWING = """
return [...document.querySelectorAll("th, button, .button, .count, dt, legend, label, .status")]
  .filter((each) => each.checkVisibility() && !each.closest(".unseen, .scroll"))
  .filter((each) => each.scrollWidth > each.clientWidth + 1 && each.clientWidth)
  .map((each) => each.outerHTML.slice(0, 200));
"""
"""What is larger than its place, and so lies over its neighbour."""


WIDTHS = (1280, 1100, 768, 360)


def test_every_page_of_usual_jobs_is_legible_at_every_width(
    site: web.Page, rows: Database, driver: Any
) -> None:
    row_shapes.clear(rows)
    stored = row_shapes.store(rows, usual_scene())
    assert len(jobs.retry(rows, [job.id for job in members(rows, stored.groups[1])])) == 1
    if driver.get_cookie(f"zoo-{site.port}") is None:
        driver.get(site.address)
        site.address = site.next_address()
    browser.console_errors(driver)
    paths = ["/", "/leaderboard", "/draw?dataset=digits", "/submit?model=dense-softmax"]
    paths += [f"/jobs/{each}" for each in stored.jobs[: len(STATUSES) + 4]]
    paths += [f"/groups/{each}" for each in stored.groups]
    for n, path in enumerate(paths):
        driver.get(f"http://{site.host}{path}")
        shown = driver.execute_script(
            "return document.querySelector('main h1') && document.body.innerText"
        )
        assert shown, (path, site.process.stderr.read())
        assert "`" not in shown, "a command is shown as code"
        for width in WIDTHS:
            browser.resize(driver, width, 900)
            browser.prefer(driver, dark=(n + width // 100) % 2 == 0)
            at = (path, width)
            assert not browser.is_wider_than_screen(driver), (at, driver.execute_script(TOO_WIDE))
            assert browser.broken_words(driver) == [], at
            assert driver.execute_script(OVERFLOWING) == [], at
            assert driver.execute_script(SQUEEZED) == [], at
            assert browser.low_contrasts(driver) == [], at
    assert browser.console_errors(driver) == []


def members(rows: Database, group: str) -> list[jobs.Job]:
    return jobs.get_group(rows, group).jobs
