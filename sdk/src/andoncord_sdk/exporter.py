"""Sends records in the background. Never blocks the agent, never grows without bound, counts what it drops.

While the server is away records wait in memory, or in a folder where one is named (`spill.py`), and go out when it is back.
"""

import http.client
import logging
import threading
from collections import deque
from collections.abc import Sequence

from andoncord_sdk import _platform
from andoncord_sdk.otlp import Attributes, LogRecord, Record, SpanRecord, logs_request, spans_request
from andoncord_sdk.spill import Spill
from andoncord_sdk.wire import UNREACHABLE, Endpoint, send_json

QUEUE_MAX = 8_192
"""Records kept in memory while the server is away; then the oldest is dropped."""
BATCH_MAX = 512
"""Records in one request."""
FLUSH_INTERVAL_S = 0.2
"""Longest time a record waits for others; denials do not wait."""
SEND_TIMEOUT_S = 5.0
BACK_OFF_MIN_S = 0.2
BACK_OFF_MAX_S = 5.0
RETRYABLE = frozenset({429, 502, 503, 504})
"""The statuses OTLP defines as "try again"; after any other refusal the batch is dropped and counted."""

Request = tuple[str, object, int]
"""Where to, what, and how many records are in it."""

_log = logging.getLogger("andoncord_sdk")


