"""Every command.

What a command needs is imported when it runs: `--help`, completion and a container's health
check should not wait for a database driver.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem, get_completion_class

from bridge import __version__

if TYPE_CHECKING:
    pass

_LEVELS: Final = ("debug", "info", "warning", "error")
_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_OUTPUT: Final = click.option("-o", "--output", type=click.Choice(["simple", "json"]), default="simple")


class _Commands(click.Group):
    """A group some of whose commands live in modules of their own, loaded when they are called."""

    elsewhere: Final = {
        "config": ("bridge.blueprint", "config", "Look into a configuration file."),
        "demo": ("bridge.demo", "command", "Ring a virtual phone for a real alert, on this machine alone."),
        "devices": (
            "bridge.manage",
            "devices",
            "Enrol phones at a running bridge, look at them, revoke them.",
        ),
        "drills": (
            "bridge.manage",
            "drills",
            "See when drills ring at a running bridge, and who did not confirm.",
        ),
        "explain": (
            "bridge.blueprint",
            "explain",
            "Say which way an alert goes, who is on call, which phones ring, and why.",
        ),
        "heartbeats": (
            "bridge.manage",
            "heartbeats",
            "Look at the heartbeats that a running bridge waits for.",
        ),
        "incidents": (
            "bridge.manage",
            "incidents",
            "Look at the incidents of a running bridge, and acknowledge them.",
        ),
        "ledger": (
            "bridge.auditor",
            "ledger",
            "Audit the record of a running bridge, read an incident's story, send failed pages again.",
        ),
        "oncall": (
            "bridge.onduty",
            "oncall",
            "See who is on call, and put somebody else on call for a time.",
        ),
        "receivers": ("bridge.manage", "receivers", "Try out the receivers of a running bridge."),
        "simulator": (
            "bridge.standin",
            "command",
            "Run a strict APNs and virtual phones on this machine.",
        ),
        "storage": ("bridge.mover", "storage", "Copy a ledger, or move it to another database."),
        "test": ("bridge.proving", "test", "Test what a configuration does, without a bridge."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.elsewhere])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.elsewhere:
            return super().get_command(ctx, cmd_name)
        module, name, _ = self.elsewhere[cmd_name]
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self._rows(ctx))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command without loading those that it could be."""
        flags = click.Command.shell_complete(self, ctx, incomplete)
        found = (row for row in self._rows(ctx) if row[0].startswith(incomplete))
        return [*(CompletionItem(name, help=text) for name, text in found), *flags]

    def _rows(self, ctx: click.Context) -> list[tuple[str, str]]:
        return [
            (name, here.get_short_help_str(80) if here else self.elsewhere[name][2])
            for name in self.list_commands(ctx)
            for here in [self.commands.get(name)]
        ]


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="pushkit-bridge")
def main() -> None:
    """Alertmanager webhooks in, a ringing iPhone out, and a record that proves it."""


def _http_url(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    parts = urlsplit(value or "")
    if value is not None and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query):
        raise click.BadParameter(f"{value!r} is not https://HOST[:PORT][/PATH]")
    return value


def _route_prefix(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9_.-]+)*/?", value) or "/." in value:
        raise click.BadParameter(f"{value!r} is not a path such as /pushkit")
    return value.rstrip("/")


