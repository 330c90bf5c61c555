"""What a phone may see and do: the incidents that ring its owner, or could."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge import incidents, people
from bridge.api.answers import problem
from bridge.api.phone import shapes, telling
from bridge.api.phone.operations import Answer, Asked, Operation
from bridge.desk import Desk
from bridge.digest import digest
from bridge.people import Verb
from bridge.store import calls, owned
from bridge.store.actions import Once
from bridge.store.enrolment import Enrolled
from bridge.store.owned import View
from bridge.store.tx import load_incidents
from bridge.texts import rfc3339

_MOST: Final = 100
_CHOICES: Final = (
    ("state", "query", {"type": "string", "enum": ["open", "all"], "default": "open"}),
    ("limit", "query", {"type": "integer", "minimum": 1, "maximum": _MOST, "default": _MOST}),
    ("before", "query", {"type": "string", "description": "The `next` of the page before."}),
)


def view(desk: Desk, device: Enrolled) -> View:
    """Give what this device's owner may see."""
    return View(device.owner, desk.settings.receivers_of(device.owner, desk.clock.now()))


class Incidents:
    """The operations on incidents and calls."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def operations(self) -> list[Operation]:
        """Give the operations."""
        here = "/api/v1/incidents"
        reading = [
            Operation(
                "listIncidents",
                "GET",
                here,
                self.list,
                "List the incidents that ring this device's owner, or could; the newest first",
                shapes.Incidents,
                refusals=(400,),
                parameters=_CHOICES,
            ),
            Operation(
                "showIncident",
                "GET",
                f"{here}/{{id}}",
                self.show,
                "Show an incident with its alerts and timeline",
                shapes.Story,
                refusals=(404,),
            ),
            Operation(
                "showCall",
                "GET",
                "/api/v1/calls/{id}",
                self.call,
                "Show all that a call of this device is about, also what its push had no room for",
                shapes.Call,
                refusals=(404,),
            ),
        ]
        return reading + [
            Operation(
                name,
                "POST",
                f"{here}/{{id}}/{path}",
                partial(self.act, verb),
                summary,
                shapes.Incident,
                body=body,
                refusals=(400, 404, 413),
            )
            for name, path, body, verb, summary in _ACTS
        ]

    async def list(self, asked: Asked) -> Answer:
        """List incidents."""
        query = asked.request.query
        state, limit, before = query.get("state", "open"), query.get("limit", str(_MOST)), query.get("before")
        if state not in {"open", "all"}:
            return problem(400, "state is open or all")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= _MOST):
            return problem(400, f"limit is a number from 1 to {_MOST}")
        place = None if before is None else _read_place(before)
        if before is not None and place is None:
            return problem(400, "before is not the `next` of a page of this list")
        rows = await self._desk.store.read(
            partial(
                owned.list_incidents,
                view=view(self._desk, asked.sender),
                closed=state == "all",
                limit=int(limit) + 1,
                before=place,
            )
        )
        shown = rows[: int(limit)]
        more = _place(shown[-1]) if len(rows) > len(shown) else None
        return shapes.Incidents(tuple(map(telling.incident, shown)), more)

    async def show(self, asked: Asked) -> Answer:
        """Show one incident."""
        name = asked.part("id")

        async def query(connection: AsyncConnection) -> shapes.Story | None:
            found = await owned.find_incident(connection, view(self._desk, asked.sender), name)
            if found is None:
                return None
            return telling.story(found, (await owned.timelines(connection, [name]))[name])

        found = await self._desk.store.read(query)
        return _no_such() if found is None else found

    async def call(self, asked: Asked) -> Answer:
        """Show one call."""
        name = asked.part("id")

        async def query(connection: AsyncConnection) -> shapes.Call | None:
            call = await calls.find(connection, name)
            if call is None or call.device != asked.sender.name:
                return None
            ids = [incident for incident, _ in call.carries]
            found = await load_incidents(connection, ids)
            lines = await owned.timelines(connection, ids)
            return shapes.Call(
                id=call.id,
                uuid=call.uuid,
                state=await calls.state(connection, name),
                created_at=rfc3339(call.created_at),
                expires_at=rfc3339(call.expires_at),
                incidents=tuple(telling.story(case.incident, lines[case.id]) for case in digest(found).cases),
            )

        found = await self._desk.store.read(query)
        return problem(404, "there is no such call of this device") if found is None else found

    async def act(self, make: Callable[[Asked, datetime], Verb], asked: Asked) -> Answer:
        """Do something to an incident, once for each event_id."""
        name, seen = asked.part("id"), view(self._desk, asked.sender)
        if await self._desk.store.read(lambda c: owned.find_incident(c, seen, name)) is None:
            return _no_such()
        once = Once(asked.sender.name, asked.body.event_id)
        done = await self._desk.act(name, make(asked, self._desk.clock.now()), once)
        return _no_such() if done is None else telling.incident(done)


def _acknowledge(asked: Asked, _: datetime) -> Verb:
    return people.acknowledge(asked.sender.owner)


def _unacknowledge(asked: Asked, _: datetime) -> Verb:
    return people.unacknowledge(asked.sender.owner)


def _hand_on(asked: Asked, _: datetime) -> Verb:
    return people.hand_on(asked.sender.owner)


def _silence(asked: Asked, now: datetime) -> Verb:
    body: shapes.Silence = asked.body
    return people.silence(now + timedelta(seconds=body.seconds), asked.sender.owner)


def _note(asked: Asked, _: datetime) -> Verb:
    body: shapes.Note = asked.body
    return people.note(body.text, asked.sender.owner)


_SILENCE: Final = (
    "Let nothing of it ring for a while, news included; its alerts are silenced in Alertmanager too, "
    "where the bridge is allowed to"
)

_ACTS: Final[tuple[tuple[str, str, type[shapes.Act], Callable[[Asked, datetime], Verb], str], ...]] = (
    ("acknowledge", "acknowledge", shapes.Act, _acknowledge, "Take it: every ring of it ends"),
    ("unacknowledge", "unacknowledge", shapes.Act, _unacknowledge, "Give it back: it rings from step 1"),
    ("handOn", "hand-on", shapes.Act, _hand_on, "Hand it on to the next step, which rings at once"),
    ("silence", "silence", shapes.Silence, _silence, _SILENCE),
    ("addNote", "notes", shapes.Note, _note, "Write a line into its timeline"),
)


def _no_such() -> web.Response:
    return problem(404, "there is no such incident for this device's owner")


def _place(incident: incidents.Incident) -> str:
    text = f"{incident.opened_at.isoformat()} {incident.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_place(text: str) -> tuple[datetime, str] | None:
    try:
        plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        at, _, name = plain.partition(" ")
        return datetime.fromisoformat(at).astimezone(UTC), name.replace("\0", "\ufffd")
    except (binascii.Error, ValueError, OverflowError):
        return None
