"""What Alembic runs for every migration: the connection comes from ``postgres_schema``, and so does the transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
