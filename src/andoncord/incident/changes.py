"""Who changed what about an incident, and why (INC-6)."""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a person does in one incident."""

    COMMANDER = "commander"
    """Decides."""
    COMMUNICATIONS = "communications"
    """Tells everybody else."""
    OPERATIONS = "operations"
    """Works on the agents."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an incident's state, judgement, shape or crew."""

    at_ns: int
    by: str
    what: str
    why: str = ""
