"""Wrong credentials at both listeners: who rings whom (rule 7), who has to wait, and who never has."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
from appworld import Answer, World
from desks import office
from handset import Handset

from bridge import senders
from bridge.senders import Senders
from bridge.store.tables import incidents
from bridge.web import lockout

TOKEN = "a-bearer-token-of-some-length"
OUTSIDE = "127.0.7.7"
"""Stands for a public address; the test's own is 127.0.0.1."""


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def guarded(stage: World) -> World:
    file = stage.folder / "web.yaml"
    file.write_text(f"authorization: {{type: Bearer, credentials: {TOKEN}}}\n")
    stage.options["web_config_file"] = file
    await stage.start()
    return stage


async def knock(world: World, address: str = "127.0.0.1", path: str = "/webhook", **headers: str) -> Answer:
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(world.url + path, data=world.message(world.alert()), headers=headers) as response,
    ):
        return Answer(response.status, response.headers, await response.read())


async def open_incidents(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.get("/api/v1/incidents", headers=bearer(TOKEN))).json[
        "incidents"
    ]
    return found


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take OUTSIDE for an address of the internet."""

    def moved(address: str) -> str:
        return "1.1.1.1" if address == OUTSIDE else lockout.network(address)

    monkeypatch.setattr(senders, "network", moved)


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("1.1.1.1", "outside"),
        ("2606:4700:4700::1111", "outside"),
        ("::ffff:1.1.1.1", "outside"),
        ("10.1.2.3", "inside"),
        ("172.17.0.1", "inside"),
        ("192.168.1.1", "inside"),
        ("100.64.0.1", "inside"),
        ("127.0.0.1", "inside"),
        ("fd00::1", "inside"),
        ("fe80::1%eth0", "inside"),
        ("", "inside"),
    ],
)
def test_a_stranger_has_a_public_address_from_which_nobody_was_let_in(address: str, sender: str) -> None:
    assert Senders(None).standing(address) == sender  # type: ignore[arg-type]
    assert Senders(None, (lockout.network(address),)).standing(address) == "known"  # type: ignore[arg-type]


@pytest.mark.usefixtures("far_away")
async def test_a_stranger_without_credentials_rings_nobody_and_leaves_an_open_incident(
    guarded: World,
) -> None:
    """Rule 7 stands: an incident, for the root receiver. But nobody is woken by whoever likes to."""
    for headers in ({}, bearer("wrong")):
        assert (await knock(guarded, OUTSIDE, **headers)).status == 401
    await guarded.pass_(1800)
    assert guarded.rings() == []
    (one,) = await open_incidents(guarded)
    story = (await guarded.get(f"/api/v1/incidents/{one['id']}", headers=bearer(TOKEN))).json
    assert (one["title"], one["receiver"]) == ("PushkitBridgeWebhookRefused", "platform")
    assert "nobody is rung" in story["episodes"][0]["annotations"]["summary"]
    assert [event["kind"] for event in story["timeline"]] == ["triggered", "muted"]
    await guarded.pass_(3601)
    assert guarded.rings() == []
    assert await open_incidents(guarded) == []


@pytest.mark.usefixtures("far_away")
async def test_an_alertmanager_that_was_let_in_once_rings_when_it_is_refused_also_after_a_restart(
    guarded: World,
) -> None:
    assert (await knock(guarded, OUTSIDE, **bearer(TOKEN))).status == 200
    await guarded.settled()
    guarded.alice.answer()
    await guarded.restart()
    await guarded.pass_(60)
    before = len(guarded.rings())
    assert (await knock(guarded, OUTSIDE, **bearer("rotated"))).status == 401
    await guarded.pass_(40)
    assert len(guarded.rings()) == before + 1


async def test_bridges_on_one_ledger_know_whom_the_others_have_let_in(tmp_path: Path) -> None:
    """Else what one of them refuses would be a stranger's, who rings nobody (rule 7)."""
    async with office(tmp_path) as room:
        first, second = await Senders.load(room.store), await Senders.load(room.store)
        await second.welcome("9.9.9.9")
        await first.welcome("1.1.1.1")
        third = await Senders.load(room.store)
        assert [third.standing(one) for one in ("1.1.1.1", "9.9.9.9", "8.8.8.8")] == [
            "known",
            "known",
            "outside",
        ]
        await second.refused(room.desk, "default", "1.1.1.1", "wrong")
        (row,) = await room.look.rows(incidents)
        assert ["sender", "known"] in row["group_values"]


