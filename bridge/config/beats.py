"""What takes two places of the file to see about heartbeats, and what is doubtful about their times."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from bridge.config.problems import quote, suggest
from bridge.config.tree import Tree
from bridge.config.values import duration

_OFTEN: Final = timedelta(minutes=1)
_SELDOM: Final = timedelta(days=1)
_PUNCTUAL: Final = timedelta(seconds=30)


def check(tree: Tree) -> None:
    """Note on the tree what is wrong with heartbeats."""
    known = ["default", *(tree.get(path) for path in tree.find("sources.*.name"))]
    names = [name for name in known if isinstance(name, str)]
    for path in tree.find("heartbeats.*.source"):
        name = tree.get(path)
        # Without sources every name is taken.
        if isinstance(name, str) and len(known) > 1 and name not in names:
            tree.note(path, f"undefined source {quote(name)}{suggest(name, names)}")


def warnings(tree: Tree) -> None:
    """Note on the tree what is doubtful. Only for a tree without problems."""
    for path in tree.find("heartbeats.*.every"):
        every = duration(tree.get(path))
        if every < _OFTEN:
            tree.note(
                path,
                "Alertmanager repeats it so often only where its route's group_interval and repeat_interval "
                "are well below this",
            )
        if every > _SELDOM:
            tree.note(path, "for more than a day nobody would notice that it stays away")
    for path in tree.find("heartbeats.*.grace"):
        if duration(tree.get(path)) < _PUNCTUAL:
            tree.note(path, "a repeat that comes a little late would ring: Alertmanager is not that punctual")
