"""What phones and last-resort webhooks are given: always valid, always small enough, the worst first."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.digest import VARIABLES, digest
from bridge.incidents import Episode, Incident, Slot, State, make_page
from bridge.payloads import ALERT_LIMIT, VOIP_LIMIT, Renderer, Shown, outgoing_webhook
from bridge.policy import InterruptionLevel, Step
from bridge.simulator.calls import read_call
from bridge.texts import number, one_line, some

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CALL = "0d9c6c3e-4a57-5f0e-8c38-0f6d8f6d3c11"
DISK, NODE = "68ca476d-6512-5171-8f3a-ab8feaf7cb97", "877fe8df-a7b7-5a92-9d0f-755b1ab94b30"
SHOWN = Shown(
    CALL,
    "5b0e2a52-93a1-5d7b-9d0e-3d1f4f7a9b20",
    NOW + timedelta(seconds=30),
    f"https://bridge.example.com/api/v1/calls/{CALL}/receipts",
    "6f1d0c9b8a7e6d5c4b3a29180716f5e4d3c2b1a09f8e7d6c5b4a392817060504",
)
BARE = Shown(CALL, SHOWN.uuid, SHOWN.expires_at)


def alert(name: str | None = "DiskFull", severity: str | None = "critical", **fields: Any) -> Episode:
    known = {"alertname": name, "severity": severity} | fields.pop("labels", {"instance": "i1"})
    annotations = fields.pop("annotations", {"summary": "Disk full on i1"})
    since = NOW - fields.pop("age", timedelta())
    labels = {key: value for key, value in known.items() if value is not None}
    return Episode(
        fields.pop("fingerprint", "0" * 16), labels, annotations, "http://prom/graph", since, since, **fields
    )


def incident(*alerts: Episode, name: str = DISK, receiver: str = "platform", **fields: Any) -> Incident:
    episodes = {f"{number:016x}": episode for number, episode in enumerate(alerts)}
    slot = Slot("default", receiver, (("alertname", "DiskFull"),))
    return Incident(**({"id": name, "slot": slot, "opened_at": NOW, "revision": 1} | fields), alerts=episodes)


def voip(*incidents: Incident, shown: Shown = SHOWN, **templates: Any) -> dict[str, Any]:
    return json.loads(Renderer(**templates).voip(shown, incidents).decode())


def over(*incidents: Incident) -> tuple[str, str]:
    shown = json.loads(Renderer().resolved(BARE, incidents))["aps"]["alert"]
    return shown["title"], shown["body"]


# -- the document --

DOCUMENT = (Path(__file__).parents[1] / "docs" / "phone-protocol.md").read_text()
EXAMPLES = [
    (kind, json.loads(text))
    for kind, text in re.findall(r"<!-- example: (\w+) -->\n```json\n(.*?)```", DOCUMENT, re.DOTALL)
]


def shown_as(kind: str) -> list[Any]:
    return [value for name, value in EXAMPLES if name == kind]


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Every field of a JSON value, as the document's tables write it."""
    if isinstance(value, list):
        for item in value:
            yield from paths(item, f"{prefix}[]")
    elif isinstance(value, dict):
        for key, item in value.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            yield from paths(item, path)


def tables(section: str) -> list[set[str]]:
    """The first columns of a section's tables of fields."""
    text = DOCUMENT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.findall(r"\| field \| type \| meaning \|\n\| --- \| --- \| --- \|\n((?:\|.*\n)+)", text)
    return [set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) for table in found]


def test_every_json_example_of_the_document_is_named_and_parses() -> None:
    assert [kind for kind, _ in EXAMPLES] == [
        "enrol",
        "enrolled",
        "tokens",
        "device",
        "voip",
        "voip",
        "voip",
        "alert",
        "resolved",
        "acknowledged",
        "receipt",
        "answer",
        "incidents",
        "act",
    ]
    assert DOCUMENT.count("```json") == len(EXAMPLES)


