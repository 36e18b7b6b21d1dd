"""What performers that cannot be asked twice have begun, and what came of it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "performed",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("started_ns", WHOLE, nullable=False),
        sa.Column("receipt", sa.LargeBinary, nullable=True),
        sqlite_strict=True,
    )
