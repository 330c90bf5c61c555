"""httpx with its HTTP/2."""

from __future__ import annotations

import ssl

import httpx

from bench.clients.measure import Job, Send, push_id, run, token
from bench.clients.request import fields


async def connect(job: Job) -> Send:
    context = ssl.create_default_context(cafile=job.ca_file)
    limits = httpx.Limits(max_connections=1)
    client = httpx.AsyncClient(http2=True, http1=False, verify=context, limits=limits, timeout=None)
    constant, body = fields(job), job.body()

    async def send(number: int) -> bool:
        response = await client.post(
            f"{job.url}/3/device/{token(number)}",
            content=body,
            headers={**constant, "apns-id": push_id(number)},
        )
        return bool(response.status_code == 200)

    return send


if __name__ == "__main__":
    run(connect)
