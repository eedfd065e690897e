"""The hosts that all countries share."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "lis_hosts",
        sa.Column("host", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=255), nullable=False),
        sa.Column("not_before", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("reason", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=40), nullable=True),
        sa.Column("updated_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("host"),
        comment="Photo hosts that asked to be left alone, for every country",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )


def downgrade() -> None:
    op.drop_table("lis_hosts")
