"""What must be true of a ledger: each check has a name, and is told in docs/ledger.md. Pure.

A judge is given what the ledger holds of one thing, and yields (check, what is wrong).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from bridge.incidents import QUIET
from bridge.store.queries import OVERDUE

Wrong: TypeAlias = tuple[str, str]
"""The name of a check, and in words what it found."""

Row: TypeAlias = Mapping[str, Any]

OUTCOMES: Final = frozenset(
    ["accepted", "rejected", "unregistered", "quarantined", "misconfigured", "expired", "withdrawn"]
)

REASONS: Final = frozenset(
    ["muted", "silenced", "cannot ring", "gap", "next step", "next round", "unanswered", "drill"]
)
"""Lines of the timeline that say why an incident did not ring, or not here."""

ANSWERS: Final = frozenset(["acknowledged", "answered", "too late"])
"""Lines of the timeline that say what an answered call did."""

_MOMENT: Final = timedelta(seconds=1)
"""One transaction has one instant, but for microseconds by which its decisions are told apart."""


# --- what was accepted ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stay:
    """An alert's row in an incident. Times are None where an older bridge wrote it."""

    incident: str
    opened_here_at: datetime | None
    mentioned_at: datetime | None
    stale_at: tuple[datetime, ...] = ()


def firing_alert(fingerprint: str, name: str, at: datetime, stay: Stay | None) -> Iterator[Wrong]:
    """An alert that was accepted firing at that time, and where it stays in the incident that took it in."""
    if not name:
        yield "alert-lost", f"alert {fingerprint} was accepted firing, but no incident took it in"
    elif stay is None:
        yield "alert-lost", f"alert {fingerprint} was taken in by incident {name}, but is not in it"
    elif stay.opened_here_at is not None and stay.opened_here_at > at:
        yield (
            "alert-lost",
            f"alert {fingerprint} came to incident {name} only at {_text(stay.opened_here_at)}",
        )
    elif stay.mentioned_at is None or stay.mentioned_at < at:
        yield "alert-lost", f"alert {fingerprint} was mentioned, but incident {name} does not know of it"


def resolved_alert(fingerprint: str, at: datetime, stay: Stay) -> Iterator[Wrong]:
    """An alert that was accepted resolved at that time, and where it fires now."""
    since = stay.opened_here_at is None or stay.opened_here_at > at
    since = since or stay.mentioned_at is None or stay.mentioned_at >= at
    stale = any(abs(at - other) <= _MOMENT for other in stay.stale_at)
    if not since and not stale:
        yield "resolve-lost", f"alert {fingerprint} was accepted resolved, but fires on in {stay.incident}"


