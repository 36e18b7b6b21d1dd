"""`andon trace show`: a trace as a table, a tree, a transcript and JSON."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from andoncord.adapters.system.server_process import launch
from andoncord.cli.trace_view import touched, transcript, tree
from andoncord.investigate.touched import touched as touched_by
from andoncord.kernel.time import rfc3339
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.transcript import transcript as steps_of

RECORDING = Path(__file__).parent.parent / "telemetry" / "emitters" / "util_genai.otlp.json"
TRACE_ID = "00000000000000000000000000000001"
HOSTILE = "ok\x1b[2J\u202e\nnothing more\n\n9. 00:00:00  tool fake  [admin]"


def span(key: str, above: str = "", **more: Any) -> dict[str, Any]:
    """One event as the API shows it."""
    fields: dict[str, Any] = {
        "kind": EventKind.TOOL_COMPLETED,
        "name": key,
        "start_ns": len(key) * 1_000,
        "end_ns": 9_000,
        **more,
    }
    event = Event(trace_id="t", span_id=key, parent_span_id=above, agent="bot", **fields)
    return {**msgspec.to_builtins(event), "start_at": rfc3339(event.start_ns)}


def test_a_tree_loses_no_span() -> None:
    """A span whose parent was not seen, a circle of parents and a record inside of a span all stand in the tree, once each."""
    circle = [span("aaa", "bbbb"), span("bbbb", "aaa")]
    lost = span("cc", "gone")
    record = {**span("cc"), "kind": "guard.denied", "name": "denied", "start_ns": 5_000, "ok": False, "error_type": "scope"}

    lines = list(tree([*circle, lost, record]))

    for word in ("tool aaa", "tool bbbb", "tool cc", "guard.denied denied"):
        assert sum(word in line for line in lines) == 1, word
    assert any("tool cc" in line and "its parent was not seen" in line for line in lines)
    assert next(line for line in lines if "denied" in line).startswith("└─ ")


def test_a_step_that_has_not_ended_is_shown_until_its_span_comes() -> None:
    """Only the start of a step is known: the tree says so. Its span is there: the start is not shown beside it."""
    started = {**span("dd", "r", start_ns=2), "kind": "step.started", "end_ns": 0}

    assert any("has not ended" in line for line in tree([span("r"), started]))
    assert not any("has not ended" in line for line in tree([span("r"), started, span("dd", "r", start_ns=2)]))


def test_a_deep_trace_is_drawn() -> None:
    """Two thousand levels: no recursion limit, and not two thousand columns of bars."""
    deep = [span(f"{level:016x}", f"{level - 1:016x}" if level else "", start_ns=level) for level in range(2_000)]

    lines = list(tree(deep))

    assert len(lines) == 2_002
    assert max(map(len, lines)) < 250


def told(spans: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines of the transcript of these spans."""
    events = [msgspec.convert({name: value for name, value in each.items() if name != "start_at"}, Event) for each in spans]
    return transcript([msgspec.to_builtins(step) for step in steps_of(events)])


@pytest.mark.parametrize("view", [tree, told])
def test_what_agents_say_is_inert(view: Any) -> None:
    """No escape reaches the terminal, and no line of an agent looks like one of ours."""
    said: dict[str, Any] = {"name": HOSTILE, "output_text": HOSTILE, "arguments": HOSTILE, "error_type": HOSTILE, "ok": False}
    lines = list(view([span("s", "", kind=EventKind.MODEL_FAILED, **said)]))

    assert not any("\x1b" in line or "\u202e" in line or "\n" in line for line in lines)
    assert not any(line.startswith("9. ") for line in lines)


@pytest.mark.parametrize("what", ["files", "commands", "systems"])
def test_what_was_touched_is_inert(what: str) -> None:
    """Paths, commands and hosts come from agents: no escape of theirs reaches the terminal."""
    hostile = '{"command": "echo \\u001b[2J > a\\u001b[2J.txt; curl https://x\\u001b[2J.example/y"}'
    call = msgspec.convert({**span("s"), "name": "bash", "arguments": hostile}, Event)
    lines = list(touched(what, {**msgspec.to_builtins(touched_by([call])), what: _with_times(touched_by([call]), what)}))

    assert lines
    assert not any("\x1b" in line or "\n" in line for line in lines)


def _with_times(found: Any, what: str) -> list[dict[str, Any]]:
    return [{**row, "at": rfc3339(1)} for row in msgspec.to_builtins(found)[what]]


def test_a_transcript_says_only_what_is_new() -> None:
    """The same prompt again is named, not repeated; what was added to it is shown alone."""
    model = EventKind.MODEL_COMPLETED
    first = span("a", kind=model, input_text="Where is it?", output_text="Wait.")
    again = span("bb", kind=model, input_text="Where is it?", output_text="Here.")
    more = span("ccc", kind=model, input_text="Where is it?\nThanks.", output_text="Bye.")

    lines = list(told([more, again, first]))

    assert sum("Where is it?" in line for line in lines) == 1
    assert "   saw: as before" in lines
    assert lines[lines.index("   saw, besides:") + 1] == "   │ Thanks."


def test_a_recorded_trace_through_the_server(tmp_path: Path) -> None:
    """What an emitter sent comes back as a tree, a transcript and JSON; two views at once are refused."""
    with launch(tmp_path / "home") as server:
        body = RECORDING.read_bytes()
        sent = httpx2.post(f"{server.otlp_url}/v1/traces", content=body, headers={"Content-Type": "application/json"})
        assert sent.status_code == 200

        def show(*options: str) -> "subprocess.CompletedProcess[str]":
            environment = {**os.environ, "ANDON_HOME": str(tmp_path / "home"), "ANDON_TOKEN": "", "ANDON_SERVER": ""}
            command = [sys.executable, "-m", "andoncord.cli.main", "trace", "show", TRACE_ID, *options]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)

        address = f"{server.api_url}/api/v1/traces/{TRACE_ID}"
        headers, pause = {"Authorization": f"Bearer {server.admin_token}"}, threading.Event()
        for _ in range(200):
            if httpx2.get(address, headers=headers).status_code == 200:
                break
            pause.wait(0.05)
        drawn, told, raw, both = show("--tree"), show("--transcript"), show("-o", "json"), show("--tree", "--transcript")

    assert drawn.stdout.startswith("agent support_bot")
    assert "├─ tool refund_order  [support_bot]" in drawn.stdout
    assert "FAILED story.RefundRefused" in drawn.stdout
    assert "120 tokens in, 18 out" in drawn.stdout
    assert told.stdout.count("   │ Where is order 7?") == 1
    assert "   │ Order 7 is on its way." in told.stdout
    assert len(json.loads(raw.stdout)["spans"]) == 6
    assert both.returncode == 2
