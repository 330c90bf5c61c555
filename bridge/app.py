"""The composition root: what is built from what, and in which order it starts and stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from bridge import console, keeper, tracing
from bridge.api.answers import errors
from bridge.api.devices import Devices
from bridge.api.drills import Drills
from bridge.api.explain import ExplainApi
from bridge.api.heartbeats import Heartbeats
from bridge.api.ledger import LedgerApi
from bridge.api.management import Management
from bridge.api.oncall import OnCallApi
from bridge.api.operations import Operations
from bridge.api.phone import PhoneApi, receipt_token
from bridge.api.tests import Tests
from bridge.api.webhook import Webhook
from bridge.clock import Clock
from bridge.config import ConfigError, Problem, Settings, load
from bridge.desk import Desk
from bridge.driller import Driller
from bridge.escalator import Escalator
from bridge.feeds import Feeds
from bridge.front import DRAIN, Front, guards, serve
from bridge.heartbeat import SignOfLife
from bridge.housekeeper import Housekeeper
from bridge.outgoing import Outgoing, client
from bridge.sealing import blinded
from bridge.sender import Phones, Sender
from bridge.senders import Senders
from bridge.status import Status
from bridge.store import Overloaded, StoreError, Topic, Tx, devices, secret
from bridge.telemetry import Metrics
from bridge.upstream import Upstream
from bridge.vitals import Vitals
from bridge.watcher import Watcher
from bridge.web import WebConfig
from bridge.wiring import device, open_ledger, transport

log = structlog.get_logger()

_AHEAD: Final = 1.0
"""Seconds that a start or a reload waits for the first connection to APNs."""


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of `serve`."""

    config_file: Path
    web_listen: Sequence[str] = (":9095",)
    web_config_file: Path | None = None
    phone_config_file: Path | None = None
    phone_listen: str = ":9096"
    phone_external_url: str | None = None
    heartbeat_url: str | None = None
    web_route_prefix: str = ""
    console_listen: str | None = None
    tracing: bool = False


@dataclass(slots=True)
class Bound:
    """Where the listeners are: filled in when they are bound, port 0 included."""

    web: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    phone: str = ""


