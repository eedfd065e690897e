"""Indexes by which old metrics and checks are found."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("ix_metrics_measured", "lis_metrics", ["measured_at"])
    op.create_index("ix_node_checks_checked", "lis_node_checks", ["checked_at"])


def downgrade() -> None:
    op.drop_index("ix_node_checks_checked", "lis_node_checks")
    op.drop_index("ix_metrics_measured", "lis_metrics")
