"""Authenticate requests: only the holder of the token, and only from this machine's own page.

Any page on the web can make a browser send requests, to 127.0.0.1 as well. So the name in `Host`
must be ours (DNS rebinding), a session cookie that is set in exchange for the token is required,
and a request that changes something must come from our own page, with its CSRF token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 256 * 1024
"""Bytes: a drawing takes a few thousand."""
FILES = "/draw/file"
"""The only address that takes files."""
MAX_FILE = 32 * 2**20
"""Bytes of a picture or of the rows of a table."""
MAX_FIELDS = 200
SIGN_IN = "/sign-in"
"""The address that takes a token in a form."""
STATIC = ("/static/", "/design/")
"""Addresses without a cookie: styles and scripts, for the page that asks for the token."""
LOCKED = "Open the address that `zoo ui` printed, with its token."
USED = "This token was used: open the newest address of `zoo ui`."
WRONG = "This is not the newest token of `zoo ui`."
FORM = "application/x-www-form-urlencoded"
CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
EXPIRED = "The form has expired: reload the page and send it again."
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RequestRefused(Exception):
    """The request is refused; `sentence` says why.

    `then` is the address to go on at once the token is given; empty if a token would not help.
    """

    def __init__(self, status: int, sentence: str, then: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.then = then


class AuthMiddleware:
    """Passes authenticated requests to the app; answers others with a sentence.

    Sets `request.state.csrf`, the CSRF token for forms, and for a POST `request.state.form`, the
    fields of its body.
    """

    def __init__(
        self,
        app: ASGIApp,
        port: int,
        on_token: Callable[[str], None],
        ask_token: Callable[[str, str], str],
    ) -> None:
        """Call `on_token` with the next valid token, now and after each use of one.

        `ask_token(sentence, then)` returns the HTML of the page that asks a person for the token,
        and goes on at the address `then`.
        """
        self._app = app
        self._ask_token = ask_token
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._on_token = on_token
        # Cookies know no ports: another page of this machine must not take ours away.
        self._cookie = f"zoo-{port}"
        self._key = secrets.token_bytes(32)
        self._new_token()

    def _new_token(self) -> None:
        self._token = secrets.token_urlsafe(24)
        self._on_token(self._token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            answer = self._authenticate(request)
            if answer is None and request.method == "POST":
                _check_origin(request)
                if request.url.path == SIGN_IN:
                    answer = await self._sign_in(request)
                else:
                    receive = await self._post(request)
        except RequestRefused as refusal:
            answer = self._refusal(request, refusal)
        except ClientDisconnect:
            return
        await (answer or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, request: Request, refusal: RequestRefused) -> Response:
        """Answer with the sentence; a person whose browser asks for a page can give the token."""
        if refusal.then and "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(self._ask_token(refusal.sentence, refusal.then), refusal.status)
        return PlainTextResponse(refusal.sentence + "\n", refusal.status)

    def _authenticate(self, request: Request) -> Response | None:
        """Return a redirect for a request with a token, None for one with a session cookie.

        A token is removed from the address at once and is valid once: addresses are shown, kept
        and passed on. Raises RequestRefused.
        """
        if request.headers.get("host") not in self._hosts:
            raise RequestRefused(421, "Unknown host name: open 127.0.0.1.")
        if request.method not in ("GET", "HEAD", "POST"):
            raise RequestRefused(405, f"The method {request.method} is not supported.")
        given = request.query_params.get("token")
        session, _, signature = request.cookies.get(self._cookie, "").partition(".")
        is_known = bool(session) and _equal(signature, self._sign("visit", session))
        if given is not None and request.method == "GET":
            return self._exchange_token(request, given, is_known)
        if is_known:
            request.state.csrf = self._sign("csrf", session)
        elif request.method == "POST":
            request.state.csrf = ""  # no form of this session is valid; see `_post`
        elif not request.url.path.startswith(STATIC):
            raise RequestRefused(403, LOCKED, _address(request.url.path, request.url.query))
        return None

    def _exchange_token(self, request: Request, given: str, is_known: bool) -> Response:
        is_right = _equal(given, self._token)
        rest = urlencode([(k, v) for k, v in request.query_params.multi_items() if k != "token"])
        address = _address(request.url.path, rest)
        if not (is_right or is_known):
            raise RequestRefused(403, USED, address)
        if not is_right:  # a browser with a session opens an old address again
            return _redirect(request, address)
        return self._open(request, address)

    def _open(self, request: Request, address: str) -> Response:
        """Answer a request with the right token: a session cookie, and on to the address."""
        answer = _redirect(request, address)
        # An address seen later, in a process list or a browser history, is of no use.
        self._new_token()
        session = secrets.token_urlsafe(16)
        value = f"{session}.{self._sign('visit', session)}"
        answer.set_cookie(self._cookie, value, httponly=True, samesite="strict")
        return answer

    async def _sign_in(self, request: Request) -> Response:
        """Exchange the token of a form, or the whole address that was printed, for a cookie."""
        fields = _fields(await _body(request, MAX_BODY))
        given = fields.get("token", "").strip().rpartition("token=")[2].partition("&")[0]
        then = fields.get("then", "")
        then = then if then.startswith("/") and SIGN_IN not in then else "/"
        if not _equal(given, self._token):
            raise RequestRefused(403, WRONG, then)
        return self._open(request, then)

    async def _post(self, request: Request) -> Receive:
        """Read the body of a request that changes something, and check its CSRF token."""
        if not request.state.csrf:
            raise await self._locked(request)
        given = request.headers.get(CSRF_HEADER)
        if request.url.path == FILES and not _equal(given or "", request.state.csrf):
            raise RequestRefused(403, EXPIRED)  # before so much is read
        body = await _body(request, MAX_FILE if request.url.path == FILES else MAX_BODY)
        fields = {}
        if request.headers.get("content-type", "").partition(";")[0] == FORM:
            fields = _fields(body)
        if not _equal(given or fields.get(CSRF_FIELD, ""), request.state.csrf):
            raise RequestRefused(403, EXPIRED)
        request.state.form = fields
        return _replaying(body, request.receive)

    async def _locked(self, request: Request) -> RequestRefused:
        """Return the refusal of a form without a session, whose fields are kept for later.

        The page was left open while the server was started again.
        """
        if request.headers.get("content-type", "").partition(";")[0] != FORM:
            return RequestRefused(403, LOCKED)
        fields = _fields(await _body(request, MAX_BODY))
        path = request.url.path
        if path == "/submit":  # its form takes the fields from the address, too
            kept = {name: text for name, text in fields.items() if text and name != CSRF_FIELD}
            return RequestRefused(403, LOCKED, _address(path, urlencode(kept)))
        # An action of a job or a group goes on at its page.
        return RequestRefused(403, LOCKED, "/".join(path.split("/")[:3]))

    def _sign(self, purpose: str, session: str) -> str:
        return hmac.new(self._key, f"{purpose} {session}".encode(), hashlib.sha256).hexdigest()


def _check_origin(request: Request) -> None:
    """Raise RequestRefused unless the request comes from a page of this server."""
    origin, site = (request.headers.get(name) for name in ("origin", "sec-fetch-site"))
    ours = f"http://{request.headers['host']}"
    # A page with `Referrer-Policy: no-referrer` sends the origin `null` with its forms.
    if origin != ours if origin not in (None, "null") else site != "same-origin":
        raise RequestRefused(403, "This request came from another page.")


def _address(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _redirect(request: Request, address: str) -> Response:
    # With our own name before it: a path of two slashes would lead elsewhere.
    return RedirectResponse(f"http://{request.headers['host']}{address}", 303)


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    length = request.headers.get("content-length", "0")
    size = f"{most // 2**20} MB" if most >= 2**20 else f"{most // 1024} kB"
    if not length.isdecimal() or int(length) > most:
        raise RequestRefused(413, f"This is larger than {size}.")
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise RequestRefused(413, f"This is larger than {size}.")
    return bytes(body)


def _fields(body: bytes) -> dict[str, str]:
    """Return the fields of a form; the last one of a repeated name."""
    try:
        found = parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise RequestRefused(400, "This is not a form.") from None
    return {name: values[-1] for name, values in found.items()}


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that repeats the body, which was read already."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return parts.pop() if parts else await receive()

    return replay


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return guarded
