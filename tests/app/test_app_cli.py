"""The commands, against a running bridge and against files."""

import asyncio
import io
import json
import os
import subprocess
from pathlib import Path

import bcrypt
import pytest
from appworld import World
from click.testing import Result
from commands import ask, run
from handset import Handset

from bridge.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.yaml"
TOKEN = "a-bearer-token-of-some-length"


# --- incidents --------------------------------------------------------------------------------


async def test_list_shows_one_line_for_each_open_incident_newest_first(world: World) -> None:
    assert (await ask(world, "incidents", "list")).stdout == "no open incidents\n"
    await world.webhook(world.alert("DiskFull"), truncatedAlerts=3)
    await world.pass_(10)
    await world.webhook(world.alert("NodeDown"))
    await world.webhook(world.alert("NodeDown", resolved=True))
    result = await ask(world, "incidents", "list")
    (one,) = await world.incidents()
    assert result.exit_code == 0
    assert result.stdout == (
        f"{one['id']}  triggered  DiskFull  1 firing and 3 not shown  receiver=platform source=default  "
        "since 2026-11-25T02:00:00Z\n"
    )
    every = (await ask(world, "incidents", "list", "--all")).stdout.splitlines()
    assert [line.split()[1:3] for line in every] == [["resolved", "NodeDown"], ["triggered", "DiskFull"]]


async def test_list_in_json_is_what_the_api_says(world: World) -> None:
    await world.webhook(world.alert())
    result = await ask(world, "incidents", "list", "-o", "json")
    assert json.loads(result.stdout) == (await world.get("/api/v1/incidents")).json


async def test_list_says_so_when_there_are_more_than_it_shows(world: World) -> None:
    alerts = [world.alert(f"Alert{number}") for number in range(1001)]
    assert (await world.post("/webhook", io.BytesIO(world.message(*alerts)))).status == 200
    lines = (await ask(world, "incidents", "list")).stdout.splitlines()
    assert len(lines) == 1001
    assert lines[-1] == "and more: these are the newest 1000"
    assert (await world.get("/api/v1/incidents?limit=1001")).json["more"] is True
    assert len((await world.get("/api/v1/incidents")).json["incidents"]) == 100


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1e3", "", "9" * 5000])
async def test_a_limit_that_is_no_number_is_refused(world: World, limit: str) -> None:
    assert (await world.get(f"/api/v1/incidents?limit={limit}")).status == 400


async def test_show_tells_the_whole_story(world: World) -> None:
    await world.webhook(world.alert(instance="i1"))
    await world.pass_(45)
    world.alice.answer()
    await world.settled()
    one = await world.incident()
    result = await ask(world, "incidents", "show", one["id"])
    assert result.stdout.splitlines() == [
        (await ask(world, "incidents", "list")).stdout.rstrip(),
        "",
        "alerts:",
        "  firing    2026-11-25T01:59:00Z  alertname='DiskFull' instance='i1' severity='critical'",
        "",
        "pages:",
        "  2026-11-25T02:00:00Z  step 1 ring 1  ring -> alice-iphone: accepted, 1 attempt",
        "  2026-11-25T02:00:45Z  step 1 ring 2  ring -> alice-iphone: accepted, 1 attempt",
        "",
        "timeline:",
        "  2026-11-25T02:00:00.000Z  triggered: DiskFull",
        "  2026-11-25T02:00:00.000Z  ring: step 1, ring 1: alice-iphone",
        "  2026-11-25T02:00:00.000Z  received: by alice-iphone",
        "  2026-11-25T02:00:45.000Z  ring: step 1, ring 2: alice-iphone",
        "  2026-11-25T02:00:45.000Z  received: by alice-iphone",
        "  2026-11-25T02:00:45.000Z  acknowledged: by alice",
    ]
    shown = json.loads((await ask(world, "incidents", "show", one["id"], "-o", "json")).stdout)
    assert shown == one


