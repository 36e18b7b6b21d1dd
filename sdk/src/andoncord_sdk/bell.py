"""Wakes the thread that looks after processes: rung by signals, and by other threads."""

import os
import select
import signal


class Bell:
    """A pipe to oneself. Only the main thread can have signals ring it."""

    def __init__(self) -> None:
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)

    def rung_by_signals(self) -> None:
        """Have every signal that has a handler ring."""
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)

    def ring(self) -> None:
        try:
            os.write(self._ring, b"\0")
        except BlockingIOError:
            pass  # It is ringing already.

    def wait(self, at_most_s: float) -> None:
        """Until it rings, or the time is up."""
        select.select([self._bell], [], [], at_most_s)
        try:
            os.read(self._bell, 4096)
        except BlockingIOError:
            pass  # Nobody rang.
