"""What a phone says back to the bridge, over the bridge's own phone protocol (version 1)."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import chain, repeat
from typing import Any, Final, Literal, TypeAlias

import aiohttp
import structlog

from bridge.simulator.agenda import Agenda
from bridge.simulator.network import Network

ReceiptKind: TypeAlias = Literal["received", "answered", "declined", "failed"]
RETRY_AFTER: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)  # seconds; the last one again and again
PATIENCE: Final = timedelta(minutes=5)  # after the call's end: by then others have been rung
TOO_MANY: Final = HTTPStatus.TOO_MANY_REQUESTS
_SECONDS: Final = re.compile("[0-9]{1,4}")
_log = structlog.get_logger()


@dataclass(slots=True)
class Receipt:
    """One receipt. `attempts` counts posts, `status` is the bridge's last answer, None without one.

    `expires_at` is when its call ends by itself.
    """

    kind: ReceiptKind
    call_uuid: str
    url: str
    token: str = field(repr=False)
    at: datetime
    expires_at: datetime
    error_code: int | None = None
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: int | None = None
    attempts: int = 0

    @property
    def accepted(self) -> bool:
        """Tell whether the bridge has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Tell whether the bridge's answer stands: all but a 5xx and 429 do."""
        return self.status is not None and self.status < 500 and self.status != TOO_MANY

    @property
    def body(self) -> dict[str, Any]:
        """Give what is posted."""
        fields: dict[str, Any] = {"event_id": self.event_id, "receipt": self.kind, "at": self.at.isoformat()}
        return fields if self.error_code is None else fields | {"error_code": self.error_code}


class Courier:
    """Posts receipts. Tries again, with the same event id, where the network or the bridge failed.

    `retry_after` are the pauses in seconds between the attempts, by the agenda's clock, and the end of
    them that of the attempts; None: as docs/phone-protocol.md has it, until PATIENCE is at its end.
    """

    def __init__(self, agenda: Agenda, network: Network, retry_after: Sequence[float] | None = None) -> None:
        self.network = network
        self._agenda = agenda
        self._retry_after = retry_after

    async def deliver(
        self, receipt: Receipt, app_runs: Callable[[], bool], online: Callable[[], bool]
    ) -> None:
        """Post one receipt, with retries while the app runs; the result stands in the receipt.

        While the phone is not online there is nothing but to wait.
        """
        for pause in self._pauses():
            if not app_runs():
                break
            asked = await self._post(receipt) if online() else 0.0
            if receipt.final or pause is None or self._agenda.now() - receipt.expires_at >= PATIENCE:
                break
            await self._agenda.sleep(max(pause, asked))
        _log.info(
            "receipt posted" if receipt.accepted else "receipt refused or lost",
            receipt=receipt.kind,
            call=receipt.call_uuid,
            status=receipt.status,
            attempts=receipt.attempts,
        )

    def _pauses(self) -> Iterable[float | None]:
        if self._retry_after is None:
            return chain(RETRY_AFTER, repeat(RETRY_AFTER[-1]))
        return (*self._retry_after, None)

    async def _post(self, receipt: Receipt) -> float:
        """Post it once; gives for how many seconds the bridge asks to be left alone."""
        receipt.attempts, receipt.status = receipt.attempts + 1, None
        headers = {"Authorization": f"Bearer {receipt.token}"}
        try:
            async with self.network.open().post(
                receipt.url, json=receipt.body, headers=headers, allow_redirects=False
            ) as answer:
                said = await answer.read()
                receipt.status = answer.status
                self._hold(receipt, answer.url.raw_path, said)
                wait = answer.headers.get("Retry-After", "")
                return float(wait) if receipt.status == TOO_MANY and _SECONDS.fullmatch(wait) else 0.0
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.warning("receipt could not be posted", call=receipt.call_uuid, error=repr(error))
            return 0.0

    def _hold(self, receipt: Receipt, path: str, said: bytes) -> None:
        """Hold it against the contract; what was refused, the bridge has judged."""
        self.network.contract.answered("POST", path, receipt.status or 0, said)
        if receipt.accepted:
            self.network.contract.asked("POST", path, receipt.body)


class Outgoing:
    """The receipts of one phone, posted to each URL one after the other, in the order in which they arose.

    A bridge that is down holds up no other. An app that does not run any more (`app_runs`) posts nothing, one
    whose phone is not `online` posts it later. `settled` is told of each receipt after its last attempt.
    """

    def __init__(
        self,
        courier: Courier,
        app_runs: Callable[[], bool],
        online: Callable[[], bool],
        settled: Callable[[Receipt], None],
    ) -> None:
        self._courier = courier
        self._app_runs = app_runs
        self._online = online
        self._settled = settled
        self._queues: dict[str, deque[Receipt]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def post(self, receipt: Receipt) -> None:
        """Post it behind those that wait already; not after `close`."""
        if self._closed:
            return
        if receipt.url in self._queues:
            self._queues[receipt.url].append(receipt)
            return
        self._queues[receipt.url] = deque([receipt])
        task = asyncio.get_running_loop().create_task(self._run(receipt.url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what has not been posted."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, url: str) -> None:
        queue = self._queues[url]
        try:
            while queue:
                receipt = queue.popleft()
                await self._courier.deliver(receipt, self._app_runs, self._online)
                self._settled(receipt)
        finally:
            del self._queues[url]
