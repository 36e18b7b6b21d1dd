"""Which of the six categories an incident belongs to: several may hold, one comes first (INC-2).

Each finding is evidence for the category of its rule, as sure as the finding is. Some patterns are evidence for a second one
as well: an agent that falls silent is a decision that is not made, and a message that does not come. Findings about several
agents of one trace are evidence that something spreads. What different rules say, or one rule of different agents, is put
together as if each could be wrong by itself; what a rule says again of the same agent adds nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from andoncord.detect.finding import Finding
from andoncord.kernel.vocabulary import Category, Mode, Pattern

ALSO: dict[Pattern, tuple[tuple[Category, float], ...]] = {
    Pattern.INFINITE_LOOP: ((Category.RESOURCE_EXHAUSTION, 0.5), (Category.DECISION_FAILURE, 0.5)),
    Pattern.REPEATED_FAILURE: ((Category.RESOURCE_EXHAUSTION, 0.3),),
    Pattern.COST_SPIRAL: ((Category.RESOURCE_EXHAUSTION, 0.9),),
    Pattern.TOKEN_BURST: ((Category.RESOURCE_EXHAUSTION, 0.9),),
    Pattern.CONTEXT_GROWTH: ((Category.RESOURCE_EXHAUSTION, 0.9),),
    Pattern.SILENCE: ((Category.COMMUNICATION_BREAKDOWN, 0.5),),
    Pattern.INJECTED_ACTION: ((Category.DECISION_FAILURE, 0.9),),
    Pattern.FORBIDDEN_EDIT: ((Category.STATE_CORRUPTION, 0.5),),
    Pattern.DECISION_CASCADE: ((Category.CASCADING_FAILURE, 0.9),),
    Pattern.EMERGENT_BEHAVIOR: ((Category.EMERGENT_BEHAVIOR, 0.9),),
    Pattern.STATE_CORRUPTION: ((Category.STATE_CORRUPTION, 0.9),),
}
"""Of what else a pattern is evidence, and how much of the finding's certainty goes there. Chosen."""
SPREAD_AGENTS = 3
SPREAD_WEIGHT = 0.5
"""Findings about so many agents of one trace are evidence of a cascade. Chosen, by the definition in the design."""
SHADOW_WEIGHT = 0.3
"""What a rule in mode shadow says counts so much: nobody has shown yet how often it is right. Chosen."""
HOLDS = 0.5
"""From here on a category is said to hold beside the first one. Chosen."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """One category, and how much speaks for it."""

    category: Category
    score: float
    """0 to 1."""
    holds: bool
    is_primary: bool
    rules: tuple[str, ...]
    """What speaks for it."""


def labels(findings: Sequence[Finding], *, primary: Category) -> tuple[Label, ...]:
    """Every category that anything speaks for, the first one first, then by score."""
    against: dict[Category, float] = defaultdict(lambda: 1.0)
    rules: dict[Category, dict[str, None]] = defaultdict(dict)
    strongest: dict[tuple[Category, str, str], float] = {}
    for finding in findings:
        for category, weight in _evidence(finding):
            # The same rule about the same agent is one piece of evidence, however often it fires.
            piece = (category, finding.rule, finding.agent)
            strongest[piece] = max(strongest.get(piece, 0.0), weight)
            rules[category][finding.rule] = None
    for (category, _, _), weight in strongest.items():
        against[category] *= 1.0 - min(0.99, weight)
    if _spreads(findings):
        against[Category.CASCADING_FAILURE] *= 1.0 - SPREAD_WEIGHT
        rules[Category.CASCADING_FAILURE]["several agents of one trace"] = None
    against.setdefault(primary, 1.0)
    found = [
        Label(
            category=category,
            score=round(1.0 - left, 3),
            holds=category is primary or 1.0 - left >= HOLDS,
            is_primary=category is primary,
            rules=tuple(rules[category]),
        )
        for category, left in against.items()
    ]
    return tuple(sorted(found, key=lambda label: (not label.is_primary, -label.score, label.category.value)))


def _evidence(finding: Finding) -> Iterable[tuple[Category, float]]:
    sure = max(0.0, min(1.0, finding.score)) * (SHADOW_WEIGHT if finding.mode is Mode.SHADOW else 1.0)
    yield finding.category, sure
    for category, share in ALSO.get(finding.pattern, ()):
        if category is not finding.category:
            yield category, sure * share


def _spreads(findings: Sequence[Finding]) -> bool:
    agents: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.trace_id and finding.agent:
            agents[finding.trace_id].add(finding.agent)
    return any(len(each) >= SPREAD_AGENTS for each in agents.values())
