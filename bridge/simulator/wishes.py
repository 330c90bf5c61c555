"""What the control interface is asked for, read and checked; each refusal is a sentence for the person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, get_args

from aiohttp import web

from bridge.pushes import Environment
from bridge.simulator.answers import Answer, scripted
from bridge.simulator.membership import read_link
from bridge.simulator.profile import Behaviour

_TEXTS: Final = ("bundle_id", "voip_token", "alert_token")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "environment": get_args(Environment),
    "behaviour": get_args(Behaviour),
    "receipts_by": ("token", "credential"),
}
FIELDS: Final = (*_TEXTS, *_CHOICES, "delay", "auto_answer", "unregistered_since", "time_sensitive")


async def read_json(request: web.Request) -> Any:
    """Give the body, {} where there is none. Raises ValueError."""
    body = await request.read()
    try:
        return json.loads(body) if body else {}
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from error


async def read_body(request: web.Request) -> dict[str, Any]:
    """Give the body, which is an object. Raises ValueError."""
    value = await read_json(request)
    if not isinstance(value, dict):
        raise ValueError("the body is a JSON object")  # noqa: TRY004 - one error for the interface
    return value


def enrolment(wish: Mapping[str, Any]) -> tuple[str, str]:
    """Give the bridge's URL and the code, out of `link` (the QR code) or as they are. Raises ValueError."""
    return read_link(_text(wish, "link")) if "link" in wish else (_text(wish, "url"), _text(wish, "code"))


def _text(wish: Mapping[str, Any], name: str) -> str:
    value = wish.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is a text, not {value!r}")  # noqa: TRY004 - one error for the interface
    return value


async def call_uuid(request: web.Request) -> str | None:
    """Give the UUID of the call that is meant, None = the one that rings longest. Raises ValueError."""
    wanted = (await read_body(request)).get("call")
    if wanted is not None and not isinstance(wanted, str):
        raise ValueError(f"call is the UUID of a call, not {wanted!r}")
    return wanted


def settings(wish: Mapping[str, Any]) -> dict[str, Any]:
    """Check what can be set about a phone. Raises ValueError with a sentence for the person."""
    if unknown := set(wish) - set(FIELDS):
        raise ValueError(f"unknown key {', '.join(sorted(unknown))}; known: {', '.join(FIELDS)}")
    for name in _TEXTS:
        if name in wish and not isinstance(wish[name], str):
            raise ValueError(f"{name} is a text, not {wish[name]!r}")
    if not isinstance(wish.get("time_sensitive", False), bool):
        raise ValueError(f"time_sensitive is true or false, not {wish['time_sensitive']!r}")  # noqa: TRY004 - one error for the interface
    for name, allowed in _CHOICES.items():
        if name in wish and wish[name] not in allowed:
            raise ValueError(f"{name} is one of {', '.join(allowed)}, not {wish[name]!r}")
    for name in ("delay", "auto_answer"):
        value = wish.get(name, 0)
        nothing = value is None and name == "auto_answer"
        if not nothing and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ValueError(f"{name} is a number of seconds, not {value!r}")
    return dict(wish) | _since(wish)


def _since(wish: Mapping[str, Any]) -> dict[str, datetime | None]:
    if wish.get("unregistered_since") is None:
        return {}
    try:
        since = datetime.fromisoformat(wish["unregistered_since"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"unregistered_since is a time of RFC 3339: {error}") from error
    if since.tzinfo is None:
        raise ValueError("unregistered_since has no time zone")
    return {"unregistered_since": since}


def script(wish: Any) -> list[tuple[Answer, int]]:
    """Read answers that are written in advance, one or a list, each with how often. Raises ValueError."""
    return [_times(one) for one in (wish if isinstance(wish, list) else [wish])]


def _times(wish: Any) -> tuple[Answer, int]:
    if not isinstance(wish, dict):
        raise ValueError(f"an answer is an object, not {wish!r}")  # noqa: TRY004 - one error for the interface
    times = wish.pop("times", 1)
    if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= 100_000:
        raise ValueError(f"times is a number from 1 to 100000, not {times!r}")
    return scripted(wish), times
