"""Behind a real nginx, with the very file that deploy/ has for it: phones and people, and events that are not held back."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import aiohttp
import bcrypt
import pytest
from appworld import ROOT, World, until
from consoles import PASSWORDS, basic

from bridge.children import child, find_program, free_port

EXAMPLES = ROOT / "examples"


@pytest.fixture
def port() -> Iterator[int]:
    with free_port() as found:
        yield found


def configuration(world: World, port: int) -> str:
    """deploy/nginx.conf with other ports, certificates and passwords; its directives stay."""
    text = (ROOT / "deploy/nginx.conf").read_text()
    hashed = bcrypt.hashpw(PASSWORDS["carol"].encode(), bcrypt.gensalt(4)).decode()
    (world.folder / "htpasswd").write_text(f"carol:{hashed}\n")
    console = world.bridge.bound.console[0].removeprefix("http://")
    for pattern, there in (
        (r"(?<=listen )443(?= ssl;)", f"127.0.0.1:{port}"),
        (r"/etc/ssl/\w+\.example\.com\.pem", str(EXAMPLES / "simulator.pem")),
        (r"/etc/ssl/private/\w+\.example\.com\.key", str(EXAMPLES / "simulator-key.pem")),
        (r"/etc/nginx/pushkit-bridge\.htpasswd(?=;)", str(world.folder / "htpasswd")),
        (r"(?<=http://)127\.0\.0\.1:9096", world.phone_listen),
        (r"(?<=http://)127\.0\.0\.1:9097", console),
    ):
        text, count = re.subn(pattern, there, text)
        assert count, pattern
    temporary = "".join(
        f"{kind}_temp_path {world.folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
        daemon off; master_process off; pid {world.folder}/nginx.pid; error_log stderr;
        events {{}}
        http {{ access_log off; client_body_temp_path {world.folder}/body; {temporary} {text} }}
    """


@pytest.fixture
async def proxied(stage: World, port: int) -> AsyncIterator[World]:
    stage.config["devices"] = []
    stage.config["device_groups"][0]["owners"] = ["alice", "bob"]
    stage.config["console"] = {
        "operators": ["carol"],
        "trusted_proxies": ["127.0.0.1"],
        "user_header": "X-Forwarded-User",
    }
    stage.options["phone_external_url"] = f"https://127.0.0.1:{port}"
    stage.options["console_listen"] = "127.0.0.1:0"
    await stage.start()
    file = stage.folder / "nginx.conf"
    file.write_text(configuration(stage, port))
    nginx = find_program("nginx", package="nginx-light")

    async def listening() -> bool:
        running.check()
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    async with child("nginx", (nginx, "-p", str(stage.folder), "-c", str(file)), stage.folder) as running:
        await until(listening)
        yield stage


@pytest.mark.real
async def test_phones_enrol_ring_answer_and_hear_of_it_through_nginx(proxied: World) -> None:
    await proxied.enrol("alice", "bob")
    await proxied.webhook(proxied.alert())
    call = proxied.bob.calls.items[0]
    proxied.alice.answer()
    await call.wait_for("ended", 30)  # by the stream of events
    assert call.why == "acknowledged: answered by alice"
    assert (await proxied.incident())["acknowledged_by"] == "alice"


@pytest.mark.real
async def test_nginx_says_at_the_console_who_somebody_is_and_nobody_else_can(
    proxied: World, port: int
) -> None:
    await proxied.enrol("alice")
    await proxied.webhook(proxied.alert())
    (incident,) = await proxied.incidents()
    page = f"/incidents/{incident['id']}"

    site = f"https://127.0.0.1:{port}"
    sent = {"Host": f"oncall.example.com:{port}", "X-Forwarded-User": "eve"}
    jar = aiohttp.CookieJar(unsafe=True)  # for an address instead of a name
    async with aiohttp.ClientSession(site, headers=sent, cookie_jar=jar) as browser:
        async with browser.get(page, ssl=False) as refused:
            assert refused.status == 401
        password = basic("carol")
        async with browser.get(page, ssl=False, headers=password) as shown:
            found = re.search(r'name="csrf" value="([0-9a-f]+)"', await shown.text())
        assert found is not None, "carol is an operator"
        acknowledge, form = f"{page}/acknowledge", {"csrf": found[1]}
        async with browser.post(
            acknowledge, data=form, ssl=False, headers=password, allow_redirects=False
        ) as done:
            assert done.status == 303, await done.text()
    assert (await proxied.incident())["acknowledged_by"] == "carol"
