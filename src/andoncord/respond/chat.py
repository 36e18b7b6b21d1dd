"""What is shown in chat, and the buttons under it.

A button carries a sealed word: what it does, about what, and until when. Whoever clicks is looked up and their role is checked
at that moment; the seal only shows that the button is one of ours. What has to be approved is shown whole or has no button.
"""

import base64
import hmac
import json
from typing import Literal

import msgspec

from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.text import visible
from andoncord.kernel.time import MINUTE_NS, rfc3339
from andoncord.respond.approval import Request, whole
from andoncord.respond.notice import Notice

Doing = Literal["acknowledge", "pause", "grant", "deny"]
LABELS: dict[Doing, str] = {
    "acknowledge": "I look after it",
    "pause": "Pause its agents",
    "grant": "Approve",
    "deny": "Deny",
}
MAX_BLOCK = 2_900
"""Characters that are shown in one piece and never folded; Slack's limit is 3 000."""
CLICK_NS = 5 * MINUTE_NS
"""How old a click may be when it comes in. Chosen: longer than any connection is away before people click again."""


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What a button says."""

    do: Doing
    about: str
    """An incident, or a request for an approval."""
    digest: str = ""
    """Of the action that is approved."""
    until_ns: int


class Button(msgspec.Struct, frozen=True, kw_only=True):
    """One button."""

    do: Doing
    value: str
    """Sealed."""
    confirm: str = ""
    """What is asked before it counts; empty for nothing."""

    @property
    def label(self) -> str:
        return LABELS[self.do]


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One message in chat. All of it is plain text."""

    summary: str
    """For notifications."""
    body: str
    status: tuple[str, ...] = ()
    """What became of it: who did what."""
    link: str = ""
    buttons: tuple[Button, ...] = ()


class Click(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody clicked."""

    user: str
    """As chat knows them."""
    message: str
    """Which message it was under, as `Said.provider_id` names it."""
    do: str
    value: str
    at_ns: int
    id: str
    """The same for the same click, however often it is delivered."""


def seal(key: bytes, what: Sealed) -> str:
    """What a button carries."""
    body = base64.urlsafe_b64encode(msgspec.json.encode(what)).decode()
    return f"{body}.{_mac(key, body)}"


def opened(key: bytes, value: str, *, do: str, now_ns: int) -> Sealed:
    """What a button says.

    Raises:
        ConflictError: its time is over.
        CallerError: it is none of ours, or says something else than it does.
    """
    body, _, mac = value.partition(".")
    if not hmac.compare_digest(mac.encode(), _mac(key, body).encode()):
        raise CallerError("this button is not from here", remedy="use the console")
    what = msgspec.json.decode(base64.urlsafe_b64decode(body), type=Sealed)
    if what.do != do:
        raise CallerError("this button does something else than it says", remedy="use the console")
    if what.until_ns <= now_ns:
        raise ConflictError("the time of this button is over", remedy="use the console")
    return what


def page_post(notice: Notice, *, buttons: tuple[Button, ...] = (), status: tuple[str, ...] = ()) -> Post:
    """A notice as it stands in chat."""
    body = "\n".join((notice.subject, *notice.lines))
    return Post(summary=notice.subject, body=body[:MAX_BLOCK], status=status, link=notice.link, buttons=buttons)


def approval_post(request: Request, *, link: str, buttons: tuple[Button, ...], status: tuple[str, ...] = ()) -> Post:
    """A request for an approval: the whole action with buttons, or only where to read it."""
    action = request.action
    summary = f"{request.id}: {visible(action.agent, 80)} asks for {visible(action.tool, 80)}"
    whole = whole_text(request)
    if whole:
        return Post(summary=summary, body=whole, status=status, link=link, buttons=buttons)
    where = link or f"andon approvals show {request.id}"
    why = "The action is too long or holds what is masked, so that it is not shown here as a whole and cannot be answered here."
    body = f"{summary}\n{why} Read it at: {where}"
    return Post(summary=summary, body=body, status=status, link=link)


def whole_text(request: Request) -> str:
    """Everything that would be approved, in printable ASCII; empty where that does not fit into one piece."""
    shown = whole(request)
    if not shown:
        return ""
    until, token = rfc3339(request.until_ns), json.dumps(request.requested_by)
    text = "\n".join(
        (
            f"{request.id} needs a person's word until {until}; asked with the token {token}",
            *(f"{name}: {value}" for name, value in shown),
        )
    )
    return text if len(text) <= MAX_BLOCK else ""


def _mac(key: bytes, body: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, b"andoncord button 1." + body.encode(), "sha256")).decode()