async def test_a_flood_of_wrong_credentials_rings_once_a_day_and_not_more(guarded: World) -> None:
    """Rule 7, from the same network: answered once, it is open for a day after the last of them."""
    for hour in range(30):
        assert (await knock(guarded, **bearer(f"guess {hour % 9}"))).status == 401
        await guarded.settled()
        if hour == 0:
            guarded.alice.answer()
        await guarded.pass_(3600)
    assert len(guarded.rings()) == 1
    assert len(await open_incidents(guarded)) == 1
    await guarded.pass_(86_400)
    assert await open_incidents(guarded) == []


@pytest.mark.usefixtures("far_away")
async def test_the_noise_of_strangers_does_not_hide_the_true_alertmanagers_trouble(guarded: World) -> None:
    assert (await knock(guarded, **bearer(TOKEN))).status == 200
    await guarded.settled()
    guarded.alice.answer()
    assert (await knock(guarded, OUTSIDE)).status == 401
    assert (await knock(guarded)).status == 401
    await guarded.pass_(120)
    assert len(guarded.rings()) > 1


async def test_the_21st_wrong_credentials_must_wait_and_alertmanager_tries_again_later(
    guarded: World,
) -> None:
    """503, which Alertmanager sends again; and the metric counts why."""
    codes = [(await knock(guarded, **bearer(f"guess{number}"))).status for number in range(25)]
    assert codes == [401] * 20 + [503] * 5
    late = await knock(guarded, **bearer("one more"))
    assert 0 < int(late.headers["Retry-After"]) <= 60
    assert guarded.metric("requests_refused_total", listener="web", reason="wrong") == 20
    assert guarded.metric("requests_refused_total", listener="web", reason="locked out") == 6
    assert (await knock(guarded)).status == 401
    assert guarded.metric("requests_refused_total", listener="web", reason="missing") == 1


async def test_who_guesses_from_alertmanagers_address_does_not_lock_it_out(guarded: World) -> None:
    assert (await knock(guarded, **bearer(TOKEN))).status == 200
    await asyncio.gather(*(knock(guarded, **bearer(f"guess{number}")) for number in range(40)))
    assert (await knock(guarded, **bearer(TOKEN))).status == 200
    assert (await knock(guarded, OUTSIDE, **bearer(TOKEN))).status == 200, "nor any other address"


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_nor_after_a_restart_that_the_guesser_uses_before_alertmanager_does(
    stage: World, scheme: str
) -> None:
    """All that is known then is from which addresses webhooks came: the ledger has that."""

    def sent(word: str) -> dict[str, str]:
        return (
            bearer(word) if scheme == "Bearer" else {"Authorization": aiohttp.encode_basic_auth("am", word)}
        )

    hashed = bcrypt.hashpw(TOKEN.encode(), bcrypt.gensalt(4)).decode()
    basic = f"basic_auth_users: {{am: {hashed}}}"
    file = stage.folder / "web.yaml"
    file.write_text(basic if scheme == "Basic" else f"authorization: {{credentials: {TOKEN}}}")
    stage.options["web_config_file"] = file
    await stage.start()
    assert (await knock(stage, **sent(TOKEN))).status == 200
    await stage.restart()
    for address, status in (("127.0.0.1", 200), (OUTSIDE, 503)):
        codes = [(await knock(stage, address, **sent(f"guess{number}"))).status for number in range(21)]
        assert codes == [401] * 20 + [503]
        assert (await knock(stage, address, **sent(TOKEN))).status == status


async def test_wrong_credentials_of_a_source_count_too(stage: World) -> None:
    stage.config["sources"] = [{"name": "eu", "credentials": "the-secret-of-eu"}]
    await stage.start()
    codes = [(await knock(stage, path="/webhook/eu", **bearer(f"g{number}"))).status for number in range(21)]
    assert codes == [401] * 20 + [503]


async def test_wrong_device_credentials_must_wait_and_a_phone_behind_the_same_proxy_never(
    world: World,
) -> None:
    handset = await Handset.enrolled(world)
    url = f"{world.bridge.bound.phone}/api/v1/device"
    answers = [await world.ask("GET", url, headers=bearer(f"guess{number}")) for number in range(22)]
    assert [answer.status for answer in answers] == [401] * 20 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert (await handset.get("/device")).status == 200
    await world.restart()
    flood = [world.ask("GET", url, headers=bearer(f"guess{number}")) for number in range(200)]
    done = await asyncio.gather(*flood, handset.get("/device"))
    assert done[-1].status == 200
    assert {answer.status for answer in done[:-1]} == {401, 429}
    assert world.metric("requests_refused_total", listener="phone", reason="locked out") == 180
