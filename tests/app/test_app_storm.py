"""Two thousand alerts in three hundred groups: one call at a time, at the configured pace, and nothing dropped."""

import asyncio
import sqlite3
from collections import Counter
from typing import Any

import orjson
import pytest
from appworld import World
from told import Told

from bridge.payloads import VOIP_LIMIT

GROUPS, ALERTS = 300, 2000
SEVERITIES = ["info", "warning", "critical"]


@pytest.fixture
async def storm(tmp_path: Any) -> Any:
    """Alice and bob are on call together."""
    async with Told(tmp_path, None) as told:
        told.group("platform", "alice", "bob")
        told.policy(told.step("platform"))
        await told.begin("alice", "bob")
        yield told


def alerts(world: World, *, resolved: bool = False) -> list[dict[str, Any]]:
    """Each group has six or seven alerts, and one severity."""
    return [
        world.alert(
            f"Alert{number % GROUPS:03}",
            resolved=resolved,
            severity=SEVERITIES[number % GROUPS % 3],
            instance=f"db-{number:04}.example.com:9100",
        )
        for number in range(ALERTS)
    ]


async def notify(world: World, found: list[dict[str, Any]]) -> None:
    """Send them as Alertmanager does that groups by alertname: a notification for each group, at once."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for alert in found:
        by_name.setdefault(alert["labels"]["alertname"], []).append(alert)
    answers = await asyncio.gather(
        *(
            world.post(
                "/webhook",
                world.message(
                    *group,
                    groupKey=f'{{}}:{{alertname="{name}"}}',
                    groupLabels={"alertname": name},
                    commonLabels={"alertname": name, "severity": group[0]["labels"]["severity"]},
                ),
            )
            for name, group in by_name.items()
        )
    )
    assert {answer.status for answer in answers} == {200}
    await world.settled()


def outcomes(world: World, **where: Any) -> Counter[str]:
    """Count the pages of the ledger by their outcome."""
    with sqlite3.connect(world.file) as ledger:
        rows = ledger.execute("SELECT kind, outcome FROM pages").fetchall()
    return Counter(outcome for kind, outcome in rows if kind == where.get("kind", kind))


async def test_each_phone_rings_once_then_at_the_configured_pace(storm: Told) -> None:
    await notify(storm, alerts(storm))
    assert (storm.rings("alice"), storm.rings("bob")) == ([0], [0])
    await storm.pass_(134)
    assert (storm.rings("alice"), storm.rings("bob")) == ([0, 45, 90], [0, 45, 90])
    for phone in (storm.alice, storm.bob):
        assert {push.fate for push in phone.pushes.items} == {"rang"}
        for call in phone.calls.items[1:]:
            assert call.payload["reason"].startswith("2000 alerts in 300 incidents: ")


async def test_the_call_says_how_much_it_is_the_worst_first_and_fits(storm: Told) -> None:
    """One notification, as of an Alertmanager that groups nothing: then the first call says it all."""
    await storm.webhook(*alerts(storm))
    (push,) = storm.alice.pushes.items
    payload = push.payload
    assert (payload["caller_name"], payload["severity"]) == ("300 incidents", "critical")
    assert payload["reason"].startswith("2000 alerts in 300 incidents: ")
    assert payload["counts"] == {"alerts": 2000, "incidents": 300, "truncated_alerts": 0}
    assert {one["severity"] for one in payload["incidents"]} == {"critical"}
    assert len(payload["incidents"]) + payload["incidents_omitted"] == GROUPS
    # It came sealed: of 5,120 bytes a quarter goes to base64.
    assert VOIP_LIMIT * 2 // 3 < len(orjson.dumps(payload)) <= VOIP_LIMIT


async def test_every_alert_is_in_what_the_phone_fetches_and_the_answer_acknowledges_all(storm: Told) -> None:
    sent = alerts(storm)
    await notify(storm, sent)
    await storm.pass_(45)
    call = storm.alice.calls.items[-1]
    fetched = await storm.alice.enrolled.ask("GET", f"/api/v1/calls/{call.record_id}")
    found = [alert for incident in fetched["incidents"] for alert in incident["alerts"]]
    assert sorted(one["fingerprint"] for one in found) == sorted(one["fingerprint"] for one in sent)
    assert {one["labels"]["instance"] for one in found} == {one["labels"]["instance"] for one in sent}
    storm.alice.answer()
    await storm.settled()
    other = storm.bob.calls.items[-1]
    assert (other.state, other.why) == ("ended", "acknowledged: answered by alice")
    listed = (await storm.get("/api/v1/incidents?limit=1000")).json["incidents"]
    assert [one["acknowledged_by"] for one in listed] == ["alice"] * GROUPS
    await storm.pass_(3600)
    assert (storm.rings("alice"), storm.rings("bob")) == ([0, 45], [0, 45])


async def test_the_books_add_up(storm: Told) -> None:
    """Each incident asked for two phones at each of its rings, and each page has an outcome."""
    await notify(storm, alerts(storm))
    await storm.pass_(50)
    storm.alice.answer()
    await storm.settled()
    calls = [call for phone in (storm.alice, storm.bob) for call in phone.calls.items]
    carried = sum(call.payload["counts"]["incidents"] for call in calls)
    assert outcomes(storm, kind="ring") == {"accepted": carried, "expired": 2 * 2 * GROUPS - carried}
    assert outcomes(storm, kind="acknowledged") == {"accepted": GROUPS}, "bob is told, in one push"
    assert [push.fate for push in storm.bob.pushes.items] == ["rang", "rang", "notified"]
    await notify(storm, alerts(storm, resolved=True))
    await storm.settled()
    assert outcomes(storm, kind="resolved") == {"accepted": 2 * GROUPS}
    assert sum(outcomes(storm).values()) == 2 * 2 * GROUPS + GROUPS + 2 * GROUPS
    metrics = (await storm.get("/metrics")).text
    assert f'pages_settled_total{{kind="ring",outcome="accepted"}} {float(carried)}' in metrics
    assert (await storm.get("/api/v1/incidents")).json["incidents"] == []
