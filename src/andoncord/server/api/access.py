"""Tokens and login codes over HTTP."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.access import Scope, Token
from andoncord.kernel.time import rfc3339
from andoncord.server import requests as bodies
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.ports import AccessStore


class AccessApi:
    """Routes under `/api/v1`."""

    def __init__(self, door: ApiDoor, *, store: AccessStore) -> None:
        self._door = door
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
        await self._door.auth.require(request, Scope.ADMIN)
        return answer({"items": [_token(token) for token in self._store.tokens()]})

    async def create_token(self, request: Request, body: bodies.TokenBody) -> Response:
        """Make a token. Its secret is in the answer, this once."""
        await self._door.auth.require(request, Scope.ADMIN)
        token, secret = self._door.auth.create_token(name=body.name, scope=body.scope, agent=body.agent)
        return answer({**_token(token), "token": secret}, 201)

    async def revoke_token(self, request: Request, token_id: str) -> Response:
        """End a token; what it opened is closed at once."""
        await self._door.auth.require(request, Scope.ADMIN)
        self._door.auth.revoke_token(token_id)
        return Response(status_code=204)

    async def login_code(self, request: Request) -> Response:
        """A one-time code that opens the console, good for five minutes."""
        principal = await self._door.auth.require(request, Scope.ADMIN)
        code = self._door.auth.login_code(name=principal.name, scope=principal.scope)
        return answer({"code": code, "url": f"{request.base_url}login#code={code}"}, 201)


def _token(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "agent": token.agent or None,
        "created_at": rfc3339(token.created_ns),
        "revoked_at": rfc3339(token.revoked_ns) if token.revoked_ns else None,
    }