class Bridge:
    """A running bridge. Use it as an async context manager; it stops backwards from how it started."""

    def __init__(
        self, options: Options, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        self.options = options
        self.settings = settings or load(options.config_file)
        self.web_config = WebConfig.load(options.web_config_file)
        self.phone_config = WebConfig.load(options.phone_config_file, tls_only=True)
        self.clock = clock or Clock()
        self.metrics = Metrics()
        self.bound = Bound()
        self.failed = asyncio.Event()
        self._stack = AsyncExitStack()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start: store, APNs, loops, listeners. Raises StoreError, ConfigError or OSError."""
        try:
            async with AsyncExitStack() as stack:
                await self._start(stack)
                self._stack = stack.pop_all()
        except SQLAlchemyError as error:  # it could be opened, but no more
            raise StoreError(
                f"cannot start on the ledger: {getattr(error, 'orig', None) or error}"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: no new requests, pushes in flight settle, the rest stays in the ledger."""
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        # The first to begin is the last to end: a collector that is away holds up no successor on the ledger.
        tracer = await tracing.begin(stack, wanted=self.options.tracing)
        self.store = await open_ledger(stack, self.settings.storage, self.clock)
        self.desk = Desk(self.store, self.settings, self.clock, self.metrics)
        self.desk.tracer = tracer
        await self._sync_devices(self.settings)
        key = await secret(self.store)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        outgoing = Outgoing(await stack.enter_async_context(client()))
        self.transport = transport(self.settings, self.clock.wall)
        await keeper.share(self.store, self.settings.apns, self.transport)
        self.feeds = Feeds(self.desk, session, self.clock, self.metrics, self._reloading)
        self.desk.settings = await self.feeds.equip(self.settings)
        stack.push_async_callback(self._close_transport)
        await self._connect_ahead()
        phone_listener = await self._phone_listener(stack, key)
        phones = Phones(
            self._phone_url(), lambda call_id: receipt_token(key, call_id), lambda name: blinded(key, name)
        )
        self.sender = Sender(self.desk, lambda: self.transport, phones, outgoing, self.clock, self.metrics)
        self.escalator = Escalator(self.desk, self.clock)
        self.watcher = Watcher(self.store, lambda: self.desk.settings, self.clock, self.metrics)
        self.upstream = Upstream(self.desk, session, self.clock, self.metrics)
        self.driller = Driller(self.store, lambda: self.desk.settings, self.clock, self.metrics)
        self.vitals = Vitals(
            self.store,
            self.sender,
            self.escalator,
            lambda: self.transport,
            self.feeds,
            self.watcher,
            self.upstream,
            self.driller,
            self.clock,
            self.metrics,
        )
        self.store.on(Topic.PAGES, self.sender.outlook.wake, self.sender.outlook.look)
        self.store.on(Topic.CLOCK, self.escalator.wake)
        self.store.on(Topic.SILENCES, self.upstream.silencer.wake)
        self.store.on(Topic.DRILLS, self.driller.changed)
        self.status = Status(
            self.store,
            self.sender,
            lambda: self.transport,
            lambda: self.settings,
            self.vitals,
            self.clock,
        )
        self._reloaded(ok=True)
        stack.push_async_callback(self.sender.drain)
        await self._loop(stack, "sender", self.sender.run())
        await self._loop(stack, "escalator", self.escalator.run())
        await self._loop(stack, "housekeeper", Housekeeper(self.desk, self.clock).run())
        await self._loop(stack, "calendars", self.feeds.run())
        await self._loop(stack, "watcher", self.watcher.run())
        await self._loop(stack, "silences", self.upstream.silencer.run())
        await self._loop(stack, "reconciler", self.upstream.reconciler.run())
        await self._loop(stack, "drills", self.driller.run())
        await self._loop(stack, "token", keeper.run(self.store, lambda: (self.settings.apns, self.transport)))
        if self.options.heartbeat_url:
            beat = SignOfLife(self.options.heartbeat_url, session, self.vitals.deaf, self.clock, self.metrics)
            await self._loop(stack, "heartbeat", beat.run())
        # Pushed last, unwound first: nothing new comes in while the rest stops.
        stack.push_async_callback(phone_listener.aclose)
        await self._web_listener(stack, key)
        log.info(
            "started", web=self.bound.web, phone=self.bound.phone, apns=self.settings.apns.url or "Apple"
        )

    async def _loop(self, stack: AsyncExitStack, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run a loop until the bridge stops; if it dies by itself the program ends: better than deaf."""
        task = asyncio.create_task(work, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                log.critical("a loop died", loop=name, error=repr(task.exception()))
                self.failed.set()

        task.add_done_callback(ended)

        async def stop() -> None:
            task.cancel()
            await asyncio.wait([task])  # raises nothing: what it died of is in the log

        stack.push_async_callback(stop)

    # --- listeners ---

    async def _web_listener(self, stack: AsyncExitStack, key: bytes) -> None:
        prefix = self.options.web_route_prefix
        parts = console.Parts(self.vitals.unready, self.vitals.apple, self.upstream.reconciler.silent)
        pages = console.make(self.desk, self.feeds, parts, key, self._phone_url, prefix)
        senders = await Senders.load(self.store)
        front = Front(self.desk, self.web_config, self.metrics, senders, prefix, pages.door.voucher)
        vitals = self.vitals
        operations = Operations(
            self.metrics, vitals.unready, vitals.standing, self.reload, vitals.observe, self.status.tell
        )
        devices = Devices(self.desk, self._phone_url)
        on_call, ledger = OnCallApi(self.desk, self.feeds), LedgerApi(self.desk)
        webhook = Webhook(self.desk, self.upstream.reconciler.news)
        more = (Heartbeats(self.desk), Tests(self.desk), Drills(self.desk), ledger, ExplainApi(self.desk))
        rooms = (webhook, operations, Management(self.desk), devices, on_call, *more)
        context = self.web_config.ssl_context()
        if self.options.console_listen:
            app = front.application([pages])
            self.bound.console += await serve(
                stack, app, [self.options.console_listen], context, guards(self.metrics, "console")
            )
            app = front.application(rooms)
        else:
            app = front.application((*rooms, pages))
        self.bound.web += await serve(
            stack, app, self.options.web_listen, context, guards(self.metrics, "web")
        )

    def _phone_url(self) -> str:
        return self.options.phone_external_url or self.bound.phone

    async def _phone_listener(self, stack: AsyncExitStack, key: bytes) -> AsyncExitStack:
        """Open the phones' listener. Gives what closes it: it must not wait for what starts later."""
        app = web.Application(middlewares=[errors])
        api = PhoneApi(self.desk, key, self._connect_soon)
        api.set_up(app)
        self.store.on(Topic.STORY, api.streams.wake)
        listener = await stack.enter_async_context(AsyncExitStack())
        (self.bound.phone,) = await serve(
            listener,
            app,
            [self.options.phone_listen],
            self.phone_config.ssl_context(),
            guards(self.metrics, "phone"),
        )
        return listener

    # --- reload ---

    async def reload(self) -> None:
        """Read the configuration and swap it as one. Raises ConfigError; then the old one stays."""
        async with self._reloading:
            try:
                await self._reload()
            except Exception as error:
                self._reloaded(ok=False)
                log.error("configuration not reloaded", problems=str(error).splitlines())  # noqa: TRY400
                raise

    async def _reload(self) -> None:
        new = await asyncio.to_thread(load, self.options.config_file)
        if (new.storage.url, new.storage.password) != (
            self.settings.storage.url,
            self.settings.storage.password,
        ):
            where = Problem(str(self.options.config_file), 1, 1, "storage.url", "a change takes a restart")
            raise ConfigError([where])
        # Whatever can fail comes before anything is swapped.
        fresh = transport(new, self.clock.wall) if new.apns != self.settings.apns else None
        if fresh is not None:
            await keeper.share(self.store, new.apns, fresh)
        clients = self.upstream.clients(new)
        self.web_config.reload()
        self.phone_config.reload()
        await self._sync_devices(new)
        equipped = await self.feeds.equip(new)
        if fresh is not None:
            before, self.transport = self.transport, fresh
            self._beside(before.close(DRAIN))  # its pushes end by themselves
        self.settings, self.desk.settings = new, equipped
        self.sender.configure()
        self.sender.misconfigured = None
        await self._connect_ahead()
        self._reloaded(ok=True)
        self.sender.outlook.wake()
        self.watcher.wake()
        self.upstream.use(clients)
        self.driller.wake()
        log.info("configuration reloaded", file=str(self.options.config_file))

    def _reloaded(self, *, ok: bool) -> None:
        self.metrics.reload_ok.set(ok)
        self.status.loaded(ok=ok)
        if ok:
            for problem in self.settings.exposed:
                log.warning("a secret is not kept from others", place=str(problem))
            if self.web_config.open and any(one.credentials for one in self.settings.sources.values()):
                hint = "sources have credentials, the listener has none: give serve --web.config.file"
                log.warning("the management API is open to everybody", hint=hint)
            self.metrics.reload_time.set(time.time())

    async def _sync_devices(self, settings: Settings) -> None:
        wanted = [device(settings, name) for name in settings.devices]

        async def job(tx: Tx) -> tuple[str, ...]:
            tx.tell(Topic.STORY)
            return await devices.sync(tx.connection, wanted, tx.now)

        for name in await self.store.write(job):
            log.warning(
                "device not taken from the configuration: a phone enrolled under its name", device=name
            )

    async def _connect_ahead(self) -> None:
        """Connect to APNs before the first page needs it; one that does not answer holds up nothing."""
        with suppress(TimeoutError, SQLAlchemyError):
            used = await self.store.read(devices.environments)
            async with asyncio.timeout(_AHEAD):
                await self.transport.start({self.settings.apns.environment, *used})

    def _connect_soon(self) -> None:
        """Connect for a phone that has just said of which environment its app is."""
        self._beside(self._connect_ahead())

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close_transport(self) -> None:
        with suppress(Overloaded, SQLAlchemyError):
            await keeper.share(self.store, self.settings.apns, self.transport)  # minted since the last look
        await self.transport.close(DRAIN)
        await asyncio.gather(*self._tasks)
