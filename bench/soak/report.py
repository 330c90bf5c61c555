"""The report of a soak as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.soak.driver import GROWTH, Report


def page(report: Report, facts: Sequence[str]) -> str:
    """Give all of it."""
    return "\n".join([*facts, "", *_totals(report), "", *_faults(report), "", *_verdict(report)])


def _totals(report: Report) -> Iterator[str]:
    total = report.total
    yield "| what the sender was told | pushes | what the peer wrote down |"
    yield "| --- | ---: | --- |"
    yield f"| Accepted | {total.accepted:,} | each processed once and answered 200 once |"
    yield f"| another answer | {total.refused:,} | each processed once and answered so once |"
    yield f"| certainly not processed | {total.not_processed:,} | none processed |"
    yield f"| unknown | {total.unknown_answered:,} | processed once, the answer was lost on its way |"
    yield f"| unknown | {total.unknown_processed:,} | processed once, never answered |"
    yield f"| unknown | {total.unknown_unseen:,} | never came, or never as a whole |"
    yield f"| **all** | **{report.pushes:,}** | |"


def _faults(report: Report) -> Iterator[str]:
    yield f"| what the peer did, on {report.peer['connections']:,} connections | times |"
    yield "| --- | ---: |"
    for fault, times in sorted(report.peer["faults"].items(), key=lambda item: -item[1]):
        yield f"| {fault} | {times:,} |"


def _verdict(report: Report) -> Iterator[str]:
    before, after = (octets / 2**20 for octets in report.memory)
    yield f"- {report.pushes:,} pushes in {report.seconds:,.0f} s; the longest took {report.longest:.2f} s."
    yield (
        f"- Resident memory: {before:.1f} MiB after the first pushes, {after:.1f} MiB at the end"
        f" ({after / before - 1:+.1%}; at most {GROWTH - 1:+.0%} is allowed)."
    )
    if not report.wrong:
        yield "- The books of both sides agree, and the peer saw no violation of the protocol."
    for what, times in report.wrong.items():
        yield f"- **WRONG: {what}: {times:,}**"
