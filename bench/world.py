"""The server that all clients of a cell are measured against, and what they need to reach it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import jwt
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.cells import Cell

ROOT: Final = Path(__file__).parent.parent
SOURCE: Final = ROOT / "bench/server.c"
PROGRAM: Final = ROOT / "build/bench/server"
STREAMS: Final = 1_000  # at once, as APNs allows


class World:
    """An authority, the server's certificate and a provider's key, in a folder."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.ca_file, self.server_key = folder / "ca.pem", folder / "server.key"
        self.chain_file, self.key_file = folder / "server.pem", folder / "provider.p8"
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued.private_key_pem.write_to_path(str(self.server_key))
        self.chain_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key = ec.generate_private_key(ec.SECP256R1())
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        self.key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
        claims = {"iss": "TEAM567890", "iat": 1_800_000_000}
        token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": "ABCDE12345"})
        self.authorization = f"bearer {token}"


def build() -> Path:
    """Compile the server, unless it is newer than its source."""
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < SOURCE.stat().st_mtime:
        PROGRAM.parent.mkdir(parents=True, exist_ok=True)
        fresh = PROGRAM.with_suffix(f".{os.getpid()}")
        options = ("-O2", "-Wall", "-Wextra", "-Werror")
        libraries = ("-lnghttp2", "-lssl", "-lcrypto")
        subprocess.run(["cc", *options, "-o", str(fresh), str(SOURCE), *libraries], check=True)
        fresh.replace(PROGRAM)
    return PROGRAM


def pinned(core: int) -> tuple[str, ...]:
    """Give the words before a command that keep it to one core."""
    return ("taskset", "--cpu-list", str(core))


@contextlib.contextmanager
def server(world: World, cell: Cell, core: int, book: Path | None = None) -> Iterator[int]:
    """Run the server for one cell, on one core; gives its port. It writes down in `book` what it answers."""
    conditions = (cell.window, cell.delay * 1_000, STREAMS, *([book] if book else []))
    command = (*pinned(core), build(), world.server_key, world.chain_file, *conditions)
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()
