"""What the log says, and what it never says."""

import asyncio
import contextlib
import io
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from appworld import World
from handset import Handset, code_for, exchange

from bridge.pushes import mask
from bridge.simulator import Answer
from bridge.telemetry import LogFormat, configure_logs

Configure: TypeAlias = Callable[[str, LogFormat], io.StringIO]


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Configure the log as `serve` does; it gives what goes to stderr. Afterwards all is as before."""
    handlers, level = logging.root.handlers[:], logging.root.level

    def configure(level: str, form: LogFormat) -> io.StringIO:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            configure_logs(level, form)
        return stderr

    yield configure
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def log(configure: Configure) -> io.StringIO:
    """The log at its most talkative, in JSON as in production."""
    return configure("debug", "json")


def lines(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    return [one for one in found if one["event"] == event]


def leaks(world: World, text: str) -> list[str]:
    return [secret for secret in world.secrets() if secret in text or secret.upper() in text]


async def test_one_line_for_each_webhook_and_each_push_names_the_incident_and_its_pages(
    log: io.StringIO, world: World
) -> None:
    await world.webhook(world.alert(), groupKey="{}:{a}")
    await world.webhook(world.alert(), groupKey="{}:{a}")
    await world.pass_(45)
    story = await world.incident()
    first, second = (page["id"] for page in story["pages"])
    webhooks = lines(log, "webhook")
    assert [(one["incidents"], one["pages"]) for one in webhooks] == [
        ([story["id"]], [first]),
        ([story["id"]], []),
    ]
    assert (
        webhooks[0] | {"source": "default", "group_key": "{}:{a}", "alerts": 1, "level": "info"}
        == webhooks[0]
    )
    pushes = [one for one in lines(log, "push") if "device" in one]  # the simulator logs its own
    assert [(one["incidents"], one["pages"]) for one in pushes] == [
        ([story["id"]], [first]),
        ([story["id"]], [second]),
    ]
    token = world.alice.profile.voip_token
    expected = {"outcome": "accepted", "device": "alice-iphone", "token": mask(token), "attempt": 1}
    assert pushes[0] | expected == pushes[0]
    assert [one["page"] for one in lines(log, "page settled")] == [first, second]
    assert len(lines(log, "escalation")) == 1


async def test_every_line_is_json_with_level_and_time(log: io.StringIO, world: World) -> None:
    await world.webhook(world.alert())
    logging.getLogger("aiohttp.server").warning("a library speaks")
    await world.stop()
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {"started", "webhook", "push", "a library speaks"} <= {one["event"] for one in found}
    for one in found:
        assert one["level"] in {"debug", "info", "warning", "error", "critical"}
        assert one["timestamp"].endswith("Z")


async def test_no_secret_is_logged_whatever_goes_wrong(log: io.StringIO, stage: World) -> None:
    """Pushes refused in each way, wrong credentials, receipts, a reload, a restart: never a whole token."""
    source, webhook = "the-secret-of-a-source", "http://127.0.0.1:1/hooks/the-secret-of-a-hook"
    stage.config["sources"] = [{"name": "eu", "credentials": source}]
    stage.config["receivers"][0]["escalation"][0]["webhooks"] = [{"url": webhook}]
    await stage.start()
    seen = [*stage.secrets(), source, "the-secret-of-a-hook"]
    stage.alice.answer_next(Answer(410, "Unregistered", timestamp=1))
    stage.bob.answer_next(Answer(400, "BadDeviceToken"))
    await stage.webhook(stage.alert())
    await stage.pass_(60)
    right = {"Authorization": f"Bearer {source}"}
    assert (await stage.post("/webhook/eu", stage.message(stage.alert()), headers=right)).status == 200
    wrong = {"Authorization": f"Bearer {source}x"}
    assert (await stage.post("/webhook/eu", stage.message(stage.alert()), headers=wrong)).status == 401
    await stage.pass_(60)
    if any(call.state == "ringing" for call in stage.alice.calls.items):
        stage.alice.answer()
    seen += stage.secrets()
    await stage.reload()
    await stage.restart()
    await stage.pass_(60)
    seen += stage.secrets()
    text = log.getvalue()
    assert len(stage.alice.pushes.items) > 0
    assert not [secret for secret in seen if secret in text]
    assert mask(stage.alice.profile.voip_token) in text


async def test_one_line_for_each_step_of_an_enrolment_without_code_or_credential(
    log: io.StringIO, world: World
) -> None:
    code, unused = [(await code_for(world))["code"] for _ in range(2)]
    handset = Handset(world, (await exchange(world, code, name="new")).json["credential"])
    await exchange(world, "1111-2222-3333")
    token = "ab12cd34" * 8
    await handset.put(voip_token=token.upper())
    await handset.ask("DELETE", "/device/tokens/voip")
    await handset.ask("DELETE", "/device")
    await Handset.enrolled(world, device="newer")
    await world.ask("DELETE", f"{world.url}/api/v1/devices/newer")
    expected = {
        "enrolment code made": {"owner": "alice", "device": None},
        "device enrolled": {"device": "new", "owner": "alice", "remote": "127.0.0.1"},
        "enrolment refused": {"remote": "127.0.0.1", "level": "warning"},
        "tokens registered": {"device": "new", "voip": mask(token), "alert": None},
        "token dropped": {"device": "new", "push": "voip"},
        "device revoked": {"device": "new", "by": "the phone"},
    }
    for event, fields in expected.items():
        assert lines(log, event)[0] | fields == lines(log, event)[0]
    assert lines(log, "device revoked")[1]["by"] == "management"
    text = log.getvalue() + (await world.get("/metrics")).text
    for secret in (code, unused, "1111-2222-3333", handset.credential, token):
        assert secret not in text
        assert secret.replace("-", "") not in text


async def test_a_device_that_the_configuration_gives_an_enrolled_phones_name_is_left_alone_and_named(
    log: io.StringIO, world: World
) -> None:
    """The phone keeps its owner, its credential and its tokens; the log says so at each start and reload."""
    handset = await Handset.enrolled(world, device="work")
    await handset.put(voip_token="ab" * 32)
    before = (await handset.get("/device")).json
    world.config["devices"].append({"name": "work", "owner": "bob", "voip_token": "cd" * 32})
    event = "device not taken from the configuration: a phone enrolled under its name"
    for count, again in enumerate((world.reload, world.restart), 1):
        await again()
        assert (await handset.get("/device")).json == before
        assert [one["device"] for one in lines(log, event)] == ["work"] * count
    world.config["devices"].pop()
    await world.reload()
    assert (await handset.get("/device")).json == before


async def test_what_is_no_http_is_logged_without_what_was_sent(log: io.StringIO, world: World) -> None:
    """A header that cannot be read may hold a credential."""
    host, port = world.bridge.bound.phone.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /api/v1/device HTTP/1.1\r\nAuthorization: Bearer s3cret\x00\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.0 400")
    writer.close()
    await writer.wait_closed()
    assert "127.0.0.1" in log.getvalue()
    assert "s3cret" not in log.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
async def test_an_exception_is_logged_without_the_values_around_it(
    configure: Configure, world: World, form: LogFormat
) -> None:
    """Neither local variables nor a statement's parameters: both hold tokens."""
    stderr = configure("debug", form)
    await world.settled()
    other = sqlite3.connect(world.file, isolation_level=None)
    other.execute("ALTER TABLE devices RENAME TO away")
    answer = await world.reload()
    assert answer.status == 503
    world.clock.move(45)
    assert (await world.post("/webhook", world.message(world.alert()))).status == 503
    other.execute("ALTER TABLE away RENAME TO devices")
    other.execute("CREATE TRIGGER no BEFORE UPDATE ON devices BEGIN SELECT RAISE(ABORT, 'no'); END")
    world.config["devices"][0]["voip_token"] = "ab12" * 16
    assert (await world.reload()).status == 503
    await world.bridge.desk.alarm("Test", {}, "a test")
    await world.settled()
    other.close()
    text = stderr.getvalue()
    assert "no such table: devices" in text
    assert "Traceback" in text
    assert "ab12" * 16 not in text
    assert not leaks(world, text)
    assert "locals" not in text


async def test_a_broken_alert_is_named_in_the_log(log: io.StringIO, world: World) -> None:
    """Rule 7: accepted, repaired, and marked."""
    await world.webhook({"status": "firing", "labels": {"alertname": "Broken"}})
    (line,) = lines(log, "broken alert repaired")
    assert (line["level"], sorted(line["repairs"])) == ("warning", ["fingerprint", "startsAt"])


async def test_what_nobody_answered_is_an_error(log: io.StringIO, stage: World) -> None:
    stage.config["receivers"] = [{"name": "platform", "escalation": [stage.step("platform")]}]
    await stage.start()
    await stage.webhook(stage.alert())
    await stage.pass_(300)
    (line,) = lines(log, "unanswered")
    assert (line["level"], line["receiver"]) == ("error", "platform")


async def test_below_its_level_nothing_is_logged(configure: Configure, world: World) -> None:
    stderr = configure("error", "json")
    await world.webhook(world.alert())
    assert stderr.getvalue() == ""
    await world.bridge.desk.alarm("Test", {}, "a test")
    assert [json.loads(line)["level"] for line in stderr.getvalue().splitlines()] == ["error"]
