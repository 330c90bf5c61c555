"""The fields of a push that are the same for all of them, for clients that know nothing of APNs."""

from __future__ import annotations

from bench.clients.measure import TOPIC, Job


def fields(job: Job) -> dict[str, str]:
    return {
        "apns-topic": TOPIC,
        "apns-push-type": "voip",
        "apns-priority": "10",
        "apns-expiration": "0",
        "authorization": job.authorization,
    }
