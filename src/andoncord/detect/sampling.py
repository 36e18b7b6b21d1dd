"""Which runs are looked at by a judge that cannot look at all of them, so that what it says still speaks for all (DET-13)."""

from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b

from andoncord.telemetry.event import Event, EventKind

WEIGHT = "sampling_weight"
"""Attribute of a score: how likely the least likely run was to be looked at, as a share of how likely this one was."""
_FAILURES = frozenset({EventKind.TOOL_FAILED, EventKind.MODEL_FAILED, EventKind.GUARD_DENIED})


class Stratum(StrEnum):
    """Kinds of runs that may be looked at more or less often."""

    TROUBLED = "troubled"
    """It failed, or a call in it did or was refused."""
    ORDINARY = "ordinary"


def stratum_of(run: Iterable[Event]) -> Stratum:
    """The stratum of a run, by what is known before anybody looks at it."""
    troubled = any(
        event.kind in _FAILURES or (event.kind in (EventKind.RUN_ENDED, EventKind.AGENT_INVOKED) and not event.ok)
        for event in run
    )
    return Stratum.TROUBLED if troubled else Stratum.ORDINARY


def is_drawn(run_id: str, *, of: str, share: float, key: bytes) -> bool:
    """Whether a run is among the share that is looked at. The same run gives the same answer; nobody without the key can tell.

    >>> drawn = sum(is_drawn(f"run-{number}", of="helpful", share=0.1, key=b"k") for number in range(10_000))
    >>> 900 < drawn < 1_100
    True
    """
    digest = blake2b(f"{of}\x00{run_id}".encode("utf-8", "replace"), key=key[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2.0**64


def weight_of(event: Event) -> float:
    """What a score weighs: less than 1 where its run was likelier to be looked at than others.

    Source: Horvitz, Thompson, "A generalization of sampling without replacement from a finite universe", Journal of the
    American Statistical Association 47 (1952).
    """
    weight = event.attributes.get(WEIGHT, 1.0) if event.attributes else 1.0
    is_weight = isinstance(weight, int | float) and not isinstance(weight, bool) and 0.0 < weight <= 1.0
    return float(weight) if is_weight else 1.0


def effective(weights: Iterable[float]) -> float:
    """How many equally weighted runs are worth as much as these.

    Source: Kish, "Survey Sampling" (1965), section 8.2.

    >>> effective([1.0, 1.0]), round(effective([1.0, 0.1]), 2)
    (2.0, 1.2)
    """
    every = list(weights)
    squares = sum(weight * weight for weight in every)
    return sum(every) ** 2 / squares if squares else 0.0
