"""`pushkit-bridge demo`: a real Alertmanager makes a virtual phone ring, on this machine alone."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from bridge.children import Child, ChildError
from bridge.client import Client, ClientError
from bridge.config import ConfigError
from bridge.hints import Alarm, open_pages, two_pages, what_next
from bridge.keys import Keys
from bridge.rig import Rig, open_rig, programs
from bridge.simulator import Phone
from bridge.simulator.feeds import Event
from bridge.simulator.profile import Push
from bridge.telemetry import configure_logs

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
      - url: {url}
        send_resolved: true
"""


_LOOK_AGAIN: Final = 0.2  # seconds

_GONE: Final = "\nStopped; nothing is left running."

_TOLD: Final = {
    "answered": "is answered",
    "declined": "is declined",
}
"""Events of the simulator's phones, in words; "ringing" and "ended" have more to them."""


class Stopped(Exception):
    """A signal came; `number` says which."""

    def __init__(self, number: int) -> None:
        self.number = number


class Story:
    """Tells each hand-over with its time since the story began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def tell(self, who: str, what: str) -> None:
        """Print one line."""
        click.echo(f"{time.monotonic() - self._began:8.2f} s  {click.style(f'{who:12}', bold=True)}  {what}")


@click.command("demo")
@click.option(
    "--config.file",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("config.example.yaml"),
    show_default=True,
    help="Its people, phones, receivers and routes are used; APNs is the simulator, the ledger a new one.",
)
@click.option("--browser/--no-browser", default=True, help="Whether a desktop's browser shows the pages.")
def command(*, config_file: Path, browser: bool) -> None:
    """Ring a virtual phone for a real alert: bridge, simulator and Alertmanager on this machine."""
    configure_logs("error", "console")
    if not config_file.exists():
        raise click.ClickException(
            f"there is no {config_file} here. Run the demo in a clone of pushkit-bridge, "
            "or say --config.file=/PATH/TO/config.example.yaml"
        )
    try:
        asyncio.run(_main(config_file, browser=browser))
    except (ChildError, ClientError, ConfigError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except EOFError:
        click.echo(_GONE)
    except Stopped as stopped:
        click.echo(_GONE)
        sys.exit(128 + stopped.number)


async def _main(config_file: Path, *, browser: bool) -> None:
    programs()
    async with _until_signalled():
        with tempfile.TemporaryDirectory(prefix="pushkit-bridge-demo-") as folder:
            click.echo("Starting, on this machine alone ...")
            async with open_rig(config_file, Path(folder)) as rig:
                await _play(rig, browser=browser)


@asynccontextmanager
async def _until_signalled() -> AsyncIterator[None]:
    """Unwind at the first signal, once: an impatient second one must not cut the stopping short."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    came: list[int] = []

    def stop(number: int) -> None:
        if not came and task is not None:
            came.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    except asyncio.CancelledError:
        raise Stopped(came[0]) from None


async def _play(rig: Rig, *, browser: bool) -> None:
    await rig.start_bridge()
    alertmanager = await rig.start_alertmanager(_ALERTMANAGER.format(url=rig.webhook_url))
    await rig.ready()
    rig.simulator.alarm = Alarm(rig, alertmanager).fire
    rig.simulator.console_url = await _console(rig)
    _who_is_who(rig, alertmanager)
    story, keys = Story(), Keys()
    await _enrol(rig, story)
    if browser and keys.there:
        await open_pages(rig)
    incident = await _fire(rig, alertmanager, story)
    phones = await _rung(rig, story, incident)
    async with _narrated(rig, story):
        await _answer(rig, story, keys, phones, incident)
        await _end(rig, alertmanager, story, incident)
        await _show_record(rig, incident)
        if keys.there:
            what_next(rig, alertmanager)
            await _answer_at_enter(rig, story, keys)


async def _console(rig: Rig) -> str:
    """Give the console's address, "" where this bridge has none."""
    with suppress(ClientError):
        await Client(rig.bridge_url, None).text("GET", "/")
        return f"{rig.bridge_url}/"
    return ""


def _who_is_who(rig: Rig, alertmanager: Child) -> None:
    phones = ", ".join(phone.name for phone in rig.simulator.phones)
    click.echo()
    console = [("console", rig.simulator.console_url)] if rig.simulator.console_url else []
    for name, where in (
        ("Alertmanager", f"{alertmanager.url}, a real one; its webhook receiver is the bridge"),
        ("bridge", f"{rig.bridge_url}, with its log in {rig.running['bridge'].log}"),
        ("APNs", f"{rig.simulator.url}, simulated, as strict as Apple's"),
        ("phones", f"{rig.simulator.control_url}, simulated: {phones}"),
        *console,
    ):
        click.echo(f"  {click.style(f'{name:12}', bold=True)}  {where}")
    two_pages(rig)


# --- the story ---


async def _enrol(rig: Rig, story: Story) -> None:
    """Let one more phone enrol by a code, as a new phone would; those of the configuration have not."""
    owner = rig.settings.people[-1]
    phone, code = await rig.enrol(owner, f"{owner}-enrolled")
    story.tell("you", f"would type: pushkit-bridge devices enroll {owner}; it shows a QR code, and {code}")
    story.tell(phone.name, "exchanges the code for a credential, hands over a key, and puts its push tokens")


async def _fire(rig: Rig, alertmanager: Child, story: Story) -> str:
    """Let an alert fire; gives the id of its incident."""
    await rig.amtool(alertmanager, "alert", "add", *_ALERT, _SUMMARY)
    story.tell("amtool", f"gives Alertmanager an alert: {' '.join(_ALERT)}")
    incident = await rig.until("Alertmanager's webhook", lambda: _newest(rig))
    story.tell("Alertmanager", "posts its webhook to the bridge")
    story.tell("bridge", f"has it on disk and answers 200: incident {incident['id']}")
    return str(incident["id"])


