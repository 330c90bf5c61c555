"""The shape of the file: every key, and how its text is read. Pydantic collects all errors of one pass.

What a single value or one mapping can show is checked here; what takes two places is in `checks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from bridge import timeintervals
from bridge.config import crypto, values
from bridge.config.problems import quote, suggest
from bridge.config.values import Secret
from bridge.matchers import Matcher, parse_matchers
from bridge.timeintervals import Span, TimeRange, parse_time_range

T = TypeVar("T")

WILDCARD: Final = "..."


@dataclass(slots=True)
class Context:
    """What validation needs beside the text: where relative paths start, and the push tokens seen so far."""

    folder: Path
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file that was read for checking, and is named to whom will use it."""

    path: Path
    text: str = field(repr=False)


def text_of(value: object) -> str:
    """Refuse lists and mappings where one value is due."""
    if isinstance(value, str):
        return value
    raise ValueError(f"must be a single value, not {'a list' if isinstance(value, list) else 'a mapping'}")


def _read(reader: Callable[[str], T]) -> PlainValidator:
    return PlainValidator(lambda value: reader(text_of(value)))


def _choice(*allowed: str) -> PlainValidator:
    def read(text: str) -> str:
        if text in allowed:
            return text
        words = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise ValueError(f"must be {words}, not {quote(text)}{suggest(text, allowed)}")

    return _read(read)


def _secret(check: Callable[[str], str]) -> PlainValidator:
    return _read(lambda text: Secret(check(values.secret_text(text))))


def _secret_file(check: Callable[[str], str]) -> PlainValidator:
    """Read the value from a file; its twin, the key without `_file`, must then be absent."""

    def read(value: object, info: ValidationInfo[Context]) -> Secret:
        twin = str(info.field_name).removesuffix("_file")
        if info.data.get(twin) is not None:
            raise ValueError(f"give {twin} or {twin}_file, not both")
        return Secret(check(values.secret_text(values.read_file(text_of(value), info.context.folder))))

    return PlainValidator(read)


def _text_file(check: Callable[[str], object]) -> PlainValidator:
    def read(value: object, info: ValidationInfo[Context]) -> TextFile:
        text = text_of(value)
        content = values.read_file(text, info.context.folder)
        check(content)
        return TextFile(values.in_folder(text, info.context.folder).absolute(), content)

    return PlainValidator(read)


def _once(token: Secret | None, info: ValidationInfo[Context]) -> Secret | None:
    """Refuse a push token that a device before this one has, or this one under its other key."""
    if token is None:
        return None
    mine = (str(info.data.get("name", "?")), str(info.field_name))
    device, key = info.context.tokens.setdefault(token.reveal(), mine)
    if (device, key) != mine:
        raise ValueError(
            f"is also the {key} of device {quote(device)}; each phone, and each kind of push, has its own"
        )
    return token


def _pair(file: TextFile, info: ValidationInfo[Context]) -> TextFile:
    if "certificate_key_file" in info.data:  # not there when it is bad itself
        key = info.data["certificate_key_file"] or file
        crypto.client_pair(file.text, key.text)
    return file


def _storage(value: object, info: ValidationInfo[Context]) -> str:
    return values.storage_url(text_of(value), info.context.folder)


def _matcher_text(name: str, sign: str, value: str) -> str:
    """Write a matcher as an entry of a YAML list."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return "'" + f'{name}{sign}"{escaped}"'.replace("'", "''") + "'"


def _old_form(sign: str) -> PlainValidator:
    """Turn Alertmanager's old `match` into advice: one way to write a matcher is enough here."""

    def refuse(value: object, info: ValidationInfo[Context]) -> None:
        pairs = value.items() if isinstance(value, dict) else ()
        texts = [_matcher_text(str(name), sign, text) for name, text in pairs if isinstance(text, str)]
        new = ", ".join(texts) or _matcher_text("name", sign, "value")
        raise ValueError(f"{info.field_name} is Alertmanager's old form; write matchers: [{new}]")

    return PlainValidator(refuse)


