"""bridge.apns, with one connection, as the bridge uses it: the payload comes as octets."""

from __future__ import annotations

from bench.clients.measure import TOPIC, Job, Send, push_id, run, token
from bridge.apns import Transport
from bridge.pushes import Accepted, PushRequest


async def connect(job: Job) -> Send:
    transport = Transport.with_key(
        key_pem=job.key_pem,
        key_id="ABCDE12345",
        team_id="TEAM567890",
        topic=TOPIC,
        url=job.url,
        ca_file=job.ca_file,
        max_connections=1,
        warm=1,
    )
    await transport.start()
    body = job.body()

    async def send(number: int) -> bool:
        request = PushRequest(
            apns_id=push_id(number),
            token=token(number),
            topic=TOPIC,
            kind="voip",
            environment="production",
            priority=10,
            expiration=0,
            payload=body,
        )
        return isinstance(await transport.send(request), Accepted)

    return send


if __name__ == "__main__":
    run(connect)
