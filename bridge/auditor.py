"""The commands about the record of a running bridge: `ledger`. They ask its management API (rule 9)."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final

import click

from bridge import listings
from bridge.manage import Bridge, ask, asking, say

_MOST: Final = 10_000
"""Findings that one audit shows."""

_WRONG, _CANNOT_SAY = 1, 2


@click.group()
def ledger() -> None:
    """Audit the record of a running bridge."""


@ledger.command("verify")
@asking
@click.option("--since", help="RFC 3339, or how long ago, such as 24h; without it, as far back as can be.")
@click.option("--until", help="As --since; without it, now.")
def verify(bridge: Bridge, output: str, since: str | None, until: str | None) -> None:
    """Prove that each accepted alert led to an outcome, and print what did not.

    Exit code 0: it is proved. 1: something is wrong, and printed. 2: the bridge or its ledger cannot say.
    """
    try:
        found = _audit(bridge, {name: at for name, at in (("since", since), ("until", until)) if at})
    except click.ClickException as error:
        error.show()
        sys.exit(_CANNOT_SAY)
    say(found, output, listings.audit)
    sys.exit(_WRONG if found["findings"] else 0)


def _audit(bridge: Bridge, query: dict[str, str]) -> dict[str, Any]:
    """Have slice after slice audited; the first says which span it is."""
    findings: list[dict[str, Any]] = []
    checked: Counter[str] = Counter()
    while True:
        part = ask(bridge, "GET", "/api/v1/ledger/verify", query)
        findings += part["findings"]
        checked.update(part["checked"])
        query = {"since": part["since"], "until": part["until"], "after": part["next"] or ""}
        if part["next"] is None or len(findings) >= _MOST:
            return {
                "since": part["since"],
                "until": part["until"],
                "complete": part["next"] is None,
                "checked": dict(checked),
                "findings": findings,
            }
