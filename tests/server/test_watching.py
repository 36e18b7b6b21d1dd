"""The performer of VERIFY."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.kernel.effect import Effect, EffectKind, Receipt
from andoncord.server.hub import GuardHub
from andoncord.server.leases import LeaseOffice
from andoncord.server.points import Ack, Force, Registration, order_id
from andoncord.server.watching import VerifyPerformer
from andoncord.telemetry.batch import event_key
from andoncord.telemetry.event import Event, EventKind
from andoncord.testing.clock import OPENING
from andoncord.testing.system import CountedEntropy, HandClock

UP_NS = 60_000_000_000
"""For so long the server has been up."""
FENCED_NS = OPENING + 1_000


class Watch:
    """A performer over a real store, with one guard `i1` of agent `a`."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.leases = LeaseOffice(secret=b"s", clock=self.clock)
        self.clock.move_by(UP_NS)
        self.writer = ParquetTelemetryWriter(folder / "telemetry.db")
        self.hub = GuardHub(clock=self.clock, entropy=CountedEntropy(), force=lambda agent: Force(rung="none", epoch=(1, 0)))
        self.guard = self.hub.register(Registration(agent="a", instance="i1"), token_id="tok")
        self.performer = VerifyPerformer(
            hub=self.hub, telemetry=ParquetTelemetryReader(folder / "telemetry.db"), clock=self.clock, leases=self.leases
        )

    def heard(
        self,
        kind: EventKind,
        *,
        after_ns: int,
        trusted: bool = True,
        name: str = "",
        run_id: str = "",
        span_id: str = "",
        end_ns: int = 0,
        **attributes: Any,
    ) -> None:
        """Store one event of the guard's process, `after_ns` after the fence."""
        event = Event(
            kind=kind,
            agent="a",
            instance="i1",
            name=name,
            run_id=run_id,
            span_id=span_id or str(after_ns),
            start_ns=FENCED_NS + after_ns,
            end_ns=end_ns,
            trusted=trusted,
            attributes=attributes,
        )
        pair = (event_key(event), event)
        self.writer.record(seq=None, events=[pair], findings=(), beats=(), ledger=(), now_ns=0)

    def beats(self, *, in_flight: int = 0, steps_started: int = 4, trusted: bool = True) -> None:
        for after_ns in (1_000, 2_000):
            self.heard(
                EventKind.HEARTBEAT, after_ns=after_ns, trusted=trusted, in_flight=in_flight, steps_started=steps_started
            )

    def ack(self) -> dict[str, Any]:
        state = {"steps_started": 4, "in_flight": []}
        return {"instance": "i1", "outcome": "enforced", "at_ns": FENCED_NS, "state": state}

    def verdict(
        self,
        *,
        acknowledged: bool = True,
        termination: dict[str, Any] | None = None,
        rung: str = "pause",
        deadline_ms: int = 0,
        **more: Any,
    ) -> Receipt:
        parameters = {
            "rung": rung,
            "epoch": [1, 3],
            "acknowledgements": [self.ack()] if acknowledged else [],
            "unconfirmed": [] if acknowledged else ["i1"],
            "termination": termination,
            "fenced_ns": FENCED_NS,
            **more,
        }
        effect = Effect(
            kind=EffectKind.VERIFY,
            target="a",
            incident="inc_1",
            key="k",
            deadline_ms=deadline_ms,
            reversal="-",
            parameters=parameters,
        )
        return asyncio.run(self.performer.perform("inc_1.003", effect))


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def test_heartbeats_that_count_no_step_verify(watch: Watch) -> None:
    """Acknowledged, and seen to be quiet."""
    watch.beats()

    assert watch.verdict().detail["verdict"] == "VERIFIED"


def test_without_heartbeats_nothing_is_verified(watch: Watch) -> None:
    """Silence is not quiescence."""
    detail = watch.verdict().detail

    assert detail["verdict"] == "UNVERIFIED"
    assert "heartbeats" in detail["missing"][0]


