"""A bridge, a simulated APNs with its phones, and real Alertmanagers, together on free ports of this machine.

The demo and the end-to-end tests stand on it. Whatever the configuration says, nothing leaves the
machine: APNs is the simulator, the ledger is a new one, and outgoing webhooks come back to the rig.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import yaml
from aiohttp import web

from bridge import standin
from bridge.children import Child, ChildError, child, find_program, free_port, run
from bridge.client import Client, ClientError
from bridge.config import Settings, load
from bridge.config.tree import read
from bridge.simulator import Phone, Simulator
from bridge.simulator.feeds import Feed

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds that one hand-over may take: generous, since somebody's laptop may be busy."""

PROGRAM: Final = (sys.executable, "-P", "-m", "bridge.cli")
"""This very program, whatever lies in the working directory."""

_LOOK_AGAIN: Final = 0.02
_PACKAGE: Final = "prometheus-alertmanager"


def programs() -> tuple[str, str]:
    """Give the paths of Alertmanager and of amtool. Raises ChildError."""
    alertmanager = find_program("prometheus-alertmanager", "alertmanager", package=_PACKAGE)
    return alertmanager, find_program("amtool", package=_PACKAGE)


class Rig:
    """What runs, and where. `posts` are the outgoing webhooks: the target's name and the body."""

    def __init__(self, settings: Settings, folder: Path, simulator: Simulator, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.settings = settings
        self.folder = folder
        self.config = folder / "config.yaml"
        self.simulator = simulator
        self.bridge_url = f"http://{self.address()}"
        self.webhook_url = f"{self.bridge_url}/webhook"
        self.phone_address = self.address()
        self.posts: Feed[tuple[str, Any]] = Feed()
        self.running: dict[str, Child] = {}

    def address(self) -> str:
        """Give a free HOST:PORT, which stays reserved as long as the rig."""
        return f"127.0.0.1:{self._stack.enter_context(free_port())}"

    async def start_bridge(self) -> Child:
        """Start the bridge; once more on the same ports and the same ledger if it ran before."""
        return await self.start(
            "bridge",
            *(*PROGRAM, "serve", f"--config.file={self.config}"),
            *(f"--web.listen-address={self.bridge_url.removeprefix('http://')}",),
            *(f"--phone.listen-address={self.phone_address}", "--log.format=json"),
            url=self.bridge_url,
        )

    async def start_alertmanager(self, config: str, *flags: str, name: str = "alertmanager") -> Child:
        """Start an Alertmanager, alone unless `flags` make it one of a cluster. Its file is NAME.yml."""
        file = self.folder / f"{name}.yml"
        file.write_text(config)
        address = self.address()
        return await self.start(
            name,
            *(programs()[0], f"--config.file={file}"),
            *(f"--storage.path={self.folder / name}", f"--web.listen-address={address}"),
            *(flags or ("--cluster.listen-address=",)),
            url=f"http://{address}",
        )

    async def start(self, name: str, *command: str, url: str) -> Child:
        """Start a program that answers at `url`; it is stopped with the rig. Raises OSError."""
        started = child(name, command, self.folder, url)
        self.running[name] = await self._stack.enter_async_context(started)
        return self.running[name]

    async def ready(self) -> None:
        """Come back when everything that was started says that it is ready. Raises ChildError."""
        for one in self.running.values():
            await self.until(f"{one.name} to be ready", lambda one=one: _ready(one.url))  # type: ignore[misc]

    async def amtool(self, alertmanager: Child, *arguments: str) -> str:
        """Run amtool against an Alertmanager. Raises ChildError."""
        return await run(programs()[1], f"--alertmanager.url={alertmanager.url}", *arguments)

    async def cli(self, *arguments: str) -> str:
        """Run a command about the running bridge. Raises ChildError."""
        return await run(*PROGRAM, *arguments, f"--bridge.url={self.bridge_url}")

    async def incidents(self) -> list[dict[str, Any]]:
        """List the incidents, the closed ones too. Raises ClientError."""
        found = await Client(self.bridge_url, None).ask(
            "GET", "/api/v1/incidents", {"all": "true", "limit": "1000"}
        )
        listed: list[dict[str, Any]] = found["incidents"]
        return listed

    async def incident(self, incident_id: str) -> dict[str, Any]:
        """Give one incident's whole story. Raises ClientError."""
        story: dict[str, Any] = await Client(self.bridge_url, None).ask(
            "GET", f"/api/v1/incidents/{incident_id}", {}
        )
        return story

    async def enrol(self, owner: str, name: str) -> tuple[Phone, str]:
        """Let a new phone enrol for a person; gives it, and the code. Raises ClientError."""
        wish = {"owner": owner, "device": name}
        made = await Client(self.bridge_url, None).ask("POST", "/api/v1/enrolments", wish)
        phone = self.simulator.add_phone(name)
        await phone.enrol(made["url"], made["code"])
        return phone, made["code"]

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]]) -> T:
        """Look until there is something. Raises ChildError, naming what did not happen."""
        end = time.monotonic() + PATIENCE
        while True:
            found = await look()
            if found is not None:
                return found
            for one in self.running.values():
                one.check()
            if time.monotonic() > end:
                raise ChildError(self._missed(what))
            await asyncio.sleep(_LOOK_AGAIN)

    async def within(self, what: str, wait: Awaitable[T]) -> T:
        """Wait for an event of a phone. Raises ChildError, naming what did not happen."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await wait
        except TimeoutError:
            raise ChildError(self._missed(what)) from None

    def _missed(self, what: str) -> str:
        logs = "\n".join(f"--- {one.name}\n{one.tail()}" for one in self.running.values())
        return f"waited {PATIENCE:.0f} s in vain for {what}\n{logs}"


async def _ready(url: str) -> bool | None:
    with suppress(ClientError):
        await Client(url, None).text("GET", "/-/ready")
        return True
    return None


@asynccontextmanager
async def open_rig(config_file: Path, folder: Path) -> AsyncIterator[Rig]:
    """Start a simulator with the phones of a configuration; programs are started one by one after that.

    All that is written goes into `folder`. Raises ConfigError or OSError.
    """
    settings = load(config_file)
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(_simulator(settings, folder))
        rig = Rig(settings, folder, simulator, stack)
        hooks = await _hooks(stack, rig.posts)
        adapted = _adapt(config_file, rig, hooks)
        rig.config.write_text(yaml.safe_dump(adapted, sort_keys=False, allow_unicode=True))
        yield rig


def _simulator(settings: Settings, folder: Path) -> Simulator:
    """Make an APNs that knows the configuration's key ids and phones."""
    simulator = Simulator(
        topic=settings.apns.topic,
        topics=standin.topics(settings),
        team_id=settings.apns.team_id or "DEM0TEAM01",
        key_id=settings.apns.key_id or "DEM0KEY001",
        state_dir=folder / "simulator",
    )
    for name, made_with in standin.phones(settings).items():
        simulator.add_phone(name, **made_with)
    return simulator


