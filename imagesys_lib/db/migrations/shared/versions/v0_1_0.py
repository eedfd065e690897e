"""Where migrations count from. ``upgrade`` makes an empty schema whole from ``schema.py``; this one changes nothing."""

revision = "0.1.0"
down_revision = None


def upgrade() -> None:
    """Nothing is older."""
