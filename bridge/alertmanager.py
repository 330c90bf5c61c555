"""Alertmanager's own API, version 2: what it knows of alerts and silences. HTTP, and nothing remembered.

Source: prometheus/alertmanager, api/v2/openapi.yaml and api/v2/api.go; seen with 0.25.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

import aiohttp
import msgspec
from yarl import URL

from bridge.alerts import Alert, timestamp
from bridge.presence import Answer
from bridge.silences import Post, Standing

T = TypeVar("T")

TIMEOUT: Final = 10.0
"""Seconds for one request."""

_LARGEST: Final = 64 << 20
_HINTS: Final = {
    401: "check basic_auth or authorization under alertmanager in the configuration",
    403: "check basic_auth or authorization under alertmanager in the configuration",
    404: "check the path in alertmanager.url; Alertmanager's own is --web.route-prefix",
}


class AlertmanagerError(Exception):
    """Alertmanager did not do it; the words are for people, and hold no URL: that may be a secret."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where an Alertmanager is, each address being one of the same cluster, and how to be let in.

    `urls` have the external path, and no slash at the end. `headers` hold the credentials. `tls` None:
    the system's authorities are trusted; `server_name` is whom the certificate must be made out to
    where that is not the URL's host.
    """

    urls: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


class _Cluster(msgspec.Struct):
    uptime: str


class _State(msgspec.Struct, rename="camel"):
    state: str
    muted_by: list[str] = []


class _Alert(msgspec.Struct, rename="camel"):
    fingerprint: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    starts_at: str = ""
    generator_url: str = msgspec.field(name="generatorURL", default="")
    status: _State = msgspec.field(default_factory=lambda: _State("unprocessed"))


class _Group(msgspec.Struct):
    alerts: list[_Alert]


class _Matcher(msgspec.Struct, rename="camel"):
    name: str
    value: str
    is_regex: bool
    is_equal: bool = True


class _Silence(msgspec.Struct, rename="camel"):
    id: str
    status: _State
    matchers: list[_Matcher]
    starts_at: str
    ends_at: str
    created_by: str
    comment: str


class _Posted(msgspec.Struct):
    id: str = msgspec.field(name="silenceID")


class Alertmanager:
    """One Alertmanager, or a cluster that has several addresses."""

    def __init__(self, session: aiohttp.ClientSession, access: Access) -> None:
        self._session = session
        self._access = access

    # --- silences ---

    async def silences(self, turn: int) -> list[Standing]:
        """List the silences that are not over. Of several addresses the `turn`-th is asked, round and round.

        Raises AlertmanagerError, as all of these do.
        """
        found = await self._ask(list[_Silence], self._url(turn), "GET", "silences")
        return [_standing(one) for one in found if one.status.state != "expired"]

    async def post(self, turn: int, wanted: Post) -> str:
        """Make a silence, or change one; gives its id."""
        body = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False, "isEqual": True}
                for name, value in wanted.matchers.items()
            ],
            "startsAt": wanted.starts_at,
            "endsAt": wanted.ends_at.isoformat(),
            "createdBy": wanted.created_by,
            "comment": wanted.comment,
        } | ({} if wanted.id is None else {"id": wanted.id})
        return (await self._ask(_Posted, self._url(turn), "POST", "silences", body)).id

    async def end(self, turn: int, silence_id: str) -> None:
        """End a silence that stands."""
        await self._ask(None, self._url(turn), "DELETE", f"silence/{silence_id}")

    def _url(self, turn: int) -> str:
        return self._access.urls[turn % len(self._access.urls)]

    # --- alerts ---

    async def answer(self, *, alerts: bool, named: Collection[str] = ()) -> tuple[Answer | None, str | None]:
        """Ask every address since when it runs and, if wanted, for all its alerts, the silenced ones too.

        `named` are the fingerprints of those that are wanted whole, if they are active. Gives what the
        addresses that answered said together, None where none did, and what went wrong. Before 0.28
        Alertmanager tells nobody what its time intervals mute.
        """
        fingerprints: set[str] = set()
        active: dict[str, Alert] = {}
        started: list[datetime] = []
        problem: str | None = None
        for url in self._access.urls:
            try:
                started.append(await self._started_at(url))
                found = await self._alerts(url) if alerts else []
                fingerprints.update(one.fingerprint for one in found)
                wanted = {one.fingerprint: _alert(one) for one in found if _wanted(one, named)}
                heard = await self._unmuted(url) if wanted else frozenset()
                active |= {name: alert for name, alert in wanted.items() if name in heard}
            except AlertmanagerError as error:
                problem = str(error)
        if not started:
            return None, problem
        return Answer(frozenset(fingerprints), problem is None, max(started), active), problem

    async def _started_at(self, url: str) -> datetime:
        status = await self._ask(_Cluster, url, "GET", "status")
        return _time(status.uptime)

    async def _alerts(self, url: str) -> list[_Alert]:
        query = "alerts?active=true&silenced=true&inhibited=true&unprocessed=true"
        return await self._ask(list[_Alert], url, "GET", query)

    async def _unmuted(self, url: str) -> frozenset[str]:
        """Give the active alerts that some group has and no time interval mutes there: groups alone tell."""
        query = "alerts/groups?active=true&silenced=false&inhibited=false"
        groups = await self._ask(list[_Group], url, "GET", query)
        return frozenset(
            one.fingerprint for group in groups for one in group.alerts if not one.status.muted_by
        )

    # --- HTTP ---

    async def _ask(
        self, kind: type[T] | None, url: str, method: str, path: str, body: Any | None = None
    ) -> T:
        access = self._access
        options: dict[str, Any] = {"ssl": True if access.tls is None else access.tls}
        if access.server_name is not None:
            options["server_hostname"] = access.server_name
        try:
            async with self._session.request(
                method,
                URL(f"{url}/api/v2/{path}", encoded=True),
                json=body,
                headers=access.headers,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
                allow_redirects=False,
                **options,
            ) as response:
                if response.status != 200:
                    raise AlertmanagerError(_refusal(response.status))
                return _decoded(await _body(response), kind)
        except TimeoutError:
            raise AlertmanagerError("it did not answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Not the error's text: it can hold the URL, and the URL can hold a secret.
            raise AlertmanagerError(f"it cannot be reached: {type(error).__name__}") from None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > _LARGEST:
            raise AlertmanagerError("its answer is larger than 64 MiB")
    return bytes(body)


def _decoded(body: bytes, kind: type[T] | None) -> T:
    """Understand an answer; kind None: whatever it is."""
    try:
        return msgspec.json.decode(body, type=kind) if kind is not None else None  # type: ignore[return-value]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise AlertmanagerError("its answer is not Alertmanager's") from None


def _refusal(status: int) -> str:
    hint = _HINTS.get(status)
    return f"it answered {status}" + (f"; {hint}" if hint else "")


def _time(text: str) -> datetime:
    found = timestamp(text)
    if found is None:
        raise AlertmanagerError("its answer is not Alertmanager's")
    return found


def _wanted(one: _Alert, named: Collection[str]) -> bool:
    return one.fingerprint in named and one.status.state == "active"


def _alert(one: _Alert) -> Alert:
    return Alert(
        one.fingerprint,
        firing=True,
        labels=one.labels,
        annotations=one.annotations,
        starts_at=_time(one.starts_at),
        generator_url=one.generator_url,
    )


def _standing(one: _Silence) -> Standing:
    plain = all(matcher.is_equal and not matcher.is_regex for matcher in one.matchers)
    matchers = {matcher.name: matcher.value for matcher in one.matchers} if plain else None
    return Standing(one.id, matchers, one.starts_at, _time(one.ends_at), one.created_by, one.comment)


Alertmanagers: TypeAlias = Callable[[], Mapping[str, Alertmanager]]
"""Gives those that are configured now, by name."""
