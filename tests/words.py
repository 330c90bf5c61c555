"""Holds each commit's words against its rows: whoever writes what a loop waits for has to say so, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.alerts import DRILL_SOURCE
from bridge.store import Store, Topic
from bridge.store.tables import (
    OPEN_PAGE,
    OPEN_SILENCE,
    SENDING_CALL,
    calls,
    devices,
    incidents,
    overrides,
    pages,
    silences,
    timeline,
)
from bridge.store.topics import NEVER, News

_DUE = {
    Topic.PAGES: [select(pages.c.id, pages.c.next_attempt_at).where(OPEN_PAGE)],
    Topic.CLOCK: [
        select(incidents.c.id, incidents.c.wake_at).where(incidents.c.wake_at.is_not(None)),
        select(calls.c.id, calls.c.receipt_due_at).where(calls.c.receipt_due_at.is_not(None)),
    ],
    Topic.SILENCES: [select(silences.c.incident_id, silences.c.next_attempt_at).where(OPEN_SILENCE)],
}

_SHOWN = [
    select(pages.c.id, pages.c.outcome, pages.c.reason),
    select(calls.c.id, calls.c.state).where(~SENDING_CALL),
    select(
        devices.c.name,
        devices.c.owner,
        devices.c.voip_token,
        devices.c.voip_trouble,
        devices.c.alert_token,
        devices.c.alert_trouble,
        devices.c.encryption_key,
        devices.c.silent_calls,
        devices.c.removed_at,
    ),
    select(overrides),
]
"""What the console shows beside incidents: what became of pages, calls, phones."""


@dataclass
class _Picture:
    """What loops wait for. `due`: when each row is due, by topic; what somebody is shown; the drills.

    Of what is deleted nobody has to hear: it was over for days.
    """

    due: Mapping[Topic, Mapping[str, datetime]]
    newest: int
    story: frozenset[Any]
    drills: frozenset[Any]


async def _picture(connection: AsyncConnection) -> _Picture:
    due: dict[Topic, dict[str, datetime]] = {}
    for topic, queries in _DUE.items():
        found = [row for query in queries for row in await connection.execute(query)]
        due[topic] = {name: at for name, at in found}  # noqa: C416 - dict() takes a result for a mapping
    columns = (incidents.c.id, incidents.c.state, incidents.c.revision, incidents.c.step, incidents.c.ring)
    found = (await connection.execute(select(*columns, incidents.c.source).order_by(incidents.c.id))).all()
    newest = (await connection.execute(select(func.max(timeline.c.id)))).scalar()
    shown = [tuple(row) for query in _SHOWN for row in await connection.execute(query)]
    drills = frozenset(row for row in found if row.source == DRILL_SOURCE)
    return _Picture(due, newest or 0, frozenset((*found, *shown)), drills)


def _unsaid(before: _Picture, after: _Picture, news: News) -> Iterator[str]:
    """What has changed of which nothing was said: rows that are due sooner than they were, or new."""
    for topic, due in after.due.items():
        for name, at in due.items():
            known = before.due[topic].get(name, NEVER)
            if at < known and at < news.get(topic, NEVER):
                yield f"{topic}: {name} is due at {at}"
    told = after.newest > before.newest or after.story - before.story
    if told and Topic.STORY not in news:
        yield f"what is shown is another: {after.story - before.story}"
    if after.drills - before.drills and Topic.DRILLS not in news:
        yield "a drill is another"


@contextmanager
def held_to_its_words(store: Store) -> Iterator[None]:
    """Let no transaction of the store change what it says nothing of."""
    run, said = store._writer._run_jobs, list[str]()

    async def held(connection: AsyncConnection, jobs: Sequence[Any]) -> Sequence[Any]:
        before = await _picture(connection)
        results = await run(connection, jobs)
        said.extend(_unsaid(before, await _picture(connection), store._news))
        return results

    store._writer._run_jobs = held
    yield
    assert said == [], said
