"""The commands in the documents that ask a running bridge, or a file, do what they are there for."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from appworld import World
from commands import ask, run
from documents import ROOT, of, words

RING = {"devices test", "receivers test", "serve", "simulator", "demo", "storage migrate"}
"""These take their time, ring phones or need a PostgreSQL; tests/app/test_cli_*.py run them."""

FILES = {"check-config", "config", "test", "healthcheck"}
"""These take no --bridge.url."""

FAILS = {
    "check-config bridge.yaml": "FILL_IN",
    "ledger verify --since": "the ledger cannot say what was before",
}
"""What some of them say to the bridge of this test, which is minutes old."""


def lines() -> list[str]:
    """Each command line of ours once, without comment, output file and pipe."""
    found = {
        re.sub(r"^.*?pushkit-bridge |  +#.*| [>|&].*", "", line): None
        for fence in of("")
        for line in fence.commands
        if words(line)[0] == "pushkit-bridge"
    }
    return [line for line in found if not any(line.startswith(one) for one in RING) and "--help" not in line]


async def furnish(world: World, folder: Path) -> str:
    """What the documents talk of: the example's people, phones and receivers, drills, a heartbeat, an incident."""
    example = yaml.safe_load((ROOT / "config.example.yaml").read_text())
    devices = world.config["devices"]
    mine = {key: world.config[key] for key in ("apns", "storage")}
    world.config = example | mine | {"devices": devices, "sources": []}
    world.config["receivers"][0]["escalation"][1] = {"device_groups": ["storage"]}
    world.config["drills"] = [
        {"name": "weekly", "receiver": "platform", "at": "10:00", "report_to": "by-daylight"}
    ]
    world.config["heartbeats"] = [{"name": "prometheus", "matchers": ['alertname="Watchdog"'], "every": "3m"}]
    await world.start()
    await world.webhook(world.alert("DiskFull", team="db"))
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in ("config.yaml", "new.yaml", "config.example.yaml"):
        (folder / name).write_text((ROOT / "config.example.yaml").read_text())
    tree = {
        "route": {"receiver": "phone"},
        "receivers": [{"name": "phone", "webhook_configs": [{"url": "http://b"}]}],
    }
    (folder / "body.json").write_bytes(world.message(world.alert()))
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(tree))
    (folder / "alerting").mkdir()
    cases = (ROOT / "examples/routing.test.yaml").read_text()
    (folder / "alerting/night.test.yaml").write_text(cases)
    return str((await world.incidents())[0]["id"])


async def test_each_command_in_the_documents_works_on_a_bridge_that_has_what_they_talk_of(
    stage: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = await furnish(stage, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUSHKIT_BRIDGE_HEALTH_URL", stage.url)
    (tmp_path / "bridge.yaml").write_text(run("config", "import", "alertmanager.yml").stdout)
    asked = lines()
    assert len(asked) > 6
    for line in asked:
        given = [
            incident if word == "ID" else word
            for word in shlex.split(re.sub(r"/(etc|var/lib)/pushkit-bridge/", "", line))
        ]
        of_a_file = given[0] in FILES or any(word.startswith("--config.file") for word in given)
        result = await (asyncio.to_thread(run, *given) if of_a_file else ask(stage, *given))
        says = next((words for begin, words in FAILS.items() if line.startswith(begin)), None)
        assert result.exit_code == 0 or (says and says in result.output), f"{line}\n{result.output}"
