"""Performers that speak with nobody's guard: hooks of the operator's, and the passing of time.

A hook cannot be asked whether it was run. So it is written down that it begins before it begins, and what came of it after it
ended: after a crash in the middle a hook that is `repeatable` is run again; any other is not, and the receipt says that nobody
knows.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.kernel.time import SECOND_NS
from andoncord.server.hook_settings import HookSettings
from andoncord.server.ports import ServerClock

LONGEST_SLEEP_S = 60.0


class HookAnswer(Protocol):
    """What came of a command. `exit_code` is None when it did not start or was ended; `why` says so then."""

    @property
    def exit_code(self) -> int | None: ...

    @property
    def stdout(self) -> bytes: ...

    @property
    def stderr(self) -> bytes: ...

    @property
    def is_cut(self) -> bool: ...

    @property
    def is_done(self) -> bool: ...

    @property
    def why(self) -> str: ...


class RunHook(Protocol):
    """Runs a command with a value on its standard input, bounded in time and output."""

    async def __call__(self, argv: Sequence[str], value: bytes, *, timeout_s: float, output_bytes: int) -> HookAnswer: ...


class EffectLedger(Protocol):
    """What performers that cannot be asked twice have begun, and what came of it."""

    def begin(self, key: str, *, now_ns: int) -> bool: ...

    def complete(self, key: str, receipt: Receipt) -> None: ...

    def receipt(self, key: str) -> Receipt | None: ...


class HookPerformer:
    """Runs commands that the settings name.

    Args:
        run: how a command is run.
        hooks: by name.
        ledger: what was begun, and what came of it.
    """

    def __init__(self, hooks: Mapping[str, HookSettings], *, run: RunHook, ledger: EffectLedger, clock: ServerClock) -> None:
        self._run = run
        self._hooks = dict(hooks)
        self._ledger = ledger
        self._clock = clock

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        """Run the hook, once for each `effect.key`."""
        name = str(effect.parameters["hook"])
        settings = self._hooks.get(name)
        if settings is None:
            return self._receipt(intent, Outcome.FAILED, {"missing": f"the settings name no hook {name!r}"})
        known = self._ledger.receipt(effect.key)
        if known is not None:
            return known
        if not self._ledger.begin(effect.key, now_ns=self._clock.now()) and not settings.repeatable:
            why = f"hook {name} was begun before a crash; whether it ended is not known, and it is not repeatable"
            return self._receipt(intent, Outcome.FAILED, {"missing": why})
        timeout_s = min(settings.at_most_s, effect.deadline_ms / 1_000)
        answer = await self._run(
            settings.run, _told(intent, effect), timeout_s=timeout_s, output_bytes=settings.output_kib * 1_024
        )
        receipt = self._receipt(intent, Outcome.DONE if answer.is_done else Outcome.FAILED, _detail(name, answer))
        self._ledger.complete(effect.key, receipt)
        return receipt

    def _receipt(self, intent: str, outcome: Outcome, detail: dict[str, Any]) -> Receipt:
        return Receipt(intent=intent, outcome=outcome, at_ns=self._clock.now(), detail=detail)


class WaitPerformer:
    """Lets time pass until the moment that the intent names; after a restart only what is left of it."""

    def __init__(self, clock: ServerClock) -> None:
        self._clock = clock

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        """Return when the time has come."""
        await wait_until(int(effect.parameters["until_ns"]), self._clock)
        return Receipt(intent=intent, outcome=Outcome.DONE, at_ns=self._clock.now())


class AskPerformer:
    """Waits for a person's answer, which is the receipt; when nobody gives one in time, the default holds."""

    def __init__(self, clock: ServerClock) -> None:
        self._clock = clock

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        """The default, when the time is over."""
        await wait_until(int(effect.parameters["until_ns"]), self._clock)
        detail = {"answer": effect.parameters["default"], "by": "", "reason": "nobody answered in time"}
        return Receipt(intent=intent, outcome=Outcome.DONE, at_ns=self._clock.now(), detail=detail)


async def wait_until(until_ns: int, clock: ServerClock) -> None:
    """Wait in parts, so that a clock that is set meanwhile is noticed."""
    left_ns = until_ns - clock.now()
    while left_ns > 0:
        await asyncio.sleep(min(LONGEST_SLEEP_S, left_ns / SECOND_NS))
        left_ns = until_ns - clock.now()


def _told(intent: str, effect: Effect) -> bytes:
    """What a hook reads: one line of JSON."""
    parameters = effect.parameters
    told = {
        "hook": parameters["hook"],
        "key": effect.key,
        "intent": intent,
        "incident": {"id": effect.incident, **parameters.get("incident", {})},
        "agents": parameters.get("agents", [effect.target]),
        "with": parameters.get("with", {}),
        "undoes": parameters.get("undoes"),
    }
    return msgspec.json.encode(told) + b"\n"


def _detail(name: str, answer: HookAnswer) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "hook": name,
        "exit_code": answer.exit_code,
        "stdout": answer.stdout.decode("utf-8", "replace"),
        "stderr": answer.stderr.decode("utf-8", "replace"),
        "cut": answer.is_cut,
    }
    if not answer.is_done:
        detail["missing"] = answer.why or f"it ended with {answer.exit_code}"
    return detail