async def test_ack_ends_the_rings_and_says_who_has_it(world: World) -> None:
    await world.webhook(world.alert())
    one = await world.incident()
    result = await ask(world, "incidents", "ack", one["id"], "--by", "carol")
    assert result.exit_code == 0
    assert "acknowledged by carol" in result.stdout
    await world.pass_(600)
    assert world.rings() == [0]
    again = await ask(world, "incidents", "ack", one["id"], "-o", "json")
    assert json.loads(again.stdout)["acknowledged_by"] == "carol", "the first has it"


async def test_a_resolved_incident_says_who_had_it_and_not_that_they_resolved_it(world: World) -> None:
    await world.webhook(world.alert())
    await ask(world, "incidents", "ack", (await world.incident())["id"], "--by", "carol")
    await world.webhook(world.alert(resolved=True))
    assert "  resolved, acknowledged by carol  " in (await ask(world, "incidents", "list", "--all")).stdout


async def test_a_silenced_incident_says_until_when_and_no_longer(world: World) -> None:
    alice = await Handset.enrolled(world, device="alices")
    await world.webhook(world.alert())
    name = (await world.incident())["id"]
    assert (await alice.act(name, "silence", seconds=600)).status == 200
    said = "  triggered, silenced until 2026-11-25T02:10:00Z  DiskFull  "
    assert said in (await ask(world, "incidents", "list")).stdout
    assert said in (await ask(world, "incidents", "show", name)).stdout.splitlines()[0]
    told = json.loads((await ask(world, "incidents", "show", name, "-o", "json")).stdout)
    assert told["silenced_until"] == "2026-11-25T02:10:00+00:00"
    await world.pass_(600)
    assert "  triggered  DiskFull  " in (await ask(world, "incidents", "list")).stdout


async def test_no_label_can_write_to_the_operators_terminal(world: World) -> None:
    evil = "Disk\x1b[2J\x1b]0;owned\x07Full\r\nroot  resolved"
    await world.webhook(world.alert(evil, instance="a\x1b[31mb"))
    one = await world.incident()
    for command in (["list"], ["show", one["id"]], ["ack", one["id"], "--by", "x\x1b[0m"]):
        text = (await ask(world, "incidents", *command)).stdout
        assert "\x1b" not in text
        assert "\x07" not in text
    assert len((await ask(world, "incidents", "list")).stdout.splitlines()) == 1


@pytest.mark.parametrize("name", ["no-such-incident", "a/b?c#d", "../../-/reload", "x y", "ü"])
@pytest.mark.parametrize("command", ["show", "ack"])
async def test_an_incident_that_is_not_there_is_a_clear_error(world: World, command: str, name: str) -> None:
    result = await ask(world, "incidents", command, name)
    assert (result.exit_code, result.stdout) == (1, "")
    hint = "(`pushkit-bridge incidents list` shows them)"
    assert result.stderr.endswith(f"404: there is no incident {name!r} {hint}\n")


async def test_a_token_file_opens_the_door(stage: World) -> None:
    web, token, wrong = (stage.folder / name for name in ("web.yaml", "token", "wrong"))
    web.write_text(f"authorization: {{type: Bearer, credentials: {TOKEN}}}\n")
    token.write_text(f"{TOKEN}\n")
    wrong.write_text("wrong\n")
    stage.options["web_config_file"] = web
    await stage.start()
    assert (await ask(stage, "incidents", "list", f"--bridge.token-file={token}")).exit_code == 0
    for arguments in ([], [f"--bridge.token-file={wrong}"]):
        result = await ask(stage, "incidents", "list", *arguments)
        assert result.exit_code == 1
        assert "answered 401" in result.stderr
        assert "(give --bridge.token-file, or user:password@ in --bridge.url)" in result.stderr
        assert "Alertmanager" not in result.stderr


