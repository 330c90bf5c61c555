"""`pushkit-bridge devices`: a phone is enrolled, looked at and revoked from a terminal."""

import json
import re
from itertools import chain

import pytest
import segno
from appworld import World
from commands import ask
from handset import Handset, code_for, exchange

from bridge.listings import cautions

PAINT = re.compile(r"\x1b\[38;5;231;48;5;16m([█▀▄ ]+)\x1b\[0m")


@pytest.fixture
async def outside(stage: World) -> World:
    """A bridge that says where phones reach it."""
    stage.options["phone_external_url"] = "https://bridge.example.com/phones/"
    await stage.start()
    return stage


async def test_enroll_prints_a_code_that_the_phone_can_use(outside: World) -> None:
    result = await ask(outside, "devices", "enroll", "alice")
    assert (result.exit_code, result.stderr) == (0, "")
    (code,) = re.findall(r"code +([0-9A-Z-]{14})\n", result.stdout)
    assert "address  https://bridge.example.com/phones\n" in result.stdout
    assert "until 2026-11-25T02:10:00Z" in result.stdout
    done = await exchange(outside, code)
    assert (done.status, done.json["owner"]) == (201, "alice")


async def test_the_qr_code_holds_the_link_and_is_dark_on_light_on_any_terminal(outside: World) -> None:
    """Each line says both colours: white blocks on black."""
    result = await ask(outside, "devices", "enroll", "alice", color=True)
    (code,) = re.findall(r"code +([0-9A-Z-]{14})\n", result.stdout)
    link = f"pushkit-bridge://enrol?url=https://bridge.example.com/phones&code={code}"
    lines = PAINT.findall(result.stdout)
    assert len(lines) <= 23, "it fits a terminal of 24 lines"
    light = [[c in pair for c in line] for line in lines for pair in ("█▀", "█▄")]
    drawn = [[not module for module in row] for row in light]
    wanted = [[bool(module) for module in row] for row in segno.make(link, error="l").matrix_iter(border=4)]
    assert drawn[: len(wanted)] == wanted
    assert not any(chain(*light[len(wanted) :])), "the last line may be half"


async def test_enroll_in_json_is_what_the_api_says(outside: World) -> None:
    result = await ask(outside, "devices", "enroll", "bob", "--device", "bobs", "-o", "json")
    said = json.loads(result.stdout)
    assert {name: said[name] for name in ("owner", "device", "url")} == {
        "owner": "bob",
        "device": "bobs",
        "url": "https://bridge.example.com/phones",
    }
    assert said["link"] == f"pushkit-bridge://enrol?url={said['url']}&code={said['code']}"
    assert (await exchange(outside, said["code"])).json["device"] == "bobs"


async def test_enroll_says_why_it_cannot(world: World) -> None:
    for arguments, says in (
        (["alcie"], "there is nobody named 'alcie' (did you mean alice?)"),
        (["zoe"], "people:"),
        (["alice", "--device=alice-iphone"], "alice-iphone stands under `devices` in the configuration"),
        (["alice", "--device=alice-iphone"], "take it out there, or leave out --device"),
        (["alice", "--device=bob-iphone"], "bob-iphone is the name of another device"),
        (["alice", "--device="], "a device's name"),
        (["alice", "--device=a\nb"], "a device's name"),
        (["alice", "--device=" + "x" * 65], "a device's name"),
    ):
        result = await ask(world, "devices", "enroll", *arguments)
        assert (result.exit_code, result.stdout, says in result.stderr) == (1, "", True), arguments


async def test_enroll_warns_where_no_phone_can_come(world: World) -> None:
    for output in ("simple", "json"):
        result = await ask(world, "devices", "enroll", "alice", "-o", output)
        assert result.exit_code == 0
        assert result.stderr.startswith("WARNING: no phone can reach http://127.0.0.1:")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://bridge.example.com", None),
        ("https://192.0.2.1:9096", None),
        ("http://bridge.example.com", "not encrypted"),
        ("http://192.0.2.1:9096", "not encrypted"),
        ("https://localhost", "no phone can reach"),
        ("http://127.1.2.3:9096", "no phone can reach"),
        ("https://[::1]:9096", "no phone can reach"),
        ("bridge.example.com", "not encrypted"),
    ],
)
def test_an_address_that_phones_should_not_use_is_named(url: str, says: str | None) -> None:
    found = list(cautions(url))
    assert [says in one for one in found] == [True] if says else found == []


async def test_list_says_of_each_phone_whose_it_is_and_how_it_is(world: World) -> None:
    handset = await Handset.enrolled(world, device="alice-new")
    await handset.put(voip_token="ab" * 32, environment="sandbox")
    await Handset.enrolled(world, "bob")
    result = await ask(world, "devices", "list")
    assert result.stdout.splitlines() == [
        "alice-iphone  owner=alice  configured  tokens=voip,alert  key=none  heard=never  well",
        "alice-new  owner=alice  enrolled  tokens=voip  key=none  heard=2026-11-25T02:00:00Z  well",
        "bob-iphone  owner=bob  configured  tokens=voip,alert  key=none  heard=never  well",
        "bob-iphone-2  owner=bob  enrolled  tokens=none  key=none  heard=2026-11-25T02:00:00Z  TROUBLE: it has no VoIP token, so it cannot show a call: open the app on it",
    ]
    listed = json.loads((await ask(world, "devices", "list", "-o", "json")).stdout)
    assert listed == (await world.get("/api/v1/devices")).json


