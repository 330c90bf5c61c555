"""What the commands about a running bridge print: lines for a person at a terminal."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final
from urllib.parse import urlsplit

import segno

from bridge.handovers import chronicle as in_order
from bridge.texts import one_line

_LONGEST: Final = 1000
"""Bytes of one text from outside."""


def incidents(found: Mapping[str, Any], *, closed: bool) -> Iterator[str]:
    """Show a listing; `closed` says whether the closed ones were asked for too."""
    yield from map(line, found["incidents"])
    if not found["incidents"]:
        yield "no incidents" if closed else "no open incidents"
    if found["more"]:
        yield f"and more: these are the newest {len(found['incidents'])}"


def line(one: Mapping[str, Any]) -> str:
    """Show one incident in a line."""
    who = f" by {text(one['acknowledged_by'])}" if one["acknowledged_by"] else ""
    if who and one["state"] == "resolved":
        who = f", acknowledged{who}"
    more = f" and {one['truncated_alerts']} not shown" if one["truncated_alerts"] else ""
    unanswered = " UNANSWERED" if one["unanswered_at"] and one["state"] == "triggered" else ""
    drill = "DRILL " if one["drill"] else ""
    return (
        f"{one['id']}  {one['state']}{who}{unanswered}{_silenced(one)}  "
        f"{drill}{text(one['title']) or '(no name)'}  "
        f"{one['alerts_firing']} firing{more}  receiver={text(one['receiver'])} "
        f"source={text(one['source'])}  since {_time(one['opened_at'])}"
    )


def _silenced(one: Mapping[str, Any]) -> str:
    """Say until when nothing rings. A silence that is over stays noted until the incident closes."""
    until, due = one["silenced_until"], one["next_ring_at"]
    holds = until and due and datetime.fromisoformat(until) >= datetime.fromisoformat(due)
    return f", silenced until {_time(until)}" if holds else ""


def story(one: Mapping[str, Any]) -> Iterator[str]:
    """Show one incident's alerts, pages and timeline."""
    yield from (line(one), "", "alerts:")
    for alert in one["episodes"]:
        labels = " ".join(f"{text(name)}={text(value)!r}" for name, value in sorted(alert["labels"].items()))
        yield f"  {alert['status']:9} {_time(alert['starts_at'])}  {labels}"
    yield from ("", "pages:")
    for page in one["pages"]:
        end = page["outcome"] or page["state"]
        reason = f" ({text(page['reason'])})" if page["reason"] else ""
        yield (
            f"  {_time(page['due_at'])}  step {page['step']} ring {page['ring']}  "
            f"{page['kind']} -> {text(page['target'])}: {end}{reason}, {_count(page['attempt'], 'attempt')}"
        )
    yield from ("", "timeline:")
    for event in one["timeline"]:
        yield f"  {_time(event['at'], 'milliseconds')}  {event['kind']}: {text(event['text'])}"


def chronicle(one: Mapping[str, Any]) -> Iterator[str]:
    """Show all of an incident's story in order; beside each hand-over, how long it took."""
    yield from (line(one), "")
    for told, seconds in in_order(one, datetime.now(UTC)):
        delay = "" if seconds is None else f"+{seconds:.3f}s"
        target = f"{text(told.target)}: " if told.target else ""
        at = _time(told.at.isoformat(), "milliseconds")
        yield f"  {at}  {delay:>11}  {target}{told.what}: {text(told.text)}"


def replayed(found: Mapping[str, Any]) -> Iterator[str]:
    """Show what became of failed pages that were asked for again, or would."""
    would = "would do: " if found["dry_run"] else ""
    for one in found["incidents"]:
        pages = _count(len(one["pages"]), "failed page")
        what = one["does"] if not one["why"] else f"nothing, for {one['why']}"
        yield f"{one['incident']}  {text(one['title']) or '(no name)'}  {pages}  {would}{text(what)}"
    if not found["incidents"]:
        yield "no page failed"


