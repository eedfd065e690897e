"""Images that are asked for again: when each was, and which batches do so."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME, SMALLINT

revision = "0.2.0"
down_revision = "0.1.0"


def upgrade() -> None:
    """Add the columns and the index."""
    op.add_column(
        "lis_images",
        sa.Column(
            "checked_at",
            DATETIME(fsp=6),
            nullable=False,
            server_default=sa.text("'2000-01-01 00:00:00.000000'"),
            comment="when its host was last asked for it; 2000: before that was kept",
        ),
    )
    op.create_index("ix_images_checked", "lis_images", ["state", "checked_at", "image_id"])
    op.add_column(
        "lis_batches",
        sa.Column(
            "rechecks",
            SMALLINT(unsigned=True),
            nullable=False,
            server_default="0",
            comment="1: its images are live and asked for again",
        ),
    )
