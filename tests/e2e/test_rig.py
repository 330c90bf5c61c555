"""The rig takes a configuration as it is, but for what leads away from this machine."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
import yaml
from yarl import URL

from bridge import children
from bridge.config import load
from bridge.rig import open_rig

from .scene import ROOT

EXAMPLE = ROOT / "config.example.yaml"


def for_apple(tmp_path: Path) -> Path:
    """Write the example as somebody would for Apple, and for a ledger that is in use."""
    config = yaml.load(EXAMPLE.read_text(), yaml.BaseLoader)
    del config["apns"]["url"], config["apns"]["ca_file"]
    config["apns"]["proxy"] = "http://user:password@proxy.example.com:3128"
    config["storage"]["url"] = f"sqlite:///{tmp_path}/in-use.db"
    config["devices"][0] |= {"environment": "sandbox", "topic": "com.example.other"}
    config["receivers"][0]["escalation"].append({"webhooks": [{"url": "https://hooks.example.com/secret"}]})
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    file = tmp_path / "for-apple.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


async def test_whatever_the_configuration_says_nothing_leaves_the_machine(tmp_path: Path) -> None:
    async with open_rig(for_apple(tmp_path), tmp_path) as rig:
        adapted = load(rig.config)
        assert adapted.apns.url == rig.simulator.url
        assert adapted.apns.proxy is None
        assert adapted.storage.url == f"sqlite:///{tmp_path}/bridge.db"
        assert len(adapted.webhooks) == 2
        assert {URL(url.reveal()).host for url in adapted.webhooks.values()} == {"127.0.0.1"}


async def test_people_phones_receivers_and_routes_stay_as_the_file_has_them(tmp_path: Path) -> None:
    file = for_apple(tmp_path)
    async with open_rig(file, tmp_path) as rig:
        told, adapted = load(file), load(rig.config)
        for name in ("receivers", "route", "time_intervals", "people", "groups", "quiet_gap", "templates"):
            assert getattr(adapted, name) == getattr(told, name), name
        assert [phone.name for phone in rig.simulator.phones] == list(told.devices)


async def test_an_outgoing_webhook_comes_back_to_the_rig(tmp_path: Path) -> None:
    async with open_rig(EXAMPLE, tmp_path) as rig, aiohttp.ClientSession() as session:
        (url,) = load(rig.config).webhooks.values()
        async with session.post(url.reveal(), json={"incident": 1}) as answer:
            assert answer.status == 200
        assert rig.posts.items == [("last-resort", {"incident": 1})]


async def test_an_address_that_a_rig_has_given_out_is_given_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody listens there yet: tests run side by side, and programs start slowly."""
    monkeypatch.setattr(children, "_PORTS", range(31_990, 32_000))
    with ExitStack() as stack:
        taken = [stack.enter_context(children.free_port()) for _ in range(5)]
        others = "from bridge import children; children._PORTS = range(31_990, 32_000)\n"
        others += "with children.free_port() as port: print(port)"
        for _ in range(3):
            assert int(await children.run(sys.executable, "-c", others)) not in taken
    assert len(set(taken)) == 5
