"""A configuration file to the commands that ask no bridge: who would be on call, which way alerts go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import click
from msgspec.structs import replace

from bridge import routing
from bridge.calendars import Agenda
from bridge.config import ConfigError, Feed, Settings, load
from bridge.feeds import FeedError, Validators, get, parse
from bridge.oncall import OnCall, Phone, Roster
from bridge.schedules import Schedule
from bridge.views import account


def loaded(file: Path) -> Settings:
    """Read a configuration file as `read` does; its problems end the command."""
    try:
        return read(file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def read(file: Path) -> Settings:
    """Read a configuration file with its calendars. Raises ConfigError.

    A calendar that cannot be read is warned of: nobody is on call by it.
    """
    settings = load(file)
    return asyncio.run(_with_calendars(settings)) if settings.feeds else settings


async def _with_calendars(settings: Settings) -> Settings:
    found = {}
    async with aiohttp.ClientSession() as session:
        for name, feed in settings.feeds.items():
            agenda, problem = await calendar(session, feed, settings.schedules[name], settings)
            if problem is not None:
                click.echo(f"WARNING: the calendar of schedule {name}: {problem}", err=True)
            if agenda is not None:
                found[name] = agenda
    return settings.with_calendars(found)


async def calendar(
    session: aiohttp.ClientSession, feed: Feed, schedule: Schedule, settings: Settings
) -> tuple[Agenda | None, str | None]:
    """Read a calendar, also at a URL; or say why it cannot be read."""
    try:
        got = await get(session, feed, Validators())
        return (parse(got[1], schedule.zone, settings.spellings) if got else None), None
    except FeedError as error:
        return None, str(error)


def on_call(settings: Settings, enrolled: Iterable[Phone] = ()) -> OnCall:
    """Say who carries the phone as far as the file knows; `enrolled` are phones that only a bridge knows.

    What became of tokens, only the running bridge can tell.
    """
    known = {
        device.name: Phone(
            device.name, device.owner, device.voip_token is not None, device.alert_token is not None
        )
        for device in settings.devices.values()
    }
    known |= {phone.name: replace(phone, enrolled=True) for phone in enrolled}
    return settings.on_call(Roster(tuple(known.values())))


def explained(
    settings: Settings, labels: Mapping[str, str], source: str, at: datetime, enrolled: Iterable[Phone] = ()
) -> dict[str, Any]:
    """Give the account of an alert's way, as the running bridge does."""
    explanation = routing.explain(settings.route, labels, at, settings.time_intervals)
    beats = settings.heartbeats.values()
    return account.account(explanation, source, beats, settings.receiver, on_call(settings, enrolled))