async def test_a_bridge_without_devices_says_so(stage: World) -> None:
    stage.config["devices"] = []
    await stage.start()
    assert (await ask(stage, "devices", "list")).stdout == "no devices\n"


async def test_list_says_what_to_do_about_a_token_that_is_set_aside(world: World) -> None:
    alice, bob = world.alice.profile, world.bob.profile
    handset = await Handset.enrolled(world, device="new")
    await handset.put(voip_token=alice.voip_token, alert_token=alice.alert_token)
    other = await Handset.enrolled(world, device="newer")
    await other.put(alert_token=alice.alert_token)
    bob.behaviour = "unregistered"
    world.config["receivers"][0]["escalation"].pop(0)
    await world.reload()
    await world.webhook(world.alert())
    lines = (await ask(world, "devices", "list")).stdout
    for text in (
        "TROUBLE: its voip token is set aside (its phone enrolled as new): take this one out of the configuration; its alert token",
        "(its phone enrolled as newer): revoke this one",
        "its voip token is set aside (unregistered: Unregistered): put its present token into the configuration",
    ):
        assert text in lines


async def test_show_tells_all_about_one_phone(world: World) -> None:
    handset = await Handset.enrolled(world, device="alice new/1")
    await handset.put(
        voip_token="ab" * 32, bundle_id="com.example.oncall.beta", app_version="1.2 (34)", os_version="26.4"
    )
    result = await ask(world, "devices", "show", "alice new/1")
    assert result.stdout.splitlines() == [
        "alice new/1",
        "  owner       alice",
        "  known       enrolled 2026-11-25T02:00:00Z",
        "  app         com.example.oncall.beta 1.2 (34)",
        "  iOS         26.4",
        "  APNs        production",
        "  tokens      voip",
        "  key         none: its pushes are not sealed",
        "  heard       2026-11-25T02:00:00Z",
        "  would ring  yes",
    ]
    shown = json.loads((await ask(world, "devices", "show", "alice new/1", "-o", "json")).stdout)
    assert shown in (await world.get("/api/v1/devices")).json["devices"]
    await Handset.enrolled(world, device="alice new/1")
    again = (await ask(world, "devices", "show", "alice new/1")).stdout
    for text in (
        "app         not said yet",
        "iOS         not said yet",
        "would ring  NO",
        "TROUBLE: it has no",
    ):
        assert text in again, "another phone took over its name: nothing is known of that one"
    configured = (await ask(world, "devices", "show", "bob-iphone")).stdout
    assert "known       named by the configuration" in configured


async def test_revoke_ends_it(world: World) -> None:
    handset = await Handset.enrolled(world, device="gone")
    result = await ask(world, "devices", "revoke", "gone")
    assert (result.exit_code, result.stdout) == (0, "gone is revoked, and rings no more\n")
    assert (await handset.get("/device")).status == 401
    assert "gone" not in (await ask(world, "devices", "list")).stdout
    again = await ask(world, "devices", "revoke", "gone", "-o", "json")
    assert (again.exit_code, "404" in again.stderr) == (1, True)


async def test_a_device_that_is_not_there_is_a_clear_error(world: World) -> None:
    for name in ("nobody", "../incidents", "a/b?c#d", "ü", "x\x1b[2Jy"):
        for command, says in (("show", "there is no device"), ("revoke", "no device")):
            result = await ask(world, "devices", command, name)
            assert (result.exit_code, result.stdout) == (1, ""), name
            assert f"404: {says} {name!r}" in result.stderr
    refused = await ask(world, "devices", "revoke", "alice-iphone")
    assert "no device 'alice-iphone' has enrolled" in refused.stderr


async def test_the_beginning_of_a_name_is_answered_with_the_whole_of_it(world: World) -> None:
    for command in ("show", "test"):
        result = await ask(world, "devices", command, "alic")
        assert 'did you mean "alice-iphone"?' in result.stderr, command
        assert "did you mean" not in (await ask(world, "devices", command, "al")).stderr, "too short to tell"
        assert "did you mean" not in (await ask(world, "devices", command, "zoe")).stderr


async def test_no_name_can_write_to_the_operators_terminal(world: World) -> None:
    evil = "x\u202ey\x9b2J"
    code = (await code_for(world))["code"]
    done = await exchange(world, code, name=evil, app_version="1\x1b[2J", os_version="\x07")
    name = done.json["device"]
    for command in (["list"], ["show", name], ["enroll", "alice", "--device", "a b"], ["revoke", name]):
        result = await ask(world, "devices", *command, color=command[0] != "enroll")
        assert result.exit_code == 0
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.output), command
