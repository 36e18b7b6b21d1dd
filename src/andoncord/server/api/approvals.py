"""Approvals of single calls: guards ask and use them, people answer."""

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from andoncord.engine.facts import ApprovalAsked, ApprovalsTaken
from andoncord.kernel.access import Scope
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.time import SECOND_NS, rfc3339
from andoncord.respond.approval import ApprovalSettings, Asked, Request, check
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.asking import answering_for, outdated, people_needed
from andoncord.server.auth import ForbiddenError
from andoncord.server.requests import MAX_TEXT, Body
from andoncord.server.vault import Vault

MAX_ACTIONS = 64
MAX_BODY = 1 << 20
STATUSES = ("waiting", "granted", "denied", "expired", "used", "all")


class Granting(Body):
    """Approve the action with this digest, and no other."""

    digest: str = Field(min_length=64, max_length=64)
    reason: str = Field(default="", max_length=MAX_TEXT)


class Denying(Body):
    """Refuse it."""

    reason: str = Field(default="", max_length=MAX_TEXT)


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard asks, again and again while it waits."""

    instance: str
    actions: tuple[Asked, ...]


class ApprovalApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, settings: ApprovalSettings, vault: Vault) -> None:
        self._door = door
        self._settings = settings
        self._vault = vault

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/approvals")(self.approvals)
        router.get("/approvals/{request_id}")(self.approval)
        router.post("/approvals/{request_id}/grant", status_code=202)(self.grant)
        router.post("/approvals/{request_id}/deny", status_code=202)(self.deny)
        router.post("/approvals")(self.ask)
        return router

    async def approvals(self, request: HttpRequest, status: str = "waiting") -> Response:
        """Requests for an approval, the oldest first."""
        if status not in STATUSES:
            raise CallerError(f"unknown status {status!r}", place="status", remedy=f"use one of: {', '.join(STATUSES)}")
        found = self._door.control.state.approvals.requests.values()
        return answer({"items": [self._shown(request, each) for each in found if status in ("all", each.status)]})

    async def approval(self, request: HttpRequest, request_id: str) -> Response:
        """One request; with the whole action for who may approve."""
        return answer(self._shown(request, self._door.control.state.approvals.get(request_id)))

    async def grant(self, request: HttpRequest, request_id: str, body: Granting) -> Response:
        """Approve one exact call, as somebody in its role who did not ask for it."""
        asked = self._door.control.state.approvals.get(request_id)
        if asked.status == "waiting":
            self._vault.refuse_unreadable(self._vault.action(asked)[1], asked.id)
        mine = {"roles": self._settings.roles, "use_within_s": self._settings.use_within_s}
        given = {"request": request_id, "digest": body.digest, "reason": body.reason}
        return await self._door.do(request, "grant_approval", parameters={**given, **mine})

    async def deny(self, request: HttpRequest, request_id: str, body: Denying) -> Response:
        """Refuse one call, as somebody in its role."""
        given = {"request": request_id, "reason": body.reason, "roles": self._settings.roles}
        return await self._door.do(request, "deny_approval", parameters=given)

    async def ask(self, request: HttpRequest) -> Response:
        """For guards: ask for approvals, and use those that were granted. Each is handed out once, to one guard."""
        control = self._door.control
        token = self._door.auth.require_agent(request)
        asking = await _body(request)
        for action in asking.actions:
            if not token.covers(action.agent):
                raise ForbiddenError(f"this token is bound to {token.agent!r}")
            check(action)
        now = control.clock.now()
        current = tuple(action for action in asking.actions if not outdated(control, action))
        used = await control.engine.submit(ApprovalsTaken(actions=current, instance=asking.instance, now_ns=now))
        handed = {entry.body["digest"] for entry in used if entry.kind == "approval.used"}
        statuses: dict[str, str] = {}
        refused: ConflictError | None = None
        for action in asking.actions:
            if action.digest in handed:
                statuses[action.digest] = "granted"
                continue
            if action not in current:
                # The guard is about to hear of what is in force; what it then asks for has another digest.
                statuses[action.digest] = "waiting"
                continue
            try:
                with self._vault.action_kept(action) as masked:
                    fact = ApprovalAsked(
                        action=masked,
                        digest=action.digest,
                        requested_by=token.name,
                        not_by=answering_for(control, action.agent, token),
                        people=people_needed(control, action),
                        wait_s=self._settings.wait_s,
                        now_ns=now,
                    )
                    await control.engine.submit(fact)
            except ConflictError as error:
                # What was handed out above is used up: the others must hear of it, whatever becomes of this one.
                refused = error
                continue
            latest = control.state.approvals.latest_for(action.digest)
            # Granted since the look above: it is handed out at the next one, when that is written down as well.
            statuses[action.digest] = "waiting" if latest is None or latest.status == "granted" else latest.status
        if refused is not None and not statuses:
            raise refused
        return answer({"statuses": statuses, "use_within_s": self._settings.use_within_s})

    def _shown(self, request: HttpRequest, asked: Request) -> dict[str, Any]:
        may_read = Scope.APPROVE in self._door.principal(request).may
        action, shown = self._vault.action(asked, may_read=may_read)
        return {**shown_request(msgspec.structs.replace(asked, action=action)), "shown": shown}


def shown_request(request: Request) -> dict[str, Any]:
    """One request, as it is shown."""
    shown: dict[str, Any] = msgspec.to_builtins(request)
    names = ("id", "status", "digest", "requested_by", "not_by", "people", "approved_by", "by", "reason", "action")
    times = {"asked_at": rfc3339(request.asked_ns), "until": rfc3339(request.until_ns // SECOND_NS * SECOND_NS)}
    return {**{name: shown[name] for name in names}, **times}


async def _body(request: HttpRequest) -> Asking:
    body = await request.body()
    if len(body) > MAX_BODY:
        raise CallerError(f"the body is larger than {MAX_BODY} bytes")
    try:
        asking = msgspec.json.decode(body, type=Asking)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallerError(f"the body is not as described: {error}") from None
    if len(asking.actions) > MAX_ACTIONS:
        raise CallerError(f"asks for more than {MAX_ACTIONS} at once", place="actions")
    return asking
