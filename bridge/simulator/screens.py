"""What a person sees on a virtual phone, as the page draws it. Pure: values in, JSON out.

Texts are handed on as they came, whatever is in them: the page shows them as text, never as markup.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from bridge.simulator.calls import Call
from bridge.simulator.keyring import Seal
from bridge.simulator.profile import Fate, Push
from bridge.simulator.receipts import Receipt

if TYPE_CHECKING:
    from bridge.simulator.phones import Phone

_CARDS: Final = 12
_LINES: Final = 6
_LOOKED_BACK: Final = 40  # pushes, calls and receipts that are looked through for what is shown
_TITLES: Final = 4

_FATES: Final[dict[Fate, str]] = {
    "rang": "a call: it rings",
    "repeat": "the same call once more: it rings already",
    "joined": "the same call by another bridge: it rings already",
    "stale": "a call that came too late: ended at once",
    "over": "a call that was over already",
    "filtered": "a call: Do Not Disturb refused it",
    "malformed": "a call that nobody can read: iOS kills the app",
    "notified": "a notification",
    "quiet": "a notification, without a sound",
    "silent": "taken by Apple, but the app is dead",
    "expired": "taken by Apple, and lost: flight mode",
}

_SEALS: Final[dict[Seal, str]] = {
    "clear": "",
    "opened": "; it came sealed, and was opened here",
    "shut": "; it cannot be opened here",
}

_LABELS: Final = {
    "critical": "Critical",
    "time-sensitive": "Time Sensitive",
    "active": "On call",
    "passive": "Passive",
}
"""What iOS writes above a notification, by its interruption level; "active" is the app's own name."""


def screen(phone: Phone) -> dict[str, Any]:
    """Give all that is shown of one phone."""
    member = phone.membership
    return {
        "name": phone.name,
        "behaviour": phone.profile.behaviour,
        "time_sensitive": phone.profile.time_sensitive,
        "enrolled": member and {"url": member.url, "device": member.device, "owner": member.owner},
        "would_ring": phone.seen_by_bridge.get("would_ring"),
        "troubles": phone.seen_by_bridge.get("troubles", []),
        "kid": phone.keys.kid,
        "call": _call(phone),
        "cards": _cards(phone),
        "incidents": phone.inbox.items(),
        "lines": _lines(phone),
    }


def known_bridge(phones: list[Phone]) -> str:
    """Give the address of a bridge that one of these phones has dealings with, "" where none has."""
    for phone in phones:
        if phone.membership is not None:
            return phone.membership.url
    for phone in phones:
        for receipt in phone.receipts.items[-1:]:
            return receipt.url.partition("/api/v1/")[0]
    return ""


def _call(phone: Phone) -> dict[str, Any] | None:
    """Give the call on the screen: what rings, else what is spoken in, else the last one, which is over."""
    calls = phone.calls.items[-_LOOKED_BACK:]
    if not calls:
        return None
    ringing = [call for call in calls if call.state == "ringing"]
    answered = [call for call in calls if call.state == "answered"]
    call = (ringing[:1] or answered[-1:] or calls[-1:])[0]
    said = [_told(one) for one in phone.receipts.items[-_LOOKED_BACK:] if one.call_uuid == call.uuid]
    return {
        "uuid": call.uuid,
        "state": call.state,
        "why": _why(call),
        "changed_at": call.history[-1][0].isoformat(),
        "title": _text(call.payload.get("caller_name")) or "Unknown caller",
        "reason": _text(call.payload.get("reason")),
        "drill": call.payload.get("drill") is True,
        "incidents": _titles(call.payload),
        "spoken": spoken(call.payload),
        "told": said,
        "awaited": any(record.url for record in call.records.values()),
    }


def _why(call: Call) -> str:
    """Say why a call ended: of what the stream said, the part for people."""
    return call.why.partition(": ")[2] or call.why


def _told(receipt: Receipt) -> dict[str, Any]:
    return {"receipt": receipt.kind, "accepted": receipt.accepted}