def test_the_examples_have_exactly_the_documented_fields() -> None:
    (call,) = tables("A call")
    (notification,) = tables("A notification")
    (resolved,) = tables("All over")
    (acknowledged,) = tables("Somebody has it")
    receipt, answer = tables("Receipts")
    rare = {"incidents[].repaired", "incidents_omitted", "drill"}
    common = call - {"caller_name", "reason"} - rare
    assert {path for it in shown_as("voip") for path in paths(it)} == call
    assert set(paths(shown_as("voip")[0])) == call - rare
    assert set(paths(shown_as("alert")[0])) == common | notification
    quiet = {path for path in notification if not path.startswith(("aps.sound", "aps.mutable"))}
    receipts = {"call.receipt_url", "call.receipt_token"}
    assert set(paths(shown_as("resolved")[0])) == (common - receipts) | quiet | resolved
    assert set(paths(shown_as("acknowledged")[0])) == (common - receipts) | quiet | acknowledged
    assert set(paths(shown_as("receipt")[0])) == receipt
    assert set(paths(shown_as("answer")[0])) == answer


def test_a_call_is_rendered_as_the_document_shows_it() -> None:
    assert voip(incident(alert())) == shown_as("voip")[0]


def test_a_call_of_many_incidents_is_rendered_as_the_document_shows_it() -> None:
    node = alert("NodeDown", repairs=("startsAt",))
    first = incident(node, *[alert("NodeDown")] * 4, name=NODE, revision=3)
    rest = [incident(alert(age=timedelta(1)), name=f"{n:036}") for n in range(39)]
    payload = voip(*rest, first, shown=BARE) | {"call": None}
    told = voip(*rest, incident(*first.alerts.values(), name=NODE, revision=3, truncated_alerts=3))
    documented = shown_as("voip")[1]
    assert told["reason"] == documented["reason"]
    assert told["counts"] == documented["counts"]
    assert payload["caller_name"] == documented["caller_name"]
    assert payload["incidents"][0] == documented["incidents"][0]
    assert payload["incidents_omitted"] == 40 - len(payload["incidents"])


def test_a_notification_is_rendered_as_the_document_shows_it() -> None:
    documented = shown_as("alert")[0]
    call = documented["call"]
    expires_at = datetime.fromisoformat(call["expires_at"])
    shown = Shown(call["id"], call["uuid"], expires_at, call["receipt_url"], call["receipt_token"])
    assert json.loads(Renderer().alert(shown, [incident(alert())], "critical")) == documented


def test_the_end_of_incidents_is_rendered_as_the_document_shows_it() -> None:
    documented = shown_as("resolved")[0]
    call = documented["call"]
    shown = Shown(call["id"], call["uuid"], datetime.fromisoformat(call["expires_at"]))
    disk = incident(alert(status="resolved"), resolution="resolved", state=State.RESOLVED)
    node = incident(
        alert("NodeDown", age=timedelta(1), status="expired"), name=NODE, revision=3, resolution="expired"
    )
    assert json.loads(Renderer().resolved(shown, [node, disk])) == documented


def taken(*incidents: Incident) -> dict[str, Any]:
    return json.loads(Renderer().acknowledged(BARE, incidents))


def test_who_has_it_is_rendered_as_the_document_shows_it() -> None:
    documented = shown_as("acknowledged")[0]
    call = documented["call"]
    shown = Shown(call["id"], call["uuid"], datetime.fromisoformat(call["expires_at"]))
    disk = incident(alert(), state=State.ACKNOWLEDGED, acknowledged_by="bob")
    assert json.loads(Renderer().acknowledged(shown, [disk])) == documented


def test_several_incidents_that_people_have_are_told_in_one_line() -> None:
    disk = incident(alert(), state=State.ACKNOWLEDGED, acknowledged_by="bob")
    node = incident(alert("NodeDown", age=timedelta(1)), name=NODE, acknowledged_by="carol")
    told = taken(disk, node)["aps"]["alert"]
    assert told == {"title": "2 incidents acknowledged", "body": "by bob, carol: DiskFull, NodeDown"}


