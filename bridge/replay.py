"""What failed pages are still good for, when somebody asks to have them sent again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from bridge import escalation
from bridge.incidents import QUIET, WEBHOOK_DEADLINE, Change, Incident, Page, State, stable_id
from bridge.oncall import OnCall
from bridge.people import Verb
from bridge.policy import Receiver

FAILED: Final = ("rejected", "unregistered", "quarantined", "misconfigured", "expired")
"""Outcomes of pages that did not get to their target, though they were wanted."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A page that failed, and how."""

    page: Page
    outcome: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What is to be done: the incident rings anew, or these posts go out again; or `why` nothing is."""

    rings: bool = False
    posts: tuple[Page, ...] = ()
    why: str = ""

    @property
    def does(self) -> str:
        """Say it in words."""
        if self.rings:
            return "rings anew"
        return f"posts again to {', '.join(page.target for page in self.posts)}" if self.posts else "nothing"


def plan(incident: Incident, failed: Iterable[Failed], known: Iterable[str], now: datetime) -> Replay:
    """Decide what is of use; `known` are ids of pages that there are.

    What was replayed has no second effect: an incident that has begun anew has another series, and a
    post's repetition an id that says of which page it is one.
    """
    if not incident.open:
        return Replay(why="it is over")
    if incident.state is State.ACKNOWLEDGED:
        return Replay(why=f"{incident.acknowledged_by} has it")
    if incident.silenced_until is not None and incident.silenced_until > now:
        return Replay(why="it is silenced")
    current = [
        one.page for one in failed if one.page.series == incident.series and one.page.kind not in QUIET
    ]
    if not current:
        return Replay(why="it has rung anew since")
    if any(page.kind != "webhook" for page in current) and _unreached(incident):
        return Replay(rings=True)
    there = set(known)
    posts = tuple(again(page, now) for page in current if page.kind == "webhook")
    posts = tuple(page for page in posts if page.id not in there)
    return Replay(posts=posts, why="" if posts else "somebody was reached, or it was replayed before")


def _unreached(incident: Incident) -> bool:
    return not incident.reached or incident.unanswered_at is not None


def again(page: Page, now: datetime) -> Page:
    """Give the repetition of a post."""
    return replace(page, id=stable_id("replay", page.id), due_at=now, expires_at=now + WEBHOOK_DEADLINE)


def verb(found: Replay, failed: Sequence[Failed], by: str) -> Verb:
    """Make what a Replay is to be done by."""
    counted = Counter(one.outcome for one in failed)
    what = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counted.items()))

    def decide(change: Change, _: Receiver, on_call: OnCall, now: datetime) -> Change:
        del on_call
        begun = escalation.restart(change, now, "replayed") if found.rings else change.page(*found.posts)
        return begun.note("replayed", f"by {by}, for {what}: {found.does}")

    return decide
