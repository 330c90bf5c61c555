"""`pushkit-bridge demo`: a real Alertmanager makes a virtual phone ring, on this machine alone."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from bridge.children import Child, ChildError, child, find_program, free_ports
from bridge.client import Client, ClientError
from bridge.config import ConfigError, Settings, load
from bridge.simulator import Call, Phone, Simulator
from bridge.telemetry import configure_logs

T = TypeVar("T")

_LIMIT: Final = 30.0
"""Seconds that one hand-over may take: generous, since somebody's laptop may be busy."""

_ALERT: Final = ("alertname=DiskFull", "severity=critical", "team=db", "instance=db-1")
_SUMMARY: Final = "--annotation=summary=Disk full on db-1"

_ALERTMANAGER: Final = """\
route:
  receiver: phone
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
receivers:
  - name: phone
    webhook_configs:
      - url: {url}/webhook
        send_resolved: true
"""


@dataclass(slots=True)
class Stage:
    """What runs during the demo."""

    folder: Path
    settings: Settings
    config: Path
    simulator: Simulator
    alertmanager_url: str
    bridge_url: str
    children: list[Child]

    @property
    def client(self) -> Client:
        """Ask the running bridge."""
        return Client(self.bridge_url, None)


class Story:
    """Tells each hand-over with its time since the alert."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def begin(self) -> None:
        """Count from here."""
        self._began = time.monotonic()

    def tell(self, who: str, what: str) -> None:
        """Print one line."""
        click.echo(
            f"  {time.monotonic() - self._began:6.2f} s  {click.style(f'{who:12}', bold=True)}  {what}"
        )


@click.command("demo")
@click.option(
    "--config.file",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("config.example.yaml"),
    show_default=True,
    help="Its people, devices, receivers and routes are used; APNs is the simulator.",
)
def command(config_file: Path) -> None:
    """Ring a virtual phone for a real alert: bridge, simulator and Alertmanager on this machine."""
    configure_logs("error", "console")
    try:
        asyncio.run(_main(config_file))
    except (ChildError, ClientError, ConfigError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("\nStopped; nothing is left running.")
        sys.exit(130)


async def _main(config_file: Path) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    story = Story()
    click.echo("Starting the bridge, a simulated APNs with virtual phones, and a real Alertmanager ...")
    async with _stage(config_file) as stage:
        await _perform(stage, story)
        if sys.stdin.isatty():
            _what_next(stage)
            click.echo("Everything keeps running until Ctrl-C.")
            await asyncio.Event().wait()


@asynccontextmanager
async def _stage(config_file: Path) -> AsyncIterator[Stage]:
    alertmanager = find_program("prometheus-alertmanager", "alertmanager")
    settings = load(config_file)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pushkit-bridge-demo-")))
        simulator = await stack.enter_async_context(_simulator(settings, folder))
        web, phone, alerts = free_ports(3)
        config = folder / "config.yaml"
        config.write_text(_adapt(config_file, settings, simulator))
        bridge_url, alertmanager_url = f"http://127.0.0.1:{web}", f"http://127.0.0.1:{alerts}"
        serve = [sys.executable, "-m", "bridge.cli", "serve", f"--config.file={config}", "--log.format=json"]
        serve += [f"--web.listen-address=127.0.0.1:{web}", f"--phone.listen-address=127.0.0.1:{phone}"]
        bridge = await stack.enter_async_context(child("bridge", serve, folder))
        routing = folder / "alertmanager.yml"
        routing.write_text(_ALERTMANAGER.format(url=bridge_url))
        run = [alertmanager, f"--config.file={routing}", f"--storage.path={folder / 'alertmanager'}"]
        run += [f"--web.listen-address=127.0.0.1:{alerts}", "--cluster.listen-address="]
        other = await stack.enter_async_context(child("alertmanager", run, folder))
        stage = Stage(folder, settings, config, simulator, alertmanager_url, bridge_url, [bridge, other])
        await _until(stage, "the bridge to be ready", lambda: _ready(stage.bridge_url))
        await _until(stage, "Alertmanager to be ready", lambda: _ready(stage.alertmanager_url))
        yield stage


def _simulator(settings: Settings, folder: Path) -> Simulator:
    """Make an APNs that knows the configuration's key ids and phones."""
    simulator = Simulator(
        topic=settings.apns.topic,
        environment=settings.apns.environment,
        team_id=settings.apns.team_id or "DEM0TEAM01",
        key_id=settings.apns.key_id or "DEM0KEY001",
        state_dir=folder / "simulator",
    )
    for device in settings.devices.values():
        tokens = {"voip_token": device.voip_token, "alert_token": device.alert_token}
        simulator.add_phone(device.name, **{name: token.reveal() for name, token in tokens.items() if token})
    return simulator


def _adapt(config_file: Path, settings: Settings, simulator: Simulator) -> str:
    """Give the configuration as it is, but for where APNs is and the key that the simulator knows."""
    root = config_file.resolve().parent
    text = config_file.read_text()
    if settings.apns.url is not None:
        text = text.replace(settings.apns.url, simulator.url)
    lines = []
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        key = name.strip()
        if key in {"key_file", "ca_file"} and colon:
            value = f" {simulator.key_file if key == 'key_file' else simulator.ca_file}"
        elif key.endswith("_file") and not key.startswith("#"):
            value = f" {root / value.partition('#')[0].strip()}"
        lines.append(f"{name}{colon}{value}")
    return "\n".join(lines) + "\n"


