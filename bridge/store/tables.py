"""The ledger's tables. Times are integers: microseconds since 1970, UTC."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    false,
    literal_column,
    text,
)

from bridge.alerts import DRILL_SOURCE
from bridge.store.columns import instant as _instant

metadata: Final = MetaData()


def _partial(name: str, *columns: Column[Any], where: str, unique: bool = False) -> None:
    # On PostgreSQL it is the same, as its migration says: to say so here would load all its drivers, 2 MiB.
    Index(name, *columns, unique=unique, sqlite_where=text(where))


meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    # A digest of (source, receiver, group values): group values can be longer than an index takes.
    Column("slot", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("group_values", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("series", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("ring", Integer, nullable=False),
    _instant("due_at"),
    _instant("wake_at"),
    _instant("step_ends_at"),
    Column("reached", Boolean, nullable=False),
    Column("out", JSON, nullable=False),
    Column("stand_ins", JSON, nullable=False, server_default="[]"),
    Column("told", JSON, nullable=False),
    _instant("opened_at", nullable=False),
    _instant("acknowledged_at"),
    Column("acknowledged_by", Text),
    _instant("acknowledged_until"),
    _instant("ack_silence_until"),
    _instant("silenced_until"),
    Column("silenced_by", Text),
    _instant("resolved_at"),
    Column("resolution", Text),
    _instant("unanswered_at"),
    Column("group_key", Text, nullable=False),
    Column("external_url", Text, nullable=False),
    Column("truncated_alerts", BigInteger, nullable=False),
    Column("traceparent", Text),
)
_partial("one_open_incident_in_each_slot", incidents.c.slot, where="state <> 'resolved'", unique=True)
OPEN_INCIDENT: Final = incidents.c.state != literal_column("'resolved'")
"""In the index's own words, not with a bound value: so that it serves where statements are prepared ahead."""

OPEN_DRILL: Final = (incidents.c.source == literal_column(f"'{DRILL_SOURCE}'")) & OPEN_INCIDENT
"""As OPEN_INCIDENT."""

_partial("open_drills", incidents.c.id, where=f"source = '{DRILL_SOURCE}' AND state <> 'resolved'")
Index("incidents_by_wake", incidents.c.wake_at)
Index("incidents_by_end", incidents.c.resolved_at)

