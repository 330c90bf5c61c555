"""pycurl: libcurl's multi interface, all transfers over one connection."""

from __future__ import annotations

import time

import pycurl

from bench.clients.measure import PATIENCE, WARM, WARM_LIMIT, Job, Tally, push_id, token
from bench.clients.request import fields


class Client:
    """A handle for each push in flight, used again and again."""

    def __init__(self, job: Job, tally: Tally) -> None:
        self.tally = tally
        self._url = f"{job.url}/3/device/"
        self._constant = [f"{name}: {value}" for name, value in fields(job).items()]
        self._body = job.body()
        self._job = job
        self._number = 0
        self._began: dict[pycurl.Curl, float] = {}
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)
        self._multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, max(100, job.in_flight))

    @property
    def in_flight(self) -> int:
        return len(self._began)

    def handle(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        handle.setopt(pycurl.PIPEWAIT, 1)
        handle.setopt(pycurl.CAINFO, self._job.ca_file)
        handle.setopt(pycurl.POST, 1)
        handle.setopt(pycurl.POSTFIELDS, self._body)
        handle.setopt(pycurl.WRITEFUNCTION, len)
        return handle

    def send(self, handle: pycurl.Curl) -> None:
        handle.setopt(pycurl.URL, self._url + token(self._number))
        handle.setopt(pycurl.HTTPHEADER, [*self._constant, f"apns-id: {push_id(self._number)}"])
        self._number += 1
        self._began[handle] = time.perf_counter()
        self._multi.add_handle(handle)

    def turn(self) -> None:
        """Do what there is to do, and send again on every handle that is done."""
        self._multi.perform()
        before, left = self.tally.ended, 1
        while left:
            left, good, bad = self._multi.info_read()
            for handle in good:
                self._done(handle, None if handle.getinfo(pycurl.RESPONSE_CODE) == 200 else "not accepted")
            for handle, _, why in bad:
                self._done(handle, why)
        if self.tally.ended == before:  # else there are new handles, of which select knows nothing yet
            self._multi.select(0.01)

    def _done(self, handle: pycurl.Curl, why: str | None) -> None:
        self._multi.remove_handle(handle)
        began = self._began.pop(handle)
        if why is None:
            self.tally.waits.append(time.perf_counter() - began)
        else:
            self.tally.failed(why)
        if not self.tally.over:
            self.send(handle)


def main() -> None:
    job, tally = Job.from_argv(), Tally()
    client = Client(job, tally)
    handles = [client.handle() for _ in range(job.in_flight)]
    client.send(handles[0])
    while not tally.ended:
        client.turn()
    for handle in handles[1:]:
        client.send(handle)
    began = time.perf_counter()
    while time.perf_counter() - began < WARM or (
        tally.ended < job.in_flight and time.perf_counter() - began < WARM_LIMIT
    ):
        client.turn()
    tally.begin()
    began = time.perf_counter()
    while time.perf_counter() - began < job.seconds:
        client.turn()
    result = tally.result()
    ended, heard = tally.ended, time.perf_counter()
    while client.in_flight and time.perf_counter() - heard < PATIENCE:
        client.turn()
        if tally.ended > ended:
            ended, heard = tally.ended, time.perf_counter()
    result.failed, result.why, result.lost = tally.failures, tally.why, client.in_flight
    result.finish()


if __name__ == "__main__":
    main()
