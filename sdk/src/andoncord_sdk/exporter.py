"""Sends records in the background. Never blocks the agent, never grows without bound, counts what it drops."""

import http.client
import logging
import threading
from collections import deque
from collections.abc import Sequence

from andoncord_sdk import _platform
from andoncord_sdk.otlp import Attributes, LogRecord, Record, SpanRecord, logs_request, spans_request
from andoncord_sdk.wire import UNREACHABLE, Endpoint, send_json

QUEUE_MAX = 8_192
"""Records kept while the server is away; then the oldest is dropped."""
BATCH_MAX = 512
"""Records in one request."""
FLUSH_INTERVAL_S = 0.2
"""Longest time a record waits for others; denials do not wait."""
SEND_TIMEOUT_S = 5.0
BACK_OFF_MIN_S = 0.2
BACK_OFF_MAX_S = 5.0
RETRYABLE = frozenset({429, 502, 503, 504})
"""The statuses OTLP defines as "try again"; after any other refusal the batch is dropped and counted."""

_log = logging.getLogger("andoncord_sdk")


class Exporter:
    """A bounded queue and the thread that empties it.

    Args:
        endpoint: base of the OTLP/HTTP receiver.
        resource: attributes that describe this process.
    """

    def __init__(self, endpoint: Endpoint, resource: Attributes) -> None:
        self._endpoint = endpoint
        self._resource = resource
        self._dropped = 0
        self._told_status = 0
        self._start()

    @property
    def dropped(self) -> int:
        """Records lost since the start: queue full, or refused by the server."""
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
        """Wait until everything queued so far is sent or dropped. False if `timeout_s` passed first."""
        target = self._accepted
        with self._progress:
            self._hurry.set()
            self._filled.set()
            return self._progress.wait_for(lambda: self._finished >= target, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Flush, then stop. Says whether everything got out."""
        all_out = self.flush(timeout_s)
        self._closing.set()
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
        self._thread = threading.Thread(target=self._run, name="andoncord-exporter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._filled.wait()
            self._hurry.wait(FLUSH_INTERVAL_S)
            self._filled.clear()
            self._hurry.clear()
            while batch := self._take():
                try:
                    self._send_until_done(batch)
                except Exception:  # One record that cannot be encoded must not end the reporting.
                    _log.exception("records could not be sent: %d dropped", len(batch))
                    self._dropped += len(batch)
                with self._progress:
                    # What was accepted and is no longer queued has been sent or dropped.
                    self._finished = max(self._finished, self._accepted - len(self._queue))
                    self._progress.notify_all()
        if self._connection is not None:
            self._connection.close()

    def _take(self) -> list[Record]:
        batch: list[Record] = []
        while len(batch) < BATCH_MAX:
            try:
                batch.append(self._queue.popleft())
            except IndexError:
                break
        return batch

    def _send_until_done(self, batch: Sequence[Record]) -> None:
        spans = [record for record in batch if isinstance(record, SpanRecord)]
        logs = [record for record in batch if isinstance(record, LogRecord)]
        # Spans first: a refusal is judged by what the run read before it.
        if spans:
            self._deliver("/v1/traces", spans_request(self._resource, spans), len(spans))
        if logs:
            self._deliver("/v1/logs", logs_request(self._resource, logs), len(logs))

    def _deliver(self, path: str, body: object, count: int) -> None:
        back_off_s = BACK_OFF_MIN_S
        while True:
            try:
                status = self._post(path, body)
                if 200 <= status < 300:
                    return
                if status not in RETRYABLE:
                    if status != self._told_status:
                        _log.warning("telemetry to %s is refused with HTTP %d and dropped", self._endpoint.url, status)
                        self._told_status = status
                    self._dropped += count
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
