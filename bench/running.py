"""Runs clients in interleaved rounds, each in a process of its own on a core of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from bench.cells import Cell, Column
from bench.clients.measure import Job, Result
from bench.world import ROOT, World, pinned, server

PATIENCE = 60.0  # seconds for one client and one round
Results = dict[str, list[Result]]


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    cells: Sequence[Cell]
    columns: Sequence[Column]
    rounds: int
    seconds: float


def cores() -> tuple[int, int]:
    """Give one core for the client and another for the server, or the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def run_cell(plan: Plan, cell: Cell, world: World) -> Results:
    """Measure every client in this cell: A B C, A B C, ..."""
    client_core, server_core = cores()
    results: Results = {column.name: [] for column in plan.columns}
    with server(world, cell, server_core) as port:
        for _ in range(plan.rounds):
            for column in plan.columns:
                job = Job(
                    port=port,
                    ca_file=str(world.ca_file),
                    key_file=str(world.key_file),
                    authorization=world.authorization,
                    in_flight=cell.in_flight,
                    payload=cell.payload,
                    seconds=plan.seconds,
                    loop=column.loop,
                )
                results[column.name].append(run_client(column, job, client_core))
    return results


def run_all(plan: Plan, world: World, say: Callable[[str], None]) -> dict[Cell, Results]:
    results = {}
    for number, cell in enumerate(plan.cells, 1):
        say(f"{number}/{len(plan.cells)}: {cell.name}")
        results[cell] = run_cell(plan, cell, world)
    return results


def run_client(column: Column, job: Job, core: int) -> Result:
    """Start one client and take its line. One that gives none is a result too."""
    words = [word.format(python=sys.executable) for word in column.command]
    command = [*pinned(core), *words, json.dumps(asdict(job))]
    environment = os.environ | {"NODE_ENV": "production"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Result(0, job.seconds, 0, None, None, why="no end within a minute")
    # pyreqwest may abort on its way out: what counts is what it said before.
    lines = done.stdout.splitlines()
    if not lines:
        why = done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        return Result(0, job.seconds, 0, None, None, why=why[0][:200])
    return Result(**json.loads(lines[-1]))
