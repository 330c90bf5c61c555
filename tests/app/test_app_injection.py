"""What an alert says stays text: in logs, listings, answers, pushes and posts, whatever is in it."""

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
import structlog
from aiohttp import web
from appworld import World
from commands import ask
from handset import Handset

from bridge.telemetry import LogFormat, configure_logs

EVIL = 'a\x1b[2J\x1b]0;owned\x07\r\n{"event":"forged","level":"critical"}\n\x9b31m\u202egnp.exe\u2066\u0085\u2028\x7f"\',<script>alert(1)</script>{{ 7*7 }}'
BARE = "\x1b]0;owned\x07\x9b2J\u202e"
"""Without a space or a quote: what structlog's console would write as it is."""
OBEYED = ("\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u0085", "\u2028", "\x7f", "\r")


Configure: TypeAlias = Callable[[LogFormat], io.StringIO]


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Configure the log as `serve` does; it gives what goes to stderr. Afterwards all is as before."""
    handlers, level = logging.root.handlers[:], logging.root.level

    def configure(form: LogFormat) -> io.StringIO:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            configure_logs("debug", form)
        return stderr

    yield configure
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


async def play(world: World) -> None:
    """Send the same texts everywhere that a stranger's text can go."""
    alert = world.alert(EVIL, instance=EVIL, bare=BARE)
    alert["annotations"] = {"summary": EVIL, EVIL: EVIL}
    await world.webhook(alert, groupKey=BARE)
    await world.webhook(world.alert("B"), groupKey=EVIL, externalURL=EVIL)
    await world.webhook({"status": BARE, "labels": {"alertname": BARE}, "fingerprint": BARE})
    await world.post("/webhook", b'{"version": "\\u001b[2J\\u202e", "alerts": []}')
    await world.post("/webhook/%1b%5b2J", b"")
    await world.get("/api/v1/incidents/%1b%5b2J%e2%80%ae")
    await world.bridge.desk.alarm("Test", {"x": BARE}, BARE)
    logging.getLogger("aiohttp.server").error("a library says %s", BARE)
    error = RuntimeError(EVIL + BARE)
    structlog.get_logger().error(BARE, name=BARE, names=[BARE, EVIL], more={"x": BARE}, exc_info=error)
    await world.pass_(60)


@pytest.mark.parametrize("form", ["json", "console"])
async def test_no_text_of_an_alert_can_forge_a_line_of_the_log_or_move_a_terminals_cursor(
    configure: Configure, stage: World, form: LogFormat
) -> None:
    log = configure(form)
    await stage.start()
    await play(stage)
    text = log.getvalue()
    assert "owned" in text
    assert [char for char in OBEYED if char in text] == []
    if form == "json":
        found = [json.loads(line) for line in text.split("\n")[:-1]]
        assert {one["event"] for one in found} >= {"webhook", "alarm", BARE}
        assert "forged" not in {one["event"] for one in found}
        assert BARE in {one.get("group_key") for one in found}, "escaped, not lost"
    else:
        stamped = [line for line in text.splitlines() if line[:4].isdigit()]
        assert not [
            line for line in text.splitlines() if line.startswith('{"event":"forged"') and line in stamped
        ]


async def test_a_path_that_is_not_utf8_is_answered_and_logged(configure: Configure, stage: World) -> None:
    log = configure("json")
    (stage.folder / "web.yaml").write_text("authorization: {type: Bearer, credentials: x}\n")
    stage.options["web_config_file"] = stage.folder / "web.yaml"
    await stage.start()
    host, port = stage.url.removeprefix("http://").split(":")
    for path in (
        b"/webhook/\xff",
        b"/\xff\xed\xa0\x80",
        b"/api/v1/incidents/%ff%ed%a0%80",
        b"/webhook/%ff?\xff=\xff",
    ):
        for token in (b"", b"Authorization: Bearer x\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST "
                + path
                + b" HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\nConnection: close\r\n"
                + token
                + b"\r\n"
            )
            assert int((await reader.read()).split()[1]) in range(400, 500), (path, token)
            writer.close()
    assert "could not be recorded" not in log.getvalue()
    assert "Traceback" not in log.getvalue()


async def test_no_text_of_an_alert_can_write_to_the_operators_terminal(stage: World) -> None:
    stage.config["sources"] = []
    await stage.start()
    await play(stage)
    commands = [["incidents", "list", "--all"], ["devices", "list"], ["oncall", "show"]]
    commands += [["incidents", "show", one["id"]] for one in await stage.incidents(closed=True)]
    commands += [["incidents", "show", BARE], ["devices", "show", BARE], ["devices", "enroll", BARE]]
    for command in commands:
        result = await ask(stage, *command)
        said = result.output + result.stderr
        assert [char for char in OBEYED if char in said] == [], (command, said)


async def test_what_answers_in_the_bridges_place_cannot_write_to_the_operators_terminal(stage: World) -> None:
    async def rogue(request: web.Request) -> web.Response:
        if "list" in request.query_string or request.path.endswith("incidents"):
            return web.Response(status=500, body=BARE.encode() + EVIL.encode())
        return web.json_response({"error": EVIL, "hint": BARE}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", rogue)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        for command in (["incidents", "list"], ["devices", "show", "x"], ["incidents", "ack", "x"]):
            result = await ask(stage, *command, url=url)
            assert result.exit_code == 1
            assert [char for char in OBEYED if char in result.output + result.stderr] == []
            assert len(result.stderr.splitlines()) == 1
    finally:
        await runner.cleanup()


async def test_answers_pushes_and_posts_are_json_and_hold_the_text_as_text(stage: World) -> None:
    """5,120 bytes of VoIP push, 4,096 of notification; a label is never a template, markup, or another field."""
    posts: list[bytes] = []

    async def hook(request: web.Request) -> web.Response:
        posts.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stage.config["receivers"][0]["escalation"][0]["webhooks"] = [
        {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/hook"}
    ]
    stage.config["templates"] = {"reason": "{{ summary }}", "caller_name": "{{ alertname }}"}
    await stage.start()
    handset = await Handset.enrolled(stage)
    try:
        await play(stage)
        (one,) = [one for one in await stage.incidents() if "forged" in one["title"]]
        story = await stage.get(f"/api/v1/incidents/{one['id']}")
        assert EVIL in story.json["episodes"][0]["labels"].values()
        assert (await handset.get(f"/incidents/{one['id']}")).json["id"] == one["id"]
        for push in stage.alice.pushes.items:
            assert len(json.dumps(push.payload, ensure_ascii=False, separators=(",", ":")).encode()) <= 5120
            shown = push.payload["caller_name"] + push.payload["reason"]
            assert [char for char in (*OBEYED, "\n") if char in shown] == []
            assert "49" not in shown.replace("0;", "")
        bodies = [json.loads(post) for post in posts]
        assert EVIL in {
            value for body in bodies for alert in body["alerts"] for value in alert["labels"].values()
        }
        assert {body["version"] for body in bodies} == {"1"}
    finally:
        await runner.cleanup()
