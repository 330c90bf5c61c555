"""The benchmark measures what it says: its arithmetic, and one tiny cell so that it cannot rot."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench import console
from bench.cells import ALL, BOUNDS, COLUMNS, LARGE_WINDOW, STOCK, Cell
from bench.clients import measure as clients
from bench.clients.measure import Job, Result, Tally, quantile
from bench.figures import Figures, figures
from bench.load.caller import Caller, Sent
from bench.load.driver import QUICK
from bench.load.phases import waits
from bench.load.town import Town
from bench.table import LIGHT, REFERENCE, aims, number, page, replaced
from bridge import routing
from bridge.config import load

ROOT = Path(__file__).parent.parent
CAN_BUILD = shutil.which("cc") and Path("/usr/include/nghttp2/nghttp2.h").exists()


def result(answered: int, p99: float = 1.0, cpu: float = 0.001, **more: int) -> Result:
    return Result(answered, 1.0, cpu, p99 / 2, p99, **more)


def test_a_ratio_is_made_within_its_round_so_that_noise_which_hits_both_cancels_out() -> None:
    mine = figures([result(100), result(10), result(50)], [result(10), result(1), result(5)])
    assert mine.ratio is not None
    assert (mine.ratio.least, mine.ratio.median, mine.ratio.most) == (10, 10, 10)
    assert (mine.rate.least, mine.rate.median, mine.rate.most) == (10, 50, 100)


def test_a_round_in_which_nothing_was_answered_gives_no_ratio_and_no_latency() -> None:
    nothing = Result(0, 1.0, 0.5, None, None, lost=3)
    assert figures([result(10)], [nothing]).ratio is None
    silent = figures([nothing, nothing], [nothing, nothing])
    assert (silent.p99, silent.cpu, silent.lost) == (None, None, 6)


def test_the_console_is_measured_while_nothing_rings(tmp_path: Path) -> None:
    settings, now = load(console._config(tmp_path)), datetime.now(UTC)
    labels = {"alertname": "Alert1", "severity": "critical"}
    (match,) = routing.explain(settings.route, labels, now, settings.time_intervals).matches
    assert match.muted_until is not None
    assert match.muted_until - now > timedelta(days=1)


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50_000), (0.99, 99_000), (1.0, 100_000)])
def test_a_quantile_is_the_nearest_rank_in_milliseconds(part: float, expected: float) -> None:
    assert quantile([float(value) for value in range(1, 101)], part) == expected


def test_only_what_was_answered_after_the_warm_up_is_counted() -> None:
    tally = Tally()
    tally.waits.extend([9.0] * 5)
    tally.begin()
    tally.waits.extend([0.002, 0.001])
    counted = tally.result()
    assert (counted.answered, counted.p50, counted.p99) == (2, 1, 2)


async def test_a_push_without_an_end_is_counted_as_lost_and_one_that_raises_as_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "PATIENCE", 0.05)
    never = asyncio.get_running_loop().create_future()

    async def send(number: int) -> bool:
        if number % 7 == 3:
            await asyncio.shield(never)
        if number % 7 == 5:
            raise KeyError(number)
        await asyncio.sleep(0)
        return True

    counted = await clients.measure(Job(1, "", "", "", 4, 400, 0.02), send)
    assert counted.lost == 4  # each worker meets it in the end
    assert counted.failed > 0
    assert counted.why == "KeyError"
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@pytest.mark.parametrize("size", [400, 5_000])
def test_the_payload_has_the_size_that_its_cell_names(size: int) -> None:
    job = Job(1, "", "", "", 1, size, 1.0)
    assert len(job.body()) == size


def test_the_matrix_is_the_one_that_was_asked_for() -> None:
    assert {cell.in_flight for cell in ALL} == {1, 100, 1_000}
    assert {(cell.payload, cell.window, cell.delay) for cell in ALL} == {
        (payload, window, delay)
        for payload in (400, 5_000)
        for window in (65_535, LARGE_WINDOW)
        for delay in (0, 20)
    }
    assert len({cell.name for cell in ALL}) == len(ALL) == 24


def measured(ours: int, other: int, cpu: float = 20e-6) -> dict[str, Figures]:
    stock = [result(100, p99=9.0)]
    mine = [result(ours, p99=2.0, cpu=cpu * ours)]
    return {
        "ours, asyncio": figures(mine, stock),
        "ours, uvloop": figures(mine, stock),
        STOCK: figures(stock, stock),
        "another": figures([result(other)], stock),
    }


def verdicts(results: dict[Cell, dict[str, Figures]]) -> list[str]:
    return [line.rsplit("|", 2)[1].strip() for line in list(aims(results))[2:]]


def test_the_aims_are_met_only_by_what_was_measured() -> None:
    assert set(verdicts({REFERENCE: measured(2_500, 1), LIGHT: measured(2_500, 1)})) == {"yes"}
    assert verdicts({REFERENCE: measured(2_000, 1, cpu=26e-6)})[:4] == ["yes", "no", "no", "no"]
    assert verdicts({})[:6] == ["no"] * 6


def test_a_faster_client_is_named_with_its_cell() -> None:
    said = "\n".join(aims({REFERENCE: measured(2_500, 5_000)}))
    assert f"another makes 2.00 times as many at {REFERENCE.name}" in said


def test_what_bounds_ours_is_no_client_that_ours_could_be_behind() -> None:
    faster = figures([result(9_000)], [result(100)])
    columns = measured(2_500, 1) | {column.name: faster for column in BOUNDS}
    assert verdicts({REFERENCE: columns})[-2:] == ["yes", "yes"]


def test_pushes_that_were_lost_are_in_the_table() -> None:
    columns = measured(100, 100)
    columns[STOCK] = figures([result(1, failed=2, lost=1_234)], [result(1)])
    text = page({REFERENCE: columns}, ["- facts"])
    assert "| 2, 1,234 |" in text
    assert "1.00†" in text


@pytest.mark.parametrize(
    ("value", "written"), [(38_373.1, "38,400"), (117.4, "117"), (20.26, "20.3"), (0.2349, "0.23")]
)
def test_figures_are_written_with_three_digits(value: float, written: str) -> None:
    assert number(value) == written


def test_tables_replace_what_stands_between_their_marks_and_nothing_else() -> None:
    document = "a\n<!-- transport: begin -->\nold\n<!-- transport: end -->\nb"
    changed = replaced(document, "transport", r"new \1")
    assert changed == "a\n<!-- transport: begin -->\nnew \\1\n<!-- transport: end -->\nb"
    with pytest.raises(ValueError, match="exactly one part"):
        replaced("nothing", "transport", "new")


def test_the_document_has_a_place_for_each_table() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    assert "new" in replaced(text, "transport", "new")
    assert "new" in replaced(text, "soak", "new")
    assert "new" in replaced(text, "bridge", "new")


@pytest.mark.real
@pytest.mark.skipif(not CAN_BUILD, reason="needs cc, libnghttp2-dev and libssl-dev")
def test_a_tiny_cell_is_measured_with_ours_with_aioapns_and_with_the_bound() -> None:
    names = [column.name for column in (*COLUMNS[:3], BOUNDS[0])]
    command = [sys.executable, "-m", "bench", "transport", "--rounds=1", "--seconds=0.1", "--json"]
    command += [f"--cell={LIGHT.name}", *(f"--client={name}" for name in names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["client"] for line in lines] == names
    assert all(line["answered"] > 0 and not line["failed"] and not line["lost"] for line in lines), lines


# --- the whole bridge -------------------------------------------------------------------------


def test_a_webhook_waits_for_the_first_push_to_its_phone_that_came_after_it() -> None:
    sent = [Sent(number, due, due + 1, 200) for number, due in ((0, 10.0), (1, 11.0), (4, 12.0), (2, 13.0))]
    heard = [(0, 9.0), (0, 10.5), (1, 11.25), (0, 14.0), (3, 20.0)]
    assert waits(Town(4), sent, heard) == [0.25, 0.5, 2.0], "nobody heard of the last one"


async def test_a_webhook_that_waits_for_a_connection_counts_from_when_it_was_due() -> None:
    """No omission is coordinated: a system that stands still is sent no less."""
    release, gone, asked = asyncio.Event(), asyncio.Event(), 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                asked += 1
                await release.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()
        gone.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    caller = Caller((port,), lambda number: b"%d" % number, connections=1)
    task = asyncio.create_task(caller.by_the_clock(iter(range(20)), rate=200, seconds=0.1))
    await asyncio.sleep(0.2)
    assert asked == 1, "there is one connection"
    release.set()
    sent = await task
    await gone.wait()
    server.close()
    assert [one.status for one in sent] == [200] * 20
    began = sent[0].due
    assert [round((one.due - began) * 200) for one in sent] == list(range(20))


@pytest.mark.real
@pytest.mark.skipif(not CAN_BUILD, reason="needs cc, libnghttp2-dev and libssl-dev")
def test_a_short_run_of_the_whole_bridge_loses_no_webhook_and_no_page() -> None:
    command = [sys.executable, "-m", "bench", "bridge", "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["counts"]
    assert [(one["system"], one["phase"]) for one in counts] == [
        (system, phase.name) for system in QUICK.systems for phase in QUICK.turns
    ]
    for one in counts:
        assert one["statuses"] == {"200": one["sent"]}, one
        assert one["accepted"] == one["sent"] > 0, one
        assert one["unheard"] == 0, one
        assert 0 < one["pushes"] <= one["sent"], one
