"""Calls that were held and that a person let go: the proxy makes them over its connection to the server, each once."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from andoncord_sdk import _platform
from andoncord_sdk.handing import NotBegunError, UnknownOutcomeError
from andoncord_sdk.mcp.calls import Send
from andoncord_sdk.mcp.messages import Answer, Notification, Request, RequestId
from andoncord_sdk.mcp.pins import Pins
from andoncord_sdk.mcp.rules import PROTOCOL_KEYS, Rules

ERROR_MAX = 200


class ToolFailedError(Exception):
    """The server says that the call failed."""


class ReleasedCalls:
    """Those of one session. Everything but `carry` happens in its event loop.

    Args:
        rules: what else is to be kept.
        pins: tool descriptions as they were first seen.
        to_server: writes to the server. Never raises.
        ended: called when a call is over.
    """

    def __init__(self, rules: Rules, pins: Pins, *, to_server: Send, ended: Callable[[], None]) -> None:
        self._rules = rules
        self._pins = pins
        self._to_server = to_server
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._open: dict[RequestId, asyncio.Future[Answer]] = {}
        self._meta: dict[str, Any] = {}
        """What the protocol wants beside every request since version 2026-07-28."""
        self._is_ready = False
        self._why_over = ""

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._open

    def heard(self, message: Request | Notification) -> None:
        """A message of the client that is passed on: by it the server may become ready for calls."""
        meta = (message.params or {}).get("_meta") if isinstance(message, Request) else None
        if isinstance(meta, dict) and (kept := {key: meta[key] for key in PROTOCOL_KEYS if key in meta}):
            self._meta, self._is_ready = kept, True
        elif message.method == "notifications/initialized":
            self._is_ready = True

    def owns(self, id: RequestId) -> bool:  # noqa: A002
        """Whether a request with this id is one of ours."""
        return id in self._open

    def answered(self, answer: Answer) -> bool:
        """Take the server's answer, if it is to one of ours."""
        found = None if answer.id is None else self._open.get(answer.id)
        if found is not None and not found.done():
            found.set_result(answer)
        return found is not None

    def lose(self, why: str, *, over: bool = False) -> None:
        """No answers come any more to what is under way; and with `over`, nothing more is begun."""
        self._why_over = why if over else self._why_over
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(UnknownOutcomeError(why))

    def carry(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Make one call, from another thread; what the server answered.

        Raises:
            NotBegunError: the server was told nothing of it.
            UnknownOutcomeError: it was told, and no answer came.
            ToolFailedError: the server says that it failed.
        """
        try:
            made = asyncio.run_coroutine_threadsafe(self._make(tool, arguments), self._loop)
        except RuntimeError:
            raise NotBegunError("the session is over") from None
        return made.result()

    async def _make(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        if self._why_over or not self._is_ready:
            raise NotBegunError(self._why_over or "no client has opened the session with the server yet")
        if why := self._pins.refusal(tool):
            raise NotBegunError(why)
        params = {"name": tool, "arguments": dict(arguments), **({"_meta": self._meta} if self._meta else {})}
        request = Request(f"andoncord-{_platform.span_id()}", "tools/call", params)
        waiting = self._open[request.id] = self._loop.create_future()
        try:
            await self._to_server(self._rules.without_capabilities(request))
            answer = self._rules.judged(await waiting)
        finally:
            self._open.pop(request.id, None)
            self._ended()
        if answer.error is not None:
            raise ToolFailedError(str(answer.error.get("message"))[:ERROR_MAX])
        if answer.result.get("isError") is True:
            raise ToolFailedError(json.dumps(answer.result.get("content"), ensure_ascii=False)[:ERROR_MAX])
        return {key: value for key, value in answer.result.items() if key != "_meta"}
