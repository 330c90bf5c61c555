"""Commands about incidents, devices and heartbeats of a running bridge: they ask its API (rule 9)."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import click
import orjson

from bridge import listings, trials
from bridge.client import Client, ClientError, Tls

Ask: TypeAlias = Callable[..., Any]
"""Asks the bridge: method, path (quoted already), query; gives what it answers."""

_URL: Final = click.option(
    "--bridge.url",
    "bridge_url",
    default="http://127.0.0.1:9095",
    show_default=True,
    envvar="PUSHKIT_BRIDGE_URL",
    help="Where the running bridge listens; user:password@ for basic authentication.",
)
_TOKEN: Final = click.option(
    "--bridge.token-file",
    "token_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file with the bearer token for --bridge.url.",
)
_FILES: Final = {
    "ca": "Who signed the certificate of --bridge.url, in PEM, where it is no public CA.",
    "cert": "A client certificate for --bridge.url, in PEM.",
    "key": "Its key, where that is not in the same file.",
}
_OUTPUT: Final = click.option("-o", "--output", type=click.Choice(["simple", "json"]), default="simple")


@dataclass(frozen=True, slots=True)
class Bridge:
    """Which bridge a command is about, and how it gets in."""

    url: str
    token_file: Path | None
    tls: Tls


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its options; it gets `bridge` and `output`."""

    @functools.wraps(command)
    def with_bridge(
        *,
        bridge_url: str,
        token_file: Path | None,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        **rest: Any,
    ) -> None:
        command(bridge=Bridge(bridge_url, token_file, Tls(tls_ca, tls_cert, tls_key)), **rest)

    decorated = _OUTPUT(with_bridge)
    for name, meaning in reversed(_FILES.items()):
        decorated = _file(name, meaning)(decorated)
    return _URL(_TOKEN(decorated))


def _file(name: str, meaning: str) -> Callable[..., Any]:
    return click.option(
        f"--bridge.{name}-file",
        f"tls_{name}",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar=f"PUSHKIT_BRIDGE_{name.upper()}_FILE",
        help=meaning,
    )


