"""The console: pages for people, made here, alive by server-sent events, without anything from elsewhere.

`sight` gathers what a page shows, `bridge.views` decides about it, the templates write it down. `door`
says who may look and who may act, `acts` does what was asked for, `live` keeps open pages up to date.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.console.acts import Acts
from bridge.console.door import Door
from bridge.console.rooms import Console
from bridge.console.sight import Parts, Sight
from bridge.desk import Desk
from bridge.feeds import Feeds
from bridge.store import Topic

__all__ = ["Console", "Parts", "make"]


def make(
    desk: Desk, feeds: Feeds, parts: Parts, key: bytes, phone_url: Callable[[], str], prefix: str
) -> Console:
    """Put the console together. `key` signs forms; `phone_url` is where phones reach the bridge."""
    door = Door(desk, key, prefix)
    console = Console(Sight(desk, feeds, parts), door, Acts(desk, door, phone_url, prefix), prefix)
    desk.store.on(Topic.STORY, console.live.wake)
    return console
