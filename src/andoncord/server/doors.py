"""The doors every request passes first: is it asked for us by name, and not sent by a stranger's web page?

A page on the internet can make a browser send requests to loopback. Such requests carry its `Origin` or, after the page's name
was made to point to us, its `Host`. Both are checked before anything else is looked at.
"""

from typing import Literal

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MISDIRECTED = 421
FORBIDDEN = 403
TOO_LARGE = 413
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that, browsers send `Origin: null` on our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_RAW_HEADERS = tuple((name.lower().encode(), value.encode()) for name, value in PAGE_HEADERS.items())


class Doors:
    """Refuses a request for another host (421) or from another origin (403), and puts the security headers on every answer.

    Args:
        app: what is behind the doors.
        hosts: names by which we may be asked, without port.
        origins: `same` lets our own pages in; `none` refuses whatever comes from a browser's page.
        max_body: bytes of a body that are passed on; a longer one is refused or, sent without its length, cut off.
        outside: our own origin as browsers know it where a proxy stands before us, such as `https://andon.example.org`.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: frozenset[str], origins: Literal["same", "none"], max_body: int, outside: str = ""
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins
        self._max_body = max_body
        self._outside = outside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or host_name(hosts[0]) not in self._hosts:
            await _refuse(send, MISDIRECTED, "this server was asked for under a name it does not answer to")
            return
        ours = {f"{scope.get('scheme', 'http')}://{hosts[0]}", self._outside} - {""}
        is_strange = bool(origins) and (self._origins == "none" or len(origins) > 1 or origins[0] not in ours)
        # Browsers say it themselves, also where they leave the origin out; a link from elsewhere may be followed, a form not.
        is_strange |= headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in SAFE_METHODS
        if is_strange:
            await _refuse(send, FORBIDDEN, "requests from pages of another origin are refused")
            return
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._max_body:
            await _refuse(send, TOO_LARGE, f"the body is larger than {self._max_body} bytes")
            return
        received = 0

        async def receive_so_much() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= self._max_body else {"type": "http.disconnect"}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in _RAW_HEADERS if each[0] not in named)]
            await send(message)

        await self._app(scope, receive_so_much, send_with_headers)


def origin_of(url: str) -> str:
    """The origin of an address; empty for none.

    >>> origin_of("https://andon.example.org/console"), origin_of("")
    ('https://andon.example.org', '')
    """
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if rest else ""


def host_name(host: str) -> str:
    """The name in a `Host` header, without port.

    >>> host_name("LocalHost:8420"), host_name("[::1]:8420"), host_name("evil.example"), host_name("127.0.0.1:80.evil.example")
    ('localhost', '::1', 'evil.example', '127.0.0.1:80.evil.example')
    """
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name.lower() if not rest or (rest.startswith(":") and rest[1:].isdigit()) else host
    name, colon, port = host.partition(":")
    return name.lower() if not colon or port.isdigit() else host


async def _refuse(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