def _one_or_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _group_by(labels: tuple[str, ...]) -> tuple[str, ...]:
    if WILDCARD in labels and len(labels) > 1:
        raise ValueError("cannot have wildcard group_by (`...`) and other labels at the same time")
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ValueError(f"duplicated label {quote(twice)} in group_by")
    return labels


def _label(text: str) -> str:
    if not text:
        raise ValueError("a label name must not be empty")
    return text


def _matchers(text: str) -> tuple[Matcher, ...]:
    found = tuple(parse_matchers(text))
    if not found:
        raise ValueError("holds no matcher")
    return found


def _template(text: str) -> str:
    """Check syntax and names of filters, where Jinja2 is there; nothing is rendered."""
    try:
        import jinja2  # noqa: PLC0415 - optional while the configuration is checked on another machine
    except ImportError:
        return text
    try:
        jinja2.Environment(autoescape=False).from_string(text)  # noqa: S701 - text for a phone, not HTML
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"is not a template: {error.message}") from None
    except RecursionError:
        raise ValueError("is not a template: nested too deep") from None
    return text


Name = Annotated[str, _read(values.name)]
Word = Annotated[str, _read(values.word)]
SourceName = Annotated[str, _read(values.source)]
Bool = Annotated[bool, _read(values.boolean)]
Duration = Annotated[timedelta, _read(values.duration)]
PositiveDuration = Annotated[timedelta, _read(values.positive_duration)]
TenCharacters = Annotated[str, _read(values.ten_characters)]
BundleId = Annotated[str, _read(values.bundle_id)]
Environment = Annotated[str, _choice("production", "sandbox")]
Template = Annotated[str, _read(_template)]
Label = Annotated[str, _read(_label)]


