"""A ledger that many phones and open incidents are in already."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bridge.alerts import Alert
from bridge.incidents import Episode, Incident, Slot
from bridge.store import Tx, open_store, rows
from bridge.store.tables import devices, episodes, incidents

_AT_ONCE: Final = 10_000


def fill(file: Path, size: int) -> None:
    """Write so many phones that enrolled, and as many open incidents of one alert each."""
    asyncio.run(_fill(file, size))


async def _fill(file: Path, size: int) -> None:
    now = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        store = await open_store(stack, f"sqlite:///{file}", lambda: now)

        async def write(tx: Tx) -> None:
            for table, made in ((devices, _phones), (incidents, _incidents), (episodes, _episodes)):
                for part in _parts(made(size, now)):
                    await tx.connection.execute(table.insert(), part)

        await store.write(write)


def _parts(all_: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for one in all_:
        part.append(one)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _phones(size: int, now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(size):
        yield {
            "name": f"person-{number}-iphone",
            "owner": f"person-{number}",
            "enrolled": True,
            "topic": "com.example.oncall",
            "environment": "production",
            "voip_token": f"f{number:063x}",
            "voip_registered_at": now,
            "alert_token": f"e{number:063x}",
            "alert_registered_at": now,
            "credential": f"{number:064x}",
            "enrolled_at": now,
            "silent_calls": 0,
        }


def _incident(number: int, now: datetime) -> Incident:
    labels = {
        "alertname": f"Alert{number}",
        "instance": f"api-{number}.example.com:9100",
        "severity": "critical",
    }
    alert = Alert(f"f{number:015x}", True, labels, {"summary": f"Something is wrong with api-{number}"}, now)
    stays = Episode(
        fingerprint=alert.fingerprint,
        labels=labels,
        annotations=alert.annotations,
        generator_url="http://prometheus.example.com:9090/graph",
        starts_at=now,
        expires_at=now + timedelta(days=1),
        opened_here_at=now,
        mentioned_at=now,
    )
    slot = Slot("default", "t0", (("alertname", labels["alertname"]), ("instance", labels["instance"])))
    return Incident(
        id=f"incident-{number}",
        slot=slot,
        opened_at=now,
        revision=1,
        series=1,
        ring=1,
        due_at=now + timedelta(days=1),
        alerts={alert.fingerprint: stays},
    )


def _incidents(size: int, now: datetime) -> Iterator[dict[str, Any]]:
    return (rows.incident_row(_incident(number, now)) for number in range(size))


def _episodes(size: int, now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(size):
        one = _incident(number, now)
        yield from (rows.episode_row(one.id, "default", stay) for stay in one.alerts.values())
