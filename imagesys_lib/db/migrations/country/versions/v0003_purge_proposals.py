"""Purges above the cap, which a person decides on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "lis_purge_proposals",
        sa.Column("proposal_id", mysql.BIGINT(unsigned=True), autoincrement=True, nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column(
            "rules",
            sa.JSON(),
            nullable=False,
            comment="{rule: {due, live}}: images due, and how many of them are live",
        ),
        sa.Column("candidates", mysql.BIGINT(), nullable=False, comment="live images due: what would leave the site"),
        sa.Column("live", mysql.BIGINT(), nullable=False, comment="live images when it was made"),
        sa.Column("samples", sa.JSON(), nullable=False, comment="[{rule, url, hash}], at most 20"),
        sa.Column("state", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=12), nullable=False),
        sa.Column("asked_by", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=250), nullable=True),
        sa.Column("asked_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("decided_by", sa.String(length=255), nullable=True),
        sa.Column("decided_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column(
            "unpublished",
            sa.JSON(),
            nullable=False,
            comment="{rule: live images} taken off under this approval",
        ),
        sa.Column("finished_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.PrimaryKeyConstraint("proposal_id"),
        comment="Purges above the cap, and what a person decided",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_purge_proposals_state", "lis_purge_proposals", ["state", "proposal_id"], unique=False)


def downgrade() -> None:
    op.drop_table("lis_purge_proposals")