async def _hooks(stack: AsyncExitStack, posts: Feed[tuple[str, Any]]) -> str:
    """Take what outgoing webhooks post; gives the URL before the target's name."""

    async def take(request: web.Request) -> web.Response:
        posts.add((request.match_info["name"], await request.json()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/{name:.*}", take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


def _adapt(config_file: Path, rig: Rig, hooks: str) -> dict[str, Any]:
    """Give the configuration as it is, but for all that leads away from this machine and its new ledger."""
    raw = read(config_file).root
    simulator = rig.simulator
    apns = {"topic": simulator.topic, "team_id": simulator.team_id, "key_id": simulator.key_id}
    apns |= {"url": simulator.url, "ca_file": simulator.ca_file, "key_file": simulator.key_file}
    storage = {**raw.get("storage", {}), "url": f"sqlite:///{rig.folder / 'bridge.db'}"}
    adapted = {**raw, "apns": apns, "storage": storage}
    adapted["devices"] = [
        {key: value for key, value in device.items() if key != "environment"}
        for device in raw.get("devices", [])
    ]
    for receiver in raw.get("receivers", []):
        for number, step in enumerate(receiver.get("escalation", []), 1):
            for count, hook in enumerate(step.get("webhooks", []), 1):
                hook.pop("url_file", None)
                name = hook.get("name", f"{receiver['name']}/{number}/{count}")
                hook["url"] = f"{hooks}/{quote(name)}"
    absolute: dict[str, Any] = _absolute(adapted, config_file.parent.absolute())
    return absolute


def _absolute(value: Any, root: Path) -> Any:
    """Let relative paths start where the file they come from lies."""
    if isinstance(value, Mapping):
        return {
            key: str(root / inner) if key.endswith("_file") else _absolute(inner, root)
            for key, inner in value.items()
        }
    return [_absolute(inner, root) for inner in value] if isinstance(value, list) else value
