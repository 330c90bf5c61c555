"""What became of a test call: each hand-over with its time, and whether the phone rang. Pure.

It is read from an incident's story as the management API tells it, so that a page's way is the same here
as in `incidents show`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

Story: TypeAlias = Mapping[str, Any]

_CALLKIT: Final = {
    1: "the app has no entitlement for calls",
    2: "it was ringing already",
    3: "Do Not Disturb or a Focus keeps it quiet: allow the app in it",
    4: "the caller is blocked on the phone",
}
"""Apple's CXErrorCodeIncomingCallError.Code, in words."""

_ADVICE: Final = {
    "unregistered": "the token is dead: open the app on the phone, so that it puts its present one; "
    "one that stands in the configuration must be changed there",
    "quarantined": "APNs refuses the token: see that topic and environment are the app's, then open the app",
    "misconfigured": "APNs refuses every push: check apns in the configuration, then reload",
    "rejected": "APNs refuses this one push; this is a bug",
}
_TOLD: Final = frozenset(
    {
        "acknowledged",
        "called off",
        "cannot ring",
        "expired",
        "fallback",
        "gap",
        "gave way",
        "handed on",
        "next round",
        "next step",
        "out of step",
        "silenced",
        "too late",
        "unacknowledged",
    }
)
"""Lines of the timeline that the pages and receipts do not tell."""

_FINAL: Final = ("answered", "declined", "failed")
_SILENT: Final = "it is off or without network, or iOS does not start the app any more: open the app on it"


@dataclass(frozen=True, slots=True)
class Handset:
    """What is known of a phone. `free_at`: when it has rung and had its peace; None: it is free."""

    enrolled: bool
    troubles: tuple[str, ...] = ()
    free_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Handover:
    """One thing that happened. `key` stays the same however often it is told."""

    key: str
    at: datetime
    target: str
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What has happened so far. `passed` and `verdict` mean something once it is `over`."""

    handovers: tuple[Handover, ...]
    over: bool
    passed: bool
    verdict: str


def report(story: Story, phones: Mapping[str, Handset], now: datetime) -> Report:
    """Tell how a test stands. `phones` are by name; one that is not there has been taken away since."""
    found = [*_sent(story, phones, now), *_said(story), *_told(story)]
    handovers = tuple(sorted(found, key=lambda handover: handover.at))
    closed = story["state"] == "resolved" or bool(story["acknowledged_by"] or story["unanswered_at"])
    if "receiver" in story["group"]:
        return Report(handovers, closed, *_of_a_receiver(story))
    name = story["group"]["device"]
    phone = phones.get(name, Handset(enrolled=False, troubles=("it is not there any more",)))
    over = closed or _is_over(story, phone, now)
    return Report(handovers, over, *_of_a_phone(story, name, phone))


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- what happened ----------------------------------------------------------------------------


def _sent(story: Story, phones: Mapping[str, Handset], now: datetime) -> Iterator[Handover]:
    calls = {call["id"]: call for call in story["calls"]}
    for page in story["pages"]:
        for at, what, text in _way(page, calls.get(page["call_id"]), phones.get(page["target"]), now):
            yield Handover(f"{page['id']} {what} {text}", at, page["target"], what, text)


def _way(
    page: Story, call: Story | None, phone: Handset | None, now: datetime
) -> Iterator[tuple[datetime, str, str]]:
    """Give one page's way, step by step."""
    begun = _at(page["created_at"])
    yield begun, "committed", f"{_noun(page)}, step {page['step']}, ring {page['ring']}"
    # A repeated ring keeps its pace, and owes no gap to the one before (docs/adr/0004).
    waits = (
        page["state"] == "waiting" and page["attempt"] == 0 and (page["kind"], page["ring"]) == ("ring", 1)
    )
    if waits and phone is not None and phone.free_at is not None and phone.free_at > now:
        yield begun, "waits", f"its phone is in a call, or was just now: until {phone.free_at:%H:%M:%S}Z"
    if call is not None:
        yield _at(call["created_at"]), "claimed", f"as call {call['uuid']}"
    if page["state"] != "settled":
        if page["reason"]:
            yield now, "tried", f"{page['reason']}; it is tried again (attempt {page['attempt']})"
        return
    if page["outcome"] == "accepted":
        at = (call and call["accepted_at"]) or page["settled_at"]
        yield _at(at), "accepted", "by its server" if call is None else f"by APNs, apns-id {call['id']}"
        return
    advice = _ADVICE.get(page["outcome"])
    yield (
        _at(page["settled_at"]),
        page["outcome"],
        f"{page['reason']}: {advice}" if advice else page["reason"],
    )


def _noun(page: Story) -> str:
    if page["kind"] in {"acknowledged", "resolved"}:
        return "a quiet notification"
    if page["kind"] == "ring":
        return "a call" if page["push"] == "voip" else "a notification"
    return "a post" if page["kind"] == "webhook" else "a notification in its place"


def _said(story: Story) -> Iterator[Handover]:
    devices = {call["id"]: call["device"] for call in story["calls"]}
    pushes = {call["id"]: call["push"] for call in story["calls"]}
    # The first word may come with the last, and then is told first.
    by_time = sorted(story["receipts"], key=lambda one: (one["received_at"], one["receipt"] != "received"))
    for receipt in by_time:
        key = f"{receipt['call_id']} {receipt['event_id']}"
        text = "by the phone" if pushes[receipt["call_id"]] == "voip" else "by the phone: the notification"
        if receipt["receipt"] == "failed":
            text = f"CallKit says {_callkit(receipt['error_code'])}"
        yield Handover(
            key, _at(receipt["received_at"]), devices[receipt["call_id"]], receipt["receipt"], text
        )


