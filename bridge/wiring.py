"""What settings become at the edges: the ledger and its devices, the APNs transport."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from bridge.apns import Transport
from bridge.clock import Clock
from bridge.config import ApnsSettings, ConfigError, Problem, Settings
from bridge.config.settings import StorageSettings
from bridge.store import Store, open_store
from bridge.store.devices import Device


async def open_ledger(stack: AsyncExitStack, storage: StorageSettings, clock: Clock) -> Store:
    """Open the ledger; one that several bridges share steers the clock. Raises StoreError."""
    password = None if storage.password is None else storage.password.reveal()
    return await open_store(stack, storage.url, clock.now, password=password, steer=clock.steer)


def transport(settings: Settings, wall: Callable[[], float] = time.time) -> Transport:
    """Build the transport; `wall` dates provider tokens. Raises ConfigError for what only it can judge."""
    apns = settings.apns
    ca_file = None if apns.ca_file is None else str(apns.ca_file)
    proxy = None if apns.proxy is None else apns.proxy.reveal()
    try:
        if apns.key is None:
            return Transport.with_certificate(
                certificate_file=_certificate(apns),
                topic=apns.topic,
                url=apns.url,
                ca_file=ca_file,
                proxy=proxy,
            )
        return Transport.with_key(
            key_pem=apns.key.reveal(),
            key_id=apns.key_id or "",
            team_id=apns.team_id or "",
            topic=apns.topic,
            url=apns.url,
            ca_file=ca_file,
            proxy=proxy,
            wall=wall,
        )
    except (ValueError, OSError) as error:
        raise ConfigError([Problem(str(settings.path), 1, 1, "apns", str(error))]) from None


def _certificate(apns: ApnsSettings) -> str:
    """Give one file with certificate and key, as aioapns wants it.

    Two files, as a Kubernetes TLS secret has them, are joined in memory, never on a disk. The
    descriptor stays open: the path is read again whenever another environment connects.
    """
    if apns.certificate_key_file is None:
        return str(apns.certificate_file)
    joined = os.memfd_create("certificate")
    for part in (apns.certificate_file, apns.certificate_key_file):
        os.write(joined, part.read_bytes() + b"\n" if part else b"")
    return f"/proc/self/fd/{joined}"


def device(settings: Settings, name: str) -> Device:
    """Make the ledger's device from the configuration's: what it does not say is said under apns."""
    wish = settings.devices[name]
    return Device(
        name=name,
        owner=wish.owner,
        topic=wish.topic or settings.apns.topic,
        environment=wish.environment or settings.apns.environment,
        voip_token=None if wish.voip_token is None else wish.voip_token.reveal(),
        alert_token=None if wish.alert_token is None else wish.alert_token.reveal(),
    )