def test_heartbeats_that_anybody_could_send_do_not_count(watch: Watch) -> None:
    """Signals without a token bound to the agent prove nothing."""
    watch.beats(trusted=False)

    assert watch.verdict().detail["verdict"] == "UNVERIFIED"


def test_a_step_after_the_acknowledgement_is_a_failure(watch: Watch) -> None:
    """The guard said that it holds, and a step began all the same."""
    watch.beats()
    watch.heard(EventKind.STEP_STARTED, after_ns=500)

    assert watch.verdict().detail["verdict"] == "FAILED"


def test_a_step_before_the_acknowledgement_is_none(watch: Watch) -> None:
    """What began before the fence is not held against it."""
    watch.beats()
    watch.heard(EventKind.STEP_STARTED, after_ns=-500)

    assert watch.verdict().detail["verdict"] == "VERIFIED"


def test_what_is_still_in_flight_is_missing(watch: Watch) -> None:
    """A call that began before the fence has to end before the agent counts as stopped."""
    watch.beats(in_flight=1)

    assert watch.verdict().detail["verdict"] == "UNVERIFIED"


def test_an_answer_that_came_late_counts(watch: Watch) -> None:
    """The order's receipt had no answer yet; the hub has one now."""
    watch.beats()
    assert watch.verdict(acknowledged=False).detail["verdict"] == "UNVERIFIED"

    late = Ack(order_id=order_id("a", (1, 3)), outcome="enforced", at_ns=FENCED_NS, state={"steps_started": 4})
    watch.hub.send([watch.guard], "order", {"order_id": late.order_id, "rung": "pause"})
    watch.hub.acknowledge(watch.guard, late)
    assert watch.verdict(acknowledged=False).detail["verdict"] == "VERIFIED"


def test_a_process_that_came_after_the_order_has_to_answer_too(watch: Watch) -> None:
    """A new instance of the agent is as much part of it as the old ones."""
    watch.beats()
    watch.hub.register(Registration(agent="a", instance="i2"), token_id="tok")
    detail = watch.verdict().detail

    assert detail["verdict"] == "UNVERIFIED"
    assert detail["missing"] == ["acknowledgement from i2"]


def test_an_empty_process_tree_verifies(watch: Watch) -> None:
    """Nothing that runs, nothing that has to answer; a guard on another machine is in no tree that was seen there."""
    watch.hub.register(Registration(agent="a", instance="s1", kind="supervisor", capabilities=("kill",)), token_id="tok")
    elsewhere = watch.hub.register(Registration(agent="a", instance="i2", host="other"), token_id="tok")
    watch.hub.forget_agent_processes("a", host="")
    ended = {"process_tree_empty": True}

    assert watch.verdict(rung="kill", acknowledged=False, termination=ended).detail["missing"] == ["acknowledgement from i2"]
    watch.hub.depart(elsewhere)
    assert watch.verdict(rung="kill", acknowledged=False, termination=ended).detail["verdict"] == "VERIFIED"


def test_where_no_answer_came_the_lease_is_told(watch: Watch) -> None:
    """How long the process may still hold a lease from before the order, and then that it has none."""
    watch.leases.give(guard="g", agent="a", instance="i1", epoch=(1, 2), rung="none", nonce="n")
    watch.leases.give(guard="g", agent="a", instance="i1", epoch=(1, 3), rung="pause", nonce="n")
    watch.clock.move_by(2_000_000_000)

    early = watch.verdict(acknowledged=False).detail
    watch.clock.move_by(3_600_000_000)
    late = watch.verdict(acknowledged=False).detail

    assert early["missing"] == ["acknowledgement from i1; it may hold a lease for 3.5 s more"]
    assert (late["verdict"], "lease has ended" in late["missing"][0]) == ("UNVERIFIED", True)


