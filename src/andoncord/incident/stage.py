"""The states that a containment is proven through."""

from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """The states of a containment, in their order."""

    REQUESTED = "REQUESTED"
    """The order is in the journal."""
    FENCED = "FENCED"
    """Every enforcement point acknowledged this very order, or its process was seen to be unable to act."""
    CREDENTIALS_REVOKED = "CREDENTIALS_REVOKED"
    """Every credential that is declared for the agent was revoked, and was refused when it was tried."""
    STOPPED = "STOPPED"
    """No process that can act is left, or none took a step since the fence and nothing is in flight."""
    VERIFIED = "VERIFIED"
    UNVERIFIED = "UNVERIFIED"
    FAILED = "FAILED"


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """One state, and when it was reached: nanoseconds UTC, by the server's clock."""

    stage: Stage
    at_ns: int
