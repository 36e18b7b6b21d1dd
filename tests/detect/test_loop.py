"""Loops in the record: what the guard of a run would have stopped is what is found in it afterwards."""

from collections.abc import Iterable

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.pack import default_rules
from andoncord.telemetry.event import Event, EventKind
from andoncord_sdk.loop import MAX_PERIOD
from andoncord_sdk.loopwatch import LoopWatch

Call = tuple[str, str, str, bool]
POLLS = ("wait",)


def found_in(calls: Iterable[Call]) -> int | None:
    """The number of the call at which the record shows a loop."""
    rules = [rule for rule in default_rules() if rule.id == "infinite-loop"]
    bank = Bank(rules, declared={"worker": Declared(agent="worker", polls=POLLS)})
    for number, (tool, arguments, result, failed) in enumerate(calls, start=1):
        at_ns = number * 1_000_000_000
        event = Event(
            kind=EventKind.TOOL_FAILED if failed else EventKind.TOOL_COMPLETED,
            start_ns=at_ns,
            end_ns=at_ns,
            agent="worker",
            run_id="run",
            span_id=f"{number:016x}",
            name=tool,
            arguments=arguments,
            result=result,
            ok=not failed,
            error_type="error" if failed else "",
            trusted=True,
        )
        if bank.observe(event):
            return number
    return None


def stopped_at(calls: Iterable[Call]) -> int | None:
    """The number of the call that the guard would not have made."""
    watch = LoopWatch(exempt=POLLS)
    for number, (tool, arguments, result, failed) in enumerate(calls, start=1):
        if watch.repeats_before(tool, arguments) is not None:
            return number
        watch.observe(tool, arguments, result, failed)
    return None


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("period", range(1, MAX_PERIOD + 1))
def test_a_cycle_is_stopped_and_found(period: int, failed: bool) -> None:
    """Of one call the fourth is not made, and found, of failures the third is found; of more calls, three rounds are a loop."""
    cycle = [(f"tool-{step}", f'{{"step": {step}}}', "nothing new", failed) for step in range(period)]
    calls = cycle * 5

    assert stopped_at(calls) == (4 if period == 1 else 3 * period + 1)
    assert found_in(calls) == (3 if failed or period > 1 else 4) * period


BENIGN: dict[str, list[Call]] = {
    "a poll that sees something new": [("status", '{"job":1}', f"{n} of 20 done", False) for n in range(20)],
    "a declared poll that sees nothing new": [("wait", '{"job":1}', "not yet", False)] * 20,
    "a declared poll between two steps": [("wait", "{}", "", False), ("look", "{}", "same", False)] * 2
    + [("act", "{}", "done", False)],
    "pages by number": [("list", f'{{"page":{n}}}', "ten rows", False) for n in range(20)],
    "pages by cursor": [("list", f'{{"cursor":"c{n}"}}', f'{{"next":"c{n + 1}"}}', False) for n in range(20)],
    "batches with one answer": [("save", f'{{"row":{n}}}', "ok", False) for n in range(20)],
    "edit and test, another error each time": [
        call
        for n in range(8)
        for call in (("edit", f'{{"line":{n}}}', "ok", False), ("test", "{}", f"assertion {n} failed", True))
    ],
    "two tries, then it works": [("pay", "{}", "timeout", True)] * 2 + [("pay", "{}", "paid", False)],
    "three readings of the same": [("read", '{"file":"a"}', "text", False)] * 3,
    "the same at the start of each task": [
        call for n in range(6) for call in (("plan", "{}", "ok", False), ("work", f'{{"task":{n}}}', f"did {n}", False))
    ],
}


@pytest.mark.parametrize("calls", BENIGN.values(), ids=BENIGN)
def test_progress_is_no_loop(calls: list[Call]) -> None:
    """Polls, pages, batches, rounds with another outcome and few tries are neither stopped nor found."""
    assert (stopped_at(calls), found_in(calls)) == (None, None)
