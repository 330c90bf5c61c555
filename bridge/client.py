"""The commands' way to a running bridge: its management API, never its database (rule 9)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from bridge.texts import one_line

_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
_LONGEST: Final = 1000
"""Bytes of what the bridge says was wrong."""
# Which command lists what is below a path.
_LISTS: Final = {
    "/api/v1/incidents/": "incidents list",
    "/api/v1/ledger/incidents/": "incidents list",
    "/api/v1/explain": "incidents list",
    "/api/v1/devices/": "devices list",
    "/api/v1/overrides/": "oncall show",
    "/api/v1/drills/": "drills list",
}


class ClientError(Exception):
    """The bridge cannot be asked, or said no; the text is for people."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: who signed the bridge's certificate (None: a public CA), and the client's own certificate.

    Without `key_file` the key stands in `cert_file` too.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class Client:
    """Asks one bridge. Raises ClientError."""

    def __init__(self, url: str, token_file: Path | None, tls: Tls = Tls()) -> None:
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
        if tls != Tls() and parsed.scheme != "https":
            raise ClientError("a CA or a client certificate needs https:// in the bridge's URL")
        self._ssl = _context(tls)
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
                session.request(method, url, ssl=self._ssl, allow_redirects=False) as response,
            ):
                body = await response.read()
        except TimeoutError:
            raise ClientError(f"{self._base} did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ClientError(f"cannot reach the bridge at {self._base}: {error}") from None
        if 300 <= response.status < 400:
            raise ClientError(f"{self._base} answered {response.status}: give the address that it leads to")
        if response.status >= 400:
            raise ClientError(
                f"{self._base} answered {response.status}: {_said(body, _hint(response.status, path))}"
            )
        return body


def _context(tls: Tls) -> ssl.SSLContext | bool:
    """Read the files; True = as aiohttp does without any."""
    if tls == Tls():
        return True
    if tls.key_file and not tls.cert_file:
        raise ClientError(f"{tls.key_file} needs its certificate beside it: give the cert-file too")
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise ClientError(f"cannot use {tls.ca_file} as a CA: {error}") from None
    if tls.cert_file:
        try:
            # An empty password: OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except OSError as error:
            files = " and ".join(str(file) for file in (tls.cert_file, tls.key_file) if file)
            raise ClientError(f"cannot use {files} as a client certificate with its key: {error}") from None
    return context


def _hint(status: int, path: str) -> str:
    """Say what to do at a terminal, where the bridge's own hint is for Alertmanager or for HTTP."""
    if status == 401:
        return "give --bridge.token-file, or user:password@ in --bridge.url"
    lists = (command for start, command in _LISTS.items() if status == 404 and path.startswith(start))
    return "".join(f"`pushkit-bridge {command}` shows them" for command in lists)


def _said(body: bytes, hint: str) -> str:
    try:
        said = orjson.loads(body)
        error, hint = said["error"], hint or said.get("hint", "")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        error = body[:200].decode(errors="replace")
    # Whatever answers there may not be a bridge: none of it moves the terminal's cursor.
    return one_line(f"{error} ({hint})" if hint else str(error), _LONGEST)


def _read(file: Path) -> str:
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"cannot read {file}: {error}") from None
    if not token or not token.isprintable() or " " in token:
        raise ClientError(f"{file} does not hold a token alone")
    return token
