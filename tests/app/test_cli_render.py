"""`config render`: what it shows is what phones get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from appworld import World
from commands import run

from bridge.alerts import fingerprint

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
KINDS = ["a call", "a notification", "acknowledged", "resolved", "a drill", "an outgoing webhook"]


def rendered(folder: Path, body: bytes, config: Path = EXAMPLE, *options: str) -> dict[str, Any]:
    file = folder / "body.json"
    file.write_bytes(body)
    result = run("config", "render", f"--config.file={config}", str(file), "-o", "json", *options)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def shows(payload: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is each call's own."""
    return payload | {"call": len(payload["call"]["receipt_url"])}


async def test_a_phone_gets_what_was_shown(world: World) -> None:
    body = world.message(world.alert("DiskFull", team="db"), truncatedAlerts=2)
    url = f"--phone.external-url={world.bridge.bound.phone}"
    found = rendered(world.folder, body, world.config_file, "--at=2026-11-25T02:00:00Z", url)
    pushes = {push["kind"]: push for push in found["pushes"]}
    assert list(pushes) == KINDS
    await world.webhook(world.alert("DiskFull", team="db"), truncatedAlerts=2)
    await world.webhook(world.alert("DiskFull", team="db", resolved=True), truncatedAlerts=2)
    ring, over = (push.payload for push in world.alice.pushes.items)
    assert shows(pushes["a call"]["payload"]) == shows(ring)
    assert shows(pushes["resolved"]["payload"]) == shows(over)


def test_each_kind_is_shown_with_its_size_and_limit(tmp_path: Path) -> None:
    body = json.dumps(_message(_alert("DiskFull", team="db"), _alert("NodeDown"))).encode()
    found = rendered(tmp_path, body)
    assert [one["receiver"] for one in found["incidents"]] == ["storage", "platform"]
    assert [(push["kind"], push["limit"]) for push in found["pushes"]] == list(
        zip(KINDS, [5120, 4096, 4096, 4096, 5120, None], strict=True)
    )
    for push in found["pushes"]:
        # Compact and UTF-8, as it is sent.
        sent = json.dumps(push["payload"], separators=(",", ":"), ensure_ascii=False).encode()
        assert push["bytes"] == len(sent)
    kinds = {push["kind"]: push["payload"] for push in found["pushes"]}
    assert kinds["a drill"]["drill"] is True
    assert kinds["a drill"]["caller_name"].startswith("DRILL ")
    assert kinds["acknowledged"]["incidents"][0]["acknowledged_by"] == "alice"
    assert kinds["a notification"]["aps"]["interruption-level"] == "time-sensitive"


def test_what_is_cut_and_left_out_is_marked(tmp_path: Path) -> None:
    alerts = [_alert(f"{'Long' * 40}{number}", summary="much " * 300, team="batch") for number in range(60)]
    found = rendered(tmp_path, json.dumps(_message(*alerts)).encode())
    call = found["pushes"][0]
    assert call["bytes"] <= 5120
    assert call["incidents_omitted"] == call["payload"]["incidents_omitted"] > 0
    assert "incidents[0].title" in call["cut"]
    (tmp_path / "body.json").write_text(json.dumps(_message(alerts[0])))
    result = run("config", "render", f"--config.file={EXAMPLE}", str(tmp_path / "body.json"))
    assert "  cut: caller_name\n  cut: reason\n" in result.stdout
    assert "\na call, a VoIP push: " in result.stdout
    assert " of 5,120 bytes\n" in result.stdout


def test_a_body_that_tells_of_the_end_is_shown_from_its_beginning(tmp_path: Path) -> None:
    over = _alert("DiskFull") | {"status": "resolved", "endsAt": "2026-11-25T03:00:00Z"}
    found = rendered(tmp_path, json.dumps(_message(over)).encode())
    assert [push["kind"] for push in found["pushes"]] == KINDS


def test_templates_are_the_configuration_s_and_their_failures_are_said(tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    text = EXAMPLE.read_text().replace("examples/", f"{EXAMPLE.parent}/examples/")
    lines = 'templates:\n  caller_name: "{{ alertname | upper }}!"\n  reason: "{{ nothing.of.this }}"\n'
    config.write_text(text + lines)
    found = rendered(tmp_path, json.dumps(_message(_alert("DiskFull"))).encode(), config)
    assert found["pushes"][0]["payload"]["caller_name"] == "DISKFULL!"
    assert [warning.partition(":")[0] for warning in found["warnings"]][:1] == ["templates.reason"]


def test_a_heartbeat_alone_opens_nothing(tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    text = EXAMPLE.read_text().replace("examples/", f"{EXAMPLE.parent}/examples/")
    config.write_text(text + "heartbeats: [{name: prom, matchers: [alertname=Watchdog], every: 3m}]\n")
    (tmp_path / "body.json").write_text(json.dumps(_message(_alert("Watchdog"))))
    result = run("config", "render", f"--config.file={config}", str(tmp_path / "body.json"))
    assert result.stdout == "heartbeat prom: it is no incident, and rings nobody\nno incident opens\n"


@pytest.mark.parametrize(
    ("body", "says"), [("", "the body is empty"), ("{}", 'the body has no "version"'), ("x", "is not JSON")]
)
def test_what_is_no_webhook_s_body_is_a_clear_error(body: str, says: str) -> None:
    result = run("config", "render", f"--config.file={EXAMPLE}", "-", input=body)
    assert (result.exit_code, says in result.stderr) == (1, True)


def _alert(name: str, summary: str = "it is so", **labels: str) -> dict[str, Any]:
    full = {"alertname": name, "severity": "critical"} | labels
    return {
        "status": "firing",
        "labels": full,
        "annotations": {"summary": summary},
        "startsAt": "2026-11-25T01:59:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": fingerprint(full),
    }


def _message(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {"version": "4", "groupKey": "k", "alerts": alerts, "truncatedAlerts": 0}
