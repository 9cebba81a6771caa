"""`zoo ui` over HTTP: whom it lets in, what it refuses, and what it shows of strangers' words."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import psutil
import pytest
from helpers import page_client as web
from helpers.command_line import Zoo, until
from helpers.finished_jobs import a_spec, claim, folds, succeed
from hypothesis import given
from hypothesis import strategies as st
from zoo_report import contents
from zoo_report import page as report
from zoo_report.contents import Selection
from zoo_web import events, formats, job_page, param_form, submit_form

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, Outcome, ProgressUpdate, QueueOptions
from zoo.jobs.cards import Card
from zoo.jobs.records import is_whole, number_text
from zoo.plugins import registry
from zoo.results import learning_curves
from zoo.results.leaderboard import leaderboard_rows
from zoo.results.learning_curves import Run

# One process of the suite: they share a server.
pytestmark = pytest.mark.xdist_group("test_web")
EVIL = "<script>alert(1)</script>"
NOWHERE = QueueOptions(pool="nowhere")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web.Page]:
    with web.served(tmp_path_factory.mktemp("web") / "home") as found:
        yield found


@pytest.fixture
def rows(page: web.Page) -> Iterator[Database]:
    found = page.zoo.database()
    yield found
    found.close()


def queued(rows: Database, **more: list[str]) -> str:
    return jobs.add(rows, [a_spec()], replace(NOWHERE, **more))[0][0]


def test_without_the_token_nothing_is_shown(page: web.Page) -> None:
    for path in ("/", "/live/", "/leaderboard", "/submit", "/draw", "/compare", "/nothing"):
        answer = page.ask(path)
        assert answer.status == 403 and "Set-Cookie" not in answer.headers, path
        assert answer.text == "Open the address that `zoo ui` printed, with its token.\n"
    # Public anyway, and the page that asks for the token is to be legible.
    assert page.ask("/static/zoo.css").status == page.ask("/design/zoo.css").status == 200
    assert page.ask("/static/zoo.css", Host="evil.example").status == 421
    assert page.ask("/submit", "POST", b"", Origin=f"http://{page.host}").status == 403


HTML = {"Accept": "text/html"}


def test_a_tab_from_before_a_restart_is_asked_for_the_token_in_words_and_goes_on(
    page: web.Page, rows: Database
) -> None:
    # The cookie of a server of before is as good as none.
    ours = HTML | {"Origin": f"http://{page.host}"}
    form = ours | {"Content_Type": web.FORM}

    def then(path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> str:
        answer = page.ask(path, method, body, cookie=f"{page.cookie}0", **headers)
        assert answer.status == 403 and "Set-Cookie" not in answer.headers
        assert "asks for its token" in answer.text and page.token not in answer.text
        assert EVIL not in answer.text
        found = re.search('name="then" value="([^"]*)"', answer.text)
        assert found
        return unescape(found[1])

    job = queued(rows)
    assert then(f"/?model={EVIL}&page=2", **HTML) == f"/?model={EVIL}&page=2"
    assert then(f"/?token=x&tag={EVIL}", **HTML) == f"/?tag={quote(EVIL, safe='')}"
    for path in (f"/jobs/{job}/cancel", f"/groups/{job}/retry"):
        assert then(path, "POST", b"csrf=1", **form) == path.rpartition("/")[0]
    typed = {"model": "logistic", "param.max_iter": "7", "tags": f"a&b {EVIL}", "csrf": "1"}
    kept = then("/submit", "POST", urlencode(typed).encode(), **form)
    assert parse_qs(kept.partition("?")[2]) == {n: [t] for n, t in typed.items() if n != "csrf"}
    assert jobs.get(rows, job).status == "queued"
    # From another page not even the token is asked for.
    evil = page.ask("/submit", "POST", b"a=b", **form | {"Origin": "http://evil.example"})
    assert evil.status == 403 and "name=" not in evil.text

    def sign_in(token: str, to: str, **headers: str) -> web.Answer:
        return page.ask(
            "/sign-in", "POST", urlencode({"token": token, "then": to}).encode(), **form | headers
        )

    for wrong in ("", "x", f"http://{page.host}/?token={page.token[:-1]}"):
        answer = sign_in(wrong, kept)
        assert answer.status == 403 and "not the newest token" in answer.text
        assert unescape(re.findall('name="then" value="([^"]*)"', answer.text)[0]) == kept
    assert sign_in(page.token, "/", Origin="http://evil.example").status == 403
    opened = {}
    for to, token in ((kept, page.token), ("//evil.example/", ""), ("http://evil.example", "")):
        token = token or f" {page.address} "
        answer = sign_in(token, to)
        assert answer.status == 303 and "httponly" in answer.headers["Set-Cookie"].lower()
        opened[to] = answer.headers["Location"], answer.headers["Set-Cookie"].partition(";")[0]
        page.address = page.next_address()
        assert sign_in(token, to).status == 403, "valid once"
    place, cookie = opened[kept]
    filled = page.ask(place.removeprefix(f"http://{page.host}"), cookie=cookie).text
    assert 'value="7"' in filled and 'value="a&amp;b &lt;script' in filled
    assert opened["//evil.example/"][0] == f"http://{page.host}//evil.example/"
    assert opened["http://evil.example"][0] == f"http://{page.host}/"


def test_a_wrong_token_or_cookie_opens_nothing(page: web.Page) -> None:
    name, _, value = page.cookie.partition("=")
    for token in ("", "x", page.token[:-1], page.token + "x", "%ff%00", page.token.swapcase()):
        answer = page.ask(f"/?token={token}")
        assert answer.status == 403 and "Set-Cookie" not in answer.headers, token
    for cookie in (f"{name}={page.token}", f"{name}={value[:-1]}", f"{name}=x.", f"zoo={value}"):
        assert page.ask("/", cookie=cookie).status == 403, cookie


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address(page: web.Page) -> None:
    answer = page.ask(f"/draw?token={page.token}&dataset=digits")
    assert answer.status == 303
    assert answer.headers["Location"] == f"http://{page.host}/draw?dataset=digits"
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and page.token.lower() not in cookie
    page.address = page.next_address()
    # A path of two slashes would be another host's name.
    there = page.ask(f"//evil.example/?token={page.token}").headers["Location"]
    assert there == f"http://{page.host}//evil.example/"
    page.address = page.next_address()


def test_a_token_opens_the_page_once(page: web.Page) -> None:
    used = page.token
    other = page.visit()
    assert page.token != used and other.get("/").status == 200
    for method in ("GET", "HEAD", "POST"):
        again = page.ask(f"/?token={used}", method)
        assert again.status == 403 and "Set-Cookie" not in again.headers
    # Who is in already comes back by the old address, without another cookie.
    back = other.get(f"/draw?token={used}")
    assert back.status == 303 and "Set-Cookie" not in back.headers
    assert back.headers["Location"] == f"http://{page.host}/draw"
    assert page.visit().get("/").status == 200


def test_the_browser_is_not_told_the_token_on_its_command_line(tmp_path: Path) -> None:
    said, browser = tmp_path / "said", tmp_path / "browser"
    browser.write_text(f"""#!/bin/sh