def test_one_that_was_given_back_meanwhile_is_somebodys() -> None:
    assert taken(incident(alert()))["incidents"][0]["acknowledged_by"] == "somebody"


def test_only_a_notification_with_a_receipt_starts_the_apps_extension() -> None:
    shown = json.loads(Renderer().alert(BARE, [incident(alert())], "active"))
    assert "mutable-content" not in shown["aps"]


def test_pages_of_each_kind_are_told_by_their_own_push_a_notification_by_the_most_urgent_level() -> None:
    renderer, one = Renderer(), [incident(alert(), acknowledged_by="bob")]
    levels: list[InterruptionLevel] = ["passive", "critical", "active"]
    assert renderer.push(SHOWN, "ring", "voip", one, levels) == renderer.voip(SHOWN, one)
    assert renderer.push(SHOWN, "fallback", "alert", one, levels) == renderer.alert(SHOWN, one, "critical")
    assert renderer.push(SHOWN, "ring", "alert", one, levels) == renderer.alert(SHOWN, one, "critical")
    assert renderer.push(SHOWN, "resolved", "alert", one, levels) == renderer.resolved(SHOWN, one)
    assert renderer.push(SHOWN, "acknowledged", "alert", one, levels) == renderer.acknowledged(SHOWN, one)


def test_the_docstring_of_the_renderer_names_every_variable() -> None:
    named = set(re.findall(r"`(\w+)", Renderer.__doc__ or ""))
    assert named >= VARIABLES
    assert digest([incident(alert())]).variables().keys() == VARIABLES


# -- what a call says --


def test_the_simulated_phone_reads_the_call() -> None:
    call = read_call(voip(incident(alert())), NOW)
    assert (call.uuid, call.record_id, call.expires_at) == (SHOWN.uuid, CALL, SHOWN.expires_at)
    record = call.records[CALL]
    assert (record.url, record.token) == (SHOWN.receipt_url, SHOWN.receipt_token)


def test_without_a_receipt_url_the_phone_posts_nothing() -> None:
    payload = voip(incident(alert()), shown=BARE)
    assert set(payload["call"]) == {"id", "uuid", "expires_at"}
    assert read_call(payload, NOW).records[CALL].url is None


def test_a_receipt_url_without_a_token_stands_alone() -> None:
    shown = Shown(CALL, SHOWN.uuid, NOW, "http://b/")
    assert "receipt_token" not in voip(incident(alert()), shown=shown)["call"]


def test_a_receipt_url_that_is_too_long_costs_the_receipt_and_not_the_ring() -> None:
    warnings: list[str] = []
    shown = Shown(CALL, SHOWN.uuid, NOW, "http://" + "b" * 9000, "token")
    body = Renderer(warn=warnings.append).voip(shown, [incident(alert())])
    assert len(body) <= VOIP_LIMIT
    assert set(json.loads(body)["call"]) == {"id", "uuid", "expires_at"}
    assert warnings == ["receipt_url is too long for a push, and is left out"]


def test_the_receipt_token_is_not_in_the_representation() -> None:
    assert str(SHOWN.receipt_token) not in repr(SHOWN)


def test_times_are_utc_with_milliseconds() -> None:
    shown = Shown(CALL, SHOWN.uuid, datetime(2026, 11, 25, 13, 0, tzinfo=timezone(timedelta(hours=1))))
    assert voip(incident(alert()), shown=shown)["call"]["expires_at"] == "2026-11-25T12:00:00.000Z"


