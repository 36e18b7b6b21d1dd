"""Tickets as issues of a Jira Cloud project (REST API, version 3)."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from andoncord.adapters.ticket.wire import MAX_PAGES, Api, decoded
from andoncord.kernel.ports import Clock
from andoncord.respond.ticket import Ticket, TicketText, TrackerError

PER_PAGE = 100
SUMMARY = 255
"""Characters of a summary that Jira takes."""
DONE = "done"
"""The key of the category of statuses that an issue is over in."""


class _Fields(msgspec.Struct, frozen=True):
    labels: tuple[str, ...] = ()


class _Issue(msgspec.Struct, frozen=True):
    key: str
    fields: _Fields = _Fields()


class _Found(msgspec.Struct, frozen=True):
    issues: tuple[_Issue, ...] = ()
    nextPageToken: str | None = None  # noqa: N815


class _Comment(msgspec.Struct, frozen=True):
    body: Any = None


class _Comments(msgspec.Struct, frozen=True):
    comments: tuple[_Comment, ...] = ()
    total: int = 0


class _Status(msgspec.Struct, frozen=True):
    statusCategory: dict[str, Any] = {}  # noqa: N815

    @property
    def is_done(self) -> bool:
        return self.statusCategory.get("key") == DONE


class _StatusFields(msgspec.Struct, frozen=True):
    status: _Status


class _Stands(msgspec.Struct, frozen=True):
    fields: _StatusFields


class _Transition(msgspec.Struct, frozen=True):
    id: str
    to: _Status


class _Transitions(msgspec.Struct, frozen=True):
    transitions: tuple[_Transition, ...] = ()


class JiraTracker:
    """Issues of one project; the marker is a label. Texts are Atlassian documents, in which words are words and never markup.

    Args:
        url: the site, such as `https://example.atlassian.net`.
        user: the e-mail address that the token belongs to; empty for a bearer token.
        token: read anew each time.
        closes: move the issue to a status that counts as done when the incident is over.
    """

    def __init__(
        self,
        *,
        url: str,
        project: str,
        issue_type: str,
        user: str,
        token: Callable[[], str],
        labels: tuple[str, ...],
        closes: bool,
        clock: Clock,
    ) -> None:
        self._api = Api(url, headers=self._headers, secret=token, clock=clock)
        self._url = url.rstrip("/")
        self._project = project
        self._issue_type = issue_type
        self._user = user
        self._token = token
        self._labels = labels
        self._closes = closes

    async def find(self, text: TicketText) -> Ticket | None:
        """Ask for the label."""
        asked: dict[str, Any] = {
            "jql": f'project = "{self._project}" AND labels = "{text.marker}" ORDER BY created ASC',
            "fields": ["labels"],
            "maxResults": PER_PAGE,
        }
        for _ in range(MAX_PAGES):
            found = decoded(await self._api.ask("POST", "/rest/api/3/search/jql", body=asked), _Found)
            for issue in found.issues:
                if text.marker in issue.fields.labels:
                    return self._ticket(issue.key)
            if not found.nextPageToken:
                return None
            asked["nextPageToken"] = found.nextPageToken
        raise TrackerError(f"more than {MAX_PAGES} pages of issues", is_final=True)

    async def open(self, text: TicketText) -> Ticket:
        """Make an issue."""
        fields = {
            "project": {"key": self._project},
            "issuetype": {"name": self._issue_type},
            "summary": text.title[:SUMMARY],
            "labels": [text.marker, *self._labels],
            "description": document(text, text.marker),
        }
        made = decoded(await self._api.ask("POST", "/rest/api/3/issue", body={"fields": fields}), _Issue)
        return self._ticket(made.key)

    async def resolve(self, ticket: str, text: TicketText) -> None:
        """Comment, unless the comment is there already, and move it to done, unless it is there already."""
        marker, issue = f"{text.marker}-over", f"/rest/api/3/issue/{ticket}"
        if not await self._is_said(f"{issue}/comment", marker):
            await self._api.ask("POST", f"{issue}/comment", body={"body": document(text, marker)})
        if not self._closes:
            return
        stands = decoded(await self._api.ask("GET", issue, query={"fields": "status"}), _Stands)
        if stands.fields.status.is_done:
            return
        possible = decoded(await self._api.ask("GET", f"{issue}/transitions"), _Transitions).transitions
        to_done = next((each for each in possible if each.to.is_done), None)
        if to_done is None:
            raise TrackerError(f"{ticket} has no transition to a status that counts as done: close it by hand", is_final=True)
        await self._api.ask("POST", f"{issue}/transitions", body={"transition": {"id": to_done.id}})

    async def check(self) -> None:
        """See that the project is there and the token may see it."""
        await self._api.ask("GET", f"/rest/api/3/project/{self._project}")

    async def _is_said(self, path: str, marker: str) -> bool:
        seen = 0
        for _ in range(MAX_PAGES):
            query = {"startAt": str(seen), "maxResults": str(PER_PAGE)}
            page = decoded(await self._api.ask("GET", path, query=query), _Comments)
            if any(last_words(each.body) == marker for each in page.comments):
                return True
            seen += len(page.comments)
            if not page.comments or seen >= page.total:
                return False
        raise TrackerError(f"more than {MAX_PAGES} pages of comments", is_final=True)

    def _ticket(self, key: str) -> Ticket:
        return Ticket(id=key, url=f"{self._url}/browse/{key}")

    def _headers(self) -> dict[str, str]:
        token = self._token()
        basic = base64.b64encode(f"{self._user}:{token}".encode()).decode()
        return {"Accept": "application/json", "Authorization": f"Basic {basic}" if self._user else f"Bearer {token}"}


def document(text: TicketText, marker: str) -> dict[str, Any]:
    """The text as an Atlassian document; the marker is its last paragraph."""
    lines = [*text.lines, *([text.link] if text.link else []), marker]
    return {
        "type": "doc",
        "version": 1,
        "content": [{"type": "paragraph", "content": [{"type": "text", "text": each}]} for each in lines if each],
    }


def last_words(body: Any) -> str:
    """The last paragraph of an Atlassian document.

    >>> last_words({"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "over"}]}]})
    'over'
    """
    content = body.get("content") if isinstance(body, dict) else None
    return "".join(_texts(content[-1])).strip() if isinstance(content, list) and content else ""


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("text"), str):
            yield node["text"]
        for each in node.get("content") or ():
            yield from _texts(each)