class Part(BaseModel):
    """A mapping of the file. Keys that it does not name are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class ApnsPart(Part):
    team_id: TenCharacters | None = None
    key_id: TenCharacters | None = None
    key: Annotated[Secret | None, _secret(crypto.apns_key)] = None
    key_file: Annotated[Secret | None, _secret_file(crypto.apns_key)] = None
    certificate_key_file: Annotated[TextFile | None, _text_file(str)] = None
    certificate_file: Annotated[TextFile | None, _text_file(crypto.certificates), AfterValidator(_pair)] = (
        None
    )
    topic: BundleId
    environment: Environment = "production"
    url: Annotated[str | None, _read(values.gateway_url)] = None
    ca_file: Annotated[TextFile | None, _text_file(crypto.authorities)] = None
    proxy: Annotated[Secret | None, _secret(values.proxy_url)] = None
    proxy_file: Annotated[Secret | None, _secret_file(values.proxy_url)] = None


class StoragePart(Part):
    url: Annotated[str, PlainValidator(_storage)] = Field("sqlite:///bridge.db", validate_default=True)
    retention: PositiveDuration = timedelta(days=30)


class SourcePart(Part):
    name: SourceName
    credentials: Annotated[Secret | None, _secret(values.credentials)] = None
    credentials_file: Annotated[Secret | None, _secret_file(values.credentials)] = None


class PersonPart(Part):
    name: Name


class DevicePart(Part):
    name: Name
    owner: Name
    voip_token: Annotated[Secret | None, _secret(values.push_token), AfterValidator(_once)] = None
    voip_token_file: Annotated[Secret | None, _secret_file(values.push_token), AfterValidator(_once)] = None
    alert_token: Annotated[Secret | None, _secret(values.push_token), AfterValidator(_once)] = None
    alert_token_file: Annotated[Secret | None, _secret_file(values.push_token), AfterValidator(_once)] = None
    topic: BundleId | None = None
    environment: Environment | None = None


class GroupPart(Part):
    name: Name
    owners: tuple[Name, ...] = ()
    devices: tuple[Name, ...] = ()


class WebhookPart(Part):
    name: Word | None = None
    url: Annotated[Secret | None, _secret(values.web_url)] = None
    url_file: Annotated[Secret | None, _secret_file(values.web_url)] = None


class RingPart(Part):
    every: PositiveDuration = timedelta(seconds=45)
    times: Annotated[int, _read(values.integer(1, 1000))] = 4
    lasts: Annotated[PositiveDuration, Field(validation_alias="for")] = timedelta(seconds=30)

    @model_validator(mode="after")
    def ends_before_the_next(self) -> RingPart:
        """Refuse a call that would still ring when the next one is due."""
        if self.lasts < self.every:
            return self
        lasts, every = values.spell(self.lasts), values.spell(self.every)
        raise ValueError(f"`for` ({lasts}) must be shorter than `every` ({every})")


class StepPart(Part):
    device_groups: tuple[Name, ...] = ()
    webhooks: tuple[WebhookPart, ...] = ()
    push: Annotated[str, _choice("voip", "alert")] = "voip"
    interruption_level: Annotated[str, _choice("critical", "time-sensitive", "active", "passive")] = (
        "time-sensitive"
    )
    ring: RingPart = RingPart()
    then_after: Duration | None = None


class ReceiverPart(Part):
    name: Name
    notify_resolved: Bool = True
    repeat: Annotated[int, _read(values.integer(0, 1000))] = 0
    escalation: tuple[StepPart, ...] = ()


class RoutePart(Part):
    receiver: Name | None = None
    matchers: Annotated[
        tuple[Annotated[tuple[Matcher, ...], _read(_matchers)], ...], BeforeValidator(_one_or_list)
    ] = ()
    match: Annotated[None, _old_form("=")] = None
    match_re: Annotated[None, _old_form("=~")] = None
    group_by: Annotated[tuple[Label, ...] | None, AfterValidator(_group_by)] = None
    continue_: Annotated[Bool, Field(validation_alias="continue")] = False
    mute_time_intervals: tuple[Name, ...] = ()
    active_time_intervals: tuple[Name, ...] = ()
    routes: tuple[RoutePart, ...] = ()


class TimesPart(Part):
    start_time: Annotated[str, _read(str)]
    end_time: Annotated[str, _read(str)]

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
    weekdays: tuple[Annotated[Span, _read(timeintervals.parse_weekdays)], ...] | None = None
    days_of_month: tuple[Annotated[Span, _read(timeintervals.parse_days_of_month)], ...] | None = None
    months: tuple[Annotated[Span, _read(timeintervals.parse_months)], ...] | None = None
    years: tuple[Annotated[Span, _read(timeintervals.parse_years)], ...] | None = None
    # Here None is not "absent" but `Local`, this machine's own zone.
    location: Annotated[tzinfo | None, _read(timeintervals.parse_location)] = UTC


class TimeIntervalPart(Part):
    name: Name
    time_intervals: tuple[SpansPart, ...]


class TemplatesPart(Part):
    caller_name: Template | None = None
    reason: Template | None = None


class Model(Part):
    """The whole file."""

    apns: ApnsPart
    storage: StoragePart = Field(default_factory=dict, validate_default=True)
    alert_ttl: PositiveDuration = timedelta(hours=25)
    refire_quiet: Duration = timedelta(minutes=5)
    quiet_gap: Duration = timedelta(seconds=30)
    max_body_size: Annotated[int, _read(values.size)] = 16 << 20
    sources: tuple[SourcePart, ...] = ()
    people: tuple[PersonPart, ...] = ()
    devices: tuple[DevicePart, ...] = ()
    device_groups: tuple[GroupPart, ...] = ()
    templates: TemplatesPart = TemplatesPart()
    time_intervals: tuple[TimeIntervalPart, ...] = ()
    receivers: tuple[ReceiverPart, ...] = ()
    route: RoutePart
