"""The connection needs no more than aioapns and hpack, with what those bring, and no certain event loop."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

import bridge.apns
from bridge.apns.connection import Connection

FOLDER = Path(bridge.apns.__file__).parent
OWN = {"bridge"}


def imported(source: str) -> set[str]:
    """Give the outermost packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add((node.module or "").partition(".")[0])
    return found


def brought_by(*names: str) -> set[str]:
    """Give these distributions and all that they need."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        lines = [line for line in requires(name) or [] if "extra ==" not in line]
        left += [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines]
    return found


def test_the_connection_needs_no_more_than_aioapns_and_hpack() -> None:
    known = packages_distributions()
    allowed = brought_by("aioapns", "hpack")
    for path in FOLDER.glob("*.py"):
        for package in imported(path.read_text()) - OWN - sys.stdlib_module_names:
            assert {name.lower() for name in known[package]} <= allowed, f"{path.name} imports {package}"


@pytest.mark.parametrize("absent", ["uvloop", "orjson", "aiohttp", "msgspec", "pydantic"])
def test_the_connection_is_imported_where_other_packages_are_absent(absent: str) -> None:
    hide = f"import sys; sys.modules[{absent!r}] = None; import bridge.apns"
    subprocess.run([sys.executable, "-c", hide], check=True, timeout=60)


def test_the_event_loop_reads_into_the_connections_own_buffer() -> None:
    assert issubclass(Connection, asyncio.BufferedProtocol)
    assert not issubclass(Connection, asyncio.Protocol)
