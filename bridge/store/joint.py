"""Jobs of the writer that share their statements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Self, TypeVar

from bridge.store.tx import Tx

T = TypeVar("T")


class Joint(ABC, Generic[T]):
    """A job that costs little beside others of its kind. Where they fail together, each runs again alone.

    It awaits nothing but its statements: they are made `straight`.
    """

    async def __call__(self, tx: Tx) -> T:
        """Run it alone."""
        (result,) = await self.together(tx, [self])
        return result

    @classmethod
    @abstractmethod
    async def together(cls, tx: Tx, jobs: Sequence[Self]) -> Sequence[T]:
        """Run jobs that follow each other in one transaction; gives their results in order."""