async def _ready(url: str) -> bool | None:
    with suppress(ClientError):
        await Client(url, None).text("GET", "/-/ready")
        return True
    return None


async def _until(stage: Stage, what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    """Look until there is something. Raises ChildError, naming what did not happen."""
    end = time.monotonic() + _LIMIT
    while True:
        found = await look()
        if found is not None:
            return found
        for one in stage.children:
            one.check()
        if time.monotonic() > end:
            raise ChildError(_missed(stage, what))
        await asyncio.sleep(0.02)


async def _within(stage: Stage, what: str, wait: Awaitable[T]) -> T:
    """Wait for an event of a phone. Raises ChildError, naming what did not happen."""
    try:
        return await asyncio.wait_for(wait, _LIMIT)
    except TimeoutError:
        raise ChildError(_missed(stage, what)) from None


def _missed(stage: Stage, what: str) -> str:
    logs = "\n".join(f"--- {one.name}\n{one.tail()}" for one in stage.children)
    return f"waited {_LIMIT:.0f} s in vain for {what}\n{logs}"


# --- the story ---


async def _perform(stage: Stage, story: Story) -> None:
    click.echo()
    story.begin()
    await _amtool("alert", "add", *_ALERT, _SUMMARY, url=stage.alertmanager_url)
    story.tell("amtool", f"fires an alert: {' '.join(_ALERT)}")
    incident = await _until(stage, "Alertmanager's webhook", lambda: _incident(stage, "triggered"))
    story.tell("bridge", f"has committed Alertmanager's webhook: incident {incident['id']}")
    phone, call = await _within(stage, "a call on a phone", _first_call(stage))
    payload = call.payload
    story.tell("APNs", f"has the push (simulated; a real one goes to Apple), for {phone.name}")
    story.tell(phone.name, f"RINGS: {payload['caller_name']} - {payload['reason']}\a")
    await _within(stage, "the phone's receipt", phone.wait_for_receipt(None))
    story.tell("bridge", "has the phone's receipt: received")
    await _wait_for_answer(story, phone)
    phone.answer()
    story.tell(phone.name, "is answered")
    incident = await _until(stage, "the acknowledgement", lambda: _incident(stage, "acknowledged"))
    story.tell("bridge", f"incident acknowledged by {incident['acknowledged_by']}: every phone stops")
    await _amtool("alert", "add", *_ALERT, f"--end={_now()}", url=stage.alertmanager_url)
    story.tell("amtool", "the alert is resolved")
    await _until(stage, "the resolve", lambda: _incident(stage, "resolved"))
    story.tell("bridge", "incident resolved")
    click.echo()


async def _first_call(stage: Stage) -> tuple[Phone, Call]:
    """Wait for whichever phone rings first."""
    phones = list(stage.simulator.phones)
    waits = {asyncio.ensure_future(phone.wait_for_call(None)): phone for phone in phones}
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        first = done.pop()
        return waits[first], first.result()
    finally:
        for wait in waits:
            wait.cancel()


async def _wait_for_answer(story: Story, phone: Phone) -> None:
    if not sys.stdin.isatty():
        return
    story.tell("you", f"press Enter to answer {phone.name} (it rings again until somebody does)")
    pressed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, pressed.set)
    try:
        while not pressed.is_set():
            ringing = [call for call in phone.calls.items if call.state == "ringing"]
            click.echo("\a" if ringing else "", nl=False)
            with suppress(TimeoutError):
                await asyncio.wait_for(pressed.wait(), 2)
        sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin)
    if not [call for call in phone.calls.items if call.state == "ringing"]:
        story.tell(phone.name, "is quiet just now; it will ring again")
        await phone.wait_for_call(None)


async def _incident(stage: Stage, state: str) -> dict[str, Any] | None:
    found = await stage.client.ask("GET", "/api/v1/incidents", {"all": "true"})
    return next((one for one in found["incidents"] if one["state"] == state), None)


async def _amtool(*arguments: str, url: str) -> None:
    program = find_program("amtool")
    process = await asyncio.create_subprocess_exec(
        program, f"--alertmanager.url={url}", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode:
        raise ChildError(f"amtool {' '.join(arguments)} failed: {output.decode(errors='replace')}")


def _now() -> str:
    # With its fraction: cut to the second, the end could lie before the alert's start.
    return datetime.now(UTC).isoformat()


def _what_next(stage: Stage) -> None:
    click.echo("What to try next, in another terminal:")
    for line in (
        f"pushkit-bridge incidents list --all --bridge.url={stage.bridge_url}",
        f"amtool --alertmanager.url={stage.alertmanager_url} alert add alertname=NodeDown severity=page",
        f"curl {stage.simulator.control_url}/phones          # what the phones got: /phones/NAME/pushes",
        f"pushkit-bridge config routes test --config.file={stage.config} severity=critical team=db",
        f"curl {stage.bridge_url}/metrics",
    ):
        click.echo(f"  {line}")
    click.echo()
