"""Whom a mail was refused for, and since when it is tried no more for them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    whom = sa.Column("refused", sa.JSON(), comment="who has not got it, each with the server's words")
    op.add_column("lis_mails", whom)
    op.add_column("lis_mails", sa.Column("given_up_at", mysql.DATETIME(fsp=6)))
    op.create_index("ix_mails_given_up", "lis_mails", ["given_up_at", "mail_id"])


def downgrade() -> None:
    op.drop_index("ix_mails_given_up", "lis_mails")
    op.drop_column("lis_mails", "given_up_at")
    op.drop_column("lis_mails", "refused")
