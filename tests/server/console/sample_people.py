"""Requests for approvals and decisions about access, made up, for the console's tests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from andoncord.kernel.errors import ConflictError, NotFoundError
from andoncord.respond.approval import Asked, Request, whole
from andoncord.server.api.approvals import shown_request
from andoncord.server.console.people_port import Session

MINUTE_NS = 60_000_000_000
ASKED_NS = 1_767_275_700_000_000_000


def a_request(number: int, *, arguments: str, agent: str = "refund-agent", people: int = 1, **more: Any) -> Request:
    action = Asked(
        agent=agent,
        run_id="run-17",
        tool="payments.refund",
        arguments=arguments,
        policy_id="refund-cap",
        policy_digest="5f2c" * 16,
        role="finance",
        epoch=(1, 3),
        people=people,
    )
    asked = {"requested_by": "fleet", "asked_ns": ASKED_NS, "until_ns": ASKED_NS + 15 * MINUTE_NS}
    return Request(id=f"apr_{number:06d}", action=action, digest=action.digest, people=people, **{**asked, **more})


class SamplePeople:
    """A `PeoplePort` over four requests: a short one, one for two people, one that cannot be shown whole, one that is over."""

    def __init__(self, hostile: str) -> None:
        told = f'{{"amount":250,"note":"{"x" * 7_000}","to":"acct_8812"}}'
        self.requests = {
            each.id: each
            for each in (
                a_request(1, arguments='{"amount":250,"to":"<b>acct_8812</b>"}', agent=hostile or "refund-agent"),
                a_request(2, arguments=told, people=2, not_by=("olga",), approved_by=("person:bob",)),
                a_request(3, arguments='{"amount":"\u202e052"}'),
                a_request(4, arguments="{}", status="denied", by="person:bob", reason="not today"),
            )
        }

    def approvals(self) -> Sequence[Mapping[str, Any]]:
        return [shown_request(each) for each in self.requests.values()]

    def approval(self, request_id: str, session: Session) -> Mapping[str, Any]:
        if request_id not in self.requests:
            raise NotFoundError(f"there is no approval request {request_id!r}")
        request = self.requests[request_id]
        return {**shown_request(request), "whole": whole(request), "objection": ""}

    def account(self, session: Session) -> Mapping[str, Any] | None:
        return {"role": "responder", "password": True, "seen_at": "2026-01-01T13:59:00Z"}

    async def change_password(
        self, request: HttpRequest, session: Session, *, old: str, new: str
    ) -> Callable[[Response], None]:
        raise ConflictError("the password you have now is another one")

    def audit(self, *, kind: str, who: str, before: int) -> Mapping[str, Any]:
        rows = [
            _row(3, "change", "mira", "POST /api/v1/orders", allowed=True),
            _row(2, "denied", "", "GET /api/v1/tokens", allowed=False),
            _row(1, "login", "mira", "sign in", allowed=True),
        ]
        return {"items": [row for row in rows if kind in ("", row["kind"])], "next": None if before else 1}


def _row(position: int, kind: str, who: str, what: str, *, allowed: bool) -> dict[str, Any]:
    return {
        "position": position,
        "at": "2026-01-01T13:59:00Z",
        "kind": kind,
        "who": who or None,
        "via": "console" if who else None,
        "address": "127.0.0.1",
        "what": what,
        "about": what.rsplit(" ", maxsplit=1)[-1],
        "allowed": allowed,
        "why": None if allowed else "the token is unknown",
        "times": 1 if allowed else 4,
    }
