"""Every page of `zoo ui` and `zoo report` for every shape of row: generated, not listed."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any
from urllib.parse import quote

import browser
import pytest
import row_shapes
import web
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from results import a_spec
from row_shapes import Member, Row, Stored
from support import Zoo
from zoo_report import contents
from zoo_report import page as report
from zoo_report.contents import Meant

from zoo import jobs
from zoo.jobs import STATUSES, Database

# They share the database of one server.
pytestmark = pytest.mark.xdist_group("test_row_shapes")
SCENES = 30
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Not the search for a smaller example: it would open thousands of pages."""
asked = Counter[str]()
"""Requests so far, by kind of page."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web.Page]:
    zoo = Zoo(tmp_path_factory.mktemp("shapes") / "home")
    zoo.database().close()
    found = web.page(zoo)
    os.set_blocking(found.process.stderr.fileno(), False)
    yield found
    found.close()
    zoo.close()


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
    asked[path.strip("/").split("/")[0].partition("?")[0] or "jobs"] += 1
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
        opens(site, f"/?group={each}")
    for each in stored.jobs:
        opens(site, f"/jobs/{each}")
    for path in ["/", "/leaderboard", *(f"/jobs/{each}" for each in stored.jobs[:1])]:
        asked["live"] += 1
        with site.events(f"/live{path}") as events:
            event, _ = next(events)
        assert event == "parts", site.process.stderr.read()


def every_report(rows: Database, zoo: Zoo, stored: Stored) -> None:
    """Make the report of all, and of each group."""
    found = [jobs.get(rows, each) for each in stored.jobs]
    meant = [Meant(found, "All", 1, jobs.EVERY), Meant([], "None", 0, jobs.EVERY)]
    groups = [jobs.get_group(rows, each).jobs for each in stored.groups]
    meant += [Meant(each, "A group") for each in groups if each]
    for each in meant:
        asked["report"] += 1
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


def plain(status: str, kind: str, number: int) -> Row:
    """A row as a worker leaves it, of a model as plain as can be."""
    fold = {"k": 3, "index": number} if kind == "cv" else None
    spec = a_spec(fold=fold, seed=number, dataset="digits").model_dump()
    has_result = status == "succeeded"
    told = {"accuracy": 0.5, "classes": ["0"], "per_class": {"0": {}}} if has_result else None
    error = None if status in ("queued", "running", "succeeded") else "bad day"
    columns = {"attempt": 1, "worker": "w", "created_at": 1.7e9}
    columns |= {"error": error, "error_code": error and "exception"}
    return Row(spec, (), status, columns, told, None, [], [], [], [None])


def test_every_group_of_every_combination_of_statuses(site: web.Page, rows: Database) -> None:
    row_shapes.clear(rows)
    pairs = [*combinations_with_replacement(STATUSES, 2)]
    scene = [
        Member(kind, [plain(status, kind, n) for n, status in enumerate(pair)])
        for kind in ("cv", "seeds", "sweep")
        for pair in pairs
    ]
    stored = row_shapes.store(rows, scene)
    assert len(stored.groups) == 3 * len(pairs) == 84
    for each in stored.groups:
        opens(site, f"/?group={each}")
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
        meant = Meant(found, "All", 0, jobs.EVERY)
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
    paths = ["/", "/leaderboard", *(f"/?group={each}" for each in stored.groups[:2])]
    for path in [*paths, *(f"/jobs/{each}" for each in stored.jobs[:4])]:
        driver.get(f"http://{site.host}{path}")
        is_wider = browser.is_wider_than_screen(driver)
        assert not is_wider, (path, driver.execute_script(TOO_WIDE))
        assert driver.execute_script(SQUEEZED) == [], path
        assert driver.execute_script("return window.hacked") is None
