"""Mails may be longer than 64 KB: a run can fail in many places at once."""

from typing import Any

from alembic import op
from sqlalchemy.dialects import mysql

revision = "0009"
down_revision = "0008"


def _let_be(kind: Any) -> None:
    for part in ("text", "html"):
        op.alter_column("lis_mails", part, type_=kind, existing_nullable=False, nullable=False)


def upgrade() -> None:
    _let_be(mysql.MEDIUMTEXT())


def downgrade() -> None:
    op.execute("DELETE FROM lis_mails WHERE LENGTH(text) > 65535 OR LENGTH(html) > 65535")
    _let_be(mysql.TEXT())
