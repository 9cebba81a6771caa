"""Who may come in: the person who has the token, from this machine's own page, and nobody else.

A browser sends what any page on the web tells it to, to 127.0.0.1 as well. So the name in `Host`
must be ours (else a foreign name could be bound to our address), a cookie that only the token
gives must come along, and what changes something must come from our own page, with its word.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 256 * 1024
"""Bytes: a drawing takes a few thousand."""
MAX_FIELDS = 200
FORM = "application/x-www-form-urlencoded"
CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
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


class Refused(Exception):
    """Nobody comes in this way; the argument is a sentence for the person."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Door:
    """Lets requests in to the app, or refuses them in a sentence.

    What it has let in has `request.state.csrf`, the word for forms, and of a POST
    `request.state.form`, the fields of its body.
    """

    def __init__(self, app: ASGIApp, port: int, invite: Callable[[str], None]) -> None:
        """Call `invite` with the next valid token, now and after each use of one."""
        self._app = app
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._invite = invite
        # Cookies know no ports: another page of this machine must not take ours away.
        self._cookie = f"zoo-{port}"
        self._key = secrets.token_bytes(32)
        self._new_token()

    def _new_token(self) -> None:
        self._token = secrets.token_urlsafe(24)
        self._invite(self._token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            answer = self._enter(request)
            if answer is None and request.method == "POST":
                receive = await self._post(request)
        except Refused as refusal:
            answer = PlainTextResponse(refusal.sentence + "\n", refusal.status)
        except ClientDisconnect:
            return
        await (answer or self._app)(scope, receive, _with_headers(send))

    def _enter(self, request: Request) -> Response | None:
        """Raises Refused; a Response for whoever comes with the token, None for who has a cookie.

        A token leaves the address at once, and then opens nothing any more: an address is shown,
        kept and passed on.
        """
        if request.headers.get("host") not in self._hosts:
            raise Refused(421, "This is not the name of this page: open 127.0.0.1.")
        if request.method not in ("GET", "HEAD", "POST"):
            raise Refused(405, f"Nothing here answers to {request.method}.")
        given = request.query_params.get("token")
        visit, _, signature = request.cookies.get(self._cookie, "").partition(".")
        is_known = bool(visit) and _equal(signature, self._sign("visit", visit))
        if given is not None and request.method == "GET":
            return self._welcome(request, given, is_known)
        if not is_known:
            raise Refused(403, "Open the address that `zoo ui` printed, with its token.")
        request.state.csrf = self._sign("csrf", visit)
        return None

    def _welcome(self, request: Request, given: str, is_known: bool) -> Response:
        is_right = _equal(given, self._token)
        if not (is_right or is_known):
            raise Refused(403, "A token opens the page once: `zoo ui` has printed another since.")
        rest = urlencode([(k, v) for k, v in request.query_params.multi_items() if k != "token"])
        # With our own name before it: a path of two slashes would lead elsewhere.
        here = f"http://{request.headers['host']}{request.url.path}"
        answer = RedirectResponse(f"{here}?{rest}" if rest else here, 303)
        if not is_right:  # who is in already opens an old address again
            return answer
        # Whoever sees the address from now on, in a list of processes or a history, has nothing.
        self._new_token()
        visit = secrets.token_urlsafe(16)
        value = f"{visit}.{self._sign('visit', visit)}"
        answer.set_cookie(self._cookie, value, httponly=True, samesite="strict")
        return answer

    async def _post(self, request: Request) -> Receive:
        """Read the body of what is to change something, and check where it comes from."""
        origin, site = (request.headers.get(name) for name in ("origin", "sec-fetch-site"))
        ours = f"http://{request.headers['host']}"
        # A page without referrers sends `null` with its forms: the other header knows more then.
        if origin != ours if origin not in (None, "null") else site != "same-origin":
            raise Refused(403, "This came from another page.")
        body = await _body(request)
        fields = {}
        if request.headers.get("content-type", "").partition(";")[0] == FORM:
            fields = _fields(body)
        word = request.headers.get(CSRF_HEADER) or fields.get(CSRF_FIELD, "")
        if not _equal(word, request.state.csrf):
            raise Refused(403, "The form is not of this visit: reload the page and send it again.")
        request.state.form = fields
        return _replaying(body, request.receive)

    def _sign(self, what: str, visit: str) -> str:
        return hmac.new(self._key, f"{what} {visit}".encode(), hashlib.sha256).hexdigest()


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


async def _body(request: Request) -> bytes:
    body = bytearray()
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > MAX_BODY:
        raise Refused(413, f"This is larger than {MAX_BODY // 1024} kB.")
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise Refused(413, f"This is larger than {MAX_BODY // 1024} kB.")
    return bytes(body)


def _fields(body: bytes) -> dict[str, str]:
    """The fields of a form; of a name that comes twice, the last."""
    try:
        found = parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise Refused(400, "This is no form.") from None
    return {name: values[-1] for name, values in found.items()}


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Give the app the body that has been read already, then whatever comes."""
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
