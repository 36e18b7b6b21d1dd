"""Loops in a live run: the shortcut before a call says what the full comparison says."""

import json
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord_sdk.loop import MAX_PERIOD, LoopDetector, Repeat
from andoncord_sdk.loopwatch import RUN_CALLS, LoopWatch


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


@settings(max_examples=200)
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
