"""What is told of many incidents at once: the worst speaks, the others are counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from bridge.incidents import Episode, Incident
from bridge.texts import NAME, NAMELESS, number, one_line, some

# In bytes of UTF-8. JSON can double them (a text of quotation marks), and then all of them still fit
# beside one incident into the smaller payload.
CALLER_NAME: Final = 128
REASON: Final = 512
TITLE: Final = 96
RECEIVER: Final = 64
SEVERITY: Final = 32

VARIABLES: Final = frozenset(
    {
        "alertname",
        "severity",
        "summary",
        "receiver",
        "source",
        "labels",
        "annotations",
        "incidents",
        "counts",
        "notes",
        "drill",
    }
)
"""The names that Digest.variables gives to templates."""

_TITLE_NAMES: Final = 3
_REASON_NAMES: Final = 5
_MOST: Final = 2**53 - 1
"""The largest number that every JSON reader keeps exactly; counts are not checked on arrival."""

_CASES, _LABELS, _LETTERS = 100, 64, 1024
"""How much of a storm a template is given: incidents, labels of each, characters of a label."""

_SEVERITIES: Final = {
    name: rank for rank, name in enumerate(("critical", "page", "error", "warning", "info"))
}


@dataclass(frozen=True, slots=True)
class Case:
    """One incident as it is shown. `episodes` fire; where none does any more, they are all that did.

    `head` is the worst of them, the newest where several are: it speaks for the incident.
    """

    incident: Incident
    episodes: tuple[Episode, ...]
    head: Episode | None

    @property
    def id(self) -> str:
        return self.incident.id

    @property
    def revision(self) -> int:
        return self.incident.revision

    @property
    def receiver(self) -> str:
        return one_line(self.incident.slot.receiver, RECEIVER)

    @property
    def source(self) -> str:
        return one_line(self.incident.slot.source, RECEIVER)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.head.labels if self.head else {}

    @property
    def title(self) -> str:
        """The names of its alerts, the worst one's first."""
        named = chain([self.labels], (episode.labels for episode in self.episodes))
        return some((labels.get("alertname", "") for labels in named), _TITLE_NAMES, TITLE)

    @property
    def severity(self) -> str:
        return one_line(self.labels.get("severity", ""), SEVERITY) or "none"

    @property
    def alerts(self) -> int:
        return len(self.episodes)

    @property
    def summary(self) -> str:
        """The worst alert's summary, else its description, else its labels."""
        annotations = self.head.annotations if self.head else {}
        for text in (annotations.get("summary", ""), annotations.get("description", "")):
            if line := one_line(text, REASON):
                return line
        shown = (f"{key[:NAME]}={value[:REASON]}" for key, value in sorted(self.labels.items()))
        return one_line(", ".join(islice(shown, _REASON_NAMES)), REASON)

    @property
    def repaired(self) -> int:
        """How many of the alerts came damaged and were repaired (rule 7)."""
        return sum(1 for episode in self.episodes if episode.repairs)


def _rank(episode: Episode) -> tuple[int, float, str]:
    severity = episode.labels.get("severity", "")[:SEVERITY].strip().casefold()
    return _SEVERITIES.get(severity, len(_SEVERITIES)), -episode.starts_at.timestamp(), episode.fingerprint


def _case(incident: Incident) -> Case:
    episodes = incident.firing or tuple(incident.alerts.values())
    return Case(incident, episodes, min(episodes, key=_rank, default=None))


def _order(case: Case) -> tuple[int, float, str]:
    if case.head is None:
        return len(_SEVERITIES), -case.incident.opened_at.timestamp(), case.id
    return *_rank(case.head)[:2], case.id


