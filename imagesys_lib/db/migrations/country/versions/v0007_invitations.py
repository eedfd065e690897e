"""When people were mailed that a purge proposal waits; scans of the live table among the checks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"

_KIND = mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=8)
_BEFORE = "full, part (of the tree) or scrub (checksums)"
_NOW = "full, part (of the tree), scrub (checksums) or db_scan (the live table)"


def _say(comment: str, before: str) -> None:
    op.alter_column(
        "lis_node_checks",
        "kind",
        existing_type=_KIND,
        existing_nullable=False,
        existing_server_default="full",
        existing_comment=before,
        comment=comment,
    )


def upgrade() -> None:
    invited = sa.Column(
        "invited_at", mysql.DATETIME(fsp=6), nullable=True, comment="when people were last mailed that it waits"
    )
    op.add_column("lis_purge_proposals", invited)
    _say(_NOW, _BEFORE)


def downgrade() -> None:
    _say(_BEFORE, _NOW)
    op.drop_column("lis_purge_proposals", "invited_at")
