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
        # The URL is not repeated: it may hold a password.
        try:
            parsed = URL(url)
            basic = aiohttp.encode_basic_auth(parsed.user, parsed.password or "") if parsed.user else None
        except ValueError:
            raise ClientError("the bridge's URL cannot be read; write http://HOST:PORT") from None
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ClientError("the bridge's URL is not http://HOST:PORT or https://HOST:PORT")
        if basic and token_file:
            raise ClientError("give the bridge either a token file, or a user in its URL")
        authorization = f"Bearer {_read(token_file)}" if token_file else basic
        self._base = parsed.with_user(None).with_query(None).with_fragment(None)
        self._headers = {"Authorization": authorization} if authorization else {}

    async def ask(self, method: str, path: str, query: Mapping[str, str]) -> Any:
        """Ask for JSON; the rest as for `text`."""
        body = await self.text(method, path, query)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise ClientError(f"{self._base} does not answer as a bridge: is this its address?") from None

    async def text(self, method: str, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Ask for a body; `path` is quoted already, and below that of the bridge's URL, if it has one."""
        url = URL(f"{str(self._base).rstrip('/')}{path}", encoded=True).update_query(query or {})
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT) as session,
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
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"cannot read {file}: {error}") from None
    if not token or not token.isprintable() or " " in token:
        raise ClientError(f"{file} does not hold a token alone")
    return token
