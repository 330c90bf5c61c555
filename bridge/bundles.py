"""Which due pages travel together, and which must wait: one call at a time on each phone. Pure.

Rule 5 of the design lives here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final, Literal, TypeAlias, get_args

import msgspec
from msgspec.structs import replace

from bridge.incidents import QUIET, Incident, Page, PageKind, State, stable_id
from bridge.pushes import PushKind


class Call(msgspec.Struct, frozen=True):
    """What the phone shows: a CallKit call, or a notification (`push` "alert") that stands for one.

    `id` names the record and is the push's apns-id; `uuid` is CallKit's. `carries` are the
    (incident id, revision) pairs that an answer acknowledges.
    """

    id: str
    uuid: str
    device: str
    push: PushKind
    kind: PageKind
    carries: tuple[tuple[str, int], ...]
    created_at: datetime
    expires_at: datetime


class Line(msgspec.Struct, frozen=True):
    """An open page of the outbox: `attempt` counts its claims so far, `call_id` binds it for good."""

    page: Page
    attempt: int = 0
    call_id: str | None = None


class Handset(msgspec.Struct, frozen=True):
    """What the last call left on a device, and what waits for it.

    `sending`: a call is on its way to it that nobody has settled. `pace`: seconds between the
    rings of a step, the shortest of those whose repeated ring (ring 2 and later) is due; None: none is.
    `drill`: that last call was a drill's.
    """

    called_at: datetime | None = None
    live_until: datetime | None = None
    sending: bool = False
    pace: float | None = None
    drill: bool = False

    def may_ring(self, now: datetime, quiet_gap: timedelta, *, drill: bool = False) -> bool:
        """One call at a time, then the quiet gap; only a repeated ring keeps the pace it was given.

        Without that the gap would stretch "every 45s, for 30s" to every 60 s (docs/adr/0004). What is no
        `drill` owes no gap to one.
        """
        if self.sending:
            return False
        if self.live_until is None or self.called_at is None:
            return True
        if now < self.live_until:
            return False
        if now >= self.live_until + quiet_gap or (self.drill and not drill):
            return True
        since = (now - self.called_at).total_seconds()
        # Nine tenths: the ring's pace counts from its decision, the call from its claim a moment later.
        return self.pace is not None and since >= 0.9 * self.pace

    def free_at(self, now: datetime, quiet_gap: timedelta) -> datetime | None:
        """Say when it may be free: as its call ends or its gap; None where no time says so."""
        ends = () if self.live_until is None else (self.live_until, self.live_until + quiet_gap)
        return next((at for at in ends if at > now), None)


class Bundle(msgspec.Struct, frozen=True):
    """What one push (or one outgoing webhook, without a call) carries."""

    lines: tuple[Line, ...]
    call: Call | None = None


Blind: TypeAlias = Callable[[str], str]
"""Gives a UUID in place of another, always the same one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send now, and the pages whose call can no longer be of use."""

    bundles: tuple[Bundle, ...] = ()
    late: tuple[Line, ...] = ()


def plan(
    due: Iterable[Line],
    handsets: Mapping[str, Handset],
    calls: Mapping[str, Call],
    now: datetime,
    quiet_gap: timedelta,
) -> Plan:
    """Bind due pages to pushes: a page that was bound before is repeated with its call, unchanged.

    `calls` holds the call of each line that is bound. Pages that are due and in neither part of
    the Plan wait for their phone. A drill travels with nothing else, and waits for all else.
    """
    bundles: list[Bundle] = []
    late: list[Line] = []
    called: set[str] = set()
    for (target, kind, drill), group in groupby(
        sorted(due, key=_travel_key), key=lambda line: _travel_key(line)[:3]
    ):
        lines = tuple(group)
        if kind == "webhook":
            bundles.extend(Bundle((line,)) for line in lines)
            continue
        bound = _by_call(lines)
        for call_id, members in bound.items():
            call = calls[call_id]
            if call.expires_at > now:
                bundles.append(Bundle(members, call))
            else:
                late.extend(members)
        fresh = tuple(line for line in lines if line.call_id is None)
        handset = handsets.get(target, Handset())
        free = not bound and target not in called and handset.may_ring(now, quiet_gap, drill=drill)
        if fresh and (kind != "voip" or free):
            bundles.append(_new_call(target, fresh, now))
            called |= {target} if kind == "voip" else set()
    return Plan(tuple(bundles), tuple(late))


def _travel_key(line: Line) -> tuple[str, str, bool, datetime, str]:
    """What may travel together: calls, notifications, and quiet notifications, each with its like.

    Whoever answers a drill must not acknowledge something real unnoticed.
    """
    page = line.page
    kind = page.kind if page.kind == "webhook" or page.kind in QUIET else page.push
    return (page.target, kind, page.drill, page.due_at, page.id)


def _by_call(lines: Iterable[Line]) -> dict[str, tuple[Line, ...]]:
    found: dict[str, tuple[Line, ...]] = {}
    for line in lines:
        if line.call_id is not None:
            found[line.call_id] = (*found.get(line.call_id, ()), line)
    return found


def _new_call(device: str, lines: tuple[Line, ...], now: datetime) -> Bundle:
    """Make the call; the page that fell due first anchors it, so a second try finds the same ids (rule 8)."""
    anchor = lines[0].page
    lasts = (
        anchor.lasts
        if anchor.push == "voip"
        else max(anchor.lasts, (anchor.expires_at - now).total_seconds())
    )
    call = Call(
        id=stable_id("call record", anchor.id),
        uuid=anchor.call_uuid,
        device=device,
        push=anchor.push,
        kind=anchor.kind,
        carries=tuple(sorted({(line.page.incident_id, line.page.revision) for line in lines})),
        created_at=now,
        expires_at=now + timedelta(seconds=lasts),
    )
    return Bundle(lines, call)


def blinded(bundles: Iterable[Bundle], blind: Blind) -> tuple[Bundle, ...]:
    """Give new calls the names that `blind` has for theirs; a call that was bound before keeps its own."""
    return tuple(
        bundle
        if bundle.call is None or bundle.lines[0].call_id is not None
        else replace(
            bundle, call=replace(bundle.call, id=blind(bundle.call.id), uuid=blind(bundle.call.uuid))
        )
        for bundle in bundles
    )


CallEnd: TypeAlias = Literal["acknowledged", "withdrawn", "expired", "resolved"]


def over(
    call: Call, incidents: Mapping[str, Incident], series: Mapping[str, int]
) -> tuple[CallEnd, str] | None:
    """Say why nobody needs to answer a call any more, and in words for its person; None while somebody must.

    `incidents` and the `series` in which they rang are by id. News alone ends no call: its own ring
    follows, and until then this one still calls for help.
    """
    ends = [_end(incidents.get(name), revision, series.get(name)) for name, revision in call.carries]
    reasons = [end for end in ends if end is not None]
    if len(reasons) < len(ends):
        return None
    return min(reasons, key=lambda end: _ENDS.index(end[0]), default=None)


_ENDS: Final[tuple[CallEnd, ...]] = get_args(CallEnd)


def _end(incident: Incident | None, revision: int, series: int | None) -> tuple[CallEnd, str] | None:
    if incident is None:
        return "withdrawn", "its record is gone"
    if incident.state is State.ACKNOWLEDGED:
        return "acknowledged", f"answered by {incident.acknowledged_by}"
    if incident.state is State.RESOLVED and incident.drill:
        return "withdrawn", "the drill is over"
    if incident.state is State.RESOLVED:
        expired = incident.resolution == "expired"
        return (
            ("expired", "expired: Alertmanager no longer mentions it")
            if expired
            else ("resolved", "resolved")
        )
    if incident.revision == revision and incident.series != series:
        return "withdrawn", "handed on, or silenced"
    return None
