"""The ledgers that the store's tests run against: each backend is one class here, and one name in BACKENDS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakSet

from builders import NOW, at, make_alert, step
from msgspec.structs import replace
from sqlalchemy import Table, event, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import pgserver
from bridge.bundles import Bundle
from bridge.incidents import Change, Episode, Incident, Page, Slot, State, make_page, stable_id
from bridge.lifecycle import Times
from bridge.store import Scope, Store, Topic, Tx, audit, devices, engine, open_store, outbox
from bridge.store.devices import Device
from bridge.store.postgres import Postgres
from bridge.store.windows import Finding, Span

ALICE, BOB = "alice-iphone", "bob-iphone"
GAP = timedelta(seconds=30)
LEASE = timedelta(seconds=15)


class Sqlite:
    """A ledger in a file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bridge.db"
        self.url = f"sqlite:///{self.path}"

    def engine(self) -> AsyncEngine:
        """Connections that share nothing with the store's: they see what is committed, and no more."""
        return engine.open_engine(self.path, writer=False)


class PostgreSql:
    """A ledger in a database of the tests' server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def engine(self) -> AsyncEngine:
        """As Sqlite's."""
        return Postgres(self.url, None).engine(writer=False)


Backend: TypeAlias = Sqlite | PostgreSql

BACKENDS = ("sqlite", "postgresql")


@contextmanager
def ledger(name: str, folder: Path) -> Iterator[Backend]:
    """Lend an empty ledger of this kind."""
    if name == "sqlite":
        yield Sqlite(folder)
        return
    with pgserver.shared().ledger() as url:
        yield PostgreSql(url)


class Look:
    """What somebody sees who opens the ledger beside the store."""

    def __init__(self, other: AsyncEngine) -> None:
        self.engine = other

    async def rows(self, table: Table, **where: Any) -> list[dict[str, Any]]:
        """Give the rows of a table whose columns have these values."""
        query = select(table).where(*(table.c[name] == value for name, value in where.items()))
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def row(self, table: Table, **where: Any) -> dict[str, Any]:
        """Give the only one."""
        (found,) = await self.rows(table, **where)
        return found


class Transactions:
    """Counts what the store's writer does, and lets it go wrong on request."""

    def __init__(self, store: Store) -> None:
        self.log: list[str] = []
        self.failing: dict[str, list[Exception]] = {"begin": [], "commit": []}
        for name in ("begin", "commit", "rollback"):
            event.listen(store._writer._engine.sync_engine, name, self._hook(name))

    def _hook(self, name: str) -> Any:
        def happened(_: Any) -> None:
            if self.failing.get(name):
                raise self.failing[name].pop()
            self.log.append(name)

        return happened

    def count(self, name: str) -> int:
        return self.log.count(name)


async def release(store: Store) -> None:
    """Let go of every lease: whoever took them is gone."""

    async def job(tx: Tx) -> None:
        await outbox.release(tx.connection, tx.now)
        tx.tell(Topic.PAGES)

    await store.write(job)


def on_any(store: Store, hook: Callable[[datetime], None]) -> None:
    """Have it called for each topic."""
    for topic in Topic:
        store.on(topic, hook)


def one_statement_each(store: Store) -> None:
    """Have a second statement of `Store.ask` fail: it would see another state of the ledger than the first."""
    alone = store._reader.sync_engine
    asked: WeakSet[Any] = WeakSet()

    def execute(connection: Any, *_: Any) -> None:
        if connection.engine is alone:  # not that of the snapshots, who share its connections
            assert connection not in asked, "a query of several statements is for Store.read"
            asked.add(connection)

    event.listen(alone, "before_cursor_execute", execute)


@asynccontextmanager
async def opened(backend: Backend, now: Any) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        store = await open_store(stack, backend.url, now)
        one_statement_each(store)
        yield store


async def verify(store: Store, since: datetime = NOW, until: datetime | None = None) -> list[Finding]:
    """Audit a ledger from one end to the other; by default, all of the story."""
    now = store._now()
    found: list[Finding] = []
    after: str | None = ""
    while after is not None:
        one = await audit.verify(store.read, Span(since, until or now, now), after)
        found += one.findings
        after = one.next
    return found