@pytest.mark.parametrize(
    ("only", "caller", "reason"),
    [
        (alert(), "CRITICAL DiskFull", "platform: Disk full on i1"),
        (alert(severity="sev-1"), "SEV-1 DiskFull", "platform: Disk full on i1"),
        (alert(severity=None), "DiskFull", "platform: Disk full on i1"),
        (alert(None), "CRITICAL alert without a name", "platform: Disk full on i1"),
        (alert(" \n"), "CRITICAL alert without a name", "platform: Disk full on i1"),
        (alert(annotations={"summary": " ", "description": "No\r\nspace"}), "CRITICAL DiskFull",
         "platform: No space"),
        (alert(annotations={}), "CRITICAL DiskFull",
         "platform: alertname=DiskFull, instance=i1, severity=critical"),
        (alert(None, None, annotations={}, labels={}), "alert without a name",
         "platform: alert without a name"),
        (alert(repairs=("startsAt", "status")), "CRITICAL DiskFull",
         "platform: Disk full on i1, 1 alert came damaged"),
    ],
)  # fmt: skip
def test_one_incident_is_told_by_its_alert(only: Episode, caller: str, reason: str) -> None:
    payload = voip(incident(only))
    assert (payload["caller_name"], payload["reason"]) == (caller, reason)


def test_an_incident_with_several_alerts_is_told_by_the_worst_one() -> None:
    alerts = [
        alert("Slow", "warning"),
        alert("NodeDown", annotations={"summary": "i2 is down"}),
        alert("Slow"),
    ]
    payload = voip(incident(*alerts, truncated_alerts=3))
    assert payload["caller_name"] == "CRITICAL NodeDown, Slow"
    assert payload["reason"] == (
        "platform: i2 is down, and 2 more alerts, and 3 more that Alertmanager did not show"
    )
    assert payload["incidents"][0]["alerts"] == 3


def test_what_must_be_known_survives_a_summary_of_any_length() -> None:
    alerts = [alert(annotations={"summary": "x" * 10_000}), alert()]
    reason = voip(incident(*alerts, truncated_alerts=3))["reason"]
    assert reason.endswith("x…, and 1 more alert, and 3 more that Alertmanager did not show")


def test_several_incidents_are_counted_and_named() -> None:
    alerts = [
        incident(*[alert(f"A{n}", age=timedelta(n))] * (n + 1), name=f"i{n}", truncated_alerts=n)
        for n in range(6)
    ]
    payload = voip(*alerts)
    assert payload["caller_name"] == "6 incidents"
    assert payload["reason"] == (
        "21 alerts in 6 incidents: A0, A1, A2, A3, A4, …, and 15 more that Alertmanager did not show"
    )
    assert payload["counts"] == {"alerts": 21, "incidents": 6, "truncated_alerts": 15}


def test_the_truncated_alerts_of_one_notification_are_counted_once() -> None:
    pair = [incident(alert(), name=name, group_key="{}", truncated_alerts=4) for name in (DISK, NODE)]
    assert voip(*pair)["counts"]["truncated_alerts"] == 4


def test_the_worst_severity_comes_first_then_the_newest() -> None:
    worst_first = ["critical", "page", "ERROR", "warning", "info", None]
    mixed = [
        incident(alert(severity=severity, age=timedelta(hours=hours)), name=f"{severity}-{hours}")
        for hours in (3, 1)
        for severity in reversed(worst_first)
    ]
    order = [entry["id"] for entry in voip(*mixed, incident(name="no alerts at all"))["incidents"]]
    known = [f"{severity}-{hours}" for severity in worst_first for hours in (1, 3)]
    assert sorted(order[-3:]) == sorted(["no alerts at all", *known[-2:]])
    assert order[:-3] == known[:-2]


def test_resolved_alerts_are_not_told_while_others_fire() -> None:
    payload = voip(incident(alert("Gone", status="resolved"), alert("Here", "warning")))
    assert (payload["caller_name"], payload["counts"]["alerts"]) == ("WARNING Here", 1)


def test_a_count_beyond_all_bounds_is_still_a_number_that_json_can_say() -> None:
    assert voip(incident(alert(), truncated_alerts=10**300))["counts"]["truncated_alerts"] == 2**53 - 1


def test_a_push_without_incidents_is_still_a_call() -> None:
    warnings: list[str] = []
    payload = voip(caller_name="{{ alertname }}", warn=warnings.append)
    assert read_call(payload, NOW).uuid == SHOWN.uuid
    assert (payload["caller_name"], payload["reason"]) == ("0 incidents", "0 alerts in 0 incidents")
    assert payload["severity"] == "none"
    assert warnings == ["templates.caller_name failed: IndexError: tuple index out of range"]


