"""Breakers and rates of hosts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table_comment("lis_hosts", "What is remembered of photo hosts, for every country")
    op.add_column(
        "lis_hosts",
        sa.Column(
            "failures",
            mysql.SMALLINT(unsigned=True),
            server_default="0",
            nullable=False,
            comment="requests in a row that the host failed",
        ),
    )
    op.add_column(
        "lis_hosts",
        sa.Column(
            "trips",
            mysql.SMALLINT(unsigned=True),
            server_default="0",
            nullable=False,
            comment="times in a row that the breaker opened; 0: closed",
        ),
    )
    op.add_column(
        "lis_hosts", sa.Column("next_at", mysql.DATETIME(fsp=6), nullable=True, comment="the next request's turn")
    )
    op.add_column("lis_hosts", sa.Column("answered_at", mysql.DATETIME(fsp=6), nullable=True))
    op.create_index("ix_hosts_answered", "lis_hosts", ["answered_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_hosts_answered", "lis_hosts")
    for column in ("answered_at", "next_at", "trips", "failures"):
        op.drop_column("lis_hosts", column)
