"""How the worker learns what is evidence: the control process writes it down, and nothing is deleted on old word."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from andoncord.kernel.time import MINUTE_NS, Instant
from andoncord.server.casework import write_durably
from andoncord.server.ports import ServerClock
from andoncord.telemetry.holding import Hold

logger = logging.getLogger(__name__)

HOLDS_FILE = "holds.json"
LOOK_EVERY_S = 2.0
WRITE_EVERY_NS = MINUTE_NS
"""Written so often though nothing changed, so that its age says whether anybody still looks."""
MAX_AGE_NS = 10 * MINUTE_NS
"""Word older than this is no word."""


class Holds(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the file."""

    written_ns: int
    holds: tuple[Hold, ...]


class HoldFeed:
    """Keeps the file up to date.

    Args:
        holds: what is held now.
    """

    def __init__(
        self, path: Path, *, clock: ServerClock, holds: Callable[[], tuple[Hold, ...]], every_s: float = LOOK_EVERY_S
    ) -> None:
        self._every_s = every_s
        self._path = path
        self._clock = clock
        self._holds = holds
        self._written: Holds | None = None

    def write(self) -> None:
        """Write what is held, if it changed or was written long ago."""
        now, holds = self._clock.now(), self._holds()
        known = self._written
        if known is not None and known.holds == holds and now - known.written_ns < WRITE_EVERY_NS:
            return
        written = Holds(written_ns=now, holds=holds)
        write_durably(self._path, msgspec.json.encode(written))
        self._written = written

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            try:
                self.write()
            except Exception:
                # What was written last stands until it is too old; after that the worker deletes nothing. The server goes on.
                logger.exception("what is evidence could not be written down")
            await asyncio.sleep(self._every_s)


def read_holds(path: Path, now: Instant) -> Sequence[Hold] | None:
    """What is held; None where nobody has said so lately."""
    try:
        held = msgspec.json.decode(path.read_bytes(), type=Holds)
    except (OSError, msgspec.DecodeError):
        return None
    return held.holds if abs(now - held.written_ns) <= MAX_AGE_NS else None