# -- notifications --


@pytest.mark.parametrize(
    ("level", "sound"),
    [
        ("critical", {"critical": 1, "name": "default", "volume": 1.0}),
        ("time-sensitive", "default"),
        ("active", "default"),
        ("passive", None),
    ],
)
def test_a_notification_sounds_by_its_level(level: InterruptionLevel, sound: object) -> None:
    payload = json.loads(Renderer().alert(SHOWN, [incident(alert())], level))
    assert payload["aps"]["interruption-level"] == level
    assert payload["aps"].get("sound") == sound
    assert payload["aps"]["alert"] == {"title": "CRITICAL DiskFull", "body": "platform: Disk full on i1"}


def test_it_is_said_whether_an_incident_resolved_or_expired() -> None:
    disk, node = incident(alert(), resolution="resolved"), incident(alert("NodeDown"), resolution="expired")
    assert over(disk) == ("Resolved: DiskFull", "platform: Disk full on i1")
    assert over(node) == (
        "Expired: NodeDown",
        "platform: Disk full on i1, not resolved: Alertmanager no longer mentions it",
    )
    assert over(disk, disk) == ("2 incidents resolved", "DiskFull")
    assert over(disk, node, node) == ("1 incident resolved, 2 expired", "DiskFull, NodeDown")
    assert over(node, node) == ("0 incidents resolved, 2 expired", "NodeDown")


def test_the_end_of_an_incident_makes_no_sound() -> None:
    aps = json.loads(Renderer().resolved(SHOWN, [incident(alert())]))["aps"]
    assert (aps["interruption-level"], "sound" in aps) == ("passive", False)


# -- templates --


def test_the_documented_example_templates_work() -> None:
    payload = voip(
        incident(alert()),
        caller_name="{{ severity | upper }} {{ receiver }}",
        reason="{{ summary }}{{ notes }}",
    )
    assert (payload["caller_name"], payload["reason"]) == ("CRITICAL platform", "Disk full on i1")


def test_templates_can_use_all_that_is_documented() -> None:
    text = (
        "{{ alertname }} {{ source }} {{ labels.job }}{{ labels.instance }} {{ annotations.team }}"
        " {% for i in incidents %}[{{ i.id }} {{ i.revision }} {{ i.receiver }} {{ i.source }} {{ i.title }}"
        " {{ i.severity }} {{ i.summary }} {{ i.alerts }} {{ i.labels.instance }}]{% endfor %}"
        " {{ counts.alerts }} {{ counts.incidents }} {{ counts.truncated_alerts }}{{ notes }}"
    )
    both = [
        alert(labels={"job": "n", "instance": name}, annotations={"team": "t", "summary": name})
        for name in "ab"
    ]
    payload = voip(*(incident(it, name=it.labels["instance"]) for it in both), reason=text)
    assert payload["reason"] == (
        "DiskFull default n t [a 1 platform default DiskFull critical a 1 a]"
        "[b 1 platform default DiskFull critical b 1 b] 2 2 0"
    )


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("{{ labels.a.b.c }}", "templates.reason failed: UndefinedError: 'dict object' has no attribute 'a'"),
        ("{{ counts.alerts / 0 }}", "templates.reason failed: ZeroDivisionError: division by zero"),
        ("{{ ''.__class__.__mro__ }}",
         "templates.reason failed: SecurityError: access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ labels.nothing }}", "templates.reason gave nothing"),
        ("{{ sumary }}", "templates.reason: there is no sumary"),
    ],
)  # fmt: skip
def test_a_template_that_fails_costs_no_page_and_is_told(text: str, warning: str) -> None:
    warnings: list[str] = []
    payload = voip(incident(alert()), reason=text, warn=warnings.append)
    assert payload["reason"] == "platform: Disk full on i1"
    assert warnings[0] == warning


def test_a_failure_without_anybody_to_tell_costs_no_page() -> None:
    assert voip(incident(alert()), reason="{{ 1 / 0 }}")["reason"] == "platform: Disk full on i1"


