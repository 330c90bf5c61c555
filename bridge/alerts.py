"""Alertmanager's webhook message, version 4: bytes in, alerts out. Pure.

Source: prometheus/alertmanager, template/template.go (`Data`, `Alert`) and
notify/webhook/webhook.go (`Message`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any, Final

import msgspec

INTERNAL_SOURCE: Final = "pushkit-bridge"
"""The source of the bridge's own alerts; no webhook can claim it."""

DRILL_SOURCE: Final = "pushkit-bridge-drill"
"""The source of drills and tests: they ring as alerts do, but nothing is wrong. No webhook can claim it."""


class NotAnAlertmanagerMessage(ValueError):
    """The body is not Alertmanager's message, version 4; the text says what to change."""


class TooManyAlerts(ValueError):
    """More alerts than one notification may have; the text says how many those are."""


MOST_ALERTS: Final = 10_000
"""The most alerts in one notification: what a hostile one may cost has an end."""

MOST_LABELS: Final = 1_000
"""The most labels, and the most annotations, that are kept of one alert. Nobody has a tenth of that."""


class Alert(msgspec.Struct, frozen=True):
    """One alert of a notification.

    `ends_at` is None while it fires. `repairs` names what was broken and mended (rule 7).
    """

    fingerprint: str
    firing: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime | None = None
    generator_url: str = ""
    repairs: tuple[str, ...] = ()


class Notification(msgspec.Struct, frozen=True):
    """One webhook body. `group_key` and `external_url` are shown to people, never compared.

    `traceparent` is what records it, "" where nothing does.
    """

    source: str
    alerts: tuple[Alert, ...]
    group_key: str = ""
    external_url: str = ""
    truncated_alerts: int = 0
    traceparent: str = ""


class _Envelope(msgspec.Struct, rename="camel"):
    version: str
    alerts: list[msgspec.Raw]
    group_key: msgspec.Raw = msgspec.Raw(b'""')
    truncated_alerts: msgspec.Raw = msgspec.Raw(b"0")
    # `externalURL` is spelt so in template.Data; camel case would say externalUrl.
    external_url: msgspec.Raw = msgspec.field(name="externalURL", default=msgspec.Raw(b'""'))


class _WireAlert(msgspec.Struct, rename="camel"):
    status: str
    labels: dict[str, str]
    starts_at: str
    fingerprint: str
    ends_at: str = ""
    annotations: dict[str, str] = {}
    generator_url: str = msgspec.field(name="generatorURL", default="")


_envelope = msgspec.json.Decoder(_Envelope)
_wire_alert = msgspec.json.Decoder(_WireAlert)

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{16}")
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_NO_TIME_YEAR: Final = 1
"""Go's zero time, 0001-01-01T00:00:00Z, stands for "no end" while an alert fires."""
_LEAP_SECOND: Final = 60
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u(?:0000|[dD][89a-fA-F]..))|\\.", re.DOTALL
)
"""An escape in JSON; the group holds those that stand for no character: NUL, and half a surrogate pair."""
_MOST: Final = 2**53 - 1
"""The largest count that every reader of JSON, and every database, keeps exactly."""


def parse(body: bytes, source: str, now: datetime) -> Notification:
    """Read one webhook body; `now` is the arrival, which stands in for times that are missing.

    A broken alert in a valid envelope is repaired and marked, since a 4xx would lose it for
    good (rule 7). Raises NotAnAlertmanagerMessage for anything that is no such envelope, and TooManyAlerts.
    """
    whole = _whole(body)
    try:
        envelope = _envelope.decode(whole)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAnAlertmanagerMessage(_explain(whole, error)) from None
    if envelope.version != "4":
        raise NotAnAlertmanagerMessage(
            f'version is "{envelope.version[:20]}", but this bridge reads version "4"'
        )
    if len(envelope.alerts) > MOST_ALERTS:
        raise TooManyAlerts(f"the body has {len(envelope.alerts)} alerts, and {MOST_ALERTS} are the most")
    return Notification(
        source=source,
        alerts=tuple(
            _alert(raw, now, hurt=whole is not body and rb"\ufffd" in bytes(raw)) for raw in envelope.alerts
        ),
        group_key=_text(_loose(envelope.group_key)),
        external_url=_text(_loose(envelope.external_url)),
        truncated_alerts=_count(_loose(envelope.truncated_alerts)),
    )


def _whole(body: bytes) -> bytes:
    """Give a body whose every text can be kept: no database takes half a surrogate pair, few take NUL."""
    if rb"\u0000" not in body and rb"\ud" not in body and rb"\uD" not in body:
        return body
    whole = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)
    return body if whole == body else whole


