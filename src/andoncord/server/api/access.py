"""Tokens and login codes over HTTP."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.access import Token, scopes_text
from andoncord.kernel.time import rfc3339
from andoncord.server import requests as bodies
from andoncord.server.access_log import AccessLog
from andoncord.server.accounts import Accounts
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.ports import AccessStore


class AccessApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, store: AccessStore, accounts: Accounts, log: AccessLog, url: str) -> None:
        self._url = url.rstrip("/")
        self._door = door
        self._accounts = accounts
        self._log = log
        self._store = store

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        get, post = router.get, router.post
        get("/tokens")(self.tokens)
        post("/tokens", status_code=201)(self.create_token)
        router.delete("/tokens/{token_id}", status_code=204)(self.revoke_token)
        post("/login-codes", status_code=201)(self.login_code)
        return router

    async def tokens(self, request: Request) -> Response:
        """Every token ever made. Secrets are not kept and cannot be shown."""
        return answer({"items": [_token(token) for token in self._store.tokens()]})

    async def create_token(self, request: Request, body: bodies.TokenBody) -> Response:
        """Make a token. Its secret is in the answer, this once."""
        token, secret = self._door.auth.create_token(
            name=body.name, scopes=body.wanted, agent=body.agent, owner=body.owner, days=body.days
        )
        about = f"{token.id} for {token.owner or token.name}: {scopes_text(token.scopes)} {token.agent}".rstrip()
        self._log.changed(self._door.principal(request).actor, "token made", about)
        return answer({**_token(token), "token": secret}, 201)

    async def revoke_token(self, request: Request, token_id: str) -> Response:
        """End a token; what it opened is closed at once."""
        self._door.auth.revoke_token(token_id)
        return Response(status_code=204)

    async def login_code(self, request: Request, user: str = "") -> Response:
        """A one-time code that opens the console, good for five minutes: for who asks, or for the account of `user`."""
        principal = self._door.principal(request)
        if user and user != principal.name:
            self._accounts.get(user)
            code = self._door.auth.login_code(name=user, scopes=())
        else:
            is_account = self._accounts.find(principal.name) is not None
            code = self._door.auth.login_code(name=principal.name, scopes=() if is_account else (principal.scope,))
        self._log.changed(principal.actor, "login link made", user or principal.name)
        base = self._url or str(request.base_url).rstrip("/")
        return answer({"code": code, "url": f"{base}/login#code={code}"}, 201)


def _token(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "scopes": list(token.scopes),
        "owner": token.owner or None,
        "agent": token.agent or None,
        "created_at": rfc3339(token.created_ns),
        "expires_at": rfc3339(token.expires_ns) if token.expires_ns else None,
        "used_at": rfc3339(token.used_ns) if token.used_ns else None,
        "revoked_at": rfc3339(token.revoked_ns) if token.revoked_ns else None,
    }