def test_what_is_no_template_is_refused_at_once() -> None:
    with pytest.raises(jinja2.TemplateSyntaxError):
        Renderer(reason="{{ summary")


def test_a_label_is_never_taken_for_a_template() -> None:
    payload = voip(incident(alert(annotations={"summary": "{{ 1 + 1 }}"})), reason="{{ summary }}")
    assert payload["reason"] == "{{ 1 + 1 }}"


# -- texts --

HIDDEN = "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff\u00ad"
FAMILY, SCOT, THUMB, FLAGS = (
    "👩‍👩‍👧‍👦",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "👍🏽",
    "🇩🇪🇫🇷🇮🇹",
)


def is_one_line(text: str) -> bool:
    bad = {"Cc", "Cs", "Zl", "Zp"}
    return not any(unicodedata.category(char) in bad or char in HIDDEN for char in text)


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("", 10, ""),
        ("  a \t\r\n b\u2028c\u0085\x00d ", 20, "a b c d"),
        ("ab\u202ecd\u2066ef", 20, "abcdef"),
        ("0123456789", 10, "0123456789"),
        ("0123456789a", 10, "0123456…"),
        ("012345 789a", 10, "012345…"),
        ("ää\u00e4ä", 7, "ää…"),
        ("ab" + FAMILY, 20, "ab…"),
        ("ab" + FAMILY, 27, "ab" + FAMILY),
        ("ab" + SCOT + "c", 20, "ab…"),
        ("ab" + THUMB + "c", 10, "ab…"),
        ("ab" + FLAGS, 22, "ab🇩🇪🇫🇷…"),
        (FLAGS, 20, "🇩🇪🇫🇷…"),
        ("abcde\u0301\u0302fghi", 10, "abcd…"),
        ("e" + "\u0301" * 50, 23, "e" + "\u0301" * 9 + "…"),
        ("\u0645\u06cc\u200c\u062e", 40, "\u0645\u06cc\u200c\u062e"),
        (" " * 5000 + "far away", 40, "…"),
    ],
)
def test_a_text_is_cut_to_one_line_of_whole_characters(text: str, limit: int, line: str) -> None:
    assert one_line(text, limit) == line


@given(st.text(), st.integers(4, 60))
@example("\u202e" * 5000 + "a", 4)
@example("e" + "\u0301" * 5000, 60)
def test_any_text_becomes_one_line_within_its_limit(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert is_one_line(line)
    assert len(line.encode()) <= limit
    assert one_line(line, limit) == line


def test_some_of_many_names_are_told_each_once() -> None:
    assert some(["a", "b", "a", ""], 3, 60) == "a, b, alert without a name"
    assert some(["a", "b", "c", "d"], 3, 60) == "a, b, c, …"
    assert some((f"n{n}" for n in count()), 2, 60) == "n0, n1, …"


def test_things_are_counted_in_english() -> None:
    assert [number(n, "alert") for n in (0, 1, 2)] == ["0 alerts", "1 alert", "2 alerts"]


# -- whatever comes --

NASTY = st.sampled_from(
    [
        '"',
        "\\",
        "\n",
        "\x00",
        "\x7f",
        "\u202e",
        "\u2066",
        "\u2028",
        FAMILY,
        SCOT,
        FLAGS,
        "é",
        "e\u0301",
        "漢",
        "{{ 1/0 }}",
    ]
)
TEXTS = st.text(max_size=80) | st.builds(lambda piece, times: piece * times, NASTY, st.integers(0, 3000))
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SEVERITIES = st.sampled_from(["critical", "warning", "info", "PAGE", ""]) | TEXTS
ALERTS = st.builds(
    Episode,
    fingerprint=st.text("0123456789abcdef", min_size=16, max_size=16),
    labels=st.dictionaries(st.sampled_from(["alertname", "job"]) | TEXTS, TEXTS, max_size=4)
    | st.fixed_dictionaries({"alertname": TEXTS, "severity": SEVERITIES}),
    annotations=st.dictionaries(st.sampled_from(["summary", "description"]) | TEXTS, TEXTS, max_size=3),
    generator_url=TEXTS,
    starts_at=TIMES,
    expires_at=TIMES,
    status=st.sampled_from(["firing", "resolved", "expired"]),
    repairs=st.sampled_from([(), ("startsAt",)]),
)
INCIDENTS = st.builds(
    Incident,
    id=st.uuids().map(str),
    slot=st.builds(Slot, TEXTS, TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple)),
    opened_at=TIMES,
    state=st.sampled_from(State),
    revision=st.integers(0, 2**53 - 1),
    resolution=st.sampled_from([None, "resolved", "expired"]),
    group_key=TEXTS,
    external_url=TEXTS,
    truncated_alerts=st.integers(0, 10**30),
    alerts=st.lists(ALERTS, max_size=4).map(lambda found: {str(n): it for n, it in enumerate(found)}),
)
MANY = st.lists(INCIDENTS, min_size=1, max_size=5).flatmap(
    lambda few: st.sampled_from([1, 2, 40]).map(lambda times: few * times)
)
URLS = st.none() | st.text('a"/\\é', max_size=3000)
SHOWNS = st.builds(Shown, st.uuids().map(str), st.uuids().map(str), TIMES, URLS, URLS)
TEMPLATES = st.none() | st.sampled_from(
    ["{{ summary }}", "{{ labels }}", "{{ 1/0 }}", "{% for i in incidents %}{{ i.title }}{% endfor %}"]
)
LEVELS: st.SearchStrategy[InterruptionLevel] = st.sampled_from(
    ["critical", "time-sensitive", "active", "passive"]
)


