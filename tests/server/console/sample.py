"""Four failures of a made-up fleet, one hostile record, and a console port that remembers what was asked of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from tests.server.console import sample_fleet
from tests.server.console.sample_desk import SampleDesk
from tests.server.console.sample_people import SamplePeople

from andoncord.kernel.errors import ConflictError, NotFoundError
from andoncord.learn.review import BLANK
from andoncord.server.console.people_port import Session
from andoncord.server.console.port import PutCookies
from andoncord.telemetry.fleet_view import Fleet

NOW_NS = 1_767_276_000_000_000_000
"""2026-01-01T14:00:00Z."""
COOKIE = "andoncord_session"
GOOD_COOKIE = "sample-session"
CSRF = "sample-csrf-token"
PASSWORD = "a long walk by the sea"

HOSTILE = (
    "<script>alert(1)</script> \x1b[2J\x1b]0;owned\x07 \u202egnp.exe\u2066 </textarea></title><img src=x onerror=alert(2)>"
)


REACH: dict[str, Any] = {
    "exact": {"runs": 1, "agents": ["refund-agent"], "decisions": 9, "effects": 4}
    | {"data": [], "files": 0, "systems": ["payments"]},
    "possible": {"runs": 6, "agents": ["mailer", "refund-agent"], "decisions": 31, "effects": 12}
    | {"data": ["orders.csv"], "files": 1, "systems": ["payments", "mail"]},
    "conversations": 1,
    "possible_conversations": 3,
    "at_risk": 4,
    "runs": [],
    "is_cut": False,
}


def moment(at: str, kind: str, text: str, agent: str = "", span_id: str = "", *, key: bool = False) -> dict[str, Any]:
    return {"at": f"2026-01-01T{at}Z", "kind": kind, "text": text, "agent": agent, "span_id": span_id, "key": key}


def finding(rule: str, agent: str, severity: str, category: str, pattern: str, summary: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"f-{rule}-{agent}",
        "rule": rule,
        "agent": agent,
        "severity": severity,
        "category": category,
        "pattern": pattern,
        "score": 0.97,
        "summary": summary,
        "mode": "act",
        "trusted": True,
        "enforced": False,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "run_id": "run-1",
        "span_id": "00f067aa0ba902b7",
        "evidence": ["00f067aa0ba902b7"],
        "facts": {},
        **more,
    }


def order(agent: str, rung: str, at: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "inc_000001.002",
        "standing": None,
        "agent": agent,
        "what": rung,
        "rung": rung,
        "expires_at": None,
        "epoch": [1, 3],
        "incident": "inc_000001",
        "by": "andoncord",
        "reason": "playbook high v1",
        "at": f"2026-01-01T{at}Z",
        "asked": 1,
        "confirmed": 1,
        "unconfirmed": [],
        "fence_ms": 38.2,
        "outcome": "done",
        **more,
    }


def receipt(kind: str, target: str, outcome: str, at: str, text: str, wanted: str = "") -> dict[str, Any]:
    return {
        "intent": f"{kind}/{target}",
        "kind": kind,
        "target": target,
        "wanted": wanted or f"{kind} {target}",
        "rung": next((word for word in ("monitor", "restrict", "pause", "kill") if word in wanted), None),
        "by": "andoncord",
        "outcome": outcome,
        "at": f"2026-01-01T{at}Z",
        "text": text,
        "undo": "release",
        "detail": {},
    }


def alternatives(agent: str, *rungs: str) -> list[dict[str, Any]]:
    titles = {
        "monitor": f"Watch {agent} more closely",
        "restrict": f"Restrict {agent} to tools that only read",
        "pause": f"Pause {agent}",
        "kill": f"Kill every run of {agent}",
    }
    texts = {
        "monitor": "denser heartbeats; nothing is held",
        "restrict": "tools declared as writing are denied, reading goes on",
        "pause": "no further call starts; open runs wait at their next step and can be resumed",
        "kill": "no further call starts; open runs end and cannot be resumed",
    }
    return [
        {"rung": rung, "title": titles[rung], "dry_run": {"text": texts[rung], "undo": "release, at any time"}}
        for rung in rungs
    ]


def answers() -> list[dict[str, Any]]:
    questions = (
        ("did", "What did it do?", "Sent 31 refunds for one order; $4,120.00 left before the guard refused the next."),
        ("why", "Why did it do it?", "The refund tool answered “pending” and the prompt says to retry until “done”."),
        ("guard", "Why did the guardrails not catch it before?", ""),
        ("blast", "What was the blast radius, and is it remediated?", f"1 run, order 8812. Put right? {BLANK}"),
        ("change", "Which guardrail change prevents it?", "The policy below: one refund for an order."),
    )
    return [
        {"id": ident, "question": question, "answer": answer, "needs_person": not answer or BLANK in answer}
        for ident, question, answer in questions
    ]


REFUND: dict[str, Any] = {
    "id": "inc_000001",
    "title": "refund-agent repeats payments.refund without progress while its cost climbs",
    "state": "recovering",
    "severity": "high",
    "sev": "SEV-2",
    "category": "resource_exhaustion",
    "pattern": "infinite_loop",
    "agents": ["refund-agent"],
    "environment": "prod",
    "opened_at": "2026-01-01T13:45:48.120Z",
    "age_s": 851.9,
    "containment": "VERIFIED",
    "contained_in_s": 0.041,
    "awaiting": "person",
    "disposition": "real",
    "onset_at": "2026-01-01T13:45:46.900Z",
    "onset_earliest_at": "2026-01-01T13:40:00.000Z",
    "onset_latest_at": "2026-01-01T13:46:10.000Z",
    "onset_basis": "the likeliest change",
    "categories": [
        {"category": "resource_exhaustion", "score": 0.9, "holds": True, "is_primary": True, "rules": ["infinite-loop"]},
        {"category": "decision_failure", "score": 0.45, "holds": False, "is_primary": False, "rules": ["infinite-loop"]},
    ],
    "blast_radius": REACH,
    "detected_at": "2026-01-01T13:45:48.100Z",
    "contained_at": "2026-01-01T13:45:48.141Z",
    "resolved_at": None,
    "detected_in_s": 1.2,
    "verdicts": [
        {
            "at": "2026-01-01T13:45:50.200Z",
            "at_s": 2.1,
            "agent": "refund-agent",
            "verdict": "VERIFIED",
            "missing": [],
            "evidence": ["1 of 1 guards acknowledged epoch 1.3", "no step started in 2.0 s of heartbeats after the fence"],
            "in_flight": [],
            "stages": [
                {"stage": "REQUESTED", "at": "2026-01-01T13:45:48.141Z"},
                {"stage": "CREDENTIALS_REVOKED", "at": "2026-01-01T13:45:48.300Z"},
                {"stage": "VERIFIED", "at": "2026-01-01T13:45:50.200Z"},
            ],
        }
    ],
    "orders": [order("refund-agent", "pause", "13:45:48.141")],
    "receipts": [
        receipt("order", "refund-agent", "done", "13:45:48.141", "1/1 confirmed in 0.04 s", "order pause to refund-agent"),
        receipt("capture", "refund-agent", "done", "13:45:48.420", "evidence sealed, sha256 9f3a51c08be2…"),
        receipt("verify", "refund-agent", "done", "13:45:50.200", "VERIFIED"),
        receipt("investigate", "refund-agent", "done", "13:45:50.610", "done"),
    ],
    "pending": [],
    "next": {
        "title": "Approve the recovery by fresh run",
        "why": "The loop lives in the run's own context; nothing was changed, so there is nothing to roll back.",
        "rung": None,
        "action": "approve_recovery",
        "agent": "refund-agent",
        "dry_run": None,
    },
    "alternatives": alternatives("refund-agent", "kill"),
    "findings": [
        finding(
            "loop",
            "refund-agent",
            "high",
            "resource_exhaustion",
            "infinite_loop",
            "payments.refund called 4 times with the same arguments and no progress",
            enforced=True,
            facts={"tool": "payments.refund", "repeats": 4, "period": 1},
        ),
        finding(
            "cost-spiral",
            "refund-agent",
            "medium",
            "resource_exhaustion",
            "cost_spiral",
            "each retry was dearer than the last: $0.02, $0.05, $0.11",
            facts={"cost_micro_usd": 412_000},
        ),
    ],
    "responsible": [
        {"agent": "refund-agent", "span_id": "00f067aa0ba902b7", "score": 0.82, "why": "first repeated call without progress"},
        {"agent": "router", "span_id": "11f067aa0ba902b7", "score": 0.09, "why": "handed the task over"},
    ],
    "root_causes": [
        {
            "type": "tool_fault",
            "score": 0.71,
            "claim": "consistent with",
            "summary": "payments.refund kept answering “pending”",
            "evidence": ["00f067aa0ba902b7", "22f067aa0ba902b7"],
            "reasons": ["4 of 4 answers were identical"],
            "against": ["other agents got final answers from the same tool in the same minute"],
        },
        {
            "type": "feedback_loop",
            "score": 0.38,
            "claim": "consistent with",
            "summary": "the agent fed its own last message back as the next task",
            "evidence": [],
            "reasons": [],
            "against": ["the context did not grow"],
        },
    ],
    "factors": ["no policy limits refunds for one order", "the run had 84 % of its budget left"],
    "timeline": [
        moment("13:45:44.020", "run", "run-1 starts: “refund order 8812”", "refund-agent"),
        moment("13:45:46.900", "tool", "payments.refund(order=8812) → pending", "refund-agent", "00f067aa0ba902b7", key=True),
        moment("13:45:47.310", "tool", "payments.refund(order=8812) → pending", "refund-agent", "22f067aa0ba902b7"),
        moment("13:45:47.700", "tool", "payments.refund(order=8812) → pending", "refund-agent", "33f067aa0ba902b7"),
        moment("13:45:48.090", "guard", "4th call without progress refused by the guard", "refund-agent", key=True),
        moment("13:45:48.100", "lifecycle", "detected", key=True),
        moment("13:45:48.103", "intent", "order pause to refund-agent (andoncord)", "refund-agent"),
        moment("13:45:48.141", "receipt", "1/1 confirmed in 0.04 s", "refund-agent"),
        moment("13:45:50.200", "verdict", "containment VERIFIED", "refund-agent", key=True),
    ],
    "impact": {
        "text": "1 run of refund-agent; $0.41 spent in them; 1 offending call refused before execution",
        "cost_micro_usd": 412_000,
        "runs": ["run-1"],
        "agents": ["refund-agent"],
        "assumptions": ["Counts only runs that a finding names: a lower bound."],
    },
    "recovery": {
        "strategy": "fresh_run",
        "automatic": True,
        "why": "The loop lives in the run's own context.",
        "steps": [
            {"name": "fresh_run", "state": "todo", "text": "End the poisoned run; the next one starts clean."},
            {
                "name": "probe",
                "state": "todo",
                "text": "18 tasks with known answers: the fewest that can show it.",
            },
            {"name": "release", "state": "todo", "text": "Let the agent work again; contain it at once if it repeats."},
        ],
        "awaiting": "person",
    },
    "review": None,
    "notes": [{"at": "2026-01-01T13:52:10.000Z", "by": "person:mira", "text": "Payments: their queue was stuck since 13:40."}],
}

POISONED: dict[str, Any] = {
    **REFUND,
    "id": "inc_000002",
    "title": "research-agent called crm.export outside its scope after reading a document",
    "state": "resolved",
    "severity": "critical",
    "sev": "SEV-1",
    "category": "decision_failure",
    "pattern": "injected_action",
    "agents": ["research-agent"],
    "opened_at": "2026-01-01T13:30:00.000Z",
    "age_s": 1800.0,
    "contained_in_s": 0.028,
    "awaiting": "person",
    "resolved_at": "2026-01-01T13:34:00.000Z",
    "orders": [order("research-agent", "none", "13:33:58.000", by="andoncord", reason="verified", incident="inc_000002")],
    "receipts": [
        receipt("order", "research-agent", "done", "13:30:00.030", "1/1 confirmed in 0.03 s", "order kill to research-agent"),
        receipt("verify", "research-agent", "done", "13:30:02.100", "VERIFIED"),
    ],
    "verdicts": [
        {
            "at": "2026-01-01T13:30:02.100Z",
            "at_s": 2.1,
            "agent": "research-agent",
            "verdict": "VERIFIED",
            "missing": [],
            "evidence": ["process tree seen empty"],
            "in_flight": [],
            "stages": [],
        }
    ],
    "next": {
        "title": "Apply the proposed policy",
        "why": "a review closes only with a structural change",
        "rung": None,
        "action": "apply_proposal",
        "agent": "research-agent",
        "dry_run": None,
    },
    "alternatives": [],
    "recovery": {
        **REFUND["recovery"],
        "awaiting": None,
        "steps": [
            {
                **step,
                "state": "done",
                "text": f"{step['text']} → 18 of 18 probes passed" if step["name"] == "probe" else step["text"],
            }
            for step in REFUND["recovery"]["steps"]
        ],
    },
    "review": {
        "answers": answers(),
        "proposal": {
            "kind": "policy",
            "yaml": "id: no-crm-export\neffect: forbid\nscope: {agent: research-agent, tool: crm.export}\n",
            "why": "The call was denied by scope alone; a policy also covers agents that are added later.",
            "applied": False,
        },
        "markdown": "# Review",
        "path": "/var/lib/andoncord/reviews/inc_000002.md",
        "due_at": "2026-01-03T13:34:00.000Z",
    },
    "notes": [],
}

QUALITY: dict[str, Any] = {
    **REFUND,
    "id": "inc_000003",
    "title": "support-agent answers well in 48 % of runs since prompt v42, objective 90 %",
    "state": "triaged",
    "severity": "high",
    "sev": "SEV-2",
    "category": "decision_failure",
    "pattern": "quality_drop",
    "agents": ["support-agent"],
    "opened_at": "2026-01-01T13:58:00.000Z",
    "age_s": 120.0,
    "containment": None,
    "contained_in_s": None,
    "contained_at": None,
    "verdicts": [],
    "orders": [],
    "receipts": [],
    "next": {
        "title": "Pause support-agent",
        "why": "the signals came without a token bound to this agent, so nothing is stopped without you",
        "rung": "pause",
        "action": "contain",
        "agent": "support-agent",
        "dry_run": {
            "text": "no further call starts; open runs wait at their next step and can be resumed. In force now: none.",
            "instances": 2,
            "in_flight": 1,
            "undo": "release, at any time",
        },
    },
    "alternatives": alternatives("support-agent", "monitor", "restrict", "pause", "kill"),
    "findings": [
        finding("quality", "support-agent", "high", "decision_failure", "quality_drop", "12 of 25 failed", trusted=False)
    ],
    "responsible": [],
    "root_causes": [],
    "factors": [],
    "timeline": [],
    "recovery": None,
    "review": None,
    "notes": [],
}

HUNG: dict[str, Any] = {
    **REFUND,
    "id": "inc_000004",
    "title": "indexer hangs inside files.scan and does not answer the order to stop",
    "state": "triaged",
    "severity": "critical",
    "sev": "SEV-1",
    "category": "communication_breakdown",
    "pattern": "silence",
    "agents": ["indexer"],
    "opened_at": "2026-01-01T13:59:20.000Z",
    "age_s": 40.0,
    "containment": "UNVERIFIED",
    "contained_in_s": None,
    "contained_at": None,
    "verdicts": [
        {
            "at": "2026-01-01T13:59:24.000Z",
            "at_s": 4.0,
            "agent": "indexer",
            "verdict": "UNVERIFIED",
            "missing": ["acknowledgement of indexer-1", "heartbeats after the fence", "an empty process tree"],
            "evidence": [],
            "in_flight": [
                {"instance": "indexer-1", "tool": "index.write", "span_id": "a1", "run_id": "r1", "disposition": "unknown"}
            ],
            "stages": [],
        }
    ],
    "orders": [
        order(
            "indexer",
            "kill",
            "13:59:22.000",
            confirmed=0,
            unconfirmed=["indexer-1"],
            fence_ms=None,
            outcome="failed",
            incident="inc_000004",
        )
    ],
    "receipts": [receipt("order", "indexer", "failed", "13:59:22.000", "0/1 confirmed; no answer from indexer-1")],
    "pending": [
        {"intent": "terminate/indexer", "kind": "terminate", "target": "indexer", "since_at": "2026-01-01T13:59:58.000Z"}
    ],
    "next": {
        "title": "Kill every run of indexer",
        "why": "not confirmed as stopped. Missing: acknowledgement of indexer-1; an empty process tree",
        "rung": "kill",
        "action": "contain",
        "agent": "indexer",
        "dry_run": {
            "text": "no further call starts. In force now: kill.",
            "undo": "release lets new runs start",
        },
    },
    "alternatives": [],
    "recovery": None,
    "review": None,
    "notes": [],
}

HOSTILE_VIEW: dict[str, Any] = {
    **REFUND,
    "id": "inc_000005",
    "title": f"Title {HOSTILE}",
    "agents": [f"agent {HOSTILE}"],
    "state": "resolved",
    "findings": [
        finding("loop", HOSTILE, "high", "state_corruption", "policy_violation", HOSTILE * 40, facts={"args": HOSTILE})
    ],
    "timeline": [moment("13:45:46.900", "tool", HOSTILE, HOSTILE, "s1", key=True)],
    "root_causes": [
        {**REFUND["root_causes"][0], "summary": HOSTILE, "reasons": [HOSTILE], "against": [HOSTILE], "evidence": [HOSTILE]}
    ],
    "responsible": [{"agent": HOSTILE, "span_id": HOSTILE, "score": 0.5, "why": HOSTILE}],
    "factors": [HOSTILE],
    "orders": [order(HOSTILE, "pause", "13:45:48.141", reason=HOSTILE, unconfirmed=[HOSTILE], incident="inc_000005")],
    "receipts": [receipt("order", HOSTILE, "partial", "13:45:48.141", HOSTILE)],
    "impact": {**REFUND["impact"], "text": HOSTILE, "assumptions": [HOSTILE]},
    "next": {**REFUND["next"], "title": HOSTILE, "why": HOSTILE, "agent": HOSTILE},
    "review": {
        "answers": [{"id": "did", "question": "What did it do?", "answer": HOSTILE, "needs_person": True}],
        "proposal": {"kind": "policy", "yaml": HOSTILE, "why": HOSTILE, "applied": False},
        "markdown": "",
        "path": None,
    },
    "notes": [{"at": "2026-01-01T13:52:10.000Z", "by": "person:mira", "text": HOSTILE}],
}

FOUR = (REFUND, POISONED, QUALITY, HUNG)


def agent_row(agent: str, state: str, rung: str, connected: int = 1, instances: int = 1) -> dict[str, Any]:
    return {
        "agent": agent,
        "state": state,
        "rung": rung,
        "instances": [
            {
                "instance": f"{agent}-{number + 1}",
                "kind": "guard",
                "connected": number < connected,
                "last_seen_at": "2026-01-01T13:59:59.000Z",
                "rung": rung,
                "epoch": [1, 3],
                "in_flight": 0,
            }
            for number in range(instances)
        ],
    }


FLEET = (
    agent_row("refund-agent", "contained", "pause"),
    agent_row("research-agent", "running", "none"),
    agent_row("support-agent", "running", "none", 2, 2),
    agent_row("indexer", "contained", "kill", 0),
    agent_row("router", "running", "none"),
    agent_row("billing-agent", "running", "restrict"),
    agent_row("mailer", "running", "monitor"),
    agent_row("legacy-crawler", "unknown", "none", 0, 0),
    agent_row("archiver", "silent", "none", 0),
)


def figure(value: float, unit: str, incidents: list[str], definition: str, target: float | None) -> dict[str, Any]:
    met = None if target is None else value < target if unit == "s" else value > target or value == target == 0
    return {
        "value": value,
        "unit": unit,
        "n": 4,
        "incidents": incidents,
        "definition": definition,
        "target": target,
        "met": met,
    }


class SampleConsole(SamplePeople):
    """A console port over fixed views. `asked` is every command that got through; a pause of it shows as an order."""

    has_passwords = False
    provider = ""

    def __init__(
        self,
        incidents: Sequence[Mapping[str, Any]] = FOUR,
        fleet: Sequence[Mapping[str, Any]] = FLEET,
        environment: str = "demo",
    ) -> None:
        self.environment = environment
        self.views = {view["id"]: dict(view) for view in incidents}
        self._fleet = fleet
        self.asked: list[dict[str, Any]] = []
        self.forgotten = 0
        self.approves = False
        """Whether who is signed in may approve."""
        self.codes = {"good-code": GOOD_COOKIE}
        self._keys = 0
        super().__init__(HOSTILE if self.is_hostile else "")
        self.desk = SampleDesk(HOSTILE if self.is_hostile else "")

    def now_ns(self) -> int:
        return NOW_NS

    def new_key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}"

    def summaries(self, state: str) -> list[Mapping[str, Any]]:
        closed = ("resolved", "reviewed")
        return [
            view
            for view in self.views.values()
            if state == "all" or view["state"] == state or (state == "open" and view["state"] not in closed)
        ]

    def view(self, incident_id: str) -> Mapping[str, Any] | None:
        return self.views.get(incident_id)

    def fleet(self) -> Sequence[Mapping[str, Any]]:
        return self._fleet

    def kpis(self) -> Mapping[str, Any]:
        if not self.views:
            return {
                "mttd": {"value": None, "unit": "s", "n": 0, "incidents": [], "definition": "", "target": None, "met": None}
            }
        ids = list(self.views)
        return {
            "mttd": figure(1.2, "s", ids, "mean time from onset to detection", 900.0),
            "mttc": figure(0.034, "s", ids[:2], "mean time from detection to containment", None),
            "mttr": figure(240.0, "s", ids[1:2], "mean time from detection to resolution", 14_400.0),
            "containment": figure(0.67, "ratio", ids[:3], "share of contained incidents that were verified", 0.95),
            "false_stops": figure(0.0, "count", [], "false positives in which an agent was held", 0.0),
        }

    def overdue(self) -> list[Mapping[str, Any]]:
        return [sample_fleet.overdue(NOW_NS)] if self.views else []

    async def fleet_map(self) -> list[dict[str, Any]]:
        return self._agents().lines()

    async def agent(self, name: str) -> dict[str, Any]:
        fleet = self._agents()
        if name == "nobody":
            raise NotFoundError("there is no agent 'nobody'", remedy="known agents: refund-agent")
        return fleet.agent(name) or {**(fleet.agent("refund-agent") or {}), "agent": name}

    async def series(self, agent: str) -> dict[str, Any]:
        return sample_fleet.figures(agent, NOW_NS)

    async def touched(self, agent: str) -> dict[str, Any]:
        return sample_fleet.traces_left(agent, NOW_NS, HOSTILE if self.is_hostile else "")

    async def runs(self, agent: str) -> dict[str, Any]:
        return sample_fleet.runs_of(agent, NOW_NS)

    async def answers(self, agent: str) -> dict[str, Any]:
        return sample_fleet.answers(agent, HOSTILE if self.is_hostile else "")

    async def influence(self, agent: str) -> dict[str, Any]:
        return sample_fleet.influence(agent, HOSTILE if self.is_hostile else "")

    async def taint(self, datum: str, hours: int) -> dict[str, Any]:
        return sample_fleet.tainted(datum, NOW_NS, HOSTILE if self.is_hostile else "")

    async def trace(self, trace_id: str) -> dict[str, Any]:
        if trace_id == "0" * 32:
            raise NotFoundError(f"there is no trace {trace_id!r}")
        return sample_fleet.whole(trace_id, NOW_NS, HOSTILE if self.is_hostile else "")

    def _agents(self) -> Fleet:
        return sample_fleet.agents(self._fleet, NOW_NS, HOSTILE if self.is_hostile else "")

    @property
    def is_hostile(self) -> bool:
        """Whether every text of the sample is an attack."""
        return HOSTILE_VIEW["id"] in self.views

    def session(self, request: Request) -> Session | None:
        may = frozenset(("read", "respond", *(["approve"] if self.approves else ())))
        return Session(name="mira", csrf=CSRF, may=may) if request.cookies.get(COOKIE) == GOOD_COOKIE else None

    def exchange(self, request: Request, code: str) -> PutCookies | None:
        cookie = self.codes.pop(code, None)
        return (
            (lambda response: response.set_cookie(COOKIE, cookie, httponly=True, samesite="lax", path="/")) if cookie else None
        )

    async def sign_in(self, request: Request, name: str, password: str) -> PutCookies | None:
        return self.exchange(request, "good-code") if (name, password) == ("mira", PASSWORD) else None

    async def send_elsewhere(self, request: Request, after: str) -> tuple[str, PutCookies]:
        return f"https://id.example/?next={after}", lambda response: None

    async def back_from_elsewhere(self, request: Request) -> tuple[str, PutCookies]:
        raise NotFoundError("no identity provider is set up here")

    def forget(self, request: Request) -> PutCookies:
        self.forgotten += 1
        return lambda response: response.delete_cookie(COOKIE, path="/")

    async def act(
        self, command: str, *, who: Session, incident: str, agent: str, parameters: Mapping[str, Any], key: str
    ) -> None:
        by = f"person:{who.name}"
        if incident and incident not in self.views:
            raise NotFoundError(f"no incident {incident}")
        if agent == "router":
            raise ConflictError("router is held by another incident", remedy="release it there first")
        # Every act carries what its session may; what is compared is what the form says.
        assert parameters["scope"] == "respond"
        said = {name: value for name, value in parameters.items() if name != "scope"}
        self.asked.append({"command": command, "by": by, "incident": incident, "agent": agent, "parameters": said, "key": key})
        if command == "contain" and incident:
            placed = order(agent, parameters["rung"], "13:59:59.000", by=by, reason=parameters["reason"], incident=incident)
            self.views[incident]["orders"] = [*self.views[incident]["orders"], placed]
