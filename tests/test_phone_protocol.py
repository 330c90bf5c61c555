"""What docs/phone-protocol.md says of requests and of the event stream is what the bridge's shapes say."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from test_payloads import DOCUMENT, paths, shown_as, tables

from bridge.api.phone import shapes
from bridge.simulator.membership import read_link

SECTIONS: list[tuple[str, list[str]]] = [
    ("Enrolment", ["enrol", "enrolled"]),
    ("Tokens", ["tokens", "device"]),
    ("Incidents", ["incidents", "act"]),
]
SHAPES: dict[str, type[msgspec.Struct]] = {
    "enrol": shapes.Enrol,
    "enrolled": shapes.Enrolled,
    "tokens": shapes.PutTokens,
    "device": shapes.Device,
    "receipt": shapes.PostReceipt,
    "answer": shapes.ReceiptTaken,
    "incidents": shapes.Incidents,
    "act": shapes.Silence,
}


def fields(shape: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(shape)}


def block(section: str) -> str:
    """The plain text that a section shows."""
    text = DOCUMENT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0]


@pytest.mark.parametrize(("section", "kinds"), SECTIONS)
def test_the_examples_have_exactly_the_documented_fields(section: str, kinds: list[str]) -> None:
    for kind, table in zip(kinds, tables(section), strict=True):
        assert set(paths(shown_as(kind)[0])) == table, kind


@pytest.mark.parametrize("kind", SHAPES)
def test_the_examples_are_what_the_bridge_reads_and_says(kind: str) -> None:
    (example,) = shown_as(kind)
    read: Any = msgspec.convert(example, SHAPES[kind])
    assert example.keys() == fields(SHAPES[kind])
    assert json.loads(msgspec.json.encode(read)) == example


def test_an_incident_is_documented_whole() -> None:
    (listed,) = shown_as("incidents")
    assert listed["incidents"][0].keys() == fields(shapes.Incident)


def test_every_field_of_an_event_is_documented() -> None:
    ended, happened = tables("Events")
    assert ended == fields(shapes.CallOver)
    assert happened == fields(shapes.Happened) | {f"event.{name}" for name in fields(shapes.Event)}


def test_the_stream_that_is_shown_can_be_read() -> None:
    blocks = block("Events").strip().split("\n\n")
    assert blocks[0].startswith(": welcome\nretry: ")
    kind, data = blocks[1].split("\n")
    assert kind == "event: call_ended"
    msgspec.json.decode(data.removeprefix("data: "), type=shapes.CallOver)
    number, kind, data = blocks[2].split("\n")
    told = json.loads(data.removeprefix("data: ").replace(",…", ""))
    assert (number, kind) == (f"id: {told['event']['id']}", "event: incident")
    msgspec.convert(told["event"], shapes.Event)
    assert blocks[3] == ": still here"


def test_every_reason_of_a_call_that_is_over_is_documented() -> None:
    text = DOCUMENT.split("\n## Events\n")[1]
    for reason in msgspec.json.schema(shapes.CallOver)["$defs"]["CallOver"]["properties"]["reason"]["enum"]:
        assert f"`{reason}`" in text


def test_the_link_that_is_shown_can_be_read() -> None:
    assert read_link(block("Enrolment").strip()) == ("https://bridge.example.com", "7K2M-Q9XD-4TNP")