async def test_a_password_in_the_url_opens_the_door_and_names_who_acknowledges(stage: World) -> None:
    web = stage.folder / "web.yaml"
    password = "p:ss w@rd"
    web.write_text(
        f"basic_auth_users: {{carol: {bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}}}\n"
    )
    stage.options["web_config_file"] = web
    await stage.start()
    host = stage.url.removeprefix("http://")
    url = f"http://carol:p%3Ass%20w%40rd@{host}"
    result = await ask(stage, "incidents", "list", url=url)
    assert (result.exit_code, result.stdout) == (0, "no open incidents\n")
    await stage.bridge.desk.alarm("Test", {}, "a test")
    one = json.loads((await ask(stage, "incidents", "list", "-o", "json", url=url)).stdout)["incidents"][0]
    acknowledged = await ask(stage, "incidents", "ack", one["id"], "--by", "mallory", url=url)
    assert "acknowledged by carol" in acknowledged.stdout
    refused = await ask(stage, "incidents", "list", url=f"http://carol:secret-but-wrong@{host}")
    assert refused.exit_code == 1
    assert "secret-but-wrong" not in refused.output


def test_the_url_can_stand_in_the_environment_and_a_bridge_that_is_down_is_a_clear_error() -> None:
    result = run("incidents", "list", env={"PUSHKIT_BRIDGE_URL": "http://127.0.0.1:1"})
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: cannot reach the bridge at http://127.0.0.1:1")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9095", "carol:s3cret@host:9095", "ftp://carol:s3cret@h", "http://", "http://h:x"]
)
def test_a_url_that_is_none_is_a_clear_error_without_its_password(url: str) -> None:
    result = run("incidents", "list", f"--bridge.url={url}")
    assert result.exit_code == 1
    assert "http://HOST:PORT" in result.stderr
    assert "s3cret" not in result.output


async def test_what_answers_but_is_no_bridge_is_a_clear_error(world: World) -> None:
    result = await ask(world, "incidents", "list", url=world.bridge.bound.phone)
    assert (result.exit_code, "401" in result.stderr) == (1, True)
    result = await ask(world, "incidents", "list", url=f"{world.url}/metrics?")
    assert result.exit_code == 1


async def test_healthcheck_says_whether_the_bridge_answers(world: World) -> None:
    async def check(url: str) -> Result:
        return await asyncio.to_thread(run, "healthcheck", f"--url={url}")

    assert (await check(f"{world.url}/-/healthy")).exit_code == 0
    assert (await check(f"{world.url}/-/ready")).exit_code == 0
    assert (await check(f"{world.bridge.bound.phone}/-/healthy")).exit_code == 0
    assert (await check(f"{world.url}/-/nothing")).exit_code == 1
    writer = world.bridge.store._writer._task
    while not writer.done():  # a transaction that is under way may outlast one cancellation
        writer.cancel()
        await asyncio.wait([writer], timeout=1)
    unready = await check(f"{world.url}/-/ready")
    assert (unready.exit_code, "503: the store does not commit" in unready.stderr) == (1, True)
    assert (await check("http://127.0.0.1:1/-/healthy")).exit_code == 1


# --- check-config -----------------------------------------------------------------------------


def test_the_example_is_a_good_configuration() -> None:
    result = run("check-config", str(EXAMPLE))
    assert result.exit_code == 0
    assert "SUCCESS" in result.stdout


def test_a_bad_configuration_fails_with_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("recievers: []\nquiet_gap: soon\n")
    result = run("check-config", str(file))
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert f"{file}:1:1: recievers: unknown key" in result.stdout
    assert "quiet_gap" in result.stdout


def test_a_configuration_that_is_not_there_fails(tmp_path: Path) -> None:
    result = run("check-config", str(tmp_path / "none.yaml"))
    assert (result.exit_code, "FAILED" in result.stdout) == (1, True)
    assert "none.yaml" in result.stdout


# --- config routes ----------------------------------------------------------------------------


