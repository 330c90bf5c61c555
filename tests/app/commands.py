"""The program's commands, run in the process."""

from __future__ import annotations

import asyncio
from typing import Any

from appworld import World
from click.testing import CliRunner, Result

from bridge.cli import main


def run(*arguments: str, **options: Any) -> Result:
    """Run a command that asks nobody in this process."""
    return CliRunner().invoke(main, arguments, **options)


async def ask(world: World, *arguments: str, url: str | None = None, **options: Any) -> Result:
    """Run a command about the running bridge, in a thread, for the bridge runs in this one."""
    return await asyncio.to_thread(run, *arguments, f"--bridge.url={url or world.url}", **options)
