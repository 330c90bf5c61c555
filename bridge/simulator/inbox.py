"""The incidents that the app on a phone shows: the bridge's list, and what its stream said since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

_CLOSED_KEPT: Final = 20


class Inbox:
    """Incidents as the phone protocol writes them, by id."""

    def __init__(self) -> None:
        self._incidents: dict[str, dict[str, Any]] = {}

    def fill(self, listed: Iterable[dict[str, Any]]) -> None:
        """Take the bridge's list in place of everything."""
        self._incidents = {incident["id"]: incident for incident in listed}

    def put(self, incident: dict[str, Any], number: str) -> None:
        """Take what event `number` said about one incident. Of those that are over the newest are kept.

        The number stands in it as `last_event`: a note, for instance, changes nothing else.
        """
        self._incidents[incident["id"]] = incident | {"last_event": number}
        closed = [one["id"] for one in self.items() if one["state"] == "resolved"]
        for name in closed[_CLOSED_KEPT:]:
            del self._incidents[name]

    def items(self) -> list[dict[str, Any]]:
        """List them: the open ones first, then the newest."""
        newest = sorted(self._incidents.values(), key=lambda one: str(one["opened_at"]), reverse=True)
        return sorted(newest, key=lambda one: bool(one["state"] == "resolved"))
