"""Alembic's environment: runs on the connection that ``imagesys_lib.db.upgrade`` hands over."""

from alembic import context

from imagesys_lib.db.schema import shared_metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=shared_metadata)
with context.begin_transaction():
    context.run_migrations()