def test_routes_show_draws_the_tree() -> None:
    result = run("config", "routes", "show", f"--config.file={EXAMPLE}")
    assert result.exit_code == 0
    for text in ('severity="critical"', "storage", "by-daylight"):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["severity=critical", "team=db"], "storage"),
        (['severity="critical"', 'team="storage"'], "storage"),
        (["severity=critical", "team=web"], "platform"),
        (["severity=info"], "by-daylight"),
        ([], "platform"),
    ],
)
def test_routes_test_names_the_receiver_the_devices_and_why(labels: list[str], receiver: str) -> None:
    result = run("config", "routes", "test", f"--config.file={EXAMPLE}", *labels)
    assert result.exit_code == 0
    assert receiver in result.stdout
    assert "alice-iphone of alice: " in result.stdout
    said = json.loads(
        run("config", "routes", "test", f"--config.file={EXAMPLE}", "-o", "json", *labels).stdout
    )
    assert receiver in json.dumps(said)
    good = run(
        "config", "routes", "test", f"--config.file={EXAMPLE}", f"--verify.receivers={receiver}", *labels
    )
    assert good.exit_code == 0
    bad = run("config", "routes", "test", f"--config.file={EXAMPLE}", "--verify.receivers=other", *labels)
    assert bad.exit_code == 1
    assert f"expected receivers other, but got {receiver}" in bad.stderr


def test_routes_test_looks_at_the_instant_that_it_is_given() -> None:
    def at(instant: str) -> str:
        result = run(
            "config", "routes", "test", f"--config.file={EXAMPLE}", f"--at={instant}", "severity=info"
        )
        assert result.exit_code == 0
        return result.stdout

    night, day = at("2026-01-31T03:00:00Z"), at("2026-01-31T12:00:00+01:00")
    assert "nights" in night
    assert night != day
    assert "muted" in night
    assert "muted" not in day


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--at=tomorrow"], "RFC 3339"),
        (["severity"], "NAME=VALUE"),
        (["=x"], "NAME=VALUE"),
        (["-o", "xml"], "xml"),
    ],
)
def test_routes_test_refuses_what_it_cannot_read(arguments: list[str], says: str) -> None:
    result = run("config", "routes", "test", f"--config.file={EXAMPLE}", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize("command", [["show"], ["test", "a=b"]])
def test_routes_of_a_bad_file_are_its_problems(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("{}\n")
    result = run("config", "routes", *command, f"--config.file={file}")
    assert result.exit_code == 1
    assert f"{file}:" in result.stderr


@pytest.mark.parametrize("url", ["bridge.example.com", "ftp://h", "https://", "", "https://h/?x=y"])
def test_an_address_for_phones_that_is_none_is_refused(url: str) -> None:
    result = run("serve", f"--config.file={EXAMPLE}", f"--phone.external-url={url}")
    assert (result.exit_code, "is not https://HOST" in result.stderr) == (2, True)


@pytest.mark.parametrize("url", ["hc-ping.com/hunter2", "ftp://h/hunter2", "https:///hunter2", ""])
def test_a_heartbeat_url_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    result = run("serve", f"--config.file={EXAMPLE}", f"--heartbeat.url={url}")
    assert (result.exit_code, "it is not https://HOST" in result.stderr) == (2, True)
    assert "hunter2" not in result.stderr


# --- the program ------------------------------------------------------------------------------


def test_every_command_is_listed_with_a_sentence_and_has_help() -> None:
    listed = run("--help").stdout
    for name in (*main.commands, "demo", "devices", "incidents", "simulator"):
        assert name in listed
        assert run(name, "--help").exit_code == 0


def test_help_needs_neither_a_database_driver_nor_a_configuration_library() -> None:
    """A container's health check should not take a second."""
    code = "import sys; from bridge.cli import main; print([m for m in ('sqlalchemy', 'pydantic', 'aiohttp') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [os.sys.executable, "-c", code], capture_output=True, check=True, env=environment, text=True
    )
    assert done.stdout == "[]\n"
