"""The director: brings the four failures about, plays the operator through the public API, and tells what happens.

It never touches detection or containment. What goes wrong is a version in the registry or a line in a folder; what is told
comes from the server's API; what is scored against is the agents' own record of when a failure took effect.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from andoncord.adapters.system.clock import SystemClock
from andoncord.kernel.text import visible
from andoncord.sim.agent import ONSETS, REFUSALS
from andoncord.sim.client import Api
from andoncord.sim.crew import Crew
from andoncord.sim.fleet import FLEET
from andoncord.sim.story import (
    FAILURES,
    OPERATOR,
    PROVEN,
    QUIET_S,
    Failure,
    IncidentScore,
    Onset,
    Score,
    missed,
    score_incident,
)
from andoncord.sim.surroundings import SharedFolder

TICK_S = 0.15
ARRIVAL_DEADLINE_S = 15.0
MAX_APPROVALS = 4
"""How often the operator approves the recovery of one incident before giving up on it."""
TOLD_EFFECTS = ("order", "terminate", "capture", "restart")
FIRST, SECOND = "v1", "v2"
HOLDING = ("restrict", "pause", "kill")


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the telling. `text` may quote agents; it is made inert here, the renderer adds no markup to it."""

    at_s: float
    kind: str
    """setup, fault, seen, stop, unproven, proven, cause, operator, recovery, review, proof, alarm or end."""
    agent: str
    text: str


class Followed(msgspec.Struct):
    """What the director has already told and done about one incident."""

    failure: Failure | None
    onset: Onset | None = None
    told: set[str] = msgspec.field(default_factory=set)
    verdicts: int = 0
    approvals: int = 0
    approved_state: str = ""
    view: dict[str, Any] = msgspec.field(default_factory=dict)

    def once(self, what: str) -> bool:
        """True the first time it is asked."""
        if what in self.told:
            return False
        self.told.add(what)
        return True