def ask(bridge: Bridge, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:
    """Ask the bridge; `path` is quoted already. An error ends the command, with its words."""
    try:
        client = Client(bridge.url, bridge.token_file, bridge.tls)
        return asyncio.run(client.ask(method, path, query or {}))
    except ClientError as error:
        raise click.ClickException(str(error)) from None


def say(found: Any, output: str, lines: Callable[[Any], Iterable[str]]) -> None:
    """Print what the bridge answered: as JSON, or as `lines` for a person."""
    if output == "json":
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n".join(lines(found)))


def _incident(name: str) -> str:
    return f"/api/v1/incidents/{quote(name, safe='')}"


def _device(name: str) -> str:
    return f"/api/v1/devices/{quote(name, safe='')}"


@click.group()
def incidents() -> None:
    """Look at the incidents of a running bridge, and acknowledge them."""


@incidents.command("list")
@asking
@click.option("--all", "closed", is_flag=True, help="The closed ones too.")
def incidents_list(bridge: Bridge, output: str, *, closed: bool) -> None:
    """List the open incidents, newest first, at most 1,000."""
    query = {"all": "true" if closed else "false", "limit": "1000"}
    found = ask(bridge, "GET", "/api/v1/incidents", query)
    say(found, output, lambda found: listings.incidents(found, closed=closed))


@incidents.command("show")
@asking
@click.argument("incident")
def incidents_show(bridge: Bridge, output: str, incident: str) -> None:
    """Tell one incident's whole story: its alerts, pages, calls and timeline."""
    say(ask(bridge, "GET", _incident(incident)), output, listings.story)


@incidents.command("ack")
@asking
@click.option("--by", default="", help="Who has it, where the bridge does not ask for credentials.")
@click.argument("incident")
def incidents_ack(bridge: Bridge, output: str, by: str, incident: str) -> None:
    """Acknowledge an incident: every phone stops ringing for it."""
    query = {"by": by} if by else {}
    found = ask(bridge, "POST", f"{_incident(incident)}/acknowledge", query)
    say(found, output, lambda found: [listings.line(found)])


@click.group()
def devices() -> None:
    """Enrol phones at a running bridge, look at them, revoke them."""


@devices.command("enroll")
@asking
@click.option("--device", help="What the phone is to be called; without it the phone chooses.")
@click.argument("owner")
def devices_enroll(bridge: Bridge, output: str, device: str | None, owner: str) -> None:
    """Make a one-time code for a phone of OWNER, as a QR code for its app to scan."""
    query = {"owner": owner} | ({} if device is None else {"device": device})
    found = ask(bridge, "POST", "/api/v1/enrolments", query)
    say(found, output, listings.enrolment)
    for caution in listings.cautions(found["url"]):
        click.echo(f"WARNING: {caution}", err=True)


@devices.command("list")
@asking
def devices_list(bridge: Bridge, output: str) -> None:
    """List the phones: whose they are, and whether they would ring tonight."""
    say(ask(bridge, "GET", "/api/v1/devices"), output, listings.devices)


@devices.command("show")
@asking
@click.argument("device")
def devices_show(bridge: Bridge, output: str, device: str) -> None:
    """Tell all that is known of one phone, and what to do about its troubles."""
    say(ask(bridge, "GET", _device(device)), output, listings.device)


@devices.command("revoke")
@asking
@click.argument("device")
def devices_revoke(bridge: Bridge, output: str, device: str) -> None:
    """Let an enrolled phone go: its credential and its tokens are worth nothing any more."""
    found = ask(bridge, "DELETE", _device(device))
    say(found, output, lambda found: [f"{listings.text(found['revoked'])} is revoked, and rings no more"])


@click.group()
def heartbeats() -> None:
    """Look at the heartbeats that a running bridge waits for."""


@heartbeats.command("list")
@asking
def heartbeats_list(bridge: Bridge, output: str) -> None:
    """List them: when each last came, and which are missing."""
    say(ask(bridge, "GET", "/api/v1/heartbeats"), output, listings.heartbeats)


@click.group()
def drills() -> None:
    """See when drills ring at a running bridge, and who did not confirm."""


@drills.command("list")
@asking
def drills_list(bridge: Bridge, output: str) -> None:
    """List them: when each rings next, and what came of the last time."""
    say(ask(bridge, "GET", "/api/v1/drills"), output, listings.drills)


@drills.command("show")
@asking
@click.argument("drill")
def drills_show(bridge: Bridge, output: str, drill: str) -> None:
    """Tell of one drill the last times that it rang, and who confirmed."""
    found = ask(bridge, "GET", f"/api/v1/drills/{quote(drill, safe='')}")
    say(found, output, listings.drill)


_BY: Final = click.option("--by", default="", help="Who says so, where the bridge asks for no credentials.")


@devices.command("test")
@asking
@_BY
@click.option(
    "--for", "seconds", type=click.IntRange(10, 14400), help="Seconds until it is given up. [default: 180]"
)
@click.argument("device")
def devices_test(bridge: Bridge, output: str, by: str, seconds: int | None, device: str) -> None:
    """Ring one phone once, and tell each hand-over: exit 0 if it rang as far as can be known.

    A phone that has enrolled says that it rang. One that stands in the configuration says nothing back: exit
    0 means that APNs has taken the call. Only its owner can tell the rest.
    """
    _test(bridge, output, {"device": device}, by, seconds)


@click.group()
def receivers() -> None:
    """Try out the receivers of a running bridge."""


@receivers.command("test")
@asking
@_BY
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(10, 14400),
    help="Seconds until it ends. [default: the policy's end]",
)
@click.argument("receiver")
def receivers_test(bridge: Bridge, output: str, by: str, seconds: int | None, receiver: str) -> None:
    """Ring by the whole policy of a receiver, as a drill: exit 0 if somebody acknowledges it.

    All its steps are taken, outgoing webhooks included: what they post says that it is a drill.
    """
    _test(bridge, output, {"receiver": receiver}, by, seconds)


def _test(bridge: Bridge, output: str, of: Mapping[str, str], by: str, seconds: int | None) -> None:
    query = {**of, **({"by": by} if by else {}), **({} if seconds is None else {"seconds": str(seconds)})}
    try:
        client = Client(bridge.url, bridge.token_file, bridge.tls)
        found = asyncio.run(trials.follow(client, query, click.echo if output == "simple" else _nothing))
    except ClientError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("called off: nothing rings any more", err=True)
        sys.exit(130)
    say(found, output, lambda found: [listings.verdict(found)])
    sys.exit(0 if found["passed"] else 1)


def _nothing(_: str) -> None:
    """Say nothing before the end: then it is one JSON document."""
