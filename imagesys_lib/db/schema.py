"""Tables, as SQLAlchemy Core sees them. An empty schema is made from these; an older one is migrated to them.

Every instant is a naive UTC ``DATETIME(6)`` of the database's own clock. Hashes are ``CHAR(40)`` ascii.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, Text, text
from sqlalchemy.dialects.mysql import BIGINT, CHAR, DATETIME, MEDIUMTEXT, SMALLINT, VARCHAR

country_metadata = MetaData()
shared_metadata = MetaData()

_InnoDB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}


def _hash(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, CHAR(40, charset="ascii", collation="ascii_bin"), nullable=nullable)


def _code(name: str, length: int, *, nullable: bool = False) -> Column[str]:
    return Column(name, VARCHAR(length, charset="ascii", collation="ascii_bin"), nullable=nullable)


def _instant(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DATETIME(fsp=6), nullable=nullable)


def _circuit_breaker() -> tuple[Column[Any], ...]:
    opened = "times in a row that the breaker opened; 0: closed"
    return (
        Column("attempts", Integer, nullable=False, server_default="0", comment="since window_at"),
        Column("failures", Integer, nullable=False, server_default="0"),
        _instant("window_at"),
        _instant("not_before"),
        Column("openings", Integer, nullable=False, server_default="0", comment=opened),
    )


lis_images = Table(
    "lis_images",
    country_metadata,
    Column("image_id", BIGINT(unsigned=True), primary_key=True, autoincrement=True),
    _hash("image_hash"),
    Column("image_url", Text, nullable=False),
    Column("datasource_id", Integer, nullable=False),
    Column("etl_version", DATETIME(fsp=6), nullable=False, comment="updated_at of the newest listing with it"),
    _code("state", 12),
    _code("reason", 40, nullable=True),
    Column("detail", String(255)),
    Column("attempts", SMALLINT(unsigned=True), nullable=False, server_default="0"),
    _instant("next_attempt_at", nullable=False),
    Column("batch_id", BIGINT(unsigned=True)),
    Column("releases", SMALLINT(unsigned=True), nullable=False, server_default="0"),
    _code("desired", 8),
    Column("change_id", BIGINT(unsigned=True), comment="the change that says what nodes should hold now"),
    _hash("source_sha1", nullable=True),
    Column("source_bytes", BIGINT(unsigned=True)),
    Column("etag", String(255)),
    Column("last_modified", String(64)),
    Column("final_url", Text),
    Column("thumbs", JSON, comment="[{n, path, width, height, bytes, sha1, format?, thumbhash?}]"),
    Column("recipe", CHAR(16, charset="ascii", collation="ascii_bin"), comment="what the thumbnails were made with"),
    _instant("created_at", nullable=False),
    _instant("updated_at", nullable=False),
    Column(
        "checked_at",
        DATETIME(fsp=6),
        nullable=False,
        server_default=text("'2000-01-01 00:00:00.000000'"),
        comment="when its host was last asked for it; 2000: before that was kept",
    ),
    Column("image_class", String(64), comment="what it shows: a person's word, else system_class"),
    Column("human_classified", SMALLINT, nullable=False, server_default="0", comment="1: a person has said it"),
    Column("system_class", String(8), comment="photo, graphic or blank; NULL: made by an older version"),
    Index("ux_images_hash", "image_hash", unique=True),
    Index("ix_images_due", "state", "next_attempt_at", "image_id"),
    Index("ix_images_batch", "batch_id", "state"),
    Index("ix_images_checked", "state", "checked_at", "image_id"),
    Index("ix_images_change", "change_id"),
    Index("ix_images_source", "source_sha1", "datasource_id", "state"),
    **_InnoDB,
    comment="The work state: one row per image",
)

lis_listing_images = Table(
    "lis_listing_images",
    country_metadata,
    # Compared byte by byte: under a collation that folds case, a listing could hide another, and be purged for it.
    Column("listing_id", VARCHAR(64, charset="utf8mb4", collation="utf8mb4_bin"), nullable=False),
    Column("datasource_id", Integer, nullable=False),
    _hash("image_hash"),
    Column("position", SMALLINT(unsigned=True), nullable=False),
    Column("etl_time", DATETIME(fsp=6), nullable=False, comment="updated_at of the listing"),
    _instant("seen_at", nullable=False),
    _instant("missing_since"),
    PrimaryKeyConstraint("listing_id", "datasource_id", "image_hash"),
    Index("ix_listing_images_hash", "image_hash"),
    Index("ix_listing_images_time", "etl_time", "image_hash"),
    Index("ix_listing_images_missing", "missing_since", "image_hash"),
    **_InnoDB,
    comment="Which listing shows which image",
)

lis_live_images = Table(
    "lis_live_images",
    country_metadata,
    Column("image_url", Text, nullable=False),
    _hash("image_hash"),
    Column("datasource_id", Integer, nullable=False),
    Column("image_data", JSON, nullable=False),
    Column("insert_time", DATETIME, nullable=False),
    Column("human_classified", SMALLINT, nullable=False, server_default="0"),
    Column("image_class", String(64)),
    PrimaryKeyConstraint("image_hash"),
    **_InnoDB,
    comment="The published images: the contract with the website",
)

lis_runs = Table(
    "lis_runs",
    country_metadata,
    _code("run_id", 250),
    _code("kind", 12),
    Column("interval_start", DATETIME(fsp=6), nullable=False),
    Column("interval_end", DATETIME(fsp=6), nullable=False),
    _code("state", 12),
    _instant("started_at", nullable=False),
    _instant("ingested_at"),
    _instant("finished_at"),
    Column("summary", JSON),
    Column("forced_at", DATETIME(fsp=6), comment="since when it makes live images again"),
    Column("read_from", DATETIME(fsp=6), comment="from when on its ingest has read the ETL's rows"),
    Column("bad_rows", JSON, comment="{stage: {skipped, cut, samples}} of the ETL's rows"),
    PrimaryKeyConstraint("run_id"),
    Index("ix_runs_started", "started_at"),
    **_InnoDB,
    comment="One summary a run",
)

lis_batches = Table(
    "lis_batches",
    country_metadata,
    Column("batch_id", BIGINT(unsigned=True), primary_key=True, autoincrement=True),
    _code("run_id", 250),
    Column("seq", Integer, nullable=False, comment="order within the run, from 0"),
    Column("size", Integer, nullable=False),
    _code("state", 12),
    Column("fence", Integer, nullable=False, server_default="0", comment="the lease's token: grows with each lease"),
    Column("holder", String(255)),
    _instant("lease_until"),
    _instant("created_at", nullable=False),
    _instant("updated_at", nullable=False),
    Column(
        "rechecks",
        SMALLINT(unsigned=True),
        nullable=False,
        server_default="0",
        comment="1: its images are live and asked for again",
    ),
    Index("ux_batches_run", "run_id", "seq", unique=True),
    Index("ix_batches_state", "state", "updated_at"),
    **_InnoDB,
    comment="Units of work, and who holds them",
)

lis_changes = Table(
    "lis_changes",
    country_metadata,
    Column("change_id", BIGINT(unsigned=True), primary_key=True, autoincrement=True),
    _instant("created_at", nullable=False),
    _instant("settled_at"),
    Index("ix_changes_open", "settled_at", "change_id"),
    **_InnoDB,
    comment="Images whose desired state changed: those whose change_id is this one",
)

lis_change_acks = Table(
    "lis_change_acks",
    country_metadata,
    Column("change_id", BIGINT(unsigned=True), nullable=False),
    _code("node", 32),
    _instant("acked_at", nullable=False),
    PrimaryKeyConstraint("change_id", "node"),
    **_InnoDB,
    comment="Which node has applied which change",
)

lis_nodes = Table(
    "lis_nodes",
    country_metadata,
    _code("node", 32),
    _instant("synced_at"),
    _code("fault", 40, nullable=True),
    Column("detail", String(500)),
    _instant("updated_at", nullable=False),
    Column(
        "identity",
        CHAR(36, charset="ascii", collation="ascii_bin"),
        comment="UUID of the disk whose files are known; NULL: none is",
    ),
    Column(
        "scrubbed_to",
        CHAR(40, charset="ascii", collation="ascii_bin"),
        comment="hash up to which this round has read its files",
    ),
    PrimaryKeyConstraint("node"),
    **_InnoDB,
    comment="How each node fared when it was last synced",
)

lis_node_repairs = Table(
    "lis_node_repairs",
    country_metadata,
    _code("node", 32),
    _hash("image_hash"),
    _code("reason", 40),
    _instant("since", nullable=False),
    PrimaryKeyConstraint("node", "image_hash"),
    Index("ix_node_repairs_hash", "image_hash"),
    **_InnoDB,
    comment="Images whose files on a node are missing or wrong",
)

lis_node_checks = Table(
    "lis_node_checks",
    country_metadata,
    Column("check_id", BIGINT(unsigned=True), primary_key=True, autoincrement=True),
    _code("node", 32),
    _code("run_id", 250, nullable=True),
    _instant("checked_at", nullable=False),
    Column(
        "kind",
        VARCHAR(8, charset="ascii", collation="ascii_bin"),
        nullable=False,
        server_default="full",
        comment="full, part (of the tree), scrub (checksums) or db_scan (the live table)",
    ),
    Column(
        "part",
        VARCHAR(16, charset="ascii", collation="ascii_bin"),
        nullable=False,
        server_default="all",
        comment="of the tree, by first digits of the hash",
    ),
    Column("files", BIGINT(unsigned=True), nullable=False),
    Column("bytes", BIGINT(unsigned=True), nullable=False),
    Column("findings", JSON, nullable=False, comment="{kind: count}"),
    Column("samples", JSON, nullable=False, comment="{kind: [path, ...]}"),
    Index("ix_node_checks_node", "node", "check_id"),
    Index("ix_node_checks_checked", "checked_at"),
    **_InnoDB,
    comment="Results of checks of files against database",
)

lis_datasources = Table(
    "lis_datasources",
    country_metadata,
    Column("datasource_id", Integer, nullable=False, autoincrement=False),
    *_circuit_breaker(),
    PrimaryKeyConstraint("datasource_id"),
    **_InnoDB,
    comment="Circuit breakers of data sources",
)

lis_placeholders = Table(
    "lis_placeholders",
    country_metadata,
    _hash("source_sha1"),
    Column("datasource_id", Integer, nullable=False, autoincrement=False),
    Column("listings", Integer, nullable=False, comment="how many showed it when it was found out"),
    _instant("found_at", nullable=False),
    PrimaryKeyConstraint("source_sha1", "datasource_id"),
    **_InnoDB,
    comment="Originals that stand for many listings of one data source",
)

lis_purge_proposals = Table(
    "lis_purge_proposals",
    country_metadata,
    Column("proposal_id", BIGINT(unsigned=True), primary_key=True, autoincrement=True),
    _instant("created_at", nullable=False),
    Column("rules", JSON, nullable=False, comment="{rule: {due, live}}: images due, and how many of them are live"),
    Column("live", BIGINT, nullable=False, comment="live images when it was made"),
    Column("samples", JSON, nullable=False, comment="[{rule, url, hash}], at most 20"),
    _code("state", 12),
    _code("asked_by", 250, nullable=True),
    _instant("asked_at"),
    Column("decided_by", String(255)),
    _instant("decided_at"),
    _instant("finished_at"),
    Index("ix_purge_proposals_state", "state", "proposal_id"),
    **_InnoDB,
    comment="Purges above the cap, and what a person decided",
)

lis_metrics = Table(
    "lis_metrics",
    country_metadata,
    _code("run_id", 250),
    _code("name", 100),
    Column("value", BIGINT, nullable=False),
    _instant("measured_at", nullable=False),
    PrimaryKeyConstraint("run_id", "name"),
    Index("ix_metrics_name", "name", "measured_at"),
    Index("ix_metrics_measured", "measured_at"),
    **_InnoDB,
    comment="Figures of each run",
)

lis_incidents = Table(
    "lis_incidents",
    country_metadata,
    Column("incident_id", BIGINT(unsigned=True), primary_key=True, autoincrement=True),
    _code("kind", 12),
    _code("subject", 300),
    Column("is_open", SMALLINT(unsigned=True), comment="1, or null once it is over"),
    Column("runs", JSON, nullable=False, comment="runs that must end well before it is over"),
    _instant("opened_at", nullable=False),
    _instant("notified_at"),
    _instant("last_seen_at", nullable=False),
    _instant("resolved_at"),
    Index("ux_incidents_open", "is_open", "kind", "subject", unique=True),
    Index("ix_incidents_resolved", "resolved_at"),
    **_InnoDB,
    comment="What is or was wrong, each mailed once",
)

lis_mails = Table(
    "lis_mails",
    country_metadata,
    Column("mail_id", BIGINT(unsigned=True), primary_key=True, autoincrement=True),
    Column("subject", String(255), nullable=False),
    Column("text", MEDIUMTEXT, nullable=False),
    Column("html", MEDIUMTEXT, nullable=False),
    Column("countries", JSON, comment="whose people get it; none: those of the schema"),
    _instant("created_at", nullable=False),
    _instant("sent_at"),
    Column("attempts", SMALLINT(unsigned=True), nullable=False, server_default="0"),
    _instant("claimed_until"),
    Column("refused", JSON(none_as_null=True), comment="who has not got it, each with the server's words"),
    _instant("given_up_at"),
    Index("ix_mails_given_up", "given_up_at", "mail_id"),
    Index("ix_mails_sent", "sent_at", "mail_id"),
    **_InnoDB,
    comment="Mails until they are sent, and a month longer",
)

for _table in (lis_incidents, lis_mails):
    _table.to_metadata(shared_metadata)  # for what is about all countries

lis_messages = Table(
    "lis_messages",
    country_metadata,
    Column("message_id", BIGINT(unsigned=True), primary_key=True, autoincrement=True),
    _code("run", 300),
    _code("task", 100),
    _code("level", 10),
    Column("text", Text, nullable=False),
    Column("times", Integer, nullable=False),
    _instant("noted_at", nullable=False),
    Index("ix_messages_run", "run"),
    Index("ix_messages_noted", "noted_at"),
    **_InnoDB,
    comment="Logged messages that wait for the mail about their run",
)

lis_hosts = Table(
    "lis_hosts",
    shared_metadata,
    _code("host", 255),
    _code("reason", 40, nullable=True),
    *_circuit_breaker(),
    Column("next_at", DATETIME(fsp=6), comment="the next request's turn"),
    _instant("answered_at"),
    PrimaryKeyConstraint("host"),
    Index("ix_hosts_answered", "answered_at"),
    **_InnoDB,
    comment="What is remembered of photo hosts, for every country",
)
