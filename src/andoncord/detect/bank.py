"""All detectors together: each event is shown to those that want its kind, and what they find becomes findings."""

import re
from collections.abc import Iterable, Mapping

from andoncord.detect import snapshot
from andoncord.detect.build import Shared, build
from andoncord.detect.causes import Causes
from andoncord.detect.declared import Declarations, Declared
from andoncord.detect.detector import Hit
from andoncord.detect.facts import Facts, stable_digest
from andoncord.detect.finding import Finding
from andoncord.detect.ledger import PER_WEEK, KeptBudget, Ledger
from andoncord.detect.mix import DecisionMix
from andoncord.detect.ranges import OutOfRange
from andoncord.detect.rule import Rule
from andoncord.detect.runs import KINDS as RUN_KINDS
from andoncord.detect.runs import RunTotals
from andoncord.detect.watch import Watcher, Watching
from andoncord.kernel.text import visible
from andoncord.telemetry.event import CLOCK_SKEW, Event, EventKind, bounded
from andoncord_sdk.values import ExpressionError

MAX_FAULT = 300
"""Characters kept of what went wrong in a detector."""
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Bank:
    """Rules at work on one stream of events.

    Events are taken in the order of arrival; time is the events' own. What is sent as a probe is never judged. A detector that
    breaks is switched off and recorded in `faults`; the others go on.

    Args:
        rules: the rules in force.
        declared: agent name or glob → what people declare about it.
        false_alarms_per_week: of all statistical detectors together, for the whole fleet.

    Cost: an event costs what the rules for its kind cost; other rules cost nothing.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        declared: Mapping[str, Declared] | None = None,
        *,
        false_alarms_per_week: float = PER_WEEK,
    ) -> None:
        self.rules = tuple(rules)
        self.faults: dict[str, str] = {}
        """Rule id → what went wrong. A condition that failed on an event is noted; any other error switches the rule off."""
        self._declarations = Declarations(dict(declared or {}))
        self._ledger = Ledger(per_week=false_alarms_per_week)
        self._causes = Causes()
        shared = Shared(ledger=self._ledger, is_fed=True)
        self._runs = shared.runs
        self._seen_ns = 0
        self._known_until: dict[str, int] = {}
        """Rule → until when its detector has seen everything, while events are replayed."""
        self._detectors: list[Watcher] = [(rule, build(rule, shared=shared)) for rule in self.rules]
        self._index()

    def observe(self, event: Event) -> tuple[Finding, ...]:
        """Show one event to the detectors that want it."""
        attributes, kind = event.attributes, event.kind
        if attributes:
            if CLOCK_SKEW in attributes:
                event = bounded(event)
            if attributes.get("probe") is True:
                return ()
        seen_ns = event.received_ns or event.at_ns
        self._seen_ns = max(self._seen_ns, seen_ns)
        findings: list[Finding] = []
        if kind is EventKind.CHANGE_MADE:
            self._causes.note(event)
        if kind in RUN_KINDS and self._of_runs:
            over = self._runs.observe(event)
            if over:
                self._judge(over, findings)
        about = self._abouts.get(event.agent)
        if about is None:
            about = self._watching.about(event.agent, self._declarations.of(event.agent))
        watch = about.watches.get(kind)
        if watch is None:
            watch = self._watching.watch(event, about)
        facts = Facts(event, about.declared, about)
        self._show(watch.wanting(event), event, facts, findings)
        for read, by_text, every in watch.tables:
            text = read(event)
            found = by_text.get(text) if type(text) is str else every
            if found:
                self._show(found, event, facts, findings)
        return tuple(findings) if findings else ()

    def tick(self, now_ns: int) -> tuple[Finding, ...]:
        """Let time pass: what should have come by `now_ns` and did not."""
        findings: list[Finding] = []
        self._seen_ns = max(self._seen_ns, now_ns)
        if self._of_runs:
            over = self._runs.tick(now_ns)
            if over:
                self._judge(over, findings)
        for rule, detector in tuple(self._detectors):
            try:
                findings += [self._finding(rule, hit) for hit in detector.tick(now_ns)]
            except Exception as error:
                self._switch_off(rule, error)
        return tuple(findings)

    @property
    def learning(self) -> tuple[str, ...]:
        """The rules whose detectors learn for longer than events are kept in mind."""
        return tuple(rule.id for rule, detector in self._detectors if hasattr(detector, "memory"))

    def remember(self, rule_id: str) -> bytes:
        """What the detector of a rule has learned, for `recall` after a restart."""
        rule, detector = next(each for each in self._detectors if each[0].id == rule_id)
        return snapshot.save(rule, detector.memory, until_ns=self._seen_ns)  # type: ignore[attr-defined]

    def recall(self, kept: Mapping[str, bytes]) -> dict[str, str]:
        """Give detectors back what they had learned; which could not be given back, and why. They begin anew."""
        refused: dict[str, str] = {}
        for rule, detector in self._detectors:
            if rule.id in kept and hasattr(detector, "memory"):
                try:
                    self._known_until[rule.id] = snapshot.load(rule, detector.memory, kept[rule.id])
                except snapshot.Refused as why:
                    refused[rule.id] = str(why)
        return refused

    def replay(self, events: Iterable[Event]) -> None:
        """Show events of before the restart again. What they led to then was found then; who still knows them does not look."""
        for event in events:
            self.observe(event)
        self._known_until = {}

    def budget(self) -> KeptBudget:
        """The budget of false alarms: what was expected, what was observed."""
        return self._ledger.kept()

    def _show(self, watchers: Iterable[Watcher], event: Event, facts: Facts, findings: list[Finding]) -> None:
        if self._known_until:
            watchers = [watcher for watcher in watchers if not self._knows(watcher[0], event)]
        for rule, detector in watchers:
            try:
                hits = detector.observe(event, facts)
                if hits:
                    findings += [self._finding(rule, hit) for hit in hits]
            except ExpressionError as wrong:
                self.faults.setdefault(rule.id, f"condition not evaluated for an event: {wrong}"[:MAX_FAULT])
            except Exception as error:
                self._switch_off(rule, error)

    def _knows(self, rule: Rule, event: Event) -> bool:
        """Whether a rule's detector saw this event before the restart."""
        return self._known_until.get(rule.id, -1) >= (event.received_ns or event.at_ns)

    def _judge(self, runs: tuple[RunTotals, ...], findings: list[Finding]) -> None:
        for rule, detector in self._of_runs:
            until_ns = self._known_until.get(rule.id, -1)
            fresh = tuple(run for run in runs if run.judged_at_ns > until_ns) if until_ns >= 0 else runs
            try:
                findings += [self._finding(rule, hit) for hit in detector.judge(fresh)]
            except Exception as error:
                self._switch_off(rule, error)

    def _index(self) -> None:
        self._watching = Watching(self._detectors)
        self._abouts = self._watching.abouts
        self._of_runs = tuple(
            (rule, detector)
            for rule, detector in self._detectors
            if isinstance(detector, OutOfRange | DecisionMix) and detector.counts_runs
        )

    def _switch_off(self, rule: Rule, error: Exception) -> None:
        self.faults[rule.id] = f"switched off: {type(error).__name__}: {error}"[:MAX_FAULT]
        self._detectors = [(other, detector) for other, detector in self._detectors if other.id != rule.id]
        self._index()

    def _finding(self, rule: Rule, hit: Hit) -> Finding:
        event = hit.event
        facts = {"name": event.name, **hit.facts} if event.name else dict(hit.facts)
        if causes := self._causes.of(rule, hit):
            facts["causes"] = causes
        first = hit.evidence[0] if hit.evidence else ""
        return Finding(
            id=stable_digest(rule.id, *map(str, hit.key), first, str(hit.onset_ns)),
            rule=rule.id,
            agent=event.agent,
            severity=hit.severity or rule.severity,
            category=rule.category,
            pattern=rule.pattern,
            score=hit.score,
            summary=_summary(rule, hit),
            at_ns=hit.at_ns,
            onset_ns=hit.onset_ns,
            mode=rule.mode,
            trusted=event.trusted,
            enforced=event.kind is EventKind.GUARD_DENIED,
            trace_id=event.trace_id,
            run_id=event.run_id,
            span_id=event.span_id,
            instance=event.instance,
            environment=event.environment,
            evidence=hit.evidence,
            facts=facts,
            source=rule.source,
        )


def _summary(rule: Rule, hit: Hit) -> str:
    event = hit.event
    words = {"agent": event.agent, "name": event.name, "task": event.task, "error": event.error_type, **hit.words}
    message = event.attributes.get("message")
    if isinstance(message, str):
        words.setdefault("message", message)
    return visible(_PLACEHOLDER.sub(lambda match: visible(words.get(match[1], ""), 120), rule.summary), 400)
