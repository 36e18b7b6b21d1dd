"""The console's way to what waits for people's word, and to the record of access."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from andoncord.engine.approvalbook import OPEN
from andoncord.kernel.access import Scope
from andoncord.kernel.errors import ConflictError
from andoncord.respond.approval import ApprovalSettings, refuse_second_word, refuse_wrong_person, whole
from andoncord.server.api.approvals import shown_request
from andoncord.server.api.users import shown_account, shown_event
from andoncord.server.asking import outdated
from andoncord.server.auth import address_of
from andoncord.server.console.people_port import Session
from andoncord.server.control import Control
from andoncord.server.identity import Identity
from andoncord.server.vault import Vault

SHOWN_OVER = 50
"""Requests that are over and still listed on the page."""
PAGE = 100


class ServerPeople:
    """A `PeoplePort` over the running server."""

    def __init__(self, *, control: Control, identity: Identity, approvals: ApprovalSettings, vault: Vault) -> None:
        self._control = control
        self._log = identity.log
        self._accounts = identity.accounts
        self._signing_in = identity.signing_in
        self._settings = approvals
        self._vault = vault

    def approvals(self) -> list[dict[str, Any]]:
        every = list(self._control.state.approvals.requests.values())
        waiting = [each for each in every if each.status in OPEN]
        over = [each for each in reversed(every) if each.status not in OPEN][:SHOWN_OVER]
        return [shown_request(each) for each in (*waiting, *over)]

    def approval(self, request_id: str, session: Session) -> dict[str, Any]:
        request = self._control.state.approvals.get(request_id)
        by = f"person:{session.name}"
        stale = outdated(self._control, request.action)
        objection = f"{stale}: nothing that is approved here would be used" if stale else ""
        try:
            if Scope.APPROVE.value not in session.may:
                raise ConflictError(f"{session.name} has no scope approve", remedy="ask a commander or an administrator")
            refuse_wrong_person(request, by=by, roles=self._settings.roles)
            refuse_second_word(request, by=by)
        except ConflictError as error:
            objection = str(error)
        seen = self._vault.request(request, may_read=Scope.APPROVE.value in session.may)
        return {**shown_request(seen), "whole": whole(seen), "objection": objection}

    def grant_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What the engine needs besides what the form says."""
        return {**parameters, "roles": self._settings.roles, "use_within_s": self._settings.use_within_s}

    def account(self, session: Session) -> dict[str, Any] | None:
        found = self._accounts.find(session.name)
        return shown_account(found) if found else None

    async def change_password(self, request: Request, session: Session, *, old: str, new: str) -> Callable[[Response], None]:
        known = await self._accounts.sign_in(session.name, old, address=address_of(request), device=session.csrf)
        if known is None:
            raise ConflictError("the password you have now is another one")
        await self._accounts.set_password(known.name, new)
        begun = self._signing_in.elsewhere(request, known.name, via="new password")
        return lambda response: self._signing_in.put_cookies(request, response, begun)

    def audit(self, *, kind: str, who: str, before: int) -> dict[str, Any]:
        found = self._log.events(before=before, limit=PAGE, kind=kind, who=who)
        return {"items": [shown_event(*each) for each in found], "next": found[-1][0] if len(found) == PAGE else None}