class Exporter:
    """A bounded queue and the thread that empties it.

    Args:
        endpoint: base of the OTLP/HTTP receiver.
        resource: attributes that describe this process.
        spill: where requests wait on disk while the receiver is away; without one they wait in memory.
    """

    def __init__(self, endpoint: Endpoint, resource: Attributes, *, spill: Spill | None = None) -> None:
        self._spill = spill
        self._endpoint = endpoint
        self._resource = resource
        self._dropped = 0
        self._told_status = 0
        self._told_disk = False
        self._start()

    @property
    def dropped(self) -> int:
        """Records lost since the start: no room for them, or refused by the server."""
        return self._dropped

    def put(self, record: Record, *, urgent: bool = False) -> None:
        """Queue one record. An urgent one is sent at once, with everything queued before it."""
        if len(self._queue) >= QUEUE_MAX:
            self._dropped += 1  # The bounded deque forgets its oldest.
        self._queue.append(record)
        self._accepted += 1
        if not self._filled.is_set():
            self._filled.set()
        if urgent or len(self._queue) >= BATCH_MAX:
            self._hurry.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued so far is sent or dropped. False if `timeout_s` passed first.

        What waits on disk is not sent.
        """
        target = self._accepted
        with self._progress:
            self._hurry.set()
            self._filled.set()
            return self._progress.wait_for(lambda: self._finished >= target and not self._is_away, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Flush, then stop. Says whether everything got out; what did not is put on disk where there is a place for it."""
        all_out = self.flush(timeout_s)
        self._closing.set()
        if self._spill is not None and not all_out:
            # The thread may be waiting for an answer: what it holds is kept too, and counted once by the server.
            for request in (*self._in_flight, *self._requests(self._take(QUEUE_MAX))):
                self._keep(request)
        self._hurry.set()
        self._filled.set()
        return all_out

    def restart_after_fork(self, resource: Attributes) -> None:
        """In a forked child: the parent sends what it queued, we begin empty, as another process."""
        self._resource = resource
        self._dropped = 0
        self._start()

    def _start(self) -> None:
        self._queue: deque[Record] = deque(maxlen=QUEUE_MAX)
        self._accepted = 0
        self._finished = 0
        self._filled = threading.Event()
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._progress = threading.Condition()
        self._connection: http.client.HTTPConnection | None = None
        self._in_flight: tuple[Request, ...] = ()
        self._back_off_s = BACK_OFF_MIN_S
        # A process that died may have left something: that is looked for at the first chance.
        self._is_away = self._spill is not None and bool(self._spill.waiting())
        self._again_s = 0.0
        self._thread = threading.Thread(target=self._run, name="andoncord-exporter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._filled.wait(max(0.0, self._again_s - _platform.monotonic_s()) if self._is_away else None):
                self._hurry.wait(FLUSH_INTERVAL_S)
            self._filled.clear()
            self._hurry.clear()
            if self._is_away and _platform.monotonic_s() >= self._again_s:
                self._deliver_kept()
            while batch := self._take(BATCH_MAX):
                try:
                    self._send_until_done(batch)
                except Exception:  # One record that cannot be encoded must not end the reporting.
                    _log.exception("records could not be sent: %d dropped", len(batch))
                    self._dropped += len(batch)
                self._note_progress()
            self._note_progress()
        if self._connection is not None:
            self._connection.close()

    def _note_progress(self) -> None:
        with self._progress:
            # What was accepted and is no longer queued has been sent, kept on disk or dropped.
            self._finished = max(self._finished, self._accepted - len(self._queue))
            self._progress.notify_all()

    def _take(self, most: int) -> list[Record]:
        batch: list[Record] = []
        while len(batch) < most:
            try:
                batch.append(self._queue.popleft())
            except IndexError:
                break
        return batch

    def _requests(self, batch: Sequence[Record]) -> list[Request]:
        spans = [record for record in batch if isinstance(record, SpanRecord)]
        logs = [record for record in batch if isinstance(record, LogRecord)]
        # Spans first: a refusal is judged by what the run read before it.
        traces: list[Request] = [("/v1/traces", spans_request(self._resource, spans), len(spans))] if spans else []
        return traces + ([("/v1/logs", logs_request(self._resource, logs), len(logs))] if logs else [])

    def _send_until_done(self, batch: Sequence[Record]) -> None:
        requests = self._requests(batch)
        for place, request in enumerate(requests):
            self._in_flight = tuple(requests[place:])
            if self._spill is None or ((self._is_away or not self._try(request)) and not self._keep(request)):
                self._deliver(*request)
        self._in_flight = ()

    def _keep(self, request: Request) -> bool:
        """Put a request on disk; False where that is not possible."""
        assert self._spill is not None
        try:
            self._dropped += self._spill.keep(*request)
        except OSError as full:
            if not self._told_disk:
                _log.warning("reports cannot be kept in %s, they wait in memory: %s", self._spill.folder, full)
                self._told_disk = True
            return False
        return True

    def _deliver_kept(self) -> None:
        """Send what waits on disk, oldest first, until nothing is left or the server is away again."""
        assert self._spill is not None
        with self._spill.turn() as is_ours:
            for file in self._spill.waiting() if is_ours else ():
                request = self._spill.read(file)
                if request is None:
                    continue
                if self._closing.is_set() or not self._try(request):
                    return
                self._spill.drop(file)
        self._is_away = False

    def _try(self, request: Request) -> bool:
        """Send a request once; False where it has to be sent again later."""
        path, body, count = request
        try:
            status = self._post(path, body)
        except UNREACHABLE as away:
            _log.debug("telemetry receiver is away: %s", away)
            self._disconnect()
            status = 0
        if status and status not in RETRYABLE:
            if not 200 <= status < 300:
                self._refused(status, count)
            self._back_off_s = BACK_OFF_MIN_S
            return True
        self._is_away = True
        self._again_s = _platform.monotonic_s() + _platform.jittered(self._back_off_s)
        self._back_off_s = min(self._back_off_s * 2, BACK_OFF_MAX_S)
        return False

    def _refused(self, status: int, count: int) -> None:
        if status != self._told_status:
            _log.warning("telemetry to %s is refused with HTTP %d and dropped", self._endpoint.url, status)
            self._told_status = status
        self._dropped += count

    def _deliver(self, path: str, body: object, count: int) -> None:
        back_off_s = BACK_OFF_MIN_S
        while True:
            try:
                status = self._post(path, body)
                if 200 <= status < 300:
                    return
                if status not in RETRYABLE:
                    self._refused(status, count)
                    return
            except UNREACHABLE as away:
                _log.debug("telemetry receiver is away: %s", away)
                self._disconnect()
            if self._closing.wait(_platform.jittered(back_off_s)):
                self._dropped += count
                return
            back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)

    def _post(self, path: str, body: object) -> int:
        reused = self._connection is not None
        if self._connection is None:
            self._connection = self._endpoint.connect(SEND_TIMEOUT_S)
        try:
            status, _ = send_json(self._connection, self._endpoint, path, body)
        except (http.client.RemoteDisconnected, ConnectionError):
            self._disconnect()
            if not reused:
                raise
            # An idle keep-alive connection may be closed by the server at any time: that costs one new connection, no wait.
            self._connection = self._endpoint.connect(SEND_TIMEOUT_S)
            status, _ = send_json(self._connection, self._endpoint, path, body)
        return status

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