def _ping_url(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check the URL of the outside service, without saying it: whoever has it can be the bridge."""
    parts = urlsplit(value or "")
    if value is not None and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise click.BadParameter("it is not https://HOST[:PORT]/PATH")
    return value


@main.command()
@click.option("--config.file", "config_file", type=_FILE, required=True, help="The configuration (YAML).")
@click.option(
    "--web.listen-address",
    "web_listen",
    multiple=True,
    default=(":9095",),
    show_default=True,
    help="For Alertmanager and operators. May be given several times.",
)
@click.option(
    "--web.route-prefix",
    "web_route_prefix",
    default="/",
    show_default=True,
    callback=_route_prefix,
    help="Below which path that listener answers, behind a proxy that shares its host.",
)
@click.option(
    "--web.config.file",
    "web_config_file",
    type=_FILE,
    help="TLS and authentication of that listener, in exporter-toolkit's format.",
)
@click.option(
    "--console.listen-address",
    "console_listen",
    help="For the console alone, which is then not at --web.listen-address. The same file guards it.",
)
@click.option(
    "--phone.listen-address",
    "phone_listen",
    default=":9096",
    show_default=True,
    help="For the phones. Give it --phone.config.file, or put TLS in front of it.",
)
@click.option(
    "--phone.config.file",
    "phone_config_file",
    type=_FILE,
    help="TLS of that listener: the tls_server_config of exporter-toolkit's format.",
)
@click.option(
    "--phone.external-url",
    "phone_external_url",
    callback=_http_url,
    help="The URL under which phones reach that listener.",
)
@click.option(
    "--heartbeat.url",
    "heartbeat_url",
    callback=_ping_url,
    help="Pinged each minute while the bridge can do its work (healthchecks.io and the like).",
)
@click.option(
    "--tracing",
    is_flag=True,
    help="Record traces with OpenTelemetry, and send them where OTEL_EXPORTER_OTLP_ENDPOINT says.",
)
@click.option("--log.level", "log_level", type=click.Choice(_LEVELS), default="info", show_default=True)
@click.option(
    "--log.format",
    "log_format",
    type=click.Choice(["auto", "json", "console"]),
    default="auto",
    show_default=True,
    help="auto: console at a terminal, else JSON.",
)
def serve(log_level: str, log_format: Any, **flags: Any) -> None:
    """Run the bridge until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
    from bridge.app import Options
    from bridge.config import ConfigError
    from bridge.daemon import serve_until_signalled, trace_crashes
    from bridge.store import StoreError
    from bridge.telemetry import configure_logs
    from bridge.web import listen

    configure_logs(log_level, log_format)
    trace_crashes()
    try:
        for address in (*flags["web_listen"], flags["phone_listen"], flags["console_listen"] or ":0"):
            listen(address)
        died = asyncio.run(serve_until_signalled(Options(**flags)))
    except (ConfigError, StoreError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if died:
        raise click.ClickException("a loop of the bridge died; see the log")


@main.command("check-config")
@_OUTPUT
@click.argument("file", type=_FILE)
def check(file: Path, output: str) -> None:
    """Check a configuration file: SUCCESS or FAILED, exit 0 or 1."""
    from bridge.config import check_config, checked

    if output == "json":
        import orjson

        found = checked(file)
        good, text = found["good"], orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
    else:
        good, text = check_config(file)
    click.echo(text)
    sys.exit(0 if good else 1)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a SHELL complete commands, flags and files, to be read by it at its start."""
    made = get_completion_class(shell)
    if made is not None:
        click.echo(made(main, {}, "pushkit-bridge", "_PUSHKIT_BRIDGE_COMPLETE").source())


@main.command()
@click.option(
    "--url",
    default="http://127.0.0.1:9095/-/healthy",
    show_default=True,
    envvar="PUSHKIT_BRIDGE_HEALTH_URL",
    help="What to ask; https:// where the listener has TLS.",
)
@click.option(
    "--ca-file", type=_FILE, envvar="PUSHKIT_BRIDGE_CA_FILE", help="Who signed its certificate, in PEM."
)
@click.option(
    "--cert-file", type=_FILE, envvar="PUSHKIT_BRIDGE_CERT_FILE", help="A client certificate, in PEM."
)
@click.option(
    "--key-file", type=_FILE, envvar="PUSHKIT_BRIDGE_KEY_FILE", help="Its key, if not in the same file."
)
def healthcheck(url: str, **files: Any) -> None:
    """Ask a running bridge whether it answers: exit 0 or 1, for a container's HEALTHCHECK."""
    from bridge.client import Client, ClientError, Tls

    base, slash, path = url.partition("/-/")
    try:
        asyncio.run(Client(base, None, Tls(**files)).text("GET", slash + path))
    except ClientError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
