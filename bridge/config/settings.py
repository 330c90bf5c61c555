"""What the rest of the program is given: frozen, complete, and without a trace of the file's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from bridge import drills, oncall, policy, routing, timeintervals
from bridge.alerts import DRILL_SOURCE, INTERNAL_SOURCE
from bridge.config.console import ConsoleSettings
from bridge.config.problems import Problem
from bridge.config.values import Secret
from bridge.drills import Drill
from bridge.incidents import Slot
from bridge.pushes import Environment
from bridge.schedules import Calendar, Schedule, with_overrides
from bridge.sealing import Encryption
from bridge.watchdogs import Heartbeat


@dataclass(frozen=True, slots=True)
class ApnsSettings:
    """How to speak to APNs: with a provider token (`key`, PEM, with its ids), or with a client certificate.

    `topic` is the bundle id, without `.voip`. `url` None is Apple's own host of the environment.
    `proxy` is `http://[user:password@]host:port`. `certificate_key_file` None: the key is in
    `certificate_file` too. Paths are absolute; `contents` is a digest of what they held when they
    were read, so that a renewed certificate makes other settings.
    """

    topic: str
    environment: Environment = "production"
    team_id: str | None = None
    key_id: str | None = None
    key: Secret | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None
    url: str | None = None
    ca_file: Path | None = None
    contents: str = ""
    proxy: Secret | None = None


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where the ledger lies, and how long what has ended is kept.

    `url` is `sqlite:////absolute/path`, or libpq's `postgresql://user@host:port/database?options` without
    the password.
    """

    url: str
    retention: timedelta = timedelta(days=30)
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One who sends to POST /webhook/{name}. With `credentials`, only with them as a bearer token."""

    name: str
    credentials: Secret | None = None


@dataclass(frozen=True, slots=True)
class AlertmanagerSettings:
    """How to speak to an Alertmanager: `urls` are the addresses of one, or of a cluster, with their path.

    `user` and `password` go as Basic authentication, or `credentials` after the word `scheme`. Paths,
    `contents` as in ApnsSettings. `server_name`: whom its certificate is made out to, None = the URL's host.
    It is asked for its alerts `reconcile_every` so often; what it misses for `reconcile_grace` has ended.
    """

    urls: tuple[str, ...]
    user: str | None = None
    password: Secret | None = None
    scheme: str = "Bearer"
    credentials: Secret | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    contents: str = ""
    server_name: str | None = None
    insecure: bool = False
    reconcile_every: timedelta = timedelta(minutes=1)
    reconcile_grace: timedelta = timedelta(minutes=5)


DEFAULT: Final = "default"
"""What the Alertmanager is called that serves every source without one of its own; no source can be."""


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """A phone known beforehand. Tokens are lowercase hex; `topic`, `environment` None: those of apns."""

    name: str
    owner: str
    voip_token: Secret | None = None
    alert_token: Secret | None = None
    topic: str | None = None
    environment: Environment | None = None


@dataclass(frozen=True, slots=True)
class Templates:
    """Jinja2 texts of a call's two lines; None = the renderer's own."""

    caller_name: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """Where a schedule's calendar is, in a file or at a URL, and how often it is read again."""

    refresh: timedelta
    file: Path | None = None
    url: Secret | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration file that was understood as a whole.

    `max_body_size` is in bytes. `webhooks` are URLs by the names that policy.Step.webhooks holds. The
    `schedules` that `feeds` names too go by a calendar, once it has been read; `spellings` say who is
    meant in it. `alertmanagers` are by the names of their sources, or DEFAULT. `warnings` are in the
    file's order.
    """

    path: Path
    apns: ApnsSettings
    storage: StorageSettings
    alert_ttl: timedelta
    refire_quiet: timedelta
    quiet_gap: timedelta
    max_body_size: int
    sources: Mapping[str, Source]
    people: tuple[str, ...]
    devices: Mapping[str, DeviceSettings]
    groups: Mapping[str, oncall.DeviceGroup]
    receivers: Mapping[str, policy.Receiver]
    webhooks: Mapping[str, Secret]
    route: routing.Route
    time_intervals: Mapping[str, tuple[timeintervals.TimeInterval, ...]]
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)
    heartbeats: Mapping[str, Heartbeat] = field(default_factory=dict)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    alertmanagers: Mapping[str, AlertmanagerSettings] = field(default_factory=dict)
    drills: Mapping[str, Drill] = field(default_factory=dict)
    templates: Templates = Templates()
    encryption: Encryption = "preferred"
    warnings: tuple[Problem, ...] = ()
    exposed: tuple[Problem, ...] = ()

    @property
    def keyed(self) -> bool:
        """Whether a phone without an encryption key is told nothing."""
        return self.encryption == "required"

    def receiver(self, name: str) -> policy.Receiver:
        """Give the receiver of this name; one that a reload took away falls to the root route's."""
        return self.receivers.get(name) or self.receivers[self.route.receiver]

    def policy_of(self, slot: Slot) -> policy.Receiver:
        """Give the policy by which an incident of this slot rings."""
        if slot.source == DRILL_SOURCE:
            return drills.policy(slot, self.receiver, self.drills)
        return self.receiver(slot.receiver)

    def alertmanager_of(self, source: str) -> str | None:
        """Name the Alertmanager that has a source's alerts, a key of `alertmanagers`; None: none is known."""
        if source in {INTERNAL_SOURCE, DRILL_SOURCE}:
            return None
        return next((name for name in (source, DEFAULT) if name in self.alertmanagers), None)

    def receivers_of(self, owner: str, now: datetime) -> frozenset[str]:
        """Name the receivers of which some step can ring this person."""
        devices = {device.name for device in self.devices.values() if device.owner == owner}
        return oncall.receivers_of(
            owner, devices, self.receivers.values(), self.on_call(oncall.Roster()), now
        )

    def with_calendars(self, found: Mapping[str, Calendar]) -> Settings:
        """Give these settings with calendars by the names of their schedules; other schedules stay."""
        return replace(
            self,
            schedules={
                name: replace(schedule, calendar=found.get(name, schedule.calendar))
                for name, schedule in self.schedules.items()
            },
        )

    def on_call(self, roster: oncall.Roster) -> oncall.OnCall:
        """Make the answer to who carries the phone, for phones in their present state."""
        overridden = {
            name: with_overrides(self.schedules[name], found)
            for name, found in roster.overrides.items()
            if name in self.schedules
        }
        return oncall.OnCall(self.groups, roster.phones, {**self.schedules, **overridden})
