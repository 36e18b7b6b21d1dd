"""From a rule to the detector that carries it out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from andoncord.detect.burn import BurnRate
from andoncord.detect.cascade import Cascade
from andoncord.detect.declared import Declared, Objective
from andoncord.detect.depletion import SharedDepletion
from andoncord.detect.detector import MAX_GROUPS, Detector, Trigger
from andoncord.detect.edits import ForbiddenEdit, ScopeCreep
from andoncord.detect.facts import GROUP_FIELDS, NUMBER_FIELDS, Facts, Key, key_of, number_of
from andoncord.detect.feedback import FeedbackLoop
from andoncord.detect.foreign import ForeignOrder, InjectionExposure
from andoncord.detect.growth import ContextGrowth
from andoncord.detect.impact import HourlyImpact
from andoncord.detect.injection import InjectedAction
from andoncord.detect.input_mix import InputMix
from andoncord.detect.invalid_state import InvalidState
from andoncord.detect.known import EVENT_NAME, mentions, needs
from andoncord.detect.ledger import Ledger
from andoncord.detect.loop import Repetition
from andoncord.detect.mix import DecisionMix
from andoncord.detect.pingpong import PingPong
from andoncord.detect.quality import QualityDrop
from andoncord.detect.quiet import Quiet
from andoncord.detect.ranges import HOURLY, OutOfRange
from andoncord.detect.rule import (
    AbsenceSpec,
    AliveWhen,
    CountSpec,
    DeclaredSpec,
    DetectorSpec,
    DistinctSpec,
    Fields,
    Kinds,
    MatchSpec,
    RatioSpec,
    RepeatSpec,
    Rule,
    SequenceSpec,
    StreamSpec,
    SumSpec,
    SynchronySpec,
    condition_tree,
    duration_ns,
    kinds_of,
)
from andoncord.detect.runs import Runs
from andoncord.detect.sensitive import SensitiveOutput
from andoncord.detect.spiral import CostSpiral
from andoncord.detect.synchrony import Synchrony
from andoncord.detect.temporal import Absence, Alive, Cancel, Each
from andoncord.detect.temporal import Sequence as InSequence
from andoncord.detect.window import AgainstBaseline, Entry, InTotal, InWindow
from andoncord.kernel.errors import CallerError
from andoncord.kernel.money import micro_usd
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event
from andoncord_sdk.expression import compile_condition, compile_expression

NATIVE: dict[str, Callable[..., Detector]] = {
    "injected_action": InjectedAction,
    "cost_spiral": CostSpiral,
    "foreign_order": ForeignOrder,
    "injection_exposure": InjectionExposure,
    "forbidden_edit": ForbiddenEdit,
    "scope_creep": ScopeCreep,
    "shared_depletion": SharedDepletion,
    "context_growth": ContextGrowth,
    "sensitive_output": SensitiveOutput,
    "cascade": Cascade,
    "invalid_state": InvalidState,
    "feedback_loop": FeedbackLoop,
    "ping_pong": PingPong,
    "quiet": Quiet,
    "burn_rate": BurnRate,
}
"""Detectors written in code, by the name rules use. To add one: a class, a line here, its name in `DetectorSpec`."""
MAX_NUMBER = 1e15
"""What is larger is no quantity that agents share."""
BUDGETED: dict[str, Callable[..., Detector]] = {"quality_drop": QualityDrop}
"""Those of them that pay from the budget of false alarms."""
OF_RUNS: dict[str, Callable[..., Detector]] = {"decision_mix": DecisionMix, "input_mix": InputMix}
"""Those that do and look at whole runs."""


_AGENT = {"op": "name", "name": "agent"}
_DECLARED_NUMBERS = frozenset({"budget_micro_usd", "silent_after_s", "step_timeout_s"})
"""What most limits are: read without the detour of an expression."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the detectors of one bank have in common."""

    ledger: Ledger = field(default_factory=Ledger)
    runs: Runs = field(default_factory=Runs)
    is_fed: bool = False
    """Whether somebody else shows `runs` the events and hands out what is over."""

    @classmethod
    def of(cls, max_groups: int) -> "Shared":
        """For a detector by itself, that remembers at most so many groups."""
        return cls(ledger=Ledger(max_streams=max_groups), runs=Runs(max_open=max_groups))


