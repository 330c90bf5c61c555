"""Faults of APNs as a whole, on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.simulator.answers import Answer, scripted
from bridge.simulator.apns import ApnsServer
from bridge.simulator.provider_tokens import ProviderTokens
from bridge.simulator.service import Service

_KNOWN = {"answer", "times", "drop", "goaway", "freeze", "expire_tokens"}


class Faults:
    """What a person or a test can ask for; each takes effect at once."""

    def __init__(self, server: ApnsServer, service: Service, tokens: ProviderTokens) -> None:
        self._server = server
        self._service = service
        self._tokens = tokens

    def answer(self, answer: Answer, times: int = 1) -> None:
        """Give this answer to the next `times` requests.

        One that is not delivered is given before the request is looked at, one that is only to a good push.
        """
        self._service.script.extend([answer] * times)

    def drop(self) -> int:
        """Break all connections off; gives their number."""
        return self._server.each(lambda connection: connection.abort())

    def go_away(
        self, reason: str = "Shutdown", *, last_stream: int | None = None, error_code: int = 0
    ) -> int:
        """Send GOAWAY on all connections; streams above `last_stream` are not processed."""
        return self._server.each(
            lambda connection: connection.go_away(reason, last_stream=last_stream, error_code=error_code)
        )

    def freeze(self, *, frozen: bool = True) -> None:
        """Hear and say nothing, or take up again where it stopped."""
        self._server.freeze(frozen=frozen)

    def expire_tokens(self) -> None:
        """Call every provider token that came so far stale."""
        self._tokens.expire()

    def clear(self) -> None:
        """End the freeze and the answers written in advance."""
        self._service.script.clear()
        self.freeze(frozen=False)

    def state(self) -> dict[str, Any]:
        """Tell what is in force."""
        return {
            "frozen": self._server.frozen,
            "answers_waiting": len(self._service.script),
            "connections": len(self._server.connections),
        }

    def apply(self, wish: Mapping[str, Any]) -> None:
        """Do what a JSON object asks for. Raises ValueError with a sentence for the person."""
        if unknown := set(wish) - _KNOWN:
            raise ValueError(f"unknown key {', '.join(sorted(unknown))}; known: {', '.join(sorted(_KNOWN))}")
        times = wish.get("times", 1)
        if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= 100_000:
            raise ValueError(f"times is a number from 1 to 100000, not {times!r}")
        answer = scripted(_object(wish, "answer")) if "answer" in wish else None
        goaway = _goaway(_object(wish, "goaway")) if "goaway" in wish else None
        flags = {name: _flag(wish, name) for name in ("drop", "freeze", "expire_tokens") if name in wish}
        if answer is not None:
            self.answer(answer, times)
        if flags.get("expire_tokens"):
            self.expire_tokens()
        if goaway is not None:
            self.go_away(**goaway)
        if flags.get("drop"):
            self.drop()
        if "freeze" in flags:
            self.freeze(frozen=flags["freeze"])


def _object(wish: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = wish[name]
    if not isinstance(value, dict):
        raise ValueError(f"{name} is an object, not {value!r}")  # noqa: TRY004 - one error for the interface
    return value


def _flag(wish: Mapping[str, Any], name: str) -> bool:
    value = wish[name]
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false, not {value!r}")  # noqa: TRY004 - as above
    return value


def _goaway(wish: dict[str, Any]) -> dict[str, Any]:
    if unknown := set(wish) - {"reason", "last_stream", "error_code"}:
        raise ValueError(f"unknown key {', '.join(sorted(unknown))} in goaway")
    for name in ("last_stream", "error_code"):
        if name in wish and (
            isinstance(wish[name], bool) or not isinstance(wish[name], int) or wish[name] < 0
        ):
            raise ValueError(f"goaway.{name} is a number, not {wish[name]!r}")
    if not isinstance(wish.get("reason", ""), str):
        raise ValueError(f"goaway.reason is a text, not {wish['reason']!r}")  # noqa: TRY004 - as above
    return wish