def _callkit(code: int | None) -> str:
    return f"{code} ({_CALLKIT[code]})" if code in _CALLKIT else str(code)


def _told(story: Story) -> Iterator[Handover]:
    for number, event in enumerate(story["timeline"]):
        if event["kind"] in _TOLD:
            yield Handover(f"timeline {number}", _at(event["at"]), "", event["kind"], event["text"])


# --- an incident's whole story ----------------------------------------------------------------


def chronicle(story: Story, now: datetime) -> list[tuple[Handover, float | None]]:
    """Tell all of an incident's story in order, each with the seconds since the hand-over before it.

    That is the one before on the same page's way, or the call's that a receipt is of; None: it begins one.
    """
    found = [*_notified(story), *_decided(story), *_sent(story, {}, now), *_said(story)]
    last: dict[str, datetime] = {}
    told: list[tuple[Handover, float | None]] = []
    calls = {page["id"]: page["call_id"] for page in story["pages"]}
    for one in sorted(found, key=lambda handover: handover.at):
        way = one.key.partition(" ")[0]
        before = last.get(way)
        told.append((one, None if before is None else (one.at - before).total_seconds()))
        last[way] = one.at
        if calls.get(way):
            last[calls[way]] = one.at
    return told


def _notified(story: Story) -> Iterator[Handover]:
    for one in story["notifications"]:
        number, fired, ended = one["id"], len(one["firing"]), len(one["resolved"])
        text = f"notification {number} from {one['source']}: {fired} firing, {ended} resolved"
        yield Handover(f"notification-{number}", _at(one["at"]), "", "accepted", text)


def _decided(story: Story) -> Iterator[Handover]:
    for number, event in enumerate(story["timeline"]):
        yield Handover(f"timeline-{number}", _at(event["at"]), "", event["kind"], event["text"])


# --- what came of it --------------------------------------------------------------------------


def _is_over(story: Story, phone: Handset, now: datetime) -> bool:
    """Tell whether nothing more is to come: each page has its outcome, and each call ended."""
    settled = all(page["state"] == "settled" for page in story["pages"])
    return bool(story["pages"]) and settled and all(_ended(call, phone, now) for call in story["calls"])


def _ended(call: Story, phone: Handset, now: datetime) -> bool:
    if call["state"] in _FINAL or call["accepted_at"] is None:
        return True
    heard = call["received_at"] is not None
    if call["push"] == "alert":
        return heard or call["receipt_due_at"] is None
    given_up = phone.enrolled and not heard and call["receipt_due_at"] is None
    return given_up or now >= _at(call["expires_at"])


def _of_a_receiver(story: Story) -> tuple[bool, str]:
    if story["acknowledged_by"]:
        return True, f"acknowledged by {story['acknowledged_by']}"
    return False, _ended_early(story) or "nobody answered"


def _ended_early(story: Story) -> str | None:
    if story["resolution"] == "gave way":
        return "it gave way: a real page is due for one of its phones; try again when that is over"
    return "called off" if story["resolution"] == "called off" else None


def _of_a_phone(story: Story, name: str, phone: Handset) -> tuple[bool, str]:
    receipts = {call["id"]: _last(story["receipts"], call["id"]) for call in story["calls"]}
    rung = [call for call in story["calls"] if call["push"] == "voip" and call["received_at"] is not None]
    if rung and (answer := receipts[rung[-1]["id"]])["receipt"] != "failed":
        how = {"answered": "was answered", "declined": "was declined"}.get(
            answer["receipt"], "nobody answered"
        )
        return True, f"{name} rang, and {how}"
    known = [call for call in story["calls"] if call["push"] == "voip" and call["accepted_at"] is not None]
    if known and not rung and not phone.enrolled:
        return True, (
            f"APNs has taken the call. {name} stands in the configuration and says nothing back: "
            "whether it rang, only its owner can tell"
        )
    why = _refused(story, receipts) or _ended_early(story) or _why_not(story, phone)
    instead = any(call["push"] == "alert" and call["accepted_at"] is not None for call in story["calls"])
    more = "; a notification went out in its place" if instead else ""
    return False, f"{name} did not ring: {why}{more}"


def _last(receipts: Iterable[Story], call_id: str) -> Story:
    """Give the last word about a call; the first one only says that it came."""
    mine = [receipt for receipt in receipts if receipt["call_id"] == call_id and receipt["error_code"] != 2]
    return max(mine, key=lambda one: one["receipt"] != "received", default={"receipt": "received"})


def _refused(story: Story, receipts: Mapping[str, Story]) -> str | None:
    for receipt in receipts.values():
        if receipt["receipt"] == "failed":
            return f"CallKit says {_callkit(receipt['error_code'])}"
    for page in story["pages"]:
        if page["kind"] == "ring" and page["outcome"] in _ADVICE:
            return f"{page['outcome']} ({page['reason']}): {_ADVICE[page['outcome']]}"
    return None


def _why_not(story: Story, phone: Handset) -> str:
    if any(call["push"] == "voip" and call["accepted_at"] is not None for call in story["calls"]):
        return f"APNs has taken the call, and the phone said nothing in time: {_SILENT}"
    return "; ".join(phone.troubles) or "its turn did not come in time"
