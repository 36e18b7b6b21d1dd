"""A control plane by hand: speaks the wire of the guard API and fails in every way that one can. For the conformance suite."""

import json
import queue
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from andoncord_sdk.lease import lease_mac

DEADLINE_S = 10.0
"""No wait is longer; every one ends as soon as its condition holds."""
LOOK_S = 0.02
PING_S = 0.2
TTL_MS = 5_000
RENEW_S = 0.2
KEY = b"a key of every guard, for tests only"
GARBAGE = b'{"epoch": [9, 9], "rung": "none", \xff\x00 }\n\n'

Mode = Literal["well", "hung", "failing", "garbage", "cut off"]
Event = tuple[str, dict[str, Any]]


class ScriptedPlane:
    """Answers guards on a real port, in the `mode` it is in. Leases and streams follow `rung` and `epoch`."""

    def __init__(self) -> None:
        self.rung = "none"
        self.epoch: tuple[int, int] = (1, 0)
        self.reported_epochs: list[tuple[int, int] | None] = []
        """What guards said they obey, one for each registration."""
        self.acks: list[dict[str, Any]] = []
        self.reports: list[str] = []
        """Codes of what was reported as `andoncord.guard.degraded`."""
        self.changed_lease: dict[str, Any] = {}
        """What leases say beside what they prove."""
        self.replayed_lease: dict[str, Any] | None = None
        """An old lease that is given as the answer to every request."""
        self.last_lease: dict[str, Any] = {}
        self.flag: Callable[[str], dict[str, Any] | None] = lambda guard: None
        """The shared-memory flag that a registration is offered."""
        self.date = ""
        """The time of day that answers claim."""
        self.off_s = 0
        """Or how far it is from the true one, seconds."""
        self.holds_leases = False
        """Requests for leases wait for an answer until this is False."""
        self.held = 0
        self._mode: Mode = "well"
        self._agents: dict[str, str] = {}
        self._streams: list[queue.Queue[Event | None]] = []
        self._sockets: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._http: ThreadingHTTPServer | None = None
        self._port = 0
        self._receiver = _Server(("127.0.0.1", 0), self._receiving())
        self._serve(self._receiver)
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def telemetry_url(self) -> str:
        """The receiver of telemetry, which is always up."""
        return f"http://127.0.0.1:{self._receiver.server_address[1]}"

    # What a test does to it.

    def start(self) -> None:
        """Come up, on the same port each time, and know nobody."""
        self._mode, self._agents = "well", {}
        self._http = _Server(("127.0.0.1", self._port), self._handler())
        self._port = int(self._http.server_address[1])
        self._serve(self._http)

    def close(self) -> None:
        """End everything."""
        self.kill()
        self._receiver.shutdown()
        self._receiver.server_close()

    def kill(self) -> None:
        """Go without a goodbye: every connection breaks, nobody listens."""
        http, self._http = self._http, None
        if http is None:
            return
        self.turn("cut off")
        http.shutdown()
        http.server_close()
        self._cut()

    def _serve(self, http: ThreadingHTTPServer) -> None:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": LOOK_S}, daemon=True).start()

    def turn(self, mode: Mode) -> None:
        """Change how everything is answered; what is open breaks, except where the plane hangs."""
        with self._changed:
            self._mode = mode
            self._changed.notify_all()
        if mode != "hung":
            self._cut()

    def order(self, rung: str, epoch: tuple[int, int]) -> None:
        """Give an order: it is in force, and goes out on every stream."""
        with self._changed:
            self.rung, self.epoch = rung, epoch
        self.push("order", self.order_body())

    def push(self, name: str, body: dict[str, Any]) -> None:
        """Send an event on every stream, whatever is in force."""
        with self._changed:
            for stream in self._streams:
                stream.put((name, body))

    def let_leases_go(self) -> None:
        """Answer the requests for leases that waited."""
        with self._changed:
            self.holds_leases = False
            self._changed.notify_all()

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds. Fails the test when it does not come to hold in time."""
        for _ in range(int(DEADLINE_S / LOOK_S)):
            if holds():
                return
            with self._changed:
                self._changed.wait(LOOK_S)
        raise AssertionError(f"what the test waits for did not happen within {DEADLINE_S:g} s")

    def is_followed(self) -> bool:
        """Whether a guard listens."""
        return bool(self._streams)

    # How it answers.

    def order_body(self) -> dict[str, Any]:
        """The order in force, as it is sent."""
        return {
            "order_id": f"a@{self.epoch[0]}.{self.epoch[1]}",
            "agent": "*",
            "rung": self.rung,
            "epoch": list(self.epoch),
            "reason": "conformance",
            "by": "person:test",
            "incident": "inc_1",
        }

    def _lease(self, guard: str, nonce: str) -> dict[str, Any]:
        said: dict[str, Any] = {"epoch": self.epoch, "rung": self.rung, "ttl_ms": TTL_MS, "nonce": nonce}
        mac = lease_mac(KEY, guard=guard, agent=self._agents[guard], **said)
        self.last_lease = {**self.order_body(), **said, "mac": mac, "key": KEY.hex(), "renew_s": RENEW_S}
        return self.replayed_lease or {**self.last_lease, **self.changed_lease}

    def _posted(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        with self._changed:
            self._changed.notify_all()
            if path == "/api/v1/guards":
                guard = f"g{len(self.reported_epochs) + 1}"
                epoch = body.get("epoch")
                self.reported_epochs.append(None if epoch is None else (epoch[0], epoch[1]))
                self._agents[guard] = body["agent"]
                welcome = {"guard_id": guard, "policies": [], "config": None, "heartbeat_s": 1.0, **self.order_body()}
                return 201, {**welcome, "lease": self._lease(guard, body.get("nonce", "")), "flag": self.flag(guard)}
            if path.startswith("/api/v1/guards/") and (guard := path.split("/")[4]) not in self._agents:
                return 404, {"title": "this guard is not registered"}
            if path.endswith("/lease"):
                self.held += 1
                self._changed.wait_for(lambda: not self.holds_leases or self._mode != "well", DEADLINE_S)
                self.held -= 1
                return 200, self._lease(guard, body["nonce"])
            if path.endswith("/acks"):
                self.acks.append(body)
                return 204, None
            return 404, None

    def _receiving(self) -> type[BaseHTTPRequestHandler]:
        plane = self

        class Receiver(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with plane._changed:
                    plane._take_reports(body)
                    plane._changed.notify_all()
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

        return Receiver

    def _take_reports(self, body: dict[str, Any]) -> None:
        for resource in body.get("resourceLogs", []):
            for scope in resource["scopeLogs"]:
                for log in scope["logRecords"]:
                    said = {each["key"]: next(iter(each["value"].values())) for each in log["attributes"]}
                    if log.get("eventName") == "andoncord.guard.degraded":
                        self.reports.append(said.get("andoncord.decision.code", ""))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with plane._changed:
                    plane._sockets.add(self.connection)

            def finish(self) -> None:
                with plane._changed:
                    plane._sockets.discard(self.connection)
                super().finish()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                true = parsedate_to_datetime(super().date_time_string(timestamp))
                return plane.date or format_datetime(true + timedelta(seconds=plane.off_s), usegmt=True)

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                if not plane._is_well():
                    self._fail()
                    return
                status, answer = plane._posted(self.path, json.loads(raw))
                if not plane._is_well():
                    self._fail()
                    return
                self._answer(status, b"" if answer is None else json.dumps(answer).encode())

            def do_GET(self) -> None:
                if not plane._is_well():
                    self._fail()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                plane._stream(self.wfile.write)

            def _answer(self, status: int, text: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def _fail(self) -> None:
                if plane._mode == "failing":
                    self._answer(500, b"broken")
                elif plane._mode == "garbage":
                    self._answer(200, GARBAGE)
                else:
                    plane._hang()
                    self.close_connection = True

        return Handler

    def _is_well(self) -> bool:
        return self._mode == "well"

    def _hang(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._mode != "hung", DEADLINE_S)

    def _stream(self, write: Callable[[bytes], object]) -> None:
        events: queue.Queue[Event | None] = queue.Queue()
        with self._changed:
            self._streams.append(events)
            self._changed.notify_all()
        message: Event | None = ("order", self.order_body())
        try:
            while message is not None:
                if self._mode != "hung":
                    write(f"event: {message[0]}\nid: 1\ndata: {json.dumps(message[1])}\n\n".encode())
                try:
                    message = events.get(timeout=PING_S)
                except queue.Empty:
                    message = ("ping", {})
        except OSError:
            pass  # The guard hung up, or we did.
        finally:
            with self._changed:
                self._streams.remove(events)
                self._changed.notify_all()

    def _cut(self) -> None:
        with self._changed:
            for stream in self._streams:
                stream.put(None)
            for each in self._sockets:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # Gone already.


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are what this is for."""
