"""What the end-to-end tests play on: a configuration, a rig, and something that Prometheus watches."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import yaml
from aiohttp import web

from bridge.children import Child, find_program
from bridge.client import Client
from bridge.rig import Rig, open_rig
from bridge.simulator import Push

ROOT = Path(__file__).parents[2]
KEY = ROOT / "examples/AuthKey_DEM0KEY001.p8"


def configure(folder: Path, owners: dict[str, str], ring: dict[str, Any], **more: Any) -> Path:
    """Write a configuration with a receiver, and one phone, for each owner; `owners` says of which team."""
    names = list(owners)
    config = {
        "apns": {
            "team_id": "DEM0TEAM01",
            "key_id": "DEM0KEY001",
            "key_file": str(KEY),
            "topic": "com.example.oncall",
        },
        "people": [{"name": name} for name in names],
        "devices": [
            {
                "name": f"{name}-iphone",
                "owner": name,
                "voip_token": f"{number:064x}",
                "alert_token": f"{number + 1000:064x}",
            }
            for number, name in enumerate(names, 1)
        ],
        "device_groups": [{"name": name, "owners": [name]} for name in names],
        "receivers": [
            {"name": name, "escalation": [{"device_groups": [name], "ring": ring, "then_after": "10m"}]}
            for name in names
        ],
        "route": {
            "receiver": names[0],
            "group_by": ["alertname", "team"],
            "routes": [{"matchers": [f'team="{team}"'], "receiver": name} for name, team in owners.items()],
        },
        "quiet_gap": "0s",
        **more,
    }
    file = folder / "bridge.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


@asynccontextmanager
async def scene(tmp_path: Path, config: Path) -> AsyncIterator[Rig]:
    """Open a rig whose files stay with the test's."""
    folder = tmp_path / "rig"
    folder.mkdir()
    async with open_rig(config, folder) as rig:
        yield rig


class Disks:
    """What Prometheus scrapes: a disk for each team, full or not."""

    def __init__(self) -> None:
        self.full: dict[str, bool] = {}

    async def start(self, stack: AsyncExitStack) -> int:
        """Answer scrapes; gives the port."""
        app = web.Application()
        app.add_routes([web.get("/metrics", self._scrape)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    async def _scrape(self, _: web.Request) -> web.Response:
        lines = [f'disk_full{{team="{team}"}} {int(full)}' for team, full in self.full.items()]
        return web.Response(text="\n".join([*lines, ""]))


# A scrape that comes too late on a busy machine must not look like the end of the trouble.
_RULES = """\
groups:
  - name: disks
    rules:
      - alert: DiskFull
        expr: last_over_time(disk_full[5m]) == 1
        labels: {severity: critical}
        annotations: {summary: "Disk full in team {{ $labels.team }}"}
"""


async def start_prometheus(
    rig: Rig, disks_port: int, alertmanagers: list[str], *flags: str, rules: str = _RULES
) -> Child:
    """Start a Prometheus that watches the disks and tells these Alertmanagers, HOST:PORT."""
    (rig.folder / "rules.yml").write_text(rules)
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "disks", "static_configs": [{"targets": [f"127.0.0.1:{disks_port}"]}]}
        ],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": alertmanagers}]}]},
    }
    file = rig.folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    address = rig.address()
    return await rig.start(
        "prometheus",
        *(find_program("prometheus", package="prometheus"), f"--config.file={file}"),
        *(f"--storage.tsdb.path={rig.folder / 'prometheus'}", f"--web.listen-address={address}"),
        *flags,
        url=f"http://{address}",
    )


def alertmanager_config(rig: Rig, *routes: dict[str, Any], **top: Any) -> str:
    """Write an Alertmanager's configuration: the bridge hears of everything at once."""
    return yaml.safe_dump(
        {
            "route": {
                "receiver": "phone",
                "group_by": ["alertname", "team"],
                "group_wait": "0s",
                "group_interval": "1s",
                **top,
                "routes": list(routes),
            },
            "receivers": [{"name": "phone", "webhook_configs": [{"url": rig.webhook_url}]}],
        }
    )


def log(rig: Rig, event: str) -> list[dict[str, Any]]:
    """The bridge's log lines of this kind so far."""
    lines = rig.running["bridge"].log.read_bytes().splitlines()
    found = [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]
    return [line for line in found if line["event"] == event]


async def audited(rig: Rig) -> dict[str, Any]:
    """What `ledger verify` says: by its exit code, that nothing is wrong."""
    said: dict[str, Any] = orjson.loads(await rig.cli("ledger", "verify", "-o", "json"))
    assert said["findings"] == []
    return said


async def shown(rig: Rig, incident: str) -> dict[str, Any]:
    """What `incidents show` says of an incident."""
    story: dict[str, Any] = orjson.loads(await rig.cli("incidents", "show", "-o", "json", incident))
    return story


def rings(story: dict[str, Any]) -> list[dict[str, Any]]:
    """The pages of an incident that make phones ring."""
    return [page for page in story["pages"] if page["kind"] == "ring"]


def calls_sent(rig: Rig, phone: str) -> list[Push]:
    """Every call that APNs had for a phone, also one that came too late to ring."""
    pushes = rig.simulator.phone(phone).pushes.items
    return [push for push in pushes if push.notification.push_type == "voip"]


async def metric(rig: Rig, name: str) -> float | None:
    """A metric of the running bridge, by its name and labels; None where it is not there."""
    text = (await Client(rig.bridge_url, None).text("GET", "/metrics")).decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def notification(alertname: str, team: str, alerts: int = 1) -> dict[str, Any]:
    """Make Alertmanager's message about a group of firing alerts."""
    group = {"alertname": alertname, "team": team}
    firing = [
        {
            "status": "firing",
            "labels": {**group, "instance": f"host-{number}"},
            "annotations": {},
            "startsAt": "2026-11-25T12:00:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": sha256(f"{alertname}/{number}".encode()).hexdigest()[:16],
        }
        for number in range(alerts)
    ]
    return {
        "version": "4", "groupKey": f"{{}}:{group}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "phone", "groupLabels": group, "commonLabels": group, "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093", "alerts": firing,
    }  # fmt: skip
