"""A time is an integer; a list of names in a statement is one value; orjson writes what is JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Text,
    TypeDecorator,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_CHUNK: Final = 500
"""Values in one IN list: well below SQLite's limit on variables."""


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


JSON_BY: Final[dict[str, Any]] = {"json_serializer": _json, "json_deserializer": orjson.loads}
"""What every engine is opened with: Python's own json is a twentieth of a storm's processor time."""


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


class _Names(TypeDecorator[Sequence[str]]):
    """A list of strings as one value: an array for PostgreSQL, JSON for SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text()))

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        """Go in."""
        names = list(value or ())
        return orjson.dumps(names).decode() if dialect.name == "sqlite" else names


class _Among(FunctionElement[bool]):
    """A column, and the list that its value is one of."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:
        """Be a condition as it is: SQLAlchemy would compare a function's value with 1, without its index."""
        del against
        return self


@compiles(_Among, "sqlite")
def _in_json(element: _Among, compiler: Any, **how: Any) -> str:
    column, names = (compiler.process(clause, **how) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({names}))"  # noqa: S608 - the compiler's own words


@compiles(_Among, "postgresql")
def _in_array(element: _Among, compiler: Any, **how: Any) -> str:
    column, names = (compiler.process(clause, **how) for clause in element.clauses)
    return f"{column} = ANY ({names})"


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Make the condition that a column holds one of the names that a statement is given as `name`.

    They are one value, however many: an IN list is another statement for each length of it.
    """
    return _Among(column, bindparam(name, type_=_Names))


def instant(name: str, *, nullable: bool = True) -> Column[datetime]:
    """Make a column that holds a time."""
    return Column(name, Instant, nullable=nullable)
