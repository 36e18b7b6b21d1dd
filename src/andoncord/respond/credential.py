"""An agent's credentials: what is asked of whoever gave one, and what came of it (RSP-6)."""

import msgspec


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One credential of one agent, to be revoked or tried."""

    credential: str
    """Its name in the settings. Andoncord never holds the credential itself."""
    agent: str
    incident: str
    key: str
    """The same for every attempt at this revocation."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `holds` is None where nothing can be said; `why` says why it does not hold, or cannot be said."""

    holds: bool | None
    why: str = ""