def audit(found: Mapping[str, Any]) -> Iterator[str]:
    """Show what an audit has found, and what it has looked at."""
    for one in found["findings"]:
        where = f" of incident {one['incident']}" if one["incident"] and one["of"] != "incident" else ""
        at = _time(one["at"], "milliseconds")
        yield f"{one['check']}  {one['of']} {one['id']}{where}  {at}  {text(one['text'])}"
    judged = ", ".join(_count(number, kind[:-1]) for kind, number in found["checked"].items())
    number = _count(len(found["findings"]), "finding") if found["findings"] else "nothing is wrong"
    more = "" if found["complete"] else " and more"
    yield f"{judged or 'nothing'} from {_time(found['since'])} to {_time(found['until'])}: {number}{more}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def devices(found: Mapping[str, Any]) -> Iterator[str]:
    """Show a listing of devices, a line for each."""
    for one in found["devices"]:
        how = "enrolled" if one["enrolled"] else "configured"
        troubles = "; ".join(map(text, one["troubles"]))
        heard = _time(one["heard_at"]) if one["heard_at"] else "never"
        yield (
            f"{text(one['name'])}  owner={text(one['owner'])}  {how}  tokens={_tokens(one)}  "
            f"key={text(one['kid'] or 'none')}  heard={heard}  "
            f"{f'TROUBLE: {troubles}' if troubles else 'well'}"
        )
    if not found["devices"]:
        yield "no devices"


def device(one: Mapping[str, Any]) -> Iterator[str]:
    """Show all that is known of a device."""
    enrolled = f"enrolled {_time(one['enrolled_at'])}" if one["enrolled"] else "named by the configuration"
    facts = {
        "owner": text(one["owner"]),
        "known": enrolled,
        "app": f"{text(one['bundle_id'] or 'not said yet')} {text(one['app_version'] or '')}".rstrip(),
        "iOS": text(one["os_version"] or "not said yet"),
        "APNs": one["environment"] or "not said yet",
        "tokens": _tokens(one),
        "key": text(one["kid"] or "none: its pushes are not sealed"),
        "heard": _time(one["heard_at"]) if one["heard_at"] else "never",
        "would ring": "yes" if one["would_ring"] else "NO",
    }
    yield text(one["name"])
    yield from (f"  {name:12}{value}" for name, value in facts.items())
    yield from (f"  TROUBLE: {text(trouble)}" for trouble in one["troubles"])


def _tokens(one: Mapping[str, Any]) -> str:
    return ",".join(push for push in ("voip", "alert") if one[f"has_{push}_token"]) or "none"


def enrolment(found: Mapping[str, Any]) -> Iterator[str]:
    """Show a one-time code: to be scanned, or typed in."""
    yield f"Scan this with the app on the phone of {text(found['owner'])}:"
    yield ""
    yield from _qr(found["link"])
    yield ""
    yield "or type it in there:"
    yield f"  address  {text(found['url'])}"
    yield f"  code     {text(found['code'])}"
    yield f"It works once, until {_time(found['expires_at'])}."


def _qr(link: str) -> Iterator[str]:
    """Draw a QR code, two rows in a line.

    Scanners want it dark on light, so both colours are said, from the fixed part of the palette:
    neither a dark terminal nor a light one turns them round.
    """
    drawn = StringIO()
    segno.make(link, error="l", micro=False).terminal(drawn, border=4, compact=True)
    yield from (f"\x1b[38;5;231;48;5;16m{line}\x1b[0m" for line in drawn.getvalue().splitlines())


