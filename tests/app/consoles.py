"""A browser's part at the console, for the tests: a session, and forms with their token."""

from __future__ import annotations

import base64
import re
from typing import Any

import aiohttp
import bcrypt
from appworld import Answer, World

PAGES = ("/", "/incidents", "/phones", "/oncall", "/explain")

PASSWORDS = {"carol": "correct horse", "dave": "battery staple", "eve": "hunter2"}


def basic(name: str) -> dict[str, str]:
    pair = base64.b64encode(f"{name}:{PASSWORDS[name]}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


async def start(world: World, *, users: bool = False, **console: Any) -> str:
    """Start a bridge with a `console` section, and perhaps passwords; gives the page of an incident."""
    if users:
        hashed = {
            name: bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode() for name, word in PASSWORDS.items()
        }
        file = world.folder / "web.yml"
        file.write_text(
            "basic_auth_users:\n" + "".join(f"  {name}: {text}\n" for name, text in hashed.items())
        )
        world.options["web_config_file"] = file
    world.config["console"] = console
    await world.start()
    headers = basic("carol") if users else {}
    posted = await world.post("/webhook", world.message(world.alert()), headers=headers)
    assert posted.status == 200
    await world.settled()
    listed = (await world.get("/api/v1/incidents", headers=headers)).json
    return f"/incidents/{listed['incidents'][0]['id']}"


class Visitor:
    """Looks at pages and sends their forms. `headers` go with every request, `prefix` before every path."""

    def __init__(self, world: World, prefix: str = "", **headers: str) -> None:
        self.world = world
        self.prefix = prefix
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.cookie = ""

    async def get(self, path: str) -> Answer:
        return await self._ask("GET", path, {})

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        return await self._ask("POST", path, headers, form)

    async def token(self, page: str) -> str:
        """The token in a page's forms, "" where it has none."""
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', (await self.get(page)).text)
        return found[1] if found else ""

    async def act(self, page: str, path: str, **form: str) -> Answer:
        """Send a form of a page."""
        return await self.post(path, {"csrf": await self.token(page), **form})

    async def _ask(self, method: str, path: str, headers: dict[str, str], form: Any = None) -> Answer:
        headers = self.headers | headers | ({"Cookie": self.cookie} if self.cookie else {})
        jar = aiohttp.DummyCookieJar()
        async with (
            aiohttp.ClientSession(cookie_jar=jar) as session,
            session.request(
                method, self.world.url + self.prefix + path, data=form, headers=headers, allow_redirects=False
            ) as response,
        ):
            for value in response.headers.getall("Set-Cookie", []):
                self.cookie = value.partition(";")[0]
            return Answer(response.status, response.headers, await response.read())