# --- nouns ------------------------------------------------------------------------------------


def slot(name: str = "DiskFull", receiver: str = "platform", source: str = "default") -> Slot:
    return Slot(source, receiver, (("alertname", name),))


def episode(name: str = "DiskFull", **fields: Any) -> Episode:
    alert = make_alert(name)
    known = {"fingerprint": alert.fingerprint, "labels": alert.labels, "annotations": {}, "generator_url": ""}
    return Episode(**(known | {"starts_at": NOW, "expires_at": NOW + Times().alert_ttl} | fields))


def incident(name: str = "DiskFull", *episodes: Episode, **fields: Any) -> Incident:
    """An incident that was triggered at NOW by one alert of its name; `at_slot` where it is another."""
    place = fields.pop("at_slot", None) or slot(name)
    alerts = {one.fingerprint: one for one in (episodes or (episode(name),))}
    known = {"id": stable_id("incident", repr(place)), "opened_at": NOW, "revision": 1, "series": 1}
    return Incident(slot=place, alerts=alerts, **(known | {"ring": 1, "due_at": at(45)} | fields))


def resolved(one: Incident, seconds: float = 10) -> Incident:
    ended = {
        name: replace(alert, status="resolved", ended_at=at(seconds), ended_here_at=at(seconds))
        for name, alert in one.alerts.items()
    }
    return replace(
        one, state=State.RESOLVED, resolved_at=at(seconds), resolution="resolved", due_at=None, alerts=ended
    )


def page(of: Incident, target: str = ALICE, *, kind: Any = "ring", due: float = 0, **fields: Any) -> Page:
    """A page for a ring every 45 s that lasts 30 s; a webhook's is tried for an hour."""
    lasts = 3600 if kind == "webhook" else 45
    return replace(
        make_page(of, step("platform", every=45), kind, target, at(due), at(due + lasts)), **fields
    )


def opening(*opened: Incident, pages: Iterable[Page] = ()) -> Any:
    """A decision that puts these incidents there, with these pages, whatever is there already."""
    by_incident: dict[str, list[Page]] = {}
    for one in pages:
        by_incident.setdefault(one.incident_id, []).append(one)

    def decide(*_: Any) -> Sequence[Change]:
        return [Change(one, tuple(by_incident.get(one.id, ()))) for one in opened]

    return decide


def device(name: str = ALICE, **fields: Any) -> Device:
    """A phone with both tokens, owned by what its name begins with."""
    known = {"owner": name.partition("-")[0], "topic": "com.example.oncall", "environment": "production"}
    tokens = {"voip_token": f"{name}-voip", "alert_token": f"{name}-alert"}
    return Device(**({"name": name} | known | tokens | fields))


# --- jobs -------------------------------------------------------------------------------------


async def put(store: Store, *opened: Incident, pages: Iterable[Page] = ()) -> None:
    """Have incidents and pages in the ledger."""
    await store.update(Scope(ids=tuple(one.id for one in opened)), opening(*opened, pages=pages))


async def sync(store: Store, *wanted: Device) -> None:
    async def job(tx: Tx) -> None:
        tx.tell(Topic.STORY)
        await devices.sync(tx.connection, wanted, tx.now)

    await store.write(job)


async def claim(store: Store) -> outbox.Claim:
    return await store.write(lambda tx: outbox.claim(tx.connection, tx.now, LEASE, GAP))


async def settle(store: Store, bundle: Bundle, outcome: str = "accepted", reason: str | None = None) -> Any:
    return await store.write(lambda tx: outbox.settle(tx.connection, bundle, outcome, reason, tx.now))


async def accept(store: Store, bundle: Bundle) -> None:
    """Let APNs take it: its pages are settled, and its call is live."""

    async def job(tx: Tx) -> None:
        tx.tell(Topic.STORY)
        await outbox.settle(tx.connection, bundle, "accepted", None, tx.now)
        if bundle.call is not None:
            await outbox.accept_call(tx.connection, bundle.call, tx.now, None)

    await store.write(job)
