"""Who may look at the console, who may act there, and whose word is taken for who somebody is."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

from pydantic import PlainValidator, model_validator

from bridge.config import spelling
from bridge.config.fields import Name, text_of
from bridge.config.part import Part
from bridge.config.problems import quote

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_HEADER: Final = re.compile(r"[A-Za-z0-9-]+")
_NO_NAMES: Final = frozenset({"authorization", "cookie", "host", "origin", "x-forwarded-for"})


class Role(StrEnum):
    """What somebody may do at the console."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Names are those of the web configuration's users, of client certificates, or a trusted proxy's.

    `operators` None: whoever gets in may act. `viewers` None: whoever else gets in may look. Requests from
    `trusted_proxies` say in `user_header` whose they are.
    """

    operators: frozenset[str] | None = None
    viewers: frozenset[str] | None = None
    trusted_proxies: tuple[Network, ...] = ()
    user_header: str = "X-Forwarded-User"

    def role(self, name: str) -> Role | None:
        """Say what somebody may do; None: nothing. "" is somebody who did not have to give a name."""
        if self.operators is None or name in self.operators:
            return Role.OPERATOR
        return Role.VIEWER if self.viewers is None or name in self.viewers else None

    def trusts(self, address: str) -> bool:
        """Tell whether a request from this address may say whose it is."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:  # a socket without an address
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)  # an IPv4 client at a listener for both
        return any((mapped or parsed) in network for network in self.trusted_proxies)


def _network(value: object) -> Network:
    text = text_of(value)
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{quote(text)} is no address or network, such as 10.0.0.5 or 10.1.0.0/16") from None


def _header(value: object) -> str:
    text = text_of(value)
    if not _HEADER.fullmatch(text):
        raise ValueError(f"{quote(text)} is no name of a header, such as X-Forwarded-User")
    if text.lower() in _NO_NAMES:
        raise ValueError(f"{text} holds no user's name")
    return text


class ConsolePart(Part):
    """The section `console`."""

    operators: tuple[Name, ...] | None = None
    viewers: tuple[Name, ...] | None = None
    trusted_proxies: tuple[Annotated[Network, PlainValidator(_network), spelling.NETWORK], ...] = ()
    user_header: Annotated[str, PlainValidator(_header), spelling.WORD] = "X-Forwarded-User"

    @model_validator(mode="after")
    def somebody_can_act(self) -> ConsolePart:
        """Refuse viewers without operators: everybody else could act, the strangers."""
        if self.viewers is not None and self.operators is None:
            raise ValueError("viewers need operators beside them: without, whoever gets in may act")
        return self


def settings(part: ConsolePart) -> ConsoleSettings:
    """Build the settings."""
    return ConsoleSettings(
        None if part.operators is None else frozenset(part.operators),
        None if part.viewers is None else frozenset(part.viewers),
        part.trusted_proxies,
        part.user_header,
    )
