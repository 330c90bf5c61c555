"""The commands about who is on call: of a running bridge, or of a configuration file alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
import orjson

from bridge import listings, onfile
from bridge.config import ConfigError, Settings, load
from bridge.config.values import any_moment
from bridge.manage import Bridge, ask, asking, say
from bridge.oncall import outlook
from bridge.schedules import AHEAD, instant

_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_YEARS: Final = (2000, 2200)


@click.group()
def oncall() -> None:
    """See who is on call, and put somebody else on call for a time."""


@oncall.command("show")
@asking
@click.option(
    "--at",
    help="Each schedule's own time, such as '2026-01-31 18:00', or one with an offset; now if absent.",
)
@click.option("--config.file", "config_file", type=_FILE, help="Ask this file, instead of a running bridge.")
def show(bridge: Bridge, output: str, at: str | None, config_file: Path | None) -> None:
    """Say of each schedule who is on call, who follows, and the gaps of the coming four weeks."""
    now = datetime.now(UTC) if at is None else _moment(at)
    if config_file is None:
        found = ask(bridge, "GET", "/api/v1/oncall", {} if at is None else {"at": at})
    else:
        found = orjson.loads(orjson.dumps(_of_file(config_file, now)))
    say(found, output, listings.on_call)


@oncall.command("override")
@asking
@click.option("--from", "begin", help="When it begins; now if absent.")
@click.option("--to", "end", help="When it ends.")
@click.option("--by", default="", help="Who says so, where the bridge does not ask for credentials.")
@click.option("--delete", "key", type=click.IntRange(1), help="Delete the override of this number.")
@click.argument("schedule", required=False)
@click.argument("person", required=False)
def override(
    bridge: Bridge,
    output: str,
    begin: str | None,
    end: str | None,
    by: str,
    key: int | None,
    schedule: str | None,
    person: str | None,
) -> None:
    """Put PERSON on call by SCHEDULE for a time, whoever's turn it is.

    Times are the schedule's own, such as "2026-01-31 18:00", or have an offset: 2026-01-31T18:00:00+01:00.
    """
    if key is not None and schedule is None:
        found = ask(bridge, "DELETE", f"/api/v1/overrides/{key}")
        say(found, output, lambda found: [f"override {found['deleted']} is deleted"])
        return
    if key is not None or schedule is None or person is None or end is None:
        raise click.UsageError("give SCHEDULE, PERSON and --to, or --delete alone")
    query = {"schedule": schedule, "person": person, "to": end}
    query |= {name: value for name, value in (("from", begin), ("by", by)) if value}
    found = ask(bridge, "POST", "/api/v1/overrides", query)
    say(found, output, lambda found: [listings.override(found)])
    for caution in found["cautions"]:
        click.echo(f"WARNING: {listings.text(caution)}", err=True)


def _moment(text: str) -> datetime:
    try:
        found = any_moment(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from None
    if not _YEARS[0] <= found.year <= _YEARS[1]:
        raise click.BadParameter(f"{text!r} is not a time of these years", param_hint="--at")
    return found


def _of_file(file: Path, now: datetime) -> dict[str, Any]:
    """Answer as the running bridge does, without what only that knows: overrides written to it."""
    try:
        settings = load(file, instant(now, UTC))
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    return {"at": now, "schedules": asyncio.run(_look(settings, now))}


async def _look(settings: Settings, now: datetime) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session:
        found = []
        for name, schedule in settings.schedules.items():
            feed = settings.feeds.get(name)
            agenda, problem = (
                await onfile.calendar(session, feed, schedule, settings) if feed else (None, None)
            )
            at = instant(now, schedule.zone)
            doubts = agenda.doubts(at, at + AHEAD) if agenda else ()
            calendar = (
                {"read_at": None, "stale_seconds": 0, "problem": problem, "doubts": doubts} if feed else None
            )
            found.append(outlook(replace(schedule, calendar=agenda), at) | {"calendar": calendar})
        return found
