"""Incidents, the mails about them, and logged messages that are to be mailed."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"

_InnoDB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, mysql.BIGINT(unsigned=True), autoincrement=True, nullable=False)


def _code(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=length), nullable=False)


def _instant(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, mysql.DATETIME(fsp=6), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "lis_incidents",
        _key("incident_id"),
        _code("kind", 12),
        _code("subject", 300),
        sa.Column("is_open", mysql.SMALLINT(unsigned=True), nullable=True, comment="1, or null once it is over"),
        sa.Column("runs", sa.JSON(), nullable=False, comment="runs that must end well before it is over"),
        sa.Column("told", mysql.SMALLINT(unsigned=True), server_default="0", nullable=False),
        _instant("opened_at", nullable=False),
        _instant("touched_at", nullable=False),
        _instant("closed_at"),
        sa.PrimaryKeyConstraint("incident_id"),
        **_InnoDB,
        comment="What is or was wrong, each told once",
    )
    op.create_index("ux_incidents_open", "lis_incidents", ["is_open", "kind", "subject"], unique=True)
    op.create_table(
        "lis_mails",
        _key("mail_id"),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        _instant("created_at", nullable=False),
        _instant("sent_at"),
        sa.Column("attempts", mysql.SMALLINT(unsigned=True), server_default="0", nullable=False),
        _instant("claimed_until"),
        sa.PrimaryKeyConstraint("mail_id"),
        **_InnoDB,
        comment="Mails until they are sent, and a month longer",
    )
    op.create_index("ix_mails_sent", "lis_mails", ["sent_at", "mail_id"], unique=False)
    op.create_table(
        "lis_messages",
        _key("message_id"),
        _code("run", 300),
        _code("task", 100),
        _code("level", 10),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        _instant("noted_at", nullable=False),
        sa.PrimaryKeyConstraint("message_id"),
        **_InnoDB,
        comment="Logged messages that the mail about their run will tell",
    )
    op.create_index("ix_messages_run", "lis_messages", ["run"], unique=False)


def downgrade() -> None:
    for table in ("lis_messages", "lis_mails", "lis_incidents"):
        op.drop_table(table)