def build(rule: Rule, *, max_groups: int = MAX_GROUPS, shared: Shared | None = None) -> Detector:
    """The detector of a rule, with no events seen yet, that remembers at most `max_groups` groups.

    Raises:
        CallerError: a field to group by or add up does not exist.
    """
    return _Builder(rule, max_groups, shared or Shared.of(max_groups)).detector()


class _Builder:
    def __init__(self, rule: Rule, max_groups: int, shared: Shared) -> None:
        self.rule = rule
        self.shared = shared
        self.max_groups = max_groups
        self.trigger = self._trigger(rule.on, rule.where)

    def detector(self) -> Detector:
        spec = self.rule.correlate
        match spec:
            case MatchSpec():
                return Each(self.trigger, key=self._key(spec.group_by), max_groups=self.max_groups)
            case RepeatSpec():
                return Repetition(self.trigger, key=self._key(spec.group_by), max_groups=self.max_groups)
            case StreamSpec() | SynchronySpec() | DetectorSpec():
                return self._coded(spec)
            case CountSpec() | DistinctSpec():
                return self._counting(spec)
            case SumSpec():
                return self._adding(spec)
            case RatioSpec():
                return AgainstBaseline(
                    self.trigger,
                    key=self._key(spec.group_by),
                    value=self._number(spec.field),
                    window_ns=duration_ns(spec.window),
                    above=spec.gt,
                    warm_up=spec.warm_up,
                    at_least=spec.at_least,
                    max_groups=self.max_groups,
                )
            case SequenceSpec():
                steps = tuple(self._trigger(step.on, step.where) for step in spec.steps)
                return InSequence(
                    steps, key=self._key(spec.by), maxspan_ns=duration_ns(spec.maxspan), max_groups=self.max_groups
                )
            case AbsenceSpec():
                return self._absence(spec)

    def _coded(self, spec: StreamSpec | SynchronySpec | DetectorSpec) -> Detector:
        ledger = self.shared.ledger
        if isinstance(spec, SynchronySpec):
            return Synchrony(
                self.trigger,
                key=self._key(spec.group_by),
                value=self._told(spec.field),
                causes=tuple(map(self._told, spec.causes)),
                bucket_ns=duration_ns(spec.bucket),
                ledger=ledger,
                is_in_text=spec.field.startswith("args."),
                max_groups=self.max_groups,
            )
        if isinstance(spec, StreamSpec):
            watch = HourlyImpact if spec.of in HOURLY else OutOfRange
            return watch(
                self.trigger,
                key=self._key(("agent", "name") if spec.of == "score" else ("agent",)),
                of=spec.of,
                side=spec.side,
                runs=self.shared.runs,
                ledger=ledger,
                is_fed=self.shared.is_fed,
                max_groups=self.max_groups,
            )
        key = self._key(spec.group_by)
        if spec.name in OF_RUNS:
            runs, is_fed = self.shared.runs, self.shared.is_fed
            return OF_RUNS[spec.name](
                self.trigger, key=key, runs=runs, ledger=ledger, is_fed=is_fed, max_groups=self.max_groups
            )
        if spec.name in BUDGETED:
            return BUDGETED[spec.name](self.trigger, key=key, ledger=ledger, max_groups=self.max_groups)
        return NATIVE[spec.name](self.trigger, key=key, max_groups=self.max_groups)

    def _counting(self, spec: CountSpec | DistinctSpec) -> Detector:
        limit = float(spec.gte)
        return InWindow(
            self.trigger,
            key=self._key(spec.group_by),
            value=_joined(self._key((spec.field,))) if isinstance(spec, DistinctSpec) else _nothing,
            measure=_different if isinstance(spec, DistinctSpec) else len,
            window_ns=duration_ns(spec.window),
            at_least=lambda facts: limit,
            reset=self._trigger(spec.reset.on, spec.reset.where) if spec.reset else None,
            max_groups=self.max_groups,
        )

    def _adding(self, spec: SumSpec) -> Detector:
        value, above, key = self._number(spec.field), self._limit(spec.gt), self._key(spec.group_by)
        if spec.window is None:
            return InTotal(
                self.trigger,
                key=key,
                value=value,
                above=above,
                is_money=spec.field == "cost_micro_usd",
                max_groups=self.max_groups,
            )
        return InWindow(
            self.trigger,
            key=key,
            value=value,
            measure=_total,
            window_ns=duration_ns(spec.window),
            at_least=above,
            is_strict=True,
            max_groups=self.max_groups,
        )

    def _absence(self, spec: AbsenceSpec) -> Detector:
        cancels = tuple(Cancel(self._trigger(cancel.on, cancel.where), self._key(cancel.by)) for cancel in spec.cancel)
        return Absence(
            self.trigger,
            key=self._key(spec.group_by),
            within_ns=self._within(spec.within),
            until=self._trigger(spec.until.on, spec.until.where) if spec.until else None,
            cancels=cancels,
            alive=self._alive(spec.alive) if spec.alive else None,
            max_groups=self.max_groups,
        )

    def _alive(self, spec: AliveWhen) -> Alive:
        return Alive(self._trigger(spec.on, spec.where), self._key(spec.by), duration_ns(spec.within))

    def _trigger(self, kinds: Kinds, where: str) -> Trigger:
        if not where:
            return Trigger(kinds_of(kinds))
        tree = condition_tree(where, self.rule.place)
        return Trigger(kinds_of(kinds), compile_condition(tree), tree, needs(tree), mentions(tree, EVENT_NAME))

    def _key(self, fields: Fields) -> Callable[[Event], Key]:
        try:
            return key_of(fields)
        except KeyError as unknown:
            raise self._no_such(unknown, GROUP_FIELDS) from None

    def _number(self, field: str) -> Callable[[Event], float]:
        try:
            return number_of(field)
        except KeyError as unknown:
            raise self._no_such(unknown, NUMBER_FIELDS) from None

    def _told(self, field: str) -> Callable[[Facts], float | None]:
        """A number of an event, None where it says none."""
        holder, dot, name = field.partition(".")
        if not dot or holder not in ("args", "attributes"):
            read = self._number(field)
            return lambda facts: read(facts.event)

        def told(facts: Facts) -> float | None:
            value = facts[holder].get(name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER
            return float(value) if is_number else None

        return told

    def _no_such(self, unknown: KeyError, known: Sequence[str]) -> CallerError:
        return CallerError(
            f"there is no field {unknown.args[0]!r}",
            place=self.rule.place,
            remedy=f"use one of {', '.join(known)} or attributes.<name>",
        )

    def _limit(self, limit: float | str) -> Callable[[Facts], float | None]:
        if not isinstance(limit, str):
            return lambda facts: limit
        tree = condition_tree(limit, self.rule.place)
        if tree["op"] == "field" and tree["of"] == _AGENT and tree["name"] in _DECLARED_NUMBERS:
            read = attrgetter(tree["name"])
            return lambda facts: read(facts.declared)
        evaluate = compile_expression(tree)

        def declared(facts: Facts) -> float | None:
            value = evaluate(facts)
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None

        return declared

    def _within(self, within: str) -> Callable[[Facts], int | None]:
        try:
            fixed = duration_ns(within)
        except ValueError:
            seconds = self._limit(within)

            def declared(facts: Facts) -> int | None:
                value = seconds(facts)
                return int(value * SECOND_NS) if value is not None and value > 0 else None

            return declared
        return lambda facts: fixed


def declared_of(agent: str, spec: DeclaredSpec) -> Declared:
    """The declaration that a case makes."""
    objective = spec.objective
    return Declared(
        agent=agent,
        tools=spec.tools,
        objective=Objective(
            quality=objective.quality,
            false_alarms_per_week=objective.false_alarms_per_week,
            runs_per_week=objective.runs_per_week,
        )
        if objective
        else None,
        budget_micro_usd=None if spec.budget_usd is None else micro_usd(spec.budget_usd),
        environment=spec.environment,
        silent_after_s=spec.silent_after_s,
        step_timeout_s=spec.step_timeout_s,
        polls=spec.polls,
        outside=spec.outside,
        invariants=spec.invariants,
        scope=spec.scope,
    )


def _nothing(event: Event) -> str:
    return ""


def _joined(key: Callable[[Event], Key]) -> Callable[[Event], str]:
    return lambda event: key(event)[0]


def _different(entries: Sequence[Entry]) -> int:
    return len({value for _, _, value in entries})


def _total(entries: Sequence[Entry]) -> float:
    return sum(float(value) for _, _, value in entries)
