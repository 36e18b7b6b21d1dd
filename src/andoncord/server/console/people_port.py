"""What the console needs to know of people: what waits for their word, and who was let in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in, and the token that their forms must carry."""

    name: str
    csrf: str
    scope: str = "respond"
    """The broadest that they have."""
    may: frozenset[str] = frozenset(("read", "respond"))
    address: str = ""


class PeoplePort(Protocol):
    """Reads return the JSON views of the API."""

    def approvals(self) -> Sequence[Mapping[str, Any]]:
        """Requests for an approval: those that wait, the oldest first, then those that are over, the newest first."""
        ...

    def approval(self, request_id: str, session: Session) -> Mapping[str, Any]:
        """One request. `whole` is everything that is approved, or empty; `objection` why this person cannot answer it.

        Raises:
            NotFoundError: there is none.
        """
        ...

    def account(self, session: Session) -> Mapping[str, Any] | None:
        """The account of this session; None for one that was opened by the machine's own user."""
        ...

    async def change_password(self, request: Request, session: Session, *, old: str, new: str) -> Callable[[Response], None]:
        """Change a person's own password. Their sessions end; what is returned gives this browser a new one.

        Raises:
            CallerError: the old one is wrong, or the new one will not do.
        """
        ...

    def audit(self, *, kind: str, who: str, before: int) -> Mapping[str, Any]:
        """A page of `items`, decisions about access with the newest first; `next` is where the following page begins."""
        ...
