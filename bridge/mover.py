"""The command about a ledger that no bridge uses: `storage migrate`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from bridge.config import ConfigError, load
from bridge.store.engine import StoreError
from bridge.store.move import move
from bridge.store.postgres import Postgres, is_url


@click.group()
def storage() -> None:
    """Move a ledger to another database, while no bridge runs."""


@storage.command("migrate")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="sqlite:////FILE",
    help="The ledger that the bridge has used so far.",
)
@click.option(
    "--config.file",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The configuration as it is to be: its storage.url is an empty PostgreSQL.",
)
def migrate(source: str, config_file: Path) -> None:
    """Copy a SQLite ledger into the PostgreSQL of a configuration, whole or not at all.

    Stop the bridge before, and start it with the new configuration after: what still has to ring then
    rings. Enrolled phones, incidents and the record go along. The file is left as a copy that no bridge
    opens any more.
    """
    try:
        storage = load(config_file).storage
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    if not is_url(storage.url):
        raise click.ClickException(f"storage.url of {config_file} is not postgresql://...: nothing is moved")
    target = Postgres(storage.url, None if storage.password is None else storage.password.reveal())
    try:
        asyncio.run(move(source, target, datetime.now(UTC), _say))
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Moved to {target.shown}. Start the bridge with --config.file={config_file}")


def _say(table: str, rows: int) -> None:
    click.echo(f"{table:<14} {rows:>9,} rows")
