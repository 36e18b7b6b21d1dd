"""A simulated agent in virtual time: the scripts of the fleet under a guard that decides as the SDK's does.

The order of the checks and the pieces that decide (loop, policies, change kinds) are the SDK's own; only the clock, the threads
and the network are left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from andoncord.respond.ladder import height
from andoncord.respond.verify import Pulse
from andoncord.sim.agenda import Agenda
from andoncord.sim.chance import Chance
from andoncord.sim.failing import hangs
from andoncord.sim.fleet import ENVIRONMENT
from andoncord.sim.script import Call, Desk, Role, Script, Surroundings, Think, ToolFault, passes, rehearse
from andoncord.sim.surroundings import Shelves
from andoncord.telemetry.event import Event, EventKind
from andoncord_sdk.config import changed_kinds
from andoncord_sdk.loopwatch import LoopWatch
from andoncord_sdk.policy import PolicySet

HEARTBEAT_S = 1.0


class Run:
    """One run in progress."""

    def __init__(self, *, desk: Desk, script: Script, trace_id: str, started_ns: int, version: str) -> None:
        self.desk = desk
        self.script = script
        self.trace_id = trace_id
        self.span_id = trace_id[:16]
        self.started_ns = started_ns
        self.version = version
        self.loop = LoopWatch()
        self.spent_micro_usd = 0
        self.spans = 0
        self.held: Call | None = None
        self.in_flight: Call | None = None

    def next_span(self) -> str:
        """The id of the next step."""
        self.spans += 1
        return f"{int(self.span_id, 16) ^ self.spans:016x}"


class Refusal(msgspec.Struct, frozen=True):
    """Why the guard does not let a call through."""

    code: str
    message: str
    stops_run: bool
    policy: str = ""


class Actor:
    """One agent process with its guard.

    Args:
        emit: takes each event at the moment it happens; the network is the receiver's business.
    """

    def __init__(
        self,
        role: Role,
        *,
        chance: Chance,
        agenda: Agenda,
        surroundings: Surroundings,
        emit: Callable[[Event], None],
        onset: Callable[[str], None],
    ) -> None:
        self.role = role
        self.rung = "none"
        self.epoch: tuple[int, int] = (0, 0)
        self.applied: list[tuple[int, int]] = []
        """Every epoch that was put in force, in order: none may appear twice."""
        self.settings: Mapping[str, Any] = role.settings
        self.version = "v1"
        self.policies: PolicySet | None = None
        self.alive = False
        self.hung = False
        self.life = 0
        self.terminations = 0
        self.steps_started = 0
        self.steps_ended = 0
        self.pulses: list[Pulse] = []
        self.refusals: list[Refusal] = []
        self._chance = chance
        self._agenda = agenda
        self._surroundings = surroundings
        self._emit = emit
        self._onset = onset
        self._runs = 0
        self._run: Run | None = None
        self._waits = False

    @property
    def instance(self) -> str:
        """The name of the present process."""
        return f"{self.role.name}-{self.life}"

    # ---- the process

    def start(self) -> None:
        """Start the process; whatever was in force stays in force."""
        assert not self.alive
        self.life += 1
        self.alive, self.hung, self._run, self._waits = True, False, None, False
        self.steps_started = self.steps_ended = 0
        self.pulses = []
        self._later(self._chance.between(0.0, HEARTBEAT_S), self._beat)
        self._later(self._chance.between(0.0, self.role.period_s), self._begin)

    def terminate(self) -> None:
        """End the process tree."""
        if self.alive:
            self.terminations += 1
        self.alive = False
        self._run = None

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something later, unless the process has ended or hangs by then."""
        life = self.life

        def if_still_there() -> None:
            if self.alive and not self.hung and self.life == life:
                act()

        self._agenda.after(delay_s, if_still_there)

    def _beat(self) -> None:
        in_flight = int(self._run is not None and self._run.in_flight is not None)
        self.pulses.append(Pulse(at_ns=self._agenda.now, rung=self.rung, in_flight=in_flight, steps_started=self.steps_started))
        self._say(
            EventKind.HEARTBEAT,
            attributes={
                "rung": self.rung,
                "epoch": f"{self.epoch[0]}.{self.epoch[1]}",
                "in_flight": in_flight,
                "runs_active": int(self._run is not None),
                "steps_started": self.steps_started,
                "steps_ended": self.steps_ended,
            },
        )
        self._later(HEARTBEAT_S, self._beat)

    # ---- orders

    def obey(self, rung: str, epoch: tuple[int, int]) -> None:
        """Put an order in force if it is newer than what is."""
        if epoch <= self.epoch:
            return
        self.rung, self.epoch = rung, epoch
        self.applied.append(epoch)
        run = self._run
        if rung == "kill" and run is not None and run.held is not None:
            self._refuse(run, run.held, Refusal("order", f"{self.role.name} is stopped", stops_run=True))
        elif height(rung) < height("pause"):
            if run is not None and run.held is not None:
                held, run.held = run.held, None
                self._admit(run, held)
            elif self._waits:
                self._waits = False
                self._later(self._chance.between(0.0, self.role.period_s), self._begin)

    def configure(self, version: str, values: Mapping[str, Any]) -> None:
        """Put a registry version in force and announce what changed."""
        if version == self.version:
            return
        for kind in changed_kinds(self.settings, values):
            self._say(EventKind.CHANGE_MADE, name=kind, attributes={"from": self.version, "to": version})
        self.settings, self.version = dict(values), version

    def rehearse(self, samples: int) -> list[bool]:
        """Work on tasks with known answers, nothing leaving the desk."""
        return [
            rehearse(self.role, self._desk(self._chance.child(f"rehearsal-{index}-{self.version}"), rehearsal=True))
            for index in range(samples)
        ]

    # ---- work

    def _begin(self) -> None:
        if height(self.rung) >= height("pause"):
            self._waits = True
            return
        self._runs += 1
        chance = self._chance.child(f"run-{self._runs}")
        desk = self._desk(chance)
        trace_id = f"{chance.bits():016x}{chance.bits():016x}"
        run = Run(
            desk=desk, script=self.role.script(desk), trace_id=trace_id, started_ns=self._agenda.now, version=self.version
        )
        self._run = run
        self._say_in(run, EventKind.RUN_STARTED, span_id=run.span_id)
        self._go_on(run, lambda: next(run.script))

    def _go_on(self, run: Run, advance: Callable[[], Think | Call]) -> None:
        try:
            step = advance()
        except StopIteration as end:
            self._end(run, answer=str(end.value))
        except ToolFault as fault:
            self._end(run, error_type=fault.kind)
        else:
            if isinstance(step, Think):
                self._think(run, step)
            else:
                self._admit(run, step)

    def _think(self, run: Run, thought: Think) -> None:
        started_ns, span_id = self._agenda.now, run.next_span()

        def done() -> None:
            run.spent_micro_usd += thought.cost_micro_usd
            self._say_in(
                run,
                EventKind.MODEL_COMPLETED,
                span_id=span_id,
                parent_span_id=run.span_id,
                name=str(self.settings["model"]),
                start_ns=started_ns,
                instructions=str(self.settings["prompt"]),
                input_text=thought.prompt,
                output_text=thought.reply,
                input_tokens=thought.input_tokens,
                output_tokens=thought.output_tokens,
                cost_micro_usd=thought.cost_micro_usd,
            )
            self._go_on(run, lambda: run.script.send(thought.reply))

        self._later(self.role.thinking_s, done)

    def _admit(self, run: Run, call: Call) -> None:
        """The guard's checks, in the order of the SDK: order, policy, scope, budget, loop."""
        if self.rung == "pause":
            run.held = call
            return
        refusal = self._refusal(run, call)
        if refusal is not None:
            self._refuse(run, call, refusal)
            return
        self.steps_started += 1
        run.in_flight = call
        span_id, started_ns = run.next_span(), self._agenda.now
        self._say_in(run, EventKind.STEP_STARTED, span_id=span_id, name=call.tool)
        if hangs(call):
            self._later(self.role.tool_s, self._hang)
            return
        self._later(self.role.tool_s, lambda: self._call_ended(run, call, span_id, started_ns))

    def _hang(self) -> None:
        """From here on no thread of the process runs."""
        self._onset("d")
        self.hung = True

    def _refusal(self, run: Run, call: Call) -> Refusal | None:
        name = self.role.name
        if self.rung == "kill":
            return Refusal("order", f"{name} is stopped", stops_run=True)
        if self.rung == "restrict" and self.role.access.get(call.tool) != "read":
            return Refusal("order", f"{name} is restricted to tools that only read", stops_run=False)
        in_scope = call.tool in self.role.access
        if self.policies is not None:
            facts = {"task": run.desk.task.brief, "spent_micro_usd": run.spent_micro_usd}
            decision = self.policies.decide({"agent": name, "tool": call.tool, "args": call.arguments, "run": facts})
            if not decision.allow and in_scope:
                return Refusal("policy", decision.message, stops_run=False, policy=decision.policy_id)
        if not in_scope:
            return Refusal("scope", f"{name} may not use {call.tool}: it is not among its declared tools", stops_run=True)
        if run.spent_micro_usd > self.role.budget_usd * 1_000_000:
            return Refusal("budget", "the run is over its budget", stops_run=True)
        repeats = run.loop.repeats_before(call.tool, _text(call.arguments))
        if repeats is not None:
            message = f"{call.tool} was called {repeats} times in a row without progress"
            return Refusal("loop", message, stops_run=True)
        return None

    def _refuse(self, run: Run, call: Call, refusal: Refusal) -> None:
        run.held = None
        self.refusals.append(refusal)
        self._say_in(
            run,
            EventKind.GUARD_DENIED,
            span_id=run.next_span(),
            name=call.tool,
            ok=False,
            arguments=_text(call.arguments),
            attributes={
                "code": refusal.code,
                "policy": refusal.policy,
                "message": refusal.message,
                "action": "stop_run" if refusal.stops_run else "deny",
            },
        )
        if refusal.stops_run:
            self._end(run, error_type="RunStopped")
        else:
            self._go_on(run, lambda: run.script.throw(ToolFault("denied", refusal.message)))

    def _call_ended(self, run: Run, call: Call, span_id: str, started_ns: int) -> None:
        fault: ToolFault | None = None
        result: Any = None
        try:
            result = self.role.tools[call.tool](run.desk, call.arguments)
        except ToolFault as error:
            fault = error
        text = str(fault) if fault else _text(result)
        run.in_flight = None
        self.steps_ended += 1
        run.loop.observe(call.tool, _text(call.arguments), text, fault is not None)
        self._say_in(
            run,
            EventKind.TOOL_FAILED if fault else EventKind.TOOL_COMPLETED,
            span_id=span_id,
            parent_span_id=run.span_id,
            name=call.tool,
            start_ns=started_ns,
            ok=fault is None,
            error_type=fault.kind if fault else "",
            arguments=_text(call.arguments),
            result=text,
        )
        if fault:
            self._go_on(run, lambda: run.script.throw(fault))
        else:
            self._go_on(run, lambda: run.script.send(result))

    def _end(self, run: Run, *, answer: str | None = None, error_type: str = "") -> None:
        run.script.close()
        self._run = None
        if answer is not None:
            passed = passes(run.desk.task, answer)
            self._say_in(
                run,
                EventKind.QUALITY_SCORED,
                span_id=run.span_id,
                name="known_answer",
                score=1.0 if passed else 0.0,
                passed=passed,
            )
        self._say_in(run, EventKind.RUN_ENDED, span_id=run.span_id, ok=not error_type)
        self._say_in(
            run,
            EventKind.AGENT_INVOKED,
            span_id=run.span_id,
            name=self.role.name,
            start_ns=run.started_ns,
            ok=not error_type,
            error_type=error_type,
        )
        self._later(self.role.period_s * self._chance.between(0.7, 1.3), self._begin)

    def _desk(self, chance: Chance, *, rehearsal: bool = False) -> Desk:
        return Desk(
            task=self.role.task(chance),
            settings=self.settings,
            chance=chance,
            surroundings=Shelves() if rehearsal else self._surroundings,
            onset=(lambda letter: None) if rehearsal else self._onset,
            rehearsal=rehearsal,
        )

    # ---- telemetry

    def _say_in(self, run: Run, kind: EventKind, **fields: Any) -> None:
        attributes = {"config_version": run.version, **fields.pop("attributes", {})}
        task = run.desk.task.brief
        self._say(kind, trace_id=run.trace_id, run_id=run.span_id, task=task, attributes=attributes, **fields)

    def _say(self, kind: EventKind, **fields: Any) -> None:
        now = self._agenda.now
        self._emit(
            Event(
                kind=kind,
                agent=self.role.name,
                instance=self.instance,
                system="demo-shop",
                environment=ENVIRONMENT,
                end_ns=now,
                trusted=True,
                **{"start_ns": now, **fields},
            )
        )


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
