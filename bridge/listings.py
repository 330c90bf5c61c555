"""What `incidents list` and `show` print: lines for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from bridge.texts import one_line

_LONGEST: Final = 1000
"""Bytes of one text from outside. It is shown as one line: what would move a cursor is left out."""


def incidents(found: Mapping[str, Any], *, closed: bool) -> Iterator[str]:
    """Show a listing; `closed` says whether the closed ones were asked for too."""
    yield from map(line, found["incidents"])
    if not found["incidents"]:
        yield "no incidents" if closed else "no open incidents"
    if found["more"]:
        yield f"and more: these are the newest {len(found['incidents'])}"


def line(one: Mapping[str, Any]) -> str:
    """Show one incident in a line."""
    who = f" by {_text(one['acknowledged_by'])}" if one["acknowledged_by"] else ""
    if who and one["state"] == "resolved":
        who = f", acknowledged{who}"
    more = f" and {one['truncated_alerts']} not shown" if one["truncated_alerts"] else ""
    unanswered = " UNANSWERED" if one["unanswered_at"] and one["state"] == "triggered" else ""
    return (
        f"{one['id']}  {one['state']}{who}{unanswered}  {_text(one['title']) or '(no name)'}  "
        f"{one['alerts_firing']} firing{more}  receiver={_text(one['receiver'])} "
        f"source={_text(one['source'])}  since {_time(one['opened_at'])}"
    )


def story(one: Mapping[str, Any]) -> Iterator[str]:
    """Show one incident's alerts, pages and timeline."""
    yield from (line(one), "", "alerts:")
    for alert in one["episodes"]:
        labels = " ".join(
            f"{_text(name)}={_text(value)!r}" for name, value in sorted(alert["labels"].items())
        )
        yield f"  {alert['status']:9} {_time(alert['starts_at'])}  {labels}"
    yield from ("", "pages:")
    for page in one["pages"]:
        end = page["outcome"] or page["state"]
        reason = f" ({_text(page['reason'])})" if page["reason"] else ""
        yield (
            f"  {_time(page['due_at'])}  step {page['step']} ring {page['ring']}  "
            f"{page['kind']} -> {_text(page['target'])}: {end}{reason}, {_count(page['attempt'], 'attempt')}"
        )
    yield from ("", "timeline:")
    for event in one["timeline"]:
        yield f"  {_time(event['at'], 'milliseconds')}  {event['kind']}: {_text(event['text'])}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(text: str, unit: str = "seconds") -> str:
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(timespec=unit) + "Z"


def _text(value: str) -> str:
    return one_line(value, _LONGEST)
