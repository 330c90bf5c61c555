"""What a transaction knows and has decided, before it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from bridge.alerts import Notification
from bridge.incidents import Change, Event, Incident, Page, Slot


@dataclass(frozen=True, slots=True)
class Scope:
    """Which incidents a decision needs.

    The open ones of `slots`, the open ones in which an alert of (`source`, `fingerprints`) is
    open, and those of `ids` whatever their state.
    """

    slots: tuple[Slot, ...] = ()
    source: str = ""
    fingerprints: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A notification that was taken in, when, and the incidents that it touched as they became by it."""

    notification: Notification
    at: datetime
    incidents: tuple[Incident, ...]


class Stage:
    """Incidents as they were loaded and as they will be, with the pages and events to write."""

    def __init__(self) -> None:
        self._before: dict[str, Incident] = {}
        self._after: dict[str, Incident] = {}
        self._slots: dict[Slot, str] = {}
        # (source, fingerprint) -> the incidents in which that alert was open at some time in this stage
        self._holders: dict[tuple[str, str], set[str]] = {}
        self.withdrawn: dict[str, str] = {}
        self.pages: dict[str, Page] = {}
        self._pages_of: dict[str, list[str]] = {}
        self.dropped: dict[str, str] = {}
        self.events: list[tuple[str, Event]] = []
        self.accepted: list[Accepted] = []

    @property
    def known(self) -> set[str]:
        """The ids of the incidents that need not be loaded."""
        return set(self._after)

    def loaded(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as the ledger has them."""
        for incident in incidents:
            self._before[incident.id] = incident
            self._know(incident)

    def take(self, change: Change) -> None:
        """Take a decision: it replaces what was staged of its incident, and may withdraw its pages."""
        incident = change.incident
        if change.withdraw is not None:
            if incident.id in self._before:  # another has no pages in the ledger
                self.withdrawn[incident.id] = change.withdraw
            for name in self._pages_of.get(incident.id, ()):
                self.dropped.setdefault(name, change.withdraw)
        self.put(change.pages)
        self.events += [(incident.id, event) for event in change.events]
        self._know(incident)

    def put(self, pages: Iterable[Page]) -> None:
        """Take pages that are to be written."""
        for page in pages:
            self.pages[page.id] = page
            self._pages_of.setdefault(page.incident_id, []).append(page.id)

    def _know(self, incident: Incident) -> None:
        self._after[incident.id] = incident
        if incident.open:
            self._slots[incident.slot] = incident.id
        elif self._slots.get(incident.slot) == incident.id:
            del self._slots[incident.slot]
        for episode in incident.firing:
            self._holders.setdefault((incident.slot.source, episode.fingerprint), set()).add(incident.id)

    def matching(self, *scopes: Scope) -> tuple[Incident, ...]:
        """Give the incidents of these scopes, as they are staged now, each once."""
        return tuple({incident.id: incident for scope in scopes for incident in self._of(scope)}.values())

    def _of(self, scope: Scope) -> Iterator[Incident]:
        for slot in scope.slots:
            if slot in self._slots:
                yield self._after[self._slots[slot]]
        for fingerprint in scope.fingerprints:
            for name in sorted(self._holders.get((scope.source, fingerprint), ())):
                episode = self._after[name].alerts[fingerprint]
                if episode.open:
                    yield self._after[name]
        for name in scope.ids:
            if name in self._after:
                yield self._after[name]

    def changed(self) -> list[tuple[Incident | None, Incident]]:
        """List what is to be written: (as the ledger has it, as it will be)."""
        pairs = ((self._before.get(name), after) for name, after in self._after.items())
        return [(before, after) for before, after in pairs if before != after]

    def perhaps_known(self) -> list[str]:
        """List the pages that the ledger may have already: those of incidents that it has."""
        new = {after.id for before, after in self.changed() if before is None}
        return [page.id for page in self.pages.values() if page.incident_id not in new]

    def written(self) -> None:
        """Start from what has been written."""
        self._before = dict(self._after)
        self.withdrawn, self.pages, self._pages_of, self.dropped = {}, {}, {}, {}
        self.events, self.accepted = [], []
