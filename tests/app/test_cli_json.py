"""`-o json`: every command that lists or shows has it, with the keys that docs/json.md names, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from appworld import World
from commands import ask, run
from test_cli_ledger import damage
from test_cli_tests import test_of

from bridge.cli import main
from bridge.store.tables import pages

TOP = Path(__file__).parents[2]
EXAMPLE = TOP / "config.example.yaml"
WITHOUT = {
    "completion": "a script for a shell",
    "config import": "YAML",
    "config schema": "it is JSON itself",
    "demo": "runs until it is told to end",
    "healthcheck": "its exit code says it",
    "serve": "runs until it is told to end",
    "simulator": "runs until it is told to end",
    "storage backup": "does something once, and names the file",
    "storage migrate": "does something once, and tells how far it is",
}
"""Commands that list nothing, each with what it gives instead."""
FREE = {"labels", "annotations", "group", "payload", "checked", "expected", "got"}
"""What has keys, or a form, of its own each time."""


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


LISTING = [name for name, _ in commands(main) if name not in WITHOUT]


def shapes(value: Any, place: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Give the keys of each mapping by its place: "" for the whole, incidents[] for one of a list."""
    if isinstance(value, dict):
        yield place, frozenset(value)
        for key, inner in value.items():
            if key not in FREE:
                yield from shapes(inner, f"{place}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for inner in value:
            yield from shapes(inner, f"{place}[]")


@cache
def documented() -> dict[str, dict[str, frozenset[str]]]:
    """Read docs/json.md: the keys by command and place; "as `x`, and `y`" are those of another, and more."""
    text = (TOP / "docs/json.md").read_text()
    rows: dict[str, list[tuple[str, str]]] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        names, _, body = section.partition("\n")
        table = re.findall(r"^\| (.*?) \| (.*) \|$", body, re.MULTILINE)[2:]
        found = [("" if place == "the whole" else place.strip("`"), keys) for place, keys in table]
        rows |= dict.fromkeys(re.findall(r"`([a-z -]+)`", names), found)
    return {name: dict(_places(rows, name, "")) for name in rows}


def _places(
    rows: dict[str, list[tuple[str, str]]], name: str, below: str
) -> Iterator[tuple[str, frozenset[str]]]:
    for place, keys in rows[name]:
        at = ".".join(part for part in (below, place) if part)
        named = re.findall(r"`([^`]+)`", keys)
        if not keys.startswith("as "):
            yield at, frozenset(named)
            continue
        for inner, found in _places(rows, named[0], at):
            yield inner, found | frozenset(named[1:] if inner == at else ())


def holds(name: str, output: str) -> None:
    """Hold what a command printed against the document."""
    said = json.loads(output)
    assert list(shapes(said)), f"{name} prints no object"
    for place, keys in shapes(said):
        assert keys == documented()[name].get(place), f"{name}: {place or 'the whole'}"


@pytest.mark.parametrize("name", LISTING)
def test_a_command_that_lists_has_o_json_and_its_keys_are_documented(name: str) -> None:
    flags = [flag for param in dict(commands(main))[name].params for flag in param.opts]
    assert {"-o", "--output"} <= set(flags)
    assert "" in documented()[name]


def test_no_command_is_forgotten() -> None:
    assert WITHOUT.keys() <= dict(commands(main)).keys()
    assert set(documented()) == set(LISTING)


BODY = {
    "version": "4",
    "groupKey": "k",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DiskFull"},
            "annotations": {},
            "startsAt": "2026-11-25T02:00:00Z",
            "fingerprint": "0123456789abcdef",
        }
    ],
}
CASES = f"""\
config_file: {EXAMPLE}
tests:
  - {{name: good, labels: {{}}, at: 2026-01-31 02:00, expect: {{receivers: [platform]}}}}
  - {{name: bad, labels: {{}}, at: 2026-01-31 02:00, expect: {{receivers: [storage], muted: true}}}}
"""
CONFIG = f"--config.file={EXAMPLE}"
LABELS = ("severity=critical", "team=db")
NIGHT = "--at=2026-01-31T03:00:00Z"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("check-config", [str(EXAMPLE)]),
        ("check-config", ["BAD"]),
        ("config routes show", [CONFIG]),
        ("config routes test", [CONFIG, NIGHT, *LABELS]),
        ("config routes test", [CONFIG, NIGHT, "severity=info"]),
        ("explain", [CONFIG, NIGHT, *LABELS]),
        ("config render", [CONFIG, "BODY"]),
        ("test rules", ["CASES", "none"]),
        ("oncall show", [CONFIG]),
    ],
)
def test_of_a_file_it_prints_json_with_the_documented_keys(
    tmp_path: Path, name: str, arguments: list[str]
) -> None:
    texts = {"BAD": "people: [{}]\n", "BODY": json.dumps(BODY), "CASES": CASES}
    for word, text in texts.items():
        (tmp_path / word).write_text(text)
    found = [str(tmp_path / word) if word in texts else word for word in arguments]
    holds(name, run(*name.split(), *found, "-o", "json").stdout)


async def test_of_a_running_bridge_it_prints_json_with_the_documented_keys(stage: World) -> None:
    """One story in which there is something of everything."""
    stage.config["heartbeats"] = [{"name": "prom", "matchers": ["alertname=Watchdog"], "every": "3m"}]
    layer = {"members": ["alice"], "start": "2026-01-05", "every": "1w"}
    stage.config["schedules"] = [{"name": "primary", "layers": [layer]}]
    stage.config["device_groups"][0]["schedules"] = ["primary"]
    drill = {"name": "weekly", "device_groups": ["platform"], "at": "02:01", "report_to": "platform"}
    stage.config["drills"] = [drill]
    await stage.start()
    override = ["primary", "bob", "--from=2026-11-25 03:00", "--to=2026-11-25 06:00"]
    await _told(stage, "oncall override", *override)
    await stage.webhook(stage.alert("DiskFull"))
    await stage.pass_(75)
    await stage.webhook(stage.alert("Watchdog"))
    one = next(one["id"] for one in await stage.incidents() if one["title"] == "DiskFull")
    for name in ("incidents show", "ledger show"):
        await _told(stage, name, one)
    await _told(stage, "explain", f"--incident={one}")
    for name in ("incidents list", "devices list", "drills list", "heartbeats list", "oncall show"):
        await _told(stage, name)
    await _told(stage, "drills show", "weekly")
    await _told(stage, "devices show", "alice-iphone")
    await damage(stage, pages, outcome="rejected")
    await _told(stage, "ledger replay", "--since=24h", "--dry-run")
    await damage(stage, pages, outcome=None)
    await _told(stage, "ledger verify")
    await _told(stage, "incidents ack", one)
    await _told(stage, "devices enroll", "bob", "--device=bob-x")
    await stage.enrol("bob")
    await _told(stage, "devices revoke", "bob-iphone-2")


@pytest.mark.parametrize(("name", "of"), [("devices test", "alice-iphone"), ("receivers test", "platform")])
async def test_of_a_test_it_prints_json_with_the_documented_keys(world: World, name: str, of: str) -> None:
    async with test_of(world, *name.split(), of, "-o", "json") as test:
        await world.pass_(20)
        world.alice.answer()
        await world.pass_(2000)
    holds(name, (await test.result()).stdout)


async def _told(world: World, name: str, *arguments: str) -> None:
    result = await ask(world, *name.split(), *arguments, "-o", "json")
    assert result.stdout, result.stderr
    holds(name, result.stdout)
