"""The commands about the record of a running bridge: `ledger`. They ask its management API (rule 9)."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final
from urllib.parse import quote

import click

from bridge import listings
from bridge.manage import Bridge, ask, asking, say

_MOST: Final = 10_000
"""Findings that one audit shows."""

_WRONG, _CANNOT_SAY = 1, 2


@click.group()
def ledger() -> None:
    """Audit the record of a running bridge, read an incident's story, send failed pages again."""


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


@ledger.command("show")
@asking
@click.argument("incident")
def show(bridge: Bridge, output: str, incident: str) -> None:
    """Tell all of one incident's story in order, from the webhook to its end, and how long each step took."""
    found = ask(bridge, "GET", f"/api/v1/ledger/incidents/{quote(incident, safe='')}")
    say(found, output, listings.chronicle)


@ledger.command("replay")
@asking
@click.option("--since", help="Of pages made since then: RFC 3339, or how long ago, such as 1h.")
@click.option("--until", help="As --since; without it, now.")
@click.option("--dry-run", is_flag=True, help="Only tell what it would do.")
@click.option("--by", default="", help="Who asks, where the bridge does not ask for credentials.")
@click.argument("incident", required=False)
def replay(
    bridge: Bridge,
    output: str,
    since: str | None,
    until: str | None,
    *,
    dry_run: bool,
    by: str,
    incident: str | None,
) -> None:
    """Send failed pages again, of INCIDENT or of a span, where that is still of use.

    An open incident that reached nobody rings anew, by the same rules; a post that failed goes out again.
    """
    if incident is None and since is None:
        raise click.UsageError("give INCIDENT, or --since")
    given = {"incident": incident, "since": since, "until": until, "by": by}
    query = {name: value for name, value in given.items() if value} | ({"dry_run": "true"} if dry_run else {})
    done: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        part = ask(bridge, "POST", "/api/v1/ledger/replay", query | {"after": after})
        done += part["incidents"]
        after = part["next"]
    say({"dry_run": dry_run, "incidents": done}, output, listings.replayed)
