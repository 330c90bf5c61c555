"""Figures as Markdown, and the part of a document that they replace. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bench.cells import BOUNDS, CEILING, LARGE_WINDOW, STOCK, Cell
from bench.figures import Figures, Spread

All = Mapping[Cell, Mapping[str, Figures]]
REFERENCE: Final = Cell(100, 400, LARGE_WINDOW, 0)
LIGHT: Final = Cell(1, 400, LARGE_WINDOW, 0)
ASYNCIO, UVLOOP = "ours, asyncio", "ours, uvloop"
NO_CLIENTS: Final = {CEILING, *(column.name for column in BOUNDS)}


def number(value: float) -> str:
    """Give three digits, and no more than the noise allows."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(value: Spread | None) -> str:
    if value is None:
        return "-"
    return f"{number(value.median)} ({number(value.least)} to {number(value.most)})"


def middle(value: Spread | None) -> str:
    return "-" if value is None else number(value.median)


def row(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"


def summary(results: All) -> Iterator[str]:
    """Give one row for each cell: aioapns' pushes a second, and what multiple of that the others make."""
    names = [name for name in next(iter(results.values())) if name != STOCK]
    yield row(["cell", f"{STOCK}, pushes/s", *(f"{name}" for name in names)])
    yield row(["---", *(["---:"] * (len(names) + 1))])
    for cell, columns in results.items():
        stock = columns.get(STOCK)
        mark = "" if stock is None or not (stock.lost or stock.failed) else "†"
        base = "-" if stock is None else middle(stock.rate) + mark
        yield row([cell.name, base, *(middle(columns[name].ratio) for name in names)])


def detail(columns: Mapping[str, Figures]) -> Iterator[str]:
    """Give one row for each client of a cell."""
    yield row(["client", "pushes/s", f"times {STOCK}", "p50 ms", "p99 ms", "CPU µs/push", "failed, lost"])
    yield row(["---", *(["---:"] * 6)])
    for name, of in columns.items():
        bad = f"{of.failed:,}, {of.lost:,}" if of.failed or of.lost else "0"
        noted = f"{bad} ({of.why})" if of.why else bad
        yield row(
            [name, spread(of.rate), spread(of.ratio), middle(of.p50), spread(of.p99), middle(of.cpu), noted]
        )


def aims(results: All) -> Iterator[str]:
    """Hold the aims against what was measured. A cell that was not measured proves nothing."""
    yield row(["aim", "measured", "met"])
    yield row(["---", "---", "---"])
    reference, light = results.get(REFERENCE, {}), results.get(LIGHT, {})
    for name, least in ((ASYNCIO, 18), (UVLOOP, 24)):
        ratio = reference[name].ratio if name in reference else None
        aim = f"{name}: at least {least} times {STOCK} ({REFERENCE.name})"
        yield row([aim, spread(ratio), _met(ratio and ratio.median >= least)])
    for name in (ASYNCIO, UVLOOP):
        of = reference.get(name)
        cpu = of.cpu if of else None
        yield row([f"{name}: CPU below 25 µs a push (same cell)", spread(cpu), _met(cpu and cpu.median < 25)])
    for name in (ASYNCIO, UVLOOP):
        part = _p99_part(light, name)
        said = "-" if part is None else f"{part:.2f}"
        aim = f"{name}: p99 at most a third of {STOCK}'s ({LIGHT.name})"
        yield row([aim, said, _met(part and part <= 1 / 3)])
    for name in (ASYNCIO, UVLOOP):
        behind = list(_behind(results, name))
        said = "; ".join(behind) or f"{len(results)} of {len(results)} cells"
        yield row([f"{name}: behind no other client in any cell", said, _met(not behind)])


def _met(value: object) -> str:
    return "yes" if value else "no"


def _p99_part(columns: Mapping[str, Figures], name: str) -> float | None:
    mine, theirs = columns.get(name), columns.get(STOCK)
    if mine is None or theirs is None or mine.p99 is None or theirs.p99 is None:
        return None
    return mine.p99.median / theirs.p99.median


def _behind(results: All, name: str) -> Iterator[str]:
    """Name the cells in which another client is faster by more than the noise."""
    for cell, columns in results.items():
        mine = columns.get(name)
        for other, of in columns.items():
            if mine is None or other in {ASYNCIO, UVLOOP, *NO_CLIENTS}:
                continue
            if of.rate.median > mine.rate.median and not of.rate.overlaps(mine.rate):
                yield f"{other} makes {of.rate.median / mine.rate.median:.2f} times as many at {cell.name}"


def page(results: All, facts: Sequence[str]) -> str:
    """Give all of it."""
    lines = [*facts, "", *aims(results), "", *summary(results)]
    if any("†" in line for line in lines):
        lines += ["", f"† {STOCK} failed or lost pushes here; the counts stand below."]
    lines += ["", "<details><summary>Every cell, with its noise</summary>", ""]
    for cell, columns in results.items():
        lines += [f"**{cell.name}**", "", *detail(columns), ""]
    return "\n".join([*lines, "</details>"])


def replaced(document: str, part: str, text: str) -> str:
    """Put `text` between the two comments that mark `part`. Raises ValueError if they are not there."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(marked.findall(document)) != 1:
        raise ValueError(f"the document has not exactly one part between {begin} and {end}")
    return marked.sub(lambda _: f"{begin}\n{text}\n{end}", document)
