"""Alembic's environment: runs the migrations on the connection that `exchange.control.database.upgrade` hands over.

There is no command line and no ini file. The caller owns the transaction, so that an upgrade is all or nothing.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
