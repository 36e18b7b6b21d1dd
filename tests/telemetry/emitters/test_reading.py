"""The story of six emitters reads alike in `andon trace show --tree` (SIG-2): shape, agent, tool, tokens, cost, failure."""

from datetime import date
from pathlib import Path

import msgspec
import pytest

from andoncord.cli.trace_view import tree
from andoncord.kernel.time import rfc3339
from andoncord.telemetry.event import EventKind
from andoncord.telemetry.folding import fold
from andoncord.telemetry.otlp import decode_traces_json
from andoncord.telemetry.prices import Price, Pricing
from andoncord.telemetry.stitch import stitch
from andoncord.telemetry.transcript import transcript

HERE = Path(__file__).parent
RECORDINGS = sorted(path.name.removesuffix(".otlp.json") for path in HERE.glob("*.otlp.json"))
PRICES = Pricing([Price(model="scripted-1", input=100, output=1_000, source="the story", date=date(2026, 1, 1))])
TREE = [
    "agent support_bot",
    "├─ model scripted-1  [support_bot]  30 tokens in, 5 out  $0.0080",
    "├─ tool lookup_order  [support_bot]",
    "├─ model scripted-1  [support_bot]  40 tokens in, 6 out  $0.01",
    "├─ tool refund_order  [support_bot]  FAILED",
    "└─ model scripted-1  [support_bot]  50 tokens in, 7 out  $0.01",
]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("name", RECORDINGS)
def test_the_tree_is_the_same(name: str, parts: int) -> None:
    """One agent, its five steps in order, each token and each cent once; also when the spans came in several batches."""
    body = msgspec.json.decode((HERE / f"{name}.otlp.json").read_bytes())
    batches = [body] if parts == 1 else list(_split(body, parts))
    events = [event for batch in batches for event in decode_traces_json(msgspec.json.encode(batch), received_ns=0).events]
    read = fold(stitch(PRICES.priced(events)))

    lines = [_without_times(line) for line in tree([{**msgspec.to_builtins(e), "start_at": rfc3339(e.start_ns)} for e in read])]

    assert lines[: len(TREE)] == TREE
    assert lines[len(TREE)] == ""
    assert "120 tokens in, 18 out" in lines[-1]
    assert "$0.03" in lines[-1]


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_transcript_is_the_same(name: str) -> None:
    """Five steps: the model asks for a tool, is told what came, asks for the other, is refused, and answers."""
    events = stitch(decode_traces_json((HERE / f"{name}.otlp.json").read_bytes(), received_ns=0).events)
    steps = list(transcript(events))

    model, tool, failed = EventKind.MODEL_COMPLETED, EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED
    assert [step.event.kind for step in steps] == [model, tool, model, failed, model]
    saw = [said for step in steps for said in step.said if said.label == "saw"]
    assert [(said.text, said.repeats) for said in saw] == [("Where is order 7?", ""), ("", "all"), ("", "all")]
    assert [said.text for said in steps[-1].said if said.label == "said"] == ["Order 7 is on its way."]


def _split(body: dict, parts: int):  # type: ignore[no-untyped-def]
    """The same spans in several requests, the last first: parents arrive last."""
    for resource in body["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for part in reversed(range(parts)):
                yield {"resourceSpans": [{**resource, "scopeSpans": [{**scope, "spans": scope["spans"][part::parts]}]}]}


def _without_times(line: str) -> str:
    """A line of the tree without durations, error names and who was told what."""
    kept = [part for part in line.split("  ") if not part.endswith((" ms", " s"))]
    return "  ".join("FAILED" if part.startswith("FAILED") else part for part in kept)
