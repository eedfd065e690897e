"""What the image engine keeps: how thumbnails were made, originals by content, breakers of data sources."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "lis_images",
        sa.Column(
            "recipe",
            mysql.CHAR(charset="ascii", collation="ascii_bin", length=16),
            nullable=True,
            comment="what the thumbnails were made with",
        ),
    )
    op.create_index("ix_images_source", "lis_images", ["source_sha1", "datasource_id", "state"], unique=False)
    op.create_table(
        "lis_placeholders",
        sa.Column("source_sha1", mysql.CHAR(charset="ascii", collation="ascii_bin", length=40), nullable=False),
        sa.Column("datasource_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("listings", sa.Integer(), nullable=False, comment="how many showed it when it was found out"),
        sa.Column("found_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("source_sha1", "datasource_id"),
        comment="Originals that stand for many listings of one data source",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.add_column(
        "lis_datasources",
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False, comment="images since window_at"),
    )
    op.add_column("lis_datasources", sa.Column("failures", sa.Integer(), server_default="0", nullable=False))
    op.add_column("lis_datasources", sa.Column("window_at", mysql.DATETIME(fsp=6), nullable=True))
    op.add_column("lis_datasources", sa.Column("not_before", mysql.DATETIME(fsp=6), nullable=True))
    op.add_column(
        "lis_datasources",
        sa.Column(
            "trips",
            mysql.SMALLINT(unsigned=True),
            server_default="0",
            nullable=False,
            comment="times in a row that the breaker opened; 0: closed",
        ),
    )


def downgrade() -> None:
    for column in ("trips", "not_before", "window_at", "failures", "attempts"):
        op.drop_column("lis_datasources", column)
    op.drop_table("lis_placeholders")
    op.drop_index("ix_images_source", "lis_images")
    op.drop_column("lis_images", "recipe")
