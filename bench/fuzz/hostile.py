"""Webhook bodies: each kind of large and odd that fits into 16 MiB, and random ones without end."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final

FULL: Final = 16 * 1024 * 1024 - 1000
_ODD: Final = (
    "",
    "a",
    "\x00",
    "\ud800",
    "\u202e",
    "é" * 50,
    "\x1b[2J",
    "{{ 7*7 }}",
    "x" * 5000,
    "null",
    "-1",
    "4",
)
_NAMES: Final = ("alertname", "severity", "instance", "job", "team", "summary", "", "__name__", "é", "a b")


def alert(number: int = 0, /, **labels: str) -> dict[str, Any]:
    """Give an alert as Alertmanager sends it."""
    return {
        "status": "firing",
        "labels": {"alertname": "Fuzz", "severity": "critical", **labels},
        "annotations": {"summary": "s"},
        "startsAt": "2026-11-25T02:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://p/g",
        "fingerprint": f"{number:016x}",
    }


def _labels() -> dict[str, str]:
    return {f"label{number}": "v" for number in range(600_000)}


def body(*alerts: Any, **fields: Any) -> bytes:
    """Give a webhook body."""
    return json.dumps({"version": "4", "groupKey": "{}", "alerts": list(alerts)} | fields).encode()


def large() -> Iterator[tuple[str, bytes]]:
    """Give the largest of each kind."""
    yield "padding", body(alert(), padding="x" * (FULL - 1000))
    yield "one label of 16 MiB", body(alert(long="x" * (FULL - 1000)))
    yield (
        "one label of 16 MiB without a fingerprint",
        body(alert(long="x" * (FULL - 1000)) | {"fingerprint": ""}),
    )
    yield "an alertname of 16 MiB", body(alert(alertname="x" * (FULL - 1000)))
    yield "600,000 labels", body(alert(**_labels()))
    yield (
        "600,000 labels without a fingerprint",
        body(alert(**_labels()) | {"fingerprint": ""}),
    )
    yield "10,000 alerts", body(*(alert(number, instance=str(number)) for number in range(10_000)))
    yield "10,000 alerts of as many names", body(*(alert(n, alertname=f"Fuzz{n}") for n in range(10_000)))
    yield "1,000,000 broken alerts", body(*([1] * 1_000_000))
    yield "10,000 empty alerts", body(*([{}] * 10_000))
    yield "lists in lists", b'{"version": "4", "alerts": [' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"]}"
    yield "mappings in mappings", b'{"version": "4", "alerts": [{"labels": ' + b'{"a":' * 1_000_000
    yield "a number of 16 MiB", b'{"version": "4", "truncatedAlerts": ' + b"9" * FULL + b', "alerts": []}'
    yield (
        "escapes of half characters",
        b'{"version": "4", "alerts": [], "groupKey": "' + rb"\ud800" * 2_000_000 + b'"}',
    )
    yield "no JSON", b"\xff" * FULL


def small(dice: random.Random) -> Iterator[bytes]:
    """Give random bodies: a good one with some of it replaced, and now and then its bytes."""
    while True:
        made = [_broken(dice, alert(dice.randrange(50))) for _ in range(dice.randrange(4))]
        fields = {dice.choice(("groupKey", "externalURL", "truncatedAlerts", "version")): odd(dice)}
        data = bytearray(body(*made, **(fields if dice.random() < 0.3 else {})))
        for _ in range(dice.choice((0, 0, 0, 1, 3))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        yield bytes(data)


def _broken(dice: random.Random, one: dict[str, Any]) -> Any:
    for _ in range(dice.randrange(3)):
        one[dice.choice((*one, "more"))] = odd(dice)
    return one if dice.random() < 0.95 else odd(dice)


def odd(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.randrange(8 if depth < 3 else 6)
    if kind < 4:
        return dice.choice(_ODD)
    if kind < 6:
        return dice.choice((None, True, 0, -1, 1e308, 2**70, 0.5))
    inner = [odd(dice, depth + 1) for _ in range(dice.randrange(4))]
    return inner if kind == 6 else {dice.choice(_NAMES): one for one in inner}
