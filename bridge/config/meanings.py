"""What each key of the configuration means, with an example: for editors, and for docs/configuration.md.

A test holds that every key of the model stands here, and nothing else; and that each example is one.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class Meaning(NamedTuple):
    """A key's meaning, as a sentence or two, and an example of its value; None: a section of its own."""

    text: str
    example: Any = None


SECTIONS: Final[dict[str, str]] = {
    "Model": "The whole file. Unknown keys, and keys given twice, are errors.",
    "ApnsPart": "How Apple is reached: with a provider token (`team_id`, `key_id`, `key` or `key_file`), or "
    "with a client certificate.",
    "StoragePart": "Where the ledger of alerts, incidents and pushes lies.",
    "AlertmanagerPart": "Alertmanager's own API, for what it tells no webhook. Of `basic_auth` and "
    "`authorization` one at the most.",
    "BasicAuthPart": "A user and a password, as in Alertmanager's `http_config`.",
    "AuthorizationPart": "A bearer token, as in Alertmanager's `http_config`.",
    "TlsPart": "TLS towards Alertmanager, as in its `http_config`.",
    "SourcePart": "Who sends to `POST /webhook/{name}`. Without any source every name is taken.",
    "PersonPart": "Somebody who carries a phone.",
    "DevicePart": "A phone whose tokens are known beforehand; others enrol. It has at least one token.",
    "SchedulePart": "Who carries the phone when: by layers, or by one calendar.",
    "LayerPart": "People who take turns. Of several layers that have somebody, the last one counts.",
    "OverridePart": "Somebody else for a time. Both times have an offset, or neither; the end is exclusive.",
    "GroupPart": "Whom a step rings: by schedules, then the owners' devices, then single devices.",
    "TemplatesPart": "The two lines that a call shows, as Jinja2 templates; config.example.yaml names what "
    "they can use.",
    "TimeIntervalPart": "A named span of time, as in Alertmanager.",
    "SpansPart": "An instant is inside if it fits every key that is there.",
    "TimesPart": "A span of a day.",
    "ReceiverPart": "How hard to ring, and whom: an escalation policy.",
    "StepPart": "One escalation step. It has device groups, webhooks, or both.",
    "WebhookPart": "A POST to somebody else, with `url` or `url_file`.",
    "RingPart": "How often a step rings. `for` must be shorter than `every`.",
    "HeartbeatPart": "An alert that must come again and again, else the receiver rings.",
    "ConsolePart": "Who may do what at the console.",
    "DrillPart": "Trying out at agreed hours whether phones ring: of a receiver, or of device groups.",
    "RoutePart": "Which receiver an alert gets, as in Alertmanager: the first child that matches, and on to "
    "the next siblings if it says `continue`. The root takes all: it has a receiver, no matchers and no "
    "`continue`.",
}

