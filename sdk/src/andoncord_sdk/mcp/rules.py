"""What may pass between a client and a server of the Model Context Protocol, whatever the guard says."""

from dataclasses import dataclass
from typing import Any

from andoncord_sdk.mcp import messages
from andoncord_sdk.mcp.messages import Answer, Request

FROM_CLIENT = frozenset(
    {
        "initialize", "ping", "server/discover", "logging/setLevel", "tools/list", "resources/list", "resources/templates/list",
        "resources/unsubscribe", "prompts/list", "subscriptions/listen",
    }
)  # fmt: skip
"""Requests that have no effect of their own. What is not known is not passed: it might be another way to call a tool."""
ONLY_WHILE_FREE = frozenset({"resources/read", "resources/subscribe", "prompts/get", "completion/complete"})
"""Requests that only read: refused while the agent is paused or stopped, or has been without a lease for too long."""
NOTIFICATIONS_FROM_CLIENT = frozenset(
    {"notifications/initialized", "notifications/progress", "notifications/roots/list_changed"}
)
OF_CAPABILITY = {"sampling": "sampling/createMessage", "roots": "roots/list", "elicitation": "elicitation/create"}
"""What a server may ask of a client, by the client's capability, and only where that is allowed."""
CALL_PARAMS = frozenset({"name", "arguments", "_meta", "inputResponses", "requestState"})

CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
PROTOCOL_KEYS = (VERSION_KEY, CAPABILITIES_KEY, "io.modelcontextprotocol/clientInfo")
"""What of `_meta` every request has, where there is no `initialize`."""
"""Since version 2026-07-28 these come in `_meta` of every request instead of once."""

Problem = tuple[int, str]
"""The code and the message of a JSON-RPC error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this enforcement point adds to what the guard enforces."""

    tools: frozenset[str] | None = None
    """The declared ones, which alone are listed; None lists all."""
    allowed_requests: frozenset[str] = frozenset()
    """Capabilities of the client that the server may use: sampling, roots, elicitation."""
    calls_max: int | None = None
    """Tool calls in one session."""
    transport: str = "pipe"
    """OpenTelemetry's word for how messages travel."""

    def may_ask(self, method: object) -> bool:
        """Whether the server may ask this of the client.

        >>> Rules(allowed_requests=frozenset({"roots"})).may_ask("roots/list"), Rules().may_ask("roots/list")
        (True, False)
        """
        return method in {OF_CAPABILITY[capability] for capability in self.allowed_requests}

    def without_capabilities(self, request: Request) -> Request:
        """The request, with the capabilities left out that the server may not use."""
        if request.params is None:
            return request
        params, meta = request.params, request.params.get("_meta") or {}
        if request.method == "initialize" and "capabilities" in params:
            params = {**params, "capabilities": self._allowed(params["capabilities"])}
        if CAPABILITIES_KEY in meta:
            params = {**params, "_meta": {**meta, CAPABILITIES_KEY: self._allowed(meta[CAPABILITIES_KEY])}}
        return Request(request.id, request.method, params)

    def judged(self, answer: Answer) -> Answer:
        """An answer of the server as it may pass. Since version 2026-07-28 a server asks for something by a result."""
        result = answer.result
        if answer.error is not None:
            return answer
        if not isinstance(result, dict):
            return messages.failed(answer.id, messages.INTERNAL_ERROR, "the server's result was not an object")
        if result.get("resultType") != "input_required":
            return answer
        asked = result.get("inputRequests") or {}
        asks = asked.values() if isinstance(asked, dict) else [None]
        if all(isinstance(each, dict) and self.may_ask(each.get("method")) for each in asks):
            return answer
        return messages.failed(answer.id, messages.REFUSED, "the server asked for what this enforcement point does not allow")

    def _allowed(self, capabilities: Any) -> Any:
        if not isinstance(capabilities, dict):
            return capabilities
        left_out = (OF_CAPABILITY.keys() - self.allowed_requests) | {"tasks"}
        return {key: value for key, value in capabilities.items() if key not in left_out}


def problem_of_call(params: dict[str, Any]) -> Problem | None:
    """Why these are not the parameters of a tool call that a guard could judge, or None.

    >>> problem_of_call({"name": "pay", "arguments": {"path": "/a", "Path": "/b"}})
    (-32602, 'two arguments differ only in upper and lower case')
    """
    arguments = params.get("arguments")
    problem = None
    if "task" in params:
        problem = "calls as tasks are not passed on by this enforcement point: call without one"
    elif foreign := params.keys() - CALL_PARAMS:
        problem = f"{min(foreign)[:80]!r} does not belong into a call"
    elif not isinstance(params.get("name"), str):
        problem = "a call needs the name of a tool"
    elif "arguments" in params and not isinstance(arguments, dict):
        problem = "the arguments of a call must be an object"
    elif len({key.casefold() for key in arguments or {}}) != len(arguments or {}):
        # Some servers read "Path" as "path", and would act on the one that was not judged.
        problem = "two arguments differ only in upper and lower case"
    return None if problem is None else (messages.INVALID_PARAMS, problem)
