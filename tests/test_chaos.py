"""Chaos finds what is wrong where something is, and nothing where nothing is; a short one on real processes."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.alerts import Alert
from bench.chaos.ledger import Books
from bench.chaos.proxy import Proxy
from bench.chaos.verdict import Heard, Span, judge

ROOT = Path(__file__).parent.parent
AT = 1_800_000_000.0
ALERT = Alert("Trouble1", "db", 1, "webhook", 5.0)
PAGE = {"id": "p", "incident_id": "i", "kind": "ring", "state": "settled", "outcome": "accepted",
        "reason": None, "call_id": "c"}  # fmt: skip
HEARD = Heard({"c": AT + 3}, {"c"}, {("alice", "u"): [frozenset("c")]})


def books(**change: Any) -> Books:
    """An incident that rang and is over; `change` says what is otherwise, of which table."""
    at = datetime.fromtimestamp(AT, UTC)
    rows: dict[str, dict[str, Any]] = {
        "incidents": {
            "id": "i",
            "state": "resolved",
            "opened_at": at,
            "group_values": [["team", "db"]],
            "resolution": "resolved",
        },
        "episodes": {"incident_id": "i", "fingerprint": "f", "labels": {"alertname": "Trouble1"}},
        "pages": PAGE,
        "devices": {"name": "alice", "live_until": at},
    }
    return Books(**{table: [row | change.get(table, {})] for table, row in rows.items()})


def test_what_rang_and_is_over_is_right_and_its_delay_is_told_with_the_faults_meanwhile() -> None:
    spans = [Span("early", AT - 9, AT - 1), Span("meanwhile", AT + 1, AT + 2), Span("late", AT + 4, AT + 5)]
    verdict = judge([ALERT], books(), HEARD, spans, AT + 60)
    assert verdict.wrong == []
    (delay,) = verdict.delays
    assert (delay.seconds, delay.faults) == (3.0, ("meanwhile",))


@pytest.mark.parametrize(
    ("change", "heard", "wrong"),
    [
        ({"episodes": {"labels": {"alertname": "Other"}}}, HEARD, "0 of 1 are in the ledger"),
        ({"incidents": {"state": "triggered"}}, HEARD, "is triggered, though its alerts have ended"),
        ({"pages": {"state": "sending", "outcome": None}}, HEARD, "is sending"),
        ({"devices": {"live_until": datetime(2100, 1, 1, tzinfo=UTC)}}, HEARD, "is busy until"),
        ({}, replace(HEARD, pushed=set()), "no phone has its call"),
        ({"pages": {"outcome": "rejected"}}, HEARD, "is rejected"),
        ({}, replace(HEARD, rings={("alice", "u"): [frozenset("c"), frozenset("c")]}), "rang twice"),
        ({"incidents": {"state": "triggered"}}, replace(HEARD, told={}), "rang no phone"),
        ({"incidents": {"resolution": "expired"}}, replace(HEARD, told={}), "rang no phone"),
    ],
)
def test_what_is_wrong_is_found(change: dict[str, Any], heard: Heard, wrong: str) -> None:
    assert any(wrong in one for one in judge([ALERT], books(**change), heard, [], AT + 60).wrong)


async def test_a_proxy_that_is_frozen_carries_nothing_and_one_that_is_cut_breaks_off() -> None:
    gone = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Proxy([f"127.0.0.1:{port}"]) as proxy:
            host, there = proxy.address.split(":")
            reader, writer = await asyncio.open_connection(host, int(there))
            proxy.freeze()
            writer.write(b"one")
            answer = asyncio.create_task(reader.readexactly(3))
            done, _ = await asyncio.wait([answer], timeout=0.2)
            assert not done
            proxy.freeze(frozen=False)
            assert await answer == b"one"
            proxy.refuse()
            with pytest.raises(ConnectionError):
                await reader.readexactly(1)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            await gone.wait()


@pytest.mark.real
@pytest.mark.parametrize(("ledger", "seconds"), [("postgresql", 12), ("sqlite", 6)])
def test_nothing_is_lost_and_nothing_rings_twice_while_real_processes_are_killed_cut_and_frozen(
    tmp_path: Path, ledger: str, seconds: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    command = [sys.executable, "-m", "bench", "chaos", f"--ledger={ledger}", f"--seconds={seconds}",
               "--longest=2", f"--seed={seed}", f"--folder={tmp_path / 'chaos'}", "--json"]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            out, _ = process.communicate(timeout=400)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it stops what it has started
            raise
    report = json.loads(out)
    assert report["verdict"]["wrong"] == []
    assert process.returncode == 0
    assert report["verdict"]["heard"] > 0
    assert sum(report["faults"].values()) > 3
    if report["skipped"]:
        pytest.skip(report["skipped"])