def _explain(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "the body is empty; send Alertmanager's webhook message as JSON"
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"the body is not JSON: {error}"
    if isinstance(value, dict) and not {"version", "alerts"} <= value.keys():
        missing = " and ".join(f'"{key}"' for key in ("version", "alerts") if key not in value)
        return (
            f"the body has no {missing}: it is not Alertmanager's webhook message, version 4. "
            "If the receiver sets `payload:` (Alertmanager 0.32 and later), remove it"
        )
    return f"the body is not Alertmanager's webhook message, version 4: {error}"


def _loose(raw: msgspec.Raw) -> Any:
    """Read one value as well as can be; None where nobody could (nested too deeply, a number too large)."""
    try:
        return msgspec.json.decode(bytes(raw).decode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    # JSON's true is an int to Python. No reader of ours keeps more than _MOST.
    return min(value, _MOST) if isinstance(value, int) and value is not True and value > 0 else 0


def _alert(raw: msgspec.Raw, now: datetime, *, hurt: bool) -> Alert:
    repairs = ["encoding"] if hurt else []
    try:
        wire = _wire_alert.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        value = _loose(raw)
        if isinstance(error, UnicodeDecodeError) and not hurt:
            repairs.append("encoding")
        return _repaired(value if isinstance(value, dict) else {}, now, repairs)
    starts_at, ends_at = timestamp(wire.starts_at), timestamp(wire.ends_at)
    known = wire.status in {"firing", "resolved"} and bool(_FINGERPRINT.fullmatch(wire.fingerprint))
    if not known or starts_at is None or (wire.status == "resolved" and ends_at is None):
        return _repaired(msgspec.to_builtins(wire), now, repairs)
    firing = wire.status == "firing"
    return Alert(
        fingerprint=wire.fingerprint,
        firing=firing,
        labels=_some(wire.labels, "too many labels", repairs),
        annotations=_some(wire.annotations, "too many annotations", repairs),
        starts_at=starts_at,
        ends_at=None if firing else ends_at,
        generator_url=wire.generator_url,
        repairs=tuple(repairs),
    )


def _repaired(value: dict[str, Any], now: datetime, repairs: list[str]) -> Alert:
    """Make the best of a broken alert: whatever cannot be read rings rather than vanishes."""
    labels = _strings(value.get("labels"), "labels", repairs)
    annotations = _strings(value.get("annotations", {}), "annotations", repairs)
    status = _text(value.get("status"))
    if status not in {"firing", "resolved"}:
        repairs.append("status")
    starts_at = timestamp(_text(value.get("startsAt")))
    if starts_at is None:
        repairs.append("startsAt")
    ends_at = timestamp(_text(value.get("endsAt")))
    firing = status != "resolved"
    if not isinstance(value.get("endsAt", ""), str) or not (firing or ends_at):
        repairs.append("endsAt")
    if not isinstance(value.get("generatorURL", ""), str):
        repairs.append("generatorURL")
    given = _text(value.get("fingerprint"))
    if not _FINGERPRINT.fullmatch(given):
        repairs.append("fingerprint")
        given = fingerprint(labels)
    return Alert(
        fingerprint=given,
        firing=firing,
        labels=_some(labels, "too many labels", repairs),
        annotations=_some(annotations, "too many annotations", repairs),
        starts_at=starts_at or now,
        ends_at=None if firing else ends_at or now,
        generator_url=_text(value.get("generatorURL")),
        repairs=tuple(repairs),
    )


def _some(values: dict[str, str], why: str, repairs: list[str]) -> dict[str, str]:
    """Keep what comes first, and the name: each label that is kept is looked at again and again."""
    if len(values) <= MOST_LABELS:
        return values
    repairs.append(why)
    name = {"alertname": values["alertname"]} if "alertname" in values else {}
    return name | dict(islice(values.items(), MOST_LABELS - 1))


def _strings(value: Any, name: str, repairs: list[str]) -> dict[str, str]:
    if not isinstance(value, dict):
        repairs.append(name)
        return {}
    if any(not isinstance(item, str) for item in value.values()):
        repairs.append(name)
    return {
        key: item if isinstance(item, str) else msgspec.json.encode(item).decode()
        for key, item in value.items()
    }


def timestamp(text: str) -> datetime | None:
    """Read an RFC 3339 time with up to nine fractional digits; None for no time, or Go's zero time."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if year <= _NO_TIME_YEAR or second > _LEAP_SECOND:
        return None
    micros = int(((match[7] or "") + "000000")[:6])
    try:
        at = datetime(year, month, day, hour, minute, min(second, 59), micros, _zone(match))
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(match: re.Match[str]) -> timezone:
    if match[8] is None:
        return UTC
    offset = timedelta(hours=int(match[9]), minutes=int(match[10]))
    return timezone(-offset if match[8] == "-" else offset)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Hash a label set as Prometheus does: FNV-1a, 64 bits, 16 hex digits.

    Source: prometheus/common, model/signature.go, `labelSetToFingerprint`.
    """
    value = 0xCBF29CE484222325
    for name in sorted(labels):
        for byte in b"%b\xff%b\xff" % (name.encode(), labels[name].encode()):
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def internal(
    name: str, labels: Mapping[str, str], annotations: Mapping[str, str], now: datetime
) -> Notification:
    """Make one of the bridge's own alerts, so that its troubles ring by the same rules as any other."""
    full = {"alertname": name, **labels}
    alert = Alert(fingerprint(full), firing=True, labels=full, annotations=annotations, starts_at=now)
    return Notification(source=INTERNAL_SOURCE, alerts=(alert,), group_key=name)
