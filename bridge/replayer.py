"""Sends failed pages again: the record of who asked and the new pages are one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bridge import replay
from bridge.config import Settings
from bridge.desk import act, apply
from bridge.incidents import Change
from bridge.replay import Failed
from bridge.store import Scope, Tx, failed


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one incident's failed pages; `why` where nothing did."""

    incident: str
    title: str
    pages: tuple[str, ...]
    does: str
    why: str


@dataclass(frozen=True, slots=True)
class Wish:
    """Which failed pages are to be sent again: those made in a span. `dry_run`: only tell."""

    since: datetime
    until: datetime
    by: str
    dry_run: bool = False


async def again(tx: Tx, settings: Settings, incident_id: str, wish: Wish) -> Replayed | None:
    """Send an incident's failed pages again; None where it has none."""
    found = await failed.pages_of(tx.connection, incident_id, wish.since, wish.until, replay.FAILED)
    incidents = await tx.incidents(Scope(ids=(incident_id,)))
    if not incidents or not found:
        return None
    (incident,) = incidents
    pages = [Failed(page, outcome) for page, outcome in found]
    posts = [replay.again(page, tx.now).id for page, _ in found if page.kind == "webhook"]
    it = replay.plan(incident, pages, await failed.known(tx.connection, posts), tx.now)
    if not it.why and not wish.dry_run:
        verb = replay.verb(it, pages, wish.by)
        await apply(tx, settings, [act(settings, Change(incident), verb, await tx.roster(), tx.now)])
    title = dict(incident.slot.group).get("alertname", "")
    return Replayed(incident_id, title, tuple(page.id for page, _ in found), it.does, it.why)
