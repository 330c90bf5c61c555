"""contract/ is what the bridge sends: its schemas hold for all of that, and for nothing that is broken."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jsonschema
import jsonschema_rs
import msgspec
import pytest
from aiohttp import ClientSession
from click.testing import CliRunner
from contracts import CONTRACT, FOLDER
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as changed
from referencing import Registry, Resource
from senderworld import world
from test_payloads import (
    CALL,
    DOCUMENT,
    LEVELS,
    MANY,
    NOW,
    SHOWN,
    SHOWNS,
    TEMPLATES,
    TIMES,
    alert,
    incident,
    shown_as,
)

from bridge import sealing
from bridge.api.phone import PhoneApi, shapes
from bridge.api.phone.operations import Operation
from bridge.incidents import DRILL_SOURCE, Incident, PageKind
from bridge.payloads import VERSION, Renderer, Shown
from bridge.policy import InterruptionLevel
from bridge.pushes import PushKind
from bridge.sealing import Seal
from bridge.simulator import Contract, Simulator
from bridge.simulator.command import command
from bridge.simulator.keyring import KeyRing
from bridge.simulator.rules import Notification

SCHEMAS: dict[str, Any] = {
    path.name: json.loads(path.read_text()) for path in sorted((FOLDER / "schemas").glob("*.json"))
}
PROTOCOL: dict[str, Any] = json.loads((FOLDER / "protocol.json").read_text())
VECTORS: dict[str, Any] = json.loads((FOLDER / "vectors/payloads.json").read_text())
DRAFT = "https://json-schema.org/draft/2020-12/schema"
HOME = "https://pushkit-bridge.example/phone/1/"


# --- the schemas themselves -------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_and_says_what_it_is_of(name: str) -> None:
    schema = SCHEMAS[name]
    jsonschema_rs.meta.validate(schema)
    assert (schema["$schema"], schema["$id"]) == (DRAFT, HOME + name)
    assert schema["title"]
    assert schema["description"]


def test_the_version_is_that_of_the_pushes_and_of_the_paths() -> None:
    assert PROTOCOL["version"] == VERSION == SCHEMAS["shared.json"]["$defs"]["version"]["const"]
    assert all(one["path"].startswith(f"/api/v{VERSION}/") for one in PROTOCOL["operations"])


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (one for key, one in value.items() if key == "$ref")
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from refs(one)


def test_each_schema_and_each_shared_definition_is_used() -> None:
    said = {text for schema in SCHEMAS.values() for text in refs(schema)}
    named = {text.partition("#")[0] for text in said}
    for one in PROTOCOL["operations"]:
        named |= {one.get("request"), one["answer"]}
    named |= {
        *PROTOCOL["pushes"].values(),
        *PROTOCOL["events"].values(),
        PROTOCOL["problem"],
        PROTOCOL["sealed"],
        PROTOCOL["webhook"],
    }
    assert SCHEMAS.keys() - named == set()
    defined = SCHEMAS["shared.json"]["$defs"].keys()
    assert defined - {text.rpartition("/")[2] for text in said} == set()


# --- the routes -------------------------------------------------------------------------------


def operations() -> dict[str, Operation]:
    return {one.name: one for one in PhoneApi(cast("Any", None), b"")._operations}


def test_each_route_of_the_phones_has_its_schemas_and_each_schema_its_route() -> None:
    for one in PROTOCOL["operations"]:
        known = operations()[one["name"]]
        assert (one["method"], one["path"], one["access"]) == (known.method, known.path, known.access)
        assert ("request" in one) == (known.body is not None), one["name"]
        assert one["status"] == (204 if known.answers == "" else known.status)
        if isinstance(known.answers, str):
            assert one["answer"] == (known.answers or None)
    assert sorted(one["name"] for one in PROTOCOL["operations"]) == sorted(operations())


def shaped() -> Iterator[Any]:
    """Each shape of the API beside its schema."""
    for one in PROTOCOL["operations"]:
        known = operations()[one["name"]]
        if known.body is not None:
            yield pytest.param(known.body, one["request"], id=f"{one['name']}: {one['request']}")
        if not isinstance(known.answers, str):
            yield pytest.param(known.answers, one["answer"], id=f"{one['name']}: {one['answer']}")
    yield pytest.param(shapes.Happened, "event-incident.json", id="event-incident")
    yield pytest.param(shapes.CallOver, "event-call-ended.json", id="event-call-ended")
    yield pytest.param(shapes.Problem, "problem.json", id="problem")


@pytest.mark.parametrize(("shape", "name"), list(shaped()))
def test_a_schema_has_the_fields_of_the_shape_and_asks_for_those_without_default(
    shape: type[msgspec.Struct], name: str
) -> None:
    fields = msgspec.structs.fields(shape)
    properties, required = members(SCHEMAS[name])
    assert properties == {field.encode_name for field in fields}
    assert required == {field.encode_name for field in fields if field.required}


def members(schema: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The members of a schema's object, and those that it must have; through references."""
    properties, required = set(schema.get("properties", ())), set(schema.get("required", ()))
    if "$ref" in schema:
        file, _, name = schema["$ref"].partition("#/$defs/")
        assert file in {"", "shared.json"}
        more = members(SCHEMAS["shared.json"]["$defs"][name])
        properties, required = properties | more[0], required | more[1]
    return properties, required


