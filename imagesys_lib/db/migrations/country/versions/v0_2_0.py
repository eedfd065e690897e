"""Images that are asked for again, and what they show: the system's class, and a person's word."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME, SMALLINT

revision = "0.2.0"
down_revision = "0.1.0"


def upgrade() -> None:
    """Add the columns and the index, and take over what people have said so far."""
    _add(
        "lis_images",
        sa.Column(
            "checked_at",
            DATETIME(fsp=6),
            nullable=False,
            server_default=sa.text("'2000-01-01 00:00:00.000000'"),
            comment="when its host was last asked for it; 2000: before that was kept",
        ),
    )
    if "ix_images_checked" not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("lis_images")}:
        op.create_index("ix_images_checked", "lis_images", ["state", "checked_at", "image_id"])
    _add(
        "lis_batches",
        sa.Column(
            "rechecks",
            SMALLINT(unsigned=True),
            nullable=False,
            server_default="0",
            comment="1: its images are live and asked for again",
        ),
    )
    _add(
        "lis_images",
        sa.Column("image_class", sa.String(64), comment="what it shows: a person's word, else system_class"),
    )
    _add(
        "lis_images",
        sa.Column("human_classified", SMALLINT, nullable=False, server_default="0", comment="1: a person has said it"),
    )
    _add(
        "lis_images",
        sa.Column("system_class", sa.String(8), comment="photo, graphic or blank; NULL: made by an older version"),
    )
    op.execute(
        "UPDATE lis_images JOIN lis_live_images USING (image_hash)"
        " SET lis_images.image_class = lis_live_images.image_class, lis_images.human_classified = 1"
        " WHERE lis_live_images.human_classified = 1"
    )


def _add(table: str, column: sa.Column[object]) -> None:
    """Add a column, unless a call that was killed has done so: each ALTER is a transaction of its own."""
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
