"""The loop detector: what is a loop, what only looks like one, and what the guard is told before a call."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord_sdk.loop import MAX_PERIOD, LoopDetector, Repeat

Call = tuple[str, Any, Any, bool]


def ok(tool: str, arguments: Any = "{}", result: Any = "ok") -> Call:
    return (tool, arguments, result, False)


def failing(tool: str, arguments: Any = "{}", error: Any = "error") -> Call:
    return (tool, arguments, error, True)


def watch(calls: Iterable[Call], detector: LoopDetector | None = None) -> tuple[int, Repeat] | None:
    """The number of the first call at which a loop is found, and the loop."""
    detector = detector or LoopDetector()
    for number, call in enumerate(calls, start=1):
        if repeat := detector.observe(*call):
            return number, repeat
    return None


LOOPS: list[tuple[str, list[Call], int, int]] = [
    ("the same call", [ok("search", '{"q": "refund"}', "nothing")] * 6, 4, 1),
    (
        "the same error with jittered arguments",
        [
            failing("pay", json.dumps({"to": "acme", "request_id": n, "at": f"2026-05-01T10:00:0{n}Z"}), f"declined, pid {n}")
            for n in range(6)
        ],
        3,
        1,
    ),
    ("ping-pong", [ok("ask", "{}", "done?"), ok("answer", "{}", "not yet")] * 5, 6, 2),
    ("a cycle of five", [ok(tool) for tool in "abcde"] * 4, 15, 5),
    ("a cycle of nine", [ok(tool) for tool in "abcdefghi"] * 4, 27, 9),
    (
        "output that differs only in its time stamp",
        [ok("status", "{}", f"[2026-05-01 10:00:{n:02d}] waiting (took {n}.5s)") for n in range(6)],
        4,
        1,
    ),
]


@pytest.mark.parametrize(("calls", "at", "period"), [case[1:] for case in LOOPS], ids=[case[0] for case in LOOPS])
def test_a_loop_is_found(calls: list[Call], at: int, period: int) -> None:
    """Each true loop is found at its threshold, with its period."""
    found = watch(calls)

    assert found is not None
    assert (found[0], found[1].period) == (at, period)


PROGRESS: list[tuple[str, list[Call]]] = [
    ("polling with progress", [ok("status", '{"job": 7}', f'{{"state": "running", "done": {n}}}') for n in range(0, 100, 5)]),
    ("editing a batch", [ok("edit", json.dumps({"path": f"src/{n}.py", "text": "x"}), "saved") for n in range(20)]),
    ("reading pages", [ok("read", json.dumps({"path": "log", "offset": n * 100}), f"lines from {n * 100}") for n in range(20)]),
    (
        "editing and testing with other errors",
        [
            call
            for n in range(10)
            for call in (ok("edit", json.dumps({"fix": n}), "saved"), failing("test", "{}", f"line {n}: type error"))
        ],
    ),
    (
        "a batch over records named by uuid",
        [ok("delete", json.dumps({"id": f"1b4e28ba-2fa1-11d2-883f-0016d3cca4{n:02x}"}), "deleted") for n in range(10)],
    ),
    ("a batch over hours", [ok("report", json.dumps({"from": f"2026-05-01T{n:02d}:00:00Z"}), "no sales") for n in range(10)]),
    ("a countdown", [ok("status", "{}", f"{n} seconds left") for n in range(30, 10, -1)]),
    ("reading five files twice", [ok("read", f'{{"path": "{n}"}}', f"text {n}") for n in range(5)] * 2),
]


@pytest.mark.parametrize("calls", [case[1] for case in PROGRESS], ids=[case[0] for case in PROGRESS])
def test_progress_is_left_alone(calls: list[Call]) -> None:
    """Work that repeats in form but not in outcome is no loop."""
    assert watch(calls) is None


def test_waiting_while_the_world_moves_is_left_alone() -> None:
    """The same answer about another state of the world is progress."""
    detector = LoopDetector()
    assert [detector.observe("wait", "{}", "ok", state=str(tick)) for tick in range(20)] == [None] * 20
    assert detector.would_repeat("wait", "{}", state="20") is None


def test_a_sweep_that_wraps_around_is_missed() -> None:
    """Known limit: a sweep of more pages than the longest period is not seen as a cycle."""
    pages = [ok("read", f'{{"page": {n}}}', f"text {n}") for n in range(MAX_PERIOD + 1)]

    assert watch(pages * 4) is None


def test_polling_without_any_change_has_to_be_declared() -> None:
    """A poll that always answers the same is a loop, unless its tool is declared as polling."""
    calls = [ok("job_status", "{}", "queued")] * 20

    assert watch(calls) is not None
    assert watch(calls, LoopDetector(exempt={"job_status"})) is None


def test_waiting_between_the_rounds_of_a_loop_does_not_hide_it() -> None:
    """An exempt call that tells nothing new is not looked at."""
    detector = LoopDetector(exempt={"sleep"})
    found = watch([ok("fetch", "{}", "not found"), ok("sleep", "{}", "slept")] * 6, detector)

    assert found is not None
    assert found[1].tools == ("fetch",)


def test_news_from_a_poll_is_progress() -> None:
    """An exempt call that gives something new interrupts the repetition around it."""
    detector = LoopDetector(exempt={"status"})
    rounds = [[ok("upload", "{}", "busy"), ok("status", "{}", f"{n} ahead of you")] for n in range(9, 0, -1)]

    assert watch([call for calls in rounds for call in calls], detector) is None


def test_three_failures_are_a_loop_where_three_successes_are_not() -> None:
    """One call that fails in the same way is a loop at 3, one that succeeds at 4."""
    failed = watch([failing("pay")] * 5)
    succeeded = watch([ok("pay")] * 5)

    assert failed is not None
    assert succeeded is not None
    assert (failed[0], failed[1].failed) == (3, True)
    assert (succeeded[0], succeeded[1].failed) == (4, False)


def test_the_guard_is_told_before_each_call_how_often_it_was_made_in_vain() -> None:
    """Before calls 1 to 4 the guard hears 0, 1, 2 and 3; so it can nudge at the third and refuse the fourth."""
    detector = LoopDetector()
    told = []
    for _ in range(4):
        repeat = detector.would_repeat("search", {"q": "refund"})
        told.append(repeat.repeats if repeat else 0)
        detector.observe("search", {"q": "refund"}, "nothing")

    assert told == [0, 1, 2, 3]


def test_a_new_result_starts_the_count_again() -> None:
    """What precedes the last new result does not count."""
    detector = LoopDetector()
    for result in ("a", "a", "b"):
        detector.observe("poll", "{}", result)
    repeat = detector.would_repeat("poll", "{}")

    assert repeat is not None
    assert repeat.repeats == 1


def test_another_call_in_between_starts_the_count_again() -> None:
    """Only the call just completed can be repeated."""
    detector = LoopDetector()
    for tool in ("a", "a", "b"):
        detector.observe(tool, "{}", "ok")

    assert detector.would_repeat("a", "{}") is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('{"a": 1, "b": [2]}', '{ "b":[2],"a":1 }'),
        ('{"cmd": "ls  -la\\n"}', '{"cmd": "ls -la  "}'),
        ('{"q": "x", "request_id": "1"}', '{"q": "x", "request_id": "2"}'),
        ('{"q": "x", "thought": "let me try"}', '{"q": "x", "thought": "once more"}'),
        ('{"q": {"x": 1, "nonce": "a"}}', '{"q": {"x": 1}}'),
        ("ls   -la", "ls -la\n"),
        ({"b": 1, "a": 2}, '{"a": 2, "b": 1}'),
    ],
)
def test_cosmetic_differences_of_arguments_do_not_count(first: Any, second: Any) -> None:
    """Key order, white space, ids of the request and spoken thoughts do not make another call."""
    detector = LoopDetector()
    detector.observe("t", first, "ok")

    assert detector.would_repeat("t", second) is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('{"id": 1}', '{"id": 2}'),
        ('{"order_id": "a"}', '{"order_id": "b"}'),
        ('{"page": 1}', '{"page": 2}'),
        ("[1", "[2"),
        ("[" * 5000, "[" * 5001),
        ("a" * 20_000 + "x" + "a" * 20_000, "a" * 20_000 + "y" + "a" * 20_000),
    ],
)
def test_other_arguments_make_another_call(first: str, second: str) -> None:
    """What a call is about counts, however long, deep or malformed the arguments are."""
    detector = LoopDetector()
    detector.observe("t", first, "ok")

    assert detector.would_repeat("t", second) is None


@settings(max_examples=60)
@given(st.integers(1, MAX_PERIOD), st.integers(0, 20), st.data())
def test_every_cycle_is_found_whatever_came_before(period: int, before: int, data: st.DataObject) -> None:
    """A cycle of any period up to the bound is found by its fourth completion, after any history."""
    names = st.sampled_from([f"tool-{n}" for n in range(30)])
    history = [ok(data.draw(names), f'{{"n": {n}}}', f"history {n}") for n in range(before)]
    cycle = [ok(data.draw(names), f'{{"step": {n}}}') for n in range(period)]

    found = watch(history + cycle * 4)

    assert found is not None
    assert found[1].period == period
    assert found[0] <= before + period * (4 if period == 1 else 3)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=12), st.text(max_size=12), st.booleans()), max_size=60))
def test_runs_without_repetition_stay_silent(calls: list[Call]) -> None:
    """When no call comes twice there is no loop, whatever the texts are."""
    distinct = [
        (tool, json.dumps([n, arguments]), f"{n} {result}", failed) for n, (tool, arguments, result, failed) in enumerate(calls)
    ]

    assert watch(distinct) is None