# --- the document -----------------------------------------------------------------------------

EXAMPLE = re.compile(r"```json\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(\.\./contract/schemas/([\w-]+\.json)\)")


def examples() -> list[tuple[str, Any]]:
    """Each JSON of the document, with the schema that was named last before it."""
    found = []
    for match in EXAMPLE.finditer(DOCUMENT):
        named = LINK.findall(DOCUMENT, 0, match.start())
        found.append((named[-1], json.loads(match[1])))
    return found


@pytest.mark.parametrize(("schema", "example"), examples())
def test_an_example_of_the_document_is_as_the_schema_named_beside_it_says(schema: str, example: Any) -> None:
    assert CONTRACT.faults(schema, example) == []


def test_another_program_s_validator_reads_the_schemas_alike() -> None:
    """It knows no `maxBytes`; else a client's author would be told something else than our tests are."""
    known = Registry().with_resources((one["$id"], Resource.from_contents(one)) for one in SCHEMAS.values())
    for schema, example in examples():
        other = jsonschema.Draft202012Validator(SCHEMAS[schema], registry=known)
        assert list(other.iter_errors(example)) == [], schema
        for at in places(example):
            if not at or at[-1] not in FREE:
                strange = broken(example, at, lambda it: it.update(weather="fine"))
                assert not other.is_valid(strange), (schema, at)


def test_the_document_names_each_schema() -> None:
    assert set(LINK.findall(DOCUMENT)) == SCHEMAS.keys()


# --- the vectors ------------------------------------------------------------------------------

KEPT = {
    "the call of the document",
    "a call that tells of 40 incidents",
    "a drill",
    "the bridge waits for no receipt",
    "characters beyond ASCII",
    "a push that is read after its deadline",
    "a push that is read at its deadline",
    "a notification that stands in for a call",
    "all over",
    "somebody has it",
}
"""The vectors that a bridge of this version could have sent; the others show what a phone makes of the rest."""


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_vector_keeps_the_contract_unless_it_is_there_to_break_it(case: Any) -> None:
    faults = CONTRACT.faults(PROTOCOL["pushes"][case["push_type"]], case["payload"])
    assert (faults == []) == (case["name"] in KEPT), faults


STREAMS: list[Any] = json.loads((FOLDER / "vectors/streams.json").read_text())["cases"]


def test_the_events_of_the_document_s_stream_keep_the_contract_the_others_are_about_bytes() -> None:
    found = [event for event in STREAMS[0]["events"] if STREAMS[0]["name"] == "the stream of the document"]
    assert {event["name"] for event in found} == PROTOCOL["events"].keys()
    for event in found:
        assert CONTRACT.faults(PROTOCOL["events"][event["name"]], json.loads(event["data"])) == []


SEALED: list[Any] = json.loads((FOLDER / "vectors/sealed.json").read_text())["cases"]
MISSHAPEN = {"no ciphertext", "an encapsulated key that is too short"}


