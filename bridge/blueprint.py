"""The commands about a configuration file, and `explain`, which asks a running bridge as well."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import orjson

from bridge import onfile
from bridge.alerts import timestamp
from bridge.config import DEFAULT, ConfigError
from bridge.listings import text
from bridge.manage import Bridge, ask, asking, say
from bridge.routetree import Route, render_tree
from bridge.views import account, way

_YEARS: Final = (2000, 2200)
_FILE: Final = click.Path(dir_okay=False, path_type=Path)
CONFIG: Final = click.option("--config.file", "config_file", type=_FILE, required=True)
OUTPUT: Final = click.option("-o", "--output", type=click.Choice(["simple", "json"]), default="simple")
_AT: Final = click.option("--at", help="The instant, RFC 3339; now if absent.")
_SOURCE: Final = click.option(
    "--source", default=DEFAULT, show_default=True, help="Who sends it: heartbeats can be of one source."
)


@click.group()
def config() -> None:
    """Look into a configuration file."""


@config.command("schema")
def schema() -> None:
    """Print the configuration as JSON Schema, for editors: docs/configuration.md says how."""
    from bridge.config.schema import schema as made  # noqa: PLC0415 - other commands do not need it

    click.echo(orjson.dumps(made(), option=orjson.OPT_INDENT_2).decode())


@config.command("import")
@click.argument("file", type=_FILE)
def import_(file: Path) -> None:
    """Propose routes from an Alertmanager configuration, with receivers and people to fill in."""
    from bridge.config.foreign import proposal  # noqa: PLC0415 - other commands do not need it

    try:
        click.echo(proposal(file), nl=False)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


@config.command()
@CONFIG
@_AT
@_SOURCE
@click.option(
    "--phone.external-url",
    "phone_url",
    default="https://phones.example.com",
    show_default=True,
    help="As serve has it: where phones say that they got a push is part of it.",
)
@OUTPUT
@click.argument("payload", type=click.File("rb"))
def render(
    config_file: Path, at: str | None, source: str, phone_url: str, output: str, payload: BinaryIO
) -> None:
    """Show each kind of push that PAYLOAD, the body of a webhook, would lead to; - reads it from stdin.

    Calls, notifications, what tells that it is acknowledged or over, a drill, and the post of an outgoing
    webhook: with their size, and what is cut to fit. Nothing is sent.
    """
    from bridge import preview  # noqa: PLC0415 - other commands do not need it

    try:
        found = preview.previewed(onfile.loaded(config_file), payload.read(), source, _instant(at), phone_url)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    say(found, output, preview.lines)


@config.group()
def routes() -> None:
    """Look at the routing tree."""


@routes.command()
@CONFIG
@OUTPUT
def show(config_file: Path, output: str) -> None:
    """Draw the routing tree."""
    root = onfile.loaded(config_file).route
    say({"routes": list(_routes(root))}, output, lambda _: [render_tree(root).removesuffix("\n")])


def _routes(root: Route) -> Iterator[dict[str, Any]]:
    """Give every route with what it inherits, parents first, in the order in which they are tried."""
    pending = [(0, root)]
    while pending:
        depth, route = pending.pop()
        yield {
            "path": route.path,
            "depth": depth,
            "receiver": route.receiver,
            "matchers": [str(matcher) for matcher in route.matchers],
            "group_by": list(route.group_by),
            "continue": route.continue_,
            "mute_time_intervals": list(route.mute_time_intervals),
            "active_time_intervals": list(route.active_time_intervals),
        }
        pending += [(depth + 1, child) for child in reversed(route.routes)]


@routes.command("test")
@CONFIG
@click.option("--verify.receivers", "verify", help="The receivers that must come out, by comma; else exit 1.")
@_AT
@_SOURCE
@OUTPUT
@click.argument("labels", nargs=-1, metavar="NAME=VALUE...")
def routes_test(
    config_file: Path, verify: str | None, at: str | None, source: str, output: str, labels: Sequence[str]
) -> None:
    """Say which way an alert with these labels goes, who would be rung, and why."""
    found = onfile.explained(onfile.loaded(config_file), _labels(labels), source, _instant(at))
    say(found, output, account.lines)
    receivers = [match["receiver"] for match in found["matches"]]
    if verify is not None and receivers != [name.strip() for name in verify.split(",")]:
        click.echo(f"WARNING: expected receivers {verify}, but got {','.join(receivers)}", err=True)
        sys.exit(1)


@click.command()
@asking
@click.option("--config.file", "config_file", type=_FILE, help="Ask this file, instead of a running bridge.")
@_AT
@_SOURCE
@click.option("--incident", help="Explain the alerts of this incident, at the instants when they came.")
@click.option("--alert", help="Of the incident only the alert of this fingerprint.")
@click.argument("labels", nargs=-1, metavar="NAME=VALUE...")
def explain(
    bridge: Bridge,
    output: str,
    config_file: Path | None,
    at: str | None,
    source: str,
    incident: str | None,
    alert: str | None,
    labels: Sequence[str],
) -> None:
    """Say which way an alert goes through the routing tree, who is on call, which phones ring, and why.

    It asks the running bridge, which knows the phones that enrolled and overrides; or with --config.file
    a file. Nothing rings by asking.
    """
    given, now = _labels(labels), _instant(at)
    if incident is not None and (given or at or config_file):
        raise click.UsageError("--incident says which labels and when: give nothing else but --alert")
    if alert is not None and incident is None:
        raise click.UsageError("--alert needs --incident beside it")
    if config_file is not None:
        one = onfile.explained(onfile.loaded(config_file), given, source, now)
        found = {"explanations": [one | {"incident": None}], "more": False}
    else:
        query = {"labels": way.written(given), "source": source} | ({} if at is None else {"at": at})
        if incident is not None:
            query = {"incident": incident} | ({} if alert is None else {"alert": alert})
        found = ask(bridge, "GET", "/api/v1/explain", query)
    say(found, output, _explanations)


def _explanations(found: Mapping[str, Any]) -> Iterator[str]:
    for one in found["explanations"]:
        of = one["incident"]
        if of is not None:
            labels = way.written(one["labels"])
            yield f"alert {text(of['fingerprint'])} at {text(one['at'])}: {text(labels)}"
        yield from account.lines(one)
        if of is not None and not of["same_way"]:
            yield f"   it is in an incident of {text(of['receiver'])}: the configuration is another now"
    if found["more"]:
        yield "and more: --alert asks for one of the rest"


def _instant(written: str | None) -> datetime:
    if written is None:
        return datetime.now(UTC)
    found = timestamp(written)
    if found is None or not _YEARS[0] <= found.year <= _YEARS[1]:
        wanted = "RFC 3339, such as 2026-01-31T03:00:00Z"
        raise click.BadParameter(f"{written!r} is not {wanted}", param_hint="--at")
    return found


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="labels")
        found[name] = value.removeprefix('"').removesuffix('"')
    return found
