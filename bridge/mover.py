"""The commands about a ledger itself: `storage migrate`, `storage backup`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from bridge.config import ConfigError, load
from bridge.config.settings import StorageSettings
from bridge.store.backup import backup
from bridge.store.engine import StoreError, database_path
from bridge.store.move import move
from bridge.store.postgres import Postgres, is_url


@click.group()
def storage() -> None:
    """Move a ledger to another database, while no bridge runs; copy one at any time."""


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
    storage = _storage(config_file)
    if not is_url(storage.url):
        raise click.ClickException(f"storage.url of {config_file} is not postgresql://...: nothing is moved")
    target = Postgres(storage.url, None if storage.password is None else storage.password.reveal())
    try:
        asyncio.run(move(source, target, datetime.now(UTC), _say))
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Moved to {target.shown}. Start the bridge with --config.file={config_file}")


@storage.command("backup")
@click.option(
    "--config.file",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The bridge's configuration: its storage.url names the ledger.",
)
@click.argument("file", type=click.Path(path_type=Path))
def backup_command(config_file: Path, file: Path) -> None:
    """Copy a SQLite ledger into FILE, which must not be there; a bridge may run meanwhile.

    To put it back, stop the bridge, and let the copy take the ledger's place, without the -wal and -shm
    that lie beside the old one.
    """
    url = _storage(config_file).url
    if is_url(url):
        raise click.ClickException("the ledger is a PostgreSQL: back that up with pg_dump")
    try:
        size = backup(database_path(url), file)
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Copied to {file}, {size:,} bytes")


def _storage(config_file: Path) -> StorageSettings:
    try:
        return load(config_file).storage
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def _say(table: str, rows: int) -> None:
    click.echo(f"{table:<14} {rows:>9,} rows")
