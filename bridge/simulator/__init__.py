"""A strict APNs and virtual phones, for trying the bridge out and for its tests."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from bridge.pushes import Environment
from bridge.simulator import identity
from bridge.simulator.agenda import Agenda, Clock, wall_clock
from bridge.simulator.answers import Answer, scripted
from bridge.simulator.apns import ApnsServer
from bridge.simulator.calls import Call
from bridge.simulator.contract import Contract, Unwatched
from bridge.simulator.control import make_app
from bridge.simulator.faults import Faults
from bridge.simulator.feeds import Events
from bridge.simulator.identity import Given
from bridge.simulator.membership import Membership, Refused
from bridge.simulator.network import Network
from bridge.simulator.phonebook import Phones
from bridge.simulator.phones import Phone
from bridge.simulator.profile import Profile, Push, made_up_token
from bridge.simulator.provider_tokens import ProviderKey, ProviderTokens
from bridge.simulator.receipts import Courier, Receipt
from bridge.simulator.service import Service

__all__ = [
    "Answer",
    "Call",
    "Contract",
    "Membership",
    "Phone",
    "Push",
    "Receipt",
    "Refused",
    "Simulator",
    "scripted",
]


class Simulator:
    """APNs, phones and their control interface in one process.

    Use it as `async with Simulator(phones=["alice"]) as sim`. Ports are free ones unless given.
    `state_dir` keeps the authority and the provider key from run to run; without it they live
    in a temporary folder. `renewals` is how many new provider tokens a key may bring in 20
    minutes. `clock` gives the present instant with its time zone: whoever moves it calls
    `tick()`. `receipt_ca_file` is the authority of a bridge that listens with https, `receipt_retry`
    the pauses in seconds between a receipt's attempts, after which it is given up (None: as
    docs/phone-protocol.md has it). `given` stands in for files that would be made. With `contract`, every
    push, and what a phone and a bridge say to each other, is held against it. Raises OSError where it
    cannot listen.

    The page of the phones links to `console_url`, and has a button for `alarm`, which lets an alert fire
    and gives its name; whoever has such things sets them.
    """

    def __init__(
        self,
        *,
        phones: Iterable[str] = (),
        topic: str = "com.example.oncall",
        topics: Iterable[str] = (),
        environment: Environment = "production",
        team_id: str = "ABCDE12345",
        key_id: str = "ABC123DEFG",
        host: str = "127.0.0.1",
        port: int = 0,
        control_host: str = "127.0.0.1",
        control_port: int = 0,
        state_dir: Path | str | None = None,
        renewals: int = 1,
        clock: Clock = wall_clock,
        receipt_ca_file: str | None = None,
        receipt_retry: Sequence[float] | None = None,
        given: Given | None = None,
        contract: Contract | None = None,
    ) -> None:
        self.topic = topic
        self.environment = environment
        self.team_id = team_id
        self.key_id = key_id
        self.agenda = Agenda(clock)
        self.events = Events(clock)
        self.phones = Phones()
        self.tokens = ProviderTokens(environment, renewals)
        self.contract = contract or Unwatched()
        bundles = {topic, *topics}
        self.service = Service(self.phones, self.tokens, bundles, environment, self.agenda, self.contract)
        self.network = Network(receipt_ca_file, self.contract)
        self.courier = Courier(self.agenda, self.network, receipt_retry)
        self.console_url = ""
        self.alarm: Callable[[], Awaitable[str]] | None = None
        self._listen = (host, port)
        self._control_listen = (control_host, control_port)
        self._state_dir = state_dir
        self._given = given
        self._names = tuple(phones)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """Give what stands in the bridge's `apns.url`."""
        return _url("https", self._listen[0], self.apns.port)

    @property
    def control_url(self) -> str:
        """Give the address of the control interface."""
        host, port = self._runner.addresses[0][:2]
        return _url("http", host, port)

    @property
    def control_name(self) -> str:
        """Give the host that the control interface was told to listen on."""
        return self._control_listen[0]

    @property
    def ca_file(self) -> str:
        """Give what stands in the bridge's `apns.ca_file`."""
        return str(self.identity.ca_file)

    @property
    def key_file(self) -> str:
        """Give what stands in the bridge's `apns.key_file`."""
        return str(self.identity.key_file)

    def phone(self, name: str) -> Phone:
        """Give the phone of this name. Raises KeyError."""
        return self.phones[name]

    def add_phone(self, name: str, **settings: Any) -> Phone:
        """Make a phone; `settings` are fields of Profile, made up where missing. Raises ValueError."""
        environment = settings.get("environment", self.environment)
        made_up = {
            "bundle_id": self.topic,
            "environment": environment,
            "voip_token": made_up_token(name, "voip", environment),
            "alert_token": made_up_token(name, "alert", environment),
        }
        profile = Profile(**(made_up | settings))
        return self.phones.add(Phone(name, profile, self.agenda, self.events, self.courier))

    async def remove_phone(self, name: str) -> None:
        """Let a phone go; its tokens become unknown. Raises KeyError."""
        await self.phones.remove(name).close()

    def tick(self) -> None:
        """Do what is due by now: for tests, after they have moved the clock."""
        self.agenda.run_due()

    async def _start(self, stack: AsyncExitStack) -> None:
        folder = self._state_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="apns-simulator-"))
        self.identity = identity.load(Path(folder), self.key_id, self._given)
        self.tokens.keys[self.key_id] = ProviderKey(self.key_id, self.team_id, self.identity.provider_key)
        stack.push_async_callback(self.network.close)
        stack.callback(self.agenda.close)
        self.apns = ApnsServer(self.service, self.identity.tls, self.agenda)
        self.faults = Faults(self.apns, self.service, self.tokens)
        stack.push_async_callback(self.apns.close)
        await self.apns.listen(*self._listen)
        stack.push_async_callback(self._close_phones)
        self._runner = web.AppRunner(make_app(self), access_log=None, shutdown_timeout=1.0)
        stack.push_async_callback(self._runner.cleanup)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._control_listen).start()
        stack.callback(self.events.close)
        for name in self._names:
            self.add_phone(name)

    async def _close_phones(self) -> None:
        for phone in self.phones:
            await phone.close()


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
