"""The door that every route of the API shares: who asks, and acting once for each idempotency key."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from andoncord.kernel.canon import canonical_json, digest
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.journal import Entry
from andoncord.server.auth import Auth, Principal
from andoncord.server.control import Control
from andoncord.server.ports import AccessStore

PREFIX = "/api/v1"
SPEC_PATH = f"{PREFIX}/openapi.json"
MAX_LIMIT = 500
DEFAULT_LIMIT = 50
MAX_KEY = 200

Act = Callable[[str], Awaitable[tuple[int, Any]]]
"""Does something under an idempotency key; the status and the body of the answer."""


def answer(body: Any, status: int = 200) -> Response:
    """`body` as JSON."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


class ApiDoor:
    """Who asks, and acting once.

    Args:
        answers: remembers what was answered to an idempotency key.
    """

    def __init__(self, *, control: Control, auth: Auth, answers: AccessStore) -> None:
        self.control = control
        self.auth = auth
        self._answers = answers
        self._acting: dict[str, asyncio.Lock] = {}

    def principal(self, request: Request) -> Principal:
        """Who is asking; the gate has let them in."""
        found: Principal = request.state.principal
        return found

    async def do(
        self,
        request: Request,
        command: str,
        *,
        incident: str = "",
        agent: str = "",
        parameters: dict[str, Any],
        status: int = 202,
    ) -> Response:
        """Grant a person's wish, once for each `Idempotency-Key`."""
        principal = self.principal(request)

        async def act(key: str) -> tuple[int, Any]:
            asked = {**parameters, "scope": principal.scope.value}
            entries = await self.control.ask(
                command, who=principal.actor, incident=incident, agent=agent, parameters=asked, key=key
            )
            return status, _done(self.control.state.wishes.get(key, incident), entries)

        return await self._once(request, principal, act)

    async def _once(self, request: Request, principal: Principal, act: Act) -> Response:
        key = request.headers.get("idempotency-key", "")
        if not key:
            status, body = await act("")
            return answer(body, status)
        if len(key) > MAX_KEY or not key.isprintable():
            raise CallerError(f"is at most {MAX_KEY} printable characters", place="Idempotency-Key")
        own_key = f"{principal.name}/{key}"
        asked = digest(canonical_json([request.method, request.url.path, (await request.body()).decode("utf-8", "replace")]))
        lock = self._acting.setdefault(own_key, asyncio.Lock())
        try:
            async with lock:
                known = self._answers.remembered_answer(own_key)
                if known is None:
                    status, body = await act(own_key)
                    content = msgspec.json.encode(body)
                    self._answers.remember_answer(own_key, asked, status, content)
                    return Response(content, status, media_type="application/json")
        finally:
            if not lock.locked():
                self._acting.pop(own_key, None)
        if known[0] != asked:
            raise ConflictError("this key was used for another request", place="Idempotency-Key", remedy="use a new one")
        return Response(known[2], known[1], {"Idempotent-Replayed": "true"}, "application/json")


def bounded(limit: int) -> int:
    """`limit`, if a page may be that long."""
    if not 1 <= limit <= MAX_LIMIT:
        raise CallerError(f"is 1 to {MAX_LIMIT}", place="limit")
    return limit


def _done(incident: str, entries: tuple[Entry, ...]) -> dict[str, Any]:
    """What an act led to: the incident, its first intent, and where the receipt will be."""
    incident = next((entry.incident for entry in entries if entry.incident), incident)
    intent = next((entry.body["intent"] for entry in entries if entry.kind == "intent.issued"), None)
    receipt_url = f"/api/v1/incidents/{incident}/receipts/{intent}" if intent and incident else None
    order = next((entry.body["order"] for entry in entries if entry.kind in ("order.given", "order.lifted")), None)
    done = {"incident": incident or None, "intent": intent, "receipt_url": receipt_url}
    return done if order is None else {**done, "order": order["id"] if isinstance(order, dict) else order}
