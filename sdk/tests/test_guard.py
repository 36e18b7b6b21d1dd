"""A guard against a real server: orders over the stream, acknowledgements, config, probes, telemetry."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sdk.tests.wire_server import DEADLINE_S, WireServer, attributes

from andoncord_sdk import AgentStopped, CallDenied, Guard, RunStopped
from andoncord_sdk.ladder import Rung

MakeGuard = Callable[..., Guard]


@pytest.fixture
def make_guard(wire: WireServer) -> Iterator[MakeGuard]:
    """Makes guards that are connected to the wire server, and closes them."""
    guards: list[Guard] = []

    def make(agent: str = "refund-agent", **settings: Any) -> Guard:
        guard = Guard(agent, server=wire.url, telemetry=wire.url, token="andon_sdk_test", **settings)
        guards.append(guard)
        wire.wait_stream()
        return guard

    yield make
    for guard in guards:
        guard.close()


def test_registration_says_who_asks(wire: WireServer, make_guard: MakeGuard) -> None:
    """The guard names itself, its tools and the last epoch it knows, and proves itself with its token."""
    make_guard(tools={"look": "read"}, environment="prod", instance="i-1")

    hello = wire.hellos[0]
    assert (hello["agent"], hello["instance"], hello["kind"], hello["pid"]) == ("refund-agent", "i-1", "guard", os.getpid())
    assert (hello["tools"], hello["environment"], hello["epoch"]) == ({"look": "read"}, "prod", None)
    assert wire.authorizations == {"Bearer andon_sdk_test"}


def test_what_is_in_force_is_known_before_the_first_call(wire: WireServer, make_guard: MakeGuard) -> None:
    """An agent that starts while it is stopped does not act first and hear of it later."""
    wire.in_force = {"rung": "kill", "epoch": [3, 9], "reason": "still stopped"}

    guard = make_guard()

    assert (guard.state.rung, guard.state.epoch) == ("kill", (3, 9))
    with pytest.raises(AgentStopped, match="still stopped"):
        guard.run().begin()


def test_a_kill_order_is_enforced_and_acknowledged(wire: WireServer, make_guard: MakeGuard) -> None:
    """The acknowledgement comes once the order is in force, and every further call raises."""
    guard = make_guard()
    with guard.run("refund 17") as run:
        run.call("look", lambda: "paid")
        ack = wire.ack_of(wire.order("kill", (1, 1)))
        with pytest.raises(AgentStopped):
            run.call("look", lambda: pytest.fail("was called"))

    assert (ack["outcome"], ack["epoch"], ack["state"]["rung"]) == ("enforced", [1, 1], "kill")
    captured = ack["detail"]["capture"]["runs"][0]
    assert (captured["task"], captured["steps"][0]["name"], captured["steps"][0]["result"]) == (
        "refund 17",
        "execute_tool look",
        "paid",
    )


def test_a_pause_is_acknowledged_at_once_with_what_is_in_flight(wire: WireServer, make_guard: MakeGuard) -> None:
    """A call that is running is listed, not waited for; a heartbeat later shows that it has ended."""
    guard = make_guard(heartbeat_s=0.02)
    with guard.run() as run, run.step("slow-tool") as step:
        ack = wire.ack_of(wire.order("pause", (1, 1)))

    assert [call["span_id"] for call in ack["state"]["in_flight"]] == [step.span_id]
    assert ack["state"]["in_flight"][0]["tool"] == "slow-tool"
    shown = ("andoncord.guard.rung", "andoncord.guard.in_flight", "andoncord.guard.epoch")
    wire.wait(
        lambda: ["pause", "0", "1.1"] in [[beat[key] for key in shown] for beat in wire.logs_named("andoncord.heartbeat")]
    )


def test_pause_holds_and_a_release_lets_go(wire: WireServer, make_guard: MakeGuard) -> None:
    """A held call is made once, after the release."""
    guard = make_guard()
    wire.ack_of(wire.order("pause", (1, 1)))
    calls: list[int] = []
    assert guard.wait_released(0.01) is False
    with guard.run() as run:
        thread = threading.Thread(target=run.call, args=("look", lambda: calls.append(1)))
        thread.start()
        ack = wire.ack_of(wire.order("none", (1, 2)))
        thread.join(DEADLINE_S)

    assert (ack["outcome"], ack["state"]["rung"], calls) == ("enforced", "none", [1])
    assert guard.wait_released(0)


def test_a_closed_guard_says_goodbye(wire: WireServer, make_guard: MakeGuard) -> None:
    """Nobody waits for an answer from a process that ended in good order."""
    guard = make_guard()
    guard.close()
    assert wire.goodbyes == [f"/api/v1/guards/g{len(wire.hellos)}"]


def test_a_stale_order_is_refused(wire: WireServer, make_guard: MakeGuard) -> None:
    """An older epoch is acknowledged as refused and changes nothing; an equal one is acknowledged again."""
    guard = make_guard()
    wire.ack_of(wire.order("kill", (2, 5)))

    stale = wire.ack_of(wire.order("none", (2, 4)))
    again = wire.ack_of(wire.order("kill", (2, 5)))

    assert (stale["outcome"], again["outcome"], guard.state.rung) == ("refused", "enforced", "kill")


def test_a_malformed_order_is_acknowledged_as_failed_and_the_next_one_is_followed(
    wire: WireServer, make_guard: MakeGuard
) -> None:
    """Nonsense on the stream neither ends the listening nor passes as enforced."""
    make_guard()

    broken = wire.ack_of(wire.push("order", {"rung": "explode", "epoch": [1, 1]}))
    sound = wire.ack_of(wire.order("pause", (1, 2)))

    assert (broken["outcome"], sound["outcome"]) == ("failed", "enforced")
    assert "explode" in broken["detail"]["error"]


def test_a_kill_survives_the_death_and_return_of_the_server(make_guard: MakeGuard, wire: WireServer) -> None:
    """The guard reconnects, reports its epoch, and is not un-killed by a server that has forgotten."""
    guard = make_guard()
    wire.ack_of(wire.order("kill", (1, 7)))
    port = wire.port
    wire.close()

    with WireServer(port=port) as reborn:
        reborn.wait_stream()
        refused = reborn.ack_of("in-force")

        assert reborn.hellos[-1]["epoch"] == [1, 7]
        assert (refused["outcome"], guard.state.rung) == ("refused", "kill")
        assert reborn.ack_of(reborn.order("none", (2, 0)))["outcome"] == "enforced"
        assert guard.state.rung == "none"
        guard.close()


def test_a_silent_stream_is_given_up(wire: WireServer, make_guard: MakeGuard) -> None:
    """A connection that stays open and says nothing is not believed: three missed pings, and the guard registers again."""
    make_guard()
    wire.is_mute = True

    wire.wait(lambda: len(wire.hellos) >= 2)


def test_a_guard_whose_server_is_away_works_and_starts_in_time(make_guard: MakeGuard) -> None:
    """Nobody listens: the guard enforces locally and does not wait for long."""
    with WireServer() as gone:
        url = gone.url
    guard = Guard("a", server=url, telemetry=url, tools={"look": "read"})
    with guard.run() as run:
        assert run.call("look", lambda: 1) == 1
    assert guard.state.is_connected is False
    guard.close()


def test_config_is_pushed_and_read_at_run_time(wire: WireServer, make_guard: MakeGuard) -> None:
    """A new version is in force when it is acknowledged, its listener was called, and the change is reported with its kind."""
    wire.config = {"version": "v1", "values": {"prompt": "Be kind.", "temperature": 0}}
    guard = make_guard()
    heard: list[str] = []
    guard.on_config(lambda version, values: heard.append(f"{version}: {values['prompt']}"))

    ack = wire.ack_of(wire.push("config", {"version": "v2", "values": {"prompt": "Be brief.", "temperature": 0}}))

    assert (ack["outcome"], ack["detail"]["version"]) == ("enforced", "v2")
    assert (guard.config_version, guard.config["prompt"]) == ("v2", "Be brief.")
    assert heard == ["v1: Be kind.", "v2: Be brief."]
    change = wire.wait_log("andoncord.change")
    assert [change[f"andoncord.change.{key}"] for key in ("kind", "from", "to")] == ["prompt", "v1", "v2"]


def test_policies_are_pushed_and_a_broken_set_leaves_the_old_one_in_force(wire: WireServer, make_guard: MakeGuard) -> None:
    """A set that cannot be loaded is acknowledged as failed; what was forbidden stays forbidden."""
    guard = make_guard()
    forbid = {"id": "no-pay", "effect": "forbid", "tool": "pay", "when": None, "message": "no"}
    assert wire.ack_of(wire.push("policies", {"policies": [forbid]}))["outcome"] == "enforced"

    assert wire.ack_of(wire.push("policies", {"policies": [{"id": "x", "effect": "perhaps"}]}))["outcome"] == "failed"

    with guard.run() as run, pytest.raises(CallDenied, match="no"):
        run.call("pay", lambda: pytest.fail("was called"))


def test_a_denial_explains_itself_to_the_caller_and_in_the_log(wire: WireServer, make_guard: MakeGuard) -> None:
    """Policy, message and the clause that decided reach caller and log; a default denial names what comes close."""
    is_big = {
        "op": ">",
        "args": [{"op": "field", "of": {"op": "name", "name": "args"}, "name": "usd"}, {"op": "const", "value": 9}],
    }
    wire.policies = [
        {"id": "cap", "effect": "forbid", "tool": "pay", "when": is_big, "message": "ask a person"},
        {"id": "clerks-pay", "effect": "permit", "role": "clerk", "tool": "pay"},
    ]
    guard = make_guard(role="clerk")

    with guard.run() as run, pytest.raises(CallDenied) as refusal:
        run.call("pay", lambda usd: pytest.fail("was called"), usd=10)
    with guard.run() as run, pytest.raises(RunStopped, match="clerks-pay permits pay"):
        run.call("look", lambda: pytest.fail("was called"))

    assert str(refusal.value) == "ask a person [cap: args.usd > 9 (args.usd is 10)]"
    denied = wire.wait_log("andoncord.guard.denied")
    assert denied["andoncord.decision.policy"] == "cap"
    assert denied["andoncord.decision.clause"] == "args.usd > 9 (args.usd is 10)"


def test_policies_that_cannot_be_loaded_at_registration_hold_every_tool_call(wire: WireServer, make_guard: MakeGuard) -> None:
    """A guard that never had the rules does not act as if there were none."""
    wire.policies = [{"id": "x", "effect": "perhaps"}]
    guard = make_guard()

    with guard.run() as run, pytest.raises(CallDenied) as refusal:
        run.call("pay", lambda: pytest.fail("was called"))

    assert refusal.value.code == "guard_error"


def test_a_probe_runs_while_the_agent_is_held(wire: WireServer, make_guard: MakeGuard) -> None:
    """In a probe reading works and writing does not; the agent itself stays held; every sample is told."""
    guard = make_guard(tools={"look": "read", "pay": "write"})

    @guard.tool()
    def look(number: int) -> int:
        return number

    @guard.tool()
    def pay() -> None:
        pytest.fail("was called")

    @guard.probe
    def is_right(index: int) -> bool:
        if index == 2:
            pay()
        return look(index) == 0

    wire.ack_of(wire.order("pause", (1, 1)))
    ack = wire.ack_of(wire.push("probe", {"samples": 3}))

    assert (ack["outcome"], ack["detail"]["passed"], ack["state"]["rung"]) == ("enforced", [True, False, False], "pause")
    assert "only read" in ack["detail"]["errors"][0]
    assert guard.wait_released(0) is False
    scores = wire.wait(
        lambda: len(wire.logs_named("gen_ai.evaluation.result")) == 3 and wire.logs_named("gen_ai.evaluation.result")
    )
    assert [(score["gen_ai.evaluation.score.label"], score["andoncord.probe"]) for score in scores] == [
        ("pass", True),
        ("fail", True),
        ("fail", True),
    ]


def test_a_probe_that_is_not_registered_fails(wire: WireServer, make_guard: MakeGuard) -> None:
    """Nothing is claimed about an agent that cannot be asked."""
    make_guard()

    ack = wire.ack_of(wire.push("probe", {"samples": 1}))

    assert ack["outcome"] == "failed"
    assert "registered no probe" in ack["detail"]["error"]


def test_a_run_is_told_from_start_to_end(wire: WireServer, make_guard: MakeGuard) -> None:
    """Start of run and step, spans, scores and the end arrive, each attributed to agent and run."""
    guard = make_guard(system="shop", environment="prod")
    with guard.run("refund 17") as run:
        run.call("look", lambda order: {"state": "paid"}, order="17")
        with run.model_step("small-1", max_cost_usd=0.02, system="Be kind.", input="Hello?") as model:
            model.output, model.cost_usd, model.input_tokens, model.output_tokens = "Hi.", 0.004, 900, 40
        run.score("correctness", 0.9, passed=True)
    assert guard.flush(DEADLINE_S)

    tool = attributes(wire.wait_span("execute_tool look"))
    chat = attributes(wire.wait_span("chat small-1"))
    root = wire.wait_span("invoke_agent refund-agent")
    ended = wire.wait_log("andoncord.run.ended")
    started = wire.wait_log("andoncord.step.started")
    assert (tool["gen_ai.tool.call.arguments"], tool["gen_ai.tool.call.result"]) == ('{"order":"17"}', '{"state":"paid"}')
    assert (chat["gen_ai.usage.cost"], chat["gen_ai.usage.input_tokens"]) == (0.004, "900")
    assert chat["gen_ai.input.messages"] == '[{"role":"user","parts":[{"type":"text","content":"Hello?"}]}]'
    assert {attributes(span)["andoncord.run.id"] for span in wire.spans} == {run.id}
    assert all(span["parentSpanId"] == root["spanId"] for span in wire.spans if span is not root)
    assert (ended["andoncord.run.ok"], ended["andoncord.task"], started["gen_ai.tool.name"]) == (True, "refund 17", "look")
    assert wire.resources[0]["service.name"] == "shop"
    assert wire.resources[0]["deployment.environment.name"] == "prod"


def test_a_reported_state_is_told_and_checked(wire: WireServer, make_guard: MakeGuard) -> None:
    """The state arrives for the server's invariants; a validator's word is an evaluation, and one that raises says nothing."""
    guard = make_guard()
    guard.validator("broken")(lambda state: state["nothing"])
    guard.validator("balance")(lambda state: state["balance"] >= 0)
    with guard.run("book") as run:
        run.report_state({"balance": -5})
    assert guard.flush(DEADLINE_S)

    assert wire.wait_log("andoncord.state")["gen_ai.tool.call.arguments"] == '{"balance":-5}'
    judged = wire.wait_log("gen_ai.evaluation.result")
    assert (judged["gen_ai.evaluation.name"], judged["gen_ai.evaluation.score.label"]) == ("state.balance", "fail")


def test_a_denial_is_told_with_its_reason(wire: WireServer, make_guard: MakeGuard) -> None:
    """Code, message, arguments and consequence of a refusal are reported."""
    guard = make_guard(tools={"look": "read"})
    with guard.run("read the page") as run, pytest.raises(Exception, match="may not use shell"):
        run.call("shell", lambda command: None, command="rm -rf /")

    denied = wire.wait_log("andoncord.guard.denied")
    assert denied["andoncord.decision.code"] == "scope"
    assert denied["andoncord.decision.action"] == "stop_run"
    assert denied["gen_ai.tool.call.arguments"] == '{"command":"rm -rf /"}'
    ended = wire.wait_log("andoncord.run.ended")
    assert (ended["andoncord.run.ok"], ended["andoncord.run.outcome"]) == (False, "stopped: scope")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_is_an_instance_of_its_own(wire: WireServer, make_guard: MakeGuard, tmp_path: Path) -> None:
    """After a fork the child registers, is stopped by orders, and reports for itself."""
    guard = make_guard(instance="parent")
    report = tmp_path / "child"
    child = os.fork()
    if child == 0:
        try:
            gate = guard._admission.gate
            order = gate.order  # The kill may have come already: its thread does not wait for this one.
            while order.rung is not Rung.KILL and gate.wait_change(order, DEADLINE_S):
                order = gate.order
            report.write_text(guard.state.rung)
            guard.close()
        finally:
            os._exit(0)
    wire.wait(lambda: any(hello["instance"] == f"parent/{child}" for hello in wire.hellos))
    wire.wait(lambda: len(wire._streams) == 2)
    wire.order("kill", (1, 1))
    wire.wait(lambda: len(wire._streams) == 1)  # The child has heard, closed and gone.
    os.waitpid(child, 0)

    assert report.read_text() == "kill"
    assert guard.state.rung == "kill"


def test_a_refusing_control_plane_is_told_once(wire: WireServer, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong token does not pass silently, and does not fill the log."""
    wire.registration_status = 401
    guard = Guard("a", server=wire.url)
    wire.wait(lambda: len(wire.hellos) >= 3)
    guard.close()

    assert [record.levelname for record in caplog.records if "no orders from" in record.message] == ["WARNING"]
