"""How a guard learns whether answers are right: tasks with known answers, and evaluators inside the process."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sdk.tests.wire_server import DEADLINE_S, WireServer

from andoncord_sdk import Guard
from andoncord_sdk.evaluate import FinishedRun

MakeGuard = Callable[..., Guard]


@pytest.fixture
def make_guard(wire: WireServer) -> Iterator[MakeGuard]:
    """Makes guards that are connected to the wire server, and closes them."""
    guards: list[Guard] = []

    def make(**settings: Any) -> Guard:
        guards.append(Guard("refund-agent", server=wire.url, telemetry=wire.url, token="andon_sdk_test", **settings))
        wire.wait_stream()
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


def test_a_task_with_a_known_answer_runs_without_effects(wire: WireServer, make_guard: MakeGuard) -> None:
    """The answer goes back with its run; a tool that writes is refused in it; everything it did is marked as a probe."""
    guard = make_guard(tools={"look": "read", "pay": "write"})

    @guard.tool()
    def look(city: str) -> str:
        return f"{city} is a capital"

    @guard.tool()
    def pay() -> None:
        pytest.fail("was called")

    @guard.canary
    async def ask(text: str) -> str:
        if text == "pay":
            pay()
        return look(text)

    right = wire.ack_of(wire.push("canary", {"name": "capital", "input": "Canberra"}))
    refused = wire.ack_of(wire.push("canary", {"name": "capital", "input": "pay"}))

    assert (right["outcome"], right["detail"]["answer"]) == ("enforced", "Canberra is a capital")
    assert refused["outcome"] == "failed"
    assert "only read" in refused["detail"]["error"]
    assert guard.flush(DEADLINE_S)
    ended = wire.logs_named("andoncord.run.ended")
    assert [(log["andoncord.probe"], log["andoncord.canary"]) for log in ended] == [(True, "capital")] * 2
    assert ended[0]["andoncord.run.id"] == right["detail"]["run_id"]


def test_a_held_agent_is_not_asked(wire: WireServer, make_guard: MakeGuard) -> None:
    """Nothing runs while the agent is held, and the server is told why; without a way to ask it is told that."""
    guard = make_guard()
    unasked = wire.ack_of(wire.push("canary", {"name": "capital", "input": "x"}))
    guard.canary(lambda text: pytest.fail("was called"))
    wire.ack_of(wire.order("pause", (1, 1)))
    held = wire.ack_of(wire.push("canary", {"name": "capital", "input": "x"}))

    assert (unasked["outcome"], "registered no way" in unasked["detail"]["error"]) == ("failed", True)
    assert (held["outcome"], "is held" in held["detail"]["error"]) == ("refused", True)


def test_evaluators_judge_runs_that_are_over(wire: WireServer, make_guard: MakeGuard) -> None:
    """Verdict, score and failure are scores of the run; one that hangs is not waited for; the weight tells how it was drawn."""
    guard = make_guard()
    seen: list[FinishedRun] = []
    hanging = threading.Event()

    @guard.evaluator("polite", share=0.5, share_troubled=1.0)
    def polite(run: FinishedRun) -> bool:
        seen.append(run)
        return not run.ok

    guard.evaluator("long", share=1.0)(lambda run: 0.25)
    guard.evaluator("broken", share=1.0)(lambda run: 1 / 0)
    guard.evaluator("slow", share=1.0, at_most_s=0.05)(lambda run: hanging.wait(DEADLINE_S))
    guard._evaluations._draw = lambda: 0.7
    for reason in ("", "no such order"):
        with guard.run("refund 17") as run:
            run.call("look", lambda: "paid")
            if reason:
                run.fail(reason)

    def scores() -> dict[str, list[object]]:
        found: dict[str, list[object]] = {}
        for log in wire.logs_named("gen_ai.evaluation.result"):
            said = [log.get(f"gen_ai.evaluation.score.{name}") for name in ("label", "value")]
            weight, failure = log.get("andoncord.sampling.weight"), log.get("andoncord.evaluator.failure")
            found.setdefault(str(log["gen_ai.evaluation.name"]), []).append((*said, weight, failure))
        return found

    found = wire.wait(lambda: sum(map(len, scores().values())) == 7 and scores())
    hanging.set()
    assert found == {
        "polite": [("pass", None, 0.5, None)],
        "long": [(None, 0.25, None, None)] * 2,
        "broken": [(None, None, None, "ZeroDivisionError: division by zero")] * 2,
        "slow": [(None, None, None, "did not answer within 0.05 s")] * 2,
    }
    assert [(run.task, run.ok, [step["name"] for step in run.steps]) for run in seen] == [
        ("refund 17", False, ["execute_tool look"])
    ]


def test_what_cannot_be_drawn_is_refused() -> None:
    """A share above one, no time, and a name that people speak under are mistakes that are named."""
    guard = Guard("a")
    wrongs: tuple[dict[str, float], ...] = ({"share": 1.5}, {"share": 0.0}, {"at_most_s": 0.0})
    for wrong in wrongs:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            guard.evaluator("x", **wrong)(lambda run: True)
    with pytest.raises(ValueError, match="human_"):
        guard.evaluator("human_review")(lambda run: True)


def test_versions_are_noticed_where_nobody_declares_them(
    wire: WireServer, make_guard: MakeGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decorated tool is reported with a digest of how it is written, a steady prompt with one of its text; others without."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=a,service.version=1.4%2B7")
    guard = make_guard()

    def first(order: str) -> str:
        """Look an order up."""
        return order

    def second(order: str, *, fast: bool = False) -> str:
        """Look an order up."""
        return order

    old, new = guard.tool("look")(first), guard.tool("look.new")(second)
    with guard.run() as run:
        old("17")
        new("18")
        run.call("plain", lambda: 1)
        for _ in range(4):
            run.model_call(model="small", system="Be kind.", output="x", input_tokens=1, output_tokens=1)
    assert guard.flush(DEADLINE_S)

    def seen() -> dict[str, list[object]]:
        found: dict[str, list[object]] = {}
        for span in wire.spans:
            said = {item["key"]: next(iter(item["value"].values())) for item in span["attributes"]}
            found.setdefault(span["name"], []).append(said.get("andoncord.tool.version") or said.get("gen_ai.prompt.version"))
        return found

    spans = wire.wait(lambda: len(seen().get("chat small", ())) == 4 and seen())
    assert spans["execute_tool plain"] == [None]
    assert spans["execute_tool look"][0]
    assert spans["execute_tool look"] != spans["execute_tool look.new"]
    assert [bool(version) for version in spans["chat small"]] == [False, False, True, True]
    assert wire.resources[-1]["service.version"] == "1.4+7"
