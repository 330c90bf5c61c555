"""Whatever arrives as a message is read or refused: never an exception of another kind, never a lost alert."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

from builders import NOW
from hypothesis import given
from hypothesis import strategies as st

from bridge import alerts
from bridge.alerts import NotAnAlertmanagerMessage, Notification, parse, timestamp

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
GOOD = {
    "status": "resolved",
    "labels": {"alertname": "DiskFull"},
    "annotations": {},
    "startsAt": "2026-11-25T00:55:16.023678342Z",
    "endsAt": "2026-11-25T00:56:04Z",
    "generatorURL": "",
    "fingerprint": "37d2b0f1337723eb",
}
NEEDED = {"status", "labels", "startsAt", "fingerprint"}
ODD_ALERT = JSON | st.dictionaries(st.sampled_from(list(GOOD)), JSON | st.sampled_from(list(GOOD.values())))


def check(raw: bytes) -> Notification | None:
    try:
        message = parse(raw, "default", NOW)
    except NotAnAlertmanagerMessage:
        return None
    assert isinstance(message, Notification)
    return message


@given(st.binary())
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    check(raw)


@given(st.binary(max_size=6), st.sampled_from(["groupKey", "externalURL", "truncatedAlerts", "alerts"]))
def test_any_bytes_inside_an_envelope_are_read_or_refused(raw: bytes, key: str) -> None:
    known = {"version": b'"4"', "alerts": b"[]"} | {key: b'["' + raw + b'"]' if key == "alerts" else raw}
    check(b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in known.items()) + b"}")


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    check(json.dumps(value).encode())


@given(st.lists(ODD_ALERT, max_size=3), st.dictionaries(st.sampled_from(["groupKey", "externalURL", "truncatedAlerts", "status"]), JSON))  # fmt: skip
def test_rule_7_a_valid_envelope_is_accepted_whatever_its_alerts_are(found: list[Any], more: Any) -> None:
    encoded = json.dumps({"version": "4", "alerts": found} | more, ensure_ascii=False)
    message = parse(encoded.encode(errors="replace"), "default", NOW)
    assert len(message.alerts) == len(found)
    for alert, sent in zip(message.alerts, found, strict=True):
        assert len(alert.fingerprint) == 16
        assert (alert.ends_at is None) == alert.firing
        assert alert.firing or sent["status"] == "resolved"
        assert alert.starts_at.utcoffset() is not None
        strings = [*alert.labels.items(), *alert.annotations.items(), (alert.generator_url, "")]
        assert all(isinstance(text, str) for pair in strings for text in pair)
        if not isinstance(sent, dict) or not sent.keys() >= NEEDED:
            assert alert.repairs


@given(st.text(st.characters()), st.text(st.characters()), st.sampled_from(["groupKey", "externalURL"]))
def test_no_text_comes_in_that_a_database_would_refuse(one: str, other: str, key: str) -> None:
    """st.characters() alone holds NUL and halves of surrogate pairs too; json.dumps writes them as escapes."""
    alert = GOOD | {"labels": {one: other}, "annotations": {other: one}, "generatorURL": one}
    message = check(json.dumps({"version": "4", "alerts": [alert], key: other}).encode())
    assert message is not None
    (read,) = message.alerts
    texts = [message.group_key, message.external_url, read.generator_url, *read.labels, *read.annotations]
    for text in (*texts, *read.labels.values(), *read.annotations.values()):
        assert "\0" not in text
        text.encode()


def test_an_alert_of_any_depth_is_read_or_its_body_refused() -> None:
    # How deep is too deep hangs on the caller's stack: between reading the envelope and reading an
    # alert lies a depth that the first allows and the second does not.
    found = [
        check(b'{"version":"4","alerts":[' + b"[" * deep + b"]" * deep + b"]}") for deep in range(700, 1010)
    ]
    assert found[0] is not None
    assert found[-1] is None
    assert all(message.alerts[0].repairs for message in found if message)


@given(st.text() | st.from_regex(alerts._RFC3339, fullmatch=True))
def test_any_text_is_a_time_or_none(text: str) -> None:
    found = timestamp(text)
    assert found is None or found.tzinfo is UTC
