"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    _people()
    _links()
    _queue()
    _assignments()
    _judgments()
    _around()


def downgrade() -> None:
    """Back."""
    for table in (
        "contests",
        "chats",
        "tokens",
        "judgments",
        "raters",
        "assignments",
        "items",
        "groups",
        "guideline_reads",
        "guidelines",
        "settings",
        "audit",
        "attempts",
        "invites",
        "sessions",
        "people",
    ):
        op.drop_table(table)


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("opted_out", sa.Text(), nullable=False),
        sa.Column("daily_cap", sa.Integer(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=True),
        sa.Column("joined", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("name_key", name=op.f("uq_people_name_key")),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_sessions_person")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_person"), "sessions", ["person"], unique=False)


def _links() -> None:
    op.create_table(
        "invites",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("person", sa.Text(), nullable=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("used", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["by"], ["people.id"], name=op.f("fk_invites_by")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_invites_person")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_invites")),
    )
    op.create_table(
        "attempts",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("name_hash", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_name_hash"), "attempts", ["name_hash"], unique=False)
    op.create_table(
        "audit",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_audit")),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )


def _queue() -> None:
    op.create_table(
        "guidelines",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("added", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_guidelines")),
    )
    op.create_index(op.f("ix_guidelines_version"), "guidelines", ["version"], unique=False)
    op.create_table(
        "guideline_reads",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_guideline_reads_person")),
        sa.PrimaryKeyConstraint("version", "person", name=op.f("pk_guideline_reads")),
    )
    op.create_table(
        "groups",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_groups")),
        sa.UniqueConstraint("id", name=op.f("uq_groups_id")),
    )
    op.create_table(
        "items",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("gold", sa.Text(), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("rank", sa.Double(), nullable=False),
        sa.CheckConstraint("taken >= 0 AND taken <= overlap", name=op.f("ck_items_places")),
        sa.ForeignKeyConstraint(["group"], ["groups.id"], name=op.f("fk_items_group")),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_items")),
        sa.UniqueConstraint("group", "kind", name=op.f("uq_items_group_kind")),
    )
    op.create_index("ix_items_part", "items", ["part"], unique=False)
    op.create_index(
        "ix_items_open",
        "items",
        ["part", "rank", "n"],
        sqlite_where=sa.text("taken < overlap"),
        postgresql_where=sa.text("taken < overlap"),
    )


def _assignments() -> None:
    op.create_table(
        "raters",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raters")),
    )
    op.create_table(
        "assignments",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("shown_order", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("guideline", sa.Text(), nullable=True),
        sa.Column("given", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item"], ["items.n"], name=op.f("fk_assignments_item")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_assignments_person")),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_assignments")),
        sa.UniqueConstraint("id", name=op.f("uq_assignments_id")),
        sa.UniqueConstraint("item", "person", "turn", name=op.f("uq_assignments_item_person_turn")),
    )
    op.create_index("ix_assignments_person_state", "assignments", ["person", "state", "expires"], unique=False)
    op.create_index("ix_assignments_state_expires", "assignments", ["state", "expires"], unique=False)


def _judgments() -> None:
    op.create_table(
        "judgments",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("rater", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=True),
        sa.Column("assignment", sa.Text(), nullable=True),
        sa.Column("client_key", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("undone", sa.Boolean(), nullable=False),
        sa.Column("guideline", sa.Text(), nullable=True),
        sa.Column("supersedes", sa.Text(), nullable=True),
        sa.Column("is_gold", sa.Boolean(), nullable=False),
        sa.Column("is_repeat", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["assignment"], ["assignments.id"], name=op.f("fk_judgments_assignment")),
        sa.ForeignKeyConstraint(["group"], ["groups.id"], name=op.f("fk_judgments_group")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_judgments_person")),
        sa.ForeignKeyConstraint(["rater"], ["raters.id"], name=op.f("fk_judgments_rater")),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_judgments")),
        sa.UniqueConstraint("id", name=op.f("uq_judgments_id")),
        sa.UniqueConstraint("person", "client_key", name=op.f("uq_judgments_person_client_key")),
        sa.UniqueConstraint("supersedes", name=op.f("uq_judgments_supersedes")),
    )
    op.create_index(op.f("ix_judgments_assignment"), "judgments", ["assignment"], unique=False)
    op.create_index(op.f("ix_judgments_group"), "judgments", ["group"], unique=False)
    op.create_index(
        "uq_judgments_first",
        "judgments",
        ["assignment"],
        unique=True,
        sqlite_where=sa.text("supersedes IS NULL"),
        postgresql_where=sa.text("supersedes IS NULL"),
    )


def _around() -> None:
    op.create_table(
        "tokens",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("revoked", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_tokens_person")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_tokens")),
        sa.UniqueConstraint("id", name=op.f("uq_tokens_id")),
    )
    op.create_index(op.f("ix_tokens_person"), "tokens", ["person"], unique=False)
    op.create_table(
        "contests",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("judgment", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("replied", sa.Double(), nullable=True),
        sa.Column("replied_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["judgment"], ["judgments.id"], name=op.f("fk_contests_judgment")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_contests_person")),
        sa.ForeignKeyConstraint(["replied_by"], ["people.id"], name=op.f("fk_contests_replied_by")),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_contests")),
        sa.UniqueConstraint("judgment", name=op.f("uq_contests_judgment")),
    )
    op.create_index(op.f("ix_contests_person"), "contests", ["person"], unique=False)
    op.create_table(
        "chats",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_chats_person")),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_chats")),
        sa.UniqueConstraint("id", name=op.f("uq_chats_id")),
    )
    op.create_index(op.f("ix_chats_person"), "chats", ["person"], unique=False)