@pytest.mark.parametrize(
    ("call", "verdict"),
    [
        ({"name": "pay", "run_id": "r1"}, "FAILED"),
        ({"name": "pay", "run_id": "r2"}, "VERIFIED"),
        ({"name": "look", "run_id": "r1"}, "VERIFIED"),
        ({"name": "pay", "run_id": "r1", "after_ns": -500}, "VERIFIED"),
        ({"name": "pay", "run_id": "r1", "trusted": False}, "VERIFIED"),
        (None, "VERIFIED"),
    ],
)
def test_a_later_call_of_what_an_order_holds_is_a_failure(watch: Watch, call: dict[str, Any] | None, verdict: str) -> None:
    """Of the tool, in the run, begun after the acknowledgement, and told by the agent itself; everything else goes on."""
    watch.beats(steps_started=9)
    if call is not None:
        watch.heard(EventKind.STEP_STARTED, **{"after_ns": 500, **call})
    within = {"tool": "p*", "run": "r1", "rung": "kill", "allow": [], "text": "tool p* of run r1"}

    detail = watch.verdict(rung="restrict", within=within).detail

    assert detail["verdict"] == verdict, detail["missing"]
    assert ("STOPPED" in detail["reached"]) == (verdict == "VERIFIED")


def test_an_order_about_a_tool_is_not_verified_in_silence(watch: Watch) -> None:
    """An acknowledgement without later heartbeats shows no quiescence of the tool either; a throttle asks for none."""
    within = {"tool": "pay", "run": "", "rung": "kill", "allow": [], "text": "tool pay"}
    assert "quiescence of tool pay" in watch.verdict(rung="restrict", within=within).detail["missing"][0]

    slowed = watch.verdict(rung="restrict", within={**within, "rung": "throttle"}).detail
    assert slowed["verdict"] == "VERIFIED"


def test_a_call_of_the_tool_that_is_under_way_has_to_end(watch: Watch) -> None:
    """What the order holds is not stopped while it runs on; calls of other tools may."""
    watch.beats(in_flight=2)
    call = {"tool": "pay", "span_id": "s1", "run_id": "r1", "started_ns": 1}
    ack = {**watch.ack(), "state": {"steps_started": 4, "in_flight": [call, {**call, "tool": "look", "span_id": "s2"}]}}
    within = {"tool": "pay", "run": "", "rung": "kill", "allow": [], "text": "tool pay"}
    early = watch.verdict(rung="restrict", within=within, acknowledgements=[ack]).detail
    assert (early["verdict"], early["missing"]) == ("UNVERIFIED", ["the end of what was in flight in i1: pay"])
    assert [(each["tool"], each["disposition"]) for each in early["in_flight"]] == [("pay", "unknown")]

    watch.heard(EventKind.TOOL_COMPLETED, after_ns=-500, name="pay", run_id="r1", span_id="s1", end_ns=FENCED_NS + 900)
    late = watch.verdict(rung="restrict", within=within, acknowledgements=[ack]).detail
    assert (late["verdict"], late["in_flight"][0]["disposition"]) == ("VERIFIED", "completed")


def test_what_nobody_answers_for_is_not_watched_as_long(watch: Watch) -> None:
    """Without an answer the verdict comes after the time for answers; with one, the watch goes on to its end."""
    within = {"tool": "pay", "run": "", "rung": "kill", "allow": [], "text": "tool pay"}
    assert watch.verdict(acknowledged=False, rung="restrict", within=within, fence_ms=0, deadline_ms=60_000).detail["missing"]


def test_a_tool_outside_the_list_of_an_order_is_a_failure(watch: Watch) -> None:
    """What the list names may go on."""
    watch.beats()
    within = {"tool": "*", "run": "r1", "rung": "restrict", "allow": ["look*"], "text": "run r1"}
    watch.heard(EventKind.TOOL_COMPLETED, after_ns=500, name="look_up", run_id="r1")
    assert watch.verdict(rung="restrict", within=within).detail["verdict"] == "VERIFIED"

    watch.heard(EventKind.TOOL_COMPLETED, after_ns=600, name="pay", run_id="r1")
    assert watch.verdict(rung="restrict", within=within).detail["verdict"] == "FAILED"
