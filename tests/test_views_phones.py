"""Whether a phone would ring tonight: yes, doubtful or no, never by guess."""

from typing import Any

from builders import NOW, at

from bridge.views.phones import Card, Facts, card, tally


def judged(**fields: Any) -> Card:
    known = {
        "name": "alice-iphone",
        "owner": "alice",
        "enrolled": True,
        "usable": True,
        "doubtful": False,
        "known": True,
        "troubles": (),
        "environment": "production",
        "topic": "com.example.oncall",
        "app_version": "1.2",
        "os_version": "19.1",
        "voip_since": at(-86_400),
        "alert_since": None,
        "enrolled_at": at(-86_400),
        "heard_at": at(-600),
    }
    return card(Facts(**(known | fields)), NOW)


def test_a_phone_that_spoke_lately_and_has_a_good_token_would_ring() -> None:
    found = judged()
    assert (found.verdict, found.tone, found.word, found.why) == ("yes", "good", "would ring", ())
    assert found.app == "com.example.oncall, version 1.2, iOS 19.1"
    assert (found.kid, judged(kid="26d4f6514177f895").kid) == (
        "none: its pushes are not sealed",
        "26d4f6514177f895",
    )
    assert found.heard is not None
    assert found.heard.far == "10 min ago"


def test_a_phone_that_takes_calls_in_silence_is_doubtful_and_says_what_to_do() -> None:
    found = judged(doubtful=True, troubles=("doubtful: open the app on it",))
    assert (found.verdict, found.tone) == ("doubtful", "warn")
    assert found.why == ("doubtful: open the app on it",)


def test_a_phone_that_said_nothing_for_a_week_is_doubtful() -> None:
    found = judged(heard_at=at(-8 * 86_400))
    assert found.verdict == "doubtful"
    assert found.why == ("it has said nothing for a week: make a test call",)


def test_a_phone_of_the_configuration_says_nothing_and_is_not_doubtful_for_it() -> None:
    found = judged(
        enrolled=False, heard_at=None, app_version=None, os_version=None, topic=None, environment=None
    )
    assert (found.verdict, found.app, found.environment) == ("yes", "", "unknown")


def test_a_phone_without_a_usable_token_or_of_nobody_cannot_ring() -> None:
    assert judged(usable=False).verdict == "no"
    assert judged(known=False).verdict == "no"


def test_the_tally_counts_each_verdict() -> None:
    assert tally([judged(), judged(usable=False), judged(doubtful=True)]) == {
        "yes": 1,
        "doubtful": 1,
        "no": 1,
    }
