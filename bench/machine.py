"""What the figures were measured on, and with which versions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.world import ROOT

OURS: Final = ("aioapns", "hpack", "h2", "uvloop")
OTHERS: Final = ("pyreqwest", "pycurl", "httpx")


def facts() -> list[str]:
    """Give the lines of a list."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return [
        f"- Measured on {datetime.now(UTC):%Y-%m-%d} at revision {_revision()}; load average before: {load}.",
        f"- Machine: {_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}.",
        f"- Python {platform.python_version()} ({ssl.OPENSSL_VERSION}), {', '.join(_versions(OURS))}.",
    ]


@dataclass(frozen=True)
class Busy:
    """What the machine had done by an instant, in seconds: the clock, its cores' work, what others took."""

    at: float
    work: float
    stolen: float


def busy() -> Busy:
    """Look at it."""
    ticks = os.sysconf("SC_CLK_TCK")
    first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = (int(value) / ticks for value in first)
    return Busy(time.monotonic(), user + nice + system + irq + softirq, steal)


def noise(since: Busy) -> str:
    """Say how busy the machine was, ourselves and all others, in a line of a list."""
    now = busy()
    seconds, load = now.at - since.at, ", ".join(f"{value:.2f}" for value in os.getloadavg())
    cores = (now.work - since.work) / seconds
    stolen = (now.stolen - since.stolen) / seconds
    return (
        f"- It took {seconds:.0f} s, in which {cores:.2f} of {os.cpu_count()} cores were busy, and "
        f"{stolen:.2f} taken away by other machines; load average after: {load}."
    )


def others() -> str:
    """Give a line with the versions of what ours is measured beside."""
    return f"- {', '.join([*_versions(OTHERS), *_programs()])}."


def _revision() -> str:
    said = _said("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    return said or "unknown"


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _versions(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def _programs() -> Iterator[str]:
    yield f"Node {_said('node', '--version').removeprefix('v') or 'missing'}"
    package = ROOT / "bench/node/node_modules/apns2/package.json"
    if package.exists():
        yield f"apns2 {json.loads(package.read_text())['version']}"
    yield _said("h2load", "--version") or "h2load missing"


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or [""])[0]