def cautions(url: str) -> Iterator[str]:
    """Say what is wrong with the address at which phones are to reach the bridge."""
    parts = urlsplit(url)
    if _loopback(parts.hostname or ""):
        yield f"no phone can reach {text(url)}: give serve --phone.external-url"
    elif parts.scheme != "https":
        yield (
            f"{text(url)} is not encrypted: whoever listens can take the phone's credential. "
            "Give serve --phone.config.file, or put TLS in front, and the https:// address as "
            "--phone.external-url"
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _time(text: str, unit: str = "seconds") -> str:
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(timespec=unit) + "Z"


def text(value: str) -> str:
    """Show a text from outside: one line of at most 1,000 bytes, in which nothing moves a cursor."""
    return one_line(value, _LONGEST)


def on_call(found: Mapping[str, Any]) -> Iterator[str]:
    """Show who is on call by each schedule, who follows, and what is wrong with it."""
    for one in found["schedules"]:
        yield f"{text(one['schedule'])} ({text(one['time_zone'])})"
        until = f", until {_local(one['until'])}" if one["until"] else ""
        yield f"  {_people(one)} ({text(one['why'])}){until}"
        if one["next"]:
            yield f"  then {_people(one['next'])}, until {_local(one['next']['until'])}"
        yield from (f"  GAP: nobody from {_span(gap)}" for gap in one["gaps"])
        yield from (f"  {override(each)}, by {text(each['by'])}" for each in one["overrides"])
        yield from _calendar(one["calendar"] or {"problem": None, "doubts": ()})
    if not found["schedules"]:
        yield "no schedules"


def override(one: Mapping[str, Any]) -> str:
    """Show an override in a line."""
    number = "override" if one["id"] is None else f"override {one['id']}"
    return f"{number}: {text(one['person'])} from {_span(one)}"


def _calendar(one: Mapping[str, Any]) -> Iterator[str]:
    if one["problem"]:
        last = f"was last read at {_time(one['read_at'])}" if one["read_at"] else "was never read"
        yield f"  STALE: its calendar {last}: {text(one['problem'])}"
    yield from (f"  DOUBT: {text(doubt)}" for doubt in one["doubts"])


def _people(one: Mapping[str, Any]) -> str:
    return ", ".join(map(text, one["people"])) or "nobody"


def _span(one: Mapping[str, Any]) -> str:
    return f"{_local(one['from'])} to {_local(one['to'])}"


def _local(instant: str) -> str:
    """Show a time as the schedule's people read it, with its offset: the clocks may be changed in between."""
    at = datetime.fromisoformat(instant)
    return f"{at:%a %Y-%m-%d %H:%M} {at.isoformat()[-6:]}"


def heartbeats(found: Mapping[str, Any]) -> Iterator[str]:
    """Show what is waited for, a line for each."""
    for one in found["heartbeats"]:
        seen = f"seen {_time(one['seen_at'])}" if one["seen_at"] else "NEVER SEEN"
        state = f"due {_time(one['due_at'])}" if one["due_at"] else "not known yet"
        if one["missing_since"]:
            state = f"MISSING since {_time(one['missing_since'])}"
        source = f" source={text(one['source'])}" if one["source"] else ""
        matchers = ", ".join(map(text, one["matchers"]))
        yield f"{text(one['name'])}  {state}  {seen}  receiver={text(one['receiver'])}{source}  {matchers}"
    if not found["heartbeats"]:
        yield "no heartbeats"


def handovers(found: Mapping[str, Any], told: set[str]) -> Iterator[str]:
    """Show those hand-overs of a test that were not `told` before, and note that they are now."""
    began = datetime.fromisoformat(found["began_at"])
    troubles = {f"trouble {trouble}": trouble for trouble in found["troubles"]}
    for key in troubles.keys() - told:
        yield f"TROUBLE: {text(troubles[key])}"
    for one in found["handovers"]:
        if one["key"] in told:
            continue
        # What is told has milliseconds, what began has more.
        after = max(0.0, (datetime.fromisoformat(one["at"]) - began).total_seconds())
        target = f"{text(one['target'])}: " if one["target"] else ""
        when = f"{_time(one['at'], 'milliseconds')}  {f'+{after:.3f}s':>9}"
        yield f"{when}  {one['what']:12}  {target}{text(one['text'])}"
    told |= {*troubles, *(one["key"] for one in found["handovers"])}


def verdict(found: Mapping[str, Any]) -> str:
    """Say what came of a test."""
    return f"{'PASSED' if found['passed'] else 'FAILED'}: {text(found['verdict'])}"


def drills(found: Mapping[str, Any]) -> Iterator[str]:
    """Show a listing of drills, a line for each."""
    for one in found["drills"]:
        last = f"last {_came(one['runs'][0])}" if one["runs"] else "never rang"
        yield f"{text(one['name'])}  {_coming(one)}  {last}"
    if not found["drills"]:
        yield "no drills"


def drill(one: Mapping[str, Any]) -> Iterator[str]:
    """Show one drill, and what came of it each time."""
    whom = text(one["receiver"] or "") or ", ".join(map(text, one["device_groups"]))
    yield f"{text(one['name'])}  each {one['each']} of {whom}, report to {text(one['report_to'])}"
    yield f"  {_coming(one)}"
    for run in one["runs"]:
        yield f"  {_came(run)}"
        for result in run["results"]:
            fate = (
                f"confirmed {_time(result['at'])}" if result["confirmed"] else f"NOT: {text(result['why'])}"
            )
            yield f"    {text(result['who'])}  {fate}"


def _coming(one: Mapping[str, Any]) -> str:
    return f"next {_local(one['next_at'])}" if one["next_at"] else "no day to come"


def _came(run: Mapping[str, Any]) -> str:
    missing = ", ".join(text(one["who"]) for one in run["results"] if not one["confirmed"])
    words = {"failed": "FAILED", "missed": "MISSED: the bridge was not running", None: "rings now"}
    fate = words.get(run["outcome"], run["outcome"])
    return f"{_local(run['due_at'])}: {fate}{f', not confirmed by {missing}' if missing else ''}"
