"""Says at intervals that the process is alive, even while the agent hangs in a tool."""

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger("andoncord_sdk")


class Heartbeat:
    """Calls `beat` every `interval_s()` seconds in a thread of its own, the first time at once.

    Args:
        beat: sends one heartbeat.
        interval_s: asked anew after each beat.
    """

    def __init__(self, beat: Callable[[], None], interval_s: Callable[[], float]) -> None:
        self._beat = beat
        self._interval_s = interval_s
        self.start()

    def start(self) -> None:
        """Start the thread; called again in a forked child, where it does not exist."""
        self._closing = threading.Event()
        threading.Thread(target=self._run, name="andoncord-heartbeat", daemon=True).start()

    def close(self) -> None:
        self._closing.set()

    def _run(self) -> None:
        closing = self._closing
        while True:
            try:
                self._beat()
            except Exception:  # A missed beat is news enough; the next one may succeed.
                _log.exception("a heartbeat could not be sent")
            if closing.wait(self._interval_s()):
                return
