"""Performers that speak with guards and supervisors: orders, termination, configuration, restart, probes, policies.

Each is idempotent: an order carries its epoch and every other message the intent's id, so what is sent again after a crash is
recognised as the same. What did not answer is named in the receipt and never rounded up.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from andoncord.detect.ports import TelemetryReader
from andoncord.engine.state import State
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.kernel.ports import Performer
from andoncord.kernel.time import SECOND_NS
from andoncord.server.forces import discounted, force_ordered
from andoncord.server.holding import covered
from andoncord.server.hub import GONE_AFTER_NS, GuardHub
from andoncord.server.points import Ack, Guard, order_id
from andoncord.server.ports import ServerClock

ANSWERED = "enforced"
GUARD_WAIT_S = 5.0
"""How long a probe or a restart waits for a guard to connect."""
PROBE_WAIT_S = 3.0
PROBE_AGAIN_S = 0.1
"""How long, and how often, an agent that cannot be probed yet is asked."""


class GuardPerformers:
    """Performers over one hub.

    Args:
        telemetry: tells of processes that are alive but not connected.
        state: the engine's state, read anew each time.
        policies: every policy that guards must load.
        roles: what an agent acts as.
    """

    def __init__(
        self,
        *,
        hub: GuardHub,
        telemetry: TelemetryReader,
        clock: ServerClock,
        state: Callable[[], State],
        policies: Callable[[], list[dict[str, Any]]],
        roles: Callable[[str], Collection[str]] = lambda agent: (),
    ) -> None:
        self._hub = hub
        self._telemetry = telemetry
        self._clock = clock
        self._state = state
        self._policies = policies
        self._roles = roles

    def table(self) -> dict[EffectKind, Performer]:
        """Which kind of effect each performs."""
        return {
            EffectKind.ORDER: _Performing(self.order),
            EffectKind.TERMINATE: _Performing(self.terminate),
            EffectKind.CONFIGURE: _Performing(self.configure),
            EffectKind.RESTART: _Performing(self.restart),
            EffectKind.PROBE: _Performing(self.probe),
            EffectKind.POLICIES: _Performing(self.policies),
        }

    async def order(self, intent: str, effect: Effect) -> Receipt:
        """Send what is in force to every guard of the agent and every supervisor that can enforce it; wait for all of them."""
        force = force_ordered(self._state(), effect, intent, self._roles(effect.target))
        guards = self._hub.points(effect.target)
        holders = self._hub.holders(effect.target, force.rung)
        body = self._hub.order_body(effect.target, force)
        order = order_id(effect.target, force.epoch)
        if not holders:  # What a supervisor holds it must let go, even for a rung that it cannot enforce.
            self._hub.send(self._hub.holders(effect.target, "none"), "order", body)
        lost = self._alive_but_not_connected(effect.target, {guard.instance for guard in guards})
        receipt = await self._ask_guards(intent, effect, guards, "order", body, order=order, lost=lost, holders=holders)
        is_in_force = effect.parameters.get("standing") in self._state().orders.in_force
        return discounted(receipt, effect, guards, is_in_force=is_in_force)

    def _alive_but_not_connected(self, agent: str, connected: set[str]) -> list[str]:
        """Processes whose heartbeats say that they run, and that no order reaches: they must not be left out of the count."""
        horizon = self._clock.now() - GONE_AFTER_NS
        return [
            beat.instance
            for beat in self._telemetry.beats()
            if beat.agent == agent
            and beat.trusted
            and beat.heartbeat_ns > horizon
            and beat.instance not in connected
            and not self._hub.has_departed(agent, beat.instance)
        ]

    async def configure(self, intent: str, effect: Effect) -> Receipt:
        """Have every guard of the agent take a version of the registry."""
        version = effect.parameters["version"]
        values = effect.parameters.get("values") or self._state().registry.get(effect.target, version).values
        body = {"order_id": intent, "version": version, "values": values}
        return await self._ask_guards(intent, effect, self._hub.points(effect.target), "config", body, order=intent)

    async def policies(self, intent: str, effect: Effect) -> Receipt:
        """Have every guard load the policies in force."""
        body = {"order_id": intent, "policies": self._policies()}
        return await self._ask_guards(intent, effect, self._hub.points(effect.target), "policies", body, order=intent)

    async def terminate(self, intent: str, effect: Effect) -> Receipt:
        """Have the agent's supervisors end its process tree."""
        supervisors = self._hub.points(effect.target, kind="supervisor")
        if not supervisors:
            return self._failed(intent, f"no supervisor is connected for {effect.target}")
        body = {"order_id": intent, "agent": effect.target, "reason": effect.parameters.get("reason", "")}
        acks = await self._ask(effect, supervisors, "terminate", body, order=intent)
        silent = [guard.instance for guard in supervisors if guard.instance not in acks]
        reports = [acks[guard.instance].detail for guard in supervisors if guard.instance in acks]
        if not reports:
            return self._failed(intent, f"no answer from the supervisor {', '.join(silent)}")
        empty = not silent and all(report.get("process_tree_empty") is True for report in reports)
        gone: list[str] = []
        for guard in supervisors:
            if guard.instance in acks and acks[guard.instance].detail.get("process_tree_empty") is True:
                gone += self._hub.forget_agent_processes(effect.target, host=guard.registration.host)
        detail = {
            "process_tree_empty": empty,
            "gone": [*gone, *(guard.instance for guard in supervisors)] if empty else gone,
            "signalled": [pid for report in reports for pid in report.get("signalled", ())],
            "remaining": [pid for report in reports for pid in report.get("remaining", ())],
            "took_ms": max(report.get("took_ms", 0) for report in reports),
            "state_before": [each for report in reports for each in report.get("state_before", ())],
            "unconfirmed": silent,
        }
        return self._receipt(intent, Outcome.DONE if empty else Outcome.PARTIAL, detail)

    async def restart(self, intent: str, effect: Effect) -> Receipt:
        """Have the agent's supervisors start it again, and wait until its guard is back."""
        supervisors = self._hub.points(effect.target, kind="supervisor")
        if not supervisors:
            return self._failed(intent, f"no supervisor is connected for {effect.target}")
        body = {"order_id": intent, "agent": effect.target, "reason": effect.parameters.get("reason", "recovery")}
        before = self._hub.points(effect.target)
        acks = await self._ask(effect, supervisors, "restart", body, order=intent)
        done = [guard.instance for guard in supervisors if _confirms(acks.get(guard.instance))]
        if not done:
            return self._failed(intent, f"no supervisor of {effect.target} confirmed the restart")
        for supervisor in supervisors:
            if supervisor.instance in done:
                self._forget_replaced(before, supervisor.registration.host, acks[supervisor.instance].detail.get("pid"))
        guard = await self._hub.wait_for(lambda each: _is_guard_of(each, effect.target), timeout_s=GUARD_WAIT_S)
        detail = {
            "asked": len(supervisors),
            "confirmed": len(done),
            "unconfirmed": [each.instance for each in supervisors if each.instance not in done],
            "pids": [acks[instance].detail.get("pid") for instance in done],
            "instance": guard.instance if guard else None,
        }
        if guard is None:
            detail["missing"] = f"the guard of {effect.target} did not connect again"
        complete = guard is not None and len(done) == len(supervisors)
        return self._receipt(intent, Outcome.DONE if complete else Outcome.PARTIAL, detail)

    def _forget_replaced(self, before: Sequence[Guard], host: str, pid: object) -> None:
        """The supervisor on `host` ended the processes that were there; only the one it started has to answer from now on."""
        for guard in before:
            if guard.registration.host == host and guard.registration.pid != pid:
                self._hub.depart(guard)

    async def probe(self, intent: str, effect: Effect) -> Receipt:
        """Have one guard of the agent work on tasks with known answers."""
        guard = await self._hub.wait_for(lambda each: _can_probe(each, effect.target), timeout_s=GUARD_WAIT_S)
        if guard is None:
            return self._failed(intent, f"no connected guard of {effect.target} can be probed")
        samples = int(effect.parameters["samples"])
        body = {"order_id": intent, "samples": samples}
        ack = await self._ask_when_able(effect, guard, body, order=intent)
        passed = [bool(each) for each in ack.detail.get("passed", ())] if ack else []
        detail: dict[str, Any] = {"instance": guard.instance, "asked": samples, "passed": passed}
        if ack is None:
            detail["missing"] = f"no answer from {guard.instance}"
        elif not passed:
            detail["missing"] = _objection(guard.instance, ack)
        if ack is not None and (errors := ack.detail.get("errors")):
            detail["errors"] = errors
        complete = _confirms(ack) and len(passed) >= samples
        return self._receipt(intent, Outcome.DONE if complete else Outcome.PARTIAL if passed else Outcome.FAILED, detail)

    async def _ask_when_able(self, effect: Effect, guard: Guard, body: dict[str, Any], *, order: str) -> Ack | None:
        """The answer to a probe. An agent that has just started may not have its probe yet: it is asked again for a while."""
        end_ns = self._clock.monotonic_ns() + int(PROBE_WAIT_S * SECOND_NS)
        while True:
            ack = (await self._ask(effect, [guard], "probe", body, order=order)).get(guard.instance)
            began = ack is None or "passed" in ack.detail
            if began or self._clock.monotonic_ns() >= end_ns:
                return ack
            await asyncio.sleep(PROBE_AGAIN_S)
            self._hub.answers.forget(order)

    async def _ask(
        self, effect: Effect, guards: Sequence[Guard], event: str, body: dict[str, Any], *, order: str
    ) -> dict[str, Ack]:
        """Send one event and collect the answers until the effect's deadline."""
        started_ns = self._clock.monotonic_ns()
        self._hub.send(guards, event, body)
        return await self._answers(effect, guards, order=order, since_ns=started_ns)

    async def _answers(self, effect: Effect, guards: Sequence[Guard], *, order: str, since_ns: int) -> dict[str, Ack]:
        """The answers of these guards, and whatever else has come in, at the latest at the effect's deadline."""
        passed_s = (self._clock.monotonic_ns() - since_ns) / 1_000_000_000
        timeout_s = max(0.0, effect.deadline_ms / 1_000 - passed_s)
        return await self._hub.answers.collect(order, [guard.instance for guard in guards], timeout_s=timeout_s)

    async def _ask_guards(
        self,
        intent: str,
        effect: Effect,
        guards: Sequence[Guard],
        event: str,
        body: dict[str, Any],
        *,
        order: str,
        lost: Sequence[str] = (),
        holders: Sequence[Guard] = (),
    ) -> Receipt:
        """Ask guards and count who confirmed; who is `lost` counts as asked.

        A guard whose process one of the `holders` froze or ended is not waited for: it cannot act, nor answer.
        """
        started_ns = self._clock.monotonic_ns()
        points = [*guards, *holders]
        self._hub.send(points, event, body)
        acks = await self._answers(effect, holders, order=order, since_ns=started_ns)
        reports = {name: (ack.state, ack.detail) for name, ack in acks.items() if _confirms(ack)}
        inside = covered(guards, holders, reports)
        free = [guard for guard in guards if guard.instance not in inside]
        acks = await self._answers(effect, free, order=order, since_ns=started_ns)
        took_ms = (self._clock.monotonic_ns() - started_ns) / 1_000_000
        confirmed = [point.instance for point in points if point.instance in inside or _confirms(acks.get(point.instance))]
        unconfirmed = [point.instance for point in points if point.instance not in confirmed] + list(lost)
        detail: dict[str, Any] = {
            "asked": len(points) + len(lost),
            "confirmed": len(confirmed),
            "unconfirmed": unconfirmed,
            "covered": sorted(inside),
            "fence_ms": round(took_ms, 3) if confirmed and not unconfirmed else None,
            "acks": [_report(point, acks[point.instance]) for point in points if point.instance in acks],
            "supervised": bool(self._hub.points(effect.target, kind="supervisor")),
        }
        for guard in guards:
            if guard.instance in inside and inside[guard.instance].empty:
                self._hub.depart(guard)
        if not points and not lost:
            detail["missing"] = f"no enforcement point is connected for {effect.target}"
            if event == "order" and self._hub.holders(effect.target, "none"):
                detail["missing"] += f" that can enforce {body['rung']}"
            return self._receipt(intent, Outcome.PARTIAL, detail)
        refused = [_objection(instance, acks[instance]) for instance in unconfirmed if instance in acks]
        if refused:
            detail["missing"] = refused
        outcome = Outcome.DONE if not unconfirmed else Outcome.PARTIAL if confirmed else Outcome.FAILED
        return self._receipt(intent, outcome, detail)

    def _receipt(self, intent: str, outcome: Outcome, detail: Mapping[str, Any]) -> Receipt:
        return Receipt(intent=intent, outcome=outcome, at_ns=self._clock.now(), detail=dict(detail))

    def _failed(self, intent: str, why: str) -> Receipt:
        return self._receipt(intent, Outcome.FAILED, {"missing": why})


