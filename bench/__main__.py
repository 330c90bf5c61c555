"""`python -m bench transport`, `soak`, `console` and `fuzz`: see docs/performance.md, and beside it."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from bench import cells, console, image, machine, running, table
from bench.chaos import driver as chaos
from bench.chaos.faults import NAMES
from bench.chaos.report import page
from bench.chaos.world import Kind
from bench.figures import figures
from bench.fuzz import driver as attack
from bench.load import driver as load
from bench.load import report as figures_of_load
from bench.soak import driver, report
from bench.world import World, build
from bridge.telemetry import configure_logs

T = TypeVar("T")


@click.group()
def main() -> None:
    """Measure the bridge, and try what it withstands."""


@main.command()
@click.option("--quick", is_flag=True, help="Four cells, two short rounds: says whether it works, no more.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each cell (3).")
@click.option("--seconds", type=click.FloatRange(0.05), help="Length of each count (1).")
@click.option("--cell", "wanted", multiple=True, help="Only cells whose name contains this.")
@click.option("--client", "clients", multiple=True, help="Only these clients, by the name in the table.")
@click.option(
    "--write", type=click.Path(path_type=Path, exists=True), help="Put the tables in this document."
)
@click.option("--json", "as_json", is_flag=True, help="Print every round as JSON instead of tables.")
def transport(
    *,
    quick: bool,
    rounds: int | None,
    seconds: float | None,
    wanted: tuple[str, ...],
    clients: tuple[str, ...],
    write: Path | None,
    as_json: bool,
) -> None:
    """Measure ours beside other clients, all against one server."""
    chosen = [cell for cell in (cells.QUICK if quick else cells.ALL) if _named(cell.name, wanted)]
    known = {column.name: column for column in (*cells.COLUMNS, *cells.BOUNDS)}
    columns = [known[name] for name in known if name in clients] if clients else list(cells.COLUMNS)
    if not chosen or not columns:
        raise click.UsageError("no such cell or client")
    plan = running.Plan(chosen, columns, rounds or (2 if quick else 3), seconds or (0.4 if quick else 1.0))
    build()
    facts = [
        *machine.facts(),
        machine.others(),
        f"- {plan.rounds} rounds of {plan.seconds:g} s for each client and cell.",
    ]
    if quick:
        facts.append(
            "- **Provisional**: a quick run says that the benchmark works, not how fast anything is."
        )
    with tempfile.TemporaryDirectory() as folder:
        results = running.run_all(plan, World(Path(folder)), lambda text: click.echo(text, err=True))
    if as_json:
        rows = (
            (cell, name, run)
            for cell, found in results.items()
            for name, runs in found.items()
            for run in runs
        )
        for cell, name, run in rows:
            click.echo(json.dumps({"cell": asdict(cell), "client": name, **asdict(run)}))
        return
    found = {
        cell: {name: figures(runs, of.get(cells.STOCK, [])) for name, runs in of.items()}
        for cell, of in results.items()
    }
    text = table.page(found, facts)
    click.echo(text)
    if write is not None:
        write.write_text(table.replaced(write.read_text(), "transport", text))


@main.command()
@click.option("--quick", is_flag=True, help="Seconds instead of minutes: says whether it works, no more.")
@click.option("--rounds", type=click.IntRange(1), help="Turns of each system (3).")
@click.option("--part", "parts", multiple=True, type=click.Choice(load.PARTS), help="Only this part.")
@click.option(
    "--write", type=click.Path(path_type=Path, exists=True), help="Put the tables in this document."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON instead of tables.")
def bridge(
    *, quick: bool, rounds: int | None, parts: tuple[str, ...], write: Path | None, as_json: bool
) -> None:
    """Measure the whole bridge: webhooks in, pushes out, beside a handler without a record."""
    plan = load.QUICK if quick else load.Plan()
    plan = replace(plan, rounds=rounds or plan.rounds).only(parts or load.PARTS)
    facts = [
        *machine.facts(),
        f"- {plan.rounds} rounds; each figure is their median, with the least and the greatest.",
    ]
    if quick:
        facts.append(
            "- **Provisional**: a quick run says that the benchmark works, not how fast anything is."
        )
    began = machine.busy()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(load.measure(Path(folder), plan, lambda text: click.echo(text, err=True)))
    facts.append(machine.noise(began))
    text = figures_of_load.page(found, facts)
    click.echo(json.dumps(asdict(found)) if as_json else text)
    if write is not None:
        write.write_text(table.replaced(write.read_text(), "bridge", text))


@main.command("console")
@click.option("--incidents", default=5000, show_default=True, help="Open incidents.")
@click.option("--viewers", default=16, show_default=True, help="Open pages.")
@click.option("--webhooks", default=200, show_default=True, help="Webhooks in each count.")
def console_command(*, incidents: int, viewers: int, webhooks: int) -> None:
    """Measure the console of a bridge with many open incidents, and webhooks beside it."""
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(console.measure(Path(folder), incidents, viewers, webhooks))
    click.echo("\n".join([*machine.facts(), machine.others(), "", *results.lines()]))


@main.command()
@click.option("--pushes", type=click.IntRange(100), default=1_000_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the faults.")
@click.option(
    "--write", type=click.Path(path_type=Path, exists=True), help="Put the tables in this document."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def soak(*, pushes: int, seed: int, write: Path | None, as_json: bool) -> None:
    """Send pushes through changing faults and compare what both sides counted. Exit 1 if they disagree."""
    facts = machine.facts()
    found = asyncio.run(driver.soak(pushes, seed, lambda text: click.echo(text, err=True)))
    text = report.page(found, [*facts, f"- Seed of the faults: {seed}."])
    click.echo(json.dumps(asdict(found)) if as_json else text)
    if write is not None:
        write.write_text(table.replaced(write.read_text(), "soak", text))
    if found.wrong:
        raise SystemExit(1)


@main.command()
@click.option(
    "--count", type=click.IntRange(10), default=10_000, show_default=True, help="Of each random kind."
)
@click.option("--seed", type=int, default=1, show_default=True)
def fuzz(*, count: int, seed: int) -> None:
    """Send hostile input to a whole bridge; tell the longest step of its loop. Exit 1 if it answered 500."""
    found = asyncio.run(attack.fuzz(count, seed, lambda text: click.echo(text, err=True)))
    click.echo("\n".join(f"{number:,} {kind}" for kind, number in found.tried.items()))
    click.echo(f"answers: {dict(sorted(found.statuses.items()))}")
    click.echo(f"longest step of the loop: {max(found.longest.values()):.0f} ms")
    click.echo("\n".join(found.wrong))
    if found.wrong:
        raise SystemExit(1)


@main.command("chaos")
@click.option(
    "--ledger", type=click.Choice(["postgresql", "sqlite"]), default="postgresql", show_default=True
)
@click.option("--seconds", type=click.FloatRange(1), default=300.0, show_default=True, help="Of faults.")
@click.option(
    "--longest", type=click.FloatRange(0.5), default=9.0, show_default=True, help="Seconds of a fault."
)
@click.option("--seed", type=int, help="Of the faults and alerts; without it, another each time.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="For logs; without it, kept if something is wrong."
)
@click.option("--without", multiple=True, type=click.Choice(NAMES), help="A fault to leave out.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def chaos_command(
    *,
    ledger: Kind,
    seconds: float,
    longest: float,
    seed: int | None,
    folder: Path | None,
    without: tuple[str, ...],
    as_json: bool,
) -> None:
    """Break real processes at random moments, and look what became of each alert. Exit 1 if one was lost."""
    seed = random.randrange(2**32) if seed is None else seed
    place = folder or Path(tempfile.mkdtemp(prefix=f"chaos-{ledger}-{seed}-"))
    configure_logs("error", "json")  # of the simulator, which runs here
    plan = chaos.Plan(ledger, seconds, seed, longest, without=without)
    found = asyncio.run(_until_stopped(chaos.chaos(plan, place, lambda text: click.echo(text, err=True))))
    click.echo(json.dumps(asdict(found)) if as_json else page(found))
    if found.verdict.wrong:
        click.echo(f"logs are in {place}", err=True)
        raise SystemExit(1)
    if folder is None:
        shutil.rmtree(place)


async def _until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Have what was started stopped by SIGTERM and SIGINT too, also where a shell has SIGINT ignored."""
    task = asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


@main.command("image")
def image_command() -> None:
    """Build the container image; tell its size, its start, and its memory with ten devices."""
    try:
        click.echo("\n".join([*machine.facts()[:2], *(f"- {line}" for line in image.measure())]))
    except image.RunError as error:
        raise click.ClickException(str(error)) from None


def _named(name: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or any(part in name for part in wanted)


if __name__ == "__main__":
    sys.exit(main())
