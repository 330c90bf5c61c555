"""A time in the ledger is an integer; a list of values has an end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Dialect, TypeDecorator

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_CHUNK: Final = 500
"""Values in one IN list: well below SQLite's limit on variables."""


def chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    """Cut a list of values into such as fit into one statement."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


class Instant(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970: exact, sortable, the same on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Go in."""
        del dialect
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Come out."""
        del dialect
        return None if value is None else _EPOCH + value * _MICROSECOND


def instant(name: str, *, nullable: bool = True) -> Column[datetime]:
    """Make a column that holds a time."""
    return Column(name, Instant, nullable=nullable)