@pytest.mark.parametrize("case", SEALED, ids=lambda case: case["name"])
def test_a_sealed_vector_keeps_the_contract_and_so_does_what_is_in_it(case: Any) -> None:
    push_type = "alert" if "kind" in case["payload"] else "voip"
    faults = CONTRACT.faults(PROTOCOL["pushes"][push_type], case["payload"])
    assert (faults != []) == (case["name"] in MISSHAPEN), faults
    assert case["content"] is None or CONTRACT.faults(PROTOCOL["sealed"], case["content"]) == []


# --- what is broken ---------------------------------------------------------------------------


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each object of a value."""
    if isinstance(value, dict):
        yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from places(inner, (*at, key))


def broken(value: Any, at: tuple[Any, ...], change: Any) -> Any:
    """A copy, with the object at this place changed."""
    other = copy.deepcopy(value)
    there = other
    for key in at:
        there = there[key]
    change(there)
    return other


FREE = {"group", "labels", "annotations"}
"""Objects whose members are the alerts' own."""


def place(at: tuple[Any, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at)


@pytest.mark.parametrize(("schema", "example"), examples())
def test_a_member_that_nobody_wrote_down_is_seen_wherever_it_stands(schema: str, example: Any) -> None:
    for at in places(example):
        if at and at[-1] in FREE:
            continue
        faults = CONTRACT.faults(schema, broken(example, at, lambda it: it.update(weather="fine")))
        assert any(fault.startswith(f"{place(at)}: ") for fault in faults), (schema, at, faults)


@pytest.mark.parametrize(("schema", "example"), examples())
def test_a_value_of_another_type_is_seen_with_its_place(schema: str, example: Any) -> None:
    for at in places(example):
        inner = example
        for key in at:
            inner = inner[key]
        for name, value in inner.items():
            other: Any = "another" if isinstance(value, dict) else {"an": "other"}
            faults = CONTRACT.faults(
                schema, broken(example, at, lambda it, new={name: other}: it.update(new))
            )
            assert any(fault.startswith(f"{place((*at, name))}: ") for fault in faults), (schema, at, faults)


def told() -> dict[str, Any]:
    return copy.deepcopy(shown_as("voip")[0])


BAD: list[tuple[str, str, tuple[Any, ...], Any]] = [
    # schema, the example that is changed, the place, and what stands there then
    ("push-call.json", "voip", ("v",), 2),
    ("push-call.json", "voip", ("v",), "1"),
    ("push-call.json", "voip", ("aps",), {"alert": "hidden"}),
    ("push-call.json", "voip", ("call", "uuid"), "5B0E2A52-93A1-5D7B-9D0E-3D1F4F7A9B20"),
    ("push-call.json", "voip", ("call", "uuid"), "5b0e2a52"),
    ("push-call.json", "voip", ("call", "id"), "1"),
    ("push-call.json", "voip", ("call", "expires_at"), "2026-11-25T12:00:30Z"),
    ("push-call.json", "voip", ("call", "expires_at"), "2026-11-25T13:00:30.000+01:00"),
    ("push-call.json", "voip", ("call", "expires_at"), "2026-02-30T12:00:30.000Z"),
    ("push-call.json", "voip", ("call", "expires_at"), 1795608030),
    ("push-call.json", "voip", ("call", "receipt_url"), ""),
    ("push-call.json", "voip", ("caller_name",), ""),
    ("push-call.json", "voip", ("caller_name",), "two\nlines"),
    ("push-call.json", "voip", ("caller_name",), "turned \u202e round"),
    ("push-call.json", "voip", ("caller_name",), "x" * 129),
    ("push-call.json", "voip", ("caller_name",), "é" * 65),
    ("push-call.json", "voip", ("reason",), "x" * 513),
    ("push-call.json", "voip", ("severity",), ""),
    ("push-call.json", "voip", ("counts", "incidents"), 0),
    ("push-call.json", "voip", ("counts", "alerts"), -1),
    ("push-call.json", "voip", ("counts", "alerts"), 2**53),
    ("push-call.json", "voip", ("counts", "alerts"), 1.5),
    ("push-call.json", "voip", ("incidents",), []),
    ("push-call.json", "voip", ("incidents", 0, "repaired"), 0),
    ("push-call.json", "voip", ("incidents", 0, "resolution"), "resolved"),
    ("push-call.json", "voip", ("incidents_omitted",), 0),
    ("push-call.json", "voip", ("drill",), False),
    ("push-call.json", "voip", ("kind",), "voip"),
    ("push-alert.json", "alert", ("kind",), "news"),
    ("push-alert.json", "alert", ("caller_name",), "it stands in aps"),
    ("push-alert.json", "alert", ("aps", "interruption-level"), "loud"),
    ("push-alert.json", "alert", ("aps", "sound"), "default"),
    ("push-alert.json", "alert", ("aps", "sound", "volume"), 0.5),
    ("push-alert.json", "alert", ("aps", "mutable-content"), 0),
    ("push-alert.json", "resolved", ("aps", "sound"), "default"),
    ("push-alert.json", "resolved", ("aps", "interruption-level"), "active"),
    ("push-alert.json", "resolved", ("incidents", 0, "resolution"), "over"),
    ("push-alert.json", "acknowledged", ("incidents", 0, "acknowledged_by"), ""),
    ("enrolled.json", "enrolled", ("credential",), "short"),
    ("tokens.json", "tokens", ("voip_token",), "abc"),
    ("tokens.json", "tokens", ("voip_token",), "0f" * 32 + "\n"),
    ("tokens.json", "tokens", ("environment",), "test"),
    ("device.json", "device", ("enrolled",), False),
    ("receipt.json", "receipt", ("receipt",), "seen"),
    ("receipt.json", "receipt", ("at",), "2026-11-25T12:00:02.115"),
    ("receipt-taken.json", "answer", ("state",), "over"),
    ("incidents.json", "incidents", ("incidents", 0, "state"), "open"),
    ("incidents.json", "incidents", ("incidents", 0, "resolution"), "forgotten"),
    ("incidents.json", "incidents", ("incidents", 0, "opened_at"), None),
    ("incidents.json", "incidents", ("incidents", 0, "step"), 0),
    ("silence.json", "act", ("seconds",), 30 * 24 * 3600 + 1),
    ("silence.json", "act", ("event_id",), ""),
]


@pytest.mark.parametrize(("schema", "kind", "place", "value"), BAD)
def test_what_no_bridge_may_send_is_refused(
    schema: str, kind: str, place: tuple[Any, ...], value: Any
) -> None:
    good = shown_as(kind)[0]
    assert CONTRACT.faults(schema, good) == []
    bad = broken(good, place[:-1], lambda it: it.update({place[-1]: value}))
    assert CONTRACT.faults(schema, bad)


def test_a_message_says_the_place_and_not_the_value_which_may_be_a_secret() -> None:
    push = told()
    push["call"]["receipt_token"] = ["s3cret"]
    push["incidents"][0]["title"] = "t1tle" * 50
    faults = sorted(CONTRACT.faults("push-voip.json", push))
    assert [fault.partition(":")[0] for fault in faults] == [
        "$.call.receipt_token",
        "$.incidents[0].title",
        "$.incidents[0].title",
    ]
    assert not [fault for fault in faults if "s3cret" in fault or "t1tle" in fault]


# --- whatever comes ---------------------------------------------------------------------------

RECEIPTS = st.just((None, None)) | st.tuples(
    st.text('a"/\\é', min_size=1, max_size=900), st.text("f", min_size=1)
)
WAITED = st.builds(
    lambda shown, pair: replace(shown, receipt_url=pair[0], receipt_token=pair[1]), SHOWNS, RECEIPTS
)
TAKEN = st.builds(
    lambda found, at, who: [changed(one, acknowledged_at=at, acknowledged_by=who) for one in found],
    MANY,
    TIMES,
    st.none() | st.text(max_size=200),
)


@settings(max_examples=30, deadline=None)
@given(WAITED, TAKEN, LEVELS, TEMPLATES, st.booleans())
def test_whatever_the_alerts_each_kind_of_push_keeps_the_contract(
    shown: Shown, incidents: list[Incident], level: InterruptionLevel, template: str | None, drill: bool
) -> None:
    if drill:
        incidents = [changed(one, slot=changed(one.slot, source=DRILL_SOURCE)) for one in incidents]
    renderer = Renderer(template, template)
    pushes = [
        ("push-voip.json", renderer.voip(shown, incidents)),
        ("push-alert.json", renderer.alert(shown, incidents, level)),
        ("push-alert.json", renderer.resolved(shown, incidents)),
        ("push-alert.json", renderer.acknowledged(shown, incidents)),
    ]
    assert [CONTRACT.faults(schema, json.loads(body)) for schema, body in pushes] == [[]] * 4


@settings(max_examples=15, deadline=None)
@given(WAITED, TAKEN, LEVELS, st.sampled_from(["ring", "resolved", "acknowledged"]), st.booleans())
def test_whatever_the_alerts_a_sealed_push_keeps_the_contract_shut_and_opened(
    shown: Shown, incidents: list[Incident], level: InterruptionLevel, kind: PageKind, alert: bool
) -> None:
    contract, keys = Contract(FOLDER), KeyRing()
    seal = Seal(keys.rotate(NOW), bytes(range(32)))
    push: PushKind = "alert" if alert or kind != "ring" else "voip"
    carried = json.loads(Renderer().push(shown, kind, push, incidents, [level], seal))
    contract.push(push, carried)
    whole, outcome = keys.open(carried)
    contract.opened(push, whole)
    assert (outcome, contract.checked, contract.breaches) == ("opened", 2, [])


@pytest.mark.parametrize("kind", ["ring", "resolved", "acknowledged"])
@pytest.mark.parametrize("push", ["voip", "alert"])
def test_a_push_for_a_phone_without_a_key_keeps_the_contract(kind: PageKind, push: PushKind) -> None:
    push = push if kind == "ring" else "alert"
    carried = Renderer().push(SHOWN, kind, push, [incident(alert())], ["critical"], Seal(None, b""))
    assert CONTRACT.faults(PROTOCOL["pushes"][push], json.loads(carried)) == []


async def test_what_a_phone_reads_in_a_sealed_push_is_held_too(tmp_path: Path, contract: Contract) -> None:
    async with Simulator(phones=["alice"]) as simulator:
        phone = simulator.phone("alice")
        key = phone.keys.rotate(NOW)
        told = {"caller_name": "CRITICAL DiskFull", "reason": "it is full", "call": {}, "weather": "fine"}
        seen = {"aps": {}, "v": 1, "call": {"id": CALL}, "caller_name": "On call"}
        carried = sealing.sealed(seen, told, key, bytes(range(32)))
        phone.take(Notification("", "", "voip", "", "", 10, None, None, carried), {})
    assert [breach for breach in contract.breaches if "opened push" in breach and "'weather'" in breach]
    contract.forget()


# --- that it is held --------------------------------------------------------------------------


async def test_a_push_that_breaks_it_is_seen_with_its_place(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(*_: Any) -> bytes:
        push = told()
        del push["reason"]
        push["incidents"][0]["weather"] = "fine"
        return json.dumps(push).encode()

    monkeypatch.setattr(Renderer, "push", forgetful)
    async with world(tmp_path) as sending:
        await sending.room.fire("DiskFull")
        await sending.send()
        assert (await sending.alice.wait_for_push()).fate == "rang"
    start = "a push of type voip breaks push-voip.json at $"
    assert sorted(breach.removeprefix(start) for breach in contract.breaches) == [
        ".incidents[0]: Unevaluated properties are not allowed ('weather' was unexpected)",
        ': "reason" is a required property',
    ]
    contract.forget()


TEST = """
from bridge.payloads import Renderer
from bridge.simulator import Simulator

def test_that_sends_what_nobody_wrote_down():
    simulator = Simulator()
    simulator.contract.push("voip", {"aps": {}, "v": 1, "colour": "red"})
"""


def test_a_test_in_which_it_is_broken_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", root / "pyproject.toml", "--rootdir", tmp_path),
            *("-p", "contracts", "-p", "no:cacheprovider", "-q", "-n0", tmp_path),
        ],
        cwd=root / "tests",
        env={"PYTHONPATH": str(root / "tests"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "('colour' was unexpected)" in done.stdout
    assert "1 passed, 1 error" in done.stdout


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "breach"),
    [
        ("GET", "/api/v1/device", 200, b"{}", 'breaks device.json at $: "name" is a required property'),
        ("GET", "/api/v1/device", 200, b"<html>", "breaks device.json at $: "),
        ("GET", "/api/v1/device", 201, b"{}", "the answer 201 to GET /api/v1/device is not in protocol.json"),
        ("DELETE", "/api/v1/device", 204, b"gone", "the answer 204 to DELETE /api/v1/device has a body"),
        ("GET", "/api/v1/weather", 200, b"{}", "200 to GET /api/v1/weather is not in protocol.json"),
        ("GET", "/api/v1/weather", 404, b"no", "the answer 404 to GET /api/v1/weather breaks problem.json"),
        ("POST", "/api/v1/incidents/a%2Fb/notes?x=1", 404, b"{}", "404 to POST /api/v1/incidents/{id}/notes"),
        (
            "POST",
            "/below/api/v1/enrol",
            503,
            b"{}",
            "the answer 503 to POST /api/v1/enrol breaks problem.json",
        ),
    ],
)
def test_an_answer_that_breaks_it_is_seen(
    contract: Contract, method: str, path: str, status: int, body: bytes, breach: str
) -> None:
    contract.answered(method, path, status, body)
    assert [one for one in contract.breaches if breach in one], contract.breaches
    contract.forget()


def test_what_a_phone_asks_for_is_held_too(contract: Contract) -> None:
    contract.asked("POST", "/api/v1/incidents/1/acknowledge", {"event_id": "1", "weather": "fine"})
    contract.asked("POST", "/api/v1/incidents/1/acknowledge", None)
    contract.asked("GET", "/api/v1/device", {})
    contract.asked("GET", "/api/v1/device", None)
    body = "the body of POST /api/v1/incidents/{id}/acknowledge"
    assert contract.breaches == [
        f"{body} breaks act.json at $: Additional properties are not allowed ('weather' was unexpected)",
        f"{body} is missing",
        "the body of GET /api/v1/device is not in protocol.json",
    ]
    contract.forget()


# --- the command ------------------------------------------------------------------------------


def test_the_simulator_s_status_says_that_the_contract_was_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(simulator: Simulator, *_: Any) -> None:
        simulator.contract.push("voip", {})

    monkeypatch.setattr("bridge.simulator.command._run", run)
    result = CliRunner().invoke(command, ["--state-dir", str(tmp_path), "--contract", str(FOLDER)])
    assert result.exit_code == 1
    assert "Error: the contract was broken 8 times" in result.output


@pytest.mark.parametrize(
    ("written", "problem"), [(None, "No such file"), ("{}", "'pushes'"), ("[", "Expecting")]
)
def test_a_folder_that_is_no_contract_is_refused_at_once(
    tmp_path: Path, written: str | None, problem: str
) -> None:
    if written is not None:
        (tmp_path / "protocol.json").write_text(written)
    result = CliRunner().invoke(command, ["--contract", str(tmp_path)])
    assert result.exit_code == 2
    assert problem in result.output


def test_without_the_extra_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    result = CliRunner().invoke(command, ["--contract", str(FOLDER)])
    assert result.exit_code == 2
    assert "this needs the package jsonschema-rs: the extra `contract`" in result.output


async def test_the_control_interface_shows_what_broke_it() -> None:
    async with Simulator(contract=Contract(FOLDER)) as simulator, ClientSession() as session:
        simulator.contract.push("voip", shown_as("voip")[0])
        simulator.contract.push("voip", shown_as("voip")[0] | {"v": 2})
        async with session.get(f"{simulator.control_url}/contract") as answer:
            assert await answer.json() == {
                "checked": 2,
                "broken": 1,
                "breaches": ["a push of type voip breaks push-voip.json at $.v: 1 was expected"],
            }


async def test_a_simulator_that_was_given_no_contract_takes_whatever_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(Simulator.__init__.__kwdefaults__, "contract", None)
    simulator = Simulator()
    simulator.contract.push("voip", {"weather": "fine"})
    assert (simulator.contract.checked, simulator.contract.breaches) == (0, [])
