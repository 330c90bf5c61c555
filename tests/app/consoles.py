"""A browser's part at the console, for the tests: a session, and forms with their token."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
from appworld import Answer, World

PAGES = ("/", "/incidents", "/phones", "/oncall", "/explain")


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
