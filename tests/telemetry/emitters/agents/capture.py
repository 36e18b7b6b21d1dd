"""Keeps the spans of an emitter in memory and writes them as OTLP/JSON with the same ids, times and addresses for every run."""

import base64
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

START_NS = 1_790_000_000_000_000_000
STEP_NS = 1_000_000
DROPPED = ("exception.stacktrace", "process.pid", "server.port", "service.instance.id", "openinference.project.name")
_CHANCE = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|0x[0-9a-f]{6,}|127\.0\.0\.1:\d+|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
)
_FOLDER = re.compile(r"(?:/[\w.-]+)+/(?=[\w.-]+\.py)")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(?:Z|[+-]\d\d:\d\d)?")


def provider(exporter: InMemorySpanExporter, service: str) -> TracerProvider:
    """A tracer provider as an agent would set it up."""
    made = TracerProvider(resource=Resource.create({"service.name": service}))
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


def write(exporter: InMemorySpanExporter, path: Path) -> None:
    """Write what was recorded."""
    request: dict[str, Any] = MessageToDict(encode_spans(exporter.get_finished_spans()), use_integers_for_enums=True)
    spans = [span for resource in request["resourceSpans"] for scope in resource["scopeSpans"] for span in scope["spans"]]
    times = sorted({int(at) for span in spans for at in _times(span)})
    when = {str(at): str(START_NS + place * STEP_NS) for place, at in enumerate(times)}
    ids: dict[str, str] = {}
    for span in sorted(spans, key=lambda span: int(span["startTimeUnixNano"])):
        for name, digits in (("traceId", 32), ("spanId", 16)):
            ids.setdefault(span[name], f"{len(ids) + 1:0{digits}x}")
    for span in spans:
        if "message" in span.get("status", {}):
            span["status"]["message"] = span["status"]["message"].partition("Traceback (")[0]
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in span:
                span[name] = ids.get(span[name], base64.b64decode(span[name]).hex())
        for holder in (span, *span.get("events", ())):
            for name in ("startTimeUnixNano", "endTimeUnixNano", "timeUnixNano"):
                if name in holder:
                    holder[name] = when[holder[name]]
    text = msgspec.json.encode(_settled(request)).decode()
    known: dict[str, str] = {}
    text = _CHANCE.sub(lambda found: _stand_in(found[0], known, set(ids.values())), text)
    text = _FOLDER.sub("", text)
    text = _STAMP.sub("2026-09-21T14:13:20Z", text)
    # One span a line: a new recording can be read as a difference.
    path.write_text(text.replace('{"traceId":', '\n{"traceId":') + "\n", encoding="utf-8")
    print(f"{path.name}: {len(spans)} spans, {path.stat().st_size} bytes", file=sys.stderr)


def _times(span: dict[str, Any]) -> list[str]:
    return [span["startTimeUnixNano"], span["endTimeUnixNano"], *(event["timeUnixNano"] for event in span.get("events", ()))]


def _settled(value: Any) -> Any:
    """The value without what differs from run to run or names the machine."""
    if isinstance(value, dict):
        return {name: _settled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_settled(item) for item in value if not (isinstance(item, dict) and item.get("key") in DROPPED)]
    return value


def _stand_in(found: str, known: dict[str, str], kept: set[str]) -> str:
    if found in kept:
        return found
    if found.startswith("127."):
        return "127.0.0.1:1"
    if found not in known:
        number = len(known) + 1
        known[found] = (
            hex(number)
            if found.startswith("0x")
            else f"{number:032x}"
            if "-" not in found
            else f"00000000-0000-0000-0000-{number:012}"
        )
    return known[found]
