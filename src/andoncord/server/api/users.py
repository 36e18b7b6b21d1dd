"""Accounts and the record of access over HTTP."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.access import SCOPES_OF, AccessEvent, Account, Role
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import rfc3339
from andoncord.server.api.door import DEFAULT_LIMIT, ApiDoor, answer, bounded
from andoncord.server.identity import Identity
from andoncord.server.requests import MAX_NAME, Body

MAX_PASSWORD = 1_000
KINDS = ("change", "login", "denied")


class NewUser(Body):
    """An account to be made."""

    name: str = Field(min_length=1, max_length=MAX_NAME)
    role: Role = Role.VIEWER
    password: str = Field(default="", max_length=MAX_PASSWORD)
    """Without one the account signs in by one-time links only."""


class RoleBody(Body):
    """What an account is to be good for."""

    role: Role


class PasswordBody(Body):
    """A new password."""

    password: str = Field(min_length=1, max_length=MAX_PASSWORD)


class UserApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, identity: Identity) -> None:
        self._door = door
        self._accounts = identity.accounts
        self._log = identity.log

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/me")(self.me)
        router.get("/users")(self.users)
        router.post("/users", status_code=201)(self.add)
        router.post("/users/{name}/role")(self.set_role)
        router.post("/users/{name}/password")(self.set_password)
        router.post("/users/{name}/disable")(self.disable)
        router.post("/users/{name}/enable")(self.enable)
        router.get("/audit")(self.audit)
        return router

    async def me(self, request: Request) -> Response:
        """Who is asking, and what they may do."""
        principal = self._door.principal(request)
        return answer({"name": principal.name, "may": sorted(principal.may), "via": principal.via})

    async def users(self, request: Request) -> Response:
        """Every account."""
        return answer({"items": [shown_account(each) for each in self._accounts.all()]})

    async def add(self, request: Request, body: NewUser) -> Response:
        """Make an account."""
        made = await self._accounts.add(body.name, body.role, password=body.password)
        self._log.changed(self._door.principal(request).actor, "account made", f"{made.name} as {made.role.value}")
        return answer(shown_account(made), 201)

    async def set_role(self, request: Request, name: str, body: RoleBody) -> Response:
        """Change what an account is good for, from its next request on."""
        changed = self._accounts.set_role(name, body.role)
        self._log.changed(self._door.principal(request).actor, "role given", f"{changed.name} as {changed.role.value}")
        return answer(shown_account(changed))

    async def set_password(self, request: Request, name: str, body: PasswordBody) -> Response:
        """Change a password; the sessions of the account end."""
        return answer(shown_account(await self._accounts.set_password(name, body.password)))

    async def disable(self, request: Request, name: str) -> Response:
        """End an account, its sessions and its tokens."""
        return answer(shown_account(self._accounts.disable(name)))

    async def enable(self, request: Request, name: str) -> Response:
        """Let a disabled account sign in again."""
        return answer(shown_account(self._accounts.enable(name)))

    async def audit(
        self, request: Request, kind: str = "", who: str = "", before: int = 0, limit: int = DEFAULT_LIMIT
    ) -> Response:
        """Who was let in to change something, who signed in, who was refused; the newest first."""
        if kind and kind not in KINDS:
            raise CallerError(f"unknown kind {kind!r}", place="kind", remedy=f"use one of: {', '.join(KINDS)}")
        if before < 0:
            raise CallerError("is not negative", place="before")
        found = self._log.events(before=before, limit=bounded(limit), kind=kind, who=who)
        return answer({"items": [shown_event(*each) for each in found], "next": found[-1][0] if len(found) == limit else None})


def shown_event(position: int, event: AccessEvent) -> dict[str, Any]:
    """One decision, as it is shown."""
    return {
        "position": position,
        "at": rfc3339(event.at_ns),
        "kind": event.kind,
        "who": event.who or None,
        "via": event.via or None,
        "address": event.address or None,
        "what": event.what,
        "about": event.about or None,
        "allowed": event.allowed,
        "why": event.why or None,
        "times": event.times,
    }


def shown_account(account: Account) -> dict[str, Any]:
    """One account, as it is shown: never with its password."""
    return {
        "name": account.name,
        "role": account.role,
        "scopes": list(SCOPES_OF[account.role]),
        "password": bool(account.password),
        "elsewhere": bool(account.subject),
        "created_at": rfc3339(account.created_ns),
        "disabled_at": rfc3339(account.disabled_ns) if account.disabled_ns else None,
        "seen_at": rfc3339(account.seen_ns) if account.seen_ns else None,
    }
