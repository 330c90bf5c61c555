"""Webhook bodies as Alertmanager sends them, made beforehand but for what differs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from bench.load.town import Town


def alert(town: Town, number: int) -> dict[str, Any]:
    """Give an alert that no other one is like: an incident of its own, for one team."""
    team = number % town.teams
    labels = {
        "alertname": "HighErrorRate",
        "severity": "critical",
        "instance": f"api-{number}.example.com:9100",
        "job": "api",
        "cluster": "eu-west-1",
        **town.labels(team),
    }
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {
            "summary": f"Error rate of api-{number} is above 5 % for ten minutes",
            "description": "The share of answers with a 5xx status is {{ $value }}; see the dashboard.",
            "runbook_url": "https://wiki.example.com/runbooks/high-error-rate",
        },
        "startsAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com:9090/graph?g0.expr=rate%28http_errors%5B5m%5D%29&g0.tab=1",
        "fingerprint": f"{number + 1:016x}",
    }


def body(town: Town, first: int, count: int = 1) -> bytes:
    """Give one webhook, with so many alerts."""
    alerts = [alert(town, number) for number in range(first, first + count)]
    labels = alerts[0]["labels"]
    group = {name: labels[name] for name in ("alertname", "instance")}
    pairs = ", ".join(f'{name}="{value}"' for name, value in group.items())
    whole = {
        "version": "4",
        "groupKey": f'{{}}/{{team="{labels["team"]}"}}:{{{pairs}}}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "bridge",
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": alerts[0]["annotations"],
        "externalURL": "http://alertmanager.example.com:9093",
        "alerts": alerts,
    }
    return json.dumps(whole).encode()
