"""Slack: one incident is one thread. Everything is plain text, so no word of an agent's is markup."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from andoncord.respond.chat import Post, page_post
from andoncord.respond.notice import Notice, Said

SLACK = "https://slack.com/api"
TIMEOUT_S = 8.0
MAY_PASS = ("ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout")
STYLES = {"grant": "primary", "deny": "danger", "pause": "danger"}
TEXT = 3_000
"""Characters of a block of plain text that Slack takes."""


class SlackError(Exception):
    """Slack did not do what it was asked.

    Args:
        is_final: asked again it would say the same.
    """

    def __init__(self, why: str, *, is_final: bool) -> None:
        super().__init__(why)
        self.is_final = is_final


class SlackApi:
    """Methods of Slack's Web API.

    Args:
        url: another server than Slack's; empty for theirs.
        token_file: read anew each time.
    """

    def __init__(self, *, url: str, token_file: Path) -> None:
        self._url = (url or SLACK).rstrip("/")
        self._token_file = token_file

    async def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """What Slack answers, where that is `ok`; it says so with status 200, and errors too.

        Raises:
            SlackError: it is not.
        """
        try:
            token = self._token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SlackError(f"the token cannot be read: {type(error).__name__}", is_final=False) from None
        headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": f"Bearer {token}"}
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
                answer = await client.post(f"{self._url}/{method}", content=msgspec.json.encode(body), headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise SlackError(f"{type(error).__name__}: {error}"[:200], is_final=False) from None
        if not answer.is_success:
            status = answer.status_code
            raise SlackError(f"answered {status}", is_final=status < 500 and status not in (408, 425, 429))
        try:
            said = msgspec.json.decode(answer.content, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise SlackError("Slack's answer is not JSON", is_final=False) from None
        if said.get("ok") is True:
            return said
        why = str(said.get("error", "unknown"))[:100]
        raise SlackError(f"Slack answered {why}", is_final=why not in MAY_PASS)


class SlackChannel:
    """One conversation. A message is named by where it is and when: `C024BE91L/1503435956.000247`.

    Args:
        conversation: such as `#incidents`.
        dress: a notice as it is shown, with its buttons.
    """

    def __init__(self, api: SlackApi, *, conversation: str, dress: Callable[[Notice], Post] = page_post) -> None:
        self._api = api
        self._conversation = conversation
        self._dress = dress

    async def send(self, notice: Notice, *, replies_to: str) -> Said:
        """Delivered is what Slack says `ok` to."""
        return await self.show(self._dress(notice), replies_to=replies_to, is_loud=notice.kind == "page")

    async def show(self, post: Post, *, replies_to: str = "", is_loud: bool = False) -> Said:
        """Post a message, in a thread where there is one."""
        thread = {"thread_ts": _moment(replies_to), "reply_broadcast": is_loud} if replies_to else {}
        try:
            said = await self._api.call("chat.postMessage", {"channel": self._conversation, **_content(post), **thread})
        except SlackError as error:
            return Said(state="failed", why=str(error), is_final=error.is_final)
        return Said(state="delivered", provider_id=f"{said.get('channel', '')}/{said.get('ts', '')}")

    async def change(self, message: str, post: Post) -> str:
        """Put another text in the place of a message; says why not where that fails."""
        try:
            await self._api.call("chat.update", {"channel": _room(message), "ts": _moment(message), **_content(post)})
        except SlackError as error:
            return str(error)
        return ""

    async def whisper(self, user: str, message: str, text: str) -> None:
        """Tell one person something that nobody else sees; whether it is seen nobody says."""
        try:
            await self._api.call("chat.postEphemeral", {"channel": _room(message), "user": user, "text": escaped(text)})
        except SlackError:
            pass


def escaped(text: str) -> str:
    """Text in which Slack sees no markup.

    >>> escaped("<!channel> & <https://evil|ok>")
    '&lt;!channel&gt; &amp; &lt;https://evil|ok&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _content(post: Post) -> dict[str, Any]:
    body = "\n".join((post.body, *([post.link] if post.link else ())))
    blocks = [_section(body[:TEXT])]
    blocks += [_section(line[:TEXT]) for line in post.status]
    if post.buttons:
        blocks.append({"type": "actions", "elements": [_button(each) for each in post.buttons]})
    return {"text": escaped(post.summary), "blocks": blocks, "unfurl_links": False, "link_names": False}


def _section(text: str) -> dict[str, Any]:
    # `expand`: Slack folds long blocks otherwise, and what is folded was not read.
    return {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}, "expand": True}


def _button(button: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": "button",
        "action_id": button.do,
        "value": button.value,
        "text": {"type": "plain_text", "text": button.label, "emoji": False},
    }
    if button.do in STYLES:
        shown["style"] = STYLES[button.do]
    if button.confirm:
        shown["confirm"] = {
            "title": {"type": "plain_text", "text": button.label},
            "text": {"type": "plain_text", "text": button.confirm[:300]},
            "confirm": {"type": "plain_text", "text": button.label},
            "deny": {"type": "plain_text", "text": "Leave it"},
        }
    return shown


def _room(message: str) -> str:
    return message.partition("/")[0]


def _moment(message: str) -> str:
    return message.rpartition("/")[2]
