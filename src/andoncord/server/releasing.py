"""Has an agent carry out side effects that a person let go: one after the other, each once, and never on a guess.

Which process is asked is written down before it is asked. After a crash the same process is asked again, which answers without
doing it twice. Where it is gone, nobody knows whether it did it, and the receipt says that.
"""

from collections.abc import Callable, Collection
from typing import Any

from andoncord.engine.state import State
from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.kernel.time import SECOND_NS
from andoncord.respond.ladder import FENCING
from andoncord.server.errands import EffectLedger
from andoncord.server.hub import GuardHub
from andoncord.server.points import Ack, Guard
from andoncord.server.ports import ServerClock
from andoncord.server.vault import WHY_MISSING
from andoncord.telemetry.redact import redact_text

FIND_S = 3.0
"""How long a process of the agent is waited for."""
ANSWER_S = 20.0
"""How long one side effect may take until nobody knows what came of it."""
LOOK_S = 0.5
AWAY_S = 3.0
"""How long a process that was asked may be away, before nobody waits for it any more: chosen, longer than a reconnect takes."""
OUTBOX = "outbox"
HELD, DONE, FAILED, UNKNOWN = "held", "done", "failed", "unknown"
Came = dict[str, str]


class ReleasePerformer:
    """A performer over the hub.

    Args:
        ledger: what was asked for, and of whom.
        state: the engine's state, read anew each time.
        is_repeatable: whether an agent's tool may be called again with the same arguments without doing more.
        exact: a side effect of an agent byte for byte as it came; None where nobody knows it any more.
    """

    def __init__(
        self,
        *,
        hub: GuardHub,
        ledger: EffectLedger,
        clock: ServerClock,
        state: Callable[[], State],
        is_repeatable: Callable[[str, str], bool],
        exact: Callable[[str, dict[str, Any]], dict[str, Any] | None],
    ) -> None:
        self._hub = hub
        self._ledger = ledger
        self._clock = clock
        self._state = state
        self._is_repeatable = is_repeatable
        self._exact = exact

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        """Carry out each side effect; what cannot be begun stays held."""
        came: dict[str, Came] = {}
        for told in effect.parameters["effects"]:
            key = f"{effect.key}/{told['id']}"
            known = self._ledger.receipt(key)
            if known is None:
                said = await self._carry_out(key, effect.target, told)
                if said["state"] == HELD:  # Nothing was begun, so nothing is kept: it can be let go again.
                    came[told["id"]] = said
                    continue
                known = Receipt(intent=intent, outcome=Outcome.DONE, at_ns=self._clock.now(), detail=dict(said))
                self._ledger.begin(key, now_ns=self._clock.now())
                self._ledger.complete(key, known)
            came[told["id"]] = dict(known.detail)
        states = [each["state"] for each in came.values()]
        outcome = Outcome.DONE if set(states) == {DONE} else Outcome.PARTIAL if DONE in states else Outcome.FAILED
        detail: dict[str, Any] = {"effects": came}
        if missing := [f"{name}: {each['why']}" for name, each in came.items() if each["state"] != DONE]:
            detail["missing"] = missing
        return Receipt(intent=intent, outcome=outcome, at_ns=self._clock.now(), detail=detail)

    async def _carry_out(self, key: str, agent: str, told: dict[str, Any]) -> Came:
        if not self._was_asked(key):
            return await self._ask_somebody(key, agent, told, again=False)
        before = await self._hub.wait_for(
            lambda guard: _is_of(guard, agent) and self._was_asked(f"{key}@{guard.instance}"), timeout_s=FIND_S
        )
        if before is not None:
            return await self._ask(key, before, told, again=True)
        if self._is_repeatable(agent, told["tool"]):
            return await self._ask_somebody(key, agent, told, again=True)
        return _came(UNKNOWN, "the process that was asked to do it is gone; nobody knows whether it did")

    async def _ask_somebody(self, key: str, agent: str, told: dict[str, Any], *, again: bool) -> Came:
        if self._is_frozen(agent):
            return _came(HELD, f"{agent} is frozen by its supervisor: release it first")
        guard = await self._hub.wait_for(lambda each: _can(each, agent), timeout_s=FIND_S)
        if guard is None:
            return _came(HELD, f"no connected process of {agent} declares side effects")
        return await self._ask(key, guard, told, again=again)

    async def _ask(self, key: str, guard: Guard, told: dict[str, Any], *, again: bool) -> Came:
        whole = self._exact(guard.agent, told)
        if whole is None:
            return _came(UNKNOWN if again else HELD, f"it {WHY_MISSING}")
        now = self._clock.now()
        self._mark(f"{key}@{guard.instance}", now)
        self._mark(key, now, is_whole=False)
        self._hub.answers.forget(key)
        body = {"order_id": key, "effect": whole, "until_ns": now + int(ANSWER_S * SECOND_NS)}
        self._hub.send([guard], "release", body)
        ack = await self._answer(key, guard)
        if ack is None:
            return _came(UNKNOWN, f"{guard.instance} was asked and did not answer; nobody knows whether it did it")
        return _judged(guard, ack, again=again)

    async def _answer(self, key: str, guard: Guard) -> Ack | None:
        """The answer; None when there is none in time, or when whoever was asked has been away for a while."""
        end_ns = self._clock.monotonic_ns() + int(ANSWER_S * SECOND_NS)
        away_since_ns = 0
        while (now_ns := self._clock.monotonic_ns()) < end_ns:
            ack = (await self._hub.answers.collect(key, [guard.instance], timeout_s=LOOK_S)).get(guard.instance)
            if ack is not None:
                return ack
            is_there = any(each.instance == guard.instance and each.is_connected for each in self._hub.points(guard.agent))
            away_since_ns = 0 if is_there else away_since_ns or now_ns
            if away_since_ns and now_ns - away_since_ns > AWAY_S * SECOND_NS:
                return None
        return None

    def _was_asked(self, key: str) -> bool:
        """Whether this key was marked. The mark of the whole is its `?`: its own receipt is what came of it."""
        return self._ledger.receipt(key if "@" in key else f"{key}?") is not None

    def _mark(self, key: str, now: int, *, is_whole: bool = True) -> None:
        name = key if is_whole else f"{key}?"
        self._ledger.begin(name, now_ns=now)
        if self._ledger.receipt(name) is None:  # It may have begun before an end that came before this was kept.
            asked = Receipt(intent=name, outcome=Outcome.PARTIAL, at_ns=now, detail={"asked": True})
            self._ledger.complete(name, asked)

    def _is_frozen(self, agent: str) -> bool:
        """Whether its process may be stopped in the middle: what it is sent then is done when it goes on, whenever that is."""
        return self._state().rung_of(agent) in FENCING and bool(self._hub.points(agent, kind="supervisor"))


def _is_of(guard: Guard, agent: str) -> bool:
    return guard.agent == agent and guard.registration.kind == "guard"


def _can(guard: Guard, agent: str, word: str = OUTBOX) -> bool:
    capabilities: Collection[str] = guard.registration.capabilities
    return _is_of(guard, agent) and word in capabilities


def _judged(guard: Guard, ack: Ack, *, again: bool) -> Came:
    detail = ack.detail
    why = redact_text(str(detail.get("error") or ack.outcome))[0]
    if detail.get("began") is not True:
        if again:  # It may have been begun before the first answer was lost.
            return _came(UNKNOWN, f"{guard.instance} refused it the second time: {why}")
        return _came(HELD, f"{guard.instance} refused it: {why}")
    return _came(DONE, "") if detail.get("ok") is True else _came(FAILED, why)


def _came(state: str, why: str) -> Came:
    return {"state": state, "why": why}
