"""The commands' way to a running bridge: its management API, never its database (rule 9)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)


class ClientError(Exception):
    """The bridge cannot be asked, or said no; the text is for people."""


class Client:
    """Asks one bridge. Raises ClientError."""

    def __init__(self, url: str, token_file: Path | None) -> None:
        try:
            parsed = URL(url)
        except ValueError:
            raise ClientError(f"{url!r} is not a URL") from None
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ClientError(f"{url!r} is not http://HOST:PORT or https://HOST:PORT")
        self._auth = aiohttp.BasicAuth(parsed.user, parsed.password or "") if parsed.user else None
        self._base = parsed.with_user(None)
        self._headers = {} if token_file is None else {"Authorization": f"Bearer {_read(token_file)}"}

    async def ask(self, method: str, path: str, query: Mapping[str, str]) -> Any:
        """Ask for JSON."""
        return orjson.loads(await self.text(method, path, query))

    async def text(self, method: str, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Ask for a body."""
        url = self._base.join(URL(path)).update_query(query or {})
        try:
            async with (
                aiohttp.ClientSession(auth=self._auth, headers=self._headers, timeout=_TIMEOUT) as session,
                session.request(method, url) as response,
            ):
                body = await response.read()
        except TimeoutError:
            raise ClientError(f"{self._base} did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ClientError(f"cannot reach the bridge at {self._base}: {error}") from None
        if response.status >= 400:
            raise ClientError(f"{self._base} answered {response.status}: {_said(body)}")
        return body


def _said(body: bytes) -> str:
    try:
        said = orjson.loads(body)
        hint = f" ({said['hint']})" if said.get("hint") else ""
        return f"{said['error']}{hint}"
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return body[:200].decode(errors="replace")


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"cannot read {file}: {error}") from None
