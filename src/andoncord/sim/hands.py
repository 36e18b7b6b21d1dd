"""The performers of virtual time: they answer effects with latency and loss, and remember what they have done to the world."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from andoncord.detect.finding import Finding
from andoncord.engine.state import State
from andoncord.investigate.investigation import investigate
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.kernel.time import MILLISECOND_NS
from andoncord.learn.review import draft as draft_review
from andoncord.respond.evidence import seal
from andoncord.respond.verify import InstanceEvidence, Observation, is_settled, judge_containment
from andoncord.server.cases import cases
from andoncord.server.notices import NOBODY
from andoncord.sim.actor import Actor
from andoncord.sim.agenda import Agenda
from andoncord.sim.chance import Chance
from andoncord.telemetry.event import Event
from andoncord_sdk.policy import PolicySet

NETWORK_S = (0.001, 0.012)
RECONNECT_S = 0.6
"""A guard whose stream broke is back after so long, and is then told what is in force."""
WATCH_EVERY_S = 0.25
TERMINATE_S = 0.2
RESTART_S = 0.8
READING_S = 0.15
REHEARSAL_S = 0.004
MESSAGE_S = 0.3

Answer = Callable[[Outcome, dict[str, Any]], None]


class Hands:
    """Carries out effects on the actors.

    Args:
        answered: takes each receipt.
        loss: the share of orders that get lost with their stream and arrive only after the guard has reconnected.
    """

    def __init__(
        self,
        actors: Mapping[str, Actor],
        *,
        agenda: Agenda,
        chance: Chance,
        state: Callable[[], State],
        events: Sequence[Event],
        answered: Callable[[Receipt], None],
        loss: float,
    ) -> None:
        self._actors = actors
        self._agenda = agenda
        self._chance = chance
        self._state = state
        self._events = events
        self._answered = answered
        self._loss = loss

    def perform(self, intent: str, effect: Effect) -> None:
        """Begin to carry out an effect; the receipt comes later. The same effect may come again after a crash."""
        perform = {
            EffectKind.ORDER: self._order,
            EffectKind.CAPTURE: self._capture,
            EffectKind.TERMINATE: self._terminate,
            EffectKind.VERIFY: self._verify,
            EffectKind.INVESTIGATE: self._investigate,
            EffectKind.CONFIGURE: self._configure,
            EffectKind.RESTART: self._restart,
            EffectKind.PROBE: self._probe,
            EffectKind.POLICIES: self._policies,
            EffectKind.REVIEW: self._review,
            EffectKind.NOTIFY: self._notify,
            EffectKind.TICKET: self._ticket,
            EffectKind.WAIT: self._wait,
            EffectKind.ASK: self._ask,
            EffectKind.DRAFT: self._draft,
            EffectKind.RELEASE: self._release,
            EffectKind.HOOK: self._hook,
            EffectKind.REVOKE: self._revoke,
        }[effect.kind]

        def answer(outcome: Outcome, detail: dict[str, Any]) -> None:
            self._answered(Receipt(intent=intent, outcome=outcome, at_ns=self._agenda.now, detail=detail))

        perform(effect, answer)

    def _travel_s(self) -> float:
        return self._chance.between(*NETWORK_S) + (RECONNECT_S if self._chance.happens(self._loss) else 0.0)

    def _order(self, effect: Effect, answer: Answer) -> None:
        """Send an order and wait for the acknowledgement until the deadline."""
        actor, began_ns = self._actors[effect.target], self._agenda.now
        rung, epoch = effect.parameters["rung"], tuple(effect.parameters["epoch"])
        asked = actor.instance
        settled = False

        def confirm(ack: dict[str, Any]) -> None:
            nonlocal settled
            if settled:
                return
            settled = True
            detail = _asked(asked=[asked], acks=[ack], supervised=actor.role.supervised)
            detail["fence_ms"] = (self._agenda.now - began_ns) / MILLISECOND_NS
            answer(Outcome.DONE, detail)

        def arrive() -> None:
            if not actor.alive or actor.hung:
                return
            # What stands beside the rung leaves it alone; what it slows or holds is not played here.
            in_force = actor.rung if effect.parameters.get("standing") else rung
            actor.obey(in_force, (epoch[0], epoch[1]))
            ack = _ack(actor, at_ns=self._agenda.now)
            self._agenda.after(self._chance.between(*NETWORK_S), lambda: confirm(ack))

        def give_up() -> None:
            nonlocal settled
            if settled:
                return
            settled = True
            if not actor.alive:
                answer(Outcome.PARTIAL, _asked(asked=[], acks=[], supervised=actor.role.supervised))
            else:
                answer(Outcome.FAILED, _asked(asked=[asked], acks=[], supervised=actor.role.supervised))

        self._agenda.after(self._travel_s(), arrive)
        self._agenda.after(effect.deadline_ms / 1_000, give_up)

    def _capture(self, effect: Effect, answer: Answer) -> None:
        bundle = seal(
            incident=effect.incident,
            agent=effect.target,
            now=self._agenda.now,
            acknowledgements=effect.parameters["acknowledgements"],
            liveness=[],
            events=[event for event in self._events if event.agent == effect.target],
            configuration=None,
        )
        detail = {"path": f"evidence/{effect.incident}", "sha256": bundle.sha256, "cut": list(bundle.cut)}
        self._agenda.after(0.02, lambda: answer(Outcome.DONE, detail))

    def _terminate(self, effect: Effect, answer: Answer) -> None:
        actor = self._actors[effect.target]
        if not actor.role.supervised:
            missing = f"no supervisor is connected for {effect.target}"
            self._agenda.after(0.01, lambda: answer(Outcome.FAILED, {"missing": missing}))
            return

        def end() -> None:
            gone = [actor.instance]
            actor.terminate()
            took_ms = 1_000 * TERMINATE_S
            detail = {"process_tree_empty": True, "gone": gone, "signalled": [1], "remaining": [], "took_ms": took_ms}
            answer(Outcome.DONE, detail)

        self._agenda.after(TERMINATE_S, end)

    def _verify(self, effect: Effect, answer: Answer) -> None:
        """Watch heartbeats until the verdict cannot get better or time is up."""
        actor, parameters = self._actors[effect.target], effect.parameters
        until_ns = self._agenda.now + effect.deadline_ms * MILLISECOND_NS

        def watch() -> None:
            observation = _observe(actor, parameters)
            if is_settled(observation) or self._agenda.now >= until_ns:
                judged = judge_containment(observation)
                reached = dict.fromkeys(sorted(judged.reached), self._agenda.now)
                answer(Outcome.DONE, {**msgspec.to_builtins(judged), "reached": reached})
            else:
                self._agenda.after(WATCH_EVERY_S, watch)

        self._agenda.after(WATCH_EVERY_S, watch)

    def _investigate(self, effect: Effect, answer: Answer) -> None:
        def read() -> None:
            findings = msgspec.convert(effect.parameters["findings"], list[Finding])
            found = investigate(findings, self._events, now_ns=self._agenda.now)
            answer(Outcome.DONE, msgspec.to_builtins(found))

        self._agenda.after(READING_S, read)

    def _configure(self, effect: Effect, answer: Answer) -> None:
        actor = self._actors[effect.target]
        version = effect.parameters["version"]
        values = self._state().registry.get(effect.target, version).values

        def arrive() -> None:
            if actor.alive and not actor.hung:
                actor.configure(version, values)
                detail = _asked(asked=[actor.instance], acks=[_ack(actor, at_ns=self._agenda.now)])
                answer(Outcome.DONE, detail)
            else:
                answer(Outcome.PARTIAL, _asked(asked=[], acks=[]))

        self._agenda.after(self._travel_s(), arrive)

    def _restart(self, effect: Effect, answer: Answer) -> None:
        actor = self._actors[effect.target]

        def start() -> None:
            if not actor.alive:
                actor.start()
            answer(Outcome.DONE, {"pid": actor.life})

        self._agenda.after(RESTART_S, start)

    def _probe(self, effect: Effect, answer: Answer) -> None:
        actor, samples = self._actors[effect.target], int(effect.parameters["samples"])

        def rehearse() -> None:
            if actor.alive and not actor.hung:
                answer(Outcome.DONE, {"passed": actor.rehearse(samples), "instance": actor.instance, "asked": samples})
            else:
                answer(Outcome.FAILED, {"passed": [], "asked": samples, "missing": "no guard is connected"})

        self._agenda.after(REHEARSAL_S * samples, rehearse)

    def _policies(self, effect: Effect, answer: Answer) -> None:
        compiled = [rule for policy in self._state().policies.values() for rule in policy.compiled]

        def arrive() -> None:
            reached = [actor for actor in self._actors.values() if actor.alive and not actor.hung]
            for actor in reached:
                actor.policies = PolicySet(compiled)
            acks = [_ack(actor, at_ns=self._agenda.now) for actor in reached]
            answer(Outcome.DONE, _asked(asked=[actor.instance for actor in reached], acks=acks))

        self._agenda.after(self._travel_s(), arrive)

    def _review(self, effect: Effect, answer: Answer) -> None:
        def draft() -> None:
            case = next(case for case in cases(self._state()) if case.incident == effect.incident)
            review = msgspec.to_builtins(draft_review(case))
            answer(Outcome.DONE, {"path": f"reviews/{effect.incident}.md", "review": review})

        self._agenda.after(READING_S, draft)

    def _notify(self, effect: Effect, answer: Answer) -> None:
        """Whoever is named is reached; in a world that names nobody, nobody is."""
        reached = list(effect.parameters["to"])
        if reached:
            self._agenda.after(MESSAGE_S, lambda: answer(Outcome.DONE, {"reached": reached, "deliveries": []}))
        else:
            self._agenda.after(0.0, lambda: answer(Outcome.FAILED, {"reached": [], "missing": NOBODY}))

    def _ticket(self, effect: Effect, answer: Answer) -> None:
        """A tracker that does what it is asked."""
        ticket = {"id": f"T-{effect.incident}", "url": ""}
        self._agenda.after(MESSAGE_S, lambda: answer(Outcome.DONE, {"ticket": ticket}))

    def _wait(self, effect: Effect, answer: Answer) -> None:
        until_ns = max(int(effect.parameters["until_ns"]), self._agenda.now)
        self._agenda.at(until_ns, lambda: answer(Outcome.DONE, {}))

    def _ask(self, effect: Effect, answer: Answer) -> None:
        """Nobody answers: what is said by default holds once the time is over."""
        until_ns = max(int(effect.parameters["until_ns"]), self._agenda.now)
        self._agenda.at(until_ns, lambda: answer(Outcome.DONE, {"answer": effect.parameters["default"], "by": ""}))

    def _draft(self, effect: Effect, answer: Answer) -> None:
        words = {"subject": f"a notice for {effect.parameters['notice']}", "text": "It is being looked into."}
        self._agenda.after(0.0, lambda: answer(Outcome.DONE, words))

    def _release(self, effect: Effect, answer: Answer) -> None:
        came = {each["id"]: {"state": "done", "why": ""} for each in effect.parameters["effects"]}
        self._agenda.after(0.0, lambda: answer(Outcome.DONE, {"effects": came}))

    def _hook(self, effect: Effect, answer: Answer) -> None:
        missing = f"this world has no hook {effect.parameters['hook']!r}"
        self._agenda.after(0.0, lambda: answer(Outcome.FAILED, {"missing": missing}))

    def _revoke(self, effect: Effect, answer: Answer) -> None:
        missing = f"this world declares no credential {effect.parameters['credential']!r}"
        self._agenda.after(0.0, lambda: answer(Outcome.FAILED, {"missing": missing}))


def _ack(actor: Actor, *, at_ns: int) -> dict[str, Any]:
    state = {"rung": actor.rung, "epoch": list(actor.epoch), "in_flight": [], "steps_started": actor.steps_started}
    return {"instance": actor.instance, "kind": "guard", "at_ns": at_ns, "state": state, "detail": {}}


def _asked(*, asked: list[str], acks: list[dict[str, Any]], supervised: bool = False) -> dict[str, Any]:
    confirmed = [ack["instance"] for ack in acks]
    return {
        "asked": len(asked),
        "confirmed": len(confirmed),
        "unconfirmed": [instance for instance in asked if instance not in confirmed],
        "acks": acks,
        "supervised": supervised,
    }


def _observe(actor: Actor, parameters: Mapping[str, Any]) -> Observation:
    """What telemetry shows about the instances that were asked, but for those of a tree that was seen empty."""
    termination = parameters["termination"] or {}
    is_empty = termination.get("process_tree_empty")
    gone = set(termination["gone"]) if is_empty else set()
    instances = [
        InstanceEvidence(
            instance=ack["instance"],
            acknowledged_ns=ack["at_ns"],
            steps_at_ack=ack["state"]["steps_started"],
            pulses=tuple(pulse for pulse in actor.pulses if pulse.at_ns > ack["at_ns"]),
        )
        for ack in parameters["acknowledgements"]
        if ack["instance"] not in gone
    ]
    instances += [InstanceEvidence(instance=instance) for instance in parameters["unconfirmed"] if instance not in gone]
    return Observation(
        agent=actor.role.name,
        rung=parameters["rung"],
        instances=tuple(instances),
        tree_empty=is_empty,
    )
