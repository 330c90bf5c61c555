"""What a commit gives whom to do: each loop of the bridge is woken by what concerns it, and by nothing else.

Each topic comes with an instant: when there is something to do. A poll stands behind each loop, so that a
word that is lost costs a moment and no page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, TypeAlias

from bridge.incidents import Incident, Page


class Topic(Enum):
    """What loops wait for."""

    PAGES = "pages"
    """A page is due: the sender's."""
    CLOCK = "clock"
    """The clock has something to decide, about an incident or a call that waits for its receipt."""
    SILENCES = "silences"
    """Something else is wanted of Alertmanager."""
    DRILLS = "drills"
    """A drill's incident is another: somebody may have confirmed."""
    STORY = "story"
    """What phones and the console show."""


News: TypeAlias = dict[Topic, datetime]

AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)
NEVER: Final = datetime.max.replace(tzinfo=UTC)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta.resolution


def everything() -> News:
    """What there may be to do where nobody knows: all of it, at once."""
    return dict.fromkeys(Topic, AT_ONCE)


def add(news: News, more: Mapping[Topic, datetime | None]) -> None:
    """Take in more, of each topic the first instant; None: there is nothing to do."""
    for topic, at in more.items():
        if at is not None:
            news[topic] = min(at, news.get(topic, NEVER))


def of(
    changed: Iterable[tuple[Incident | None, Incident]], pages: Iterable[Page], now: datetime
) -> Mapping[Topic, datetime | None]:
    """Say what incidents that were and are to be, and pages that enter the outbox, give to do."""
    pairs = list(changed)
    wakes = (after.wake_at for _, after in pairs)
    return {
        Topic.PAGES: min((page.due_at for page in pages), default=None),
        Topic.CLOCK: min((at for at in wakes if at is not None), default=None),
        Topic.SILENCES: now if any(wishes_another(*pair) for pair in pairs) else None,
        Topic.DRILLS: now if any(after.drill for _, after in pairs) else None,
    }


def wishes_another(before: Incident | None, after: Incident) -> bool:
    """Tell whether an incident wants something else of Alertmanager than it did."""
    return (before and before.silence) != after.silence


def word(news: News) -> str:
    """Write it for NOTIFY: no space is in it, by which bridges tell an echo."""
    return "".join(f";{topic.value}={(at - _EPOCH) // _MICROSECOND}" for topic, at in news.items())


def heard(text: str) -> News:
    """Read what `word` has written; what an older or newer bridge says may mean anything."""
    try:
        pairs = [part.split("=") for part in text.split(";")[1:]]
        found = {Topic(name): _EPOCH + int(at) * _MICROSECOND for name, at in pairs}
    except (ValueError, OverflowError):
        return everything()
    return found or everything()
