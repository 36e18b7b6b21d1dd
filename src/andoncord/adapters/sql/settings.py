"""Where the control data is kept."""

import msgspec


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `database` of `andon.yaml`."""

    url: str = ""
    """`postgresql://user:password@host:5432/name` for more than one machine; empty for SQLite in the data directory.
    $ANDON_DATABASE_URL wins over it, and keeps the password out of files."""
