"""What became of every notice on its way to every target."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "deliveries",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("intent", sa.Text, nullable=False),
        sa.Column("incident", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", WHOLE, nullable=False),
        sa.Column("provider_id", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at_ns", WHOLE, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("deliveries_intent", "deliveries", ["intent"])
    op.create_index("deliveries_incident", "deliveries", ["incident"])
