"""Somebody else on call for a time: what is asked for, read and judged, then written down.

The management API and the console's form take the same texts, and refuse them in the same words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import structlog

from bridge.config import Settings
from bridge.config.problems import quote, suggest
from bridge.config.values import moment
from bridge.desk import Desk
from bridge.oncall import Roster
from bridge.schedules import Override, Schedule, instant
from bridge.store import Topic, Tx
from bridge.store import overrides as ledger

Field: TypeAlias = Literal["schedule", "person", "from", "to"]

log = structlog.get_logger()

_LONGEST: Final = timedelta(days=366)


class Unfit(ValueError):
    """What is asked for cannot be: `field` says which part of it, `missing` that it is of a name unknown."""

    def __init__(self, field: Field, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.field = field
        self.missing = missing


def read(settings: Settings, wish: Mapping[str, str], by: str, now: datetime) -> tuple[str, Override]:
    """Read `schedule`, `person`, `from` (now where absent) and `to`; gives the schedule's name too.

    Times without an offset are the schedule's own. Raises Unfit.
    """
    name = _known("schedule", wish, settings.schedules)
    person = _known("person", wish, settings.people)
    schedule = settings.schedules[name]
    start = now if "from" not in wish else instant(_moment("from", wish), schedule.zone)
    if "to" not in wish:
        raise Unfit("to", "it has no end")
    end = instant(_moment("to", wish), schedule.zone, end=True)
    if end <= start:
        raise Unfit("to", f"it ends before it begins: {_span(schedule, start, end)}")
    if end <= now:
        raise Unfit("to", f"it is over already: {_span(schedule, start, end)}")
    if end - start > _LONGEST:
        raise Unfit("to", "it is longer than a year: change the schedule instead")
    return name, Override(person, start, end, by)


async def write(desk: Desk, schedule: str, override: Override) -> tuple[int, Roster]:
    """Write it into the ledger: the next ring goes by it. Gives its number, and who can be rung."""

    async def job(tx: Tx) -> tuple[int, Roster]:
        tx.tell(Topic.STORY)
        return await ledger.add(tx.connection, schedule, override, tx.now), await tx.roster()

    key, roster = await desk.store.write(job)
    log.info(
        "override written",
        id=key,
        schedule=schedule,
        person=override.person,
        by=override.by,
        start=override.start,
        end=override.end,
    )
    return key, roster


async def delete(desk: Desk, number: str, by: str) -> int | None:
    """Delete the one of this number, which was written here; None where there is none."""
    key = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0

    async def job(tx: Tx) -> bool:
        tx.tell(Topic.STORY)
        return await ledger.remove(tx.connection, key)

    if not await desk.store.write(job):
        return None
    log.info("override deleted", id=key, by=by)
    return key


def _known(field: Literal["schedule", "person"], wish: Mapping[str, str], names: Collection[str]) -> str:
    name = wish.get(field, "")
    if name not in names:
        raise Unfit(field, f"there is no {field} {quote(name)}{suggest(name, names)}", missing=True)
    return name


def _moment(field: Literal["from", "to"], wish: Mapping[str, str]) -> datetime:
    try:
        return moment(wish[field])
    except ValueError as error:
        raise Unfit(field, str(error)) from None


def _span(schedule: Schedule, start: datetime, stop: datetime) -> str:
    begin, end = (at.astimezone(schedule.zone).isoformat(" ", "minutes") for at in (start, stop))
    return f"from {begin} to {end}"
