"""Runs the migrations on the connection that `feedback.database` gives, inside its transaction."""

from alembic import context

from assent.feedback.schema import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Base.metadata, render_as_batch=connection.dialect.name == "sqlite"
)
context.run_migrations()