def check(body: bytes, limit: int, shown: Shown, incidents: list[Incident]) -> dict[str, Any]:
    """What holds of every push; gives the payload."""
    assert len(body) <= limit
    payload: dict[str, Any] = json.loads(body.decode())
    call, entries = payload["call"], payload["incidents"]
    assert payload["v"] == 1
    assert (call["id"], call["uuid"]) == (shown.id, shown.uuid)
    assert read_call(payload, NOW).uuid == shown.uuid
    ids = [it.id for it in incidents]
    assert [entry["id"] for entry in entries] == [case.id for case in digest(incidents).cases][: len(entries)]
    assert entries
    assert set(ids) >= {entry["id"] for entry in entries}
    assert payload.get("incidents_omitted", 0) == len(incidents) - len(entries)
    assert payload["counts"]["incidents"] == len(incidents)
    lines = [payload["severity"]]
    for entry in entries:
        lines += [entry["receiver"], entry["title"], entry["severity"]]
    assert all(map(is_one_line, lines))
    return payload


@given(SHOWNS, MANY, TEMPLATES, TEMPLATES)
def test_a_call_always_fits_and_keeps_what_it_needs(
    shown: Shown, incidents: list[Incident], caller_name: str | None, reason: str | None
) -> None:
    payload = check(Renderer(caller_name, reason).voip(shown, incidents), VOIP_LIMIT, shown, incidents)
    assert is_one_line(payload["caller_name"])
    assert is_one_line(payload["reason"])
    assert payload["caller_name"]
    assert payload["reason"]


@given(SHOWNS, MANY, LEVELS, TEMPLATES)
def test_a_notification_always_fits_and_keeps_what_it_needs(
    shown: Shown, incidents: list[Incident], level: InterruptionLevel, reason: str | None
) -> None:
    renderer = Renderer(reason=reason)
    for body in (renderer.alert(shown, incidents, level), renderer.resolved(shown, incidents)):
        payload = check(body, ALERT_LIMIT, shown, incidents)
        assert all(map(is_one_line, payload["aps"]["alert"].values()))
        assert all(payload["aps"]["alert"].values())


