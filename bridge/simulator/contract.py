"""What goes over the line, held against contract/: the schemas of docs/phone-protocol.md.

A breach is noted and logged, and nothing else: a phone would have to live with it too. Values are in no
message, for they may be secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog

_KEPT: Final = 100
"""Breaches that are kept; the rest are counted."""

_log = structlog.get_logger()


class Unwatched:
    """Takes whatever comes.

    `checked` counts what was looked at, `broken` what broke the contract; `breaches` says how, the first 100.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Count from nothing."""
        self.checked, self.broken = 0, 0
        self.breaches: list[str] = []

    def push(self, push_type: str, payload: Any) -> None:
        """A push came, of this `apns-push-type`."""

    def opened(self, push_type: str, payload: Any) -> None:
        """A phone opened a push that was sealed: this is what its app reads."""

    def asked(self, method: str, path: str, body: Any) -> None:
        """A phone asks; `body` None: nothing."""

    def answered(self, method: str, path: str, status: int, body: bytes) -> None:
        """The bridge answered."""

    def told(self, event: str, data: Any) -> None:
        """The bridge's stream told of an event."""

    def posted(self, body: bytes) -> None:
        """The bridge posted to a step's webhook."""


class Contract(Unwatched):
    """Holds what comes against the schemas. Raises ValueError, or OSError, where there is no such folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        protocol = json.loads((folder / "protocol.json").read_text())
        self._pushes: dict[str, str] = protocol["pushes"]
        self._events: dict[str, str] = protocol["events"]
        self._problem: str = protocol["problem"]
        self._webhook: str = protocol["webhook"]
        self._operations = [(one["method"], _pattern(one["path"]), one) for one in protocol["operations"]]
        self._validators = _compiled(folder / "schemas")

    def push(self, push_type: str, payload: Any) -> None:
        """See Unwatched."""
        self._hold(f"a push of type {push_type}", self._pushes.get(push_type), payload)

    def opened(self, push_type: str, payload: Any) -> None:
        """See Unwatched. It is as one in the clear; that the extension was asked for has done its work."""
        aps = {name: value for name, value in payload["aps"].items() if name != "mutable-content"}
        self._hold(f"an opened push of type {push_type}", self._pushes.get(push_type), payload | {"aps": aps})

    def asked(self, method: str, path: str, body: Any) -> None:
        """See Unwatched."""
        operation = self._operation(method, path)
        what = f"the body of {method} {operation.get('path', path)}"
        if body is not None:
            self._hold(what, operation.get("request"), body)
        elif "request" in operation:
            self._note(f"{what} is missing")

    def answered(self, method: str, path: str, status: int, body: bytes) -> None:
        """See Unwatched."""
        operation = self._operation(method, path)
        what = f"the answer {status} to {method} {operation.get('path', path)}"
        if status >= 400:
            self._hold(what, self._problem, _read(body))
        elif status != operation.get("status"):
            self._note(f"{what} is not in protocol.json")
        elif operation["answer"] is not None:
            self._hold(what, operation["answer"], _read(body))
        elif body:
            self._note(f"{what} has a body")

    def told(self, event: str, data: Any) -> None:
        """See Unwatched."""
        self._hold(f"an event {event}", self._events.get(event), data)

    def posted(self, body: bytes) -> None:
        """See Unwatched."""
        self._hold("a post to a webhook", self._webhook, _read(body))

    def faults(self, schema: str, value: Any) -> list[str]:
        """Say what in a value breaks a schema, each with its place."""
        found = self._validators[schema].iter_errors(value)
        return [f"{_place(one.instance_path)}: {one.message}" for one in found]

    def _operation(self, method: str, path: str) -> dict[str, Any]:
        _, slash, rest = path.partition("?")[0].partition("/api/v1/")
        of = ((known, operation) for verb, known, operation in self._operations if verb == method)
        return next((operation for known, operation in of if known.fullmatch(slash + rest)), {})

    def _hold(self, what: str, schema: str | None, value: Any) -> None:
        self.checked += 1
        if schema is None:
            self._note(f"{what} is not in protocol.json")
        else:
            for fault in self.faults(schema, value):
                self._note(f"{what} breaks {schema} at {fault}")

    def _note(self, breach: str) -> None:
        self.broken += 1
        if len(self.breaches) < _KEPT:
            self.breaches.append(breach)
        _log.error("the contract is broken", breach=breach)


class _MaxBytes:
    """The keyword `maxBytes`: how long a text may be in UTF-8."""

    def __init__(self, _: dict[str, Any], most: int, __: Sequence[str | int]) -> None:
        self._most = most

    def validate(self, value: Any) -> None:
        """Raise ValueError for a text that is too long."""
        if isinstance(value, str) and len(value.encode(errors="replace")) > self._most:
            raise ValueError(f"… is longer than {self._most} bytes")


def _compiled(folder: Path) -> dict[str, Any]:
    try:
        from jsonschema_rs import Draft202012, Draft202012Validator, Registry  # noqa: PLC0415 - most do without
    except ImportError as error:
        raise ValueError("this needs the package jsonschema-rs: the extra `contract`") from error
    schemas = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    registry = Registry([(one["$id"], one) for one in schemas.values()], draft=Draft202012)
    return {
        name: Draft202012Validator(
            one,
            registry=registry,
            validate_formats=True,
            mask="…",
            keywords={"maxBytes": _MaxBytes},
            offline=True,
        )
        for name, one in schemas.items()
    }


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))


def _place(path: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return "no JSON"
