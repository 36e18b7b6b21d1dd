"""Tickets as issues of a GitHub repository (REST API, version 2022-11-28)."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from andoncord.adapters.ticket.wire import MAX_PAGES, Api, decoded
from andoncord.kernel.ports import Clock
from andoncord.kernel.time import HOUR_NS, rfc3339
from andoncord.respond.ticket import Ticket, TicketText, TrackerError

GITHUB = "https://api.github.com"
VERSION = "2022-11-28"
PER_PAGE = "100"
SKEW_NS = HOUR_NS
"""How far GitHub's clock and ours may differ: issues are looked for from so long before the incident."""


class _Issue(msgspec.Struct, frozen=True):
    number: int
    html_url: str = ""
    body: str | None = None
    pull_request: dict[str, Any] | None = None


class _Comment(msgspec.Struct, frozen=True):
    body: str | None = None


class GitHubTracker:
    """Issues of one repository.

    The list of issues is gone through for the marker, not the search: an issue is in the list at once, in the search later. The
    marker counts only as the last line, where no word of an agent's can stand.

    Args:
        url: another server than GitHub's own, such as `https://github.example.org/api/v3`; empty for theirs.
        repository: `owner/name`.
        token: read anew each time.
        labels: put on every issue; GitHub leaves out those that the token may not set.
        closes: close the issue when the incident is over.
    """

    def __init__(
        self, *, url: str, repository: str, token: Callable[[], str], labels: tuple[str, ...], closes: bool, clock: Clock
    ) -> None:
        self._api = Api(url or GITHUB, headers=self._headers, secret=token, clock=clock)
        self._token = token
        self._issues = f"/repos/{repository}/issues"
        self._labels = labels
        self._closes = closes

    async def find(self, text: TicketText) -> Ticket | None:
        """Go through the issues that were changed since the incident opened, newest first."""
        since = f"{rfc3339(text.opened_ns - SKEW_NS)[:19]}Z"
        query = {"state": "all", "since": since, "sort": "created", "direction": "desc", "per_page": PER_PAGE}
        async for issue in self._listed(self._issues, query, _Issue):
            if issue.pull_request is None and _ends_with(issue.body, text.marker):
                return Ticket(id=str(issue.number), url=issue.html_url)
        return None

    async def open(self, text: TicketText) -> Ticket:
        """Make an issue."""
        asked = {"title": text.title, "body": markdown(text, text.marker), "labels": list(self._labels)}
        made = decoded(await self._api.ask("POST", self._issues, body=asked), _Issue)
        return Ticket(id=str(made.number), url=made.html_url)

    async def resolve(self, ticket: str, text: TicketText) -> None:
        """Comment, unless the comment is there already, and close."""
        marker, comments = f"{text.marker}-over", f"{self._issues}/{ticket}/comments"
        said = [_ends_with(each.body, marker) async for each in self._listed(comments, {"per_page": PER_PAGE}, _Comment)]
        if not any(said):
            await self._api.ask("POST", comments, body={"body": markdown(text, marker)})
        if self._closes:
            await self._api.ask("PATCH", f"{self._issues}/{ticket}", body={"state": "closed", "state_reason": "completed"})

    async def check(self) -> None:
        """See that the repository is there and its issues can be read; whether issues can be made GitHub does not say."""
        await self._api.ask("GET", self._issues, query={"per_page": "1"})

    async def _listed(self, path: str, query: Mapping[str, str], kind: type[Any]) -> AsyncIterator[Any]:
        """Every item of a list. Of the link to the next page only the query is taken, never the address."""
        for _ in range(MAX_PAGES):
            answer = await self._api.ask("GET", path, query=query)
            for each in decoded(answer, list[kind]):  # type: ignore[valid-type]
                yield each
            following = answer.links.get("next", {}).get("url", "")
            if not following:
                return
            query = dict(parse_qsl(urlsplit(following).query))
        raise TrackerError(f"more than {MAX_PAGES} pages of {path}: whether it is among the rest is not known", is_final=True)

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token()}",
            "X-GitHub-Api-Version": VERSION,
            "User-Agent": "andoncord",
        }


def markdown(text: TicketText, marker: str) -> str:
    """The text as Markdown in which no word of an agent's is markup or a mention: the fence is longer than any in it."""
    words = "\n".join(text.lines)
    fence = "`" * max(3, 1 + max((len(each) for each in re.findall("`+", words)), default=0))
    link = f"\nIncident: {text.link}\n" if text.link else ""
    return f"{fence}text\n{words}\n{fence}\n{link}\n{marker}"


def _ends_with(body: str | None, marker: str) -> bool:
    return (body or "").rstrip().rpartition("\n")[2].strip() == marker
