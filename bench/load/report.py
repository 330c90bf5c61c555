"""What was measured, as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from bench.figures import Spread
from bench.load.driver import POSTGRESQL, SQLITE, Report
from bench.load.phases import Count
from bench.table import row, spread

_UNIT: Final = 1_000_000.0


def page(report: Report, facts: Sequence[str]) -> str:
    """Give all of it."""
    lines = [*facts, "", *aims(report), "", *turns(report.counts)]
    if report.memory:
        lines += ["", *memory(report)]
    if report.growth:
        lines += ["", *growth(report)]
    if report.replicas:
        lines += ["", *replicas(report)]
    return "\n".join(lines)


def aims(report: Report) -> Iterator[str]:
    """Say which aims are met, by the medians."""
    yield row(["aim", "measured", "met"])
    yield row(["---", "---", "---"])
    for system in (SQLITE, POSTGRESQL):
        storm, light = _of(report.counts, system, "storm"), _of(report.counts, system, "100/s")
        each = _spread(storm, lambda one: _UNIT / one.cpu if one.cpu else None)
        yield _aim(
            f"{system}: 3,000 webhooks of one page each by the second and core", each, 3_000, least=True
        )
        yield _aim(f"{system}: p99 to acceptance under 15 ms at 100/s", _push(light), 15)
        yield _aim(f"{system}: the answer's p99 under 50 ms in a storm", _answer(storm), 50)
    largest = max(report.memory, key=lambda one: one.size, default=None)
    if largest is not None:
        most = Spread(largest.working, largest.ready, largest.working)
        yield _aim(f"SQLite: under 150 MiB with {largest.size:,} phones and incidents", most, 150)


def _aim(text: str, found: Spread | None, limit: float, *, least: bool = False) -> str:
    met = found is not None and (found.median >= limit if least else found.median < limit)
    return row([text, spread(found), "yes" if met else "no"])


def turns(counts: Sequence[Count]) -> Iterator[str]:
    """Give a line for each system and phase, with the noise of its rounds."""
    yield row(
        [
            *("system", "phase", "webhooks/s", "pages/s", "to acceptance: p50 ms", "p99 ms"),
            *("answer: p50 ms", "p99 ms", "CPU µs a webhook", "of the database", "not 200", "unheard"),
        ]
    )
    yield row(["---", "---", *(["---:"] * 10)])
    for phase in dict.fromkeys(one.phase for one in counts):
        for system in dict.fromkeys(one.system for one in counts):
            mine = _of(counts, system, phase)
            if mine:
                yield row([system, phase, *_figures(mine)])


def _figures(mine: Sequence[Count]) -> Iterator[str]:
    yield spread(_spread(mine, lambda one: one.webhooks))
    yield spread(_spread(mine, lambda one: one.pages))
    yield spread(_spread(mine, lambda one: one.push_p50))
    yield spread(_push(mine))
    yield spread(_spread(mine, lambda one: one.answer_p50))
    yield spread(_answer(mine))
    yield spread(_spread(mine, lambda one: one.cpu))
    yield spread(_spread(mine, lambda one: one.database))
    yield str(sum(one.sent - one.statuses.get(200, 0) for one in mine))
    yield str(sum(one.unheard for one in mine))


def memory(report: Report) -> Iterator[str]:
    """Give the resident memory by the size of the ledger."""
    yield row(["phones and open incidents", "when ready, MiB", "at most at 50 webhooks/s, MiB"])
    yield row(["---:", "---:", "---:"])
    for one in report.memory:
        yield row([f"{one.size:,}", f"{one.ready:.0f}", f"{one.working:.0f}"])


def growth(report: Report) -> Iterator[str]:
    """Give what one more alert costs, the more there are."""
    yield row(["alerts in all", "CPU µs an alert", "µs an alert"])
    yield row(["---:", "---:", "---:"])
    for one in report.growth:
        yield row([f"{one.alerts:,}", f"{one.cpu:.0f}", f"{one.clock:.0f}"])


def replicas(report: Report) -> Iterator[str]:
    """Give what several bridges on one PostgreSQL do."""
    head = ("bridges", "webhooks/s", "pages/s", "answer: p99 ms", "CPU µs a webhook", "of PostgreSQL")
    yield row([*head, "one waits for the turn"])
    yield row(["---:"] * 7)
    for one in report.replicas:
        count = one.count
        figures = (count.webhooks, count.pages, count.answer_p99 or 0.0, count.cpu, count.database)
        yield row([str(one.number), *(f"{figure:,.0f}" for figure in figures), f"{one.waiting:.0%}"])


def _of(counts: Iterable[Count], system: str, phase: str) -> list[Count]:
    return [one for one in counts if (one.system, one.phase) == (system, phase)]


def _spread(counts: Iterable[Count], of: Callable[[Count], float | None]) -> Spread | None:
    return Spread.of(map(of, counts))


def _push(counts: Iterable[Count]) -> Spread | None:
    return _spread(counts, lambda one: one.push_p99)


def _answer(counts: Iterable[Count]) -> Spread | None:
    return _spread(counts, lambda one: one.answer_p99)
