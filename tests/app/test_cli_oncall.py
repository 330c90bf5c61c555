"""`pushkit-bridge oncall`: who is on call, and somebody else for a time, from a terminal."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from appworld import World
from commands import ask, run
from icalendars import ical, shift

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "config.example.yaml"
NIGHT = ical(shift("alice, dave", "20261125T000000", "20261125T120000", zone="UTC"))


@pytest.fixture
async def world(stage: World) -> World:
    """A running bridge with a rotation and a calendar."""
    layer = {"members": ["alice", "bob"], "start": "2026-11-18", "handover": "09:00", "every": "1w"}
    (stage.folder / "night.ics").write_text(NIGHT)
    stage.config["schedules"] = [
        {"name": "primary", "time_zone": "Europe/Berlin", "layers": [layer]},
        {"name": "night", "ical_file": "night.ics"},
    ]
    await stage.start()
    await stage.settled()
    return stage


async def test_show_says_who_is_on_call_who_follows_and_what_is_wrong(world: World) -> None:
    result = await ask(world, "oncall", "show")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "primary (Europe/Berlin)",
        "  alice (layer 1), until Wed 2026-11-25 09:00 +01:00",
        "  then bob, until Wed 2026-12-02 09:00 +01:00",
        "night (UTC)",
        "  alice (its calendar), until Wed 2026-11-25 12:00 +00:00",
        "  then nobody, until Thu 2027-12-30 02:00 +00:00",
        "  GAP: nobody from Wed 2026-11-25 12:00 +00:00 to Wed 2026-12-23 02:00 +00:00",
        '  DOUBT: "dave" is nobody under people: (from Wed 2026-11-25 00:00 UTC)',
    ]


async def test_show_in_json_is_what_the_api_says(world: World) -> None:
    said = json.loads((await ask(world, "oncall", "show", "-o", "json")).stdout)
    assert said == (await world.get("/api/v1/oncall")).json


async def test_show_at_another_time(world: World) -> None:
    result = await ask(world, "oncall", "show", "--at", "2026-12-01T00:00:00Z")
    assert "  bob (layer 1), until Wed 2026-12-02 09:00 +01:00" in result.stdout
    for text, says in (
        ("tomorrow", '"tomorrow" is not a date with a time; write for instance 2026-01-31 18:00'),
        ("0001-01-01T00:00:00Z", "write for instance 2026-01-31 18:00"),
        ("9999-12-31T00:00:00Z", "is not a time of these years"),
    ):
        bad = await ask(world, "oncall", "show", "--at", text)
        assert (bad.exit_code, says in bad.stderr) == (2, True), bad.stderr


async def test_show_takes_the_times_that_override_takes_each_schedules_own(world: World) -> None:
    """The handover is at nine in Berlin, which is eight in UTC."""
    end = ("--from", "2026-12-01 06:00", "--to", "2026-12-01 07:59")
    await ask(world, "oncall", "override", "primary", "alice", *end)
    for at, who in (
        ("2026-12-02 08:59", "bob (layer 1)"),
        ("2026-12-02 09:00", "alice (layer 1)"),
        ("2026-12-01 07:58", "alice (an override by an operator)"),
        ("2026-12-01T07:59", "bob (layer 1)"),
        ("2026-12-02T07:59:59.9Z", "bob (layer 1)"),
        ("2026-12-02T09:00:00+01:00", "alice (layer 1)"),
    ):
        result = await ask(world, "oncall", "show", "--at", at)
        assert f"  {who}" in result.stdout.splitlines()[1], at


async def test_show_says_that_a_calendar_is_stale(world: World) -> None:
    (world.folder / "night.ics").write_text("broken")
    await world.pass_(900)
    result = await ask(world, "oncall", "show")
    assert (
        "  STALE: its calendar was last read at 2026-11-25T02:00:00Z: it is not an iCalendar: "
        "it does not begin with BEGIN:VCALENDAR"
    ) in result.stdout


async def test_an_override_is_written_shown_and_deleted(world: World) -> None:
    times = ("--from", "2026-11-25 18:00", "--to", "2026-11-26T08:00:00+01:00")
    result = await ask(world, "oncall", "override", "primary", "bob", *times, "--by", "carol")
    line = "override 1: bob from Wed 2026-11-25 18:00 +01:00 to Thu 2026-11-26 08:00 +01:00"
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{line}\n", "")
    assert f"  {line}, by carol\n" in (await ask(world, "oncall", "show")).stdout
    gone = await ask(world, "oncall", "override", "--delete", "1")
    assert (gone.exit_code, gone.stdout) == (0, "override 1 is deleted\n")
    again = await ask(world, "oncall", "override", "--delete", "1")
    assert (again.exit_code, 'there is no override "1"' in again.stderr) == (1, True)


async def test_an_override_from_now_on_needs_no_from_and_warns_of_one_without_a_phone(stage: World) -> None:
    layer = {"members": ["alice"], "start": "2026-11-18", "every": "1w"}
    stage.config["schedules"] = [{"name": "primary", "layers": [layer]}]
    stage.config["people"].append({"name": "carol"})
    await stage.start()
    result = await ask(
        stage, "oncall", "override", "primary", "carol", "--to", "2026-11-25 18:00", "-o", "json"
    )
    assert json.loads(result.stdout)["from"] == "2026-11-25T02:00:00+00:00"
    assert result.stderr == "WARNING: carol has no phone that can ring\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["primry", "bob", "--to", "2026-11-26 08:00"],
            1,
            'there is no schedule "primry", did you mean "primary"?',
        ),
        (["primary", "bbo", "--to", "2026-11-26 08:00"], 1, 'there is no person "bbo", did you mean "bob"?'),
        (
            ["primary", "bob", "--to", "20:00"],
            1,
            '400: "20:00" is not a date with a time; write for instance 2026-01-31 18:00\n',
        ),
        (["primary", "bob"], 2, "give SCHEDULE, PERSON and --to, or --delete alone"),
        (["primary"], 2, "give SCHEDULE, PERSON and --to, or --delete alone"),
        ([], 2, "give SCHEDULE, PERSON and --to, or --delete alone"),
        (["primary", "--delete", "1"], 2, "give SCHEDULE, PERSON and --to, or --delete alone"),
        (["--delete", "0"], 2, "x>=1"),
    ],
)
async def test_override_says_why_it_cannot(world: World, arguments: list[str], code: int, says: str) -> None:
    result = await ask(world, "oncall", "override", *arguments)
    assert (result.exit_code, result.stdout, says in result.stderr) == (code, "", True), result.stderr


async def test_a_bridge_without_schedules_says_so(stage: World) -> None:
    await stage.start()
    assert (await ask(stage, "oncall", "show")).stdout == "no schedules\n"


# --- of a file alone --------------------------------------------------------------------------


def test_show_works_for_a_file_without_a_running_bridge() -> None:
    result = run("oncall", "show", f"--config.file={EXAMPLE}", "--at=2026-12-25T12:00:00Z")
    assert result.stdout.splitlines() == [
        "primary (Europe/Berlin)",
        "  alice (an override by the configuration), until Sun 2026-12-27 22:00 +01:00",
        "  then bob, until Mon 2026-12-28 07:00 +01:00",
        "  override: alice from Thu 2026-12-24 18:00 +01:00 to Sun 2026-12-27 09:00 +01:00, by the configuration",
    ]
    shown = run("oncall", "show", f"--config.file={EXAMPLE}", "--at=2026-12-25T12:00:00Z", "-o", "json")
    assert json.loads(shown.stdout)["schedules"][0]["why"] == "an override by the configuration"


def test_show_of_a_file_takes_a_schedules_own_time() -> None:
    """Berlin is an hour ahead of UTC in winter."""
    for at, who in (
        ("2026-12-24 17:59", ""),
        ("2026-12-24 18:00", "an override by the configuration"),
        ("2026-12-24T17:00:00Z", "an override by the configuration"),
    ):
        shown = run("oncall", "show", f"--config.file={EXAMPLE}", f"--at={at}").stdout.splitlines()[1]
        assert ("an override by the configuration" in shown) == bool(who), at


def test_show_of_a_bad_file_lists_its_problems() -> None:
    bad = ROOT / "tests/config/bad/schedule_of_unknown.yaml"
    result = run("oncall", "show", f"--config.file={bad}")
    assert (result.exit_code, 'did you mean "bob"?' in result.stderr) == (1, True)


@pytest.fixture
async def calendar_url() -> AsyncIterator[str]:
    async def get(_: web.Request) -> web.Response:
        return web.Response(text=NIGHT)

    app = web.Application()
    app.router.add_get("/night.ics", get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_show_of_a_file_reads_the_calendars_that_it_names(stage: World, calendar_url: str) -> None:
    (stage.folder / "broken.ics").write_text("broken")
    stage.config["schedules"] = [
        {"name": "there", "ical_url": f"{calendar_url}/night.ics"},
        {"name": "gone", "ical_url": f"{calendar_url}/hunter2"},
        {"name": "broken", "ical_file": "broken.ics"},
    ]
    stage.write()
    command = ("oncall", "show", f"--config.file={stage.config_file}", "--at=2026-11-25T02:00:00Z")
    result = await asyncio.to_thread(run, *command)
    lines = result.stdout.splitlines()
    assert "  alice (its calendar), until Wed 2026-11-25 12:00 +00:00" in lines
    assert "  STALE: its calendar was never read: the server answered 404" in lines
    assert any(
        line.startswith("  STALE: its calendar was never read: it is not an iCalendar") for line in lines
    )
    assert "hunter2" not in result.output
