"""What waits for people over HTTP: work that was handed over, side effects that are held, drafted notices, questions."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from andoncord.engine.desking import MAX_AT_ONCE
from andoncord.engine.facts import EffectHeld, WorkHandedOver
from andoncord.kernel.access import Scope
from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.respond.desk import OPEN_ITEM, SideEffect, Work, batch_digest, check_effect, check_work
from andoncord.respond.steps import ANSWERS
from andoncord.server.api.door import ApiDoor, answer
from andoncord.server.asking import answering_for
from andoncord.server.auth import ForbiddenError
from andoncord.server.desk_reads import DeskReads, effect_view, item_view
from andoncord.server.desk_settings import HandoverSettings, OutboxSettings
from andoncord.server.requests import MAX_NAME, MAX_TEXT, Body
from andoncord.server.vault import Vault

MAX_BODY = 1 << 20
ITEM_STATUSES = ("open", "waiting", "taken", "done", "returned", "closed", "all")
EFFECT_STATUSES = ("held", "released", "done", "failed", "unknown", "discarded", "all")
Told = TypeVar("Told", bound=msgspec.Struct)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A guard asks what became of work that it handed over."""

    id: str
    agent: str


class Saying(Body):
    """Why, or what came of it."""

    reason: str = Field(min_length=1, max_length=MAX_TEXT)


class Chosen(Body):
    """Side effects, and the digest of exactly these in this order, as they were read."""

    ids: list[str] = Field(min_length=1, max_length=MAX_AT_ONCE)
    digest: str = Field(min_length=64, max_length=64)
    reason: str = Field(min_length=1, max_length=MAX_TEXT)


class Statement(Body):
    """A notice as it is to be sent."""

    subject: str = Field(min_length=1, max_length=200)
    text: str = Field(min_length=1, max_length=MAX_TEXT)


class Answering(Body):
    """The answer to what a playbook asks."""

    step: str = Field(min_length=1, max_length=MAX_NAME)
    answer: str = Field(description=" or ".join(ANSWERS), max_length=10)
    reason: str = Field(default="", max_length=MAX_TEXT)


