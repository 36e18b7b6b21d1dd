"""Speaking with a tracker's API: what its answers mean, and what is never followed, repeated or shown."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import msgspec

from andoncord.kernel.ports import Clock
from andoncord.kernel.text import visible
from andoncord.kernel.time import SECOND_NS
from andoncord.respond.ticket import TrackerError

TIMEOUT_S = 8.0
MAX_PAGES = 20
"""Pages of a list that are gone through to find one ticket."""
OF_A_SERVER = 500
MAY_PASS = (408, 425)
SAID = 300
LONGEST_WAIT_S = 86_400.0
"""What an answer may ask us to wait: a number without end must not end whoever reads it."""


class Api:
    """One tracker's API.

    Args:
        url: what every path begins with.
        headers: made anew for each request, since they carry a secret that is read anew each time.
        secret: what must not be shown wherever it comes back; called for each refusal.
    """

    def __init__(self, url: str, *, headers: Callable[[], Mapping[str, str]], secret: Callable[[], str], clock: Clock) -> None:
        self._url = url.rstrip("/")
        self._headers = headers
        self._secret = secret
        self._clock = clock

    async def ask(self, method: str, path: str, *, body: Any = None, query: Mapping[str, str] | None = None) -> httpx2.Response:
        """One request; the answer when it is a success.

        Raises:
            TrackerError: anything else.
        """
        content = msgspec.json.encode(body) if body is not None else None
        headers = {**self._headers(), **({"Content-Type": "application/json"} if content is not None else {})}
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
                answer = await client.request(method, self._url + path, content=content, params=query, headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise TrackerError(f"{type(error).__name__}: {error}"[:SAID]) from None
        if answer.is_success:
            return answer
        raise refused(answer, said=self._said(answer), now_ns=self._clock.now())

    def _said(self, answer: httpx2.Response) -> str:
        """What the tracker said about it, on one line, without what is secret."""
        try:
            body = msgspec.json.decode(answer.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        text = words_of(body)
        secret = self._secret()
        if secret:
            text = text.replace(secret, "…")
        return f": {visible(text, SAID)}" if text else ""


def refused(answer: httpx2.Response, *, said: str, now_ns: int) -> TrackerError:
    """What an answer that is no success means.

    Args:
        said: what it says, to be shown.
    """
    status = answer.status_code
    if answer.is_redirect:
        return TrackerError(f"answered {status}: redirects are not followed; correct the address", is_final=True)
    if status == 401:
        return TrackerError(f"answered 401: the token is not accepted{said}", is_final=True)
    if status in (403, 429):
        wait_s = _wait_s(answer, now_ns)
        if status == 429 or wait_s is not None:
            return TrackerError(f"answered {status}: its rate limit is reached{said}", wait_s=wait_s or 0.0)
        return TrackerError(f"answered 403: the token may not do this{said}", is_final=True)
    return TrackerError(f"answered {status}{said}", is_final=status < OF_A_SERVER and status not in MAY_PASS)


def _wait_s(answer: httpx2.Response, now_ns: int) -> float | None:
    """How long a rate limit wants to be waited for; None where the answer speaks of none.

    >>> (
    ...     _wait_s(httpx2.Response(429, headers={"retry-after": "30"}), 0),
    ...     _wait_s(httpx2.Response(429, headers={"retry-after": "9" * 400}), 0),
    ... )
    (30.0, 86400.0)
    """
    after = answer.headers.get("retry-after", "")
    if after.isascii() and after.isdigit():
        return min(float(after), LONGEST_WAIT_S)
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isascii() and reset.isdigit():
        return min(max(0.0, float(reset) - now_ns / SECOND_NS), LONGEST_WAIT_S)
    return None


def words_of(body: Any) -> str:
    """The error texts in an answer, in the forms of GitHub and Jira.

    >>> words_of({"message": "Validation Failed", "errors": [{"field": "title", "code": "missing_field"}]})
    'Validation Failed; title: missing_field'
    >>> words_of({"errorMessages": ["no such project"], "errors": {"summary": "is too long"}})
    'no such project; summary: is too long'
    """
    if not isinstance(body, dict):
        return ""
    found = [body["message"]] if isinstance(body.get("message"), str) else []
    found += [each for each in body.get("errorMessages") or () if isinstance(each, str)]
    errors = body.get("errors")
    if isinstance(errors, dict):
        found += [f"{field}: {text}" for field, text in errors.items()]
    elif isinstance(errors, list):
        found += [
            f"{each.get('field')}: {each.get('message') or each.get('code')}" for each in errors if isinstance(each, dict)
        ]
    return "; ".join(map(str, found))


def decoded(answer: httpx2.Response, kind: type[Any]) -> Any:
    """The body of an answer.

    Raises:
        TrackerError: it is something else.
    """
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TrackerError(f"the answer is not as its API says: {error}"[:SAID], is_final=True) from None
