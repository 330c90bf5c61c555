"""One-time codes, and the credential that a phone gets for one."""

import asyncio
import json
import sqlite3

import aiohttp
import pytest
from appworld import Answer, World
from handset import Handset, code_for, exchange

from bridge.store import enrolment

NOT_VALID = "this code is not valid"


def words(world: World) -> bytes:
    """All that the ledger holds, its log included."""
    return b"".join(path.read_bytes() for path in world.file.parent.glob(f"{world.file.name}*"))


# --- the code ---------------------------------------------------------------------------------


async def test_a_code_is_exchanged_once_for_a_credential(world: World) -> None:
    code = (await code_for(world))["code"]
    first = await exchange(world, code)
    assert first.status == 201
    assert {name: first.json[name] for name in ("device", "owner")} == {
        "device": "alice-iphone-2",
        "owner": "alice",
    }
    again = await exchange(world, code)
    assert (again.status, again.json["error"]) == (400, NOT_VALID)
    assert (await Handset(world, first.json["credential"]).get("/device")).status == 200


async def test_of_two_phones_with_the_same_code_at_the_same_instant_one_enrols(world: World) -> None:
    code = (await code_for(world))["code"]
    answers = await asyncio.gather(*(exchange(world, code) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [400] * 7
    assert len((await world.get("/api/v1/devices")).json["devices"]) == 3


async def test_a_code_works_for_ten_minutes(world: World) -> None:
    early, late = (await code_for(world))["code"], await code_for(world)
    assert late["expires_at"] == "2026-11-25T02:10:00+00:00"
    await world.pass_(599)
    assert (await exchange(world, early)).status == 201
    await world.pass_(1)
    assert (await exchange(world, late["code"])).json["error"] == NOT_VALID


async def test_a_code_outlives_a_restart_of_the_bridge(world: World) -> None:
    code = (await code_for(world))["code"]
    await world.restart()
    assert (await exchange(world, code)).status == 201


async def test_a_code_may_be_typed_as_people_type(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "_ALPHABET", "01X")
    for typed in (
        str.lower,
        lambda code: code.replace("-", ""),
        lambda code: code.replace("-", " ").lower(),
        lambda code: f"  {code} ",
        lambda code: code.replace("0", "O"),
        lambda code: code.replace("0", "o").replace("1", "l"),
        lambda code: code.replace("1", "I"),
        "-".join,
    ):
        code = typed((await code_for(world))["code"])
        assert (await exchange(world, code)).status == 201, code


async def test_a_wrong_code_is_refused_without_saying_what_is_wrong_with_it(world: World) -> None:
    await code_for(world)
    for code in ("", "0000-0000-0000", "-", "ÄÖÜ", "x" * 100, "0" * 12, "\x00", "🙂"):
        answer = await exchange(world, code)
        assert (answer.status, answer.json["error"]) == (400, NOT_VALID), code
        assert "devices enroll" in answer.json["hint"]


async def test_what_is_no_enrolment_says_why_and_costs_no_attempt(world: World) -> None:
    url = f"{world.bridge.bound.phone}/api/v1/enrol"
    for body, says in (
        (b"", "the body is not as it must be"),
        (b"[]", "the body is not as it must be"),
        (b"{}", "code"),
        (b'{"code": 7}', "code"),
        (b'{"code": null}', "code"),
        (b'{"code": "' + b"x" * 101 + b'"}', "code"),
        (b'{"code": "x", "name": ""}', "name"),
        (b'{"code": "x", "name": "a\\nb"}', "name"),
        (b'{"code": "x", "name": "' + b"x" * 65 + b'"}', "name"),
        (b'{"code": "x", "os_version": "' + b"x" * 65 + b'"}', "os_version"),
        (b'{"code": "\\ud800"}', "the body is not as it must be"),
    ) * 2:
        answer = await world.ask("POST", url, body)
        assert (answer.status, says in answer.json["error"]) == (400, True), body
    assert (await exchange(world, (await code_for(world))["code"])).status == 201


async def test_a_code_of_somebody_who_has_left_since_is_worth_nothing(world: World) -> None:
    code = (await code_for(world, "bob"))["code"]
    world.config["people"] = [{"name": "alice"}]
    world.config["devices"] = [world.device("alice")]
    world.config["device_groups"][1]["owners"] = ["alice"]
    assert (await world.reload()).status == 200
    assert (await exchange(world, code)).json["error"] == NOT_VALID


# --- attempts ---------------------------------------------------------------------------------


async def try_wrong(world: World, times: int) -> list[Answer]:
    return [await exchange(world, "0000-0000-0000") for _ in range(times)]


async def test_the_21st_wrong_code_of_an_address_in_a_minute_must_wait(world: World) -> None:
    assert {answer.status for answer in await try_wrong(world, 20)} == {400}
    code = (await code_for(world))["code"]
    limited = await exchange(world, code)
    assert (limited.status, limited.headers["Retry-After"]) == (429, "60")
    assert limited.json == {"error": "too many attempts failed", "hint": "wait 60 s"}
    await world.pass_(59)
    assert (await exchange(world, code)).headers["Retry-After"] == "1"
    await world.pass_(1)
    assert (await exchange(world, code)).status == 201, "a right code, once the wait is over"


async def test_attempts_at_the_same_instant_are_counted_too(world: World) -> None:
    answers = await asyncio.gather(*(exchange(world, "0000-0000-0000") for _ in range(40)))
    assert sorted(answer.status for answer in answers) == [400] * 20 + [429] * 20


async def test_right_codes_cost_no_attempt(world: World) -> None:
    for _ in range(25):
        assert (await exchange(world, (await code_for(world))["code"])).status == 201
    assert {answer.status for answer in await try_wrong(world, 21)} == {400, 429}


async def test_wrong_codes_of_one_address_do_not_hold_up_another(world: World) -> None:
    await try_wrong(world, 21)
    body = json.dumps({"code": (await code_for(world))["code"]})
    assert (await from_address(world, "127.0.0.2", body)).status == 201


async def from_address(world: World, address: str, body: str) -> Answer:
    """Try a code from another of this machine's addresses."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"{world.bridge.bound.phone}/api/v1/enrol", data=body) as response,
    ):
        return Answer(response.status, response.headers, await response.read())


async def test_two_hundred_wrong_codes_in_a_minute_are_enough_from_everywhere(world: World) -> None:
    wrong = json.dumps({"code": "0000-0000-0000"})
    statuses = [
        (await from_address(world, f"127.0.1.{host}", wrong)).status
        for host in range(1, 12)
        for _ in range(19)
    ]
    assert (statuses.count(400), statuses.count(429)) == (200, 9)
    fresh = await from_address(world, "127.0.2.1", wrong)
    assert (fresh.status, fresh.headers["Retry-After"]) == (429, "60")
    await world.pass_(60)
    assert (await from_address(world, "127.0.2.1", wrong)).status == 400


async def test_wrong_codes_lock_out_no_phone_that_has_enrolled(world: World) -> None:
    handset = await Handset.enrolled(world)
    await try_wrong(world, 30)
    assert (await handset.get("/device")).status == 200


# --- names ------------------------------------------------------------------------------------


async def test_a_phone_may_wish_for_a_name_and_gets_one_that_is_free(world: World) -> None:
    for fields, name in (
        ({}, "alice-iphone-2"),
        ({"name": "Alice's phone"}, "Alice's phone"),
        ({"name": "bob-iphone"}, "bob-iphone-2"),
        ({"name": "  two  words "}, "two words"),
        ({"name": "\u202e"}, "alice-iphone-3"),
        ({"name": "é" * 64}, "é" * 30 + "…"),
    ):
        done = await exchange(world, (await code_for(world))["code"], **fields)
        assert done.json["device"] == name


async def test_every_phone_that_wishes_for_the_same_long_name_gets_another(world: World) -> None:
    names = set()
    for _ in range(12):
        done = await exchange(world, (await code_for(world))["code"], name="n" * 64)
        names.add(done.json["device"])
        assert len(done.json["device"]) <= 64
    assert len(names) == 12


async def test_a_code_may_say_what_the_phone_is_called(world: World) -> None:
    code = (await code_for(world, device="the-red-one"))["code"]
    assert (await exchange(world, code, name="another")).json["device"] == "the-red-one"


async def test_a_phone_takes_over_its_owners_device_and_the_old_credential_is_worth_nothing(
    world: World,
) -> None:
    old = await Handset.enrolled(world, device="work")
    await old.put(voip_token="ab" * 32, environment="sandbox", bundle_id="com.example.beta")
    new = await Handset.enrolled(world, device="work")
    assert (await old.get("/device")).status == 401
    device = (await new.get("/device")).json
    assert (device["name"], device["has_voip_token"], device["environment"]) == ("work", False, None)
    await new.put(voip_token="cd" * 32)
    assert (await new.get("/device")).json["environment"] == "production", "as under apns, not as the old one"


async def test_a_revoked_device_can_enrol_again_under_its_name(world: World) -> None:
    old = await Handset.enrolled(world, device="work")
    await world.ask("DELETE", f"{world.url}/api/v1/devices/work")
    new = await Handset.enrolled(world, device="work")
    assert ((await old.get("/device")).status, (await new.get("/device")).status) == (401, 200)


async def test_the_name_of_a_configured_device_or_of_anothers_is_refused(world: World) -> None:
    await Handset.enrolled(world, "bob", device="bobs")
    for device, says in (
        ("alice-iphone", "stands under `devices` in the configuration"),
        ("bob-iphone", "is the name of another device"),
        ("bobs", "is the name of another device"),
    ):
        answer = await world.post("/api/v1/enrolments", params={"owner": "alice", "device": device})
        assert (answer.status, answer.json["error"]) == (409, f"{device} {says}")


async def test_a_device_that_left_the_configuration_can_be_enrolled_by_its_owner_alone(world: World) -> None:
    """So a phone moves from the configuration to enrolment, and keeps its name."""
    world.config["devices"] = [world.device("bob")]
    await world.reload()
    answer = await world.post("/api/v1/enrolments", params={"owner": "bob", "device": "alice-iphone"})
    assert answer.status == 409
    handset = await Handset.enrolled(world, device="alice-iphone")
    profile = world.alice.profile
    await handset.put(voip_token=profile.voip_token)
    await world.webhook(world.alert())
    assert world.rings() == [0]
    assert [one["enrolled"] for one in (await world.get("/api/v1/devices")).json["devices"]] == [True, False]


async def test_a_name_that_was_taken_after_the_code_was_made_is_not_taken_over(world: World) -> None:
    """Two codes name one new device; or a reload names it; the first one has it."""
    codes = [(await code_for(world, owner, device="new"))["code"] for owner in ("alice", "bob")]
    code = (await code_for(world, device="later"))["code"]
    world.config["devices"].append({"name": "later", "owner": "bob", "voip_token": "ab" * 32})
    assert (await world.reload()).status == 200
    names = [(await exchange(world, one)).json["device"] for one in (*codes, code)]
    assert names == ["new", "new-2", "later-2"]
    owners = {one["name"]: one["owner"] for one in (await world.get("/api/v1/devices")).json["devices"]}
    assert (owners["new"], owners["new-2"], owners["later"]) == ("alice", "bob", "bob")


async def test_a_code_is_for_somebody_whom_the_configuration_names(world: World) -> None:
    for owner, hint in (("alcie", "did you mean alice?"), ("", "people:"), ("root", "people:")):
        answer = await world.post("/api/v1/enrolments", params={"owner": owner})
        assert (answer.status, hint in answer.json["hint"]) == (404, True), owner
    assert (await world.post("/api/v1/enrolments")).status == 404


# --- the credential ---------------------------------------------------------------------------


OPERATIONS = [
    ("GET", "/device"),
    ("DELETE", "/device"),
    ("PUT", "/device/tokens"),
    ("DELETE", "/device/tokens/voip"),
    ("GET", "/incidents"),
    ("GET", "/incidents/x"),
    ("POST", "/incidents/x/acknowledge"),
    ("GET", "/calls/x"),
    ("POST", "/calls/x/receipts"),
    ("GET", "/events"),
]
WRONG = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Basic {0}",
    "{0}",
    "Bearer {0}x",
    "Bearer x",
    "Bearer \udcff",
    "Bearer ü",
]


async def test_without_its_credential_nobody_comes_in(world: World) -> None:
    handset = await Handset.enrolled(world)
    for header in WRONG:
        headers = {} if header is None else {"Authorization": header.format(handset.credential)}
        for method, path in OPERATIONS:
            answer = await world.ask(method, f"{world.bridge.bound.phone}/api/v1{path}", headers=headers)
            assert answer.status == 401, (method, path, header)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.json["hint"]
    assert (await handset.get("/device")).status == 200


async def test_the_scheme_may_be_written_in_any_case(world: World) -> None:
    handset = await Handset.enrolled(world)
    for scheme in ("bearer", "BEARER", "Bearer "):
        answer = await handset.get("/device", headers={"Authorization": f"{scheme} {handset.credential}"})
        assert answer.status == 200


async def test_neither_codes_nor_credentials_are_in_the_ledger(world: World) -> None:
    codes = [(await code_for(world))["code"] for _ in range(2)]
    handset = Handset(world, (await exchange(world, codes[0])).json["credential"])
    await exchange(world, "1111-2222-3333")
    await handset.put(voip_token="ab12" * 16)
    written = words(world)
    plain = [handset.credential, *codes, *(code.replace("-", "") for code in codes), "1111-2222-3333"]
    assert not [secret for secret in plain if secret.encode() in written]
    assert enrolment.digest(handset.credential).encode() in written


async def test_revoked_by_the_operator_it_is_401_from_then_on(world: World) -> None:
    handset = await Handset.enrolled(world, device="lost")
    await handset.put(voip_token=world.alice.profile.voip_token)
    answer = await world.ask("DELETE", f"{world.url}/api/v1/devices/lost")
    assert (answer.status, answer.json) == (200, {"revoked": "lost"})
    assert (await handset.get("/device")).status == 401
    world.config["devices"] = [world.device("bob")]
    await world.reload()
    await world.webhook(world.alert())
    assert world.rings("alice") == [], "its tokens are forgotten too"


async def test_signing_off_forgets_credential_and_tokens(world: World) -> None:
    handset = await Handset.enrolled(world, device="old")
    answer = await handset.ask("DELETE", "/device")
    assert (answer.status, answer.body) == (204, b"")
    assert (await handset.ask("DELETE", "/device")).status == 401
    assert "old" not in (await world.get("/api/v1/devices")).text


async def test_a_configured_device_cannot_be_revoked(world: World) -> None:
    answer = await world.ask("DELETE", f"{world.url}/api/v1/devices/alice-iphone")
    assert (answer.status, "configuration" in answer.json["hint"]) == (404, True)
    await world.webhook(world.alert())
    assert world.rings() == [0]


async def test_a_credential_outlives_a_restart_and_a_reload(world: World) -> None:
    handset = await Handset.enrolled(world)
    await world.reload()
    await world.restart()
    assert (await handset.get("/device")).json["enrolled"] is True


async def test_a_phone_whose_owner_has_left_is_named_as_a_trouble(world: World) -> None:
    handset = await Handset.enrolled(world, "bob", device="bobs")
    await handset.put(voip_token="ab" * 32)
    world.config["people"] = [{"name": "alice"}]
    world.config["devices"] = [world.device("alice")]
    world.config["device_groups"][1]["owners"] = ["alice"]
    assert (await world.reload()).status == 200
    shown = (await world.get("/api/v1/devices/bobs")).json
    assert shown["would_ring"] is False
    assert shown["troubles"] == [
        "its owner bob is not under people in the configuration: revoke it, or add them"
    ]


async def test_an_enrolment_that_cannot_be_committed_is_503_and_the_code_stays_good(world: World) -> None:
    code = (await code_for(world))["code"]
    await world.settled()
    other = sqlite3.connect(world.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert (await exchange(world, code)).status == 503
    other.rollback()
    other.close()
    assert (await exchange(world, code)).status == 201


async def test_what_was_tried_is_counted_by_outcome(world: World) -> None:
    await Handset.enrolled(world)
    await try_wrong(world, 22)
    counted = {
        outcome: world.metric("enrolments_total", outcome=outcome)
        for outcome in ("enrolled", "refused", "limited")
    }
    assert counted == {"enrolled": 1, "refused": 20, "limited": 2}
