"""Drive the engine's pure core with a world that answers as scripted: no clock, no I/O, no waiting."""

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from andoncord.detect.finding import Finding
from andoncord.engine.facts import Fact, FindingArrived, PersonAsked, ReceiptArrived
from andoncord.engine.replaying import replay
from andoncord.engine.run import take
from andoncord.engine.state import Intent, State
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import Category, Mode, Pattern, Severity
from andoncord.respond.playbook import Playbook, load

SHIPPED = tuple(
    load(each.read_text(), place=each.name)
    for each in sorted(resources.files("andoncord.playbooks").iterdir(), key=lambda each: each.name)
    if each.name.endswith(".yaml")
)
"""Every playbook that comes with Andoncord."""
PLAYBOOKS = tuple(
    load((resources.files("andoncord.playbooks") / f"{word}.yaml").read_text(), place=word)
    for word in ("critical", "high", "medium", "low")
)
INVESTIGATION = {
    "timeline": [],
    "responsible": [{"agent": "refunds", "span_id": "s1", "score": 0.9, "why": "the step that repeated"}],
    "root_causes": [
        {
            "type": "tool_fault",
            "score": 0.8,
            "claim": "consistent with",
            "summary": "the tool kept answering the same",
            "evidence": ["s1"],
            "reasons": [],
            "against": [],
        }
    ],
    "changes": [],
    "factors": [],
    "pattern": "infinite_loop",
}
REVIEW = {
    "path": "reviews/inc_000001.md",
    "review": {
        "answers": [
            {"id": "what", "question": "What did it do?", "answer": "It looped.", "needs_person": False},
            {"id": "why_guardrails", "question": "Why did no guardrail catch it?", "answer": "", "needs_person": True},
        ],
        "proposal": {
            "kind": "policy",
            "yaml": (
                "id: no-refunds\neffect: forbid\nscope: {agent: refunds, tool: payments.refund}\n"
                'when: "true"\nmessage: refunds need a person\n'
                "tests: [{name: a refund, request: {agent: refunds, tool: payments.refund, args: {}}, expect: deny}]\n"
            ),
            "why": "it would have stopped the first call",
        },
        "markdown": "# Review\n",
        "due_ns": None,
    },
}


def finding(name: str = "f1", **changes: Any) -> Finding:
    """A trusted, act-mode loop finding of the agent `refunds`, with `changes`."""
    fields: dict[str, Any] = {
        "id": name,
        "rule": "guard-loop",
        "agent": "refunds",
        "severity": Severity.HIGH,
        "category": Category.RESOURCE_EXHAUSTION,
        "pattern": Pattern.INFINITE_LOOP,
        "score": 0.9,
        "summary": "payments.refund repeated without progress",
        "at_ns": 10 * SECOND_NS,
        "onset_ns": 9 * SECOND_NS,
        "mode": Mode.ACT,
        "trusted": True,
        "trace_id": "t1",
        "run_id": "r1",
        "span_id": "s1",
    }
    return Finding(**{**fields, **changes})


class Story:
    """Drives `take` and answers every intent; `answers` overrides what the world says to a kind of effect."""

    def __init__(self, playbooks: Sequence[Playbook] = PLAYBOOKS) -> None:
        self.playbooks = tuple(playbooks)
        self.state = State()
        self.entries: list[Entry] = []
        self.now = 10 * SECOND_NS
        self.answers: dict[EffectKind, Callable[[Intent], tuple[Outcome, dict[str, Any]]]] = {}
        self.performed: list[str] = []

    def submit(self, fact: Fact) -> tuple[Entry, ...]:
        self.now += SECOND_NS // 100
        entries = take(self.state, fact, now=self.now, playbooks=self.playbooks)
        self.entries += entries
        return entries

    def find(self, found: Finding) -> None:
        self.submit(FindingArrived(finding=found))

    def ask(self, command: str, *, agent: str = "", incident: str = "inc_000001", key: str = "", **parameters: Any) -> None:
        wish = PersonAsked(command=command, by="person:ada", incident=incident, agent=agent, parameters=parameters, key=key)
        self.submit(wish)

    def answer_one(self) -> bool:
        """Answer the oldest outstanding intent; False when there is none."""
        if not self.state.outstanding:
            return False
        intent = self.state.intents[next(iter(self.state.outstanding))]
        self.performed.append(intent.step)
        outcome, detail = self._answer(intent)
        receipt = Receipt(intent=intent.id, outcome=outcome, at_ns=self.now, detail=detail)
        self.submit(ReceiptArrived(receipt=receipt))
        return True

    def _answer(self, intent: Intent) -> tuple[Outcome, dict[str, Any]]:
        scripted = self.answers.get(intent.effect.kind)
        return scripted(intent) if scripted else answer_plainly(intent.effect)

    def run(self) -> None:
        """Answer until nothing is outstanding."""
        while self.answer_one():
            pass

    def replayed(self) -> State:
        return replay(self.entries)

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.entries]


def answer_plainly(effect: Effect) -> tuple[Outcome, dict[str, Any]]:
    """A world in which everything works."""
    match effect.kind:
        case EffectKind.ORDER:
            return Outcome.DONE, {"asked": 1, "confirmed": 1, "unconfirmed": [], "acks": [{"instance": "i1"}], "fence_ms": 12.0}
        case EffectKind.VERIFY:
            return Outcome.DONE, {"verdict": "VERIFIED", "missing": [], "evidence": ["i1 acknowledged"]}
        case EffectKind.INVESTIGATE:
            return Outcome.DONE, INVESTIGATION
        case EffectKind.PROBE:
            return Outcome.DONE, {"passed": [True] * 30}
        case EffectKind.REVIEW:
            return Outcome.DONE, REVIEW
        case EffectKind.TICKET:
            return Outcome.DONE, {"ticket": {"id": f"T-{effect.incident}", "url": "https://tickets.example/1"}}
        case EffectKind.TERMINATE:
            return Outcome.DONE, {"process_tree_empty": True, "signalled": [1], "remaining": []}
        case _:
            return Outcome.DONE, {}
