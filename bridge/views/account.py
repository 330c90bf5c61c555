"""The one account of an alert's way: through the routing tree, to receivers, people, phones. Pure.

`explain`, `config routes test`, `test rules` and the management API all give this; the console draws the
same way and the same stages. Every text of it is printed as one line in which nothing moves a cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from bridge.alerts import Alert
from bridge.matchers import quoted
from bridge.oncall import OnCall
from bridge.policy import Receiver
from bridge.routetree import draw
from bridge.routing import Explanation
from bridge.texts import one_line
from bridge.views.duty import Stage, stages
from bridge.watchdogs import Heartbeat

_LONGEST: Final = 1000
"""Bytes of one text from outside."""


def account(
    explanation: Explanation,
    source: str,
    heartbeats: Iterable[Heartbeat],
    receiver: Callable[[str], Receiver],
    on_call: OnCall,
) -> dict[str, Any]:
    """Give the whole explanation as plain values for JSON; docs/json.md describes it key by key.

    Of a match that opens an incident, "steps" says what each step of its receiver does at that instant.
    """
    plain = explanation.to_dict()
    beats = beating(explanation, source, heartbeats)
    for match in plain["matches"]:
        match["opens_incident"] = match["opens_incident"] and not beats
        found = (
            stages(receiver(match["receiver"]), on_call, explanation.now) if match["opens_incident"] else ()
        )
        match["steps"] = list(map(_step, found))
    return {"source": source, "heartbeats": beats} | plain


def beating(explanation: Explanation, source: str, heartbeats: Iterable[Heartbeat]) -> list[str]:
    """Name the heartbeats that this alert is: while it comes it rings nobody."""
    alert = Alert("", True, explanation.labels, {}, explanation.now)
    return [heartbeat.name for heartbeat in heartbeats if heartbeat.is_in(source, alert)]


def _step(stage: Stage) -> dict[str, Any]:
    step = stage.step
    return {
        "step": stage.number,
        "push": step.push,
        "interruption_level": step.interruption_level,
        "every_seconds": step.ring.every.total_seconds(),
        "times": step.ring.times,
        "lasts_seconds": step.ring.lasts.total_seconds(),
        "then_after_seconds": step.then_after.total_seconds(),
        "pace": stage.pace,
        "on_call": [
            {
                "schedule": one.schedule,
                "people": list(one.people),
                "why": one.why,
                "until": None if one.until is None else one.until.isoformat(),
                "text": one.text,
            }
            for one in stage.duties
        ],
        "gap": stage.gap,
        "people": list(stage.people),
        "without_a_phone": list(stage.phoneless),
        "phones": [
            {
                "phone": one.phone,
                "owner": one.owner,
                "push": one.push,
                "otherwise": one.otherwise,
                "text": one.text,
            }
            for one in stage.reached
        ],
        "webhooks": list(stage.webhooks),
    }


# --- for people -------------------------------------------------------------------------------


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Print an account."""
    yield from draw(list(_nodes(told["visited"])))
    for name in told["heartbeats"]:
        yield f"heartbeat {_text(name)}: while it comes it is no incident, and rings nobody"
    if told["heartbeats"]:
        return
    firsts: dict[str, int] = {}
    for number, match in enumerate(told["matches"], 1):
        first = firsts.setdefault(match["receiver"], number)
        yield from _match(number, first, match)


def _nodes(visits: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    """Put a line for the untried children where they would stand."""
    waiting: list[Mapping[str, Any]] = []
    for visit in visits:
        yield from _untried(waiting, visit["depth"])
        yield visit["depth"], _node(visit)
        waiting.append(visit)
    yield from _untried(waiting, 0)


def _node(visit: Mapping[str, Any]) -> str:
    mark = "✓" if visit["matched"] else "✗"
    goes_on = "  continue: true" if visit["continued"] else ""
    receiver = f"  receiver: {_text(visit['receiver'])}" if visit["chosen"] else ""
    why = "".join(f"  ({_failure(failure)})" for failure in visit["failed"])
    return f"{mark} {_text(visit['title'])}{goes_on}{receiver}{why}"


def _failure(failed: Mapping[str, Any]) -> str:
    value = "missing" if failed["value"] is None else _text(quoted(failed["value"]))
    return f"{_text(failed['matcher'])}: {_text(failed['label']) or quoted('')} is {value}"


def _untried(waiting: list[Mapping[str, Any]], depth: int) -> Iterator[tuple[int, str]]:
    """Take leave of the visits whose children are all told, before the next one at `depth`."""
    while waiting and waiting[-1]["depth"] >= depth:
        visit = waiting.pop()
        if visit["untried"]:
            text = f"({visit['untried']} more not tried: the last match does not continue)"
            yield visit["depth"] + 1, text


def _match(number: int, first: int, match: Mapping[str, Any]) -> Iterator[str]:
    head = f"{number}. receiver {_text(match['receiver'])}, by {_text(match['path'])}"
    if number != first:
        yield f"{head}: the same incident as {first}."
        return
    yield head
    group = ", ".join(f"{_text(name)}={_text(quoted(value))}" for name, value in match["group"].items())
    yield f"   group: {group or 'all alerts of this receiver'}"
    if match["muted_until"] is not None:
        yield f"   muted until {_text(match['muted_until'])}: {_why_muted(match)}"
    for step in match["steps"]:
        yield f"   step {step['step']}: {_text(step['pace'])}"
        yield from (f"     {line}" for line in _reach(step))


def _why_muted(match: Mapping[str, Any]) -> str:
    reasons = (("in", match["muted_by"]), ("outside of", match["outside"]))
    return " and ".join(f"{word} {', '.join(map(_text, names))}" for word, names in reasons if names)


def _reach(step: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"schedule {_text(one['text'])}" for one in step["on_call"])
    if step["gap"] is not None:
        yield _text(step["gap"])
    for one in step["phones"]:
        otherwise = ", otherwise" if one["otherwise"] else ""
        yield f"{_text(one['phone'])} of {_text(one['owner'])}{otherwise}: {_text(one['text'])}"
    yield from (f"{_text(person)} has no phone that is known here" for person in step["without_a_phone"])
    yield from (f"outgoing webhook {_text(name)}" for name in step["webhooks"])


def _text(value: str) -> str:
    return one_line(value, _LONGEST)
