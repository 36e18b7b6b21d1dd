"""A real HTTP server that speaks the wire of the control plane and of an OTLP receiver, for the tests of the SDK."""

import json
import queue
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from andoncord_sdk.approval import Action
from andoncord_sdk.lease import lease_mac, orders_digest

DEADLINE_S = 10.0
"""No wait in a test is longer; every one ends as soon as its condition holds."""
PING_S = 0.2
KEY = b"the key of every guard in the tests"

Message = tuple[str, dict[str, Any]]


class WireServer:
    """Accepts guards and telemetry, remembers what came, and pushes what a test says."""

    def __init__(self, *, port: int = 0) -> None:
        self.hellos: list[dict[str, Any]] = []
        self.goodbyes: list[str] = []
        self.acks: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.welcome: dict[str, Any] = {}
        """What the answer to a registration says besides."""
        self.logs: list[dict[str, Any]] = []
        self.spans: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []
        self.authorizations: set[str | None] = set()
        self.in_force: dict[str, Any] = {"rung": "none", "epoch": [1, 0], "reason": ""}
        self.policies: list[dict[str, Any]] = []
        self.config: dict[str, Any] | None = None
        self.approvals: dict[str, str] = {}
        """What to say about an action, by digest; what is granted is handed out once."""
        self.approvals_status = 200
        self.actions: dict[str, dict[str, Any]] = {}
        """What approvals were asked for, by digest."""
        self.asked_last: set[str] = set()
        """What the last question was about."""
        self.telemetry_statuses: list[int] = []
        """Answers to give to the next telemetry requests; 200 when there are none left."""
        self.registration_status = 201
        self.is_mute = False
        """Streams stay open and send nothing, not even pings."""
        self.gives_leases = True
        self.asked: list[str] = []
        """Nonces of the leases that were asked for."""
        self._changed = threading.Condition()
        self._streams: list[queue.Queue[Message | None]] = []
        self._orders = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def push(self, name: str, event: dict[str, Any]) -> str:
        """Send an event to every open stream; its order id."""
        self._orders += 1
        order_id = f"order-{self._orders}"
        with self._changed:
            for stream in self._streams:
                stream.put((name, {"order_id": order_id, **event}))
        return order_id

    def order(self, rung: str, epoch: tuple[int, int], *, reason: str = "test") -> str:
        event = {"agent": "*", "rung": rung, "epoch": list(epoch), "reason": reason, "by": "person:test", "incident": "inc-1"}
        self.in_force = event
        return self.push("order", event)

    def wait(self, condition: Callable[[], Any], *, timeout_s: float = DEADLINE_S) -> Any:
        """What `condition` gives as soon as that is true. Fails the test when it does not become true in time."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), "what the test waits for did not happen"
            return condition()

    def wait_stream(self) -> None:
        self.wait(lambda: self._streams)

    def ack_of(self, order_id: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((ack for ack in self.acks if ack["order_id"] == order_id), None)

        ack: dict[str, Any] = self.wait(found)
        return ack

    def logs_named(self, name: str) -> list[dict[str, Any]]:
        """Attributes of the log records of that name, so far."""
        return [attributes(log) for log in list(self.logs) if log["eventName"] == name]

    def wait_log(self, name: str) -> dict[str, Any]:
        log: dict[str, Any] = self.wait(lambda: self.logs_named(name))[0]
        return log

    def wait_span(self, name: str) -> dict[str, Any]:
        span: dict[str, Any] = self.wait(lambda: next((span for span in self.spans if span["name"] == name), None))
        return span

    def close(self) -> None:
        with self._changed:
            for stream in self._streams:
                stream.put(None)
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(DEADLINE_S)

    def __enter__(self) -> "WireServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = wire._posted(self.path, body, self.headers["Authorization"])
                text = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_DELETE(self) -> None:
                wire.goodbyes.append(self.path)
                self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                wire._stream(self.wfile.write)

        return Handler

    def _posted(self, path: str, body: dict[str, Any], authorization: str | None) -> tuple[int, Any]:
        with self._changed:
            self._changed.notify_all()
            self.authorizations.add(authorization)
            if path == "/api/v1/guards":
                self.hellos.append(body)
                return self.registration_status, {
                    "guard_id": f"g{len(self.hellos)}",
                    "agent": body["agent"],
                    "instance": body["instance"],
                    "policies": self.policies,
                    "config": self.config,
                    "heartbeat_s": 1.0,
                    **self.welcome,
                    "lease": self.lease(f"g{len(self.hellos)}", body["agent"], body.get("nonce", "")),
                    **self.in_force,
                }
            if path.endswith("/lease"):
                guard_id = path.split("/")[-2]
                agent = self.hellos[int(guard_id.removeprefix("g")) - 1]["agent"] if self.hellos else ""
                return (200 if self.hellos else 404), self.lease(guard_id, agent, body["nonce"])
            if path == "/api/v1/approvals":
                return self.approvals_status, self._approve(body["actions"])
            if path.endswith("/report"):
                self.reports.append(body)
                return 204, None
            if path.endswith("/acks"):
                self.acks.append(body)
                return 204, None
            status = self.telemetry_statuses.pop(0) if self.telemetry_statuses else 200
            if status == 200:
                self._take_telemetry(body)
            return status, {}

    def lease(self, guard_id: str, agent: str, nonce: str, **changes: Any) -> dict[str, Any] | None:
        """A sound lease under what is in force; `changes` are what it says instead."""
        self.asked.append(nonce)
        if not self.gives_leases:
            return None
        epoch, rung = self.in_force["epoch"], self.in_force["rung"]
        said = {"epoch": tuple(epoch), "rung": rung, "ttl_ms": 5_000, "nonce": nonce}
        orders = orders_digest(self.in_force.get("orders") or (), self.in_force.get("dropped") or ())
        mac = lease_mac(KEY, guard=guard_id, agent=agent, orders=orders, **said)
        return {**self.in_force, **said, "order_id": "leased", "mac": mac, "key": KEY.hex(), "renew_s": 1.5, **changes}

    def wait_action(self) -> str:
        """The digest of the one action that an approval was asked for."""
        (digest,) = self.wait(lambda: self.actions)
        return str(digest)

    def _approve(self, actions: list[dict[str, Any]]) -> dict[str, Any]:
        statuses: dict[str, str] = {}
        for each in actions:
            digest = Action(**{**each, "epoch": each["epoch"] and tuple(each["epoch"])}).digest
            self.actions[digest] = each
            status = statuses[digest] = self.approvals.get(digest, "waiting")
            if status == "granted":
                self.approvals[digest] = "used"
        self.asked_last = set(statuses)
        return {"statuses": statuses, "use_within_s": 60.0}

    def _take_telemetry(self, body: dict[str, Any]) -> None:
        for kind, scope, items, kept in (
            ("resourceSpans", "scopeSpans", "spans", self.spans),
            ("resourceLogs", "scopeLogs", "logRecords", self.logs),
        ):
            for resource in body.get(kind, []):
                self.resources.append(attributes(resource["resource"]))
                kept += [item for scoped in resource[scope] for item in scoped[items]]

    def _stream(self, write: Callable[[bytes], object]) -> None:
        events: queue.Queue[Message | None] = queue.Queue()
        with self._changed:
            self._streams.append(events)
            self._changed.notify_all()
        message: Message | None = ("order", {"order_id": "in-force", **self.in_force})
        try:
            while message is not None:
                if not self.is_mute:
                    write(f"event: {message[0]}\nid: 1\ndata: {json.dumps(message[1])}\n\n".encode())
                try:
                    message = events.get(timeout=PING_S)
                except queue.Empty:
                    message = ("ping", {})
        except OSError:
            pass  # The guard hung up.
        finally:
            with self._changed:
                self._streams.remove(events)
                self._changed.notify_all()


def attributes(record: dict[str, Any]) -> dict[str, Any]:
    """OTLP/JSON attributes as a plain dict."""
    return {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
