"""What a run's ingest has read of the ETL, and which rows it could not take as they are."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    comment = "from when on its ingest has read the ETL's rows"
    op.add_column("lis_runs", sa.Column("read_from", mysql.DATETIME(fsp=6), comment=comment))
    comment = "{stage: {skipped, cut, samples}} of the ETL's rows"
    op.add_column("lis_runs", sa.Column("bad_rows", sa.JSON, comment=comment))


def downgrade() -> None:
    op.drop_column("lis_runs", "bad_rows")
    op.drop_column("lis_runs", "read_from")
