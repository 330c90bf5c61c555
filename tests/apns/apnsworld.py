"""What every test here begins with: keys, certificates, a push."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from peer import PATIENCE

from bridge.apns import Timing, Transport
from bridge.pushes import PushRequest

T = TypeVar("T")
Connect: TypeAlias = Callable[..., Awaitable[Transport]]
MakePush: TypeAlias = Callable[..., PushRequest]

# Short enough that no test waits, long enough for a busy machine.
QUICK = Timing(connect=5.0, address=2.0, close=0.2, back_off=0.01, back_off_limit=0.05, stable=0.0)


class World:
    """An authority, a server's context, a key: what every test here begins with."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        issued = authority.issue_cert("127.0.0.1", "localhost")
        self.key_file = str(folder / "server.key")
        issued.private_key_pem.write_to_path(self.key_file)
        self.chain_file = str(folder / "server.pem")
        Path(self.chain_file).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.client_file = str(folder / "client.pem")
        authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(self.client_file)
        self.key_pem = (
            ec.generate_private_key(ec.SECP256R1())
            .private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            .decode()
        )

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain_file, self.key_file)
        context.set_alpn_protocols(["h2"])
        return context

    def transport(self, url: str, **options: Any) -> Transport:
        values: dict[str, Any] = {
            "key_pem": self.key_pem,
            "key_id": "ABCDE12345",
            "team_id": "TEAM567890",
            "topic": "com.example.app.voip",
            "url": url,
            "ca_file": self.ca_file,
            "max_connections": 1,
            "warm": 1,
            "timing": QUICK,
        }
        values.update(options)
        return Transport.with_key(**values)


def push(number: int = 0, **changes: Any) -> PushRequest:
    values: dict[str, Any] = {
        "apns_id": str(uuid.UUID(int=number)),
        "token": f"{number:064x}",
        "topic": "com.example.app.voip",
        "kind": "voip",
        "environment": "production",
        "priority": 10,
        "expiration": 0,
        "payload": b'{"aps":{}}',
        "timeout": 8.0,
    }
    values.update(changes)
    return PushRequest(**values)


async def within(awaitable: Awaitable[T]) -> T:
    """Wait, though not for ever: only a failing test gets that far."""
    return await asyncio.wait_for(awaitable, PATIENCE)
