"""Asks agents tasks whose answer is known, on a schedule (DET-18). No answer is not a right one: it is unknown.

The task runs as a probe: in a guarded agent only tools that read work in it, and what it does is no part of any baseline.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from andoncord.detect.known_answer import judge
from andoncord.kernel.canon import short_digest
from andoncord.kernel.errors import NotFoundError
from andoncord.kernel.text import visible
from andoncord.kernel.time import SECOND_NS, rfc3339
from andoncord.respond.ladder import height
from andoncord.server.canary_settings import CanarySettings
from andoncord.server.errands import RunHook
from andoncord.server.hub import GuardHub
from andoncord.server.points import Guard
from andoncord.server.ports import AccessStore, ServerClock
from andoncord.server.scores import Score, score_log

logger = logging.getLogger(__name__)

POLL_S = 1.0
OUTPUT_BYTES = 64 * 1_024
MAX_SHOWN = 200
"""Characters of a wrong answer that the score quotes."""
CAPABILITY = "canary"
SENDER = "evaluators"
OK, WRONG, MISSED, HELD, WAITING = "right", "wrong", "missed", "held", "not asked yet"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook answers."""

    answer: str
    run_id: str = ""


class _Heard(NamedTuple):
    """What came of asking: an answer, or why there is none."""

    answer: str = ""
    run_id: str = ""
    missed: str = ""
    held: str = ""


class Canary:
    """One task and how it stands."""

    def __init__(self, name: str, settings: CanarySettings, command: Sequence[str] = ()) -> None:
        """`command` asks the agent; without one a guard is asked."""
        self.name, self.settings, self.command = name, settings, tuple(command)
        self.every_ns = settings.every_ns(name)
        self.state, self.why = WAITING, ""
        self.asked_ns = self.due_ns = 0
        self.counts = {OK: 0, WRONG: 0, MISSED: 0, HELD: 0}


