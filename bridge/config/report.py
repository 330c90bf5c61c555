"""What `check-config` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge.config.loading import load
from bridge.config.problems import ConfigError, Problem
from bridge.config.settings import Settings
from bridge.routing import Route


def check_config(path: Path) -> tuple[bool, str]:
    """Check a configuration file and tell about it, in amtool's manner; True = it can be used.

    The text has one problem or warning on a line, and no newline at its end.
    """
    try:
        settings = load(path)
    except ConfigError as error:
        count = len(error.problems)
        return False, f"{error}\nChecking '{path}'  FAILED: {count} problem{'s' * (count != 1)}"
    warnings = [warning.as_warning() for warning in (*settings.warnings, *settings.exposed)]
    found = [f" - {line}" for line in _found(settings)]
    return True, "\n".join([*warnings, f"Checking '{path}'  SUCCESS", "Found:", *found])


def checked(path: Path) -> dict[str, Any]:
    """Check a configuration file, and give what was found as plain values for JSON."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    found: list[str] = []
    try:
        settings = load(path)
    except ConfigError as error:
        problems = error.problems
    else:
        warnings, found = (*settings.warnings, *settings.exposed), list(_found(settings))
    return {
        "file": str(path),
        "good": not problems,
        "problems": [asdict(problem) for problem in problems],
        "warnings": [asdict(warning) for warning in warnings],
        "found": found,
    }


def _found(settings: Settings) -> Iterator[str]:
    phones = f"{len(settings.devices)} devices of {len(settings.people)} people"
    yield f"{phones}, in {len(settings.groups)} device groups"
    yield f"{len(settings.schedules)} schedules, {len(settings.feeds)} of them by a calendar"
    yield f"{len(settings.receivers)} receivers, {len(settings.webhooks)} outgoing webhooks"
    yield f"{_count(settings.route)} routes, {len(settings.time_intervals)} time intervals"
    yield f"{len(settings.heartbeats)} heartbeats, {len(settings.drills)} drills"
    yield f'{len(settings.sources)} sources beside "default"'
    where = settings.apns.url or f"Apple, {settings.apns.environment}"
    yield f"APNs: {where}, topic {settings.apns.topic}"


def _count(root: Route) -> int:
    pending, count = [root], 0
    while pending:
        count += 1
        pending += pending.pop().routes
    return count
