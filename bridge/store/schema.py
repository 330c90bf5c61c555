"""Changing the tables by alembic, which nothing but that needs: so it is loaded for it alone."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from bridge.store.engine import StoreError


def upgrade(connection: Connection, migrations: Path, name: str) -> None:
    """Go from whatever schema there is to the newest, in the connection's transaction. Raises StoreError."""
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"cannot open the ledger {name}: {error}") from error
