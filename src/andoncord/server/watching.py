"""The performer of VERIFY: watches acknowledgements and telemetry until the verdict cannot get better, or time is up."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from andoncord.detect.ports import TelemetryReader
from andoncord.incident.inflight import END_KINDS, InFlightCall, dispose
from andoncord.incident.stage import Stage
from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.kernel.time import MILLISECOND_NS, MINUTE_NS, SECOND_NS
from andoncord.respond.ladder import FENCING
from andoncord.respond.verify import (
    CredentialEvidence,
    InstanceEvidence,
    Judged,
    Observation,
    Pulse,
    Tree,
    is_settled,
    judge_containment,
)
from andoncord.server.holding import covered, tree_in
from andoncord.server.hub import GuardHub
from andoncord.server.leases import LeaseOffice
from andoncord.server.points import order_id
from andoncord.server.ports import ServerClock
from andoncord.server.within import HOLDING, STEP_KINDS, holds, is_within, words
from andoncord.telemetry.event import Event, EventKind

LOOK_EVERY_S = 0.1
LOOKS_PER_S = 100
"""Of all watches together: when many agents are stopped at once, each is looked at less often and orders are not delayed."""
LOOK_SHARE = 10
"""A look that takes long, because an agent has many processes, is followed by a pause of this many times its length."""
MAX_EVENTS = 2_000
IN_FLIGHT_LOOK_BACK_NS = 10 * MINUTE_NS
"""How long before the fence a call may have begun that is looked for among those without an end."""
WATCHED_KINDS = (EventKind.HEARTBEAT, *STEP_KINDS)


class Reported(NamedTuple):
    """An acknowledgement that an order was enforced."""

    at_ns: int
    state: Mapping[str, Any]
    detail: Mapping[str, Any]


class VerifyPerformer:
    """Collects what `respond.verify` judges. Signals without a token bound to the agent do not count."""

    def __init__(self, *, hub: GuardHub, telemetry: TelemetryReader, clock: ServerClock, leases: LeaseOffice) -> None:
        self._hub = hub
        self._leases = leases
        self._telemetry = telemetry
        self._clock = clock
        self._watches = 0

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        self._watches += 1
        try:
            judged, reached = await self._watch(effect)
        finally:
            self._watches -= 1
        detail = {**_detail(judged), "reached": reached, "in_flight": msgspec.to_builtins(await self._in_flight(effect))}
        return Receipt(intent=intent, outcome=Outcome.DONE, at_ns=self._clock.now(), detail=detail)

    async def _watch(self, effect: Effect) -> tuple[Judged, dict[str, int]]:
        """The last judgement, and when each state of the proof was first seen reached."""
        deadline_ns = self._clock.monotonic_ns() + effect.deadline_ms * MILLISECOND_NS
        # What nobody answers for is not waited for as long as the end of what somebody has answered for.
        fence_ns = self._clock.monotonic_ns() + effect.parameters.get("fence_ms", effect.deadline_ms) * MILLISECOND_NS
        known = _known(effect)
        reached: dict[Stage, int] = {}
        while True:
            began_ns = self._clock.monotonic_ns()
            observation = await self._observe(effect)
            now_ns = self._clock.monotonic_ns()
            judged = judge_containment(observation)
            for stage in judged.reached - reached.keys():
                reached[stage] = known.get(stage, self._clock.now())
            known = {}
            if is_settled(observation) or now_ns >= (deadline_ns if Stage.FENCED in judged.reached else fence_ns):
                return judged, {stage.value: reached[stage] for stage in judged.reached}
            took_s = (now_ns - began_ns) / SECOND_NS
            await asyncio.sleep(max(LOOK_EVERY_S, self._watches / LOOKS_PER_S, LOOK_SHARE * took_s))

    async def _in_flight(self, effect: Effect) -> tuple[InFlightCall, ...]:
        """What was under way when the agent was fenced, and what became of it."""
        within = effect.parameters.get("within")
        if effect.parameters["rung"] not in FENCING and not (within and within["rung"] in HOLDING):
            return ()
        acks = effect.parameters.get("acknowledgements", ())
        reported = [
            InFlightCall(
                instance=ack["instance"],
                tool=str(call.get("tool", "")),
                span_id=str(call.get("span_id", "")),
                run_id=str(call.get("run_id", "")),
            )
            for ack in acks
            for call in ack["state"].get("in_flight", ())
            if not within or holds(within, str(call.get("tool", "")), str(call.get("run_id", "")))
        ]
        fenced_ns = min((ack["at_ns"] for ack in acks), default=effect.parameters.get("ordered_ns") or self._clock.now())
        events = await self._trusted(effect.target, STEP_KINDS, after_ns=fenced_ns - IN_FLIGHT_LOOK_BACK_NS)
        events = [event for event in events if not within or holds(within, event.name, event.run_id)]
        # A guard that is gone by now had declared its tools when the verdict before this one was given.
        tools = {call["tool"]: "read" for call in effect.parameters.get("in_flight", ()) if call["disposition"] == "aborted"}
        for guard in self._hub.points(effect.target):
            tools.update(guard.registration.tools or {})
        return dispose(reported, events, fenced_ns=fenced_ns, tools=tools)

    async def _trusted(self, agent: str, kinds: Sequence[EventKind], *, after_ns: int) -> list[Event]:
        """What the agent itself has reported since. Read beside the loop, which has orders to bring."""
        found = await asyncio.to_thread(self._telemetry.of_kind_since, agent, kinds=kinds, after_ns=after_ns, limit=MAX_EVENTS)
        return [event for event in found if event.trusted]

    async def _observe(self, effect: Effect) -> Observation:
        parameters = effect.parameters
        generation, counter = parameters["epoch"]
        acks: dict[str, Reported] = {
            ack["instance"]: Reported(ack["at_ns"], ack["state"], ack.get("detail", {}))
            for ack in parameters.get("acknowledgements", ())
            if ack.get("outcome", "enforced") == "enforced"
        }
        guards, holders = self._hub.points(effect.target), self._hub.holders(effect.target, parameters["rung"])
        supervisors = {point.instance for point in self._hub.points(effect.target, kind="supervisor")}
        holding = {point.instance for point in holders}
        # An answer that came after the order's own deadline is an answer all the same, and a supervisor's last look counts.
        for instance, ack in self._hub.answers.acks(order_id(effect.target, (generation, counter))).items():
            if instance in holding:
                acks.pop(instance, None)
            elif instance in supervisors:
                continue
            if ack.outcome == "enforced":
                acks.setdefault(instance, Reported(ack.at_ns, ack.state, ack.detail))
        inside = covered(guards, holders, {name: (ack.state, ack.detail) for name, ack in acks.items()})
        termination = parameters.get("termination") or {}
        tree_empty = termination.get("process_tree_empty")
        expected = set(acks) | set(parameters.get("unconfirmed", ())) | holding | {guard.instance for guard in guards}
        if tree_empty is True:
            # Their trees are empty, and the guards in those are gone. Whoever runs elsewhere still has to answer.
            here = expected - supervisors - set(termination.get("gone", ()))
            expected = {instance for instance in here if not self._hub.has_departed(effect.target, instance)}
        since_ns = min((ack.at_ns for ack in acks.values()), default=parameters.get("fenced_ns", 0))
        events: dict[str, list[Event]] = {}
        for event in await self._trusted(effect.target, WATCHED_KINDS, after_ns=since_ns):
            events.setdefault(event.instance, []).append(event)
        return Observation(
            agent=effect.target,
            rung=parameters["rung"],
            within=words(parameters.get("within")),
            instances=tuple(
                _evidence(
                    instance,
                    acks[instance],
                    events.get(instance, ()),
                    inside.get(instance),
                    self._hub.ended_pid(effect.target, instance),
                    parameters.get("within"),
                )
                if instance in acks
                else InstanceEvidence(
                    instance=instance,
                    gone_pid=self._hub.ended_pid(effect.target, instance),
                    lease_left_s=self._leases.left_s(effect.target, instance, below=(generation, counter)),
                    tree=inside.get(instance),
                )
                for instance in sorted(expected)
            ),
            tree_empty=tree_empty,
            credentials=tuple(
                CredentialEvidence(
                    name=each["name"], is_revoked=each["is_revoked"], is_refused=each.get("is_refused"), why=each.get("why", "")
                )
                for each in parameters.get("credentials", ())
            ),
        )


def _known(effect: Effect) -> dict[Stage, int]:
    """Since when a state has been reached that is found to be so at the first look: since its answers came."""
    known = {Stage.FENCED: int(effect.parameters.get("fenced_ns", 0))}
    tried = [credential.get("at_ns", 0) for credential in effect.parameters.get("credentials", ())]
    return {**known, Stage.CREDENTIALS_REVOKED: max(tried)} if tried else known


def _evidence(
    instance: str,
    ack: Reported,
    events: Sequence[Event],
    inside: Tree | None,
    gone_pid: int,
    within: Mapping[str, Any] | None,
) -> InstanceEvidence:
    at_ns, state, _ = ack
    ended = {event.span_id for event in events if event.kind in END_KINDS}
    later = [event for event in events if event.start_ns > at_ns]
    return InstanceEvidence(
        instance=instance,
        acknowledged_ns=at_ns,
        steps_at_ack=int(state.get("steps_started", 0)),
        in_flight_at_ack=tuple(str(call.get("tool", "")) for call in state.get("in_flight", ())),
        pulses=tuple(_pulse(event) for event in later if event.kind is EventKind.HEARTBEAT),
        steps_after_ack=len({event.span_id for event in later if event.kind in STEP_KINDS}),
        calls_within=len({event.span_id for event in later if within and is_within(event, within)}),
        open_within=tuple(
            str(call.get("tool", ""))
            for call in state.get("in_flight", ())
            if within
            and call.get("span_id") not in ended
            and holds(within, str(call.get("tool", "")), str(call.get("run_id", "")))
        ),
        tree=inside or tree_in(state),
        gone_pid=gone_pid,
    )


def _pulse(event: Event) -> Pulse:
    return Pulse(
        at_ns=event.at_ns,
        rung=str(event.attributes.get("rung", "")),
        in_flight=int(event.attributes.get("in_flight", 0)),
        steps_started=int(event.attributes.get("steps_started", 0)),
    )


def _detail(judged: Judged) -> dict[str, Any]:
    return {"verdict": judged.verdict, "missing": list(judged.missing), "evidence": list(judged.evidence)}
