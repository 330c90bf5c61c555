"""The commands in the documents that ask a running bridge, or a file, do what they are there for."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
import yarl
from aiohttp.test_utils import make_mocked_request
from appworld import World
from commands import ask, run
from documents import ROOT, of, words

from bridge.simulator.control import make_app

RING = {"devices test", "receivers test", "serve", "simulator", "demo", "storage migrate"}
"""These take their time, ring phones or need a PostgreSQL; tests/app/test_cli_*.py run them."""

FILES = {"check-config", "config", "test", "healthcheck"}
"""These take no --bridge.url."""

FAILS = {
    "check-config bridge.yaml": "FILL_IN",
    "ledger verify --since": "the ledger cannot say what was before",
}
"""What some of them say to the bridge of this test, which is minutes old."""


def curls() -> list[list[str]]:
    """The words of each curl line that asks the bridge, or the simulator."""
    found = (words(line.partition(" | ")[0]) for fence in of("") for line in fence.commands)
    return [given for given in found if given[0] == "curl" and "127.0.0.1:" in " ".join(given)]


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


async def test_each_path_that_curl_asks_in_the_documents_is_one_of_the_bridge_or_the_simulator(
    world: World,
) -> None:
    for given in curls():
        method = given[given.index("-X") + 1] if "-X" in given else "GET"
        (url,) = [yarl.URL(word) for word in given if word.startswith("http://")]
        if url.port == 9095:
            assert (await world.ask(method, world.url + url.path_qs)).status == 200, url
            continue
        assert url.port == 2198, url
        found = await make_app(world.sim).router.resolve(make_mocked_request(method, url.path_qs))
        assert found.http_exception is None, f"{method} {url}"
    assert len(curls()) > 8
