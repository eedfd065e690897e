"""The tables of a country."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "lis_batches",
        sa.Column("batch_id", mysql.BIGINT(unsigned=True), autoincrement=True, nullable=False),
        sa.Column("run_id", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=250), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, comment="order within the run, from 0"),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("state", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=12), nullable=False),
        sa.Column(
            "fence",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="the claim's token: grows at each claim",
        ),
        sa.Column("holder", sa.String(length=255), nullable=True),
        sa.Column("lease_until", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("updated_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("batch_id"),
        comment="Units of work, and who holds them",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_batches_state", "lis_batches", ["state", "updated_at"], unique=False)
    op.create_index("ux_batches_run", "lis_batches", ["run_id", "seq"], unique=True)
    op.create_table(
        "lis_change_acks",
        sa.Column("change_id", mysql.BIGINT(unsigned=True), nullable=False),
        sa.Column("node", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=32), nullable=False),
        sa.Column("acked_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("change_id", "node"),
        comment="Which node has applied which change",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "lis_changes",
        sa.Column("change_id", mysql.BIGINT(unsigned=True), autoincrement=True, nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("settled_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.PrimaryKeyConstraint("change_id"),
        comment="Images whose desired state changed: those whose change_id is this one",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_changes_open", "lis_changes", ["settled_at", "change_id"], unique=False)
    op.create_table(
        "lis_datasources",
        sa.Column("datasource_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_seen_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("last_seen_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("datasource_id"),
        comment="Data sources that the ETL has shown",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "lis_images",
        sa.Column("image_id", mysql.BIGINT(unsigned=True), autoincrement=True, nullable=False),
        sa.Column("image_hash", mysql.CHAR(charset="ascii", collation="ascii_bin", length=40), nullable=False),
        sa.Column("image_url", sa.Text(), nullable=False),
        sa.Column("datasource_id", sa.Integer(), nullable=False),
        sa.Column(
            "etl_version",
            mysql.DATETIME(fsp=6),
            nullable=False,
            comment="updated_at of the newest listing with it",
        ),
        sa.Column("state", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=12), nullable=False),
        sa.Column("reason", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=40), nullable=True),
        sa.Column("detail", sa.String(length=255), nullable=True),
        sa.Column("attempts", mysql.SMALLINT(unsigned=True), server_default="0", nullable=False),
        sa.Column("next_attempt_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("batch_id", mysql.BIGINT(unsigned=True), nullable=True),
        sa.Column("releases", mysql.SMALLINT(unsigned=True), server_default="0", nullable=False),
        sa.Column("desired", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=8), nullable=False),
        sa.Column(
            "change_id",
            mysql.BIGINT(unsigned=True),
            nullable=True,
            comment="the change that says what nodes should hold now",
        ),
        sa.Column("source_sha1", mysql.CHAR(charset="ascii", collation="ascii_bin", length=40), nullable=True),
        sa.Column("source_bytes", mysql.BIGINT(unsigned=True), nullable=True),
        sa.Column("etag", sa.String(length=255), nullable=True),
        sa.Column("last_modified", sa.String(length=64), nullable=True),
        sa.Column("final_url", sa.Text(), nullable=True),
        sa.Column("thumbs", sa.JSON(), nullable=True, comment="[{n, path, width, height, bytes, sha1}]"),
        sa.Column("created_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("updated_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("image_id"),
        comment="The work state: one row per image",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_images_batch", "lis_images", ["batch_id", "state"], unique=False)
    op.create_index("ix_images_change", "lis_images", ["change_id"], unique=False)
    op.create_index("ix_images_due", "lis_images", ["state", "next_attempt_at", "image_id"], unique=False)
    op.create_index("ux_images_hash", "lis_images", ["image_hash"], unique=True)
    op.create_table(
        "lis_listing_images",
        sa.Column(
            "listing_id",
            mysql.VARCHAR(charset="utf8mb4", collation="utf8mb4_bin", length=64),
            nullable=False,
        ),
        sa.Column("datasource_id", sa.Integer(), nullable=False),
        sa.Column("image_hash", mysql.CHAR(charset="ascii", collation="ascii_bin", length=40), nullable=False),
        sa.Column("position", mysql.SMALLINT(unsigned=True), nullable=False),
        sa.Column("etl_time", mysql.DATETIME(fsp=6), nullable=False, comment="updated_at of the listing"),
        sa.Column("seen_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("missing_since", mysql.DATETIME(fsp=6), nullable=True),
        sa.PrimaryKeyConstraint("listing_id", "datasource_id", "image_hash"),
        comment="Which listing shows which image",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_listing_images_hash", "lis_listing_images", ["image_hash"], unique=False)
    op.create_index("ix_listing_images_missing", "lis_listing_images", ["missing_since", "image_hash"], unique=False)
    op.create_index("ix_listing_images_time", "lis_listing_images", ["etl_time", "image_hash"], unique=False)
    op.create_table(
        "lis_live_images",
        sa.Column("image_url", sa.Text(), nullable=False),
        sa.Column("image_hash", mysql.CHAR(charset="ascii", collation="ascii_bin", length=40), nullable=False),
        sa.Column("datasource_id", sa.Integer(), nullable=False),
        sa.Column("image_data", sa.JSON(), nullable=False),
        sa.Column("insert_time", mysql.DATETIME(), nullable=False),
        sa.Column("human_classified", mysql.SMALLINT(), server_default="0", nullable=False),
        sa.Column("image_class", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("image_hash"),
        comment="The published images: the contract with the website",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "lis_metrics",
        sa.Column("run_id", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=250), nullable=False),
        sa.Column("name", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=100), nullable=False),
        sa.Column("value", mysql.BIGINT(), nullable=False),
        sa.Column("measured_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name"),
        comment="Figures of each run",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_metrics_name", "lis_metrics", ["name", "measured_at"], unique=False)
    op.create_table(
        "lis_node_checks",
        sa.Column("check_id", mysql.BIGINT(unsigned=True), autoincrement=True, nullable=False),
        sa.Column("node", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=32), nullable=False),
        sa.Column("run_id", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=250), nullable=True),
        sa.Column("checked_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("files", mysql.BIGINT(unsigned=True), nullable=False),
        sa.Column("bytes", mysql.BIGINT(unsigned=True), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False, comment="{kind: count}"),
        sa.Column("samples", sa.JSON(), nullable=False, comment="{kind: [path, ...]}"),
        sa.PrimaryKeyConstraint("check_id"),
        comment="Results of checks of files against database",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_node_checks_node", "lis_node_checks", ["node", "check_id"], unique=False)
    op.create_table(
        "lis_node_repairs",
        sa.Column("node", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=32), nullable=False),
        sa.Column("image_hash", mysql.CHAR(charset="ascii", collation="ascii_bin", length=40), nullable=False),
        sa.Column("reason", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=40), nullable=False),
        sa.Column("since", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("node", "image_hash"),
        comment="Images whose files on a node are missing or wrong",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_node_repairs_hash", "lis_node_repairs", ["image_hash"], unique=False)
    op.create_table(
        "lis_nodes",
        sa.Column("node", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=32), nullable=False),
        sa.Column("synced_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("fault", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=40), nullable=True),
        sa.Column("detail", sa.String(length=500), nullable=True),
        sa.Column("updated_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.PrimaryKeyConstraint("node"),
        comment="How each node fared when it was last synced",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "lis_runs",
        sa.Column("run_id", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=250), nullable=False),
        sa.Column("kind", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=12), nullable=False),
        sa.Column("interval_start", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("interval_end", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("state", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=12), nullable=False),
        sa.Column("started_at", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("ingested_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("finished_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("run_id"),
        comment="One summary a run",
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_runs_started", "lis_runs", ["started_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_runs_started", table_name="lis_runs")
    op.drop_table("lis_runs")
    op.drop_table("lis_nodes")
    op.drop_index("ix_node_repairs_hash", table_name="lis_node_repairs")
    op.drop_table("lis_node_repairs")
    op.drop_index("ix_node_checks_node", table_name="lis_node_checks")
    op.drop_table("lis_node_checks")
    op.drop_index("ix_metrics_name", table_name="lis_metrics")
    op.drop_table("lis_metrics")
    op.drop_table("lis_live_images")
    op.drop_index("ix_listing_images_time", table_name="lis_listing_images")
    op.drop_index("ix_listing_images_missing", table_name="lis_listing_images")
    op.drop_index("ix_listing_images_hash", table_name="lis_listing_images")
    op.drop_table("lis_listing_images")
    op.drop_index("ux_images_hash", table_name="lis_images")
    op.drop_index("ix_images_due", table_name="lis_images")
    op.drop_index("ix_images_change", table_name="lis_images")
    op.drop_index("ix_images_batch", table_name="lis_images")
    op.drop_table("lis_images")
    op.drop_table("lis_datasources")
    op.drop_index("ix_changes_open", table_name="lis_changes")
    op.drop_table("lis_changes")
    op.drop_table("lis_change_acks")
    op.drop_index("ux_batches_run", table_name="lis_batches")
    op.drop_index("ix_batches_state", table_name="lis_batches")
    op.drop_table("lis_batches")
