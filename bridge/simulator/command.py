"""The command `simulator`: APNs and phones for whoever tries the bridge out."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click
import structlog

from bridge.pushes import Environment
from bridge.simulator import Contract, Simulator
from bridge.simulator.identity import Given

_log = structlog.get_logger()
_ADDRESS: Final = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]*):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Prescribed:
    """What a bridge's configuration wants of a simulator; `phones` are fields of Profile, by name."""

    given: Given
    phones: Mapping[str, dict[str, Any]]
    topics: Sequence[str] = ()


class _Address(click.ParamType[tuple[str, int]]):
    name = "HOST:PORT"

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        found = _ADDRESS.fullmatch(value)
        if found is None or int(found["port"]) > 65535:
            self.fail(f"{value!r} is not HOST:PORT, e.g. 127.0.0.1:2197 or [::1]:2197", param, ctx)
        return found["host"].strip("[]") or "127.0.0.1", int(found["port"])


_CONTROL: Final = """\b
The control interface, plain HTTP and JSON; GET / lists every path:
  GET   /phones, /phones/NAME                          how the phones are set
  GET   /phones/NAME/pushes, /phones/NAME/calls        what reached one
  POST  /phones/NAME/answer, /phones/NAME/decline      take or refuse what rings
  PATCH /phones/NAME                                   {"behaviour": "unregistered"} and the like
  POST  /phones/NAME/enrol                             {"link": "what devices enroll says"}
  POST  /phones/NAME/rotate, /phones/NAME/invalidate   tokens change
  POST  /phones/NAME/rotate-key                        the page key changes
  GET   /events                                        what happens, as it happens
  GET   /contract                                      what broke it, with --contract
  GET, POST, DELETE /faults                            let APNs misbehave"""


@click.command("simulator", epilog=_CONTROL)
@click.option("--listen-address", type=_Address(), default="127.0.0.1:2197", show_default=True, help="APNs.")
@click.option(
    "--control.listen-address",
    "control_address",
    type=_Address(),
    default="127.0.0.1:2198",
    show_default=True,
    help="The control interface: phones, faults, events.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("simulator"),
    show_default=True,
    help="Keeps the authority and the provider key from run to run.",
)
@click.option(
    "--phone",
    "phones",
    multiple=True,
    metavar="NAME[=VOIP_TOKEN[,ALERT_TOKEN]]",
    help="A virtual phone; tokens are made up from its name where missing. May be repeated.",
)
@click.option("--topic", default="com.example.oncall", show_default=True, help="The app's bundle id.")
@click.option(
    "--environment", type=click.Choice(["production", "sandbox"]), default="production", show_default=True
)
@click.option("--team-id", default="ABCDE12345", show_default=True)
@click.option("--key-id", default="ABC123DEFG", show_default=True)
@click.option(
    "--auto-answer", type=click.FloatRange(min=0), metavar="SECONDS", help="Phones answer by themselves."
)
@click.option(
    "--token-renewals",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many new provider tokens a key may bring in 20 minutes; each start of a bridge needs one.",
)
@click.option(
    "--contract",
    "contract_folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Hold every push, answer and event against the schemas in this folder (contract/ of the source); "
    "what breaks them is logged, stands at GET /contract, and makes the exit status 1.",
)
def command(
    *,
    listen_address: tuple[str, int],
    control_address: tuple[str, int],
    state_dir: Path,
    phones: Sequence[str],
    topic: str,
    environment: Environment,
    team_id: str,
    key_id: str,
    auto_answer: float | None,
    token_renewals: int,
    contract_folder: Path | None,
) -> None:
    """Run a strict APNs and virtual phones on this machine, until SIGTERM or Ctrl-C."""
    wanted = click.get_current_context().find_object(Prescribed)
    contract = None if contract_folder is None else _read(contract_folder)
    sim = Simulator(
        topic=topic,
        topics=wanted.topics if wanted else (),
        given=wanted.given if wanted else None,
        environment=environment,
        team_id=team_id,
        key_id=key_id,
        host=listen_address[0],
        port=listen_address[1],
        control_host=control_address[0],
        control_port=control_address[1],
        state_dir=state_dir.resolve(),
        renewals=token_renewals,
        contract=contract,
    )
    try:
        asyncio.run(_run(sim, phones, auto_answer, wanted))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if sim.contract.broken:
        raise click.ClickException(f"the contract was broken {sim.contract.broken} times")


def _read(folder: Path) -> Contract:
    try:
        return Contract(folder)
    except (OSError, ValueError, KeyError) as error:
        raise click.BadParameter(str(error), param_hint="--contract") from error


async def _run(
    sim: Simulator, phones: Sequence[str], auto_answer: float | None, wanted: Prescribed | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT)
    for number in caught:
        loop.add_signal_handler(number, stop.set)
    try:
        async with sim:
            for wish in phones:
                _add(sim, wish, auto_answer)
            if wanted is None:
                click.echo(configuration(sim))
            else:
                _add_prescribed(sim, wanted, auto_answer)
            click.echo(f"# The phones: open {sim.control_url} in a browser.")
            _log.info("simulator ready", url=sim.url, control_url=sim.control_url)
            await stop.wait()
            _log.info("simulator stopping")
    finally:
        for number in caught:
            with contextlib.suppress(ValueError, NotImplementedError):
                loop.remove_signal_handler(number)


def _add(sim: Simulator, wish: str, auto_answer: float | None) -> None:
    name, _, tokens = wish.partition("=")
    kinds: tuple[Literal["voip_token", "alert_token"], ...] = ("voip_token", "alert_token")
    given = [token.strip() for token in tokens.split(",")]
    if not name or len(given) > len(kinds):
        raise ValueError(f"--phone {wish!r} is not NAME[=VOIP_TOKEN[,ALERT_TOKEN]]")
    sim.add_phone(
        name,
        auto_answer=auto_answer,
        **{kind: token for kind, token in zip(kinds, given, strict=False) if token},
    )


def _add_prescribed(sim: Simulator, wanted: Prescribed, auto_answer: float | None) -> None:
    for name, made_with in wanted.phones.items():
        sim.add_phone(name, auto_answer=auto_answer, **made_with)
    if wanted.given.certificate_file is None:
        _log.warning("the configuration must name another authority", ca_file=sim.ca_file)


def configuration(sim: Simulator) -> str:
    """Give what the bridge's configuration says to use this simulator and its phones, in YAML."""
    lines = [
        "apns:",
        f"  team_id: {sim.team_id}",
        f"  key_id: {sim.key_id}",
        f"  key_file: {sim.key_file}",
        f"  topic: {sim.topic}",
        f"  environment: {sim.environment}",
        f"  url: {sim.url}",
        f"  ca_file: {sim.ca_file}",
    ]
    if list(sim.phones):
        lines.append("devices:")
    for phone in sim.phones:
        lines += [
            f"  - name: {phone.name}",
            f'    voip_token: "{phone.profile.voip_token}"',
            f'    alert_token: "{phone.profile.alert_token}"',
        ]
    return "\n".join(lines)
