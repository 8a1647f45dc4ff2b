"""Failed sign-ins by address, scopes of tokens, and items that everybody skipped."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward. Tokens that are there could do everything until now, and go on."""
    op.add_column("tokens", sa.Column("scope", sa.Text(), nullable=False, server_default="write"))
    op.add_column("items", sa.Column("withdrawn", sa.Integer(), nullable=True))
    op.drop_table("attempts")  # they count for a quarter of an hour
    _attempts(sa.Column("address_hash", sa.Text(), nullable=False))
    op.create_index(op.f("ix_attempts_address_hash"), "attempts", ["address_hash"], unique=False)


def downgrade() -> None:
    """Back."""
    op.drop_table("attempts")
    _attempts()
    op.drop_column("items", "withdrawn")
    op.drop_column("tokens", "scope")


def _attempts(*more: sa.Column[str]) -> None:
    op.create_table(
        "attempts",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("name_hash", sa.Text(), nullable=False),
        *more,
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_name_hash"), "attempts", ["name_hash"], unique=False)
