"""The doors that every request passes."""

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from andoncord.server.doors import Doors
from andoncord.server.settings import LOOPBACK_HOSTS


async def _inside(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("inside")(scope, receive, send)


def knock(
    headers: dict[str, str], *, origins: Any = "same", max_body: int = 100, method: str = "GET", outside: str = ""
) -> tuple[int, dict[str, str]]:
    """Send one request through the doors; the status and the headers of the answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "scheme": "http",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    doors = Doors(_inside, hosts=LOOPBACK_HOSTS | {"andon.internal"}, origins=origins, max_body=max_body, outside=outside)
    asyncio.run(doors(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "localhost", "[::1]:8420", "LOCALHOST:1", "andon.internal"])
def test_our_names_are_answered(host: str) -> None:
    """Loopback names and configured ones come in, with any port."""
    assert knock({"host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example", "[::1].evil.example", ""]
)
def test_other_names_are_not(host: str) -> None:
    """A page that points its own name to us is turned away."""
    assert knock({"host": host})[0] == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999", "https://localhost:8420"])
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    """Only a page that we served may send requests from a browser."""
    assert knock({"host": "localhost:8420", "origin": origin})[0] == 403


def test_our_own_pages_come_in() -> None:
    """The origin of the request's own host is ours."""
    assert knock({"host": "localhost:8420", "origin": "http://localhost:8420"})[0] == 200


def test_forms_of_other_sites_are_refused_by_what_the_browser_says_of_them() -> None:
    """A browser's own word that a form comes from elsewhere is enough; a link from elsewhere may be followed."""
    strange = {"host": "localhost:8420", "sec-fetch-site": "cross-site"}
    assert knock(strange, method="POST")[0] == 403
    assert knock(strange)[0] == 200


def test_pages_that_came_through_a_proxy_are_ours() -> None:
    """The origin that the settings name is ours too, and an empty one is nobody's."""
    proxied = {"host": "localhost:8420", "origin": "https://andon.example.org"}
    assert knock(proxied, outside="https://andon.example.org")[0] == 200
    assert knock(proxied)[0] == knock({"host": "localhost:8420", "origin": ""})[0] == 403


def test_telemetry_takes_nothing_from_pages() -> None:
    """Where no page has any business, every origin is refused, our own included."""
    assert knock({"host": "localhost:4318", "origin": "http://localhost:4318"}, origins="none")[0] == 403


def test_long_bodies_are_refused() -> None:
    """A body is refused by its length before it is read."""
    assert knock({"host": "localhost", "content-length": "101"})[0] == 413


def test_every_answer_carries_the_security_headers() -> None:
    """Scripts only from us, no frames, no sniffing."""
    headers = knock({"host": "localhost"})[1]

    assert "script-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")
