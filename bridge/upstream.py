"""Alertmanager's own API, and the loops that use it: one makes and ends silences, one asks for its alerts."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping

import aiohttp

from bridge.alertmanager import Access, Alertmanager
from bridge.clock import Clock
from bridge.config import AlertmanagerSettings, ConfigError, Problem, Settings
from bridge.desk import Desk
from bridge.reconciler import Reconciler
from bridge.silencer import Silencer
from bridge.telemetry import Metrics


class Upstream:
    """The Alertmanagers of the configuration, and what is done with them. Raises ConfigError as `clients`."""

    def __init__(self, desk: Desk, session: aiohttp.ClientSession, clock: Clock, metrics: Metrics) -> None:
        self._session = session
        self._clients: Mapping[str, Alertmanager] = self.clients(desk.settings)
        self.silencer = Silencer(desk, lambda: self._clients, clock, metrics)
        self.reconciler = Reconciler(desk, lambda: self._clients, clock, metrics)

    def clients(self, settings: Settings) -> Mapping[str, Alertmanager]:
        """Make a client for each Alertmanager, by its name. Raises ConfigError where TLS refuses a file."""
        try:
            return {
                name: Alertmanager(self._session, _access(one))
                for name, one in settings.alertmanagers.items()
            }
        except (ValueError, OSError) as error:
            where = Problem(str(settings.path), 1, 1, "alertmanager", str(error))
            raise ConfigError([where]) from None

    def use(self, clients: Mapping[str, Alertmanager]) -> None:
        """Go on with these clients, which belong to the settings that the desk has now."""
        self._clients = clients
        self.silencer.wake()
        self.reconciler.wake()

    async def observe(self) -> None:
        """Bring the gauges up to date."""
        self.reconciler.observe()
        await self.silencer.observe()


def _access(one: AlertmanagerSettings) -> Access:
    headers = {}
    if one.credentials is not None:
        headers["Authorization"] = f"{one.scheme} {one.credentials.reveal()}"
    elif one.password is not None:
        pair = f"{one.user}:{one.password.reveal()}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return Access(one.urls, headers, _tls(one), one.server_name)


def _tls(one: AlertmanagerSettings) -> ssl.SSLContext | None:
    if not (one.ca_file or one.cert_file or one.insecure):
        return None
    context = ssl.create_default_context(cafile=one.ca_file)
    if one.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if one.cert_file is not None:
        context.load_cert_chain(one.cert_file, one.key_file)
    return context
