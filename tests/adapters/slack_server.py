"""A Slack of this machine: its Web API over HTTP, its Socket Mode over a WebSocket, and people who click."""

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

ROOM = "C024BE91L"


class Slack:
    """What was posted, and who is connected."""

    def __init__(self) -> None:
        self.url = ""
        self.ws_url = ""
        self.messages: dict[str, dict[str, Any]] = {}
        """Moment of a message → what stands there now."""
        self.whispers: list[tuple[str, str]] = []
        self.calls: list[str] = []
        self.refuse: dict[str, str] = {}
        """Method → the error that it answers."""
        self.connected: list[ServerConnection] = []
        self.connections = 0
        self.acknowledged: list[str] = []
        self._numbers = itertools.count(1)

    def call(self, method: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(method)
        if method in self.refuse:
            return {"ok": False, "error": self.refuse[method]}
        if not token.startswith("xapp-" if method == "apps.connections.open" else "xoxb-"):
            return {"ok": False, "error": "not_allowed_token_type"}
        match method:
            case "apps.connections.open":
                return {"ok": True, "url": self.ws_url}
            case "chat.postMessage":
                moment = f"1700000000.{next(self._numbers):06d}"
                self.messages[moment] = body
                return {"ok": True, "channel": ROOM, "ts": moment}
            case "chat.update":
                assert body["channel"] == ROOM
                self.messages[body["ts"]] = {**self.messages[body["ts"]], **body}
                return {"ok": True, "channel": ROOM, "ts": body["ts"]}
            case "chat.postEphemeral":
                self.whispers.append((body["user"], body["text"]))
                return {"ok": True, "message_ts": "1"}
        return {"ok": False, "error": "unknown_method"}

    def hold(self, connection: ServerConnection) -> None:
        self.connections += 1
        connection.send(json.dumps({"type": "hello", "num_connections": 1}))
        self.connected.append(connection)
        try:
            for raw in connection:
                self.acknowledged.append(json.loads(raw)["envelope_id"])
        except ConnectionClosed:
            pass
        finally:
            self.connected.remove(connection)

    def buttons(self, moment: str) -> dict[str, dict[str, Any]]:
        """The buttons under a message, by what they do."""
        elements = [each for block in self.messages[moment]["blocks"] for each in block.get("elements", ())]
        return {each["action_id"]: each for each in elements}

    def text(self, moment: str) -> str:
        """Everything that stands in a message."""
        return "\n".join(block["text"]["text"] for block in self.messages[moment]["blocks"] if "text" in block)

    def find(self, *words: str) -> str:
        """The moment of the message that holds these words; empty for none."""
        return next((each for each in self.messages if all(word in self.text(each) for word in words)), "")

    def click(
        self, user: str, moment: str, do: str, *, value: str = "", at_s: float = 0.0, envelope: str = ""
    ) -> dict[str, Any]:
        """Somebody clicks; gives the envelope, to be delivered again."""
        number = next(self._numbers)
        action = {
            "type": "button",
            "action_id": do,
            "block_id": "b",
            "value": value or self.buttons(moment)[do]["value"],
            "action_ts": f"{at_s or time.time():.6f}",
        }
        sent = {
            "type": "interactive",
            "envelope_id": envelope or f"env-{number}",
            "accepts_response_payload": True,
            "payload": {
                "type": "block_actions",
                "user": {"id": user, "username": "whatever", "team_id": "T1"},
                "container": {"type": "message", "message_ts": moment, "channel_id": ROOM, "is_ephemeral": False},
                "actions": [action],
            },
        }
        self.deliver(sent)
        return sent

    def deliver(self, envelope: Any) -> None:
        """Send something over the newest connection."""
        eventually(lambda: self.connected)
        self.connected[-1].send(envelope if isinstance(envelope, str) else json.dumps(envelope))


def eventually(found: Callable[[], Any], *, deadline_s: float = 15.0) -> Any:
    """What is found, as soon as it is."""
    end_s = time.monotonic() + deadline_s
    while not (there := found()):
        assert time.monotonic() < end_s, "it did not come in time"
        threading.Event().wait(0.02)
    return there


@contextlib.contextmanager
def slack_server() -> Iterator[Slack]:
    """A Slack while the block runs."""
    slack = Slack()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
            said = slack.call(self.path.strip("/"), self.headers.get("authorization", "").removeprefix("Bearer "), body)
            content = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    socket = serve(slack.hold, "127.0.0.1", 0)
    threads = [
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}),
        threading.Thread(target=socket.serve_forever),
    ]
    for thread in threads:
        thread.start()
    slack.url = f"http://127.0.0.1:{http.server_port}"
    slack.ws_url = f"ws://127.0.0.1:{socket.socket.getsockname()[1]}/link"
    try:
        yield slack
    finally:
        socket.shutdown()
        http.shutdown()
        http.server_close()
        for thread in threads:
            thread.join()
