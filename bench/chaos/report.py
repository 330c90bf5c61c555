"""The report of a run, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from bench.chaos.driver import Report


def page(report: Report) -> str:
    """Give all of it."""
    return "\n".join(_lines(report))


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items()))


def _lines(report: Report) -> Iterator[str]:
    plan, verdict = report.plan, report.verdict
    yield f"chaos on {plan.kind}: {plan.seconds:.0f} s of faults, seed {plan.seed}"
    yield f"{sum(report.faults.values())} faults:"
    for name, count in sorted(report.faults.items()):
        yield f"  {count:4} {name}"
    if plan.without:
        yield f"  (left out: {', '.join(plan.without)})"
    if report.skipped:
        yield f"  ({report.skipped})"
    yield f"{sum(report.alerts.values())} alerts: {_counts(report.alerts)}"
    answers = {str(status or "nothing"): count for status, count in report.answers.items()}
    yield f"answers to webhooks of our own: {_counts(answers)}; the slowest 200 took {report.slowest:.1f} s"
    yield f"{verdict.heard} incidents rang a phone, {verdict.ended_first} ended before they could"
    if verdict.again:
        yield f"{verdict.again} alerts that Alertmanager let fire again after their end"
    if verdict.expired:
        yield f"{verdict.expired} incidents expired: Alertmanager heard no 200, and told no end"
    yield f"pages: {_counts(verdict.pages)}"
    if verdict.delays:
        middle = median(delay.seconds for delay in verdict.delays)
        yield f"from acceptance to the ring: median {middle:.2f} s, and the longest:"
    for delay in verdict.delays[:3]:
        yield f"  {delay.seconds:5.1f} s, {delay.incident}: {', '.join(delay.faults) or 'no fault'}"
    for note, count in sorted(report.notes.items()):
        yield f"{count} times: {note}"
    sizes = " ".join(f"{size:.0f}" for size in report.memory)
    yield f"MiB of the biggest bridge, at most in each tenth of the run, and at its end: {sizes}"
    yield f"settled within {report.settled:.1f} s"
    yield from (f"WRONG: {what}" for what in verdict.wrong)
    if not verdict.wrong:
        yield "nothing is wrong"
