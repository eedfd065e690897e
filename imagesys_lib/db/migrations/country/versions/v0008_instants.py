"""When a batch was downloaded, and indexes by which incidents that are over and old messages are found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("lis_batches", sa.Column("downloaded_at", mysql.DATETIME(fsp=6), comment="when its download ended"))
    op.create_index("ix_incidents_closed", "lis_incidents", ["closed_at"])
    op.create_index("ix_messages_noted", "lis_messages", ["noted_at"])


def downgrade() -> None:
    op.drop_index("ix_messages_noted", "lis_messages")
    op.drop_index("ix_incidents_closed", "lis_incidents")
    op.drop_column("lis_batches", "downloaded_at")
