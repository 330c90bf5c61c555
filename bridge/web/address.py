"""Listen addresses as Alertmanager writes them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_MAX_PORT: Final = 65535


class Address(NamedTuple):
    """Where to listen: host None = all interfaces, port 0 = any free one."""

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def listen(address: str) -> Address:
    """Parse `:9095`, `127.0.0.1:9095`, `[::1]:9095` or `name:9095`; raises ValueError in words for people."""
    if "://" in address:
        raise ValueError(f'"{address}" is a URL; write only host:port, such as ":9095"')
    if address.isdecimal():
        raise ValueError(f'"{address}" has no colon; did you mean ":{address}"?')
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        raise ValueError(f'"{address}" has no port; did you mean "{address}:9095"?')
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _MAX_PORT:
        raise ValueError(f'"{address}": the port must be a number from 0 to {_MAX_PORT}, not "{port}"')
    return Address(_host(host, address, port), int(port))


def _host(host: str, address: str, port: str) -> str | None:
    if not host:
        return None
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in host or bare != host:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError:
            raise ValueError(f'"{address}": "{bare}" is not an IPv6 address') from None
        if bare == host:
            raise ValueError(f'"{address}": an IPv6 address needs brackets; did you mean "[{host}]:{port}"?')
        return bare
    if re.fullmatch(r"[\d.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(f'"{address}": "{host}" is not an IPv4 address') from None
    elif not _HOST.fullmatch(host):
        raise ValueError(f'"{address}": "{host}" is not a host name')
    return host
