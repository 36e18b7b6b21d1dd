"""Loops in a live run: the shortcut before a call says what the full comparison says."""

import json
from collections import deque
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from andoncord_sdk.loop import MAX_PERIOD, LoopDetector, Repeat
from andoncord_sdk.loopwatch import RUN_CALLS, LoopWatch
from andoncord_sdk.otlp import text_of


class Thorough:
    """What `LoopWatch` must say, by comparing before every call."""

    def __init__(self) -> None:
        self.detector = LoopDetector()
        self.recent: deque[tuple[str, str]] = deque(maxlen=MAX_PERIOD)
        self.cycle: Repeat | None = None

    def repeats_before(self, tool: str, arguments: str) -> int | None:
        repeat = self.detector.would_repeat(tool, arguments)
        if repeat is not None and repeat.repeats >= RUN_CALLS:
            return repeat.repeats
        if self.cycle is not None and self.recent[-self.cycle.period] == (tool, arguments):
            return self.cycle.repeats
        return None

    def observe(self, tool: str, arguments: str, result: str, failed: bool) -> None:
        self.recent.append((tool, arguments))
        repeat = self.detector.observe(tool, arguments, result, failed)
        self.cycle = repeat if repeat is not None and repeat.period > 1 else None


ARGUMENTS = st.sampled_from(
    [
        "{}",
        '{"q":1}',
        '{"q": 1}',
        '{"q":1,"request_id":"a"}',
        '{"request_id":"b","q":1}',
        json.dumps({"q": 1, "note": "n" * 900}),
    ]
)
CALLS = st.lists(st.tuples(st.sampled_from("ab"), ARGUMENTS, st.sampled_from(["ok", "took 3 ms", "took 4 ms"]), st.booleans()))


@settings(max_examples=200, deadline=None)
@given(CALLS, ARGUMENTS)
def test_the_shortcut_before_a_call_is_the_full_comparison(
    calls: list[tuple[str, str, str, bool]], next_arguments: str
) -> None:
    """Before every call, near-identical ones included, the watch refuses exactly what comparing everything would refuse."""
    watch, thorough = LoopWatch(), Thorough()
    for tool, arguments, result, failed in [*calls, ("a", next_arguments, "", False)]:
        for asked in ("a", "b"):
            refused = thorough.repeats_before(asked, arguments)
            assert watch.repeats_before(asked, arguments) == refused
            assert refused is None or watch.is_suspicious
        watch.observe(tool, arguments, result, failed)
        thorough.observe(tool, arguments, result, failed)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 2),
    st.floats(0, 2),
    st.sampled_from(["", "a", "b", " a", "a  b", "a b", "a\tb", "1", "é"]),
)
NAMES = st.sampled_from(["q", "n", "request_id", "thought", "page"])
CALLED = st.dictionaries(
    NAMES, st.one_of(VALUES, st.lists(VALUES, max_size=2), st.dictionaries(NAMES, VALUES, max_size=1)), max_size=4
)


@settings(max_examples=400, deadline=None)
@given(CALLED, CALLED, st.booleans(), st.sampled_from(["", "s"]))
@example({"q": 1}, {"q": True}, False, "")
@example({"q": 1}, {"q": 1.0}, False, "")
@example({"q": "x" * 9000}, {"q": "x" * 9000}, False, "")
@example({}, {"thought": "x" * 5000, "q": "y" * 600, "page": "z" * 5000}, False, "")
def test_what_differs_at_a_glance_is_another_call(
    before: dict[str, Any], now: dict[str, Any], failed: bool, state: str
) -> None:
    """What is let through without being written down is nothing that the full comparison would refuse."""
    watch = LoopWatch()
    for _ in range(RUN_CALLS):
        watch.observe("t", text_of(before), "ok", failed)

    refused = watch.repeats_before("t", text_of(now), state)

    assert refused is None or watch.suspects("t", now, state)
    assert not watch.suspects("other", now, state)
    assert watch.suspects("t", before)


def test_a_call_that_differs_plainly_is_not_written_down() -> None:
    """After three equal calls, the next page and another tool are let through at a glance; what is nested or long is not."""
    watch = LoopWatch()
    for _ in range(RUN_CALLS):
        watch.observe("t", text_of({"page": 1, "rows": [1, {"a": "b"}]}), "ok", False)

    assert not watch.suspects("t", {"page": 2, "rows": [1, {"a": "b"}]})
    assert watch.suspects("t", {"page": 1, "rows": [2, {"a": "b"}]})
    assert watch.suspects("t", {"page": 2, "rows": "x" * 9000})
