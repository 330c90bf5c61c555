"""Below --web.route-prefix the web listener answers as it does without, and nowhere else."""

import asyncio
from pathlib import Path

import pytest
from appworld import World
from click.testing import CliRunner

from bridge.cli import main


@pytest.fixture
async def below(stage: World) -> World:
    """A bridge behind a prefix whose listener wants a password."""
    web_config = stage.folder / "web.yml"
    web_config.write_text("authorization: {credentials: let-me-in}\n")
    stage.options |= {"web_route_prefix": "/pushkit", "web_config_file": web_config}
    await stage.start()
    return stage


async def test_the_webhook_and_the_management_are_below_the_prefix_and_nowhere_else(below: World) -> None:
    right = {"Authorization": "Bearer let-me-in"}
    posted = await below.post("/pushkit/webhook", below.message(below.alert()), headers=right)
    assert posted.status == 200
    listed = await below.get("/pushkit/api/v1/incidents", headers=right)
    assert len(listed.json["incidents"]) == 1
    assert (await below.post("/webhook", below.message(below.alert()), headers=right)).status == 404


async def test_health_below_the_prefix_needs_no_credentials(below: World) -> None:
    assert (await below.get("/pushkit/-/healthy")).status == 200
    assert (await below.get("/-/healthy")).status == 401


async def test_a_webhook_below_the_prefix_with_wrong_credentials_raises_the_alarm(below: World) -> None:
    """Rule 7: nothing is lost by a 401 unseen."""
    refused = await below.post("/pushkit/webhook", below.message(below.alert()))
    assert refused.status == 401
    listed = await below.get("/pushkit/api/v1/incidents", headers={"Authorization": "Bearer let-me-in"})
    assert [one["title"] for one in listed.json["incidents"]] == ["PushkitBridgeWebhookRefused"]


async def test_commands_find_the_bridge_by_a_url_with_the_prefix(stage: World) -> None:
    stage.options["web_route_prefix"] = "/pushkit"
    await stage.start()
    arguments = ["incidents", "list", f"--bridge.url={stage.url}/pushkit"]
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("text", ["pushkit", "/a//b", "/a b", "/../x", "http://host/x"])
def test_a_prefix_that_is_no_path_is_refused(text: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    result = CliRunner().invoke(main, ["serve", f"--config.file={config}", f"--web.route-prefix={text}"])
    assert result.exit_code == 2
    assert "is not a path such as /pushkit" in result.output
