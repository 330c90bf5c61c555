"""What is measured: the cells and the columns. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Cell:
    """One set of conditions. Payload and window are in octets, the answer's delay in milliseconds."""

    in_flight: int
    payload: int
    window: int
    delay: int

    @property
    def name(self) -> str:
        payload = f"{self.payload} B" if self.payload < 1_000 else f"{self.payload // 1_000} KB"
        window = f"{(self.window + 1) >> 10} KB" if self.window < 1 << 20 else f"{(self.window + 1) >> 20} MB"
        return f"{self.in_flight:,} in flight, {payload}, window {window}, {self.delay} ms"


@dataclass(frozen=True)
class Column:
    """A client: its name in the table, and how to start it; `{python}` is this interpreter."""

    name: str
    command: tuple[str, ...]
    loop: str = "asyncio"

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("ours")


STOCK: Final = "aioapns"
CEILING: Final = "h2load"
_MODULE: Final = ("{python}", "-m")
COLUMNS: Final = (
    Column("ours, uvloop", (*_MODULE, "bench.clients.ours"), loop="uvloop"),
    Column("ours, asyncio", (*_MODULE, "bench.clients.ours")),
    Column(STOCK, (*_MODULE, "bench.clients.stock")),
    Column("pyreqwest", (*_MODULE, "bench.clients.with_pyreqwest")),
    Column("pycurl", (*_MODULE, "bench.clients.with_pycurl")),
    Column("httpx", (*_MODULE, "bench.clients.with_httpx")),
    Column("Node http2", ("node", "bench/node/http2.mjs")),
    Column("npm apns2", ("node", "bench/node/apns2.mjs")),
    Column(CEILING, (*_MODULE, "bench.clients.h2load")),
)
# What bounds ours: measured only where they are named.
BOUNDS: Final = (
    Column("least, uvloop", (*_MODULE, "bench.clients.least"), loop="uvloop"),
    Column("least, asyncio", (*_MODULE, "bench.clients.least")),
)
SMALL_WINDOW: Final = 2**16 - 1
LARGE_WINDOW: Final = 2**24 - 1
ALL: Final = tuple(
    Cell(*values)
    for values in itertools.product((1, 100, 1_000), (400, 5_000), (SMALL_WINDOW, LARGE_WINDOW), (0, 20))
)
QUICK: Final = (
    Cell(1, 400, LARGE_WINDOW, 0),
    Cell(100, 400, LARGE_WINDOW, 0),
    Cell(100, 5_000, SMALL_WINDOW, 20),
    Cell(1_000, 400, LARGE_WINDOW, 0),
)
