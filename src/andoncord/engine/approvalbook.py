"""Every request for an approval that waits or was answered lately."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from andoncord.kernel.errors import NotFoundError
from andoncord.kernel.journal import Entry
from andoncord.respond.approval import Asked, Request

OPEN = ("waiting", "granted")
KEPT = 2_000
"""Requests that are over and still listed."""


@dataclass(slots=True)
class ApprovalBook:
    """Rebuilt from the journal like the state that holds it."""

    requests: dict[str, Request] = field(default_factory=dict)
    asked: int = 0

    def open_for(self, digest: str) -> Request | None:
        """The request for this action that waits, or is granted and not used."""
        return next((each for each in self.requests.values() if each.digest == digest and each.status in OPEN), None)

    def latest_for(self, digest: str) -> Request | None:
        """The last request for this action, whatever became of it."""
        return next((each for each in reversed(self.requests.values()) if each.digest == digest), None)

    def get(self, request_id: str) -> Request:
        """The request with this id.

        Raises:
            NotFoundError: there is none.
        """
        try:
            return self.requests[request_id]
        except KeyError:
            raise NotFoundError(f"there is no approval request {request_id!r}", remedy="andon approvals ls") from None

    @property
    def next_end_ns(self) -> int | None:
        """When the next request is over by itself; None when none is."""
        return min((each.until_ns for each in self.requests.values() if each.status in OPEN), default=None)

    def apply(self, entry: Entry) -> None:
        """What an entry about approvals changes."""
        body = entry.body
        match entry.kind:
            case "approval.requested":
                self._ask(entry)
            case "approval.seconded":
                approved_by = (*self.requests[body["id"]].approved_by, entry.by)
                self._change(body["id"], approved_by=approved_by, reason=body["reason"])
            case "approval.granted":
                until_ns = entry.at_ns + int(body["use_ns"])
                self._change(body["id"], status="granted", by=entry.by, reason=body["reason"], until_ns=until_ns)
            case "approval.denied":
                self._change(body["id"], status="denied", by=entry.by, reason=body["reason"])
            case "approval.expired":
                self._change(body["id"], status="expired", reason=body["why"])
            case "approval.used":
                self._change(body["id"], status="used")

    def _ask(self, entry: Entry) -> None:
        body = entry.body
        self.requests[body["id"]] = Request(
            id=body["id"],
            action=msgspec.convert(body["action"], Asked),
            digest=body["digest"],
            requested_by=body["requested_by"],
            not_by=tuple(body.get("not_by", ())),
            people=body.get("people", 1),
            asked_ns=entry.at_ns,
            until_ns=entry.at_ns + int(body["wait_ns"]),
        )
        self.asked += 1
        over = [each.id for each in self.requests.values() if each.status not in OPEN]
        for request_id in over[: max(0, len(over) - KEPT)]:
            del self.requests[request_id]

    def _change(self, request_id: str, **changes: Any) -> None:
        self.requests[request_id] = msgspec.structs.replace(self.requests[request_id], **changes)