async def _newest(rig: Rig) -> dict[str, Any] | None:
    return next(iter(await rig.incidents()), None)


async def _rung(rig: Rig, story: Story, incident: str) -> list[Phone]:
    """Tell what reaches the phones of the first step; gives those that ring. Raises ChildError."""
    pages = [page for page in (await rig.incident(incident))["pages"] if page["kind"] != "webhook"]
    phones = [rig.simulator.phone(name) for name in sorted({page["target"] for page in pages})]
    story.tell("bridge", f"pushes to APNs, for {', '.join(phone.name for phone in phones)}")
    ringing = []
    for phone in phones:
        push = await rig.within(f"a push for {phone.name}", phone.wait_for_push(None))
        if push.fate != "rang":
            continue
        ringing.append(phone)
        story.tell("APNs", f"can read {_readable(rig, phone.name, push)}")
        story.tell(phone.name, f"RINGS: {_shown(push.payload)}")
        receipt = await rig.within("the phone's receipt", phone.wait_for_receipt(None))
        story.tell(phone.name, f"tells the bridge: {receipt.kind}")
    if not ringing:
        raise ChildError("this configuration makes no phone ring for the demo's alert")
    return ringing


def _readable(rig: Rig, name: str, push: Push) -> str:
    if push.seal == "clear":
        off = rig.settings.encryption == "off"
        return f"all of it: {'encryption is off' if off else f'{name} has no key'}"
    rest = "the rest is sealed" if push.seal == "opened" else f"{name} has no key, so it carries no more"
    return f"of the push for {name}: {push.carried['caller_name']}; {rest}"


def _shown(payload: dict[str, Any]) -> str:
    return " - ".join(payload[name] for name in ("caller_name", "reason") if name in payload)


async def _answer(rig: Rig, story: Story, keys: Keys, phones: list[Phone], incident: str) -> None:
    """Come back when somebody has it: by Enter, in the browser, or however else."""
    if not keys.there:
        story.tell("demo", f"answers {phones[0].name} by itself, since there is no terminal")
        phones[0].answer()
        return
    keys.forget()
    story.tell(
        "you", f"press Enter to answer {phones[0].name}, or answer in the browser; it rings until you do"
    )
    while await _first(_taken(rig, incident), keys.pressed()) == 1:
        if not _answer_first(phones):
            story.tell("you", "no phone rings just now; the next ring comes soon")


async def _taken(rig: Rig, incident: str) -> None:
    while True:
        if (await rig.incident(incident))["state"] != "triggered":
            return
        await asyncio.sleep(_LOOK_AGAIN)


async def _first(*waits: Coroutine[Any, Any, None]) -> int:
    """Give the place of the one that is over first. Raises what it raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        place = next(place for place, task in enumerate(tasks) if task.done())
        tasks[place].result()
        return place
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _answer_first(phones: list[Phone]) -> bool:
    for phone in phones:
        with suppress(LookupError):
            phone.answer()
            return True
    return False


async def _end(rig: Rig, alertmanager: Child, story: Story, incident: str) -> None:
    found = await _reaches(rig, incident, "acknowledged")
    story.tell(
        "bridge", f"incident acknowledged by {found['acknowledged_by']}: no phone is rung for it again"
    )
    for phone in rig.simulator.phones:
        if phone.membership is not None:
            for call in phone.calls.items:
                await rig.within(f"{phone.name} to hear of it", call.wait_until_over(None))
    story.tell("demo", "a phone that is not enrolled does not hear it: it rings to its call's end")
    # With its fraction: cut to the second, the end could lie before the alert's start.
    await rig.amtool(alertmanager, "alert", "add", *_ALERT, f"--end={datetime.now(UTC).isoformat()}")
    story.tell("amtool", "tells Alertmanager that the alert is over")
    await _reaches(rig, incident, "resolved")
    story.tell("Alertmanager", "posts its webhook again: resolved")
    story.tell("bridge", "incident resolved")


async def _reaches(rig: Rig, incident: str, state: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await rig.incident(incident)
        return found if found["state"] == state else None

    return await rig.until(f"the incident to be {state}", look)


async def _show_record(rig: Rig, incident: str) -> None:
    record = await rig.cli("incidents", "show", incident)
    click.echo(f"\nThe record that is kept of it (pushkit-bridge incidents show {incident}):\n")
    click.echo("\n".join(f"  {line}".rstrip() for line in record.splitlines()))


# --- at a terminal ---


@asynccontextmanager
async def _narrated(rig: Rig, story: Story) -> AsyncIterator[None]:
    """Tell what the phones do meanwhile."""
    events = rig.simulator.events
    since = events.kept[-1].number if events.kept else 0

    async def narrate() -> None:
        async with aclosing(events.watch(since)) as watch:
            async for event in watch:
                _narrate(rig, story, event)

    task = asyncio.create_task(narrate())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _narrate(rig: Rig, story: Story, event: Event) -> None:
    name = event.data["phone"]
    if event.kind == "ringing":
        call = rig.simulator.phone(name).calls.items[-1]
        story.tell(name, f"RINGS: {_shown(call.payload)}\a")
    elif event.kind == "ended":
        story.tell(name, f"stops ringing: {event.data['why']}")
    elif event.kind in _TOLD:
        story.tell(name, _TOLD[event.kind])


async def _answer_at_enter(rig: Rig, story: Story, keys: Keys) -> None:
    while True:
        await keys.pressed()
        if not _answer_first(list(rig.simulator.phones)):
            story.tell("you", "no phone rings just now")
