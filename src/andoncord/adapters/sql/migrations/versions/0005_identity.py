"""Accounts of people; tokens that have an owner and an end; sessions that end when idle; who was let in and who was not."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create what is new. Sessions from before end: nobody knows when they were last used."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("created_ns", WHOLE, nullable=False),
        sa.Column("disabled_ns", WHOLE, nullable=False),
        sa.Column("seen_ns", WHOLE, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "access_events",
        sa.Column("position", WHOLE, primary_key=True, autoincrement=True),
        sa.Column("at_ns", WHOLE, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("allowed", WHOLE, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("times", WHOLE, nullable=False),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("access_events_kind", "access_events", ["kind", "position"])
    op.execute("DELETE FROM sessions")
    op.add_column("tokens", sa.Column("owner", sa.Text, nullable=False, server_default=""))
    for table, name in (("tokens", "expires_ns"), ("tokens", "used_ns"), ("sessions", "account"), ("sessions", "used_ns")):
        op.add_column(table, sa.Column(name, WHOLE, nullable=False, server_default="0"))
