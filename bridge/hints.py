"""What a person can try once the demo has told its story: in the browser, and in another terminal."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import webbrowser
from collections.abc import Mapping
from itertools import count, cycle
from pathlib import Path
from typing import Final

import click

from bridge.children import Child, ChildError
from bridge.rig import PROGRAM, Rig

_ANOTHER: Final = ("alertname=NodeDown", "severity=page", "instance=web-7")
_UNREGISTERED: Final = '{"behaviour": "unregistered"}'

_ALERTS: Final = (
    ("HighLatency", "page", "checkout", "Checkout takes 4 s for one in ten"),
    ("DiskFull", "critical", "db", "The disk of the database is full"),
    ("CertificateExpires", "warning", "shop", "The certificate expires in 3 days"),
)
"""Name, severity, team, and what it says of itself: a call, another, and with the example a notification."""


class Alarm:
    """Lets alerts fire, each time another one."""

    def __init__(self, rig: Rig, alertmanager: Child) -> None:
        self._rig = rig
        self._alertmanager = alertmanager
        self._next = zip(cycle(_ALERTS), count(1), strict=False)

    async def fire(self) -> str:
        """Give Alertmanager an alert; gives its name. Raises ConnectionError."""
        (name, severity, team, summary), number = next(self._next)
        labels = f"alertname={name}", f"severity={severity}", f"team={team}", f"instance={team}-{number}"
        summary = f"--annotation=summary={summary}"
        try:
            await self._rig.amtool(self._alertmanager, "alert", "add", *labels, summary)
        except ChildError as error:
            raise ConnectionError(str(error)) from None
        return name


def two_pages(rig: Rig) -> None:
    """Name the pages that show what happens."""
    click.echo("\n  Open these in a browser, beside each other:\n")
    click.echo(
        f"    the phones     {rig.simulator.control_url}   they ring as people know them: answer there"
    )
    if rig.simulator.console_url:
        click.echo(f"    the console    {rig.simulator.console_url}   who has it, what rings next, and why")
    click.echo()


async def open_pages(rig: Rig) -> None:
    """Open them, where there is a desktop: a browser of the terminal would take that from the demo."""
    if not desktop(os.environ, sys.platform):
        return
    for url in filter(None, (rig.simulator.console_url, rig.simulator.control_url)):
        await asyncio.to_thread(webbrowser.open, url)


def desktop(environ: Mapping[str, str], platform: str) -> bool:
    """Tell whether a browser would come up in a window of its own."""
    return platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def what_next(rig: Rig, alertmanager: Child) -> None:
    """Say what can be tried while everything keeps running."""
    phone = f"{rig.simulator.control_url}/phones/{next(iter(rig.simulator.phones)).name}"
    amtool = f"amtool --alertmanager.url={alertmanager.url}"
    gap = rig.settings.quiet_gap.total_seconds()
    when = f"a phone rings for it here, once {gap:.0f} s (quiet_gap) have passed since its last call"
    click.echo("\nEverything keeps running until Ctrl-C. In the browser, a button lets other alerts fire:\n")
    click.echo(f"  {rig.simulator.control_url}\n\nTry this in another terminal:\n")
    for what, line in (
        (f"another alert: {when}; Enter answers", f"{amtool} alert add {' '.join(_ANOTHER)}"),
        ("who rings for it, and why", _ours(rig, "config", "routes", "test", *_ANOTHER)),
        ("the incidents", _ours(rig, "incidents", "list", "--all")),
        ("the pushes that a phone got", f"curl {phone}/pushes"),
        ("the bridge's metrics", f"curl {rig.bridge_url}/metrics"),
        ("let Apple say that it knows the phone no more", f"curl -X PATCH {phone} -d '{_UNREGISTERED}'"),
    ):
        click.echo(f"  {click.style(f'# {what}', dim=True)}\n  {line}")
    click.echo()


def _ours(rig: Rig, *command: str) -> str:
    """Write a command of ours so that it can be pasted into another terminal."""
    where = f"--config.file={rig.config}" if command[0] == "config" else f"--bridge.url={rig.bridge_url}"
    return shlex.join([*_program(), *command, where])


def _program() -> tuple[str, ...]:
    if shutil.which("pushkit-bridge"):
        return ("pushkit-bridge",)
    called = Path(sys.argv[0])
    return (str(called),) if called.name == "pushkit-bridge" and called.exists() else PROGRAM