@dataclass(frozen=True, slots=True)
class Digest:
    """All incidents of one push, the worst first."""

    cases: tuple[Case, ...]
    counts: Mapping[str, int]

    @property
    def drill(self) -> bool:
        """Whether nothing is wrong: what travels together is all a drill, or none of it."""
        return any(case.incident.drill for case in self.cases)

    @property
    def severity(self) -> str:
        """The worst."""
        return self.cases[0].severity if self.cases else "none"

    @property
    def caller_name(self) -> str:
        """Who calls, where no template says it."""
        if len(self.cases) != 1:
            return number(len(self.cases), "incident")
        severity = "" if self.severity == "none" else f"{self.severity.upper()} "
        return one_line(severity + self.cases[0].title, CALLER_NAME)

    @property
    def reason(self) -> str:
        """Why, in one line, where no template says it."""
        if len(self.cases) == 1:
            text = f"{self.cases[0].receiver}: {self.cases[0].summary or self.cases[0].title}"
        else:
            many = f"{number(self.counts['alerts'], 'alert')} in {number(len(self.cases), 'incident')}"
            text = f"{many}: {self.titles}" if self.cases else many
        # The notes survive however long the text is.
        notes = self.notes
        return one_line(text, REASON - len(notes.encode())) + notes

    @property
    def titles(self) -> str:
        """What it is about: the first few alert names."""
        return some((case.labels.get("alertname", "") for case in self.cases), _REASON_NAMES, REASON)

    @property
    def notes(self) -> str:
        """What the person must know beside the text; "" or beginning with a comma."""
        notes = []
        if len(self.cases) == 1 and self.counts["alerts"] > 1:
            notes.append(f"and {number(self.counts['alerts'] - 1, 'more alert')}")
        if self.counts["truncated_alerts"]:
            notes.append(f"and {self.counts['truncated_alerts']} more that Alertmanager did not show")
        if repaired := sum(case.repaired for case in self.cases):
            notes.append(f"{number(repaired, 'alert')} came damaged")
        return "".join(f", {note}" for note in notes)

    def variables(self) -> dict[str, Any]:
        """Give what templates can use, as Renderer lists it. Raises IndexError where there is no incident."""
        first = self.cases[0]
        episodes = [episode for case in self.cases for episode in case.episodes]
        return {
            "alertname": first.labels.get("alertname") or NAMELESS,
            "severity": first.severity,
            "summary": first.summary,
            "receiver": first.receiver,
            "source": first.source,
            "labels": _some_of(_common(episode.labels for episode in episodes)),
            "annotations": _some_of(_common(episode.annotations for episode in episodes)),
            "incidents": [_told(case) for case in self.cases[:_CASES]],
            "counts": dict(self.counts),
            "notes": self.notes,
            "drill": self.drill,
        }


def _told(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "revision": case.revision,
        "receiver": case.receiver,
        "source": case.source,
        "title": case.title,
        "severity": case.severity,
        "summary": case.summary,
        "alerts": case.alerts,
        "labels": _some_of(case.labels),
    }


def _some_of(labels: Mapping[str, str]) -> dict[str, str]:
    return {name[:_LETTERS]: value[:_LETTERS] for name, value in islice(labels.items(), _LABELS)}


def _common(mappings: Iterable[Mapping[str, str]]) -> dict[str, str]:
    rest = iter(mappings)
    common = dict(next(rest, {}))
    for other in rest:
        common = {key: value for key, value in common.items() if other.get(key) == value}
    return common


def digest(incidents: Sequence[Incident]) -> Digest:
    """Sort and count incidents: by severity, then the newest first; linear but for the sorting."""
    cases = tuple(sorted(map(_case, incidents), key=_order))
    # The incidents that came out of one notification all carry its one number.
    truncated: dict[tuple[str, str], int] = {}
    for incident in incidents:
        key = (incident.slot.source, incident.group_key or incident.id)
        truncated[key] = max(truncated.get(key, 0), incident.truncated_alerts)
    counts = {
        "alerts": sum(case.alerts for case in cases),
        "incidents": len(cases),
        "truncated_alerts": min(sum(truncated.values()), _MOST),
    }
    return Digest(cases, counts)