@pytest.mark.parametrize("char", ['"', "\\", "漢", "a", "😀"])
def test_the_worst_texts_fit_beside_the_longest_receipt(char: str) -> None:
    long, template = char * 9000, char * 4096
    worst = incident(
        *[alert(long + str(n), long, annotations={"summary": long}, repairs=("status",)) for n in range(9)],
        receiver=long,
        truncated_alerts=10**30,
        revision=2**53 - 1,
        resolution="expired",
    )
    shown = Shown(CALL, SHOWN.uuid, NOW, "u" * 1000, "t" * 480)
    for times in (1, 50):
        many = [worst] * times
        for body, limit in (
            (Renderer(template, template).voip(shown, many), VOIP_LIMIT),
            (Renderer(template, template).alert(shown, many, "critical"), ALERT_LIMIT),
            (Renderer().resolved(shown, many), ALERT_LIMIT),
        ):
            assert "receipt_url" in check(body, limit, shown, many)["call"]


def test_what_there_is_room_for_is_used() -> None:
    body = Renderer().voip(SHOWN, [incident(alert()) for _ in range(100)])
    entry = len(json.dumps(json.loads(body)["incidents"][0], separators=(",", ":"))) + 1
    assert VOIP_LIMIT - entry - len(',"incidents_omitted":100') < len(body) <= VOIP_LIMIT


@pytest.mark.parametrize("reason", [None, "{{ labels.job }}{{ summary }}"])
def test_two_thousand_incidents_render_at_once(reason: str | None) -> None:
    many = [incident(*[alert(f"A{n}")] * 5, name=f"{n:036}") for n in range(2000)]
    renderer = Renderer(reason=reason)
    start = time.perf_counter()
    renderer.voip(SHOWN, many)
    assert time.perf_counter() - start < 2.0


def test_megabytes_in_labels_render_at_once() -> None:
    huge = dict.fromkeys(("alertname", "severity", "summary", "description"), "\u202e\n" * 2_000_000)
    many = [incident(alert(huge["alertname"], huge["severity"], annotations=huge)) for _ in range(50)]
    start = time.perf_counter()
    Renderer(reason="{{ summary }}").voip(SHOWN, many)
    assert time.perf_counter() - start < 2.0


# -- outgoing webhooks --


def test_an_outgoing_webhook_tells_all() -> None:
    it = incident(
        alert(), alert("Gone", status="resolved"), alert("Odd", "info", repairs=("status",)),
        truncated_alerts=3, external_url="http://am",
    )  # fmt: skip
    page = make_page(it, Step(), "webhook", "last-resort", NOW, NOW)
    told = json.loads(outgoing_webhook(it, page, NOW))
    labels = {"alertname": "DiskFull", "severity": "critical", "instance": "i1"}
    common = {
        "fingerprint": "0" * 16,
        "annotations": {"summary": "Disk full on i1"},
        "generator_url": "http://prom/graph",
        "starts_at": "2026-11-25T12:00:00.000Z",
    }
    assert told == {
        "version": "1",
        "event": "incident.triggered",
        "sent_at": "2026-11-25T12:00:00.000Z",
        "page_id": page.id,
        "incident_id": DISK,
        "revision": 1,
        "state": "triggered",
        "opened_at": "2026-11-25T12:00:00.000Z",
        "receiver": "platform",
        "source": "default",
        "group": {"alertname": "DiskFull"},
        "severity": "critical",
        "summary": "platform: Disk full on i1, and 1 more alert, and 3 more that Alertmanager did not show,"
        " 1 alert came damaged",
        "drill": False,
        "alerts": [
            common | {"labels": labels},
            common | {"labels": labels | {"alertname": "Odd", "severity": "info"}, "repaired": ["status"]},
        ],
        "truncated_alerts": 3,
        "step": 1,
        "ring": 0,
        "external_url": "http://am",
    }


@given(INCIDENTS)
def test_an_outgoing_webhook_is_json_whatever_the_incident(it: Incident) -> None:
    told = json.loads(outgoing_webhook(it, make_page(it, Step(), "webhook", "w", NOW, NOW), NOW).decode())
    assert [entry["labels"] for entry in told["alerts"]] == [dict(episode.labels) for episode in it.firing]
    assert is_one_line(told["summary"])