# --- incidents --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """What the ledger holds of an incident.

    `expires_at` is when the first of its firing alerts would expire; `paged` whether a page stands at
    the place in the policy that it has come to; `wanted` counts its pages that can still ring;
    `lines` says of each kind of line in its timeline when the last one was written.
    """

    row: Row
    firing: int = 0
    expires_at: datetime | None = None
    paged: bool = False
    wanted: int = 0
    lines: Mapping[str, datetime] = field(default_factory=dict)


def incident(case: Case, now: datetime) -> Iterator[Wrong]:
    """One incident."""
    row = case.row
    if row["state"] == "resolved":
        yield from _closed(case)
    else:
        yield from _open(case, now)
    if row["state"] != "triggered" and case.wanted:
        yield "ring-unwanted", f"it is {row['state']}, but {case.wanted} of its pages can still ring"
    if row["ring"] > 0 and not case.paged:
        place = f"series {row['series']}, round {row['round']}, step {row['step']}, ring {row['ring']}"
        yield "ring-without-page", f"it says that it has rung ({place}), but no page says so"
    if row["ring"] == 0 and not _has_reason(case):
        yield "never-rang", f"it is {row['state']} and has not rung since its last news, and nothing says why"


def _closed(case: Case) -> Iterator[Wrong]:
    if case.firing:
        yield "end-wrong", f"it is resolved, but {case.firing} of its alerts fire"
    if case.row["resolved_at"] is None or not case.row["resolution"]:
        yield "end-wrong", "it is resolved, but not when or why"


def _open(case: Case, now: datetime) -> Iterator[Wrong]:
    row, wake_at = case.row, case.row["wake_at"]
    if not case.firing:
        yield "end-wrong", "none of its alerts fires, but it is open"
    times = (case.expires_at, row["due_at"], row["acknowledged_until"])
    due = min((time for time in times if time is not None), default=None)
    if wake_at is None:
        yield "no-wake-up", "it is open, but nothing will look at it again"
    elif due is not None and wake_at > due:
        yield "no-wake-up", f"it is to be looked at again at {_text(wake_at)}, but is due at {_text(due)}"
    elif wake_at <= now - OVERDUE:
        yield "no-wake-up", f"it has been due since {_text(wake_at)}, and nothing has looked at it"


def _has_reason(case: Case) -> bool:
    row = case.row
    news = case.lines.get("triggered")
    if row["state"] == "triggered" and row["due_at"] is not None:
        return True  # its time is to come; that it is not over is another check
    if any(kind in REASONS and (news is None or at >= news) for kind, at in case.lines.items()):
        return True
    ended = row["resolved_at"]
    return ended is not None and news is not None and ended - news <= _MOMENT


# --- pages ------------------------------------------------------------------------------------


def page(row: Row, now: datetime) -> Iterator[Wrong]:
    """One page; `row` has `known` (its incident is there) and `call_state` (None: no call is there) too."""
    if not row["known"]:
        yield "page-astray", "its incident is not in the ledger"
    if row["state"] == "settled":
        yield from _settled(row)
        return
    if row["outcome"] is not None or row["settled_at"] is not None:
        yield "outcome-missing", f"it is {row['state']}, but has an outcome"
    if row["expires_at"] <= now - OVERDUE:
        yield "page-overdue", f"its time was over at {_text(row['expires_at'])}, and it has no outcome"
    elif row["next_attempt_at"] <= now - OVERDUE and not _waits_for_its_phone(row):
        yield "page-stuck", f"it is {row['state']}, and was due again at {_text(row['next_attempt_at'])}"
    if row["state"] == "sending" and row["kind"] != "webhook" and row["call_state"] is None:
        yield "call-missing", "it is being sent, but with no call"


def _settled(row: Row) -> Iterator[Wrong]:
    outcome = row["outcome"]
    if outcome not in OUTCOMES or row["settled_at"] is None:
        yield "outcome-missing", "it is over, but not with an outcome that there is, or not when"
    elif outcome != "accepted" and not row["reason"]:
        yield "outcome-missing", f"it is {outcome}, but nothing says why"
    if outcome == "accepted" and row["kind"] != "webhook" and row["call_state"] in {None, "sending"}:
        yield "call-missing", "it was accepted, but no call says so"


def _waits_for_its_phone(row: Row) -> bool:
    """One call at a time (rule 5): until its own time is over, a fresh call may wait as long as it has to."""
    fresh = row["state"] == "waiting" and row["call_id"] is None
    return bool(fresh and row["push"] == "voip" and row["kind"] != "webhook")


# --- calls ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rung:
    """A page that a call carried, its incident as it is now, and when that went on without its device."""

    row: Row
    went_on: tuple[datetime, ...] = ()

    def left(self, device: str, since: datetime) -> bool:
        """Whether the incident took the next way to the person, or has no need of one any more."""
        row = self.row
        here = (row["page_series"], row["page_round"], row["page_step"])
        elsewhere = (row["series"], row["round"], row["step"]) != here
        over = row["state"] != "triggered" or row["due_at"] is None
        return over or elsewhere or device in row["out"] or any(at >= since for at in self.went_on)


def call(
    row: Row, receipts: Collection[str], rung: Iterable[Rung], answers: Collection[str], now: datetime
) -> Iterator[Wrong]:
    """One call; `row` has its device's `enrolled_at` too (None: it never enrolled, or is gone).

    `receipts` are the kinds of those that came; `answers` the incidents whose timeline tells of an answer.
    """
    if row["received_at"] is not None and not receipts:
        yield "receipt-missing", "the phone is said to have it, but no receipt says so"
    if row["state"] in {"answered", "declined", "failed"} and row["state"] not in receipts:
        yield "receipt-missing", f"it is {row['state']}, but no receipt says so"
    if row["state"] == "answered":
        for name in {name for name, _ in row["carries"]} - set(answers):
            yield "answer-lost", f"it was answered, but incident {name} says nothing of it"
    if not awaited(row):
        return
    due = row["receipt_due_at"]
    if due is not None and due <= now - OVERDUE:
        yield "unheard", f"{row['device']} said nothing by {_text(due)}, and nothing was done about it"
    if due is None:
        for one in rung:
            if not one.left(row["device"], row["accepted_at"]):
                name = one.row["incident_id"]
                yield "unheard", f"{row['device']} said nothing, and incident {name} took no other way"


def awaited(row: Row) -> bool:
    """Whether an enrolled phone owed a word on this call and never gave one (rule 6)."""
    enrolled, accepted = row["enrolled_at"], row["accepted_at"]
    silent = row["received_at"] is None and row["kind"] not in QUIET
    return bool(silent and enrolled is not None and accepted is not None and enrolled <= accepted)


def one_uuid(rows: Iterable[Row]) -> Iterator[tuple[Row, Wrong]]:
    """Calls to one device with one UUID, in order: while one still rings, the phone drops the next."""
    before: Row | None = None
    for row in rows:
        if before is not None and row["created_at"] < before["over_at"]:
            words = f"{row['device']} got it with the UUID of call {before['id']}, which may still have rung"
            yield row, ("uuid-twice", words)
        before = row


def _text(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
