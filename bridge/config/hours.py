"""The shape of the file where it tells of hours: how often to ring, time intervals, drills."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Annotated

from pydantic import Field, model_validator

from bridge.config import values
from bridge.config.fields import (
    DaysOfMonth,
    Each,
    Late,
    Location,
    Months,
    Name,
    PositiveDuration,
    Text,
    TimeOfDay,
    Times,
    Weekdays,
    Within,
    Years,
)
from bridge.config.part import Part
from bridge.timeintervals import TimeRange, parse_time_range


class RingPart(Part):
    every: PositiveDuration = timedelta(seconds=45)
    times: Times = 4
    lasts: Annotated[PositiveDuration, Field(validation_alias="for")] = timedelta(seconds=30)

    @model_validator(mode="after")
    def ends_before_the_next(self) -> RingPart:
        """Refuse a call that would still ring when the next one is due."""
        if self.lasts < self.every:
            return self
        lasts, every = values.spell(self.lasts), values.spell(self.every)
        raise ValueError(f"`for` ({lasts}) must be shorter than `every` ({every})")


class TimesPart(Part):
    start_time: Text
    end_time: Text

    @property
    def range(self) -> TimeRange:
        """Give both as minutes of the day."""
        return parse_time_range({"start_time": self.start_time, "end_time": self.end_time})

    @model_validator(mode="after")
    def is_a_range(self) -> TimesPart:
        """Refuse what is no time of day, and an end before its start."""
        _ = self.range
        return self


class SpansPart(Part):
    """One entry of a named interval; a key that is not there asks nothing."""

    times: tuple[TimesPart, ...] | None = None
    weekdays: tuple[Weekdays, ...] | None = None
    days_of_month: tuple[DaysOfMonth, ...] | None = None
    months: tuple[Months, ...] | None = None
    years: tuple[Years, ...] | None = None
    # Here None is not "absent" but `Local`, this machine's own zone.
    location: Location = UTC


class TimeIntervalPart(Part):
    name: Name
    time_intervals: tuple[SpansPart, ...]


class DrillPart(Part):
    name: Name
    receiver: Name | None = None
    device_groups: tuple[Name, ...] = ()
    at: TimeOfDay
    weekdays: tuple[Weekdays, ...] | None = None
    days_of_month: tuple[DaysOfMonth, ...] | None = None
    months: tuple[Months, ...] | None = None
    # Here None is not "absent" but `Local`, this machine's own zone.
    time_zone: Location = UTC
    each: Each = "person"
    ring: RingPart = RingPart()
    within: Within = timedelta(minutes=15)
    late: Late = timedelta(minutes=30)
    report_to: Name
