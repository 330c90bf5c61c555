"""A simulator that stands in for Apple as a configuration of the bridge wants it; and its command."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from bridge.config import ConfigError, Settings, load
from bridge.simulator.command import Prescribed
from bridge.simulator.command import command as bare
from bridge.simulator.identity import Given


def topics(settings: Settings) -> list[str]:
    """List the bundle ids of devices whose app is another one than apns.topic."""
    return [device.topic for device in settings.devices.values() if device.topic]


def phones(settings: Settings) -> dict[str, dict[str, Any]]:
    """Give what the simulator's phones of a configuration's devices are made with, by their names."""
    found: dict[str, dict[str, Any]] = {}
    for device in settings.devices.values():
        tokens = {"voip_token": device.voip_token, "alert_token": device.alert_token}
        known = {name: token.reveal() for name, token in tokens.items() if token}
        found[device.name] = {"bundle_id": device.topic or settings.apns.topic, **known}
    return found


def prescribed(settings: Settings) -> Prescribed:
    """Give what a simulator needs so that a bridge with this configuration takes it for Apple."""
    apns = settings.apns
    given = Given(apns.key.reveal() if apns.key else None, *_certificate(apns.ca_file))
    made_with = phones(settings)
    for device in settings.devices.values():
        if device.environment:
            made_with[device.name]["environment"] = device.environment
    return Prescribed(given, made_with, topics(settings))


def _certificate(ca_file: Path | None) -> tuple[Path, Path, Path] | tuple[()]:
    """Find NAME.pem and NAME-key.pem beside an authority's NAME-ca.pem; nothing where there are none."""
    if ca_file is None or not ca_file.stem.endswith("-ca"):
        return ()
    name = ca_file.stem.removesuffix("-ca")
    found = (ca_file, ca_file.with_name(f"{name}.pem"), ca_file.with_name(f"{name}-key.pem"))
    return found if all(file.exists() for file in found) else ()


def _defaults(settings: Settings, file: Path) -> dict[str, Any]:
    apns = settings.apns
    if apns.url is None:
        raise click.ClickException(f"{file} has no apns.url: a bridge with it calls Apple, not the simulator")
    parts = urlsplit(apns.url)
    host = "[::1]" if parts.hostname == "::1" else "127.0.0.1"
    found = {
        "listen_address": f"{host}:{parts.port or 443}",
        "topic": apns.topic,
        "environment": apns.environment,
        "team_id": apns.team_id,
        "key_id": apns.key_id,
    }
    return {name: value for name, value in found.items() if value is not None}


def _take(ctx: click.Context, _: click.Parameter, file: Path | None) -> None:
    if file is None:
        return
    try:
        settings = load(file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    ctx.default_map = _defaults(settings, file)
    ctx.obj = prescribed(settings)


_CONFIG = click.Option(
    ["--config.file"],
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_take,
    is_eager=True,
    expose_value=False,
    help="A bridge's configuration: ids, key, topic, environment, the port of apns.url and the phones are "
    "those in it, unless a flag says otherwise; so is the certificate, where simulator.pem and "
    "simulator-key.pem stand beside a ca_file simulator-ca.pem.",
)

command = click.Command(
    "simulator", params=[_CONFIG, *bare.params], callback=bare.callback, help=bare.help, epilog=bare.epilog
)
