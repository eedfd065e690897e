"""What a check looked at: its kind, its part of the tree, and how far each node's files have been read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "lis_node_checks",
        sa.Column(
            "kind",
            mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=8),
            server_default="full",
            nullable=False,
            comment="full, part (of the tree) or scrub (checksums)",
        ),
    )
    op.add_column(
        "lis_node_checks",
        sa.Column(
            "part",
            mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=16),
            server_default="all",
            nullable=False,
            comment="of the tree, by first digits of the hash",
        ),
    )
    op.add_column(
        "lis_nodes",
        sa.Column(
            "scrubbed_to",
            mysql.CHAR(charset="ascii", collation="ascii_bin", length=40),
            nullable=True,
            comment="hash up to which this round has read its files",
        ),
    )


def downgrade() -> None:
    op.drop_column("lis_nodes", "scrubbed_to")
    for column in ("part", "kind"):
        op.drop_column("lis_node_checks", column)
