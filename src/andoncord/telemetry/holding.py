"""What must not be deleted, whatever its age: the evidence of incidents that nobody has closed yet (RSP-4)."""

import msgspec


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """The telemetry of one incident that is kept until its review is closed."""

    incident: str
    agents: tuple[str, ...] = ()
    """Everything of these agents between the two instants is kept."""
    from_ns: int = 0
    until_ns: int = 2**63 - 1
    traces: tuple[str, ...] = ()
    """These traces are kept whole."""
