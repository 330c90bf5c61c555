"""Cases kept beside a configuration: for which labels, at which instant, who is expected to ring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import model_validator

from bridge.config import shape, tree
from bridge.config.fields import Bool, Context, Location, Moment, Name, PushKind, Text, Word
from bridge.config.part import Part
from bridge.config.problems import ConfigError
from bridge.config.values import in_folder
from bridge.oncall import Phone
from bridge.schedules import instant


class StepPart(Part):
    people: tuple[Name, ...] | None = None
    phones: tuple[Name, ...] | None = None
    webhooks: tuple[Text, ...] | None = None
    push: PushKind | None = None


class ExpectPart(StepPart):
    receivers: tuple[Name, ...] | None = None
    group: dict[str, Text] | None = None
    muted: Bool | None = None
    muted_until: Moment | None = None
    heartbeats: tuple[Name, ...] | None = None
    steps: tuple[StepPart, ...] | None = None

    @model_validator(mode="after")
    def expects_something(self) -> ExpectPart:
        """Refuse a case that cannot fail."""
        if not self.model_fields_set:
            raise ValueError("expects nothing: give receivers, people, phones or another of its keys")
        return self


class CasePart(Part):
    name: Text
    labels: dict[str, Text]
    at: Moment
    source: Word = "default"
    expect: ExpectPart


class PhonePart(Part):
    name: Name
    owner: Name
    voip: Bool = True
    alert: Bool = True


class CasesPart(Part):
    """The whole file."""

    config_file: Text | None = None
    # Here None is not "absent" but `Local`, this machine's own zone.
    time_zone: Location = UTC
    phones: tuple[PhonePart, ...] = ()
    tests: tuple[CasePart, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One case, and where it stands in its file (line, column).

    `expected` is by what it is about: `receivers`, `muted`, `step 1 people` and the like.
    """

    name: str
    place: tuple[int, int]
    labels: Mapping[str, str]
    at: datetime
    source: str
    expected: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Cases:
    """A file of cases. `phones` are those that no configuration knows, for they enrolled."""

    file: Path
    config_file: Path | None
    phones: tuple[Phone, ...]
    cases: tuple[Case, ...]


def load(path: Path) -> Cases:
    """Read a file of cases; raises ConfigError with every problem."""
    document = tree.read(path)
    found = shape.validate(document, CasesPart, Context(path.parent))
    if found is not None and not found.tests:
        document.note(("tests",), "holds no test")
    if document.problems or found is None:
        raise ConfigError(document.problems)
    config_file = None if found.config_file is None else in_folder(found.config_file, path.parent)
    phones = tuple(Phone(one.name, one.owner, one.voip, one.alert, enrolled=True) for one in found.phones)
    cases = tuple(_case(document, number, part, found) for number, part in enumerate(found.tests))
    return Cases(path, config_file, phones, cases)


def _case(document: tree.Tree, number: int, part: CasePart, whole: CasesPart) -> Case:
    place = document.values["tests", number]
    at = instant(part.at, whole.time_zone)
    return Case(part.name, place, part.labels, at, part.source, dict(_expected(part.expect, whole)))


def _expected(part: ExpectPart, whole: CasesPart) -> Iterator[tuple[str, object]]:
    for key in ("receivers", "heartbeats"):
        if (names := getattr(part, key)) is not None:
            yield key, list(names)
    if part.group is not None:
        yield "group", [f"{name}={value}" for name, value in part.group.items()]
    if part.muted is not None:
        yield "muted", part.muted
    if part.muted_until is not None:
        yield "muted_until", instant(part.muted_until, whole.time_zone)
    yield from _of_step(1, part)
    for number, step in enumerate(part.steps or (), 1):
        yield from _of_step(number, step)


def _of_step(number: int, part: StepPart) -> Iterator[tuple[str, object]]:
    for key in ("people", "phones", "webhooks"):
        if (names := getattr(part, key)) is not None:
            yield f"step {number} {key}", list(names)
    if part.push is not None:
        yield f"step {number} push", part.push
