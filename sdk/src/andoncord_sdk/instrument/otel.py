"""For agents that report through OpenTelemetry: says when a step starts, which their exporter says only once it has ended.

OpenTelemetry exports a span when it is over, so a call that hangs is never seen. `StartReporter` is a span processor that
reports the start of each model and tool call, and heartbeats, beside whatever exporter is there; spans stay that exporter's.

    provider.add_span_processor(StartReporter("http://127.0.0.1:4318"))

Needs `opentelemetry-sdk`, which an agent that has spans has.
"""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from andoncord_sdk import _platform
from andoncord_sdk.exporter import Exporter
from andoncord_sdk.heartbeat import Heartbeat
from andoncord_sdk.otlp import Attributes, LogRecord
from andoncord_sdk.spill import Spill
from andoncord_sdk.wire import Endpoint

OPEN_MAX = 10_000
"""Open spans remembered; of more, the oldest is forgotten."""
AGENTS_MAX = 64
"""Agents of one process that heartbeats are sent for."""
CLOSE_S = 2.0

OPERATION = "gen_ai.operation.name"
AGENT = "gen_ai.agent.name"
STEPS = frozenset({"chat", "text_completion", "generate_content", "embeddings", "execute_tool", "retrieval"})
AGENTS = frozenset({"invoke_agent", "invoke_workflow", "create_agent"})
_BY_KIND = {
    "openinference.span.kind": {"LLM": "chat", "TOOL": "execute_tool", "RETRIEVER": "execute_tool", "AGENT": "invoke_agent"},
    "traceloop.span.kind": {"tool": "execute_tool", "agent": "invoke_agent", "workflow": "invoke_workflow"},
}
_NAMES = {
    "gen_ai.tool.name": "gen_ai.tool.name",
    "tool.name": "gen_ai.tool.name",
    "gen_ai.request.model": "gen_ai.request.model",
    "llm.model_name": "gen_ai.request.model",
    "gen_ai.conversation.id": "gen_ai.conversation.id",
    "session.id": "gen_ai.conversation.id",
    "andoncord.run.id": "andoncord.run.id",
}
_AGENT_NAMES = (AGENT, "agent.name", "agent_name")
_ENTITY = "traceloop.entity.name"


