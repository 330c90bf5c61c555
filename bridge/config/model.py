"""The shape of the file: every key and its default. Pydantic finds all errors of one pass.

What a single value or one mapping can show is checked here; what takes two places is in `checks.py`.
"""

from __future__ import annotations

from datetime import UTC, time, timedelta
from typing import Annotated

from pydantic import Field, model_validator

from bridge.config.console import ConsolePart
from bridge.config.fields import (
    AlertmanagerUrls,
    ApnsKey,
    ApnsKeyFile,
    Bool,
    BundleId,
    CaFile,
    CalendarNames,
    CertFile,
    CertificateFile,
    CertificateKeyFile,
    Credentials,
    CredentialsFile,
    Day,
    Duration,
    Encryption,
    Environment,
    GatewayUrl,
    GroupBy,
    HeartbeatMatchers,
    IcalFile,
    IcalUrl,
    IcalUrlFile,
    KeyFile,
    Level,
    Location,
    Matchers,
    Moment,
    Name,
    OldMatch,
    OldMatchRe,
    Password,
    PasswordFile,
    PositiveDuration,
    ProxyUrl,
    ProxyUrlFile,
    PushKind,
    PushToken,
    PushTokenFile,
    ReconcileEvery,
    Refresh,
    Repeat,
    Scheme,
    ServerName,
    Size,
    SourceName,
    StorageUrl,
    StorageUrlFile,
    Template,
    TenCharacters,
    Text,
    TimeOfDay,
    Turn,
    WebhookUrl,
    WebhookUrlFile,
    Word,
)
from bridge.config.hours import DrillPart, RingPart, TimeIntervalPart
from bridge.config.part import Part


class ApnsPart(Part):
    team_id: TenCharacters | None = None
    key_id: TenCharacters | None = None
    key: ApnsKey | None = None
    key_file: ApnsKeyFile | None = None
    certificate_key_file: CertificateKeyFile | None = None
    certificate_file: CertificateFile | None = None
    topic: BundleId
    environment: Environment = "production"
    url: GatewayUrl | None = None
    ca_file: CaFile | None = None
    proxy: ProxyUrl | None = None
    proxy_file: ProxyUrlFile | None = None


class StoragePart(Part):
    # Read before its twin, which has a default only where this one is absent.
    url_file: StorageUrlFile | None = None
    url: StorageUrl = Field(None, validate_default=True)
    password: Password | None = None
    password_file: PasswordFile | None = None
    retention: PositiveDuration = timedelta(days=30)

    @model_validator(mode="after")
    def has_one_password(self) -> StoragePart:
        """Refuse a password that is given twice, and one for a file."""
        if self.password is None and self.password_file is None:
            return self
        if self.url.file is not None:
            raise ValueError("a password belongs to postgresql://; a SQLite file has none")
        if self.url.password is not None:
            raise ValueError("the password is in the URL and beside it; take it out of the URL")
        return self


class BasicAuthPart(Part):
    username: Text
    password: Password | None = None
    password_file: PasswordFile | None = None


class AuthorizationPart(Part):
    type: Scheme = "Bearer"
    credentials: Credentials | None = None
    credentials_file: CredentialsFile | None = None


class TlsPart(Part):
    ca_file: CaFile | None = None
    key_file: KeyFile | None = None
    cert_file: CertFile | None = None
    server_name: ServerName | None = None
    insecure_skip_verify: Bool = False


class AlertmanagerPart(Part):
    url: AlertmanagerUrls
    basic_auth: BasicAuthPart | None = None
    authorization: AuthorizationPart | None = None
    tls_config: TlsPart = TlsPart()
    reconcile_every: ReconcileEvery = timedelta(minutes=1)
    reconcile_grace: Duration = timedelta(minutes=5)


class SourcePart(Part):
    name: SourceName
    credentials: Credentials | None = None
    credentials_file: CredentialsFile | None = None
    alertmanager: AlertmanagerPart | None = None


class PersonPart(Part):
    name: Name
    calendar_name: CalendarNames = ()