stat -c %a "${{1#file://}}" > {said}.mode
cat "${{1#file://}}" > {said}.file
printf '%s\\n' "$@" > {said}.new
mv {said}.new {said}
""")
    browser.chmod(0o755)
    zoo = Zoo(tmp_path / "home", DISPLAY=":99", BROWSER=f"{browser} %s")
    process = zoo.start("ui")
    assert process.stdout is not None
    page = web.Page(zoo, process, process.stdout.readline().strip())
    (told,) = until(lambda: said.exists() and said.read_text().split())
    assert told.startswith("file://") and page.token not in told
    assert (tmp_path / "said.mode").read_text() == "600\n"
    assert f'content="0;url={page.address}"' in (tmp_path / "said.file").read_text()
    token = page.token
    for part in psutil.Process(process.pid).children(recursive=True):
        assert token not in " ".join(part.cmdline())
    page.visit()
    assert not Path(told.removeprefix("file://")).exists(), "its address has been used"
    assert page.close() == 130
    zoo.close()


def test_other_names_of_this_address_are_refused(page: web.Page) -> None:
    evil = f"evil.example:{page.port}"
    for host in (evil, "127.0.0.1", "localhost", f"[::1]:{page.port}", f"127.0.0.1.:{page.port}"):
        assert page.get("/", Host=host).status == 421, host
        assert page.ask(f"/?token={page.token}", Host=host).status == 421, host
    assert page.get("/", Host=f"localhost:{page.port}").status == 200


def test_it_listens_on_loopback_alone(page: web.Page) -> None:
    found = psutil.Process(page.process.pid).net_connections("inet")
    assert {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
        {"Origin": None},
        {"Origin": None, "Sec_Fetch_Site": "same-site"},
        {"cookie": ""},
    ],
)
def test_another_page_cannot_change_anything(
    page: web.Page, rows: Database, headers: dict[str, str | None]
) -> None:
    job = queued(rows)
    answer = page.post(f"/jobs/{job}/cancel", **headers)
    assert answer.status == 403
    assert jobs.get(rows, job).status == "queued"


def test_a_form_needs_the_word_of_its_visit(page: web.Page, rows: Database) -> None:
    job, other = queued(rows), page.visit()
    for word in ("", "x", other.csrf):
        assert page.post(f"/jobs/{job}/cancel", {"csrf": word}).status == 403
    assert jobs.get(rows, job).status == "queued"
    assert page.post(f"/jobs/{job}/cancel").status == 303
    assert jobs.get(rows, job).status == "cancelled"
    ours = {"Origin": "null", "Sec_Fetch_Site": "same-origin"}
    assert other.post(f"/jobs/{queued(rows)}/cancel", **ours).status == 303


def test_to_look_changes_nothing(page: web.Page, rows: Database) -> None:
    job = queued(rows)
    before = jobs.counts(rows)
    for path in (
        f"/jobs/{job}/cancel",
        f"/jobs/{job}/stop",
        f"/jobs/{job}/retry",
        "/draw/predictions",
    ):
        assert page.get(f"{path}?csrf={page.csrf}").status == 405, path
    page.get(f"/submit?csrf={page.csrf}&model=logistic&dataset=digits")
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert page.ask(f"/jobs/{job}", method, cookie=page.cookie).status == 405, method
    assert jobs.counts(rows) == before


def test_every_answer_forbids_what_it_does_not_need(page: web.Page) -> None:
    for answer in (page.get("/"), page.ask("/"), page.get("/static/live.js"), page.get("/none")):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "uvicorn" not in answer.headers.get("Server", "")
    assert page.get("/").headers["Cache-Control"] == "no-store"
    for path in ("/", "/leaderboard", "/submit", "/draw"):
        html = page.get(path).text
        assert "style=" not in html and " onclick" not in html and "<script>" not in html
        assert "//" not in html.replace("http://www.w3.org", ""), "nothing comes from elsewhere"


def test_files_are_served_by_the_names_in_the_manifest_alone(
    page: web.Page, rows: Database
) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    zoo = page.zoo
    where = zoo.settings.artifacts
    job = succeed(rows, [a_spec()], artifacts_url=where, files={"page.html": EVIL.encode()})
    good = page.get(f"/jobs/{job}/files/page.html")
    assert good.status == 200 and good.text == EVIL
    assert good.headers["Content-Type"] == "application/octet-stream"
    assert good.headers["Content-Disposition"].startswith("attachment")
    (zoo.home / "secret").write_text("secret")
    up = [dots + slash for dots in ("..", "%2e%2e", "%252e%252e") for slash in ("/", "%2f", "%5c")]
    paths = [f"/jobs/{job}/files/{3 * each}secret" for each in up]
    paths += [f"/jobs/{job}/files/{zoo.home}/secret", f"/jobs/{job}/files//etc/passwd"]
    paths += [f"/jobs/{job}/files/manifest.json", f"/jobs/{job}/files/page.html%00.png"]
    paths += [f"/jobs/../files/{job}", f"/jobs/{job}%27/files/page.html", "/static/../app.py"]
    paths += [f"/static/{each}app.py" for each in up]
    for path in paths:
        answer = page.get(path)
        assert answer.status == 404 and "secret" not in answer.text.split("<main")[-1], path
    changed = Path(where) / job / "1" / "page.html"
    changed.write_text("other")
    answer = page.get(f"/jobs/{job}/files/page.html")
    assert answer.status == 404 and "not the one that was stored" in answer.text


def test_script_in_tags_params_errors_and_logs_stays_text(page: web.Page, rows: Database) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    spec = a_spec(params={EVIL: EVIL, "b": f'"><img src=x onerror={EVIL}'})
    job = jobs.add(rows, [spec], QueueOptions(tags=[EVIL, "javascript:alert(1)"]))[0][0]
    held = claim(rows)
    news = ProgressUpdate(lines=[(0, f"{EVIL}\n")], progress={"phase": EVIL, "since": 0})
    jobs.beat(rows, held, lease=60, update=news)
    for path in (f"/jobs/{job}", "/", f"/?model={EVIL}", f"/submit?model={EVIL}&{EVIL}={EVIL}"):
        assert EVIL not in page.get(path).text and "<img src=x" not in page.get(path).text, path
    assert "&lt;script&gt;" in page.get(f"/jobs/{job}").text
    with page.events(f"/live/jobs/{job}") as stream:
        told = dict([next(stream), next(stream)])
    assert told["log"] == {"lines": [[1, EVIL]], "rest": [1, ""]}
    assert EVIL not in json.dumps(told["parts"])
    jobs.finish(rows, held, Outcome("failed", error=EVIL, error_code="exception"))
    assert EVIL not in page.get(f"/jobs/{job}").text + page.get("/").text


def test_a_page_that_comes_back_is_told_the_rest_of_the_log(page: web.Page, rows: Database) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    job = jobs.add(rows, [a_spec()])[0][0]
    held = claim(rows)
    jobs.beat(rows, held, lease=60, update=ProgressUpdate(lines=[(0, "one\n"), (4, "two\n")]))
    jobs.finish(rows, held, Outcome("failed", error="bad day", error_code="exception"))
    with page.events(f"/live/jobs/{job}", **{"Last-Event-ID": "1:0"}) as stream:
        told = list(stream)
    assert [event for event, _ in told] == ["parts", "log", "end"]
    assert told[1][1] == {"lines": [[1, "two"]], "rest": [1, ""]}


def test_the_log_is_shown_as_a_terminal_would_show_it_wherever_a_page_comes_back(
    page: web.Page, rows: Database
) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    job = jobs.add(rows, [a_spec()])[0][0]
    held = claim(rows)
    text = "first\r\n\x1b[32m 1 %\x1b[0m\r50 %\x1b[K\x1b]0;t\x07\r100 %\nlast \u202eline"
    pieces = [(at, text[at : at + 3]) for at in range(0, len(text), 3)]
    jobs.beat(rows, held, lease=60, update=ProgressUpdate(lines=pieces))
    jobs.finish(rows, held, Outcome("failed", error="bad day", error_code="exception"))
    lines = ["first", "100 %"]
    for at, _ in [(-1, ""), *pieces[:-1]]:
        seen = {"Last-Event-ID": f"1:{at}"} if at >= 0 else {}
        with page.events(f"/live/jobs/{job}", **seen) as stream:
            told = dict(stream)["log"]
        found = [line for _, line in told["lines"]]
        assert found == lines[len(lines) - len(found) :]
        assert len(found) == text[at + 3 if at >= 0 else 0 :].count("\n")
        assert told["rest"] == [1, "last line"]


def test_a_log_goes_on_to_be_told_while_somebody_looks(page: web.Page, rows: Database) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    job = jobs.add(rows, [a_spec()])[0][0]
    held = claim(rows)
    jobs.beat(rows, held, lease=60, update=ProgressUpdate(lines=[(0, "one\n 5 %")]))
    with page.events(f"/live/jobs/{job}") as stream:
        told = dict([next(stream), next(stream)])["log"]
        assert told == {"lines": [[1, "one"]], "rest": [1, " 5 %"]}
        jobs.beat(rows, held, lease=60, update=ProgressUpdate(lines=[(8, "\r10 %\nthree\n")]))
        told = next(found for event, found in stream if event == "log")
        assert told == {"lines": [[1, "10 %"], [1, "three"]], "rest": [1, ""]}
        jobs.finish(rows, held, Outcome("failed", error="bad day", error_code="exception"))
        assert [event for event, _ in stream][-1] == "end"


def test_only_what_has_changed_is_sent(page: web.Page, rows: Database) -> None:
    first = queued(rows)
    with page.events("/live/") as stream:
        _, parts = next(stream)
        assert f"job-{first}" in dict(parts["jobs"])
        second = queued(rows)
        _, parts = next(event for event in stream if "jobs" in event[1])
    told = dict(parts["jobs"])
    assert told[f"job-{first}"] is None and "queued" in told[f"job-{second}"]
    assert "workers" not in parts and "pager" in parts


def test_many_jobs_are_shown_in_pages(page: web.Page, rows: Database) -> None:
    jobs.add(rows, [a_spec(dataset="many", seed=n) for n in range(120)], NOWHERE)
    shown = [
        page.get(f"/?dataset=many&page={n}").text.count('data-key="job-') for n in (1, 2, 3, 4)
    ]
    assert shown == [50, 50, 20, 0]
    assert "page 3 of 3, 120 jobs" in page.get("/?dataset=many&page=3").text


def test_a_body_that_is_too_large_is_refused(page: web.Page) -> None:
    large = {"tags": "x" * 300_000}
    assert page.post("/submit", large).status == 413
    head = f"POST /submit HTTP/1.1\r\nHost: {page.host}\r\nOrigin: http://{page.host}\r\n"
    head += f"Cookie: {page.cookie}\r\n"
    # What says that it is too large is not waited for; without a length it is counted as it comes.
    for rest in (
        b"Content-Length: 1000000000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + 5 * (b"10000\r\n" + 0x10000 * b"x" + b"\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", page.port), 30) as raw:
            # It may answer and hang up before all is sent.
            with contextlib.suppress(ConnectionError):
                raw.sendall(head.encode() + rest)
            assert raw.recv(100).startswith(b"HTTP/1.1 413 ")
    many = {f"param.{n}": "1" for n in range(300)}
    assert page.post("/submit", many).status == 400


def test_what_is_refused_is_said_in_a_sentence_and_the_form_is_kept(page: web.Page) -> None:
    filled = {"model": "logistic", "dataset": "digits", "param.max_iter": "0", "tags": "mine"}
    answer = page.post("/submit", filled)
    assert answer.status == 400
    assert "The param max_iter=0 is refused" in answer.text and 'value="mine"' in answer.text
    for wrong, said in (
        ({"seed": "1_0"}, "Seed is &#39;1_0&#39;"),
        ({"dataset": "minst"}, "Did you mean &#39;mnist&#39;?"),
        ({"model": "logistik"}, "Did you mean &#39;logistic&#39;?"),
        ({"several": "cv", "number": "1"}, "whole number from 2 to 100"),
        ({"preprocess": "x"}, "No preprocessing step is called"),
        ({"validation": "a tenth"}, "Validation share is &#39;a tenth&#39;"),
        ({"validation": "nan"}, "from 0.001 to 0.999"),
        ({"class_weight": "x"}, "No class_weight is called &#39;x&#39;"),
    ):
        answer = page.post("/submit", filled | {"param.max_iter": ""} | wrong)
        assert answer.status == 400 and said in answer.text, wrong
    for path in ("/?where=accuracy+>", "/?status=x", "/?page=0", "/?page=x"):
        assert page.get(path).status == 400, path
    for path in ("/jobs/x", "/none", "/jobs/x/files/y"):
        assert page.get(path).status == 404, path


def test_ctrl_c_ends_it_at_once_while_pages_are_open(tmp_path: Path) -> None:
    zoo = Zoo(tmp_path / "home")
    page = web.page(zoo)
    with page.events("/live/") as stream:
        next(stream)
        page.process.send_signal(signal.SIGINT)
        _, said = page.process.communicate(timeout=60)
    assert page.process.returncode == 130
    assert said.endswith("The page is closed; the jobs go on.\n") and "Traceback" not in said
    assert page.token not in said
    # Tabs that are still open find the next one at the same port, unless it is taken.
    again = web.page(zoo)
    assert again.port == page.port and again.get("/").status == 200
    other = web.page(zoo)
    assert other.port != page.port
    assert again.close() == other.close() == 130


def test_a_port_that_is_taken_is_said_in_a_sentence(page: web.Page, tmp_path: Path) -> None:
    done = Zoo(tmp_path / "home").run("ui", "--port", str(page.port), code=1)
    assert f"The port {page.port} cannot be used: Address already in use." in done.stderr


def test_every_param_of_every_model_has_its_field() -> None:
    for name in registry.catalogue().models:
        card = registry.card(name)
        found = {each.name: each for each in param_form.fields(card)}
        assert [*found] == [*card.param_schemas]
        for each in found.values():
            assert not each.choices or each.default in each.choices, (name, each)
    logistic = {each.name: each for each in param_form.fields(registry.card("logistic"))}
    assert logistic["penalty"].choices == ("l2", "l1", "elasticnet", "null")
    assert logistic["max_iter"].kind == "whole number, at least 1, at most 100,000"


@given(st.one_of(st.text(), st.from_regex(r"-?[0-9٣]{1,30}:?[0-9]{0,30}", fullmatch=True)))
def test_what_a_stranger_sends_as_a_number_is_one_within_bounds_or_refused(text: str) -> None:
    attempt, start = events.log_position(text)
    assert 0 <= attempt < 10**18 and -1 <= start < 10**18
    try:
        assert -5 <= submit_form.read_whole_number({"seed": text}, "seed", 0, -5, 10**6) <= 10**6
    except UsageError as error:
        assert error.message.startswith("Seed is '")


@given(st.floats(-1e11, 1e11) | st.integers(-(10**11), 10**11) | st.integers(-999, 999).map(float))
def test_a_whole_number_has_no_decimals_and_a_share_keeps_them(value: float) -> None:
    text = number_text(value)
    assert is_whole(value) == ("." not in text)
    if isinstance(value, float) and (abs(value) <= 1 or not value.is_integer()):
        tiny = 0 < abs(value) < 5e-5
        assert re.fullmatch(r"-?\d\.\de-\d{2,3}" if tiny else r"-?\d+\.\d{4}", text)
    else:
        assert text == f"{int(value):,}"
    assert float(text.replace(",", "")) == pytest.approx(value, abs=5e-5)
    # With digits a column of numbers stays aligned.
    assert number_text(float(value), 2) == f"{float(value):.2f}"


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["loss", "val_loss", "epochs", "accuracy", "step", "unit"]),
            st.none() | st.floats(-1e6, 1e6) | st.integers(0, 99),
        ),
        max_size=4,
    )
)
def test_every_reported_metric_is_a_curve_of_several_points_or_a_number(
    told: list[dict[str, float | None]],
) -> None:
    steps = [{**each, "step": n} for n, each in enumerate(told)]
    drawn = {
        line["name"]: line["y"]
        for chart in learning_curves.charts([Run("m", steps)])
        for line in chart["series"]
    }
    numbers = job_page.single_values(steps)
    assert all(len(points) > 1 for points in drawn.values())
    reported = {n for each in told for n, value in each.items() if value is not None}
    assert drawn.keys() | numbers.keys() == reported - set(learning_curves.NO_CURVE)
    assert not drawn.keys() & numbers.keys()


def cells(html: str, name: str) -> list[str]:
    """The words of each cell of that class, by row."""
    found = re.findall(rf'<td class="{name}">(.*?)</td>', html, re.DOTALL)
    return [" ".join(re.sub("<.*?>", " ", each).split()) for each in found]


def test_command_report_and_page_agree_which_results_have_a_test_error(
    page: web.Page, rows: Database
) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    succeed(rows, [a_spec(params={"error": 1})], accuracies=[0.01])
    for model in ("m", "logistic"):
        asked = {"model": model, "params": {"error": 2}}
        succeed(rows, folds(2, **asked), kind="cv", accuracies=[0.11, 0.13])
    known = [row.test_error for row in leaderboard_rows(rows)]
    assert None in known and any(known)
    words = ["" if error is None else f"{100 * error:.2f}" for error in known]
    html = page.get("/leaderboard").text
    assert cells(html, "bar") == words and html.count("<rect") == len(words) - words.count("")
    told = page.zoo.run("leaderboard").stdout.splitlines()
    place = told[0].index("error %"), told[0].index("error %") + len("error %")
    assert [line[slice(*place)].strip() for line in told[1:]] == words
    made = report.render(
        contents.gather(rows, page.zoo.settings, Selection([], "", 0, jobs.ALL_JOBS))
    )
    shown = re.findall(r'data-label="error %"[^>]*>(.*?)</td>', made)
    assert shown == [each or "–" for each in words]


@pytest.mark.parametrize("kind", ["cv", "seeds", "sweep"])
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_the_page_of_a_group_counts_and_lists_the_newest_job_of_each_part(
    page: web.Page, rows: Database, kind: str, retries: int
) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    parts = folds(2) if kind == "cv" else [a_spec(seed=n) for n in range(2)]
    ids, group = jobs.add(rows, parts, group_kind=kind)
    for _ in range(retries):
        jobs.cancel_many(rows, ids)
        ids = jobs.retry(rows, ids)
    assert group is not None
    jobs.cancel_many(rows, ids[:1])
    html = page.get(f"/?group={group}").text
    assert {*re.findall('data-key="job-([0-9a-f]+)"', html)} == {*ids}
    counts = re.findall(r'class="count (\w+)"><b>(\d+)</b>', html)
    assert dict(counts) == {"queued": "1", "running": "0", "cancelled": "1"}
    assert "of 2 jobs" in html and "page 1 of 1, 2 jobs" in html
    assert f"{2 * retries} were submitted again" in html if retries else "again" not in html
    # A count leads to the same jobs of that status, not to those of all groups.
    [link] = [
        unescape(each) for each in re.findall('href="(/[^"]*)" class="count cancelled"', html)
    ]
    assert re.findall('data-key="job-([0-9a-f]+)"', page.get(link).text) == ids[:1]


@pytest.mark.parametrize("kind", [None, "cv", "seeds", "sweep"])
def test_a_job_is_labelled_by_what_tells_the_parts_of_its_group_apart(
    page: web.Page, rows: Database, kind: str | None
) -> None:
    specs = folds(2) if kind == "cv" else [a_spec(seed=n) for n in ((7, 8) if kind else (7,))]
    ids, group = jobs.add(rows, specs, NOWHERE, group_kind=kind)
    labels = {"cv": ["fold 2/2", "fold 1/2"], "seeds": ["seed 8", "seed 7"], "sweep": ["trial"] * 2}
    html = page.get(f"/?group={group}" if group else "/").text
    mine = [
        each for each in html.split("<tr ") if any(f'data-key="job-{id}"' in each for id in ids)
    ]
    found = [re.findall('class="part"[^>]*>(.*?)</a>', each) for each in mine]
    assert found == [[label] for label in labels[kind]] if kind else found == [[]]
    # The facts of a job name its seed once, whatever its group is.
    facts = page.get(f"/jobs/{ids[0]}").text.partition("<dt>Kind</dt>")[2].partition("</dd>")[0]
    assert facts.count("seed ") == 1 and ("fold 1/2" in facts) == (kind == "cv")


def test_a_training_that_can_stop_has_a_button_and_is_asked_once(
    page: web.Page, rows: Database
) -> None:
    card = Card("halting", "p 1", can_stop=True)
    jobs.register_worker(rows, jobs.NewWorker("w", "w", "h", 1, "halts", 1, "1", [card]))
    (job,), _ = jobs.add(rows, [a_spec(model="halting")], QueueOptions(pool="halts"))
    assert page.post(f"/jobs/{job}/stop").status == 409
    models = {"halting": "p 1"}
    taken = jobs.claim(rows, pool="halts", models=models, datasets=["digits"], worker="w", lease=60)
    assert taken is not None and taken[0].job == job
    assert f'action="/jobs/{job}/stop"' in page.get(f"/jobs/{job}").text
    assert page.post(f"/jobs/{job}/stop").status == 303
    assert jobs.get(rows, job).stop_requested
    html = page.get(f"/jobs/{job}").text
    assert f'action="/jobs/{job}/stop"' not in html and ">stopping<" in html
    jobs.finish(rows, taken[0], Outcome("cancelled"))


def test_to_cancel_the_job_of_another_is_asked_and_its_name_and_note_are_shown(
    page: web.Page, rows: Database
) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    owner = f"bo{EVIL}@x"
    (job,), _ = jobs.add(rows, [a_spec()], QueueOptions(submitted_by=owner, name=EVIL, pool="no"))
    jobs.set_note(rows, [job], f"a {EVIL}")
    for path in (f"/jobs/{job}", "/", "/?user=bo*"):
        assert "bo&lt;script&gt;" in (html := page.get(path).text) and EVIL not in html
    question = page.post(f"/jobs/{job}/cancel")
    assert question.status == 200 and EVIL not in question.text
    assert 'name="sure"' in question.text and jobs.get(rows, job).status == "queued"
    assert page.post(f"/jobs/{job}/cancel", {"sure": "yes"}).status == 303
    assert jobs.get(rows, job).status == "cancelled"


def test_a_job_says_what_it_had_to_choose_by_and_why_it_ended_early(
    page: web.Page, rows: Database
) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    spec = a_spec(validation=0.1, class_weight="balanced", positive=EVIL)
    told = {"n_validation": 144, "ended_early": f"no better {EVIL}"}
    html = page.get(f"/jobs/{succeed(rows, [spec], metrics=told)}").text
    assert "<dd>0.1 of the training rows (144)</dd>" in html
    assert "<dt>Class weight</dt><dd>balanced</dd>" in html
    assert "<dt>Ended early</dt><dd>no better &lt;script&gt;" in html and EVIL not in html


STEP = [(1, {"loss": 1.5})]


@pytest.mark.parametrize("status", ["queued", "running", "failed", "succeeded"])
@pytest.mark.parametrize("line", [None, "a line\n"])
@pytest.mark.parametrize("steps", [[], STEP, [*STEP, (2, {"loss": 1.25})]])
def test_a_log_without_a_line_says_why(
    page: web.Page, rows: Database, status: str, line: str | None, steps: list[Any]
) -> None:
    jobs.cancel_many(rows, jobs.list_ids(rows, jobs.ALL_JOBS))
    job = jobs.add(rows, [a_spec()])[0][0]
    if status != "queued":
        held = claim(rows)
        jobs.beat(
            rows,
            held,
            lease=60,
            update=ProgressUpdate(lines=[(0, line)] if line else [], steps=steps),
        )
        if status == "failed":
            jobs.finish(rows, held, Outcome("failed", error="bad day", error_code="exception"))
        elif status == "succeeded":
            jobs.finish(rows, held, Outcome("succeeded", {"accuracy": 0.5}, "where", "0" * 64))
    found = re.findall('data-key="silence">(.*?)</p>', page.get(f"/jobs/{job}").text)
    if line and status != "queued":
        assert found == []
    elif status in ("failed", "succeeded"):
        assert found == ["No output."]
    elif status == "running" and len(steps) > 1:
        assert found == ["No output yet; the curves above show the progress."]
    else:
        assert found == ["No output yet."]


def test_the_form_begins_with_the_dataset_that_was_used_last(
    page: web.Page, rows: Database
) -> None:
    def preset(path: str = "/submit") -> list[str]:
        form = page.get(path).text.partition('name="dataset"')[2].partition("</select>")[0]
        return re.findall("<option selected>(.*?)</option>", form)

    for name in ("digits", "npz:/there/own.npz", "mnist", "digits"):
        queued_on = a_spec(dataset=name)
        jobs.add(rows, [queued_on], NOWHERE)
        assert preset() == [name]
        assert preset("/submit?model=logistic") == [name]
    assert preset("/submit?dataset=mnist") == ["mnist"]


def test_an_unknown_address_says_where_to_go(page: web.Page) -> None:
    for path in ("/nowhere", "/jobs", "/static/none.css", "/live/nowhere"):
        answer = page.get(path)
        assert answer.status == 404 and "Choose a page above." in answer.text, path


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("`<&\n"), max_size=30))
def test_a_command_in_a_sentence_is_code_and_all_else_stays_text(text: str) -> None:
    found = str(formats.FILTERS["commands"](text))
    assert unescape(re.sub("</?code>", "`", found)) == text
    assert re.findall("<(?!/?code>)", found) == []
    told = formats.FILTERS["commands"]("Held. `zoo release 1 < 2` lets it run.")
    assert told == "Held. <code>zoo release 1 &lt; 2</code> lets it run."


@pytest.mark.parametrize("held", [False, True])
def test_a_held_job_is_told_from_a_queued_one(page: web.Page, rows: Database, held: bool) -> None:
    job = queued(rows)
    if held:
        jobs.hold(rows, [job])
    row = page.get("/").text.partition(f'data-key="job-{job}"')[2].partition("</tr>")[0]
    word = "held" if held else "queued"
    assert f">{word}</span>" in row
    assert f">{word}</span>" in page.get(f"/jobs/{job}").text
    jobs.cancel_many(rows, [job])