def spoken(payload: dict[str, Any]) -> str:
    """Give what the app says to whoever answers."""
    texts = [_text(payload.get("caller_name")), _text(payload.get("reason"))]
    counts = payload.get("counts")
    missed = counts.get("truncated_alerts") if isinstance(counts, dict) else 0
    if isinstance(missed, int) and missed > 0:
        texts.append(f"Alertmanager left out {missed} more alerts")
    return " ".join(text if text[-1] in ".!?…" else f"{text}." for text in texts if text)


def _titles(payload: dict[str, Any]) -> list[str]:
    """Name the incidents of a push, as far as there is room for them, if it carries more than one."""
    listed = payload.get("incidents")
    found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    omitted = payload.get("incidents_omitted")
    more = len(found) - _TITLES + (omitted if isinstance(omitted, int) else 0)
    titles = [_text(one.get("title")) for one in found[:_TITLES]]
    if more > 0:
        return [*titles, f"and {more} more"]
    return titles if len(titles) > 1 else []


def _first_incident(payload: dict[str, Any]) -> str:
    listed = payload.get("incidents")
    first = listed[0] if isinstance(listed, list) and listed else None
    return _text(first.get("id")) if isinstance(first, dict) else ""


def _cards(phone: Phone) -> list[dict[str, Any]]:
    """Give the notifications on the locked screen, the newest first."""
    pushes = [push for push in phone.pushes.items[-_LOOKED_BACK:] if push.fate in {"notified", "quiet"}]
    missed = [call for call in phone.calls.items[-_LOOKED_BACK:] if call.state == "ended" and not call.taken]
    cards = [*map(_card, pushes), *map(_missed, missed)]
    if phone.tidied_at is not None:
        tidied_at = phone.tidied_at.isoformat()
        cards = [card for card in cards if card["at"] > tidied_at]
    return sorted(cards, key=lambda card: str(card["at"]), reverse=True)[:_CARDS]


def _card(push: Push) -> dict[str, Any]:
    shown = _aps(push).get("alert")
    shown = shown if isinstance(shown, dict) else {"body": shown}
    level = _level(push)
    return {
        "id": push.apns_id,
        "at": push.at.isoformat(),
        "kind": _text(push.payload.get("kind")) or "alert",
        "title": _text(shown.get("title")),
        "body": _text(shown.get("body")),
        "level": level,
        "label": _LABELS.get(level, level),
        "incident": _first_incident(push.payload),
        "sound": push.fate == "notified" and level != "passive",
    }


def _aps(push: Push) -> dict[str, Any]:
    aps = push.payload.get("aps")
    return aps if isinstance(aps, dict) else {}


def _level(push: Push) -> str:
    return _text(_aps(push).get("interruption-level")) or "active"


def _missed(call: Call) -> dict[str, Any]:
    return {
        "id": f"{call.uuid} {call.record_id}",
        "at": call.history[-1][0].isoformat(),
        "kind": "call",
        "title": _text(call.payload.get("caller_name")),
        "body": _why(call),
        "level": "call",
        "label": "Missed call" if call.why == "unanswered" else "Call ended",
        "incident": _first_incident(call.payload),
        "sound": False,
    }


def _lines(phone: Phone) -> list[dict[str, str]]:
    """Tell what came in and went out last, the newest first."""
    lines = [_line(push.at, _came(push)) for push in phone.pushes.items[-_LINES:]]
    lines += [_line(one.at, _said(one)) for one in phone.receipts.items[-_LINES:]]
    return sorted(lines, key=lambda line: line["at"], reverse=True)[:_LINES]


def _line(at: datetime, text: str) -> dict[str, str]:
    return {"at": at.isoformat(), "text": text}


def _came(push: Push) -> str:
    level = _level(push) if push.fate == "notified" else ""
    return _FATES[push.fate] + (f", {level}" if level else "") + _SEALS[push.seal]


def _said(receipt: Receipt) -> str:
    what = receipt.kind if receipt.error_code is None else f"{receipt.kind} (CallKit: {receipt.error_code})"
    if receipt.accepted:
        return f"told the bridge: {what}"
    return f"could not tell the bridge: {what} ({receipt.status or 'no answer'})"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
