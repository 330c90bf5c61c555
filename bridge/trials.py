"""`devices test` and `receivers test`: begin a test at a running bridge, tell what happens as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import click

from bridge import listings
from bridge.client import Client, ClientError

_PERIOD: Final = 0.3
"""Seconds between two looks: the times that are told are the bridge's own."""

_PATIENCE: Final = 100
"""Looks in vain, one after the other: a bridge may be started again in the middle of a test."""

Say = Callable[[str], None]


async def follow(client: Client, query: Mapping[str, str], say: Say) -> dict[str, Any]:
    """Begin a test, say what happens, and give the last report; whoever cancels it ends the ringing.

    Raises ClientError.
    """
    begun = await client.ask("POST", "/api/v1/tests", query)
    path = f"/api/v1/tests/{quote(begun['id'], safe='')}"
    try:
        return await _watch(client, path, say)
    finally:
        # After a cancellation too: what is awaited here is not cancelled a second time.
        await client.ask("DELETE", path, _by(query))


def _by(query: Mapping[str, str]) -> dict[str, str]:
    return {"by": query["by"]} if "by" in query else {}


async def _watch(client: Client, path: str, say: Say) -> dict[str, Any]:
    told: set[str] = set()
    failures = 0
    while True:
        try:
            found: dict[str, Any] = await client.ask("GET", path, {})
            failures = 0
        except ClientError as error:
            failures += 1
            if failures == 1:
                click.echo(f"WARNING: {error}; it rings on, and is looked for again", err=True)
            if failures == _PATIENCE:
                raise
        else:
            for line in listings.handovers(found, told):
                say(line)
            if found["over"]:
                return found
        await asyncio.sleep(_PERIOD)
