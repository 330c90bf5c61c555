"""What people write in an afternoon: an aiohttp handler that sends by stock aioapns and keeps no record.

It is measured beside the bridge. It answers when APNs has; what it has in hand when it dies is lost, it
never rings twice, and nobody can answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
from pathlib import Path
from typing import Any

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol
from aiohttp import web


async def main(job: dict[str, Any]) -> None:
    logging.disable()

    class Local(APNsTLSClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = job["apns_port"]

    context = ssl.create_default_context(cafile=job["ca_file"])
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=job["key"],
        key_id="ABCDE12345",
        team_id="TEAM567890",
        topic=f"{job['topic']}.voip",
        max_connections=1,
        ssl_context=context,
    )
    client.pool.protocol_class = Local

    async def webhook(request: web.Request) -> web.Response:
        for alert in (await request.json())["alerts"]:
            if alert["status"] == "firing":
                labels = alert["labels"]
                text = {"alertname": labels["alertname"], "summary": alert["annotations"]["summary"]}
                await client.send_notification(
                    NotificationRequest(
                        device_token=job["tokens"][labels["team"]],
                        message={"aps": {}, **text},
                        time_to_live=0,
                        priority=10,
                        push_type=PushType.VOIP,
                    )
                )
        return web.Response()

    app = web.Application()
    app.router.add_post("/webhook", webhook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", job["port"]).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
