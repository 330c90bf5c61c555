"""Whatever a calendar says, it is read or refused in words; and nobody changes before the next change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from icalendars import event, ical, shift

from bridge.calendars import CalendarError, read, spellings

BERLIN = ZoneInfo("Europe/Berlin")
NAMES = spellings({"alice": [], "bob": []})
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)

TEXT = ical(
    shift("alice", "20260105T220000", "20260106T060000", "RRULE:FREQ=WEEKLY;BYDAY=MO,WE;COUNT=9"),
    shift("bob", "20260107T220000", "20260108T060000", "RECURRENCE-ID;TZID=Europe/Berlin:20260107T220000"),
    event(
        "SUMMARY:bob", "DTSTART;VALUE=DATE:20260101", "DURATION:P1D", "EXDATE;VALUE=DATE:20260109", uid="d"
    ),
    event("SUMMARY:bob", "DTSTART:20260109T120000Z", "RDATE;VALUE=PERIOD:20260110T100000Z/PT1H", uid="p"),
    head=["X-WR-TIMEZONE:Europe/Berlin", "CALSCALE:GREGORIAN"],
)
LINES = TEXT.splitlines()
ODD = st.sampled_from(
    [
        "",
        ":",
        "=",
        ";",
        "0",
        "-1",
        "99991231T235959Z",
        "00010101",
        "FREQ=DAILY",
        "INTERVAL=0",
        "BYMONTHDAY=99",
    ]
)
WORDS = st.text(st.sampled_from("ADEILMNRSTUXZ0123456789-;:=,/\\ "), max_size=8)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        number = draw(st.integers(0, len(lines) - 1))
        line = lines[number]
        cut = draw(st.integers(0, len(line)))
        kind = draw(st.sampled_from(["drop", "double", "put", "value", "swap"]))
        if kind == "drop":
            lines[number] = ""
        elif kind == "double":
            lines.insert(number, line)
        elif kind == "put":
            lines[number] = line[:cut] + draw(ODD | WORDS) + line[cut:]
        elif kind == "value":
            lines[number] = line.partition(":")[0] + ":" + draw(ODD | WORDS)
        else:
            other = draw(st.integers(0, len(lines) - 1))
            lines[number], lines[other] = lines[other], line
    return "\r\n".join(lines) + "\r\n"


@settings(max_examples=250, deadline=None)
@given(text=mutations())
def test_no_text_gives_anything_but_an_agenda_or_words(text: str) -> None:
    try:
        mine = read(text, BERLIN, NAMES)
    except CalendarError as error:
        words = str(error)
    else:
        assert set(mine.who(NOW)) <= {"alice", "bob"}
        words = "".join(mine.doubts(NOW, NOW + timedelta(days=28)))
    assert "\n" not in words


RULES = st.builds(
    "FREQ={};INTERVAL={};COUNT={}".format,
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    st.integers(1, 4),
    st.integers(1, 30),
)


@settings(max_examples=60, deadline=None)
@given(
    rules=st.lists(RULES, min_size=1, max_size=3),
    hours=st.lists(st.integers(1, 300), min_size=3, max_size=3),
    begins=st.datetimes(datetime(2026, 1, 1), datetime(2026, 10, 31)),  # noqa: DTZ001 - local
    zone=st.sampled_from(["Europe/Berlin", "", "America/New_York"]),
    points=st.lists(st.integers(0, 400 * 24 * 60), min_size=5, max_size=5),
)
def test_who_is_on_call_stays_so_until_the_next_change(
    rules: list[str], hours: list[int], begins: datetime, zone: str, points: list[int]
) -> None:
    events = [
        shift(
            f"{'alice' if number % 2 else 'bob'}",
            f"{begins:%Y%m%dT%H%M00}",
            f"{begins + timedelta(hours=length):%Y%m%dT%H%M00}",
            f"RRULE:{rule}",
            uid=str(number),
            zone=zone,
        )
        for number, (rule, length) in enumerate(zip(rules, hours, strict=False))
    ]
    mine, fresh = (read(ical(*events), BERLIN, NAMES) for _ in range(2))
    for minutes in points:
        now = NOW + timedelta(minutes=minutes)
        change = mine.next_change(now, now + timedelta(days=9))
        assert now < change <= now + timedelta(days=9)
        middle = now + (change - now) / 2
        assert mine.who(now) == mine.who(middle) == mine.who(change - timedelta(seconds=1))
        assert fresh.who(middle) == mine.who(middle), "it depends on what was asked before"
