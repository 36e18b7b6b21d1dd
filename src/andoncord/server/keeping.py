"""The worker's housekeeping: keeps the telemetry store in shape, on a thread of its own, beside the ingest."""

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread

from andoncord.detect.ports import TelemetryWriter
from andoncord.kernel.time import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, Instant
from andoncord.server.ports import ServerClock
from andoncord.server.settings import TelemetrySettings
from andoncord.telemetry.holding import Hold

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
COMPACT_EVERY_NS = 10 * SECOND_NS
"""At most one group of small files is merged so often: a background that never takes more than a moment."""
RETAIN_EVERY_NS = 10 * MINUTE_NS
REST_S = 10.0
"""After a failure, a full disk most likely, the store is left alone for so long. What was told is in the log and the tail."""
GIB = 1024**3


class Keeper:
    """Moves, merges and deletes what the store says is due.

    Args:
        holds: the evidence that must stay; None where that is not known, and then nothing is deleted.
    """

    def __init__(
        self,
        *,
        writer: TelemetryWriter,
        clock: ServerClock,
        settings: TelemetrySettings,
        holds: Callable[[Instant], Sequence[Hold] | None],
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._settings = settings
        self._holds = holds
        self._stopping = Event()
        self._compacted_ns = self._retained_ns = clock.now()
        self._thread = Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, deadline_s: float) -> None:
        """Finish the step at hand. One that takes longer is cut off with the process, and cleaned up at the next start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def _run(self) -> None:
        pause = LOOK_EVERY_S
        while not self._stopping.wait(pause):
            try:
                self.look()
                pause = LOOK_EVERY_S
            except Exception:
                logger.exception("the upkeep of the telemetry store failed; it is tried again in %g s", REST_S)
                pause = REST_S

    def look(self) -> None:
        """Do what is due now."""
        now = self._clock.now()
        while not self._stopping.is_set() and self._writer.settle(now_ns=now):
            pass
        if now - self._compacted_ns >= COMPACT_EVERY_NS:
            self._compacted_ns = now
            self._writer.compact(now_ns=now)
            self._writer.sweep(now_ns=now)
        if now - self._retained_ns >= RETAIN_EVERY_NS:
            self._retained_ns = now
            self.retain()

    def retain(self) -> int:
        """Delete what is past its time or too much; how many events that was."""
        now = self._clock.now()
        self._writer.trim(log_before_ns=now - int(self._settings.keep_log_hours * HOUR_NS))
        holds = self._holds(now)
        if holds is None:
            logger.error("no events are deleted: it is not known which of them are evidence")
            return 0
        deleted = self._writer.retain(
            now_ns=now,
            before_ns=now - int(self._settings.keep_days * DAY_NS),
            keep_bytes=int(self._settings.keep_gib * GIB),
            holds=holds,
        )
        if deleted:
            logger.info("%d events past their retention were deleted; %d holds of evidence are in force", deleted, len(holds))
        return deleted
