"""Somebody else on call for a time, put there by a form of the console."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from appworld import Answer, World
from consoles import Visitor, basic, start

FORM = {"schedule": "primary", "person": "bob", "from": "", "to": "2026-11-26T08:00"}


@pytest.fixture
async def desk(stage: World) -> World:
    """A bridge where alice carries the phone by a schedule in Berlin; it is 13:00 there."""
    layer = {"members": ["alice"], "start": "2026-11-23", "every": "1w"}
    stage.config["schedules"] = [{"name": "primary", "time_zone": "Europe/Berlin", "layers": [layer]}]
    stage.config["device_groups"][0] = {"name": "platform", "schedules": ["primary"]}
    await start(stage, users=True, operators=["carol"])
    return stage


async def overrides(world: World) -> list[dict[str, str]]:
    found = (await world.get("/api/v1/oncall", headers=basic("carol"))).json["schedules"]
    return found[0]["overrides"]


async def reloaded(world: World) -> None:
    world.write()
    assert (await world.post("/-/reload", headers=basic("carol"))).status == 200


async def shown(visitor: Visitor, sent: Answer) -> str:
    """The page to which a form leads."""
    assert sent.status == 303
    return (await visitor.get(sent.headers["Location"])).text


async def test_an_override_holds_from_now_to_a_time_of_the_schedule_s_own_zone(desk: World) -> None:
    carol = Visitor(desk, **basic("carol"))
    page = await shown(carol, await carol.act("/oncall", "/oncall/override", **FORM))
    assert "the next ring goes by it" in page
    assert "an override by carol, until Thu 2026-11-26 08:00 CET" in page
    (one,) = await overrides(desk)
    assert (one["person"], one["by"]) == ("bob", "carol")
    assert one["to"] == "2026-11-26T08:00:00+01:00"
    assert one["from"].startswith(f"{desk.clock.now():%Y-%m-%d}T")


async def test_whom_an_override_puts_on_call_is_rung(desk: World) -> None:
    carol = Visitor(desk, **basic("carol"))
    await carol.act("/oncall", "/oncall/override", **FORM)
    alert = desk.message(desk.alert("NodeDown"))
    assert (await desk.post("/webhook", alert, headers=basic("carol"))).status == 200
    await desk.settled()
    assert (len(desk.rings("bob")), len(desk.rings("alice"))) == (1, 1)  # alice's was the first alert


async def test_an_override_is_deleted_where_it_is_listed(desk: World) -> None:
    carol = Visitor(desk, **basic("carol"))
    await carol.act("/oncall", "/oncall/override", **FORM | {"from": "2026-11-26T07:00"})
    (one,) = await overrides(desk)
    page = (await carol.get("/oncall")).text
    assert "Thu 2026-11-26 07:00 CET to Thu 2026-11-26 08:00 CET, by carol" in page
    path = f"/oncall/overrides/{one['id']}/delete"
    assert path in page
    assert "own turns count again" in await shown(carol, await carol.act("/oncall", path))
    assert await overrides(desk) == []
    assert (await carol.act("/oncall", path)).status == 404
    assert (await carol.act("/oncall", "/oncall/overrides/x/delete")).status == 404


async def test_an_override_of_the_configuration_is_shown_and_cannot_be_deleted_here(desk: World) -> None:
    fixed = {"person": "bob", "from": "2026-11-26 07:00", "to": "2026-11-26 09:00"}
    desk.config["schedules"][0]["overrides"] = [fixed]
    await reloaded(desk)
    page = (await Visitor(desk, **basic("carol")).get("/oncall")).text
    assert "by the configuration" in page
    assert "/oncall/overrides/" not in page


async def test_whom_no_call_reaches_is_marked_as_such(desk: World) -> None:
    desk.config["people"].append({"name": "dave"})
    await reloaded(desk)
    carol = Visitor(desk, **basic("carol"))
    page = await shown(carol, await carol.act("/oncall", "/oncall/override", **FORM | {"person": "dave"}))
    assert "has no phone that can ring" in page


WRONG = (
    ({"schedule": "primry"}, "schedule", "there is no schedule &#34;primry&#34;"),
    ({"person": "mallory"}, "person", "there is no person"),
    ({"from": "soon"}, "from", "is not a date with a time"),
    ({"to": ""}, "to", "it has no end"),
    ({"to": "<b>"}, "to", "is not a date with a time"),
    ({"from": "2026-11-26T09:00"}, "to", "it ends before it begins: from 2026-11-26 09:00+01:00"),
    ({"from": "2026-11-24T09:00", "to": "2026-11-24T10:00"}, "to", "it is over already"),
    ({"to": "2028-01-01T00:00"}, "to", "it is longer than a year"),
)


async def test_what_is_wrong_is_said_beside_its_field_and_what_was_typed_stays(desk: World) -> None:
    carol = Visitor(desk, **basic("carol"))
    for change, field, words in WRONG:
        sent = await carol.act("/oncall", "/oncall/override", **FORM | change)
        typed = parse_qs(urlsplit(sent.headers["Location"]).query, keep_blank_values=True)
        assert {name: values[0] for name, values in typed.items()} == FORM | change
        page = await shown(carol, sent)
        assert words in page.partition(f'id="wrong-{field}"')[2].partition("</span>")[0]
        assert page.count('aria-invalid="true"') == 1
        assert "<b>" not in page
        assert "<option selected>bob</option>" in page or field == "person"
    assert await overrides(desk) == []


async def test_a_viewer_sees_overrides_and_can_neither_write_nor_delete_them(desk: World) -> None:
    carol, dave = Visitor(desk, **basic("carol")), Visitor(desk, **basic("dave"))
    await carol.act("/oncall", "/oncall/override", **FORM)
    (one,) = await overrides(desk)
    page = (await dave.get("/oncall")).text
    assert "an override by carol" in page
    assert "/oncall/override" not in page
    token = await carol.token("/oncall")
    for path in ("/oncall/override", f"/oncall/overrides/{one['id']}/delete"):
        assert (await dave.post(path, {"csrf": token, **FORM})).status == 403
        assert (await carol.post(path, {"csrf": "0" * 64, **FORM})).status == 403
    assert [left["id"] for left in await overrides(desk)] == [one["id"]]