class DeskApi:
    """Routes under `/api/v1`."""

    def __init__(
        self,
        door: ApiDoor,
        *,
        reads: DeskReads,
        vault: Vault,
        handover: HandoverSettings,
        outbox: OutboxSettings,
        fallback: Callable[[str, str], str],
    ) -> None:
        self._door = door
        self._fallback = fallback
        self._handover = handover
        self._outbox = outbox
        self._reads = reads
        self._vault = vault

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.get("/fallbacks")(self.fallbacks)
        router.post("/handover")(self.hand_over)
        router.post("/handover/look")(self.look)
        router.get("/handover")(self.items)
        router.get("/handover/{item}")(self.item)
        router.post("/handover/{item}/take", status_code=202)(self.take)
        router.post("/handover/{item}/finish", status_code=202)(self.finish)
        router.post("/handover/{item}/return", status_code=202)(self.give_back)
        router.post("/handover/{item}/close", status_code=202)(self.close)
        router.post("/held")(self.hold)
        router.get("/held")(self.held)
        router.post("/held/release", status_code=202)(self.release)
        router.post("/held/discard", status_code=202)(self.discard)
        router.get("/incidents/{incident}/notices")(self.statements)
        router.post("/incidents/{incident}/notices/{draft}/send", status_code=202)(self.send)
        router.post("/incidents/{incident}/notices/{draft}/reject", status_code=202)(self.reject)
        router.post("/incidents/{incident}/answers", status_code=202)(self.answered)
        return router

    # Guards.

    async def hand_over(self, request: Request) -> Response:
        """For guards: put work into the inbox; the same key again is the same item."""
        work = await self._told(request, Work)
        check_work(work)
        control = self._door.control
        with self._vault.work_kept(work) as (masked, exact):
            await control.engine.submit(WorkHandedOver(work=masked, digest=exact, to=self._handover.to))
        item = control.state.desk.item_for(masked.agent, masked.key)
        assert item is not None
        return answer({"id": item.id, "status": item.status})

    async def look(self, request: Request) -> Response:
        """For guards: what became of work that was handed over."""
        asked = await self._told(request, Look)
        item = self._door.control.state.desk.item(asked.id)
        if item.work.agent != asked.agent:
            raise NotFoundError(f"{asked.agent} handed nothing over as {asked.id!r}")
        return answer({"id": item.id, "status": item.status, "answer": item.answer})

    async def hold(self, request: Request) -> Response:
        """For guards: hold a side effect; it is written down when this answers."""
        effect = await self._told(request, SideEffect)
        check_effect(effect)
        control = self._door.control
        not_by = answering_for(control, effect.agent, self._door.auth.require_agent(request))
        with self._vault.effect_kept(effect) as masked:
            await control.engine.submit(EffectHeld(effect=masked, digest=effect.digest, not_by=not_by, to=self._outbox.to))
        held = control.state.desk.effect_for(effect.digest)
        assert held is not None
        return answer({"id": held.id, "status": held.status, "digest": held.digest})

    # People.

    async def fallbacks(self, request: Request, agent: str, tool: str) -> Response:
        """What the settings declare to become of a tool of an agent that does not do its work; null where nothing."""
        return answer({"to": self._fallback(agent, tool) or None})

    async def items(self, request: Request, status: str = "open", agent: str = "") -> Response:
        """Work that was handed over, the oldest first."""
        _one_of(status, ITEM_STATUSES)
        wanted = OPEN_ITEM if status == "open" else (status,)
        found = self._door.control.state.desk.items.values()
        shown = [each for each in found if (status == "all" or each.status in wanted) and agent in ("", each.work.agent)]
        may_read = self._may(request, Scope.RESPOND)
        return answer({"items": [item_view(each, *self._vault.work(each, may_read=may_read)) for each in shown]})

    async def item(self, request: Request, item: str) -> Response:
        """One item; with everything that came along, as it came, for who may respond."""
        found = self._door.control.state.desk.item(item)
        return answer(item_view(found, *self._vault.work(found, may_read=self._may(request, Scope.RESPOND))))

    async def take(self, request: Request, item: str) -> Response:
        """Take an item up, so that nobody else does the same."""
        return await self._door.do(request, "take_handover", parameters={"item": item})

    async def finish(self, request: Request, item: str, body: Saying) -> Response:
        """Say that the work is done, and what came of it."""
        return await self._door.do(request, "finish_handover", parameters={"item": item, "answer": body.reason})

    async def give_back(self, request: Request, item: str, body: Saying) -> Response:
        """Let the agent do it after all."""
        return await self._door.do(request, "return_handover", parameters={"item": item, "reason": body.reason})

    async def close(self, request: Request, item: str, body: Saying) -> Response:
        """Say that nobody is to do it."""
        return await self._door.do(request, "close_handover", parameters={"item": item, "reason": body.reason})

    async def held(
        self, request: Request, status: str = "held", agent: str = "", incident: str = "", ids: str = ""
    ) -> Response:
        """Side effects that are held, the oldest first, and the digest of exactly those that are listed."""
        _one_of(status, EFFECT_STATUSES)
        desk = self._door.control.state.desk
        if ids:
            found = [desk.effect(each) for each in ids.split(",")]
        else:
            found = [
                each
                for each in desk.held.values()
                if status in ("all", each.status) and agent in ("", each.effect.agent) and incident in ("", each.incident)
            ]
        shown = found[:MAX_AT_ONCE]
        may_read = self._may(request, Scope.APPROVE)
        body = {
            "items": [effect_view(each, *self._vault.effect(each, may_read=may_read)) for each in shown],
            "digest": batch_digest(shown),
            "left_off": len(found) - len(shown),
        }
        return answer(body)

    async def release(self, request: Request, body: Chosen) -> Response:
        """Have exactly these side effects carried out, each once."""
        return await self._door.do(
            request, "release_held", parameters=self._reads.completed("release_held", "", body.model_dump())
        )

    async def discard(self, request: Request, body: Chosen) -> Response:
        """Drop these side effects for good."""
        return await self._door.do(
            request, "discard_held", parameters=self._reads.completed("discard_held", "", body.model_dump())
        )

    async def statements(self, request: Request, incident: str) -> Response:
        """The notices that were drafted for an incident, and whom each would go to."""
        return answer({"items": self._reads.notices(incident)})

    async def send(self, request: Request, incident: str, draft: str, body: Statement) -> Response:
        """Send a notice in these words to those whom the settings name for its audience."""
        words = {"draft": draft, "subject": body.subject, "text": body.text}
        said = self._reads.completed("send_statement", incident, words)
        return await self._door.do(request, "send_statement", incident=incident, parameters=said)

    async def reject(self, request: Request, incident: str, draft: str, body: Saying) -> Response:
        """Say that a notice is not sent."""
        said = {"draft": draft, "reason": body.reason}
        return await self._door.do(request, "reject_statement", incident=incident, parameters=said)

    async def answered(self, request: Request, incident: str, body: Answering) -> Response:
        """Answer what a playbook asks, as somebody in the role that it names."""
        said = self._reads.completed("answer_ask", incident, body.model_dump())
        return await self._door.do(request, "answer_ask", incident=incident, parameters=said)

    def _may(self, request: Request, scope: Scope) -> bool:
        return scope in self._door.principal(request).may

    async def _told(self, request: Request, kind: type[Told]) -> Told:
        """What a guard says about an agent that its token covers.

        Raises:
            CallerError: it is not what it should be.
            ForbiddenError: the token is bound to another agent.
        """
        token = self._door.auth.require_agent(request)
        body = await request.body()
        if len(body) > MAX_BODY:
            raise CallerError(f"the body is larger than {MAX_BODY} bytes")
        try:
            told = msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CallerError(f"the body is not as described: {error}") from None
        if not token.covers(told.agent):  # type: ignore[attr-defined]  # each of them has one
            raise ForbiddenError(f"this token is bound to {token.agent!r}")
        return told


def _one_of(status: str, known: tuple[str, ...]) -> None:
    if status not in known:
        raise CallerError(f"unknown status {status!r}", place="status", remedy=f"use one of: {', '.join(known)}")
