"""Whether a phone would ring tonight, why, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from bridge.views.ringing import Tone
from bridge.views.times import When, maybe

Verdict: TypeAlias = Literal["yes", "doubtful", "no"]

_QUIET: Final = timedelta(days=7)
"""A phone that enrolled and said nothing for this long may have no app any more."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger knows of a device. `troubles` are words for people, with what to do."""

    name: str
    owner: str
    enrolled: bool
    usable: bool
    doubtful: bool
    known: bool
    troubles: Sequence[str]
    environment: str | None
    topic: str | None
    app_version: str | None
    os_version: str | None
    voip_since: datetime | None
    alert_since: datetime | None
    enrolled_at: datetime | None
    heard_at: datetime | None
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A phone on the page. `why` are the reasons, `advice` what to do about silence."""

    name: str
    owner: str
    enrolled: bool
    verdict: Verdict
    tone: Tone
    word: str
    why: tuple[str, ...]
    heard: When | None
    voip_since: When | None
    alert_since: When | None
    enrolled_at: When | None
    environment: str
    app: str
    kid: str


def card(facts: Facts, now: datetime) -> Card:
    """Judge a phone."""
    verdict = _verdict(facts, now)
    words: dict[Verdict, tuple[Tone, str]] = {
        "yes": ("good", "would ring"),
        "doubtful": ("warn", "doubtful"),
        "no": ("bad", "cannot ring"),
    }
    tone, word = words[verdict]
    app = ", ".join(
        part
        for part in (
            facts.topic or "",
            f"version {facts.app_version}" if facts.app_version else "",
            f"iOS {facts.os_version}" if facts.os_version else "",
        )
        if part
    )
    return Card(
        name=facts.name,
        owner=facts.owner,
        enrolled=facts.enrolled,
        verdict=verdict,
        tone=tone,
        word=word,
        why=(*facts.troubles, *_doubts(facts, now)),
        heard=maybe(facts.heard_at, now),
        voip_since=maybe(facts.voip_since, now),
        alert_since=maybe(facts.alert_since, now),
        enrolled_at=maybe(facts.enrolled_at, now),
        environment=facts.environment or "unknown",
        app=app,
        kid=facts.kid or "none: its pushes are not sealed",
    )


def _verdict(facts: Facts, now: datetime) -> Verdict:
    if not facts.usable or not facts.known:
        return "no"
    return "doubtful" if facts.doubtful or _doubts(facts, now) else "yes"


def _doubts(facts: Facts, now: datetime) -> tuple[str, ...]:
    if not facts.usable or not facts.enrolled or facts.heard_at is None or now - facts.heard_at < _QUIET:
        return ()
    return ("it has said nothing for a week: make a test call",)


def tally(cards: Sequence[Card]) -> dict[Verdict, int]:
    """Count the verdicts."""
    found: dict[Verdict, int] = {"yes": 0, "doubtful": 0, "no": 0}
    for one in cards:
        found[one.verdict] += 1
    return found