episodes = Table(
    "episodes",
    metadata,
    Column("incident_id", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("annotations", JSON, nullable=False),
    Column("generator_url", Text, nullable=False),
    _instant("starts_at", nullable=False),
    _instant("expires_at", nullable=False),
    _instant("ended_at"),
    _instant("ended_here_at"),
    Column("revision", Integer, nullable=False),
    Column("repairs", JSON, nullable=False),
    Column("seen", Boolean, nullable=False, server_default=false()),
    # By our clock: its first word in this incident, and its last one that said firing.
    _instant("opened_here_at"),
    _instant("mentioned_at"),
)
_partial("open_episodes", episodes.c.source, episodes.c.fingerprint, where="status = 'firing'")
OPEN_EPISODE: Final = episodes.c.status == literal_column("'firing'")
"""As OPEN_INCIDENT."""

# What was accepted: a row for each notification, written in its own transaction, and never changed.
notifications = Table(
    "notifications",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _instant("at", nullable=False),
    Column("source", Text, nullable=False),
    # Which alerts fired, or had ended, and the incidents that took them in. See `rows.ways`.
    Column("firing", Text, nullable=False),
    Column("resolved", Text, nullable=False),
)
Index("notifications_by_age", notifications.c.at)

pages = Table(
    "pages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("series", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("ring", Integer, nullable=False),
    Column("push", Text, nullable=False),
    Column("interruption_level", Text, nullable=False),
    _instant("due_at", nullable=False),
    _instant("expires_at", nullable=False),
    Column("every", Float, nullable=False),
    Column("lasts", Float, nullable=False),
    Column("call_uuid", Text, nullable=False),
    Column("drill", Boolean, nullable=False, server_default=false()),
    # waiting -> sending -> settled; back to waiting for another attempt.
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    _instant("next_attempt_at", nullable=False),
    Column("call_id", Text),
    # Why nobody wants it any more: a page that is being sent cannot be settled yet.
    Column("withdrawn", Text),
    Column("outcome", Text),
    Column("reason", Text),
    _instant("created_at", nullable=False),
    _instant("settled_at"),
)
_partial("open_pages", pages.c.next_attempt_at, where="state <> 'settled'")
OPEN_PAGE: Final = pages.c.state != literal_column("'settled'")
"""As OPEN_INCIDENT."""

Index("pages_by_incident", pages.c.incident_id)
Index("pages_by_call", pages.c.call_id)

# What is wanted of Alertmanager for an incident, and how far that has come.
unheard = Table(
    "unheard",
    metadata,
    Column("source", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("group_key", Text, nullable=False),
    Column("external_url", Text, nullable=False),
    _instant("ended_at", nullable=False),
)

silences = Table(
    "silences",
    metadata,
    Column("incident_id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    # Both None: nothing is wanted any more.
    _instant("wanted_until"),
    Column("wanted_by", Text),
    # The furthest end that Alertmanager may have been told, whether it answered or not.
    _instant("told_until"),
    # waiting -> sending -> settled; back to waiting for another attempt, or another wish.
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    _instant("next_attempt_at", nullable=False),
)
_partial("open_silences", silences.c.next_attempt_at, where="state <> 'settled'")
OPEN_SILENCE: Final = silences.c.state != literal_column("'settled'")
"""As OPEN_INCIDENT."""

devices = Table(
    "devices",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("enrolled", Boolean, nullable=False),
    Column("topic", Text),
    Column("environment", Text),
    Column("voip_token", Text),
    _instant("voip_registered_at"),
    # Why a token is not used: unregistered, or quarantined and the reason. None: it is used.
    Column("voip_trouble", Text),
    Column("alert_token", Text),
    _instant("alert_registered_at"),
    Column("alert_trouble", Text),
    # The last call that APNs took: when it began, and until when it is live (rule 5).
    _instant("called_at"),
    _instant("live_until"),
    Column("live_call", Text),
    _instant("removed_at"),
    # Of a phone that enrolled: the digest of its credential, and what it said of itself.
    Column("credential", Text),
    Column("app_version", Text),
    Column("os_version", Text),
    _instant("enrolled_at"),
    # Its public key, base64url: what its pushes are sealed for.
    Column("encryption_key", Text),
    # When it last said anything, and how many calls in a row it has accepted and never received.
    _instant("heard_at"),
    Column("silent_calls", Integer, nullable=False, server_default="0"),
)
Index("devices_by_credential", devices.c.credential, unique=True)

enrolments = Table(
    "enrolments",
    metadata,
    # A digest: whoever reads the ledger cannot use the code.
    Column("code", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("device", Text),
    _instant("created_at", nullable=False),
    _instant("expires_at", nullable=False),
    _instant("used_at"),
)

# Requests of phones that must have one effect, however often they come.
actions = Table(
    "actions",
    metadata,
    Column("device", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    _instant("at", nullable=False),
)

overrides = Table(
    "overrides",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("schedule", Text, nullable=False),
    Column("person", Text, nullable=False),
    _instant("start_at", nullable=False),
    _instant("end_at", nullable=False),
    _instant("written_at", nullable=False),
    Column("written_by", Text, nullable=False),
    # An id is never given again: somebody may have noted it.
    sqlite_autoincrement=True,
)

# Up to when each drill's hours have been dealt with; `hours` says which hours.
drills = Table(
    "drills",
    metadata,
    Column("name", Text, primary_key=True),
    Column("hours", Text, nullable=False),
    _instant("decided_until", nullable=False),
)

drill_runs = Table(
    "drill_runs",
    metadata,
    Column("id", Text, primary_key=True),  # of drill and hour: one that is begun twice is the same
    Column("drill", Text, nullable=False),
    _instant("due_at", nullable=False),
    _instant("ends_at", nullable=False),
    Column("outcome", Text),  # None: it goes on; else passed, failed, missed
    _instant("ended_at"),
    Column("members", JSON, nullable=False),  # [{who, owner, incident}]
    Column("results", JSON, nullable=False),  # once it is over: [{who, confirmed, at, why}]
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", Text, primary_key=True),
    _instant("known_at", nullable=False),
    _instant("looked_at", nullable=False),
    _instant("seen_at"),
    _instant("excused_until"),
    _instant("missing_since"),
)

calls = Table(
    "calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("uuid", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("push", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # [[incident id, revision], ...]: what an answer acknowledges.
    Column("carries", JSON, nullable=False),
    _instant("created_at", nullable=False),
    _instant("expires_at", nullable=False),
    _instant("accepted_at"),
    _instant("received_at"),
    # Until when the phone has to say that it got the push; None: no word is awaited any more.
    _instant("receipt_due_at"),
    Column("state", Text, nullable=False),
)
Index("calls_by_age", calls.c.created_at)
Index("calls_by_receipt", calls.c.receipt_due_at)
_partial("lost_calls", calls.c.expires_at, where="state = 'sending'")
SENDING_CALL: Final = calls.c.state == literal_column("'sending'")
"""As OPEN_INCIDENT."""

receipts = Table(
    "receipts",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("receipt", Text, nullable=False),
    Column("error_code", Integer),
    Column("at", Text),
    _instant("received_at", nullable=False),
)

timeline = Table(
    "timeline",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("incident_id", Text, nullable=False),
    _instant("at", nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
)
Index("timeline_by_incident", timeline.c.incident_id)
