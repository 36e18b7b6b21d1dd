"""Changes that nobody announced: found by what gives them away, silent where nothing changed, and never certain."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from andoncord.investigate.casefile import ChangeSeen
from andoncord.investigate.change import changes, outcomes_of
from andoncord.investigate.inferred import inferred, shift_of
from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry.event import Event, EventKind

START_NS = 1_767_225_600 * SECOND_NS


def model(number: int, *, fingerprint: str = "", tokens: int = 100, ms: int = 1_000, **fields: Any) -> Event:
    at_ns = START_NS + number * MINUTE_NS
    attributes: dict[str, Any] = {"system_fingerprint": fingerprint} if fingerprint else {}
    base: dict[str, Any] = {"kind": EventKind.MODEL_COMPLETED, "agent": "a", "name": "small", "run_id": f"r{number}"}
    return Event(
        **base,
        span_id=f"m{number}",
        start_ns=at_ns,
        end_ns=at_ns + ms * 1_000_000,
        output_tokens=tokens,
        attributes=attributes,
        **fields,
    )


def tool(number: int, result: object) -> Event:
    at_ns = START_NS + number * MINUTE_NS
    base: dict[str, Any] = {"kind": EventKind.TOOL_COMPLETED, "agent": "a", "name": "orders.get", "run_id": f"r{number}"}
    return Event(**base, span_id=f"t{number}", start_ns=at_ns, end_ns=at_ns + 1, result=json.dumps(result))


def of_prints(prints: Sequence[str]) -> list[ChangeSeen]:
    return inferred([model(number, fingerprint=one) for number, one in enumerate(prints)], "a")


def test_a_fingerprint_that_takes_the_place_of_another_is_another_model() -> None:
    """With its time, how it was inferred, and less than certainty; providers that rotate several are silent."""
    (change,) = of_prints(["fp_1"] * 20 + ["fp_2"] * 10)

    assert (change.kind, change.before, change.after, change.span_id) == ("model", "small fp_1", "small fp_2", "m20")
    assert (change.announced, change.how, change.confidence) == (False, "response fingerprint", 0.7)
    assert of_prints(["fp_1", "fp_2"] * 15) == []
    assert of_prints(["fp_1"] * 20 + ["fp_2"] * 10 + ["fp_1"] * 5) == []


def test_results_of_another_shape_are_another_tool() -> None:
    """A field that ceases and one that begins at the same call are one change, and both are named."""
    before = [tool(number, {"id": number, "total": 7.0, "items": [{"sku": "x"}]}) for number in range(15)]
    after = [tool(number, {"id": number, "amount": {"value": 7}, "items": [{"sku": "x"}]}) for number in range(15, 30)]
    (change,) = inferred([*before, *after], "a")

    assert (change.kind, change.at_ns, change.how) == ("tool", after[0].start_ns, "shape of its results")
    assert change.before == "orders.get with total (number)"
    assert change.after == "orders.get with amount (object), amount.value (number)"


def test_fields_that_come_and_go_are_no_change() -> None:
    """Optional fields, empty lists, nothing in place of a value, errors as text: ordinary answers of one tool."""
    found = 0
    for seed in range(40):
        chance = random.Random(seed)
        results: list[object] = []
        for number in range(60):
            result: dict[str, object] = {"id": number, "note": None if chance.random() < 0.5 else "x"}
            for name, share in (("discount", 0.3), ("parcel", 0.8), ("coupon", 0.03), ("vat", 0.97)):
                if chance.random() < share:
                    result[name] = [{"a": 1}] if chance.random() < 0.5 else []
            results.append(result if chance.random() > 0.05 else "not found")
        found += len(inferred([tool(number, result) for number, result in enumerate(results)], "a"))

    assert found <= 1


def test_answers_that_are_longer_from_one_run_on_are_a_hint() -> None:
    """It says from how much to how much, and is the least sure of all."""
    chance = random.Random(3)
    events = [model(n, tokens=int(chance.lognormvariate(4.6 if n < 60 else 5.2, 0.4)) + 1) for n in range(120)]
    told = [change for change in inferred(events, "a") if "tokens of an answer" in change.after]

    (change,) = told
    assert abs(change.at_ns - (START_NS + 60 * MINUTE_NS)) <= 5 * MINUTE_NS
    assert (change.kind, change.confidence, change.how) == ("model", 0.5, "length and time of its answers")


def test_where_nothing_shifts_hardly_anything_is_found() -> None:
    """Of 2 000 series without a shift, 200 of them dependent on the one before, at most two seem to have one."""
    chance = random.Random(11)
    found = 0
    for number in range(2_000):
        echo, value, values = (0.3 if number < 200 else 0.0), 0.0, []
        for _ in range(80):
            value = echo * value + chance.gauss(0.0, 1.0)
            values.append(value)
        found += shift_of(values)[1] < 1e-4

    assert found <= 2


@pytest.mark.parametrize("result", ["[" * 5_000, '{"a": 1e999}', "{", '{"\ud83d": 1}', "null", '{"a": {}}'])
def test_nonsense_has_no_shape_that_matters(result: str) -> None:
    """Whatever a tool returned, nothing breaks."""
    event = tool(1, {})
    events = [event, *(Event(**{**_fields(event), "result": result, "span_id": f"x{number}"}) for number in range(12))]

    assert inferred(events, "a") == []


def test_an_inferred_change_is_among_those_that_are_investigated() -> None:
    """It stands beside announced ones, marked, with the outcomes on both sides."""
    events: list[Event] = []
    for number in range(60):
        late = number >= 30
        at_ns = START_NS + number * MINUTE_NS + 30 * SECOND_NS
        events.append(model(number, fingerprint="fp_2" if late else "fp_1"))
        end: dict[str, Any] = {"kind": EventKind.RUN_ENDED, "agent": "a", "run_id": f"r{number}", "span_id": f"e{number}"}
        events.append(Event(**end, start_ns=at_ns, end_ns=at_ns, ok=not late or number % 3 == 0))
    now_ns = START_NS + 61 * MINUTE_NS
    (change,) = changes(events, agents=["a"], first_ns=now_ns, now_ns=now_ns)

    assert (change.announced, change.how) == (False, "response fingerprint")
    assert (change.passed_before, change.judged_before, change.judged_after) == (30, 30, 30)
    assert change.p_value is not None
    assert change.p_value < 1e-4


def test_a_score_that_comes_days_later_counts_at_the_time_of_its_run() -> None:
    """Complaints about runs of before a change do not speak against what came after it."""
    events: list[Event] = []
    for number in range(40):
        at_ns = START_NS + number * MINUTE_NS
        shared: dict[str, Any] = {"agent": "a", "run_id": f"r{number}"}
        events.append(Event(kind=EventKind.RUN_ENDED, **shared, span_id=f"e{number}", start_ns=at_ns, end_ns=at_ns))
        if number < 10:
            late_ns = at_ns + 2 * 24 * 60 * MINUTE_NS
            said: dict[str, Any] = {"name": "complaint", "passed": False, "start_ns": late_ns, "end_ns": late_ns}
            events.append(Event(kind=EventKind.QUALITY_SCORED, **shared, **said))
    outcomes = outcomes_of(events)["a"]

    assert [outcome.run_id for outcome in outcomes] == [f"r{number}" for number in range(40)]
    assert [outcome.passed for outcome in outcomes] == [False] * 10 + [True] * 30


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}
