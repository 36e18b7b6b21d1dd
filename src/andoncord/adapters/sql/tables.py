"""The tables of the control data, as SQLAlchemy Core sees them. What creates and changes them are the migrations beside."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

METADATA = MetaData()

WHOLE = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits on both: in a STRICT table of SQLite the word for that is INTEGER."""

JOURNAL = Table(
    "journal",
    METADATA,
    Column("seq", WHOLE, primary_key=True, autoincrement=False),
    Column("at_ns", WHOLE, nullable=False),
    Column("kind", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Index("journal_incident", "incident", "seq"),
    sqlite_strict=True,
)

TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("secret_digest", Text, nullable=False, unique=True),
    Column("created_ns", WHOLE, nullable=False),
    Column("revoked_ns", WHOLE, nullable=False),
    Column("owner", Text, nullable=False, server_default=""),
    Column("expires_ns", WHOLE, nullable=False, server_default="0"),
    Column("used_ns", WHOLE, nullable=False, server_default="0"),
    sqlite_strict=True,
)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("secret_digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("created_ns", WHOLE, nullable=False),
    Column("expires_ns", WHOLE, nullable=False),
    Column("account", WHOLE, nullable=False, server_default="0"),
    Column("used_ns", WHOLE, nullable=False, server_default="0"),
    sqlite_strict=True,
)

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("created_ns", WHOLE, nullable=False),
    Column("disabled_ns", WHOLE, nullable=False),
    Column("seen_ns", WHOLE, nullable=False),
    sqlite_strict=True,
)

ACCESS_EVENTS = Table(
    "access_events",
    METADATA,
    Column("position", WHOLE, primary_key=True, autoincrement=True),
    Column("at_ns", WHOLE, nullable=False),
    Column("kind", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("allowed", WHOLE, nullable=False),
    Column("why", Text, nullable=False),
    Column("times", WHOLE, nullable=False),
    Index("access_events_kind", "kind", "position"),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)
"""Who was let in to change something, who signed in, and who was refused; see `access_log.py`."""

ANSWERS = Table(
    "answers",
    METADATA,
    Column("position", WHOLE, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("request_digest", Text, nullable=False),
    Column("status", WHOLE, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_autoincrement=True,
)

POSITIONS = Table(
    "positions",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("position", WHOLE, nullable=False),
    sqlite_strict=True,
)

PERFORMED = Table(
    "performed",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("started_ns", WHOLE, nullable=False),
    Column("receipt", LargeBinary, nullable=True),
    sqlite_strict=True,
)
"""What a performer that cannot be asked twice has begun and what came of it; see `ledger.py`."""

BUDGETS = Table(
    "budgets",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""What was spent of shared budgets, and what guards hold of them."""

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("intent", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", WHOLE, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at_ns", WHOLE, nullable=False),
    Index("deliveries_intent", "intent"),
    Index("deliveries_incident", "incident"),
    sqlite_strict=True,
)
"""What became of every notice on its way to every target."""

VAULT = Table(
    "vault",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("at_ns", WHOLE, nullable=False),
    sqlite_strict=True,
)
"""The exact form of what waits for people, sealed; the journal has it masked."""
