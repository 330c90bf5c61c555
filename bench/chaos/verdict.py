"""What must be true once all faults are over, and how long phones had to wait. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from bench.chaos.alerts import Alert
from bench.chaos.ledger import Books
from bench.chaos.world import Span


@dataclass(frozen=True)
class Heard:
    """What the phones know. Calls are named by the bridge's record; times are Unix seconds.

    `told`: when each was first shown, or rang; `pushed` came to a phone at all; `rings`: by phone and UUID,
    the calls of each time that CallKit rang.
    """

    told: Mapping[str, float]
    pushed: Collection[str]
    rings: Mapping[tuple[str, str], Sequence[frozenset[str]]]


@dataclass(frozen=True)
class Delay:
    """Seconds from the acceptance of an alert to the first ring, and the faults meanwhile."""

    seconds: float
    incident: str
    faults: tuple[str, ...] = ()


@dataclass
class Verdict:
    """`wrong` is empty if all is well.

    `heard` counts incidents that rang, `ended_first` those that ended before they could; `again` alerts that
    Alertmanager let fire once more after it had let them end, as its peers now and then do: that is news;
    `expired` incidents whose end it never told, since it never heard that they were accepted.
    """

    wrong: list[str] = field(default_factory=list)
    heard: int = 0
    ended_first: int = 0
    again: int = 0
    expired: int = 0
    pages: dict[str, int] = field(default_factory=dict)
    delays: list[Delay] = field(default_factory=list)


def judge(alerts: Iterable[Alert], books: Books, heard: Heard, spans: Sequence[Span], now: float) -> Verdict:
    """Compare who was told what: the senders, the ledger and the phones."""
    verdict = Verdict()
    _lost(verdict, alerts, books)
    verdict.wrong += stuck(books, now)
    verdict.wrong += _twice(books, heard)
    _pages(verdict, books, heard)
    _rings(verdict, books, heard, spans)
    return verdict


def _lost(verdict: Verdict, alerts: Iterable[Alert], books: Books) -> None:
    known: dict[str, set[str]] = defaultdict(set)
    fingerprints: dict[str, set[str]] = defaultdict(set)
    for row in books.episodes:
        name = row["labels"]["alertname"]
        fingerprints[name].add(row["fingerprint"])
        known[name].add(row["incident_id"])
    for alert in alerts:
        found = len(fingerprints[alert.name])
        if found != alert.instances:
            verdict.wrong.append(
                f"{alert.name} by {alert.by}: {found} of {alert.instances} are in the ledger"
            )
        if len(known[alert.name]) > 1:
            verdict.again += 1
            if alert.by == "webhook":
                verdict.wrong.append(f"{alert.name} has more than one incident: {known[alert.name]}")


def stuck(books: Books, now: float) -> Iterator[str]:
    """Say what goes on though all alerts have ended."""
    for row in books.incidents:
        if row["state"] != "resolved" and not _own(row["group_values"]):
            yield f"incident {row['id']} is {row['state']}, though its alerts have ended"
    for row in books.pages:
        if row["state"] != "settled":
            yield f"page {row['id']} of incident {row['incident_id']} is {row['state']}"
    for row in books.devices:
        if row["live_until"] is not None and row["live_until"].timestamp() > now:
            yield f"{row['name']} is busy until {row['live_until']}"


def _twice(books: Books, heard: Heard) -> Iterator[str]:
    """Say which phone rang again for one UUID and one incident.

    An incident that Alertmanager opens anew within a minute has the UUID of the one before; that call is over
    by then (docs/adr/0003-call-uuid.md).
    """
    carried: dict[str, set[str]] = defaultdict(set)
    for row in books.pages:
        carried[row["call_id"] or ""].add(row["incident_id"])
    for (phone, uuid), rings in heard.rings.items():
        incidents = [set[str]().union(*(carried[record] for record in records)) for records in rings]
        if any(one & other for one, other in combinations(incidents, 2)):
            yield f"{phone} rang twice for call {uuid}: records {[sorted(records) for records in rings]}"


def _own(group: Sequence[Sequence[str]]) -> bool:
    """Whether it is an alarm of the bridge itself, which ends by its own time."""
    return any(value.startswith("PushkitBridge") for name, value in group if name == "alertname")


def _pages(verdict: Verdict, books: Books, heard: Heard) -> None:
    for row in books.pages:
        outcome = row["outcome"] or "none"
        verdict.pages[outcome] = verdict.pages.get(outcome, 0) + 1
        if outcome == "accepted" and row["call_id"] not in heard.pushed:
            verdict.wrong.append(f"page {row['id']} counts as accepted, but no phone has its call")
        if outcome in {"rejected", "misconfigured", "unregistered", "quarantined"}:
            verdict.wrong.append(f"page {row['id']} of {row['incident_id']} is {outcome}: {row['reason']}")


def _rings(verdict: Verdict, books: Books, heard: Heard, spans: Sequence[Span]) -> None:
    told: dict[str, float] = {}
    for row in books.pages:
        at = heard.told.get(row["call_id"] or "")
        if at is not None and row["kind"] in {"ring", "fallback"}:
            told[row["incident_id"]] = min(at, told.get(row["incident_id"], at))
    for row in books.incidents:
        at, opened = told.get(row["id"]), row["opened_at"].timestamp()
        expired = row["resolution"] == "expired" and not _own(row["group_values"])
        verdict.expired += expired
        if at is not None:
            verdict.heard += 1
            during = {span.name for span in spans if span.began <= at and span.ended >= opened}
            verdict.delays.append(Delay(at - opened, row["id"], tuple(sorted(during))))
        elif row["state"] == "resolved" and not expired:
            verdict.ended_first += 1
        else:
            verdict.wrong.append(f"incident {row['id']} rang no phone")
    verdict.delays.sort(key=lambda delay: -delay.seconds)