class _Performing:
    """A method as a `Performer`."""

    def __init__(self, method: Callable[[str, Effect], Any]) -> None:
        self._method = method

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        receipt: Receipt = await self._method(intent, effect)
        return receipt


def compiled_policies(state: State) -> list[dict[str, Any]]:
    """Every policy in force in the form that guards load."""
    return [compiled for policy in state.policies.values() for compiled in policy.compiled]


def _confirms(ack: Ack | None) -> bool:
    return ack is not None and ack.outcome == ANSWERED


def _objection(instance: str, ack: Ack) -> str:
    """What an answer that is no confirmation said."""
    error = ack.detail.get("error")
    return f"{instance} answered {ack.outcome}: {error}" if error else f"{instance} answered {ack.outcome}"


def _report(guard: Guard, ack: Ack) -> dict[str, Any]:
    return {
        "instance": guard.instance,
        "kind": guard.registration.kind,
        "outcome": ack.outcome,
        "at_ns": ack.at_ns,
        "state": ack.state,
        "detail": ack.detail,
    }


def _is_guard_of(guard: Guard, agent: str) -> bool:
    return guard.registration.kind == "guard" and guard.agent == agent


def _can_probe(guard: Guard, agent: str) -> bool:
    return _is_guard_of(guard, agent) and "probe" in guard.registration.capabilities