MEANINGS: Final[dict[str, dict[str, Meaning]]] = {
    "Model": {
        "apns": Meaning("How Apple is reached."),
        "storage": Meaning("Where the ledger lies, and for how long."),
        "alert_ttl": Meaning(
            "An alert that nobody mentions any more is given up after this long. Keep it well above "
            "Alertmanager's repeat_interval.",
            "25h",
        ),
        "refire_quiet": Meaning(
            "An alert that fires again this soon after its end joins its incident without ringing.", "5m"
        ),
        "quiet_gap": Meaning(
            "How long a phone is left in peace after a call; what comes in meanwhile is in the next.",
            "30s",
        ),
        "encryption": Meaning(
            "Whether pushes are sealed, so that only their phone can read them: `off`; `preferred`, where it "
            "has a key; `required`: a phone without one rings and says nothing.",
            "required",
        ),
        "max_body_size": Meaning("The largest webhook body that is read; else the answer is 413.", "16MiB"),
        "alertmanager": Meaning("The Alertmanager of every source without one of its own."),
        "sources": Meaning("Who sends, beside the source `default` of `POST /webhook`."),
        "people": Meaning("Everybody who carries a phone."),
        "devices": Meaning("Phones whose tokens are known beforehand; others enrol."),
        "schedules": Meaning("Who carries the phone when."),
        "device_groups": Meaning("Whom a step can ring."),
        "templates": Meaning("What a call shows, where the bridge's own lines are not wanted."),
        "time_intervals": Meaning("Named spans of time, for routes and layers."),
        "receivers": Meaning("How hard to ring, and whom."),
        "heartbeats": Meaning("What must come again and again: docs/heartbeats.md."),
        "console": Meaning("Who may act at the console, and look. Without it whoever gets in may act."),
        "drills": Meaning("Test calls at agreed hours: docs/drills.md."),
        "route": Meaning("The routing tree."),
    },
    "ApnsPart": {
        "team_id": Meaning("The team's id at Apple, ten characters.", "DEM0TEAM01"),
        "key_id": Meaning("The key's id, ten characters, beside the key at Apple.", "DEM0KEY001"),
        "key": Meaning("The provider token's key, PEM, in place.", "what the .p8 file holds"),
        "key_file": Meaning("A file with that key.", "AuthKey_DEM0KEY001.p8"),
        "certificate_file": Meaning("A client certificate, PEM, instead of the key.", "voip.pem"),
        "certificate_key_file": Meaning("Its key, where that is not in the same file.", "voip-key.pem"),
        "topic": Meaning("The app's bundle id; `.voip` is added where needed.", "com.example.oncall"),
        "environment": Meaning("`sandbox` for an app that was started from Xcode.", "production"),
        "url": Meaning("A simulator or a gateway instead of Apple.", "https://127.0.0.1:2197"),
        "ca_file": Meaning("Who signed its certificate, PEM.", "simulator-ca.pem"),
        "proxy": Meaning(
            "An HTTP proxy (CONNECT) on the way to Apple.", "http://user:password@proxy.example.com:3128"
        ),
        "proxy_file": Meaning("A file with that URL.", "proxy.url"),
    },
    "StoragePart": {
        "url": Meaning(
            "A SQLite file, or the PostgreSQL that several bridges share; without it `sqlite:///bridge.db`.",
            "sqlite:////var/lib/pushkit-bridge/bridge.db",
        ),
        "url_file": Meaning("A file with that URL.", "ledger.url"),
        "password": Meaning("The password of PostgreSQL, apart from the URL.", "a-long-random-text"),
        "password_file": Meaning("A file with that password.", "ledger.password"),
        "retention": Meaning("How long what has ended is kept.", "30d"),
    },
    "AlertmanagerPart": {
        "url": Meaning(
            "Its address with its external path, without /api/v2. Of a cluster without an address in common, "
            "all.",
            "https://alertmanager.example.com/am",
        ),
        "basic_auth": Meaning("A user and a password."),
        "authorization": Meaning("A bearer token."),
        "tls_config": Meaning("Certificates."),
        "reconcile_every": Meaning("How often it is asked which alerts it has, 1s to 1h.", "1m"),
        "reconcile_grace": Meaning(
            "For how long it must be without an alert, and must have run itself, before that is the alert's "
            "end.",
            "5m",
        ),
    },
    "BasicAuthPart": {
        "username": Meaning("The user.", "bridge"),
        "password": Meaning("The password, in place.", "a-long-random-text"),
        "password_file": Meaning("A file with the password.", "alertmanager.password"),
    },
    "AuthorizationPart": {
        "type": Meaning("The word before the credentials.", "Bearer"),
        "credentials": Meaning("The token, in place.", "a-long-random-text"),
        "credentials_file": Meaning("A file with the token.", "alertmanager.token"),
    },
    "TlsPart": {
        "ca_file": Meaning("Who signed its certificate, PEM.", "ca.pem"),
        "cert_file": Meaning("A client certificate, PEM.", "bridge.pem"),
        "key_file": Meaning("Its key, where that is not in the same file.", "bridge-key.pem"),
        "server_name": Meaning(
            "Whom its certificate is made out to, where that is not the URL's host.", "alertmanager.internal"
        ),
        "insecure_skip_verify": Meaning("Take any certificate: only for trying it out.", False),
    },
    "SourcePart": {
        "name": Meaning("The name in the path; not `default`.", "eu-prod"),
        "credentials": Meaning("Only who sends this as a bearer token gets in.", "a-long-random-text"),
        "credentials_file": Meaning("A file with that token.", "eu-prod.token"),
        "alertmanager": Meaning("The Alertmanager of this source."),
    },
    "PersonPart": {
        "name": Meaning("What the person is called everywhere else.", "alice"),
        "calendar_name": Meaning(
            "How a calendar may call them too: names, addresses.",
            ["Alice Smith", "alice@example.com"],
        ),
    },
    "DevicePart": {
        "name": Meaning("What the phone is called.", "alice-iphone"),
        "owner": Meaning("Whose it is, of `people`.", "alice"),
        "voip_token": Meaning(
            "What the app got from PushKit, for calls, in hex.",
            "a11ce00000000000000000000000000000000000000000000000000000000001",
        ),
        "voip_token_file": Meaning("A file with that token.", "alice.token"),
        "alert_token": Meaning(
            "What the app got for remote notifications, which stand in for calls, in hex.",
            "a11ce00000000000000000000000000000000000000000000000000000000002",
        ),
        "alert_token_file": Meaning("A file with that token.", "alice-alert.token"),
        "topic": Meaning("The app's bundle id, where it is not that of `apns`.", "com.example.oncall.beta"),
        "environment": Meaning("Its environment, where it is not that of `apns`.", "sandbox"),
    },
    "SchedulePart": {
        "name": Meaning("What it is called.", "primary"),
        "time_zone": Meaning(
            "Where the clocks hang that its times are read from; `Local`: this machine's.", "Europe/Berlin"
        ),
        "layers": Meaning("Rotations, the last one on top."),
        "overrides": Meaning("Somebody else for a time. `pushkit-bridge oncall override` writes more."),
        "ical_file": Meaning("A calendar's file, instead of layers.", "shifts.ics"),
        "ical_url": Meaning(
            "A calendar's URL, instead of layers.", "https://calendar.example.com/shifts.ics"
        ),
        "ical_url_file": Meaning("A file with that URL.", "shifts.url"),
        "refresh": Meaning("How often the calendar is read again, 1m to 1d.", "15m"),
    },
    "LayerPart": {
        "members": Meaning("Who takes turns, of `people`, in this order.", ["alice", "bob"]),
        "start": Meaning("The day on which the first one's turn begins, at the hand-over.", "2026-01-05"),
        "handover": Meaning("The hour at which turns change.", "09:00"),
        "every": Meaning("How long a turn lasts, by the clock on the wall: 1h to 1y.", "1w"),
        "during": Meaning("Only within these `time_intervals`; without them always.", ["nights"]),
    },
    "OverridePart": {
        "person": Meaning("Who carries the phone then, of `people`.", "alice"),
        "from": Meaning("When it begins: the schedule's time, or with an offset.", "2026-12-24 18:00"),
        "to": Meaning("When it ends.", "2026-12-27 09:00"),
    },
    "GroupPart": {
        "name": Meaning("What it is called.", "platform"),
        "owners": Meaning("All devices of these people.", ["alice", "bob"]),
        "devices": Meaning("These devices.", ["alice-iphone"]),
        "schedules": Meaning("All devices of whoever is on call by these schedules.", ["primary"]),
    },
    "TemplatesPart": {
        "caller_name": Meaning("Who calls.", "{{ severity | upper }} {{ receiver }}"),
        "reason": Meaning("Why.", "{{ summary }}{{ notes }}"),
    },
    "TimeIntervalPart": {
        "name": Meaning("What it is called.", "nights"),
        "time_intervals": Meaning("Its spans: an instant is in it if it is in one of them."),
    },
    "SpansPart": {
        "times": Meaning("Hours of the day."),
        "weekdays": Meaning("Days of the week, or ranges; the week begins on Sunday.", ["monday:friday"]),
        "days_of_month": Meaning("Days of the month, or ranges; -1 is the last.", ["1:7", "-1"]),
        "months": Meaning("Months by name or number, or ranges.", ["january:march"]),
        "years": Meaning("Years, or ranges.", ["2026:2030"]),
        "location": Meaning("The time zone of all of that; `Local`: this machine's.", "Europe/Berlin"),
    },
    "TimesPart": {
        "start_time": Meaning("From when.", "22:00"),
        "end_time": Meaning("Until when, exclusive; 24:00 is the end of the day.", "24:00"),
    },
    "ReceiverPart": {
        "name": Meaning("What routes call it.", "platform"),
        "notify_resolved": Meaning("A quiet push when all is over; the rings end in any case.", True),
        "notify_acknowledged": Meaning("A quiet push to the others whose phones rang: who has it.", True),
        "repeat": Meaning(
            "How many times to begin anew after the last step, before the incident ends as unanswered.", 1
        ),
        "receipt_timeout": Meaning(
            "How long an enrolled phone has to say that it got a push, before the next way is taken.", "10s"
        ),
        "ack_timeout": Meaning(
            "How long an acknowledgement holds before it rings again; without it, until the end.", "4h"
        ),
        "ack_creates_silence": Meaning(
            "For how long an acknowledgement silences the alerts in Alertmanager; without it not.",
            "2h",
        ),
        "otherwise": Meaning(
            "The device groups that ring too where a schedule has nobody, or a step no device.",
            ["storage"],
        ),
        "escalation": Meaning("The steps, at least one."),
    },
    "StepPart": {
        "device_groups": Meaning("Whom it rings.", ["platform"]),
        "webhooks": Meaning("To whom it posts, with its first ring."),
        "push": Meaning("`voip`, a call, or `alert`, a notification.", "voip"),
        "interruption_level": Meaning(
            "Of notifications, those in place of a call too. `critical` needs Apple's entitlement.",
            "time-sensitive",
        ),
        "ring": Meaning("How often, and how long."),
        "then_after": Meaning(
            "The next step follows this long after this one began; without it, `every` times `times`.", "5m"
        ),
    },
    "WebhookPart": {
        "name": Meaning("What it is called; without it, receiver/step/number.", "last-resort"),
        "url": Meaning("Where to, in place.", "https://hooks.example.com/services/secret"),
        "url_file": Meaning("A file with that URL.", "last-resort.url"),
    },
    "RingPart": {
        "every": Meaning("How long from one ring to the next.", "45s"),
        "times": Meaning("How many rings, 1 to 1000.", 4),
        "for": Meaning("How long each ring lasts.", "30s"),
    },
    "HeartbeatPart": {
        "name": Meaning("What it is called.", "prometheus"),
        "matchers": Meaning(
            "Which alert it is. At least one must not match the empty string.", ['alertname="Watchdog"']
        ),
        "source": Meaning("Only from this source; without it, from any.", "eu-prod"),
        "every": Meaning("How often it comes: its route's group_interval and repeat_interval, added.", "3m"),
        "grace": Meaning("How long after that it is missing.", "2m"),
        "receiver": Meaning("Who is rung then; without it, the root route's.", "storage"),
    },
    "ConsolePart": {
        "operators": Meaning("Who may act; without it, whoever gets in.", ["alice"]),
        "viewers": Meaning("Who may look; without it, whoever else gets in.", ["bob"]),
        "trusted_proxies": Meaning("From where `user_header` counts.", ["10.0.0.5", "10.1.0.0/16"]),
        "user_header": Meaning("The header in which such a proxy says who somebody is.", "X-Forwarded-User"),
    },
    "DrillPart": {
        "name": Meaning("What it is called.", "weekly"),
        "receiver": Meaning("Whom the steps of this receiver reach at that hour.", "platform"),
        "device_groups": Meaning("Whom these groups reach, instead of a receiver.", ["on-call"]),
        "at": Meaning("The hour.", "10:00"),
        "weekdays": Meaning("On these days of the week; without it, on all.", ["tuesday"]),
        "days_of_month": Meaning("On these days of the month; without it, on all.", ["1:7"]),
        "months": Meaning("In these months; without it, in all.", ["january:march"]),
        "time_zone": Meaning("Where the clock hangs; `Local`: this machine's.", "Europe/Berlin"),
        "each": Meaning("`person`: by any of their phones; `device`: each phone must confirm.", "person"),
        "ring": Meaning("How often, and how long."),
        "within": Meaning("Who has not answered by then is reported, 1m to 4h.", "15m"),
        "late": Meaning("How late it may ring, where the bridge was down at the hour: 1m to 12h.", "30m"),
        "report_to": Meaning("The receiver that hears who did not confirm.", "by-daylight"),
    },
    "RoutePart": {
        "receiver": Meaning("Who gets it; without it, the parent's.", "storage"),
        "matchers": Meaning(
            "What the alert's labels must fulfil, all of them, in Alertmanager's grammar.",
            ['severity="critical"', 'team=~"db|storage"'],
        ),
        "group_by": Meaning(
            "Alerts of a receiver with the same values of these labels are one incident; `...`: all labels. "
            "Without it the parent's, at the root `[alertname]`.",
            ["alertname"],
        ),
        "continue": Meaning("Go on to the next siblings after this one matched.", False),
        "mute_time_intervals": Meaning(
            "Within these the start of an incident is delayed to their end.", ["nights"]
        ),
        "active_time_intervals": Meaning("Outside of all of these it is delayed.", ["holidays"]),
        "routes": Meaning("Its children."),
    },
}
