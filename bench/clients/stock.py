"""aioapns as it is, through its public interface, with one connection of its own pool."""

from __future__ import annotations

import logging
import ssl

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol

from bench.clients.measure import TOPIC, Job, Send, push_id, run, token


async def connect(job: Job) -> Send:
    logging.disable()

    class Local(APNsTLSClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = job.port

    context = ssl.create_default_context(cafile=job.ca_file)
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=job.key_pem,
        key_id="ABCDE12345",
        team_id="TEAM567890",
        topic=TOPIC,
        max_connections=1,
        ssl_context=context,
    )
    client.pool.protocol_class = Local
    message = job.message()

    async def send(number: int) -> bool:
        request = NotificationRequest(
            device_token=token(number),
            message=message,
            notification_id=push_id(number),
            time_to_live=0,
            priority=10,
            push_type=PushType.VOIP,
        )
        return (await client.send_notification(request)).is_successful

    return send


if __name__ == "__main__":
    run(connect)
