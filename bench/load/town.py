"""The configuration that is measured: regions of zones of teams, each team with a person who has a phone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TOPIC: Final = "com.example.oncall"
_WIDTH: Final = 16
"""Children of a route: with three levels an alert is held against 25 matchers before it finds its team."""


@dataclass(frozen=True)
class Town:
    """So many teams. The phone of team `number` has a token that begins with that number, in hex."""

    teams: int

    def labels(self, number: int) -> dict[str, str]:
        """Give the labels that lead to a team."""
        zone, region = number // _WIDTH, number // _WIDTH**2
        return {"region": f"r{region}", "zone": f"z{zone}", "team": f"t{number}"}

    def config(self, apns: dict[str, Any], storage: str) -> dict[str, Any]:
        """Give a configuration: one call for each team's incident, and nothing after it for an hour."""
        step = {"ring": {"every": "1h", "times": 1, "for": "1s"}}
        numbers = range(self.teams)
        return {
            "apns": apns,
            "storage": {"url": storage},
            "quiet_gap": "0s",
            "people": [{"name": f"p{n}"} for n in numbers],
            "devices": [{"name": f"d{n}", "owner": f"p{n}", "voip_token": token(n)} for n in numbers],
            "device_groups": [{"name": f"g{n}", "owners": [f"p{n}"]} for n in numbers],
            "receivers": [
                {"name": f"t{n}", "escalation": [{"device_groups": [f"g{n}"], **step}]} for n in numbers
            ],
            "route": {
                "receiver": "t0",
                "group_by": ["alertname", "instance"],
                "routes": self._routes("region", 0, _WIDTH**2),
            },
        }

    def _routes(self, level: str, first: int, width: int) -> list[dict[str, Any]]:
        name = {"region": "r", "zone": "z", "team": "t"}[level]
        below = {"region": "zone", "zone": "team"}.get(level)
        end = self.teams if level == "region" else min(first + width * _WIDTH, self.teams)
        found = []
        for number in range(first, end, width):
            route: dict[str, Any] = {"matchers": [f'{level}="{name}{number // width}"']}
            if below is None:
                route["receiver"] = f"t{number}"
            else:
                route["routes"] = self._routes(below, number, width // _WIDTH)
            found.append(route)
        return found


def token(number: int) -> str:
    """Give the token of a team's phone."""
    return f"{number:08x}" + "0" * 56


def write(file: Path, config: dict[str, Any]) -> None:
    """Write a configuration; JSON is YAML."""
    file.write_text(json.dumps(config))
