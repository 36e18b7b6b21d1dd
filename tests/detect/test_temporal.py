"""What should have come and did not."""

from typing import Any

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.finding import Finding
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS
SILENCE = tuple(rule for rule in default_rules() if rule.id == "silence")


def at(seconds: float) -> int:
    return START_NS + int(seconds * SECOND_NS)


def beat(seconds: float, **fields: Any) -> Event:
    base: dict[str, Any] = {"kind": EventKind.HEARTBEAT, "agent": "a", "instance": "i", "attributes": {"runs_active": 1}}
    return Event(**{**base, "start_ns": at(seconds), "end_ns": at(seconds), "received_ns": at(seconds), **fields})


def ticks(watch: Bank, start_s: float, end_s: float) -> list[Finding]:
    findings: list[Finding] = []
    for quarter in range(int(start_s * 4), int(end_s * 4)):
        findings += watch.tick(at(quarter / 4))
    return findings


def test_silence_is_found_within_a_second_of_its_time() -> None:
    """Three seconds after the last heartbeat the finding is there, with the time of that heartbeat as its onset."""
    watch = Bank(SILENCE)
    watch.observe(beat(0))
    (finding,) = ticks(watch, 0, 5)

    assert (finding.onset_ns, finding.at_ns) == (at(0), at(3))


def test_silence_is_said_once_and_again_only_after_a_sign_of_life() -> None:
    """An agent that stays silent is one finding; one that came back and fell silent again is another."""
    watch = Bank(SILENCE)
    watch.observe(beat(0))
    first = ticks(watch, 0, 10)
    watch.observe(beat(10))
    second = ticks(watch, 10, 20)

    assert [len(first), len(second)] == [1, 1]
    assert first[0].id != second[0].id


def test_a_wrong_clock_is_not_silence() -> None:
    """While live, the server's own time of receipt counts, whatever the emitter's clock says."""
    watch = Bank(SILENCE)
    for second in range(10):
        watch.observe(beat(second, start_ns=at(second - 3_600), end_ns=at(second - 3_600)))
        assert ticks(watch, second, second + 1) == []


def test_being_blind_is_not_evidence_of_silence() -> None:
    """After a pause of the server itself the first look says nothing: the heartbeats of the pause may still be waiting."""
    watch = Bank(SILENCE)
    watch.observe(beat(0))
    watch.tick(at(0))

    assert watch.tick(at(30)) == ()
    assert len(watch.tick(at(30.25))) == 1


def test_a_gap_in_a_recording_is_found_without_a_clock() -> None:
    """In a file nobody ticks; the gap between two heartbeats is evidence enough."""
    watch = Bank(SILENCE, {"a": Declared(agent="a", silent_after_s=5)})

    assert watch.observe(beat(0, received_ns=0)) == ()
    assert len(watch.observe(beat(60, received_ns=0))) == 1


def test_an_untrusted_heartbeat_does_not_hide_silence() -> None:
    """A forged sign of life does not keep a trusted agent alive (SIG-2)."""
    watch = Bank(SILENCE)
    watch.observe(beat(0, trusted=True))
    watch.observe(beat(2.5))

    assert [finding.trusted for finding in ticks(watch, 0, 4)] == [True]
