"""How the text of each kind of field is read: the types that the model is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Final, TypeVar

from jinja2 import TemplateSyntaxError
from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo

from bridge import templates, timeintervals
from bridge.config import crypto, spelling, storage, urls, values
from bridge.config.problems import quote, suggest
from bridge.config.storage import Ledger
from bridge.config.values import Secret
from bridge.matchers import Matcher, parse_matchers
from bridge.timeintervals import Span

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


def _once(token: Secret, info: ValidationInfo[Context]) -> Secret:
    """Refuse a push token that a device before this one has, or this one under its other key."""
    mine = (str(info.data.get("name", "?")), str(info.field_name))
    device, key = info.context.tokens.setdefault(token.reveal(), mine)
    if (device, key) != mine:
        raise ValueError(
            f"is also the {key} of device {quote(device)}; each phone, and each kind of push, has its own"
        )
    return token


def _pair(key_name: str) -> AfterValidator:
    """Check a client certificate with its key, which stands under another name or in the same file."""

    def check(file: TextFile, info: ValidationInfo[Context]) -> TextFile:
        if key_name in info.data:  # not there when it is bad itself
            key = info.data[key_name] or file
            crypto.client_pair(file.text, key.text)
        return file

    return AfterValidator(check)


def _storage(value: object, info: ValidationInfo[Context]) -> Ledger:
    file: Ledger | None = info.data.get("url_file")
    if value is None:
        return file or storage.ledger(storage.DEFAULT, info.context.folder)
    if file is not None:
        raise ValueError("give url or url_file, not both")
    return storage.ledger(text_of(value), info.context.folder)


def _storage_file(value: object, info: ValidationInfo[Context]) -> Ledger:
    folder = info.context.folder
    return storage.ledger(values.secret_text(values.read_file(text_of(value), folder)), folder)


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


def _picky(matchers: tuple[tuple[Matcher, ...], ...]) -> tuple[tuple[Matcher, ...], ...]:
    """Refuse what would take alerts of every kind for a heartbeat, as Alertmanager refuses such silences."""
    if all(matcher.matches({}) for some in matchers for matcher in some):
        raise ValueError(
            "at least one matcher must not match the empty string: every alert could be this heartbeat"
        )
    return matchers


def _template(text: str) -> str:
    """Check syntax, and what a template may be made of; nothing is rendered."""
    try:
        templates.Bounded().compiled(text)
    except TemplateSyntaxError as error:
        raise ValueError(f"is not a template: {error.message}") from None
    except RecursionError:
        raise ValueError("is not a template: nested too deep") from None
    return text


def _not_empty(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not urls:
        raise ValueError("is empty")
    return urls


_some: Final = AfterValidator(_not_empty)

# -- names, texts, numbers --
Name = Annotated[str, _read(values.name), spelling.NAME]
Word = Annotated[str, _read(values.word), spelling.WORD]
SourceName = Annotated[str, _read(values.source), spelling.WORD]
Text = Annotated[str, _read(str), spelling.TEXT]
Template = Annotated[str, _read(_template), spelling.TEMPLATE]
Bool = Annotated[bool, _read(values.boolean), spelling.BOOL]
Duration = Annotated[timedelta, _read(values.duration), spelling.DURATION]
PositiveDuration = Annotated[timedelta, _read(values.positive_duration), spelling.DURATION]
Size = Annotated[int, _read(values.size), spelling.SIZE]
Times = Annotated[int, _read(values.integer(1, 1000)), spelling.integer("number", 1, 1000)]
Repeat = Annotated[int, _read(values.integer(0, 1000)), spelling.integer("number", 0, 1000)]

# -- APNs --
TenCharacters = Annotated[str, _read(values.ten_characters), spelling.TEN]
BundleId = Annotated[str, _read(values.bundle_id), spelling.BUNDLE_ID]
Environment = Annotated[str, _choice("production", "sandbox"), spelling.one_of("production", "sandbox")]
Encryption = Annotated[
    str, _choice("off", "preferred", "required"), spelling.one_of("off", "preferred", "required")
]
PushKind = Annotated[str, _choice("voip", "alert"), spelling.one_of("voip", "alert")]
Each = Annotated[str, _choice("person", "device"), spelling.one_of("person", "device")]
Level = Annotated[
    str,
    _choice("critical", "time-sensitive", "active", "passive"),
    spelling.one_of("critical", "time-sensitive", "active", "passive"),
]
GatewayUrl = Annotated[str, _read(urls.gateway_url), spelling.HTTPS]
CertificateFile = Annotated[
    TextFile, _text_file(crypto.certificates), _pair("certificate_key_file"), spelling.FILE
]
CertificateKeyFile = Annotated[TextFile, _text_file(str), spelling.FILE]
CaFile = Annotated[TextFile, _text_file(crypto.authorities), spelling.FILE]
StorageUrl = Annotated[Ledger, PlainValidator(_storage), spelling.LEDGER]
StorageUrlFile = Annotated[Ledger, PlainValidator(_storage_file), spelling.FILE]

# -- secrets, each with its twin --
ApnsKey = Annotated[Secret, _secret(crypto.apns_key), spelling.SECRET]
ApnsKeyFile = Annotated[Secret, _secret_file(crypto.apns_key), spelling.FILE]
ProxyUrl = Annotated[Secret, _secret(urls.proxy_url), spelling.URL]
ProxyUrlFile = Annotated[Secret, _secret_file(urls.proxy_url), spelling.FILE]
Password = Annotated[Secret, _secret(str), spelling.SECRET]
PasswordFile = Annotated[Secret, _secret_file(str), spelling.FILE]
Credentials = Annotated[Secret, _secret(values.credentials), spelling.SECRET]
CredentialsFile = Annotated[Secret, _secret_file(values.credentials), spelling.FILE]
PushToken = Annotated[Secret, _secret(values.push_token), AfterValidator(_once), spelling.PUSH_TOKEN]
PushTokenFile = Annotated[Secret, _secret_file(values.push_token), AfterValidator(_once), spelling.FILE]
WebhookUrl = Annotated[Secret, _secret(urls.web_url), spelling.URL]
WebhookUrlFile = Annotated[Secret, _secret_file(urls.web_url), spelling.FILE]

# -- Alertmanager --
AlertmanagerUrls = Annotated[
    tuple[Annotated[str, _read(urls.alertmanager_url)], ...],
    BeforeValidator(_one_or_list),
    _some,
    spelling.URLS,
]
ReconcileEvery = Annotated[timedelta, _read(values.reconcile_every), spelling.DURATION]
Scheme = Annotated[str, _read(urls.scheme), spelling.TEXT]
ServerName = Annotated[str, _read(urls.server_name), spelling.HOST]
CertFile = Annotated[TextFile, _text_file(crypto.certificates), _pair("key_file"), spelling.FILE]
KeyFile = CertificateKeyFile

IcalUrl = Annotated[Secret, _secret(urls.web_url), spelling.URL]
IcalUrlFile = Annotated[Secret, _secret_file(urls.web_url), spelling.FILE]

# -- schedules --
CalendarNames = Annotated[tuple[Name, ...], BeforeValidator(_one_or_list), spelling.NAMES]
Day = Annotated[date, _read(values.day), spelling.DAY]
TimeOfDay = Annotated[time, _read(values.time_of_day), spelling.TIME]
Turn = Annotated[timedelta, _read(values.span("1h", "1y")), spelling.DURATION]
Moment = Annotated[datetime, _read(values.moment), spelling.MOMENT]
Refresh = Annotated[timedelta, _read(values.span("1m", "1d")), spelling.DURATION]
Within = Annotated[timedelta, _read(values.span("1m", "4h")), spelling.DURATION]
Late = Annotated[timedelta, _read(values.span("1m", "12h")), spelling.DURATION]
IcalFile = Annotated[TextFile, _text_file(str), spelling.FILE]

# -- routes and time intervals --
Matchers = Annotated[
    tuple[Annotated[tuple[Matcher, ...], _read(_matchers)], ...],
    BeforeValidator(_one_or_list),
    spelling.MATCHERS,
]
HeartbeatMatchers = Annotated[Matchers, AfterValidator(_picky), spelling.SOME_MATCHERS]
OldMatch = Annotated[None, _old_form("="), spelling.OLD]
OldMatchRe = Annotated[None, _old_form("=~"), spelling.OLD]
GroupBy = Annotated[tuple[Annotated[str, _read(_label), spelling.LABEL], ...], AfterValidator(_group_by)]
Weekdays = Annotated[Span, _read(timeintervals.parse_weekdays), spelling.SPAN]
DaysOfMonth = Annotated[Span, _read(timeintervals.parse_days_of_month), spelling.SPAN]
Months = Annotated[Span, _read(timeintervals.parse_months), spelling.SPAN]
Years = Annotated[Span, _read(timeintervals.parse_years), spelling.SPAN]
Location = Annotated[tzinfo | None, _read(timeintervals.parse_location), spelling.ZONE]