class DevicePart(Part):
    name: Name
    owner: Name
    voip_token: PushToken | None = None
    voip_token_file: PushTokenFile | None = None
    alert_token: PushToken | None = None
    alert_token_file: PushTokenFile | None = None
    topic: BundleId | None = None
    environment: Environment | None = None


class LayerPart(Part):
    members: tuple[Name, ...]
    start: Day
    handover: TimeOfDay = time()
    every: Turn
    during: tuple[Name, ...] = ()


class OverridePart(Part):
    person: Name
    begin: Annotated[Moment, Field(validation_alias="from")]
    end: Annotated[Moment, Field(validation_alias="to")]

    @model_validator(mode="after")
    def begins_before_it_ends(self) -> OverridePart:
        """Refuse an end before the start, and two times that cannot be compared."""
        if (self.begin.tzinfo is None) != (self.end.tzinfo is None):
            raise ValueError("give both `from` and `to` an offset, or neither: then they are local times")
        if self.begin >= self.end:
            raise ValueError("`from` must be before `to`")
        return self


class SchedulePart(Part):
    name: Name
    # Here None is not "absent" but `Local`, this machine's own zone.
    time_zone: Location = UTC
    layers: tuple[LayerPart, ...] = ()
    overrides: tuple[OverridePart, ...] = ()
    ical_file: IcalFile | None = None
    ical_url: IcalUrl | None = None
    ical_url_file: IcalUrlFile | None = None
    refresh: Refresh = timedelta(minutes=15)


class GroupPart(Part):
    name: Name
    owners: tuple[Name, ...] = ()
    devices: tuple[Name, ...] = ()
    schedules: tuple[Name, ...] = ()


class WebhookPart(Part):
    name: Word | None = None
    url: WebhookUrl | None = None
    url_file: WebhookUrlFile | None = None


class StepPart(Part):
    device_groups: tuple[Name, ...] = ()
    webhooks: tuple[WebhookPart, ...] = ()
    push: PushKind = "voip"
    interruption_level: Level = "time-sensitive"
    ring: RingPart = RingPart()
    then_after: Duration | None = None


class ReceiverPart(Part):
    name: Name
    notify_resolved: Bool = True
    notify_acknowledged: Bool = True
    repeat: Repeat = 0
    receipt_timeout: PositiveDuration = timedelta(seconds=10)
    ack_timeout: PositiveDuration | None = None
    ack_creates_silence: PositiveDuration | None = None
    otherwise: tuple[Name, ...] = ()
    escalation: tuple[StepPart, ...] = ()


class RoutePart(Part):
    receiver: Name | None = None
    matchers: Matchers = ()
    match: OldMatch = None
    match_re: OldMatchRe = None
    group_by: GroupBy | None = None
    continue_: Annotated[Bool, Field(validation_alias="continue")] = False
    mute_time_intervals: tuple[Name, ...] = ()
    active_time_intervals: tuple[Name, ...] = ()
    routes: tuple[RoutePart, ...] = ()


class HeartbeatPart(Part):
    name: Name
    matchers: HeartbeatMatchers
    source: Word | None = None
    every: PositiveDuration
    grace: Duration = timedelta(minutes=2)
    receiver: Name | None = None


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
    encryption: Encryption = "preferred"
    max_body_size: Size = 16 << 20
    alertmanager: AlertmanagerPart | None = None
    sources: tuple[SourcePart, ...] = ()
    people: tuple[PersonPart, ...] = ()
    devices: tuple[DevicePart, ...] = ()
    schedules: tuple[SchedulePart, ...] = ()
    device_groups: tuple[GroupPart, ...] = ()
    templates: TemplatesPart = TemplatesPart()
    time_intervals: tuple[TimeIntervalPart, ...] = ()
    receivers: tuple[ReceiverPart, ...] = ()
    heartbeats: tuple[HeartbeatPart, ...] = ()
    console: ConsolePart = ConsolePart()
    drills: tuple[DrillPart, ...] = ()
    route: RoutePart
