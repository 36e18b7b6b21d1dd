"""Tasks with known answers on a schedule: asked in time, judged, never in silence, and never of an agent that is held."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from andoncord.adapters.system.entropy import SystemEntropy
from andoncord.adapters.system.flags import FlagFile
from andoncord.adapters.system.hook import HookAnswer
from andoncord.adapters.system.processes import SystemProcesses
from andoncord.detect.bank import Bank
from andoncord.detect.known_answer import Expected
from andoncord.detect.pack import default_rules
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import HOUR_NS, SECOND_NS, Instant
from andoncord.server.canaries import CAPABILITY, Canaries, Canary
from andoncord.server.canary_settings import CanarySettings
from andoncord.server.hub import GuardHub
from andoncord.server.points import Ack, Force, Guard, Registration
from andoncord.telemetry.event import Event
from andoncord.telemetry.otlp import decode_logs_json
from andoncord.testing.clock import SimClock

START_NS = 1_767_225_600 * SECOND_NS


class Clock(SimClock):
    """The simulated clock, also for measuring."""

    def monotonic_ns(self) -> int:
        return int(self.now())


class Aviary:
    """One canary, everything around it, and the rules that hear of it."""

    def __init__(self, tmp_path: Any, *, hook: bool = True, **settings: Any) -> None:
        self.clock = Clock(Instant(START_NS))
        self.answers: list[HookAnswer] = []
        self.told: list[dict[str, Any]] = []
        self.scores: list[Event] = []
        self.rung = "none"
        self.places: dict[str, int] = {}
        self.bank = Bank(default_rules())
        self.found: list[str] = []
        self.hub = GuardHub(
            clock=self.clock,
            entropy=SystemEntropy(),
            force=lambda agent: Force(rung="none", epoch=(1, 0)),
            flags=FlagFile(tmp_path / "flags", nonce="n" * 32),
            processes=SystemProcesses(),
        )
        asked = {"agent": "geo", "input": "Capital of Australia?", "every": "1h", "answer_within_s": 5, **settings}
        self.canary = Canary(
            "capital", CanarySettings(expect=Expected(contains=("canberra",)), **asked), ("ask",) if hook else ()
        )
        self.canaries = self.make()

    def make(self) -> Canaries:
        return Canaries(
            [self.canary],
            hub=self.hub,
            run=self.run_hook,
            rung_of=lambda agent: self.rung,
            positions=self,  # type: ignore[arg-type]  # what they keep in it
            clock=self.clock,
            pass_on=self.pass_on,
        )

    def position(self, name: str) -> int:
        return self.places.get(name, 0)

    def set_position(self, name: str, position: int) -> None:
        self.places[name] = position

    async def run_hook(self, argv: Sequence[str], value: bytes, *, timeout_s: float, output_bytes: int) -> HookAnswer:
        self.told.append(json.loads(value))
        return self.answers.pop(0)

    async def pass_on(self, sender: str, body: bytes) -> bool:
        events = decode_logs_json(body, received_ns=self.clock.now(), trusted_agents=("*",)).events
        self.scores += events
        self.found += [finding.rule for event in events for finding in self.bank.observe(event)]
        return True

    def says(self, text: str) -> None:
        """What the hook answers next."""
        self.answers.append(HookAnswer(exit_code=0, stdout=text.encode(), stderr=b"", is_cut=False))

    async def turn(self, hours: float = 1.0) -> list[str]:
        """Let time pass, ask what is due, and wait for what comes of it."""
        self.clock.move_to(Instant(self.clock.now() + int(hours * HOUR_NS)))
        started = await self.canaries.start_due()
        await self.canaries.settled()
        return started

    def connect(self) -> Guard:
        return self.hub.register(Registration(agent="geo", instance="i-1", capabilities=(CAPABILITY,)), token_id="t")


def test_a_wrong_answer_twice_is_a_finding_and_none_is_one_at_once(tmp_path: Any) -> None:
    """Right, wrong, wrong: `wrong-canary`. Then no answer: `missed-canary`. Each is a score with its state and its words."""
    aviary = Aviary(tmp_path)

    async def day() -> None:
        assert await aviary.turn(0.0) == []
        for answer in ('{"answer": "Canberra."}', '{"answer": "Sydney!"}', '{"answer": "Sydney, surely"}', "no JSON"):
            aviary.says(answer)
            assert await aviary.turn() == ["capital"]

    asyncio.run(day())
    assert [(event.name, event.passed, event.attributes["canary"], event.trusted) for event in aviary.scores] == [
        ("canary_capital", True, "asked", True),
        ("canary_capital", False, "asked", True),
        ("canary_capital", False, "asked", True),
        ("canary_capital", None, "missed", True),
    ]
    assert aviary.found == ["wrong-canary", "missed-canary"]
    (standing,) = aviary.canaries.standings()
    assert (standing["state"], standing["since_start"]) == ("missed", {"right": 1, "wrong": 2, "missed": 1, "held": 0})
    assert aviary.told[0] == {"canary": "capital", "agent": "geo", "input": "Capital of Australia?"}


def test_it_is_asked_when_it_is_due_also_after_a_restart(tmp_path: Any) -> None:
    """Not before its time, once at its time, and a restart neither asks again at once nor forgets."""
    aviary = Aviary(tmp_path)
    for _ in range(3):
        aviary.says('{"answer": "Canberra"}')

    async def day() -> None:
        assert await aviary.turn(0.0) == []
        await aviary.turn(1 / 60)
        assert len(aviary.told) == 1
        assert await aviary.turn(0.5) == []
        aviary.canary.due_ns = 0
        aviary.canaries = aviary.make()
        assert await aviary.turn(0.25) == []
        assert await aviary.turn(0.25) == ["capital"]
        aviary.canaries.ask_now("capital")
        await aviary.canaries.settled()

    asyncio.run(day())
    assert len(aviary.told) == 3


def test_a_guard_is_asked_over_its_stream(tmp_path: Any) -> None:
    """Its answer is judged under the run that it names; an agent that is held is not asked, and that is no finding."""
    aviary = Aviary(tmp_path, hook=False)

    async def day() -> None:
        assert await aviary.turn(0.0) == []
        assert await aviary.turn() == ["capital"]
        guard = aviary.connect()
        stream = aviary.hub.stream(guard)
        await anext(stream)
        asking = asyncio.create_task(aviary.turn())
        while b"event: canary\n" not in (said := await anext(stream)):
            pass
        event = json.loads(said.partition(b"data: ")[2].splitlines()[0])
        detail = {"answer": "It is Canberra", "run_id": "run-7"}
        aviary.hub.acknowledge(guard, Ack(order_id=event["order_id"], outcome="enforced", at_ns=1, detail=detail))
        await asking
        aviary.rung = "pause"
        await aviary.turn()
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(day())
    assert [(event.run_id, event.passed) for event in aviary.scores[1:]] == [("run-7", True)]
    assert aviary.canary.counts == {"right": 1, "wrong": 0, "missed": 1, "held": 1}
    assert aviary.found == ["missed-canary"]


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"every": "10s"}, "every"),
        ({"agent": "geo-*"}, "agent"),
        ({"hook": "nobody"}, "hook"),
        ({"every": "1h", "answer_within_s": 3_600, "expect": Expected()}, "expect"),
    ],
)
def test_what_cannot_be_asked_is_refused(wrong: dict[str, Any], place: str) -> None:
    """A mistake in the settings is named with its place before the server starts."""
    settings = {"agent": "geo", "input": "x", "every": "1h", "expect": Expected(equals="y"), **wrong}
    with pytest.raises(CallerError, match=rf"canaries\.capital\.{place}"):
        CanarySettings(**settings).check("capital", hooks=frozenset())