class Canaries:
    """The schedule.

    Args:
        known: every task.
        run: how a hook is run.
        rung_of: what is in force for an agent: who is held is not asked.
        pass_on: gives an OTLP/JSON log export to the ingest worker in somebody's name; whether it took it.
    """

    def __init__(
        self,
        known: Sequence[Canary],
        *,
        hub: GuardHub,
        run: RunHook,
        rung_of: Callable[[str], str],
        positions: AccessStore,
        clock: ServerClock,
        pass_on: Callable[[str, bytes], Awaitable[bool]],
    ) -> None:
        self._known = {each.name: each for each in known}
        self._hub, self._run, self._rung_of = hub, run, rung_of
        self._positions, self._clock, self._pass_on = positions, clock, pass_on
        self._asking: dict[str, asyncio.Task[None]] = {}

    def standings(self) -> list[dict[str, Any]]:
        """How each task stands."""
        return [
            {
                "name": each.name,
                "agent": each.settings.agent,
                "every": each.settings.every,
                "state": each.state,
                "why": each.why,
                "asked_at": rfc3339(each.asked_ns) if each.asked_ns else None,
                "due_at": rfc3339(each.due_ns) if each.due_ns else None,
                "since_start": dict(each.counts),
            }
            for each in self._known.values()
        ]

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                try:
                    await self.start_due()
                except Exception:
                    logger.exception("canary tasks could not be asked")
                await asyncio.sleep(POLL_S)
        finally:
            for task in self._asking.values():
                task.cancel()

    async def start_due(self) -> list[str]:
        """Begin to ask what is due now and not being asked; which."""
        now = self._clock.now()
        started = []
        for each in self._known.values():
            if not each.due_ns:
                each.asked_ns = await asyncio.to_thread(self._positions.position, _place(each.name))
                # The first time spread by name, so that the tasks of a fleet do not all come at once.
                spread = int(short_digest(each.name), 16) % min(each.every_ns, 60 * SECOND_NS)
                each.due_ns = max(now, each.asked_ns + each.every_ns) if each.asked_ns else now + spread
            if each.due_ns <= now and each.name not in self._asking:
                each.due_ns = now + each.every_ns
                self._begin(each)
                started.append(each.name)
        return started

    def ask_now(self, name: str) -> dict[str, Any]:
        """Ask one task out of turn.

        Raises:
            NotFoundError: there is none of this name.
        """
        each = self._known.get(name)
        if each is None:
            known = ", ".join(self._known) or "none"
            raise NotFoundError(f"there is no canary {visible(name, 80)!r}", remedy=f"the settings name: {known}")
        if name not in self._asking:
            self._begin(each)
        return {"name": name, "asked": True}

    async def settled(self) -> None:
        """Wait until nothing is being asked."""
        while self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _begin(self, each: Canary) -> None:
        task = asyncio.get_running_loop().create_task(self._ask(each), name=f"canary {each.name}")
        self._asking[each.name] = task
        task.add_done_callback(lambda _: self._asking.pop(each.name, None))

    async def _ask(self, each: Canary) -> None:
        now = self._clock.now()
        each.asked_ns = now
        await asyncio.to_thread(self._positions.set_position, _place(each.name), now)
        try:
            heard = await (self._by_hook(each) if each.command else self._by_guard(each, now))
        except Exception as wrong:
            logger.exception("canary %s could not be asked", each.name)
            heard = _Heard(missed=f"could not be asked: {type(wrong).__name__}")
        await self._note(each, heard, asked_ns=now)

    async def _note(self, each: Canary, heard: _Heard, *, asked_ns: int) -> None:
        """Say what came of it, to the ingest worker and in `standings`."""
        passed: bool | None = None
        if heard.held:
            each.state, each.why = HELD, heard.held
        elif heard.missed:
            each.state, each.why = MISSED, visible(heard.missed, MAX_SHOWN)
        else:
            judged = judge(heard.answer, each.settings.expect)
            passed = judged.passed
            quoted = visible(heard.answer, MAX_SHOWN)
            each.state, each.why = (OK, "") if passed else (WRONG, f"the answer {judged.reason}: {quoted}")
        each.counts[each.state] += 1
        if heard.held:
            return
        score = Score(
            evaluator=f"canary_{each.name}",
            agent=each.settings.agent,
            run_id=heard.run_id or short_digest("canary", each.name, str(asked_ns)),
            task=f"canary {each.name}",
            passed=passed,
            reason=each.why,
            canary="missed" if heard.missed else "asked",
        )
        if not await self._pass_on(SENDER, score_log(score, at_ns=self._clock.now())):
            logger.error("what came of canary %s could not be stored", each.name)

    async def _by_hook(self, each: Canary) -> _Heard:
        settings = each.settings
        told = {"canary": each.name, "agent": settings.agent, "input": settings.input}
        body = msgspec.json.encode(told) + b"\n"
        answer = await self._run(each.command, body, timeout_s=settings.answer_within_s, output_bytes=OUTPUT_BYTES)
        if not answer.is_done:
            return _Heard(missed=answer.why or f"the hook ended with {answer.exit_code}")
        try:
            said = msgspec.json.decode(answer.stdout, type=Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            return _Heard(missed=f"the hook's answer is not as described: {wrong}")
        return _Heard(answer=said.answer, run_id=said.run_id[:128])

    async def _by_guard(self, each: Canary, now: int) -> _Heard:
        settings = each.settings
        if height(self._rung_of(settings.agent)) >= height("pause"):
            return _Heard(held=f"{settings.agent} is held")
        able = [guard for guard in self._hub.points(settings.agent) if _can(guard)]
        if not able:
            return _Heard(missed="no connected guard of the agent has registered @guard.canary")
        guard = sorted(able, key=lambda one: one.instance)[sum(each.counts.values()) % len(able)]
        order = f"canary-{each.name}-{now}"
        self._hub.send([guard], CAPABILITY, {"order_id": order, "name": each.name, "input": settings.input})
        ack = (await self._hub.answers.collect(order, [guard.instance], timeout_s=settings.answer_within_s)).get(guard.instance)
        self._hub.answers.forget(order)
        if ack is None:
            return _Heard(missed=f"no answer from {guard.instance} within {settings.answer_within_s:g} s")
        if ack.outcome == "refused":
            return _Heard(held=str(ack.detail.get("error", "it is held"))[:MAX_SHOWN])
        if ack.outcome != "enforced" or not isinstance(ack.detail.get("answer"), str):
            return _Heard(missed=f"{guard.instance} gave no answer: {ack.detail.get('error', ack.outcome)}")
        return _Heard(answer=ack.detail["answer"], run_id=str(ack.detail.get("run_id", ""))[:128])


def _can(guard: Guard) -> bool:
    return guard.is_connected and CAPABILITY in guard.registration.capabilities


def _place(name: str) -> str:
    """Under which the time of the last asking is kept."""
    return f"canary:{name}"
