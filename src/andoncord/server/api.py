"""The HTTP API for people and their tools (UX-3)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from andoncord.engine.gate import deploy_gate
from andoncord.kernel.access import Scope, Token
from andoncord.kernel.canon import canonical_json, digest
from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import rfc3339
from andoncord.kernel.vocabulary import IncidentState
from andoncord.server import requests as bodies
from andoncord.server.auth import Auth, Principal
from andoncord.server.control import Control
from andoncord.server.live import LiveStreams
from andoncord.server.ports import AccessStore, JournalReader
from andoncord.telemetry.event import Event

MAX_LIMIT = 500
DEFAULT_LIMIT = 50
MAX_KEY = 200
STATES = frozenset(("open", "all", *(state.value for state in IncidentState)))
SPEC_PATH = "/api/v1/openapi.json"

Act = Callable[[str], Awaitable[tuple[int, Any]]]
"""Does something under an idempotency key; the status and the body of the answer."""


def answer(body: Any, status: int = 200) -> Response:
    """`body` as JSON."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


class Api:
    """Routes under `/api/v1`.

    Args:
        answers: remembers what was answered to an idempotency key.
    """

    def __init__(
        self, *, control: Control, auth: Auth, answers: AccessStore, journal: JournalReader, live: LiveStreams
    ) -> None:
        self._control = control
        self._auth = auth
        self._answers = answers
        self._journal = journal
        self._live = live
        self._acting: dict[str, asyncio.Lock] = {}

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter(prefix="/api/v1")
        get, post = router.get, router.post
        get("/incidents")(self.incidents)
        post("/incidents", status_code=201)(self.declare)
        get("/incidents/{incident}")(self.incident)
        get("/incidents/{incident}/review")(self.review)
        get("/incidents/{incident}/receipts/{intent}")(self.receipt)
        post("/incidents/{incident}/containments", status_code=202)(self.contain)
        post("/incidents/{incident}/recoveries", status_code=202)(self.recover)
        post("/incidents/{incident}/release", status_code=202)(self.release)
        post("/incidents/{incident}/disposition", status_code=202)(self.dispose)
        post("/incidents/{incident}/notes", status_code=201)(self.note)
        post("/incidents/{incident}/proposal/apply", status_code=202)(self.apply_proposal)
        post("/incidents/{incident}/review", status_code=202)(self.answer_review)
        get("/agents")(self.agents)
        post("/agents/{agent}/orders", status_code=202)(self.order)
        post("/fleet/orders", status_code=202)(self.fleet_order)
        get("/registry/{agent}/versions")(self.versions)
        post("/registry/{agent}/versions", status_code=201)(self.publish)
        post("/registry/{agent}/active", status_code=202)(self.activate)
        get("/policies")(self.policies)
        get("/traces/{trace_id}")(self.trace)
        get("/kpis")(self.kpis)
        get("/deploy-gate")(self.deploy_gate)
        get("/ledger")(self.ledger)
        get("/journal")(self.journal)
        get("/tokens")(self.tokens)
        post("/tokens", status_code=201)(self.create_token)
        router.delete("/tokens/{token_id}", status_code=204)(self.revoke_token)
        post("/login-codes", status_code=201)(self.login_code)
        get("/stream")(self.stream)
        return router

    # Incidents.

    async def incidents(self, request: Request, state: str = "all", limit: int = DEFAULT_LIMIT, after: str = "") -> Response:
        """Incidents, the worst and newest first."""
        await self._auth.require(request, Scope.READ)
        if state not in STATES:
            raise CallerError(f"unknown state {state!r}", place="state", remedy=f"use one of: {', '.join(sorted(STATES))}")
        found = self._control.summaries(state)
        ids = [each["id"] for each in found]
        if after and after not in ids:
            raise CallerError("the page it continued is gone", place="after", remedy="start from the first page")
        start = ids.index(after) + 1 if after else 0
        limit = _bounded(limit)
        page = found[start : start + limit]
        return answer({"items": page, "next": page[-1]["id"] if start + limit < len(found) else None})

    async def incident(self, request: Request, incident: str) -> Response:
        """Everything about one incident."""
        await self._auth.require(request, Scope.READ)
        return answer(self._control.view(incident))

    async def review(self, request: Request, incident: str) -> Response:
        """The post-incident review as Markdown."""
        await self._auth.require(request, Scope.READ)
        review = self._control.view(incident)["review"]
        if review is None:
            raise NotFoundError("there is no review yet", remedy="it is drafted when the incident is resolved")
        return Response(review["markdown"], media_type="text/markdown; charset=utf-8")

    async def receipt(self, request: Request, incident: str, intent: str) -> Response:
        """What came of one act: 200 with the receipt, 202 while it is under way."""
        await self._auth.require(request, Scope.READ)
        found = self._control.receipt(incident, intent)
        return answer(found) if found else answer({"intent": intent, "outcome": None}, 202)

    async def declare(self, request: Request, body: bodies.Declaration) -> Response:
        """Open an incident by hand. Nothing is stopped by it."""
        parameters = {"title": body.title, "severity": body.severity, "reason": body.reason}
        return await self._do(request, "declare", agent=body.agent, parameters=parameters, status=201)

    async def contain(self, request: Request, incident: str, body: bodies.Containment) -> Response:
        """Put a rung in force for an agent of the incident; with `dry_run`, say what that would do."""
        if body.dry_run:
            await self._auth.require(request, Scope.RESPOND)
            return answer({"dry_run": self._control.dry_run(incident, body.rung, body.agent)})
        parameters = {"rung": body.rung, "reason": body.reason, "lasts_s": body.lasts_s}
        return await self._do(request, "contain", incident=incident, agent=body.agent, parameters=parameters)

    async def recover(self, request: Request, incident: str, body: bodies.Reasoned) -> Response:
        """Approve the recovery plan."""
        return await self._do(request, "approve_recovery", incident=incident, parameters={"reason": body.reason})

    async def release(self, request: Request, incident: str, body: bodies.Release) -> Response:
        """Let an agent go on, without a verified recovery."""
        parameters = {"reason": body.reason}
        return await self._do(request, "release", incident=incident, agent=body.agent, parameters=parameters)

    async def dispose(self, request: Request, incident: str, body: bodies.DispositionBody) -> Response:
        """Say what the incident turned out to be."""
        parameters = {"disposition": body.disposition, "reason": body.reason}
        return await self._do(request, "dispose", incident=incident, parameters=parameters)

    async def note(self, request: Request, incident: str, body: bodies.NoteBody) -> Response:
        """Add a note to the record."""
        return await self._do(request, "note", incident=incident, parameters={"text": body.text}, status=201)

    async def apply_proposal(self, request: Request, incident: str, body: bodies.Reasoned) -> Response:
        """Activate the policy that the review proposes."""
        return await self._do(request, "apply_proposal", incident=incident, parameters={"reason": body.reason})

    async def answer_review(self, request: Request, incident: str, body: bodies.Answers) -> Response:
        """Answer open questions of the review."""
        return await self._do(request, "answer_review", incident=incident, parameters={"answers": body.answers})

    # Agents and their registry.

    async def agents(self, request: Request) -> Response:
        """Every agent that is declared or was heard of."""
        await self._auth.require(request, Scope.READ)
        return answer({"items": self._control.fleet()})

    async def order(self, request: Request, agent: str, body: bodies.AgentOrder) -> Response:
        """Put a rung in force for an agent; declares an incident when none is open."""
        parameters = {"rung": body.rung, "reason": body.reason, "lasts_s": body.lasts_s}
        return await self._do(request, "contain", agent=agent, parameters=parameters)

    async def fleet_order(self, request: Request, body: bodies.FleetOrder) -> Response:
        """Put a rung in force for every agent that matches; an answer without a match is 404 and orders nothing."""
        agents = self._control.matching(body.agents)
        return await self._do(request, "contain_fleet", parameters={"agents": agents, "rung": body.rung, "reason": body.reason})

    async def versions(self, request: Request, agent: str) -> Response:
        """The registry's versions of an agent, oldest first."""
        await self._auth.require(request, Scope.READ)
        registry = self._control.state.registry
        active = registry.active(agent)
        items = [
            {
                "version": each.version,
                "values": each.values,
                "note": each.note,
                "good": each.good,
                "published_at": rfc3339(each.published_ns),
                "by": each.by,
            }
            for each in registry.versions(agent)
        ]
        return answer({"items": items, "active": active.version if active else None})

    async def publish(self, request: Request, agent: str, body: bodies.VersionBody) -> Response:
        """Add a version. The first of an agent becomes active."""
        parameters = {"values": body.values, "version": body.version, "note": body.note, "good": body.good}
        return await self._do(request, "publish_version", agent=agent, parameters=parameters, status=201)

    async def activate(self, request: Request, agent: str, body: bodies.Activation) -> Response:
        """Make a version the active one and have the guards take it."""
        parameters = {"version": body.version, "reason": body.reason}
        return await self._do(request, "activate_version", agent=agent, parameters=parameters)

    async def policies(self, request: Request) -> Response:
        """The policies in force, in the form that guards load."""
        await self._auth.require(request, Scope.READ)
        return answer({"items": self._control.policies()})

    # The record.

    async def trace(self, request: Request, trace_id: str) -> Response:
        """Every event of one trace, by time."""
        await self._auth.require(request, Scope.READ)
        events = await asyncio.to_thread(self._control.telemetry.trace, trace_id.lower())
        if not events:
            raise NotFoundError(f"there is no trace {trace_id!r}")
        return answer({"trace_id": trace_id.lower(), "spans": [_span(event) for event in events]})

    async def deploy_gate(self, request: Request, agent: str) -> Response:
        """Whether the code of an agent may be deployed now, and why not."""
        await self._auth.require(request, Scope.READ)
        return answer(deploy_gate(self._control.state, agent))

    async def kpis(self, request: Request) -> Response:
        """Figures over all incidents."""
        await self._auth.require(request, Scope.READ)
        return answer(self._control.kpis())

    async def ledger(self, request: Request) -> Response:
        """What became of everything that was accepted, and how much of it still waits to be read."""
        await self._auth.require(request, Scope.READ)
        telemetry = self._control.telemetry
        return answer({"items": [msgspec.to_builtins(line) for line in telemetry.ledger()], "lag": telemetry.lag()})

    async def journal(self, request: Request, after: int = 0, limit: int = DEFAULT_LIMIT) -> Response:
        """Entries of the journal, oldest first."""
        await self._auth.require(request, Scope.READ)
        wanted = _bounded(limit)
        items: list[dict[str, Any]] = []
        for entry in self._journal.read(after):
            if len(items) == wanted:
                break
            items.append(msgspec.to_builtins(entry))
        return answer({"items": items, "next": items[-1]["seq"] if len(items) == wanted else None})

    async def stream(self, request: Request) -> Response:
        """Server-sent events: `incident` with the id of every incident that changes."""
        await self._auth.require(request, Scope.READ)
        return StreamingResponse(
            self._live.stream(),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
        )

    # Access.

    async def tokens(self, request: Request) -> Response:
        """Every token ever made. Secrets are not kept and cannot be shown."""
        await self._auth.require(request, Scope.ADMIN)
        return answer({"items": [_token(token) for token in self._answers.tokens()]})

    async def create_token(self, request: Request, body: bodies.TokenBody) -> Response:
        """Make a token. Its secret is in the answer, this once."""
        await self._auth.require(request, Scope.ADMIN)
        token, secret = self._auth.create_token(name=body.name, scope=body.scope, agent=body.agent)
        return answer({**_token(token), "token": secret}, 201)

    async def revoke_token(self, request: Request, token_id: str) -> Response:
        """End a token; what it opened is closed at once."""
        await self._auth.require(request, Scope.ADMIN)
        self._auth.revoke_token(token_id)
        return Response(status_code=204)

    async def login_code(self, request: Request) -> Response:
        """A one-time code that opens the console, good for five minutes."""
        principal = await self._auth.require(request, Scope.ADMIN)
        code = self._auth.login_code(name=principal.name, scope=principal.scope)
        return answer({"code": code, "url": f"{request.base_url}login#code={code}"}, 201)

    # Acting once.

    async def _do(
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
        principal = await self._auth.require(request, Scope.RESPOND)

        async def act(key: str) -> tuple[int, Any]:
            entries = await self._control.ask(
                command, by=principal.by, incident=incident, agent=agent, parameters=parameters, key=key
            )
            return status, _done(self._control.state.wishes.get(key, incident), entries)

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


def _done(incident: str, entries: tuple[Entry, ...]) -> dict[str, Any]:
    """What an act led to: the incident, its first intent, and where the receipt will be."""
    incident = next((entry.incident for entry in entries if entry.incident), incident)
    intent = next((entry.body["intent"] for entry in entries if entry.kind == "intent.issued"), None)
    receipt_url = f"/api/v1/incidents/{incident}/receipts/{intent}" if intent and incident else None
    return {"incident": incident or None, "intent": intent, "receipt_url": receipt_url}


def _span(event: Event) -> dict[str, Any]:
    """An event as the API shows it."""
    shown: dict[str, Any] = msgspec.to_builtins(event)
    shown["start_at"], shown["end_at"] = rfc3339(event.start_ns), rfc3339(event.end_ns) if event.end_ns else None
    return shown


def _token(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "agent": token.agent or None,
        "created_at": rfc3339(token.created_ns),
        "revoked_at": rfc3339(token.revoked_ns) if token.revoked_ns else None,
    }


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise CallerError(f"is 1 to {MAX_LIMIT}", place="limit")
    return limit
