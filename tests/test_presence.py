"""Which alerts have ended unheard: never because Alertmanager is away, new, garbled, or another one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import NOW, at
from ledgers import episode, incident, resolved
from msgspec.structs import replace

from bridge import presence
from bridge.incidents import Incident
from bridge.presence import Absence, Answer, Judgement, Key

GRACE = timedelta(minutes=5)
TTL = timedelta(hours=25)
SEEN = episode(seen=True)
OPEN = incident("DiskFull", SEEN)
OLD = NOW - timedelta(days=9)


def answer(*fingerprints: str, complete: bool = True, started_at: datetime = OLD) -> Answer:
    return Answer(frozenset(fingerprints), complete, started_at)


def judge(
    said: Answer, seconds: float, before: Judgement | None = None, incidents: tuple[Incident, ...] = (OPEN,)
) -> Judgement:
    absent: Mapping[Key, Absence] = before.absent if before else {}
    return presence.judge(incidents, said, absent, GRACE, TTL, at(seconds))


def gone(found: Judgement) -> list[str]:
    return [one.fingerprint for episodes in found.gone.values() for one in episodes]


@pytest.mark.parametrize(("seconds", "ended"), [(299.9, []), (300, [SEEN.fingerprint])])
def test_what_is_missing_for_the_grace_is_gone(seconds: float, ended: list[str]) -> None:
    first = judge(answer("other"), 0)
    assert gone(first) == []
    assert gone(judge(answer("other"), seconds, first)) == ended


def test_an_answer_without_any_alert_is_an_answer() -> None:
    assert gone(judge(answer(), 300, judge(answer(), 0))) == [SEEN.fingerprint]


def test_what_is_there_again_is_not_gone_and_the_grace_begins_anew() -> None:
    """So it is behind one address of two Alertmanagers of which one alone is told."""
    found = judge(answer(), 0)
    found = judge(answer(SEEN.fingerprint), 200, found)
    assert found.absent == {}
    found = judge(answer(), 299, found)
    found = judge(answer(), 598, found)
    assert gone(found) == []
    assert gone(judge(answer(), 599, found)) == [SEEN.fingerprint]


def test_what_alertmanager_never_showed_is_not_missing() -> None:
    """An alert by hand, one whose fingerprint the bridge made up, or another Alertmanager's."""
    never = incident("DiskFull", episode(repairs=("fingerprint",)))
    first = judge(answer(), 0, incidents=(never,))
    found = judge(answer(), 10_000, first, incidents=(never,))
    assert (gone(found), found.absent) == ([], {})


def test_what_was_mentioned_meanwhile_is_not_gone() -> None:
    first = judge(answer(), 0)
    mentioned = incident("DiskFull", replace(SEEN, expires_at=at(100) + TTL))
    second = judge(answer(), 300, first, incidents=(mentioned,))
    assert gone(second) == []
    assert gone(judge(answer(), 600, second, incidents=(mentioned,))) == [SEEN.fingerprint]


@pytest.mark.parametrize(("started", "ended"), [(0.1, []), (0, [SEEN.fingerprint])])
def test_a_young_alertmanager_has_not_been_told_of_all_yet(started: float, ended: list[str]) -> None:
    first = judge(answer(started_at=at(-100)), -100)
    assert gone(judge(answer(started_at=at(started)), 300, first)) == ended


def test_what_one_address_did_not_answer_proves_nothing() -> None:
    first = judge(answer(complete=False), 0)
    assert first.absent == {}
    first = judge(answer(), 0)
    found = judge(answer(complete=False), 400, first)
    assert gone(found) == []
    assert gone(judge(answer(), 401, found)) == [SEEN.fingerprint], "missing at its two last answers"


def test_what_one_address_has_is_there_though_the_other_did_not_answer() -> None:
    found = judge(answer(SEEN.fingerprint, complete=False), 10, judge(answer(), 0))
    assert found.absent == {}


def test_an_alert_is_confirmed_when_it_is_first_seen_and_when_half_its_time_is_over() -> None:
    new = incident("DiskFull", episode())
    assert judge(answer(SEEN.fingerprint), 0, incidents=(new,)).confirmed == {new.id: (SEEN.fingerprint,)}
    half = (TTL / 2).total_seconds()
    assert judge(answer(SEEN.fingerprint), half).confirmed == {}
    assert judge(answer(SEEN.fingerprint), half + 1).confirmed == {OPEN.id: (SEEN.fingerprint,)}


def test_alerts_that_have_ended_are_not_looked_for() -> None:
    over: Any = resolved(OPEN)
    found = judge(answer(), 300, judge(answer(), 0, incidents=(over,)), incidents=(over,))
    assert found == Judgement({}, {}, {})


def test_each_incident_is_judged_by_itself() -> None:
    other = incident("NodeDown", episode("NodeDown", seen=True))
    both = (OPEN, other)
    name = next(iter(other.alerts))
    first = judge(answer(name), 0, incidents=both)
    second = judge(answer(name), 300, first, incidents=both)
    assert second.gone == {OPEN.id: (SEEN,)}
    assert list(second.absent) == [(OPEN.id, SEEN.fingerprint)]