class StartReporter(SpanProcessor):
    """Reports starts and heartbeats in the background; never raises into the agent, and never blocks it.

    Args:
        telemetry: the OTLP/HTTP receiver, such as http://127.0.0.1:4318.
        token: bound to the agents of this process.
        heartbeat_s: seconds between heartbeats.
        spill: a folder in which reports wait, unmasked, while the receiver is away.
    """

    def __init__(
        self, telemetry: str, *, token: str | None = None, heartbeat_s: float = 1.0, spill: str | Path | None = None
    ) -> None:
        self._endpoint = Endpoint(telemetry, token)
        self._heartbeat_s = heartbeat_s
        self._spill = None if spill is None else Spill(spill)
        self._exporter: Exporter | None = None
        self._heartbeat: Heartbeat | None = None
        self._lock = threading.Lock()
        self._open: OrderedDict[int, tuple[str, bool]] = OrderedDict()
        """Span id → its agent, and whether it is a step."""
        self._agents: dict[str, None] = {}
        self._pid = 0
        _reporters.add(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        attributes: Mapping[str, Any] = span.attributes or {}
        operation = _operation(attributes, span.name)
        above = span.parent.span_id if span.parent else 0
        with self._lock:
            agent = _agent(attributes, operation) or self._open.get(above, ("", False))[0]
            context = span.context
            if context is None or not (operation or agent):
                return
            exporter = self._reporting(span)
            agent = agent or str(span.resource.attributes.get(AGENT) or span.resource.attributes.get("service.name") or "")
            self._open[context.span_id] = (agent, operation in STEPS)
            if len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)
            if len(self._agents) < AGENTS_MAX:
                self._agents[agent] = None
        if operation in STEPS:
            named: Attributes = {name: str(attributes[key]) for key, name in _NAMES.items() if key in attributes}
            if _ENTITY in attributes:
                named.setdefault("gen_ai.tool.name", str(attributes[_ENTITY]))
            exporter.put(
                LogRecord(
                    event_name="andoncord.step.started",
                    at_ns=span.start_time or _platform.now_ns(),
                    trace_id=f"{context.trace_id:032x}",
                    span_id=f"{context.span_id:016x}",
                    attributes={AGENT: agent, OPERATION: operation, **named},
                )
            )

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None:
            with self._lock:
                self._open.pop(span.context.span_id, None)

    def shutdown(self) -> None:
        """Say goodbye, and send what waits for a bounded time."""
        if self._heartbeat is not None:
            self._heartbeat.close()
        if self._exporter is not None:
            self._beat(is_closed=True)
            self._exporter.close(CLOSE_S)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter is None or self._exporter.flush(timeout_millis / 1_000)

    def _reporting(self, span: Span) -> Exporter:
        """The exporter of this process; made at its first span, in a forked child anew."""
        if self._exporter is None:
            self._exporter = Exporter(self._endpoint, _resource(span), spill=self._spill)
            self._heartbeat = Heartbeat(self._beat, lambda: self._heartbeat_s)
        elif self._pid != _platform.pid():
            self._exporter.restart_after_fork(_resource(span))
            if self._heartbeat is not None:
                self._heartbeat.start()
        self._pid = _platform.pid()
        return self._exporter

    def forget_other_threads(self) -> None:
        """In a forked child: the lock is renewed, whoever held it, and the parent ends what it began."""
        self._lock = threading.Lock()
        self._open.clear()

    def _beat(self, *, is_closed: bool = False) -> None:
        with self._lock:
            agents = tuple(self._agents)
            in_flight = [agent for agent, is_step in self._open.values() if is_step]
        exporter = self._exporter
        if exporter is None:
            return
        for agent in agents:
            exporter.put(
                LogRecord(
                    event_name="andoncord.heartbeat",
                    at_ns=_platform.now_ns(),
                    attributes={
                        AGENT: agent,
                        "andoncord.guard.in_flight": in_flight.count(agent),
                        "andoncord.guard.records_dropped": exporter.dropped,
                        "andoncord.guard.closed": is_closed,
                    },
                )
            )


_reporters: "weakref.WeakSet[StartReporter]" = weakref.WeakSet()


def _after_fork() -> None:
    for reporter in list(_reporters):
        reporter.forget_other_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _resource(span: Span) -> Attributes:
    """What the provider says about this process, with an instance where it names none."""
    said: Attributes = {
        key: value for key, value in span.resource.attributes.items() if isinstance(value, str | int | float | bool)
    }
    said.setdefault("service.instance.id", _platform.instance_name())
    said["process.pid"] = _platform.pid()
    return said


def _operation(attributes: Mapping[str, Any], name: str) -> str:
    """What kind of call a span is, by what is known at its start; empty for none.

    >>> (
    ...     _operation({"openinference.span.kind": "TOOL"}, "lookup"),
    ...     _operation({}, "execute_tool lookup"),
    ...     _operation({}, "GET /"),
    ... )
    ('execute_tool', 'execute_tool', '')
    """
    said = attributes.get(OPERATION)
    if isinstance(said, str):
        return said
    for key, operations in _BY_KIND.items():
        if key in attributes:
            return operations.get(str(attributes[key]), "")
    first = name.partition(" ")[0]
    return first if first in STEPS or first in AGENTS else ""


def _agent(attributes: Mapping[str, Any], operation: str) -> str:
    """The agent that a span names at its start."""
    named = next((attributes[key] for key in _AGENT_NAMES if attributes.get(key)), None)
    if named is None and operation in AGENTS:
        named = attributes.get(_ENTITY)
    return str(named) if named else ""
