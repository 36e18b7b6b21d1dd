"""What the ingest worker tells the control process over the pipe between them: its figures, every few seconds, and misuse."""

from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from andoncord.detect.ledger import KeptBudget
from andoncord.kernel.time import SECOND_NS

READY = b"ready\n"
FINDINGS = b"findings\n"
FIGURES = b"figures "
"""Before what it tells about itself, on one line of at most what a pipe takes in one piece."""
MISUSE = b"misuse "
"""Before what it tells about a token that was used for what it is not good for."""
EVERY_NS = 5 * SECOND_NS
QUANTILES = (0.5, 0.99)
TIMES_KEPT = 1_000
"""Groups of batches whose times are kept."""


class WorkerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The worker's figures at one moment."""

    at_ns: int
    alarms: KeptBudget
    """The budget of false alarms of the statistical detectors."""
    detection_ms: dict[str, float]
    """From the receipt of a batch to the end of its detection: `0.5` and `0.99` of the latest; empty before the first."""
    rules_at_fault: int
    """Rules that stumbled over an event."""


class Misuse(msgspec.Struct, frozen=True, kw_only=True):
    """A token was used for what it is not good for, and refused."""

    token: str
    """Its id, not its secret."""
    name: str
    scope: str
    times: int
    """How often so far, since the process that refused it was started."""
    used_for: str = "send telemetry"
    """What it was used for."""


class FigureTeller:
    """Collects on the pipeline's thread, and tells when it is time. Without anybody to tell it keeps nothing."""

    def __init__(self, tell: Callable[[bytes], None] | None) -> None:
        self._tell = tell
        self._took_ms: deque[float] = deque(maxlen=TIMES_KEPT)
        self._told_ns = 0

    def detected(self, *, received_ns: int, now: int) -> None:
        """A group of batches, the oldest received then, was read out to the end."""
        if self._tell is not None:
            self._took_ms.append(max(0, now - received_ns) / 1_000_000)

    def look(self, *, now: int, alarms: Callable[[], KeptBudget], rules_at_fault: int) -> None:
        """Tell, if it is time."""
        if self._tell is None or now - self._told_ns < EVERY_NS:
            return
        self._told_ns = now
        figures = WorkerFigures(
            at_ns=now,
            alarms=alarms(),
            detection_ms={str(each): round(nearest_rank(self._took_ms, each), 3) for each in QUANTILES if self._took_ms},
            rules_at_fault=rules_at_fault,
        )
        self._tell(msgspec.json.encode(figures))


def nearest_rank(values: Iterable[float], quantile: float) -> float:
    """A value that was really measured.

    >>> nearest_rank([4.0, 1.0, 3.0, 2.0], 0.5), nearest_rank([4.0, 1.0, 3.0, 2.0], 0.99)
    (2.0, 4.0)
    """
    ranked = sorted(values)
    return ranked[max(0, -int(-len(ranked) * quantile // 1) - 1)]


def read(body: bytes) -> WorkerFigures | None:
    """What a worker told; None where it cannot be read, since a newer or older worker may tell something else."""
    try:
        return msgspec.json.decode(body, type=WorkerFigures)
    except msgspec.DecodeError:
        return None
