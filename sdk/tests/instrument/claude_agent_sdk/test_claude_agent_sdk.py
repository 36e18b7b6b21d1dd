"""The adapter against the real Claude Agent SDK, with a script in the place of the Claude Code process.

Needs an environment of its own: `just adapters claude_agent_sdk`.
"""

import asyncio
from typing import Any

import pytest

pytest.importorskip("claude_agent_sdk", reason="claude-agent-sdk has an environment of its own: just adapters claude_agent_sdk")

from claude_agent_sdk import ClaudeAgentOptions, HookMatcher, ResultMessage, query
from sdk.tests.instrument.claude_agent_sdk.scripted_cli import ScriptedCli
from sdk.tests.instrument.conformance import AdapterConformance
from sdk.tests.instrument.contract import PRICES, AdapterContract, Desk, Script, Wish
from sdk.tests.wire_server import WireServer

from andoncord_sdk import Guard, RunStopped
from andoncord_sdk.instrument.claude_agent_sdk import ClaudeGuard


async def session(adapter: ClaudeGuard, cli: ScriptedCli, options: ClaudeAgentOptions | None = None) -> str:
    """One query; its result."""
    result = ""
    messages = query(prompt="refund order 17", options=adapter.options(options), transport=cli)
    async for message in adapter.watch(messages):
        if isinstance(message, ResultMessage):
            result = message.result or ""
    return result


class TestQuery(AdapterContract):
    """`query` with the guard's hooks."""

    knows_model_calls = False
    replaces_arguments = False
    serves_many_runs = False

    def adapter(self, guard: Guard, **options: Any) -> ClaudeGuard:
        return ClaudeGuard(guard, **options)

    async def play(self, adapter: ClaudeGuard, script: Script, desk: Desk) -> str:
        return await session(adapter, ScriptedCli(script, desk))


def run(adapter: ClaudeGuard, cli: ScriptedCli) -> str:
    async def main() -> str:
        with adapter.open("refund order 17"):
            return await session(adapter, cli)

    return asyncio.run(main())


def test_a_budget_stops_the_run_at_the_next_tool_call() -> None:
    """Model calls are made by another process: what they cost counts once their messages arrive."""
    desk = Desk()
    script = Script(*(Wish("lookup", order=str(number)) for number in range(9)))
    guard = Guard("refund-agent", budget_usd=0.01)  # three calls at 0.003

    with pytest.raises(RunStopped) as stopped:
        run(ClaudeGuard(guard, prices=PRICES), ScriptedCli(script, desk))

    assert (stopped.value.code, script.asked, len(desk.done)) == ("budget", 4, 3)


def test_a_model_without_a_price_stops_a_run_with_a_budget() -> None:
    """What has no known price must not count as free."""
    script, guard = Script(Wish("lookup"), Wish("refund"), "done"), Guard("refund-agent", budget_usd=1)

    with pytest.raises(RunStopped, match="price of scripted is not known"):
        run(ClaudeGuard(guard, prices={}), ScriptedCli(script, Desk()))

    assert script.asked < 3


def test_model_calls_and_the_sessions_own_cost_are_reported(wire: WireServer) -> None:
    """Each answer is a span; what the session says it cost beyond them is counted too."""
    guard = Guard("refund-agent", telemetry=wire.url, token="andon_sdk_test")
    run(ClaudeGuard(guard, prices=PRICES), ScriptedCli(Script("done"), Desk(), total_cost_usd=0.5))

    costs = {item["key"]: item["value"] for item in wire.wait_span("chat unattributed")["attributes"]}
    assert costs["gen_ai.usage.cost"] == {"doubleValue": 0.497}
    assert "gen_ai.usage.input_tokens" in str(wire.wait_span("chat scripted")["attributes"])
    guard.close()


def test_the_guards_hook_blocks_when_it_fails_and_leaves_others_in_place() -> None:
    """Unset, Claude Code would take a failed hook for consent."""

    async def theirs(*_: Any) -> dict[str, Any]:
        return {}

    options = ClaudeAgentOptions(hooks={"PreToolUse": [HookMatcher(matcher="Bash", hooks=[theirs])]})
    cli, adapter = ScriptedCli(Script(Wish("lookup"), "done"), Desk()), ClaudeGuard(Guard("refund-agent"))

    async def main() -> None:
        with adapter.open():
            await session(adapter, cli, options)

    asyncio.run(main())
    assert [(hook["matcher"], hook.get("onFailure")) for hook in cli.hooks["PreToolUse"]] == [("Bash", None), (None, "block")]
    assert options.hooks is not None
    assert len(options.hooks["PreToolUse"]) == 1


def test_one_run_at_a_time() -> None:
    """The hooks of a session cannot tell runs apart, so a second one needs a guard of its own."""
    adapter = ClaudeGuard(Guard("refund-agent"))

    with adapter.open(), pytest.raises(ValueError, match="open run"), adapter.open():
        pass


class TestQueryConformance(AdapterConformance):
    """The control plane lost, wrong or lying: as `andoncord.testing.conformance.pep` wants it."""

    contract = TestQuery
