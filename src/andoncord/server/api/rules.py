"""Rules over HTTP: what they would have said about the stored past (PRV-4)."""

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from andoncord.detect.backtest import Backtest, backtest
from andoncord.detect.declared import Declared
from andoncord.detect.rule import Rule, load_rules
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import HOUR_NS
from andoncord.server.api.door import ApiDoor, answer

MAX_EVENTS = 200_000
"""Events of the past that are looked at: a few seconds of one core."""
MAX_RULES = 50
AT_ONCE = 1
"""Looks at the past that run at a time."""


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to try, and on how much of the past."""

    rules: dict[str, str]
    """YAML by the name of its file."""
    hours: Annotated[float, msgspec.Meta(gt=0, le=720)] = 24.0


class RuleApi:
    """Routes under `/api/v1`.

    Args:
        declared: what the settings declare about agents, as the detectors in force have it.
    """

    def __init__(self, door: ApiDoor, *, declared: dict[str, Declared]) -> None:
        self._door = door
        self._control = door.control
        self._declared = declared
        self._turn = asyncio.Semaphore(AT_ONCE)

    def router(self) -> APIRouter:
        """Every route, with its sentence for the OpenAPI document."""
        router = APIRouter()
        router.post("/rules/backtest")(self.backtest)
        return router

    async def backtest(self, request: Request) -> Response:
        """What rules would have found in the stored events of the last hours. Nothing is done because of it."""
        try:
            asked = msgspec.json.decode(await request.body(), type=Asked)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise CallerError(str(wrong), place="request body") from None
        rules = load_rules(asked.rules)
        if not 0 < len(rules) <= MAX_RULES:
            raise CallerError(f"needs 1 to {MAX_RULES} rules, has {len(rules)}", place="rules")
        until_ns = self._control.clock.now()
        async with self._turn:
            result = await asyncio.to_thread(self._look, rules, until_ns - int(asked.hours * HOUR_NS), until_ns)
        return answer(result)

    def _look(self, rules: tuple[Rule, ...], since_ns: int, until_ns: int) -> Backtest:
        telemetry = self._control.telemetry
        agents = [name for name, _ in telemetry.fleet()]
        events = telemetry.of_agents(agents, since_ns=since_ns, until_ns=until_ns, limit=MAX_EVENTS)
        return backtest(rules, events, self._declared, is_cut=len(events) >= MAX_EVENTS)
