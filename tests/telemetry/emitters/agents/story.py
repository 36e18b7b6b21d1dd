"""The one story that every emitter tells, and the scripted model behind it, on loopback: no provider is asked.

`support_bot` is asked where order 7 is. It looks the order up, tries a refund that fails, and answers. This file runs in the
environments of the emitters, so it uses the standard library alone.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

AGENT = "support_bot"
MODEL = "scripted-1"
INSTRUCTIONS = "You help with orders."
QUESTION = "Where is order 7?"
ANSWER = "Order 7 is on its way."
STATUS = "shipped"
LOOKUP, REFUND = "lookup_order", "refund_order"
ORDER = "A-7"
CALLS = (LOOKUP, REFUND)
USAGE = ((30, 5), (40, 6), (50, 7))
"""Input and output tokens of each model call."""


class RefundRefused(RuntimeError):
    """What the second tool raises."""


def lookup_order(order: str) -> str:
    """Look an order up."""
    return STATUS


def refund_order(order: str) -> str:
    """Refund an order."""
    raise RefundRefused(f"order {order} was not paid")


def serve() -> str:
    """Start the scripted model; the address that stands in for a provider's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Scripted)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


class _Scripted(BaseHTTPRequestHandler):
    """A model whose next word depends on the number of tool results it has seen."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = _response(request) if self.path.endswith("/responses") else _completion(request)
        answer = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _completion(request: dict[str, Any]) -> dict[str, Any]:
    step = sum(message["role"] == "tool" for message in request["messages"])
    given, said = USAGE[step]
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER}
    if step < len(CALLS):
        function = {"name": CALLS[step], "arguments": json.dumps({"order": ORDER})}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"call_{step}", "type": "function", "function": function}],
        }
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if step < len(CALLS) else "stop"}
    return {
        "id": f"chatcmpl-{step}",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": MODEL,
        "choices": [choice],
        "usage": {"prompt_tokens": given, "completion_tokens": said, "total_tokens": given + said},
    }


def _response(request: dict[str, Any]) -> dict[str, Any]:
    items = request["input"] if isinstance(request["input"], list) else []
    step = sum(item.get("type") == "function_call_output" for item in items)
    given, said = USAGE[step]
    output: dict[str, Any] = {
        "type": "message",
        "id": f"msg_{step}",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
    }
    if step < len(CALLS):
        output = {
            "type": "function_call",
            "id": f"fc_{step}",
            "call_id": f"call_{step}",
            "name": CALLS[step],
            "arguments": json.dumps({"order": ORDER}),
            "status": "completed",
        }
    return {
        "id": f"resp_{step}",
        "object": "response",
        "created_at": 1_790_000_000,
        "model": MODEL,
        "status": "completed",
        "output": [output],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + said,
        },
    }
