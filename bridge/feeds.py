"""The loop that reads the calendars of schedules again, and keeps the last one that could be read.

A calendar that cannot be read changes nothing but that it is called stale: who is on call by the last
good one is far better than nobody. That one is in the ledger too, for a restart without network.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError
from yarl import URL

from bridge import calendars
from bridge.calendars import Agenda, CalendarError
from bridge.clock import Clock
from bridge.config import Feed, Settings
from bridge.config.values import MAX_FILE, read_file
from bridge.desk import Desk
from bridge.schedules import AHEAD
from bridge.store import Overloaded, recall, remember
from bridge.telemetry import Metrics

log = structlog.get_logger()

_TIMEOUT: Final = 20.0
_REDIRECTS: Final = 5
_UNCHANGED: Final = 304
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


class FeedError(Exception):
    """A calendar cannot be fetched; the words are for people, and hold no URL: that may be a secret."""


class Validators(msgspec.Struct, frozen=True):
    """What the server said of the text, for it to say that nothing has changed."""

    etag: str = ""
    modified: str = ""

    def headers(self) -> dict[str, str]:
        """Give the request's headers."""
        known = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in known.items() if value}


class Reading(msgspec.Struct, frozen=True):
    """The last good reading: of which source, when, what it said. `digest` is the text's, in the ledger."""

    source: str
    read_at: datetime
    validators: Validators = Validators()
    text: str = ""
    digest: str = ""


@dataclass(slots=True)
class Kept:
    """What is known of one schedule's calendar. `problem` says why it could not be read the last time.

    `remembered` is the text that this run has put into the ledger.
    """

    feed: Feed
    since: datetime
    due: datetime
    reading: Reading | None = None
    agenda: Agenda | None = None
    remembered: str | None = None
    problem: str | None = None
    doubts: tuple[str, ...] = ()

    def stale(self, now: datetime) -> float:
        """Seconds since it was last read well; 0 while it can be read."""
        last = self.since if self.reading is None else self.reading.read_at
        return 0.0 if self.problem is None else max((now - last).total_seconds(), 0.0)


class Feeds:
    """Keeps `desk.settings` supplied with calendars. `lock` is held by whoever replaces those settings."""

    def __init__(
        self, desk: Desk, session: aiohttp.ClientSession, clock: Clock, metrics: Metrics, lock: asyncio.Lock
    ) -> None:
        self._desk = desk
        self._session = session
        self._clock = clock
        self._metrics = metrics
        self._lock = lock
        self._wake = asyncio.Event()
        self.kept: dict[str, Kept] = {}

    async def equip(self, settings: Settings) -> Settings:
        """Give new settings the calendars that are known, and have all of them read again at once.

        A file that was read with the configuration is newer than what is known of it.
        """
        kept = {name: await self._known(name, feed) for name, feed in settings.feeds.items()}
        found: dict[str, Agenda] = {}
        for name, one in kept.items():
            if settings.schedules[name].calendar is None and one.reading is not None:
                with suppress(FeedError):  # an older version of the bridge could read it
                    found[name] = await self._understand(name, one, one.reading.text, settings)
        self.kept = kept
        self._wake.set()
        return settings.with_calendars(found)

    async def _known(self, name: str, feed: Feed) -> Kept:
        now = self._clock.now()
        kept = self.kept.get(name)
        if kept is None or _source(kept.feed) != _source(feed):
            return Kept(feed, now, now, await self._recall(name, feed))
        kept.feed, kept.due = feed, now
        return kept

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock.now()
            due = [self._refresh(name, kept) for name, kept in self.kept.items() if kept.due <= now]
            await asyncio.gather(*due)
            if self.kept:
                await self._clock.wait(self._wake, min(kept.due for kept in self.kept.values()))
            else:
                await self._wake.wait()

    def observe(self) -> None:
        """Bring the gauge up to date."""
        self._metrics.stale.clear()
        for name, kept in self.kept.items():
            self._metrics.stale.labels(name).set(kept.stale(self._clock.now()))

    def status(self, name: str) -> dict[str, Any] | None:
        """Say how it stands with a schedule's calendar; None where it goes by none."""
        kept = self.kept.get(name)
        if kept is None:
            return None
        return {
            "read_at": kept.reading and kept.reading.read_at,
            "stale_seconds": round(kept.stale(self._clock.now())),
            "problem": kept.problem,
            "doubts": kept.doubts,
        }

    async def _refresh(self, name: str, kept: Kept) -> None:
        """Read one calendar again. Raises nothing."""
        kept.due = self._clock.now() + kept.feed.refresh
        try:
            await self._take(name, kept, await self._read(kept))
        except FeedError as error:
            kept.problem = str(error)
        except Exception as error:
            kept.problem = f"the bridge failed: {type(error).__name__}"
            log.exception("a calendar was not taken in", schedule=name)
        if kept.problem is not None:
            seconds = round(kept.stale(self._clock.now()))
            log.warning("calendar not read", schedule=name, problem=kept.problem, stale_seconds=seconds)

    async def _read(self, kept: Kept) -> Reading:
        source, now = _source(kept.feed), self._clock.now
        known = kept.reading or Reading(source, now())
        fetched = await get(self._session, kept.feed, known.validators)
        if fetched is None:
            return msgspec.structs.replace(known, read_at=now())
        return Reading(source, now(), *fetched)

    async def _take(self, name: str, kept: Kept, reading: Reading) -> None:
        """Let what was read count from now on. Raises FeedError where it is no calendar."""
        async with self._lock:
            if self.kept.get(name) is not kept:  # a reload has taken another calendar for this schedule
                return
            settings = self._desk.settings
            agenda = await self._understand(name, kept, reading.text, settings)
            self._desk.settings = settings.with_calendars({name: agenda})
        changed = kept.reading is None or kept.reading.text != reading.text
        if kept.problem is not None or changed:
            log.info("calendar read", schedule=name, doubts=list(kept.doubts))
        kept.reading, kept.problem = reading, None
        with suppress(Overloaded, SQLAlchemyError):  # after the next reading it is tried again
            await self._remember(name, kept, reading)

    async def _understand(self, name: str, kept: Kept, text: str, settings: Settings) -> Agenda:
        """Read a text, and expand the coming weeks of it here, where that holds nobody up."""
        zone, people, now = settings.schedules[name].zone, settings.spellings, self._clock.now()
        before = kept.agenda

        def work() -> tuple[Agenda, tuple[str, ...]]:
            same = before and (before.text, before.zone, before.people) == (text, zone, people)
            agenda = before if before and same else parse(text, zone, people)
            return agenda, agenda.doubts(now, now + AHEAD)

        kept.agenda, kept.doubts = done = await asyncio.to_thread(work)
        return done[0]

    # --- over a restart ---

    async def _remember(self, name: str, kept: Kept, reading: Reading) -> None:
        """Keep the text where it is another one; and the rest, which is small, each time."""
        if kept.remembered != reading.text:
            await remember(self._desk.store, f"calendar {name}", reading.text)
            kept.remembered = reading.text
        rest = msgspec.structs.replace(reading, text="", digest=_digest(reading.text))
        await remember(self._desk.store, f"calendar {name} read", msgspec.json.encode(rest).decode())

    async def _recall(self, name: str, feed: Feed) -> Reading | None:
        """Give the last good reading of an earlier run, if it was of this source."""
        with suppress(SQLAlchemyError, msgspec.MsgspecError):  # without it, the bridge still starts
            text = await recall(self._desk.store, f"calendar {name}")
            rest = await recall(self._desk.store, f"calendar {name} read")
            reading = None if rest is None else msgspec.json.decode(rest, type=Reading)
            if text is not None and reading is not None and reading.source == _source(feed):
                # The two are written one after the other. "Unchanged" must never be said of another text.
                same = reading.digest == _digest(text)
                validators = reading.validators if same else Validators()
                return msgspec.structs.replace(reading, text=text, validators=validators)
        return None


