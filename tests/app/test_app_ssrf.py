"""The bridge asks only servers that its configuration names: no alert, and no server, chooses another."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from appworld import World
from commands import ask
from handset import Handset

CALENDAR = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-\r\nEND:VCALENDAR\r\n"


@dataclass
class Canary:
    """A server that nothing should ask, and beside it one that leads there."""

    url: str = ""
    leads: str = ""
    heard: list[str] = field(default_factory=list)
    asked: int = 0

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append(f"{request.method} {request.path} {request.headers.get('Authorization')}")
        return web.Response(text=CALENDAR)

    async def lead(self, request: web.Request) -> web.Response:
        self.asked += 1
        raise web.HTTPTemporaryRedirect(f"{self.url}{request.path}")


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    one = Canary()
    runners = []
    for name, handler, host in (("url", one.hear, "127.0.0.1"), ("leads", one.lead, "127.0.0.2")):
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, host, 0).start()
        setattr(one, name, f"http://{host}:{runner.addresses[0][1]}")
        runners.append(runner)
    yield one
    for runner in runners:
        await runner.cleanup()


async def test_no_url_in_an_alert_is_ever_fetched(stage: World, canary: Canary) -> None:
    stage.config["devices"] = []
    stage.config["templates"] = {"reason": "{{ summary }} {{ annotations.runbook_url }}"}
    await stage.start()
    await stage.enrol("alice")
    handset = await Handset.enrolled(stage)
    url = f"{canary.url}/x"
    alert = stage.alert(instance=url, url=url)
    alert |= {"generatorURL": url, "annotations": {"summary": url, "runbook_url": url, "dashboard": url}}
    await stage.webhook(alert, externalURL=canary.url)
    await stage.pass_(60)
    one = await stage.incident()
    assert (await handset.get(f"/incidents/{one['id']}")).status == 200
    await ask(stage, "incidents", "show", one["id"])
    stage.alice.answer()
    await stage.webhook(
        alert | {"status": "resolved", "endsAt": stage.clock.now().isoformat()}, externalURL=canary.url
    )
    await stage.pass_(60)
    assert canary.heard == []


async def test_a_webhook_target_that_redirects_is_not_followed(stage: World, canary: Canary) -> None:
    stage.config["receivers"][0]["escalation"][0]["webhooks"] = [{"url": f"{canary.leads}/hook"}]
    await stage.start()
    await stage.webhook(stage.alert())
    assert canary.asked == 1
    assert canary.heard == []
    page = next(page for page in (await stage.incident())["pages"] if page["kind"] == "webhook")
    assert page["outcome"] is None, "not taken: it is tried again"


async def test_a_heartbeat_that_redirects_is_not_followed_and_counts_as_failed(
    stage: World, canary: Canary
) -> None:
    stage.options["heartbeat_url"] = f"{canary.leads}/ping"
    await stage.start()
    await stage.settled()
    assert (canary.asked, canary.heard) == (1, [])
    assert stage.metric("heartbeats_total", outcome="failed") == 1


async def test_a_calendar_that_leads_to_another_host_is_not_followed(stage: World, canary: Canary) -> None:
    stage.config["schedules"] = [{"name": "primary", "ical_url": f"{canary.leads}/a.ics"}]
    stage.config["device_groups"].append({"name": "on-call", "schedules": ["primary"]})
    await stage.start()
    await stage.settled()
    assert canary.heard == []
    shown = (await ask(stage, "oncall", "show")).stdout
    assert "leads to another one, which is not followed" in shown


async def test_a_command_takes_its_credentials_nowhere_else(stage: World, canary: Canary) -> None:
    await stage.start()
    token = stage.folder / "token"
    token.write_text("the-token-of-management")
    result = await ask(stage, "incidents", "list", f"--bridge.token-file={token}", url=canary.leads)
    assert result.exit_code == 1
    assert "answered 307" in result.stderr
    assert canary.heard == []
