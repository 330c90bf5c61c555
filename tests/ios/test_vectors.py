"""The payload vectors, which the app's own tests read too, are what the document shows and the virtual phone does."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from test_payloads import shown_as

from bridge.simulator.calls import Malformed, read_call

VECTORS = Path(__file__).parents[2] / "contract/vectors"
PAYLOADS: dict[str, Any] = json.loads((VECTORS / "payloads.json").read_text())
NOW = datetime.fromisoformat(PAYLOADS["now"])


def cases(push_type: str) -> list[Any]:
    found = [case for case in PAYLOADS["cases"] if case["push_type"] == push_type]
    return [pytest.param(case["payload"], case["expect"], id=case["name"]) for case in found]


@pytest.mark.parametrize(("payload", "expect"), cases("voip"))
def test_the_virtual_phone_makes_of_a_push_what_the_vectors_say(
    payload: dict[str, Any], expect: dict[str, Any]
) -> None:
    try:
        call = read_call(payload, NOW)
    except Malformed:
        assert (expect["does"], expect["why"]) == ("report and end", "malformed")
        return
    assert call.uuid == expect["uuid"]
    if call.expires_at <= NOW:
        assert (expect["does"], expect["why"]) == ("report and end", "stale")
        return
    assert expect["does"] == "ring"
    assert (call.record_id, call.records[call.record_id].url) == (expect["call_id"], expect["receipt_url"])


@pytest.mark.parametrize(("payload", "expect"), cases("alert"))
def test_the_virtual_phone_reads_a_notification_as_the_vectors_say(
    payload: dict[str, Any], expect: dict[str, Any]
) -> None:
    call = read_call(payload, NOW)
    assert (call.record_id, call.records[call.record_id].url) == (expect["call_id"], expect["receipt_url"])
    assert payload["aps"]["alert"] == {"title": expect["title"], "body": expect["body"]}


@pytest.mark.parametrize("kind", ["voip", "alert", "resolved", "acknowledged"])
def test_every_push_that_the_document_shows_is_a_vector(kind: str) -> None:
    vectors = [case["payload"] for case in PAYLOADS["cases"]]
    assert [example for example in shown_as(kind) if example not in vectors] == []
