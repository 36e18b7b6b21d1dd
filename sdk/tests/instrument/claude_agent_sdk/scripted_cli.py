"""What the Claude Code process says to the SDK, as far as tool calls go, from a script and without a model.

It speaks the SDK's own control protocol through the SDK's own transport interface. What the real process does with the answers
is written down here from the SDK's documentation: deny, stop, and block when a hook set to block fails.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from claude_agent_sdk import Transport
from sdk.tests.instrument.contract import INPUT_TOKENS, OUTPUT_TOKENS, Desk, Script, Wish

SESSION = "session-1"


class ScriptedCli(Transport):
    """Plays a script, with the tools of a desk."""

    def __init__(self, script: Script, desk: Desk, *, total_cost_usd: float | None = None) -> None:
        self.script = script
        self.desk = desk
        self.results: list[str] = []
        self.hooks: dict[str, list[dict[str, Any]]] = {}
        self._total_cost_usd = total_cost_usd
        self._out: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._playing: asyncio.Task[None] | None = None

    async def connect(self) -> None: ...

    async def close(self) -> None:
        if self._playing is not None:
            self._playing.cancel()

    async def end_input(self) -> None: ...

    def is_ready(self) -> bool:
        return True

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        while (message := await self._out.get()) is not None:
            yield message

    async def write(self, data: str) -> None:
        message = json.loads(data)
        if message["type"] == "control_request":
            self.hooks = message["request"].get("hooks") or {}
            answer = {"hook_on_failure_supported": True, "hooks_applied": True}
            response = {"subtype": "success", "request_id": message["request_id"], "response": answer}
            self._out.put_nowait({"type": "control_response", "response": response})
        elif message["type"] == "control_response":
            self._answers.pop(message["response"]["request_id"]).set_result(message["response"])
        else:
            self._playing = asyncio.create_task(self._play())

    async def _play(self) -> None:
        answer = None
        while answer is None:
            turn = self.script.next(list(self.results))
            if isinstance(turn, str):
                answer = turn
                self._say({"type": "text", "text": turn})
            else:
                self._say({"type": "tool_use", "id": f"use-{self.script.asked}", "name": turn.tool, "input": turn.arguments})
                if not await self._use(turn):
                    answer = "stopped"
        result = {"type": "result", "subtype": "success", "duration_ms": 1, "duration_api_ms": 1, "is_error": False}
        cost = {"num_turns": self.script.asked, "session_id": SESSION, "total_cost_usd": self._total_cost_usd}
        self._out.put_nowait({**result, **cost, "result": answer})
        self._out.put_nowait(None)

    def _say(self, block: dict[str, Any]) -> None:
        usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
        message = {"role": "assistant", "id": f"m-{self.script.asked}", "model": "scripted", "content": [block], "usage": usage}
        self._out.put_nowait({"type": "assistant", "message": message, "session_id": SESSION})

    async def _use(self, wish: Wish) -> bool:
        """Call a tool; whether the session may go on."""
        use = {"tool_name": wish.tool, "tool_input": wish.arguments, "tool_use_id": f"use-{self.script.asked}"}
        for matcher, response in await self._hook("PreToolUse", use):
            if response["subtype"] == "error":
                if matcher.get("onFailure") == "block":
                    self.results.append(f"blocked: {response['error']}")
                    return True
                continue
            output = response["response"]
            decision = output.get("hookSpecificOutput", {})
            if decision.get("permissionDecision") == "deny":
                self.results.append(decision["permissionDecisionReason"])
                return bool(output.get("continue", True))
        try:
            result = getattr(self.desk, wish.tool)(**wish.arguments)
        except RuntimeError as error:
            await self._hook("PostToolUseFailure", {**use, "error": str(error)})
            self.results.append(str(error))
            return True
        for _, response in await self._hook("PostToolUse", {**use, "tool_response": result}):
            result += response["response"].get("hookSpecificOutput", {}).get("additionalContext", "")
        self.results.append(result)
        return True

    async def _hook(self, event: str, hook_input: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        answers: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for matcher in self.hooks.get(event, []):
            for callback_id in matcher["hookCallbackIds"]:
                request_id = f"hook-{len(answers)}-{event}-{hook_input['tool_use_id']}"
                self._answers[request_id] = asyncio.get_running_loop().create_future()
                waiting = self._answers[request_id]
                request = {
                    "subtype": "hook_callback",
                    "callback_id": callback_id,
                    "input": {"hook_event_name": event, **hook_input},
                    "tool_use_id": hook_input["tool_use_id"],
                }
                self._out.put_nowait({"type": "control_request", "request_id": request_id, "request": request})
                answers.append((matcher, await waiting))
        return answers
