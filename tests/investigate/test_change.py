"""What changed, and whether outcomes changed with it."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from andoncord.investigate.change import changes, worse_by_chance
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event, EventKind


def scored(at_s: float, *, passed: bool, version: str = "", agent: str = "support") -> Event:
    at_ns = round(at_s * SECOND_NS)
    return Event(
        kind=EventKind.QUALITY_SCORED,
        agent=agent,
        run_id=f"{agent}-{at_s}",
        trace_id=f"{agent}-{at_s}",
        span_id=f"span-{at_s}",
        end_ns=at_ns,
        passed=passed,
        attributes={"config_version": version} if version else {},
    )


def announced(at_s: float, before: str, after: str, *, kind: str = "prompt") -> Event:
    return Event(
        kind=EventKind.CHANGE_MADE,
        agent="support",
        span_id="change",
        name=kind,
        end_ns=round(at_s * SECOND_NS),
        attributes={"from": before, "to": after},
    )


def runs(times: Iterable[int], *, every: int, version: str = "") -> list[Event]:
    """One run per second; every `every`-th fails."""
    return [scored(at, passed=bool((at + 1) % every), version=version) for at in times]


def test_an_announced_change_is_compared_on_both_sides() -> None:
    """Outcomes before and after are counted, and chance is computed."""
    events = [*runs(range(20), every=100), announced(20, "v1", "v2"), *runs(range(21, 41), every=2)]

    (change,) = changes(events, agents=["support"], first_ns=45 * SECOND_NS, now_ns=45 * SECOND_NS)

    assert (change.passed_before, change.judged_before, change.judged_after) == (20, 20, 20)
    assert change.p_value is not None
    assert change.p_value < 0.001
    assert not change.overlap


def test_a_canary_is_an_overlap() -> None:
    """Both versions working at the same time is what makes a comparison fair."""
    events = [announced(1, "v1", "v2")]
    for second in range(2, 30):
        events.append(scored(second, passed=True, version="v1"))
        events.append(scored(second + 0.5, passed=second % 2 == 0, version="v2"))

    (change,) = changes(events, agents=["support"], first_ns=40 * SECOND_NS, now_ns=40 * SECOND_NS)

    assert change.overlap


def test_a_rollback_that_helped_is_an_overlap_too() -> None:
    """The old version again, and its old outcomes again: time is no longer the difference."""
    events = [
        *runs(range(20), every=100, version="v1"),
        announced(20, "v1", "v2"),
        *runs(range(21, 41), every=2, version="v2"),
        *runs(range(50, 70), every=100, version="v1"),
    ]

    (change,) = changes(events, agents=["support"], first_ns=45 * SECOND_NS, now_ns=80 * SECOND_NS)

    assert change.overlap


def test_a_version_that_appears_without_a_word_is_inferred() -> None:
    """What nobody announced is found on the runs, and marked."""
    events = [*runs(range(10), every=100, version="v1"), *runs(range(10, 20), every=2, version="v2")]

    (change,) = changes(events, agents=["support"], first_ns=30 * SECOND_NS, now_ns=30 * SECOND_NS)

    assert not change.announced
    assert (change.kind, change.before, change.after) == ("config", "v1", "v2")


def test_an_announced_version_on_runs_is_not_a_second_change() -> None:
    """The version that an announcement brought is expected on the runs after it."""
    events = [
        *runs(range(10), every=100, version="v1"),
        announced(10, "v1", "v2"),
        *runs(range(11, 20), every=2, version="v2"),
    ]

    assert len(changes(events, agents=["support"], first_ns=30 * SECOND_NS, now_ns=30 * SECOND_NS)) == 1


def test_a_change_after_the_finding_explains_nothing() -> None:
    """Causes come first."""
    events = [*runs(range(10), every=2), announced(50, "v1", "v2")]

    assert changes(events, agents=["support"], first_ns=30 * SECOND_NS, now_ns=60 * SECOND_NS) == ()


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_the_exact_test_is_a_probability_that_falls_with_more_failures(before: int, after: int, data: st.DataObject) -> None:
    """More failures after are never better explained by chance."""
    passed_before = data.draw(st.integers(0, before))
    passed_after = data.draw(st.integers(1, after))
    more = worse_by_chance(passed_before, before, passed_after, after)
    fewer = worse_by_chance(passed_before, before, passed_after - 1, after)

    assert 0 <= fewer <= more <= 1 + 1e-12
