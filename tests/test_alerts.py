"""Alertmanager's message: what is read, what is repaired, what is refused, and with which words."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from builders import NOW
from msgspec.structs import replace

from bridge import alerts
from bridge.alerts import (
    MOST_LABELS,
    Alert,
    NotAnAlertmanagerMessage,
    Notification,
    fingerprint,
    parse,
    timestamp,
)

PAYLOADS = Path(__file__).parent / "payloads"
MESSAGES = sorted(path for path in PAYLOADS.glob("*.json") if not path.name.startswith("17"))

LABELS = {"alertname": "DiskFull", "instance": "i1"}
GOOD: dict[str, Any] = {
    "status": "firing",
    "labels": LABELS,
    "annotations": {"summary": "Disk full"},
    "startsAt": "2026-11-25T00:55:16.023678342Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prom/graph",
    "fingerprint": "37d2b0f1337723eb",
}
READ = Alert(
    fingerprint="37d2b0f1337723eb",
    firing=True,
    labels=LABELS,
    annotations={"summary": "Disk full"},
    starts_at=datetime(2026, 11, 25, 0, 55, 16, 23678, UTC),
    generator_url="http://prom/graph",
)


def body(*found: Any, **more: Any) -> bytes:
    return json.dumps({"version": "4", "alerts": found} | more).encode()


def read(raw: bytes) -> Notification:
    return parse(raw, "eu-prod", NOW)


def changed(**fields: Any) -> dict[str, Any]:
    return GOOD | fields


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


# --- what real Alertmanagers send -------------------------------------------------------------


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_every_real_body_is_read_without_a_repair(path: Path) -> None:
    raw = json.loads(path.read_bytes())
    message = read(path.read_bytes())
    assert message.source == "eu-prod"
    assert message.group_key == raw["groupKey"]
    assert message.external_url == "http://am.example:9093"
    assert message.truncated_alerts == raw["truncatedAlerts"]
    assert [alert.labels for alert in message.alerts] == [sent["labels"] for sent in raw["alerts"]]
    assert [alert.annotations for alert in message.alerts] == [sent["annotations"] for sent in raw["alerts"]]
    assert [alert.generator_url for alert in message.alerts] == [
        sent["generatorURL"] for sent in raw["alerts"]
    ]
    for alert, sent in zip(message.alerts, raw["alerts"], strict=True):
        assert alert.repairs == ()
        assert alert.firing == (sent["status"] == "firing")
        assert alert.starts_at == timestamp(sent["startsAt"])
        assert alert.ends_at == (None if alert.firing else timestamp(sent["endsAt"]))


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_our_fingerprint_is_alertmanagers_own(path: Path) -> None:
    sent = json.loads(path.read_bytes())["alerts"]
    assert [fingerprint(alert["labels"]) for alert in sent] == [alert["fingerprint"] for alert in sent]


def test_the_fingerprint_does_not_hang_on_the_order_of_the_labels() -> None:
    assert fingerprint({"b": "2", "a": "1"}) == fingerprint({"a": "1", "b": "2"})
    assert fingerprint({"a": "1", "b": "2"}) != fingerprint({"a": "12", "b": ""})
    assert fingerprint({}) == "cbf29ce484222325"


def test_a_partly_resolved_body_is_read_alert_by_alert_whatever_its_own_status_says() -> None:
    assert [a.firing for a in read((PAYLOADS / "04_v0.25_partial_resolved.json").read_bytes()).alerts] == [
        False,
        True,
    ]
    assert read(body(GOOD, status="resolved")).alerts == (READ,)


def test_a_truncated_body_says_how_many_alerts_it_does_not_show() -> None:
    message = read((PAYLOADS / "16_v0.33.1_truncated_max_alerts2.json").read_bytes())
    assert (len(message.alerts), message.truncated_alerts) == (2, 3)


def test_unknown_fields_are_ignored_everywhere() -> None:
    assert read(body(changed(later=[1]), notification_reason="x", routeLabels={})).alerts == (READ,)


def test_what_the_envelope_does_not_say_is_empty() -> None:
    assert read(body()) == Notification(source="eu-prod", alerts=())


# --- rule 7: repaired, not refused ------------------------------------------------------------

SUM = fingerprint(LABELS)

REPAIRS: list[tuple[str, Any, dict[str, Any], tuple[str, ...]]] = [
    ("no fingerprint", without("fingerprint"), {"fingerprint": SUM}, ("fingerprint",)),
    ("fingerprint too short", changed(fingerprint="37d2"), {"fingerprint": SUM}, ("fingerprint",)),
    ("fingerprint in capitals", changed(fingerprint="37D2B0F1337723EB"), {"fingerprint": SUM}, ("fingerprint",)),
    ("fingerprint a number", changed(fingerprint=3), {"fingerprint": SUM}, ("fingerprint",)),
    ("no startsAt", without("startsAt"), {"starts_at": NOW}, ("startsAt",)),
    ("startsAt garbage", changed(startsAt="yesterday"), {"starts_at": NOW}, ("startsAt",)),
    ("startsAt zero", changed(startsAt="0001-01-01T00:00:00Z"), {"starts_at": NOW}, ("startsAt",)),
    ("startsAt a number", changed(startsAt=1764032116), {"starts_at": NOW}, ("startsAt",)),
    ("no status", without("status"), {}, ("status",)),
    ("status unknown", changed(status="suppressed"), {}, ("status",)),
    ("status a list", changed(status=["firing"]), {}, ("status",)),
    ("no labels", without("labels"), {"labels": {}}, ("labels",)),
    ("labels a list", changed(labels=["a"]), {"labels": {}}, ("labels",)),
    ("label a number", changed(labels={"a": 1}), {"labels": {"a": "1"}}, ("labels",)),
    (
        "labels of every kind",
        changed(labels={"a": 1.5, "b": None, "c": [1], "d": True, "e": "é"}),
        {"labels": {"a": "1.5", "b": "null", "c": "[1]", "d": "true", "e": "é"}},
        ("labels",),
    ),
    ("annotations null", changed(annotations=None), {"annotations": {}}, ("annotations",)),
    ("annotation a number", changed(annotations={"n": 7}), {"annotations": {"n": "7"}}, ("annotations",)),
    ("endsAt a number", changed(endsAt=0), {}, ("endsAt",)),
    ("generatorURL null", changed(generatorURL=None), {"generator_url": ""}, ("generatorURL",)),
    ("resolved without an end", changed(status="resolved", endsAt=""), {"firing": False, "ends_at": NOW}, ("endsAt",)),
    ("resolved at zero", changed(status="resolved"), {"firing": False, "ends_at": NOW}, ("endsAt",)),
    (
        "resolved, startsAt missing",
        {**without("startsAt"), "status": "resolved", "endsAt": "2026-11-25T01:00:00Z"},
        {"firing": False, "starts_at": NOW, "ends_at": datetime(2026, 11, 25, 1, tzinfo=UTC)},
        ("startsAt",),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "differs", "marks"), [case[1:] for case in REPAIRS], ids=[case[0] for case in REPAIRS]
)
def test_rule_7_a_broken_alert_is_repaired_and_marked(
    sent: Any, differs: dict[str, Any], marks: tuple[str, ...]
) -> None:
    assert read(body(sent)).alerts == (replace(READ, **differs, repairs=marks),)


@pytest.mark.parametrize("sent", [None, 5, "text", [], {}, [[[1]]]], ids=repr)
def test_rule_7_an_alert_of_which_nothing_can_be_read_rings_all_the_same(sent: Any) -> None:
    marks = ("labels", "status", "startsAt", "fingerprint")
    assert read(body(sent)).alerts == (Alert(fingerprint({}), True, {}, {}, NOW, repairs=marks),)


def test_rule_7_a_good_alert_beside_a_broken_one_is_left_as_it_is() -> None:
    assert read(body(None, GOOD)).alerts[1] == READ


def test_rule_7_an_alert_that_is_not_utf8_keeps_what_can_be_read() -> None:
    raw = body(changed(labels={"alertname": "DiskFull", "path": "?"})).replace(b'"?"', b'"\xff"')
    labels = {"alertname": "DiskFull", "path": "\N{REPLACEMENT CHARACTER}"}
    assert read(raw).alerts == (replace(READ, labels=labels, repairs=("encoding",)),)


@pytest.mark.parametrize(
    "escape", [r"\u0000", r"\ud800", r"\uD800", r"\udfff", r"\ud800\u0041", r"\udc00\ud83d\ude00"]
)
def test_what_stands_for_no_character_is_replaced_and_the_alert_is_marked(escape: str) -> None:
    """Rule 7: PostgreSQL takes no NUL, and nothing takes half a surrogate pair; neither may cost the alert."""
    text = escape.replace(r"\u0041", "A").replace(r"\ud83d\ude00", "\N{GRINNING FACE}")
    text = re.sub(r"\\u....", "\N{REPLACEMENT CHARACTER}", text)
    labels = LABELS | {"instance": f"i{text}"}
    raw = body(changed(labels=LABELS | {"instance": "iHERE"}), GOOD).replace(b"HERE", escape.encode())
    assert read(raw).alerts == (replace(READ, labels=labels, repairs=("encoding",)), READ)
    (broken,) = read(
        body(without("startsAt") | {"labels": {"HERE": "v"}}).replace(b"HERE", escape.encode())
    ).alerts
    assert broken.labels == {text: "v"}
    assert broken.repairs == ("encoding", "startsAt")


@pytest.mark.parametrize("escape", [r"\ud83d\ude00", r"\\ud800", r"\\u0000", r"\ufffd"])
def test_what_stands_for_a_character_is_left_as_it_is(escape: str) -> None:
    labels = LABELS | {"instance": json.loads(f'"i{escape}"')}
    raw = body(changed(labels=LABELS | {"instance": "iHERE"})).replace(b"HERE", escape.encode())
    assert read(raw).alerts == (replace(READ, labels=labels),)


def test_the_names_of_group_and_sender_hold_no_nul_either() -> None:
    assert read(body(GOOD, groupKey="a\0b", externalURL="http://\0")).group_key == "a\ufffdb"
    assert read(body(GOOD, externalURL="http://\0")).external_url == "http://\ufffd"
    assert read(body(changed(generatorURL="http://\0"))).alerts[0].generator_url == "http://\ufffd"


@pytest.mark.parametrize("odd", ["1e999", "1" * 5000], ids=["huge", "long"])
def test_rule_7_an_alert_with_a_value_that_nobody_can_hold_rings_all_the_same(odd: str) -> None:
    raw = body(changed(labels="?")).replace(b'"?"', b'{"a":' + odd.encode() + b"}")
    (alert,) = read(raw).alerts
    assert alert.firing
    assert "labels" in alert.repairs


@pytest.mark.parametrize("odd", [b"null", b"5", b"[]", b"1e999", b'{"a":' + b"1" * 5000 + b"}"])
def test_rule_7_odd_values_around_the_alerts_lose_nothing(odd: bytes) -> None:
    raw = body(GOOD, groupKey="?", externalURL="?").replace(b'"?"', odd)
    assert read(raw) == Notification(source="eu-prod", alerts=(READ,))


def test_rule_7_a_group_key_that_is_not_utf8_is_shown_as_well_as_can_be() -> None:
    message = read(body(GOOD, groupKey="a?").replace(b'"a?"', b'"a\xff"'))
    assert message == Notification("eu-prod", (READ,), group_key="a\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (0, 0),
        (3, 3),
        (-1, 0),
        (True, 0),
        (2.5, 0),
        ("3", 0),
        (None, 0),
        ([], 0),
        (2**53 - 1, 2**53 - 1),
        (2**64 - 1, 2**53 - 1),
        (10**30, 2**53 - 1),
    ],
)
def test_truncated_alerts_is_a_count_that_every_database_can_hold(sent: Any, kept: int) -> None:
    count = read(body(GOOD, truncatedAlerts=sent)).truncated_alerts
    assert (count, type(count)) == (kept, int)


# --- what is refused, and how -----------------------------------------------------------------

NOT_THIS = "it is not Alertmanager's webhook message, version 4. If the receiver sets `payload:` (Alertmanager 0.32 and later), remove it"

REFUSED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "the body is empty; send Alertmanager's webhook message as JSON"),
    ("blank", b" \n", "the body is empty; send Alertmanager's webhook message as JSON"),
    ("text", b"hello", "the body is not JSON: JSON is malformed: invalid character (byte 0)"),
    ("cut off", b'{"version":"4",', "the body is not JSON: Input data was truncated"),
    ("two", b'{"version":"4","alerts":[]} {}', "the body is not JSON: JSON is malformed: trailing characters (byte 29)"),
    ("nothing", b"{}", f'the body has no "version" and "alerts": {NOT_THIS}'),
    ("no alerts", b'{"version":"4"}', f'the body has no "alerts": {NOT_THIS}'),
    ("no version", b'{"alerts":[]}', f'the body has no "version": {NOT_THIS}'),
    ("list", b"[]", "the body is not Alertmanager's webhook message, version 4: Expected `object`, got `array`"),
    ("alerts null", b'{"version":"4","alerts":null}', "the body is not Alertmanager's webhook message, version 4: Expected `array`, got `null` - at `$.alerts`"),
    ("version 4", b'{"version":4,"alerts":[]}', "the body is not Alertmanager's webhook message, version 4: Expected `str`, got `int` - at `$.version`"),
    ("version 5", b'{"version":"5","alerts":[]}', 'version is "5", but this bridge reads version "4"'),
    ("long version", b'{"version":"' + b"9" * 99 + b'","alerts":[]}', f'version is "{"9" * 20}", but this bridge reads version "4"'),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_no_message_is_refused_with_words_that_help(raw: bytes, words: str) -> None:
    with pytest.raises(NotAnAlertmanagerMessage) as refusal:
        read(raw)
    assert str(refusal.value) == words


def test_a_custom_payload_is_refused_with_what_to_change() -> None:
    with pytest.raises(NotAnAlertmanagerMessage, match=r"no \"version\" and \"alerts\".*remove it"):
        read((PAYLOADS / "17_v0.33.1_custom_payload.json").read_bytes())


@pytest.mark.parametrize("raw", [b'{"version":"\xff","alerts":[]}', b"[" * 100_000, b'{"version":"4","alerts":' + b"[" * 5000], ids=["not UTF-8", "deep", "deep alerts"])  # fmt: skip
def test_bodies_that_cannot_be_decoded_are_refused_too(raw: bytes) -> None:
    with pytest.raises(NotAnAlertmanagerMessage, match="the body is not JSON"):
        read(raw)


# --- timestamps -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T00:55:16Z", datetime(2026, 11, 25, 0, 55, 16, tzinfo=UTC)),
        ("2026-11-25T00:55:16.5Z", datetime(2026, 11, 25, 0, 55, 16, 500_000, UTC)),
        ("2026-11-25T00:55:16.023678999Z", datetime(2026, 11, 25, 0, 55, 16, 23678, UTC)),
        ("2026-11-25t00:55:16z", datetime(2026, 11, 25, 0, 55, 16, tzinfo=UTC)),
        ("2026-11-25 00:55:16Z", datetime(2026, 11, 25, 0, 55, 16, tzinfo=UTC)),
        ("2026-11-25T02:25:16+01:30", datetime(2026, 11, 25, 0, 55, 16, tzinfo=UTC)),
        ("2026-11-24T19:55:16-05:00", datetime(2026, 11, 25, 0, 55, 16, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_rfc_3339_times_are_read(text: str, expected: datetime) -> None:
    found = timestamp(text)
    assert found == expected
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0001-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-11-25",
        "2026-11-25T00:55:16",
        "2026-11-25T00:55:16.Z",
        "2026-11-25T00:55:61Z",
        "2026-11-25T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-25T00:55:16+99:99",
        "9999-12-31T23:59:59-01:00",
        "2026-11-25T00:55:16Z ",
        "garbage",
        "२026-11-25T00:55:16Z",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert timestamp(text) is None


# --- the bridge's own -------------------------------------------------------------------------


def test_rule_7_the_bridges_own_trouble_is_an_alert_like_any_other() -> None:
    message = alerts.internal("WebhookRefused", {"status": "401"}, {"summary": "Who?"}, NOW)
    labels = {"alertname": "WebhookRefused", "status": "401"}
    assert message == Notification(
        alerts.INTERNAL_SOURCE,
        (Alert(fingerprint(labels), True, labels, {"summary": "Who?"}, NOW),),
        group_key="WebhookRefused",
    )


def test_a_notification_has_at_most_ten_thousand_alerts() -> None:
    """What a hostile one may cost has an end; Alertmanager's max_alerts keeps an honest one below."""
    from bridge.alerts import MOST_ALERTS, TooManyAlerts

    def body(count: int) -> bytes:
        return b'{"version": "4", "alerts": [' + b",".join([b"1"] * count) + b"]}"

    assert len(parse(body(MOST_ALERTS), "s", NOW).alerts) == MOST_ALERTS
    with pytest.raises(TooManyAlerts, match="10001 alerts, and 10000 are the most"):
        parse(body(MOST_ALERTS + 1), "s", NOW)


@pytest.mark.parametrize("fields", [{}, {"startsAt": "never"}])
def test_rule_7_an_alert_of_very_many_labels_is_taken_with_its_name_and_the_first_of_them_and_says_so(
    fields: dict[str, Any],
) -> None:
    """What is kept is looked at again and again; its identity is that of all its labels."""
    labels = {f"label{number:05}": "v" for number in range(MOST_LABELS)} | {"alertname": "Wide"}
    (alert,) = read(body(changed(labels=labels, fingerprint="", annotations=labels, **fields))).alerts
    for kept in (alert.labels, alert.annotations):
        assert list(kept) == ["alertname", *list(labels)[: MOST_LABELS - 1]]
    assert alert.fingerprint == fingerprint(labels)
    assert {"too many labels", "too many annotations"} <= set(alert.repairs)
    few = dict.fromkeys(list(labels)[:MOST_LABELS], "v")
    (alert,) = read(body(changed(labels=few, fingerprint=fingerprint(few)))).alerts
    assert (alert.labels, alert.repairs) == (few, ())
