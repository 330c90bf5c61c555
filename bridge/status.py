"""What `/-/status` says: how each part of a running bridge is, for people and scripts. No secret is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from bridge import __version__
from bridge.apns import Transport
from bridge.clock import Clock
from bridge.config import Settings
from bridge.sender import Sender
from bridge.store import Store, postgres
from bridge.texts import rfc3339
from bridge.vitals import Vitals


class Status:
    """Looks at the parts. `transport` and `settings` may be others after a reload."""

    def __init__(
        self,
        store: Store,
        sender: Sender,
        transport: Callable[[], Transport],
        settings: Callable[[], Settings],
        vitals: Vitals,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sender = sender
        self._transport = transport
        self._settings = settings
        self._vitals = vitals
        self._clock = clock
        self._started_at = self._loaded_at = clock.now()
        self._loads_well = True

    def loaded(self, *, ok: bool) -> None:
        """Note that the configuration was read, or could not be."""
        self._loads_well = ok
        if ok:
            self._loaded_at = self._clock.now()

    async def tell(self) -> dict[str, Any]:
        """Give the parts by name; `problems` are why it is not ready, or withholds its sign of life."""
        settings, transport = self._settings(), self._transport()
        unready = await self._vitals.unready()
        return {
            "version": __version__,
            "now": rfc3339(self._clock.now()),
            "started_at": rfc3339(self._started_at),
            "ready": not unready,
            "config": {
                "file": str(settings.path),
                "loaded_at": rfc3339(self._loaded_at),
                "last_load_successful": self._loads_well,
            },
            "encryption": settings.encryption,
            "storage": {"url": postgres.shown(settings.storage.url), "writes_waiting": self._store.waiting},
            "apns": {
                "usable": transport.usable and not self._sender.misconfigured,
                "connections": transport.open_connections,
                "topic": settings.apns.topic,
                "refused": self._sender.misconfigured,
                "last_error": transport.last_error,
            },
        } | await self._counted(unready)

    async def _counted(self, unready: Sequence[str]) -> dict[str, Any]:
        """Give what only the ledger knows: all of it null where that does not answer."""
        try:
            stats, deaf = await self._store.stats(), await self._vitals.deaf()
        except (SQLAlchemyError, OSError) as error:
            problem = f"the ledger cannot be read: {type(error).__name__}"
            return {"problems": [*unready, problem], "pages": None, "incidents": None, "devices": None}
        return {
            "problems": list(dict.fromkeys([*unready, *deaf])),
            "pages": {"by_state": dict(stats.pages), "overdue": stats.overdue},
            "incidents": {"by_state": dict(stats.incidents), "unanswered": stats.unanswered},
            "devices": {
                "trouble": dict(stats.troubled),
                "doubtful": dict(stats.doubtful),
                "without_key": stats.bare,
            },
        }