class Director:
    """Runs the story once. Times are seconds since `started_ns` on the monotonic clock."""

    def __init__(
        self,
        api: Api,
        folder: SharedFolder,
        *,
        seed: int,
        clock: SystemClock,
        started_ns: int,
        deadline_s: float,
        tell: Callable[[Scene], None],
    ) -> None:
        self._api = api
        self._folder = folder
        self._seed = seed
        self._clock = clock
        self._started_ns = started_ns
        self._deadline_s = deadline_s
        self._tell = tell
        self._pause = threading.Event()
        self._incidents: dict[str, Followed] = {}
        self._injected: dict[str, float] = {}
        self._stopped_healthy: set[str] = set()
        self._let_in_again = False
        self._refused_again = False

    # ---- setting the scene

    def cast(self, crew: Crew, *, server: str, telemetry: str, directory: Path) -> None:
        """Publish the first settings, mint a token for each agent, start the fleet, and wait until all have reported in."""
        for role in FLEET.values():
            self._api.post(
                f"/api/v1/registry/{role.name}/versions",
                {"version": FIRST, "values": role.settings, "note": "as tested", "good": True},
            )
            minted = self._api.post("/api/v1/tokens", {"name": role.name, "scope": "agent", "agent": role.name})
            arguments = ["--name", role.name, "--seed", str(self._seed)]
            arguments += ["--server", server, "--telemetry", telemetry, "--folder", str(directory)]
            module = "andoncord.sim.agent"
            if role.supervised:
                supervised = [sys.executable, "-m", module, *arguments]
                module, arguments = "andoncord_sdk.supervise", ["--agent", role.name, "--server", server, "--", *supervised]
            crew.start(role.name, module, *arguments, environment={"ANDON_TOKEN": minted["token"]})
        deadline_s = self._now_s() + ARRIVAL_DEADLINE_S
        while missing := set(FLEET) - self._running():
            if self._now_s() > deadline_s:
                raise RuntimeError(f"these agents did not report in: {', '.join(sorted(missing))}; gone: {crew.gone()}")
            self._pause.wait(TICK_S)
        self._say("setup", "", f"{len(FLEET)} agents at work, each a process with its own token: {', '.join(FLEET)}")

    def _running(self) -> set[str]:
        agents = self._api.get("/api/v1/agents")["items"]
        return {
            agent["agent"]
            for agent in agents
            if any(instance["kind"] == "guard" and instance["connected"] for instance in agent["instances"])
        }

    # ---- the story

    def play(self) -> None:
        """Bring the failures about one after the other and see each through, until all have ended or time is up."""
        opening_s = self._now_s()
        self._say("setup", "", f"everything is quiet; in {QUIET_S:.0f} seconds something will go wrong")
        while self._now_s() < self._deadline_s:
            self._pause.wait(TICK_S)
            elapsed_s = self._now_s() - opening_s - QUIET_S
            for failure in FAILURES:
                if failure.letter not in self._injected and elapsed_s >= failure.after_s:
                    self._inject(failure)
            self.observe()
            if self._is_over():
                return

    def observe(self) -> None:
        """Look once: tell what is new, and do what the operator has to do."""
        self._look_for_stops()
        for summary in self._api.get("/api/v1/incidents", state="all", limit="100")["items"]:
            followed = self._incidents.get(summary["id"])
            if followed is None:
                followed = self._incidents[summary["id"]] = Followed(failure=self._failure_of(summary))
            if "ended" in followed.told:
                continue
            followed.view = self._api.get(f"/api/v1/incidents/{summary['id']}")
            self._follow(followed)
        self._look_for_refusal()

    def score(self) -> Score:
        """What came of it."""
        scores: list[IncidentScore] = []
        claimed: set[str] = set()
        for followed in self._incidents.values():
            letter = followed.failure.letter if followed.failure else None
            if letter in claimed:  # A second incident for the same failure is one too many.
                letter = None
            if letter:
                claimed.add(letter)
            onset = self._onset(followed.failure) if letter else None
            scores.append(score_incident(followed.view, failure=letter, onset=onset))
        return Score(
            seed=self._seed,
            wall_s=round(self._now_s(), 1),
            incidents=scores,
            false_incidents=sum(score.failure is None for score in scores),
            false_stops=len(self._stopped_healthy),
            missed=missed(scores),
            proposal_refused_again=self._refused_again,
            kpi=self._api.get("/api/v1/kpis"),
        )

    def _inject(self, failure: Failure) -> None:
        self._injected[failure.letter] = self._now_s()
        if failure.publishes:
            versions = f"/api/v1/registry/{failure.agent}/versions"
            self._api.post(versions, {"version": SECOND, "values": failure.publishes, "note": failure.note, "good": False})
            reason = f"roll-out: {failure.note}"
            self._api.post(f"/api/v1/registry/{failure.agent}/active", {"version": SECOND, "reason": reason})
        if failure.lays:
            self._folder.put(*failure.lays)
        self._say("fault", failure.agent, f"({failure.letter}) {failure.injected}")

    def _is_over(self) -> bool:
        ended = sum(followed.failure is not None and "ended" in followed.told for followed in self._incidents.values())
        return ended == len(FAILURES) and self._refused_again

    # ---- telling

    def _follow(self, followed: Followed) -> None:
        view, told = followed.view, followed.once
        agent = ", ".join(view["agents"])
        if told("seen"):
            self._say("seen" if followed.failure else "alarm", agent, self._seen_text(followed))
        for receipt in view["receipts"]:
            if receipt["kind"] in TOLD_EFFECTS and told(receipt["intent"]):
                self._say("stop", agent, f"{visible(receipt['wanted'])}: {visible(receipt['text'])}")
        for given in view["verdicts"][followed.verdicts :]:
            followed.verdicts += 1
            self._say("proven" if given["verdict"] == "VERIFIED" else "unproven", agent, _verdict_text(given))
        if view["root_causes"] and told("cause"):
            self._say("cause", agent, _cause_text(view))
        recovery = view["recovery"]
        for place, step in enumerate(recovery["steps"] if recovery else ()):
            if step["state"] in ("done", "failed") and told(f"step {place} {step['state']} {followed.approvals}"):
                self._say("recovery", agent, f"{step['name'].replace('_', ' ')}: {visible(step['text'])}")
        self._operate(followed)
        if view["resolved_at"] and told("resolved"):
            self._say("recovery", agent, "recovered: verified before it was released, and back at work")
        review = view["review"]
        if review and review["path"] and told("review"):
            self._say("review", agent, f"review drafted: {review['path']}")
            self._close_review(followed)
            if view["resolved_at"]:
                told("ended")

    def _seen_text(self, followed: Followed) -> str:
        view = followed.view
        onset = self._onset(followed.failure)
        if onset:
            followed.onset = onset
        score = score_incident(view, failure=None, onset=onset)
        after = f" {score.detected_in_s:.1f} s after it began" if score.detected_in_s is not None else ""
        return (
            f"{view['id']}: {view['pattern'].replace('_', ' ')} seen{after}, {view['severity']} / {view['sev']}, "
            f"{view['category'].replace('_', ' ')}: {visible(view['title'], 120)}"
        )

    def _say(self, kind: str, agent: str, text: str) -> None:
        self._tell(Scene(at_s=self._now_s(), kind=kind, agent=agent, text=text))

    # ---- the operator

    def _operate(self, followed: Followed) -> None:
        """Deal with what lies around a held agent, and approve a recovery that waits for a person."""
        view, failure = followed.view, followed.failure
        if failure and failure.lays and view["verdicts"] and followed.once("cleared"):
            self._folder.clear(failure.lays[0])
            self._say("operator", failure.agent, f"this demo, as {OPERATOR}, {failure.cleared}")
        step = view["next"]
        if not step or step["action"] != "approve_recovery" or followed.approvals >= MAX_APPROVALS or failure is None:
            return
        if view["containment"] != "VERIFIED" or not view["root_causes"]:
            return
        if f"{view['state']} {len(view['verdicts'])} {view['recovery']}" == followed.approved_state:
            return
        followed.approved_state = f"{view['state']} {len(view['verdicts'])} {view['recovery']}"
        followed.approvals += 1
        self._api.post(
            f"/api/v1/incidents/{view['id']}/recoveries",
            {"reason": "approved after reading the incident room"},
            key=f"{view['id']}-approve-{followed.approvals}",
        )
        self._say("operator", failure.agent, f"this demo, as {OPERATOR}, approved the recovery")

    def _close_review(self, followed: Followed) -> None:
        """For one incident, apply the proposed change and let the cause in again."""
        view, failure = followed.view, followed.failure
        if failure is None or failure.letter != PROVEN:
            return
        proposal = view["review"]["proposal"]
        if not proposal:
            self._say("alarm", failure.agent, "the review proposes no structural change")
            return
        self._api.post(
            f"/api/v1/incidents/{view['id']}/proposal/apply",
            {"reason": "the review's proposal, read and agreed to"},
            key=f"{view['id']}-apply",
        )
        why = visible(proposal["why"])
        self._say("operator", failure.agent, f"this demo, as {OPERATOR}, applied the proposed {proposal['kind']}: {why}")
        assert failure.lays is not None
        self._folder.put(*failure.lays)
        self._let_in_again = True
        self._say("fault", failure.agent, f"({failure.letter}) the same document is uploaded again")

    # ---- looking

    def _failure_of(self, summary: Mapping[str, Any]) -> Failure | None:
        taken = {followed.failure.letter for followed in self._incidents.values() if followed.failure}
        for failure in FAILURES:
            if failure.agent in summary["agents"] and failure.letter in self._injected and failure.letter not in taken:
                return failure
        return None

    def _onset(self, failure: Failure | None) -> Onset | None:
        if failure is None:
            return None
        onsets = (msgspec.json.decode(line, type=Onset) for line in self._folder.lines(ONSETS))
        return next((onset for onset in onsets if onset.failure == failure.letter), None)

    def _look_for_stops(self) -> None:
        """Note every agent that is held although nothing was done to it."""
        disturbed = {failure.agent for failure in FAILURES if failure.letter in self._injected}
        for agent in self._api.get("/api/v1/agents")["items"]:
            name = agent["agent"]
            if agent["rung"] in HOLDING and name not in disturbed and name not in self._stopped_healthy:
                self._stopped_healthy.add(name)
                self._say("alarm", name, "was stopped although nothing was wrong with it")

    def _look_for_refusal(self) -> None:
        if not self._let_in_again or self._refused_again:
            return
        for line in self._folder.lines(REFUSALS):
            refusal = msgspec.json.decode(line)
            self._refused_again = True
            self._say("proof", refusal["agent"], f"{refusal['tool']} refused by the new policy: {visible(refusal['message'])}")
            return

    def _now_s(self) -> float:
        return (self._clock.monotonic_ns() - self._started_ns) / 1e9


def _verdict_text(given: Mapping[str, Any]) -> str:
    because = given["missing"] if given["verdict"] != "VERIFIED" else given["evidence"]
    prefix = "missing: " if given["verdict"] != "VERIFIED" else ""
    return f"{given['verdict']} at {given['at_s']:.1f} s; {prefix}{visible('; '.join(because), 240)}"


def _cause_text(view: Mapping[str, Any]) -> str:
    cause = view["root_causes"][0]
    suspect = view["responsible"][0] if view["responsible"] else None
    where = f"; responsible step {suspect['span_id']} of {suspect['agent']}" if suspect else ""
    claim = f"{cause.get('claim') or 'consistent with'} {cause['type'].replace('_', ' ')}"
    return f"{claim}: {visible(cause.get('summary', ''), 200)}{where}"
