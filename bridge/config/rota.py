"""What takes two places of the file to see about schedules, and what they leave open in the coming weeks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from bridge import calendars, schedules
from bridge.config.model import Model
from bridge.config.problems import Path, quote
from bridge.config.settings import Settings
from bridge.config.tree import Tree
from bridge.schedules import AHEAD, Schedule, Shift
from bridge.zones import local

_SHOWN: Final = 5
_ICAL: Final = ("ical_file", "ical_url", "ical_url_file")


def check(tree: Tree) -> None:
    """Note on the tree what is wrong with schedules."""
    for path in tree.find("schedules.*"):
        if isinstance(schedule := tree.get(path), dict):
            _source(tree, path, schedule)
    for path in tree.find("schedules.*.layers.*.members"):
        if tree.get(path) == []:
            tree.note(path, "holds nobody")
    _spellings(tree)


def _source(tree: Tree, path: Path, schedule: dict[str, Any]) -> None:
    ical = [key for key in _ICAL if key in schedule]
    if schedule.get("layers") and ical:
        tree.note((*path, ical[0]), "give layers or a calendar, not both: layers is there too", at_key=True)
    elif not schedule.get("layers") and not ical:
        tree.note(path, "has nobody: give layers, ical_file or ical_url")
    if len(ical) > 1 and "ical_file" in ical:
        tree.note(
            (*path, "ical_file"), f"give a file or a URL, not both: {ical[1]} is there too", at_key=True
        )
    if "refresh" in schedule and not ical:
        tree.note(
            (*path, "refresh"), "is for ical_file and ical_url: nothing else is read again", at_key=True
        )


def _spellings(tree: Tree) -> None:
    """Refuse a way to write a name that would mean two people."""
    first: dict[str, tuple[int, Path]] = {}
    for path in _names(tree):
        text, person = tree.get(path), int(path[1])
        if isinstance(text, str):
            other, where = first.setdefault(calendars.fold(text), (person, path))
            if other != person and "calendar_name" in {
                path[2],
                where[2],
            }:  # two names alike are another matter
                line = tree.values[where][0]
                tree.note(path, f"{quote(text)} means another person already, in line {line}")


def _names(tree: Tree) -> Iterator[Path]:
    """Give the place of each name and spelling; one spelling may stand where a list of them may."""
    for pattern in ("people.*.name", "people.*.calendar_name", "people.*.calendar_name.*"):
        yield from tree.find(pattern)


def warnings(tree: Tree) -> None:
    """Note on the tree what is doubtful. Only for a tree without problems."""
    used = {tree.get(path) for path in tree.find("device_groups.*.schedules.*")}
    for path in tree.find("schedules.*.name"):
        if (name := tree.get(path)) not in used:
            tree.note(path, f"no device group uses schedule {quote(name)}")
    scheduled = {group["name"] for group in tree.get(("device_groups",)) or [] if group.get("schedules")}
    for path in tree.find("receivers.*"):
        receiver = tree.get(path)
        groups = {name for step in receiver["escalation"] for name in step.get("device_groups", ())}
        if groups & scheduled and not receiver.get("otherwise"):
            tree.note(
                (*path, "name"), "rings schedules and has no `otherwise`: in a gap nobody would be rung"
            )


def people(tree: Tree) -> set[Any]:
    """Name all whom schedules may put on call. Only for a tree without problems."""
    named = ["schedules.*.layers.*.members.*", "schedules.*.overrides.*.person"]
    if any(tree.find(f"schedules.*.{key}") for key in _ICAL):
        named.append("people.*.name")
    return {tree.get(path) for pattern in named for path in tree.find(pattern)}


def look_ahead(tree: Tree, model: Model, settings: Settings, now: datetime) -> Settings:
    """Read the calendars that are files; note what schedules leave open in the four weeks after `now`.

    A calendar at a URL is the running bridge's to read.
    """
    found = {}
    for number, part in enumerate(model.schedules):
        path: Path = ("schedules", number)
        if part.ical_file is not None:
            try:
                agenda = calendars.read(part.ical_file.text, part.time_zone, settings.spellings)
            except calendars.CalendarError as error:
                tree.note((*path, "ical_file"), f"the calendar {error}")
                continue
            found[part.name] = agenda
            for doubt in agenda.doubts(now, now + AHEAD):
                tree.note((*path, "ical_file"), doubt)
    complete = settings.with_calendars(found)
    for number, (name, schedule) in enumerate(complete.schedules.items()):
        if (name not in settings.feeds or name in found) and (words := gaps(schedule, now)):
            tree.note(("schedules", number, "name"), f"nobody is on call {words}")
    return complete


def gaps(schedule: Schedule, now: datetime) -> str:
    """Tell of the gaps of the coming four weeks, the first ones in local time; "" where there are none."""
    found = list(schedules.gaps(schedule, now, now + AHEAD))
    spans = [_span(gap, schedule, now + AHEAD) for gap in found[:_SHOWN]]
    if len(found) > _SHOWN:
        spans.append(f"and {len(found) - _SHOWN} times more in the coming four weeks")
    return ", ".join(spans)


def _span(gap: Shift, schedule: Schedule, end: datetime) -> str:
    start = local(gap.start, schedule.zone)
    return f"from {start} on" if gap.end == end else f"from {start} to {local(gap.end, schedule.zone)}"
