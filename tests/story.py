"""A story of pages told by the pure decisions alone: the ledger's part is played by two dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from builders import NOW, notification, phone, receiver

from bridge import escalation, lifecycle, people
from bridge.alerts import Alert
from bridge.incidents import Change, Incident, Page, Slot
from bridge.lifecycle import Destination, Times
from bridge.oncall import DeviceGroup, OnCall, Phone
from bridge.policy import Receiver
from bridge.schedules import Schedule

Decision = TypeVar("Decision")

SLOT = Slot("default", "platform", (("alertname", "DiskFull"),))
GROUPS = {name: DeviceGroup(name, owners) for name, owners in {
    "platform": ("alice",), "second": ("bob",), "both": ("alice", "bob")}.items()}  # fmt: skip
GROUPS["iphone"] = DeviceGroup("iphone", devices=("alice-iphone",))
GROUPS["on-call"] = DeviceGroup("on-call", schedules=("primary",))


class Story:
    """Moves time from one wake to the next, as the escalator does, and keeps what was decided."""

    def __init__(
        self,
        policy: Receiver | None = None,
        phones: Sequence[Phone] | None = None,
        times: Times | None = None,
    ) -> None:
        self.policy = policy or receiver()
        self.phones = [phone(), phone("bob-iphone")] if phones is None else list(phones)
        self.times = times or Times()
        self.now = NOW
        self.primary = Schedule("primary")
        self.incidents: dict[Slot, Incident] = {}
        self.closed: list[Incident] = []
        self.open_pages: dict[str, Page] = {}
        self.pages: list[Page] = []
        self.withdrawn: list[str] = []
        self.events: list[str] = []

    @property
    def incident(self) -> Incident:
        """The one open incident, else the one that closed last."""
        assert len(self.incidents) <= 1
        return next(iter(self.incidents.values()), None) or self.closed[-1]

    @property
    def rings(self) -> list[tuple[float, str, int, int]]:
        """Every ring or fallback: (seconds since NOW, device, step, ring)."""
        told = [page for page in self.pages if page.kind in {"ring", "fallback"}]
        return [((page.due_at - NOW).total_seconds(), page.target, page.step, page.ring) for page in told]

    @property
    def on_call(self) -> OnCall:
        return OnCall(GROUPS, tuple(self.phones), {"primary": self.primary})

    def receive(
        self, *alerts: Alert, to: Sequence[Slot] = (SLOT,), muted: float | None = None, **fields: object
    ) -> tuple[Change, ...]:
        """Let a notification arrive now; `muted` in seconds from now."""
        until = None if muted is None else self.now + timedelta(seconds=muted)
        ways = {alert.fingerprint: tuple(Destination(slot, until) for slot in to) for alert in alerts}
        message = notification(*alerts, **fields)

        def verb() -> tuple[Change, ...]:
            return lifecycle.receive(
                self.incidents, message, ways, lambda _: self.policy, self.on_call, self.times, self.now
            )

        changes = tuple(map(self.apply, self.decide(verb)))
        if any(change.incident.due_at == self.now for change in changes):
            self.advance()  # the end of a policy is left to the clock, which comes at once
        return changes

    def acknowledge(self, by: str = "alice", revision: int | None = None) -> Change:
        return self.act(people.acknowledge(by, revision))

    def act(self, verb: people.Verb) -> Change:
        """Let a person do something, as the desk does it."""
        change = Change(self.incident)

        def decision() -> Change:
            after = verb(change, self.policy, self.on_call, self.now)
            return lifecycle.advance(after, self.policy, self.on_call, self.now)

        return self.apply(self.decide(decision))

    def accept(self) -> None:
        """Let APNs take every open page."""
        for page in list(self.open_pages.values()):
            del self.open_pages[page.id]
            self.apply(escalation.accepted(Change(self.incident), page, self.policy, self.on_call))

    def drop_out(self, page: Page, why: str = "declined") -> Change:
        return self._without(escalation.drop_out, page, why)

    def fail_over(self, page: Page, why: str = "no receipt in time") -> Change:
        return self._without(escalation.fail_over, page, why)

    def _without(self, how: Callable[..., Change], page: Page, why: str) -> Change:
        self.open_pages.pop(page.id, None)
        change = Change(self.incident)

        def verb() -> Change:
            out = how(change, page, why, self.policy, self.on_call, self.now)
            return lifecycle.advance(out, self.policy, self.on_call, self.now)

        return self.apply(self.decide(verb))

    def advance(self) -> None:
        for incident in list(self.incidents.values()):
            change = Change(incident)
            self.apply(
                self.decide(
                    lambda change=change: lifecycle.advance(change, self.policy, self.on_call, self.now)
                )
            )

    def decide(self, verb: Callable[[], Decision]) -> Decision:
        return verb()

    def wait(self, seconds: float, *, accept: bool = True) -> None:
        """Let time pass; all pages are accepted as they appear unless told otherwise."""
        until = self.now + timedelta(seconds=seconds)
        while True:
            if accept:
                self.accept()
            wakes = [incident.wake_at for incident in self.incidents.values() if incident.wake_at]
            if not wakes or min(wakes) > until:
                break
            self.now = max(self.now, min(wakes))
            self.advance()
        self.now = until

    def apply(self, change: Change) -> Change:
        incident = change.incident
        if incident.open:
            self.incidents[incident.slot] = incident
        else:
            self.incidents.pop(incident.slot, None)
            self.closed.append(incident)
        if change.withdraw:
            self.withdrawn.append(change.withdraw)
            mine = [page.id for page in self.open_pages.values() if page.incident_id == incident.id]
            for page_id in mine:
                del self.open_pages[page_id]
        self.open_pages |= {page.id: page for page in change.pages}
        self.pages += change.pages
        self.events += [event.kind for event in change.events]
        return change
