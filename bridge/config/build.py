"""From the validated file to settings. Nothing can fail here any more."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeAlias, cast, get_args

from bridge import calendars, policy
from bridge.config import console, hours, model
from bridge.config.fields import TextFile
from bridge.config.settings import (
    DEFAULT,
    AlertmanagerSettings,
    ApnsSettings,
    DeviceSettings,
    Feed,
    Settings,
    Source,
    StorageSettings,
    Templates,
)
from bridge.config.values import Secret
from bridge.drills import Drill, Each, Hours
from bridge.oncall import DeviceGroup
from bridge.pushes import Environment, PushKind
from bridge.routing import RouteSpec, resolve
from bridge.schedules import Layer, Override, Schedule, instant
from bridge.sealing import Encryption
from bridge.timeintervals import TimeInterval
from bridge.watchdogs import Heartbeat

Intervals: TypeAlias = Mapping[str, tuple[TimeInterval, ...]]


def settings(path: Path, file: model.Model) -> Settings:
    """Build the settings of one file."""
    intervals = {named.name: tuple(map(_interval, named.time_intervals)) for named in file.time_intervals}
    return Settings(
        path=path,
        apns=_apns(file.apns),
        storage=_storage(file.storage),
        alert_ttl=file.alert_ttl,
        refire_quiet=file.refire_quiet,
        quiet_gap=file.quiet_gap,
        encryption=cast("Encryption", file.encryption),
        max_body_size=file.max_body_size,
        sources={s.name: Source(s.name, s.credentials or s.credentials_file) for s in file.sources},
        alertmanagers=_alertmanagers(file),
        people=tuple(person.name for person in file.people),
        devices={device.name: _device(device) for device in file.devices},
        groups={g.name: DeviceGroup(g.name, g.owners, g.devices, g.schedules) for g in file.device_groups},
        receivers={receiver.name: _receiver(receiver) for receiver in file.receivers},
        webhooks=dict(itertools.chain.from_iterable(map(_webhooks, file.receivers))),
        route=resolve(_route(file.route)),
        time_intervals=intervals,
        schedules={part.name: _schedule(part, intervals) for part in file.schedules},
        feeds={part.name: feed for part in file.schedules if (feed := _feed(part))},
        spellings=calendars.spellings({person.name: person.calendar_name for person in file.people}),
        console=console.settings(file.console),
        heartbeats={part.name: _heartbeat(part, file.route) for part in file.heartbeats},
        drills={part.name: _drill(part) for part in file.drills},
        templates=Templates(file.templates.caller_name, file.templates.reason),
    )


def _environment(text: str | None) -> Environment | None:
    return cast("Environment", text) if text in get_args(Environment) else None


def _path(file: TextFile | None) -> Path | None:
    return file.path if file else None


def _contents(*files: TextFile | None) -> str:
    texts = [file.text if file else "" for file in files]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _apns(part: model.ApnsPart) -> ApnsSettings:
    return ApnsSettings(
        topic=part.topic,
        environment=_environment(part.environment) or "production",
        team_id=part.team_id,
        key_id=part.key_id,
        key=part.key or part.key_file,
        certificate_file=_path(part.certificate_file),
        certificate_key_file=_path(part.certificate_key_file),
        url=part.url,
        ca_file=_path(part.ca_file),
        contents=_contents(part.certificate_file, part.certificate_key_file, part.ca_file),
        proxy=part.proxy or part.proxy_file,
    )


def _storage(part: model.StoragePart) -> StorageSettings:
    password = part.url.password or part.password or part.password_file
    return StorageSettings(part.url.url, part.retention, password)


def _alertmanagers(file: model.Model) -> dict[str, AlertmanagerSettings]:
    found = {DEFAULT: file.alertmanager} | {source.name: source.alertmanager for source in file.sources}
    return {name: _alertmanager(part) for name, part in found.items() if part is not None}


def _alertmanager(part: model.AlertmanagerPart) -> AlertmanagerSettings:
    tls, basic, bearer = part.tls_config, part.basic_auth, part.authorization
    return AlertmanagerSettings(
        urls=part.url,
        user=basic.username if basic else None,
        password=(basic.password or basic.password_file) if basic else None,
        scheme=bearer.type if bearer else "Bearer",
        credentials=(bearer.credentials or bearer.credentials_file) if bearer else None,
        ca_file=_path(tls.ca_file),
        cert_file=_path(tls.cert_file),
        key_file=_path(tls.key_file),
        contents=_contents(tls.ca_file, tls.cert_file, tls.key_file),
        server_name=tls.server_name,
        insecure=tls.insecure_skip_verify,
        reconcile_every=part.reconcile_every,
        reconcile_grace=part.reconcile_grace,
    )


def _interval(part: hours.SpansPart) -> TimeInterval:
    return TimeInterval(
        times=None if part.times is None else tuple(times.range for times in part.times),
        weekdays=part.weekdays,
        days_of_month=part.days_of_month,
        months=part.months,
        years=part.years,
        zone=part.location,
    )


def _schedule(part: model.SchedulePart, intervals: Intervals) -> Schedule:
    zone = part.time_zone
    overrides = (
        Override(one.person, instant(one.begin, zone), instant(one.end, zone, end=True))
        for one in part.overrides
    )
    layers = (_layer(layer, intervals) for layer in part.layers)
    return Schedule(part.name, zone, tuple(layers), tuple(overrides))


def _layer(part: model.LayerPart, intervals: Intervals) -> Layer:
    during = itertools.chain.from_iterable(intervals[name] for name in part.during)
    return Layer(part.members, datetime.combine(part.start, part.handover), part.every, tuple(during))


def _feed(part: model.SchedulePart) -> Feed | None:
    url = part.ical_url or part.ical_url_file
    file = _path(part.ical_file)
    return Feed(part.refresh, file, url) if file or url else None


def _heartbeat(part: model.HeartbeatPart, root: model.RoutePart) -> Heartbeat:
    return Heartbeat(
        name=part.name,
        matchers=tuple(itertools.chain.from_iterable(part.matchers)),
        every=part.every,
        grace=part.grace,
        receiver=part.receiver or str(root.receiver),
        source=part.source,
    )


def _drill(part: hours.DrillPart) -> Drill:
    days = TimeInterval(
        weekdays=part.weekdays, days_of_month=part.days_of_month, months=part.months, zone=part.time_zone
    )
    return Drill(
        name=part.name,
        hours=Hours(part.at, days),
        report_to=part.report_to,
        receiver=part.receiver,
        device_groups=part.device_groups,
        each=cast("Each", part.each),
        within=part.within,
        late=part.late,
        ring=_ring(part.ring),
    )


def _ring(part: hours.RingPart) -> policy.Ring:
    return policy.Ring(part.every, part.times, part.lasts)


def _device(part: model.DevicePart) -> DeviceSettings:
    return DeviceSettings(
        name=part.name,
        owner=part.owner,
        voip_token=part.voip_token or part.voip_token_file,
        alert_token=part.alert_token or part.alert_token_file,
        topic=part.topic,
        environment=_environment(part.environment),
    )


def _route(part: model.RoutePart) -> RouteSpec:
    return RouteSpec(
        receiver=part.receiver,
        matchers=tuple(itertools.chain.from_iterable(part.matchers)),
        group_by=part.group_by,
        continue_=part.continue_,
        mute_time_intervals=part.mute_time_intervals,
        active_time_intervals=part.active_time_intervals,
        routes=tuple(map(_route, part.routes)),
    )


def _receiver(part: model.ReceiverPart) -> policy.Receiver:
    steps = tuple(_step(part.name, number, step) for number, step in enumerate(part.escalation, 1))
    return policy.Receiver(
        part.name,
        steps,
        notify_resolved=part.notify_resolved,
        notify_acknowledged=part.notify_acknowledged,
        repeat=part.repeat,
        receipt_timeout=part.receipt_timeout,
        ack_timeout=part.ack_timeout,
        ack_creates_silence=part.ack_creates_silence,
        otherwise=part.otherwise,
    )


def _step(receiver: str, number: int, part: model.StepPart) -> policy.Step:
    ring = _ring(part.ring)
    webhooks = enumerate(part.webhooks, 1)
    return policy.Step(
        device_groups=part.device_groups,
        webhooks=tuple(_webhook_name(receiver, number, index, hook) for index, hook in webhooks),
        push=cast("PushKind", part.push),
        interruption_level=cast("policy.InterruptionLevel", part.interruption_level),
        ring=ring,
        then_after=ring.every * ring.times if part.then_after is None else part.then_after,
    )


def _webhook_name(receiver: str, step: int, index: int, part: model.WebhookPart) -> str:
    return part.name or f"{receiver}/{step}/{index}"


def _webhooks(receiver: model.ReceiverPart) -> Iterator[tuple[str, Secret]]:
    for number, step in enumerate(receiver.escalation, 1):
        for index, part in enumerate(step.webhooks, 1):
            url = part.url or part.url_file
            if url is not None:
                yield _webhook_name(receiver.name, number, index, part), url