def _source(feed: Feed) -> str:
    """Name a source without telling it: the URL may be a secret."""
    text = f"url {feed.url.reveal()}" if feed.url else f"file {feed.file}"
    return _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file(path: Path | None) -> str:
    try:
        return read_file(str(path), Path())
    except ValueError as error:
        raise FeedError(str(error)) from None


def parse(text: str, zone: tzinfo | None, people: Mapping[str, str]) -> Agenda:
    """Read a text, as calendars.read does. Raises FeedError."""
    try:
        return calendars.read(text, zone, people)
    except CalendarError as error:
        raise FeedError(f"it {error}") from None


async def get(session: aiohttp.ClientSession, feed: Feed, known: Validators) -> tuple[Validators, str] | None:
    """Get a calendar's text; None: it is still the one that `known` tells of. Raises FeedError."""
    if feed.url is not None:
        return await _fetch(session, feed.url.reveal(), known)
    return Validators(), await asyncio.to_thread(_file, feed.file)


async def _fetch(
    session: aiohttp.ClientSession, url: str, known: Validators
) -> tuple[Validators, str] | None:
    """GET a calendar, at most 1 MiB within 20 s, as `get`."""
    try:
        async with asyncio.timeout(_TIMEOUT), _following(session, URL(url, encoded=True), known) as response:
            if response.status == _UNCHANGED and known.headers():
                return None
            if response.status != 200:
                raise FeedError(f"the server answered {response.status}")
            said = response.headers
            validators = Validators(said.get("ETag", ""), said.get("Last-Modified", ""))
            return validators, (await _body(response)).decode()
    except TimeoutError:
        raise FeedError("the server did not answer in time") from None
    except UnicodeDecodeError:
        raise FeedError("it is not UTF-8 text") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Not the error's text: it can hold the URL, and the URL can hold a secret.
        raise FeedError(f"the server cannot be reached: {type(error).__name__}") from None


@asynccontextmanager
async def _following(
    session: aiohttp.ClientSession, url: URL, known: Validators
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Follow a few redirects on the same host: no server that we ask chooses whom else we ask."""
    headers = {"Accept": "text/calendar", **known.headers()}
    for _ in range(_REDIRECTS):
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status not in _MOVED:
                yield response
                return
            to = url.join(URL(response.headers.get("Location", ""), encoded=True))
        if to.host != url.host or to.port not in {url.port, 443} or to.scheme not in {url.scheme, "https"}:
            raise FeedError("the server leads to another one, which is not followed: give that one's URL")
        url = to
    raise FeedError("the server leads on and on")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_FILE:
            raise FeedError("it is larger than 1 MiB")
    return bytes(body)
