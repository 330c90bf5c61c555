"""What each answer of APNs means, by the table of Apple's reasons, and how tokens are masked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.pushes import (
    Accepted,
    Misconfigured,
    Outcome,
    PushRequest,
    Quarantined,
    Rejected,
    Retryable,
    Unregistered,
    mask,
    of_own_topic,
    outcome,
)

# Apple, "Handling notification responses from APNs": every documented status and reason.
DOCUMENTED: list[tuple[int, str, type[Outcome]]] = [
    (400, "BadCollapseId", Rejected),
    (400, "BadDeviceToken", Quarantined),
    (400, "BadExpirationDate", Rejected),
    (400, "BadMessageId", Rejected),
    (400, "BadPriority", Rejected),
    (400, "BadTopic", Misconfigured),
    (400, "DeviceTokenNotForTopic", Quarantined),
    (400, "DuplicateHeaders", Rejected),
    (400, "IdleTimeout", Retryable),
    (400, "InvalidPushType", Misconfigured),
    (400, "MissingDeviceToken", Rejected),
    (400, "MissingTopic", Misconfigured),
    (400, "PayloadEmpty", Rejected),
    (400, "TopicDisallowed", Misconfigured),
    (403, "BadCertificate", Misconfigured),
    (403, "BadCertificateEnvironment", Misconfigured),
    (403, "BadEnvironmentKeyIdInToken", Misconfigured),
    (403, "BadEnvironmentKeyInToken", Misconfigured),
    (403, "ExpiredProviderToken", Retryable),
    (403, "Forbidden", Misconfigured),
    (403, "InvalidProviderToken", Misconfigured),
    (403, "MissingProviderToken", Misconfigured),
    (403, "UnrelatedKeyIdInToken", Retryable),
    (404, "BadPath", Rejected),
    (405, "MethodNotAllowed", Rejected),
    (410, "ExpiredToken", Unregistered),
    (410, "Unregistered", Unregistered),
    (413, "PayloadTooLarge", Rejected),
    (429, "TooManyProviderTokenUpdates", Retryable),
    (429, "TooManyRequests", Retryable),
    (500, "InternalServerError", Retryable),
    (503, "ServiceUnavailable", Retryable),
    (503, "Shutdown", Retryable),
]


@pytest.mark.parametrize(("status", "reason", "meaning"), DOCUMENTED, ids=str)
def test_each_documented_reason_has_its_meaning(status: int, reason: str, meaning: type[Outcome]) -> None:
    assert outcome(status, reason) == meaning(reason)  # type: ignore[call-arg]


def test_200_is_accepted_whatever_else_it_says() -> None:
    assert outcome(200, None) == outcome(200, "BadDeviceToken") == Accepted()


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (301, Retryable),
        (400, Rejected),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Rejected),
        (408, Retryable),
        (413, Rejected),
        (418, Rejected),
        (429, Retryable),
        (499, Rejected),
        (500, Retryable),
        (502, Retryable),
        (599, Retryable),
    ],
)
@pytest.mark.parametrize("reason", [None, "", "SomethingNew"])
def test_an_unknown_reason_is_judged_by_its_status_class(
    status: int, reason: str | None, meaning: type[Outcome]
) -> None:
    assert outcome(status, reason) == meaning(reason or f"HTTP {status}")  # type: ignore[call-arg]


def test_410_tells_since_when_the_token_is_dead() -> None:
    assert outcome(410, "Unregistered", 1_795_608_000_123) == Unregistered(
        "Unregistered", datetime(2026, 11, 25, 12, 0, 0, 123000, UTC)
    )


def test_410_without_a_timestamp_does_not_say_since_when() -> None:
    assert outcome(410, None) == Unregistered("HTTP 410", None)


def test_retry_after_is_honoured() -> None:
    assert outcome(503, "ServiceUnavailable", retry_after=2.5) == Retryable("ServiceUnavailable", 2.5)


def test_an_answer_of_apns_never_says_that_the_push_was_not_processed() -> None:
    answers = [outcome(status, reason) for status, reason, _ in DOCUMENTED]
    assert not any(isinstance(it, Retryable) and it.certainly_not_processed for it in answers)


@given(st.integers(201, 599), st.text(max_size=30) | st.none())
def test_nothing_but_200_is_ever_accepted(status: int, reason: str | None) -> None:
    assert not isinstance(outcome(status, reason), Accepted)


@given(st.integers(201, 599), st.sampled_from([reason for _, reason, _ in DOCUMENTED]))
def test_no_token_is_retired_but_by_410(status: int, reason: str) -> None:
    assert isinstance(outcome(status, reason), Unregistered) == (status == 410)


@given(st.integers(200, 599), st.sampled_from([reason for _, reason, _ in DOCUMENTED]) | st.text(max_size=30))
def test_an_answer_to_a_topic_of_the_devices_own_differs_where_it_is_about_the_topic(
    status: int, reason: str
) -> None:
    """One phone that names a wrong app must not make the bridge hold its configuration for wrong."""
    of_ours = outcome(status, reason)
    about_it = isinstance(of_ours, Misconfigured) and reason in {"BadTopic", "TopicDisallowed"}
    assert of_own_topic(of_ours) == (Quarantined(reason) if about_it else of_ours)


@pytest.mark.parametrize("reason", ["BadTopic", "TopicDisallowed"])
def test_a_topic_of_its_own_that_is_refused_sets_a_token_aside(reason: str) -> None:
    assert of_own_topic(outcome(400, reason)) == Quarantined(reason)


# -- tokens --


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("", "…"),
        ("0123456789abcdef", "…"),
        ("0123456789abcdef0", "0123…def0"),
        ("a" * 4 + "b" * 56 + "c" * 4, "aaaa…cccc"),
    ],
)
def test_a_token_is_masked(token: str, shown: str) -> None:
    assert mask(token) == shown


@given(st.text("0123456789abcdef", min_size=1, max_size=200))
def test_a_masked_token_shows_eight_digits_at_most(token: str) -> None:
    assert len(mask(token)) <= 9
    assert token not in mask(token)


def test_a_request_shows_neither_token_nor_payload() -> None:
    request = PushRequest("id", "feedface" * 8, "com.example.voip", "voip", "sandbox", 10, 0, b"DiskFull")
    assert "feedface" not in repr(request)
    assert "DiskFull" not in repr(request)
