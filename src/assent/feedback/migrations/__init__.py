"""How the tables came to be: Alembic migrations, run by `feedback.database.upgrade`."""
