"""The director: brings the four failures about, plays the operator through the public API, and tells what happens.

It never touches detection or containment. What goes wrong is a version in the registry or a line in a folder; what is told
comes from the server's API; what is scored against is the agents' own record of when a failure took effect.
"""

import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from andoncord.adapters.system.clock import SystemClock
from andoncord.kernel.text import visible
from andoncord.kernel.time import SECOND_NS
from andoncord.sim.agent import ONSETS, REFUSALS
from andoncord.sim.client import Api
from andoncord.sim.crew import Crew
from andoncord.sim.failing import UPLOADS
from andoncord.sim.fleet import FLEET
from andoncord.sim.narration import lines
from andoncord.sim.story import (
    FAILURES,
    OPERATOR,
    PROVEN,
    QUIET_S,
    Failure,
    Onset,
    Score,
    missed,
    score_incident,
)
from andoncord.sim.surroundings import SharedFolder

TICK_S = 0.15
ARRIVAL_DEADLINE_S = 15.0
AFTERMATH_S = 1.5
"""After the second refusal the agent may have one more run under way with the same document."""
MAX_APPROVALS = 4
"""How often the operator approves the recovery of one incident before giving up on it."""
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
    is_echo: bool = False
    """It came from letting the cause in again to prove the applied proposal."""
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
        self._refused_s: float | None = None

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
            module, ending = "andoncord.sim.agent", signal.SIGKILL
            if role.supervised:
                supervised = [sys.executable, "-m", module, *arguments]
                # The guard in the agent enforces pause and kill; the supervisor ends the tree when that cannot be verified.
                options = ["--agent", role.name, "--server", server, "--on-pause", "leave"]
                module, arguments = "andoncord_sdk.supervise", [*options, "--", *supervised]
                ending = signal.SIGTERM  # It ends the tree that it holds.
            crew.start(role.name, module, *arguments, environment={"ANDON_TOKEN": minted["token"]}, ending=ending)
        deadline_s = self._now_s() + ARRIVAL_DEADLINE_S
        while missing := set(FLEET) - self._running():
            if self._now_s() > deadline_s:
                raise RuntimeError(f"these agents did not report in: {', '.join(sorted(missing))}; gone: {crew.gone()}")
            self._pause.wait(TICK_S)
        self.say("setup", "", f"{len(FLEET)} agents at work, each a process with its own token: {', '.join(FLEET)}")

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
        self.say("setup", "", f"everything is quiet; in {QUIET_S:.0f} seconds something will go wrong")
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
                followed = self._incidents[summary["id"]] = self._met(summary)
            if "ended" in followed.told:
                continue
            followed.view = self._api.get(f"/api/v1/incidents/{summary['id']}")
            self._follow(followed)
        self._look_for_refusal()

    def score(self) -> Score:
        """What came of it."""
        scores = [
            score_incident(followed.view, failure=followed.failure.letter if followed.failure else None, onset=followed.onset)
            for followed in self._incidents.values()
            if followed.view.get("disposition") != "duplicate"
        ]
        return Score(
            seed=self._seed,
            wall_s=round(self._now_s(), 1),
            incidents=scores,
            false_incidents=sum(score.failure is None for score in scores),
            duplicates=len(self._incidents) - len(scores),
            false_stops=len(self._stopped_healthy),
            missed=missed(scores),
            proposal_refused_again=self._refused_s is not None,
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
        self.say("fault", failure.agent, f"({failure.letter}) {failure.injected}")

    def _is_over(self) -> bool:
        followed = [each for each in self._incidents.values() if each.failure]
        letters = {each.failure.letter for each in followed if each.failure}
        return len(letters) == len(FAILURES) and all("ended" in each.told for each in followed) and self._is_proof_done()

    def _is_proof_done(self) -> bool:
        """The second refusal was seen, and what it may have set off had time to show."""
        return self._refused_s is not None and self._now_s() - self._refused_s >= AFTERMATH_S

    # ---- telling

    def _follow(self, followed: Followed) -> None:
        view = followed.view
        agent = ", ".join(view["agents"])
        if followed.onset is None and not followed.is_echo:
            followed.onset = self._onset(followed.failure)
        for line in lines(view, onset=followed.onset, is_expected=followed.failure is not None):
            if followed.once(line.key):
                at_s = self._now_s() - (self._clock.now() - line.at_ns) / SECOND_NS
                self._tell(Scene(at_s=at_s, kind=line.kind, agent=agent, text=line.text))
        self._operate(followed)
        if view["resolved_at"] and "review" in followed.told and followed.once("ended"):
            self._close_review(followed)

    def say(self, kind: str, agent: str, text: str) -> None:
        """Tell a scene that happens now."""
        self._tell(Scene(at_s=self._now_s(), kind=kind, agent=agent, text=text))

    # ---- the operator

    def _operate(self, followed: Followed) -> None:
        """Deal with what lies around an agent that was told to stop, and approve a recovery that waits for a person."""
        view, failure = followed.view, followed.failure
        is_ordered = any(receipt["kind"] == "order" for receipt in view["receipts"])
        if failure and failure.lays and is_ordered and followed.once("cleared"):
            self._folder.clear(failure.lays[0])
            self.say("operator", failure.agent, f"this demo, as {OPERATOR}, {failure.cleared}")
        if followed.is_echo and not view["containment"] and self._is_proof_done() and followed.once("disposed"):
            self._dispose(view)
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
        self.say("operator", failure.agent, f"this demo, as {OPERATOR}, approved the recovery")

    def _dispose(self, view: Mapping[str, Any]) -> None:
        """What the proof set off is the same case again, and nothing had to be stopped: close it as a duplicate."""
        reason = "the same document, refused by the policy that the review brought"
        path = f"/api/v1/incidents/{view['id']}/disposition"
        self._api.post(path, {"disposition": "duplicate", "reason": reason}, key=f"{view['id']}-dispose")
        self.say(
            "operator", ", ".join(view["agents"]), f"this demo, as {OPERATOR}, closed {view['id']} as a duplicate: {reason}"
        )

    def _close_review(self, followed: Followed) -> None:
        """For one incident, apply the proposed change and let the cause in again."""
        view, failure = followed.view, followed.failure
        if failure is None or failure.letter != PROVEN or followed.is_echo:
            return
        proposal = view["review"]["proposal"]
        if not proposal:
            self.say("alarm", failure.agent, "the review proposes no structural change")
            return
        self._api.post(
            f"/api/v1/incidents/{view['id']}/proposal/apply",
            {"reason": "the review's proposal, read and agreed to"},
            key=f"{view['id']}-apply",
        )
        why = visible(proposal["why"])
        self.say("operator", failure.agent, f"this demo, as {OPERATOR}, applied the proposed {proposal['kind']}: {why}")
        assert failure.lays is not None
        self._folder.put(*failure.lays)
        self._let_in_again = True
        self.say("fault", failure.agent, f"({failure.letter}) the same document is uploaded again")

    # ---- looking

    def _met(self, summary: Mapping[str, Any]) -> Followed:
        """A new incident, and the failure behind it if there is one."""
        taken = {followed.failure.letter for followed in self._incidents.values() if followed.failure}
        for failure in FAILURES:
            if failure.agent in summary["agents"] and failure.letter in self._injected:
                is_echo = failure.letter == PROVEN and self._let_in_again
                if is_echo or failure.letter not in taken:
                    return Followed(failure=failure, is_echo=is_echo)
        return Followed(failure=None)

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
                self.say("alarm", name, "was stopped although nothing was wrong with it")

    def _look_for_refusal(self) -> None:
        if not self._let_in_again or self._refused_s is not None:
            return
        for line in self._folder.lines(REFUSALS):
            refusal = msgspec.json.decode(line)
            self._refused_s = self._now_s()
            self._folder.clear(UPLOADS)
            self.say("proof", refusal["agent"], f"{refusal['tool']} refused by the new policy: {visible(refusal['message'])}")
            return

    def _now_s(self) -> float:
        return (self._clock.monotonic_ns() - self._started_ns) / SECOND_NS
