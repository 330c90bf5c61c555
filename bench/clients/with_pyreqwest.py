"""pyreqwest (Rust's reqwest and hyper under asyncio)."""

from __future__ import annotations

from pyreqwest.client import ClientBuilder

from bench.clients.measure import Job, Send, push_id, run, token
from bench.clients.request import fields


async def connect(job: Job) -> Send:
    client = ClientBuilder().http2_prior_knowledge().add_root_certificate_pem(job.ca_pem).build()
    constant, body = fields(job), job.body()

    async def send(number: int) -> bool:
        request = client.post(f"{job.url}/3/device/{token(number)}").headers(constant)
        response = await request.header("apns-id", push_id(number)).body_bytes(body).build().send()
        await response.bytes()
        return bool(response.status == 200)

    return send


if __name__ == "__main__":
    run(connect)
