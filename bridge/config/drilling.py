"""What takes two places of the file to see about drills, and what is doubtful about their hours."""

from __future__ import annotations

from datetime import datetime

from bridge.config.problems import Path, quote
from bridge.config.settings import Settings
from bridge.config.tree import Tree
from bridge.config.values import spell


def check(tree: Tree) -> None:
    """Note on the tree what is wrong with drills."""
    for path in tree.find("drills.*"):
        drill = tree.get(path)
        if not isinstance(drill, dict):
            continue
        if "receiver" in drill and drill.get("device_groups"):
            tree.note(
                (*path, "device_groups"),
                "give a receiver or device_groups, not both: receiver is there too",
                at_key=True,
            )
        elif "receiver" not in drill and not drill.get("device_groups"):
            tree.note(path, "rings nobody: give a receiver or device_groups")


def warnings(tree: Tree) -> None:
    """Note on the tree what is doubtful. Only for a tree without problems."""
    phones = {
        receiver["name"]
        for receiver in tree.get(("receivers",))
        if any(step.get("device_groups") for step in receiver["escalation"])
    }
    for path in tree.find("drills.*.receiver"):
        if (name := tree.get(path)) not in phones:
            tree.note(path, f"receiver {quote(name)} rings no phones: there is nobody to confirm")


def look_ahead(tree: Tree, settings: Settings, now: datetime) -> None:
    """Note what is doubtful about the drills' hours: the 30th of February, rings that nobody has time for."""
    for number, drill in enumerate(settings.drills.values()):
        path: Path = ("drills", number, "name")
        if drill.hours.coming(now) is None:
            tree.note(path, "there is no such day in the coming year")
        rings = drill.ring.every * drill.ring.times
        if rings > drill.within:
            tree.note(path, f"rings for {spell(rings)}, of which only {spell(drill.within)} (`within`) count")
