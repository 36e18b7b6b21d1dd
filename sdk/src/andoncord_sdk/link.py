"""The connection to the control plane: registers, listens for orders, acknowledges. Shared by guard and supervisor.

A lost or silent connection is opened again, with a new registration, until the link is closed.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from andoncord_sdk import _platform
from andoncord_sdk.orders import Epoch
from andoncord_sdk.wire import UNREACHABLE, Endpoint, EventStream, WireError, delete, parse_json, post

PING_S = 0.5
"""The control plane sends something at least this often."""
SILENCE_S = 3 * PING_S + 0.1
"""Three missed pings: the connection is broken, whatever TCP says."""
BACK_OFF_MIN_S = 0.05
BACK_OFF_MAX_S = 1.0
REQUEST_TIMEOUT_S = 2.0
GOODBYE_TIMEOUT_S = 0.5
ACK_QUEUE_MAX = 64
"""Acknowledgements waiting to be sent; then the oldest is dropped. The order comes again after a reconnect."""
ACK_TRIES = 5

Outcome = Literal["enforced", "refused", "failed"]

_log = logging.getLogger("andoncord_sdk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """What was made of one order."""

    order_id: str
    outcome: Outcome
    epoch: Epoch | None = None
    at_ns: int
    state: dict[str, Any]
    detail: dict[str, Any] = field(default_factory=dict)

    path = "acks"

    @property
    def about(self) -> str:
        return f"acknowledgement of {self.order_id}"

    def body(self) -> dict[str, Any]:
        return {
            "order_id": self.order_id,
            "epoch": None if self.epoch is None else list(self.epoch),
            "outcome": self.outcome,
            "at_ns": self.at_ns,
            "state": self.state,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What has changed about this enforcement point since it registered; the next registration says it as well."""

    capabilities: tuple[str, ...]
    state: dict[str, Any]

    path = "report"
    about = "report of what has changed here"

    def body(self) -> dict[str, Any]:
        return {"capabilities": list(self.capabilities), "state": self.state}


class ControlLink:
    """Two threads: one reads orders, one sends acknowledgements, so that a slow answer never delays an order.

    Args:
        endpoint: the control plane.
        hello: makes the registration body; called before every registration.
        welcomed: takes the control plane's answer to it.
        received: takes each event's name and data. What it raises is logged and ends nothing.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        hello: Callable[[], dict[str, Any]],
        welcomed: Callable[[dict[str, Any]], None],
        received: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._endpoint = endpoint
        self._hello = hello
        self._welcomed = welcomed
        self._received = received
        self._told = ""
        self._reset()

    @property
    def is_connected(self) -> bool:
        """Whether the order stream is open and alive."""
        return self._connected

    def start(self) -> None:
        """Start the threads; called again in a forked child, where they do not exist."""
        self._reset()
        for name, body in (("andoncord-orders", self._listen), ("andoncord-acks", self._send_acks)):
            threading.Thread(target=body, name=name, daemon=True).start()

    def _reset(self) -> None:
        self._guard_id = ""
        self._connected = False
        self._stream: EventStream | None = None
        self._closing = threading.Event()
        self._first_try = threading.Event()
        self._acks: queue.Queue[Ack | Report | None] = queue.Queue(ACK_QUEUE_MAX)

    def wait_first_try(self, timeout_s: float) -> bool:
        """Wait until the first registration has succeeded or failed. False if `timeout_s` passed first."""
        return self._first_try.wait(timeout_s)

    def ack(self, ack: Ack) -> None:
        """Send it soon, from another thread."""
        self._enqueue(ack)

    def tell(self, report: Report) -> None:
        """Say soon, from another thread, what has changed."""
        self._enqueue(report)

    def close(self) -> None:
        """Stop, and say goodbye, so that nobody waits for an answer from a process that ended in good order."""
        self._closing.set()
        self._enqueue(None)
        if self._stream is not None:
            self._stream.abort()
        if self._guard_id:
            try:
                delete(self._endpoint, f"/api/v1/guards/{self._guard_id}", timeout_s=GOODBYE_TIMEOUT_S)
            except UNREACHABLE as lost:
                _log.debug("goodbye not delivered: %s", lost)

    def reconnect(self) -> None:
        """Register again, although the stream seems alive: the control plane does not know this guard any more."""
        if self._stream is not None:
            self._stream.abort()

    def _enqueue(self, ack: Ack | Report | None) -> None:
        while True:
            try:
                self._acks.put_nowait(ack)
                return
            except queue.Full:
                try:
                    self._acks.get_nowait()
                except queue.Empty:
                    pass

    def _listen(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                self._register()
                self._first_try.set()
                for event in self._open_stream().events():
                    if not self._connected:
                        self._connected = True
                        self._told = ""
                        failures = 0
                    self._dispatch(event.name, event.data)
            except UNREACHABLE as lost:
                self._tell(lost)
            except Exception:  # Our own fault: say so, and go on listening.
                _log.exception("the order stream broke")
            finally:
                self._connected = False
                if self._stream is not None:
                    self._stream.close()
                    self._stream = None
                self._first_try.set()
            self._closing.wait(_platform.jittered(min(BACK_OFF_MAX_S, BACK_OFF_MIN_S * 2**failures)))
            failures = min(failures + 1, 10)

    def _tell(self, lost: Exception) -> None:
        """Say once why there is no control plane, not at every try."""
        kind = f"{type(lost).__name__} {getattr(lost, 'status', '')}"
        if self._closing.is_set() or kind == self._told:
            return
        self._told = kind
        _log.warning("no orders from %s, what is in force stays in force: %s", self._endpoint.url, lost)

    def _register(self) -> None:
        welcome = post(self._endpoint, "/api/v1/guards", self._hello(), timeout_s=REQUEST_TIMEOUT_S)
        if not isinstance(welcome, dict) or not isinstance(welcome.get("guard_id"), str):
            raise WireError(f"registration was answered without a guard_id: {str(welcome)[:200]}")
        self._guard_id = welcome["guard_id"]
        self._welcomed(welcome)

    def _open_stream(self) -> EventStream:
        self._stream = EventStream(self._endpoint, f"/api/v1/guards/{self._guard_id}/orders", silence_s=SILENCE_S)
        return self._stream

    def _dispatch(self, name: str, text: str) -> None:
        if name == "ping":
            return
        try:
            order = parse_json(text)
            if not isinstance(order, dict):
                raise WireError(f"expected an object, got {text[:200]!r}")
            self._received(name, order)
        except Exception:  # One bad event must not cost the stream that may bring a kill order next.
            _log.exception("could not follow %r", name)

    def _send_acks(self) -> None:
        while (told := self._acks.get()) is not None:
            back_off_s = BACK_OFF_MIN_S
            for _ in range(ACK_TRIES):
                try:
                    path = f"/api/v1/guards/{self._guard_id}/{told.path}"
                    post(self._endpoint, path, told.body(), timeout_s=REQUEST_TIMEOUT_S)
                    break
                except UNREACHABLE as lost:
                    _log.debug("%s not delivered: %s", told.about, lost)
                if self._closing.wait(_platform.jittered(back_off_s)):
                    return
                back_off_s = min(BACK_OFF_MAX_S, back_off_s * 2)
            else:
                _log.warning("%s given up after %d tries", told.about, ACK_TRIES)
