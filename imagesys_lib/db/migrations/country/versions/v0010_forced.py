"""Since when a forced run makes live images again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    since = sa.Column("forced_at", mysql.DATETIME(fsp=6), comment="since when it makes live images again")
    op.add_column("lis_runs", since)


def downgrade() -> None:
    op.drop_column("lis_runs", "forced_at")
