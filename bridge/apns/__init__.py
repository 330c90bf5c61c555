"""The transport to APNs. One seam: `Transport.send(PushRequest) -> Outcome`.

aioapns' public classes are on top; `connection` and `pool` are below them. From the inside out:
`framing`, `huffman`, `headers`, `flow` (RFC 9113 and 7541), `exchange` (one push and its answer), `limits`
and `pulse`, `streams` and `receiving` (the two halves of `connection`), `line` (the pushes that
wait), `dial` and `pool`, `token`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlsplit

from aioapns import APNs, NotificationRequest, PushType
from aioapns.common import NotificationResult

from bridge.apns.connection import Connection
from bridge.apns.dial import Proxy, tls_context
from bridge.apns.limits import Timing
from bridge.apns.messages import UNANSWERED, PushNotification, PushResult
from bridge.apns.pool import CertificatePool, KeyPool
from bridge.apns.token import ProviderToken
from bridge.pushes import Accepted, Environment, Outcome, PushRequest, Retryable, outcome

__all__ = ["HOSTS", "Timing", "Transport"]

HOSTS: Final[dict[Environment, tuple[str, int]]] = {
    "production": ("api.push.apple.com", 443),
    "sandbox": ("api.sandbox.push.apple.com", 443),
}
_ACCEPTED: Final = Accepted()
_TYPES: Final = {"voip": PushType.VOIP, "alert": PushType.ALERT}


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to reach APNs."""

    topic: str
    url: str | None
    ca_file: str | None
    proxy: Proxy | None
    max_connections: int
    warm: int
    timing: Timing
    provider: ProviderToken | None = None
    key: tuple[str, str, str] | None = field(default=None, repr=False)
    certificate: str | None = None

    def address(self, environment: Environment) -> tuple[str, int]:
        if self.url is None:
            return HOSTS[environment]
        parts = urlsplit(self.url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme != "https" or not host or parts.path not in {"", "/"} or parts.query:
            raise ValueError("the address of APNs is written https://host[:port]")
        return host, port or 443


class Transport:
    """Pushes to APNs, over connections that are open before they are needed.

    Build it with `with_key` or `with_certificate`, both of which check what they are given and
    connect to nothing. Everything else belongs to one running event loop.
    """

    def __init__(self, plan: _Plan) -> None:
        plan.address("production")
        if plan.max_connections < 1 or plan.warm < 0:
            raise ValueError("max_connections must be at least 1")
        self._plan = plan
        self._context = tls_context(plan.ca_file)
        if plan.certificate is not None:
            # An empty password instead of a question on the terminal, if the key has one.
            self._context.load_cert_chain(plan.certificate, password="")
        self._clients: dict[tuple[str, int], APNs] = {}
        self._by_environment: dict[Environment, APNs] = {}
        self._pools: list[KeyPool | CertificatePool] = []
        self._closed = False

    @classmethod
    def with_key(
        cls,
        *,
        key_pem: str,
        key_id: str,
        team_id: str,
        topic: str,
        url: str | None = None,
        ca_file: str | None = None,
        proxy: str | None = None,
        max_connections: int = 4,
        warm: int = 2,
        timing: Timing | None = None,
        wall: Callable[[], float] = time.time,
    ) -> Self:
        """Use a provider token, from the text of a .p8 key.

        `topic` is for pushes that name none. `url` (https://host[:port]) replaces both of Apple's hosts,
        `ca_file` the system's authorities, `proxy` is http://[user:password@]host[:port]. `warm`
        connections of at most `max_connections` for each host are kept open. `wall`, in Unix seconds, dates
        the token. Raises ValueError or OSError.
        """
        return cls(
            _Plan(
                topic=topic,
                url=url,
                ca_file=ca_file,
                proxy=None if proxy is None else Proxy.parse(proxy),
                max_connections=max_connections,
                warm=warm,
                timing=timing or Timing(),
                provider=ProviderToken(key_pem, key_id, team_id, wall=wall),
                key=(key_pem, key_id, team_id),
            )
        )

    @classmethod
    def with_certificate(
        cls,
        *,
        certificate_file: str,
        topic: str,
        url: str | None = None,
        ca_file: str | None = None,
        proxy: str | None = None,
        max_connections: int = 4,
        warm: int = 2,
        timing: Timing | None = None,
    ) -> Self:
        """Use a VoIP Services certificate: the path of a PEM file with certificate and key, without password.

        The rest as for `with_key`. Raises ValueError, or OSError (of which ssl.SSLError is one).
        """
        return cls(
            _Plan(
                topic=topic,
                url=url,
                ca_file=ca_file,
                proxy=None if proxy is None else Proxy.parse(proxy),
                max_connections=max_connections,
                warm=warm,
                timing=timing or Timing(),
                certificate=certificate_file,
            )
        )

    async def start(self, environments: Iterable[Environment] = ("production",)) -> None:
        """Open connections ahead of need, and return after the first attempt, good or bad: see `usable`.

        An environment that is not named here connects with its first push. Once closed it does nothing.
        """
        if self._closed:
            return
        for environment in environments:
            self._client(environment)
        for pool in self._pools:
            pool.open_ahead()
        await asyncio.gather(*(pool.tried.wait() for pool in self._pools if self._plan.warm))

    async def send(self, request: PushRequest) -> Outcome:
        """Give what became of the push, no later than its `timeout`. Raises nothing but CancelledError.

        It is sent once; what to repeat is for the outbox to say. Cancelling is safe: its stream is
        cancelled, no other is touched.
        """
        if self._closed:
            return Retryable("ShuttingDown", None, certainly_not_processed=True)
        client = self._by_environment.get(request.environment) or self._client(request.environment)
        result = await client.send_notification(
            PushNotification(  # by position: keywords would cost twice as much as all it does
                request.token,
                request.payload,
                asyncio.get_running_loop().time() + request.timeout,
                request.apns_id,
                request.expiration,
                request.priority,
                request.collapse_id,
                _TYPES[request.kind],
                request.topic,
            )
        )
        return _ACCEPTED if result.status == "200" else _outcome(result)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - what is left then has an outcome too
        """Take no more pushes, wait up to `timeout` seconds for answers, and close every connection.

        A push that has none by then is Retryable("ShuttingDown").
        """
        self._closed = True
        await asyncio.gather(*(pool.drain(timeout) for pool in self._pools))

    @property
    def token(self) -> tuple[str, int] | None:
        """The provider token and its `iat` in Unix seconds, for `restore_token` after a restart."""
        provider = self._plan.provider
        return None if provider is None else provider.minted

    def restore_token(self, header: str, issued_at: int) -> None:
        """Go on with the provider token of an earlier run, if it is young enough."""
        if self._plan.provider is not None:
            self._plan.provider.restore(header, issued_at)

    def renew_token(self, ahead: float = 0.0) -> None:
        """Mint a provider token if it will be time in so many seconds; with a certificate there is none."""
        if self._plan.provider is not None:
            self._plan.provider.renew(ahead)

    def token_is_due(self, ahead: float) -> bool:
        """Whether `renew_token` would mint one."""
        return self._plan.provider is not None and self._plan.provider.due(ahead)

    def token_age(self, now: float) -> float | None:
        """Give the provider token's age in seconds, at `now` in Unix seconds; None before the first."""
        provider = self._plan.provider
        return None if provider is None else provider.age(now)

    @property
    def usable(self) -> bool:
        """Whether each environment in use has a sound connection and APNs accepts who we are."""
        return bool(self._pools) and not self._closed and all(pool.usable for pool in self._pools)

    @property
    def last_error(self) -> str | None:
        """What went wrong last, while it is not usable or since it is again; holds no secret."""
        for pool in self._pools:
            if not pool.usable:
                return pool.refused or pool.last_error
        return next((pool.last_error for pool in self._pools if pool.last_error), None)

    @property
    def open_connections(self) -> int:
        """Connections that take pushes."""
        return sum(len(pool.connections) for pool in self._pools)

    @property
    def streams_in_flight(self) -> int:
        """Pushes on the wire without an answer."""
        return sum(pool.in_flight for pool in self._pools)

    @property
    def waiting(self) -> int:
        """Pushes that wait for room on a connection."""
        return sum(pool.waiting for pool in self._pools)

    def _client(self, environment: Environment) -> APNs:
        address = self._plan.address(environment)
        client = self._clients.get(address) or self._new_client(*address)
        self._by_environment[environment] = self._clients[address] = client
        return client

    def _new_client(self, host: str, port: int) -> APNs:
        """Make aioapns' client and put our pool into it."""
        plan = self._plan
        client, pool = self._with_key() if plan.key is not None else self._with_certificate()
        pool.prepare(
            Connection.to(host, port, plan.timing),
            self._context,
            warm=plan.warm,
            proxy=plan.proxy,
            provider=plan.provider,
        )
        client.pool = pool
        self._pools.append(pool)
        return client

    def _with_key(self) -> tuple[APNs, KeyPool]:
        plan = self._plan
        key, key_id, team_id = plan.key or ("", "", "")
        client = APNs(
            key=key,
            key_id=key_id,
            team_id=team_id,
            topic=plan.topic,
            max_connection_attempts=1,
            ssl_context=self._context,
            err_func=_say_nothing,
        )
        pool = KeyPool(key, key_id, team_id, plan.topic, plan.max_connections, ssl_context=self._context)
        return client, pool

    def _with_certificate(self) -> tuple[APNs, CertificatePool]:
        plan = self._plan
        certificate = plan.certificate or ""
        client = APNs(
            client_cert=certificate,
            topic=plan.topic,
            max_connection_attempts=1,
            ssl_context=self._context,
            err_func=_say_nothing,
        )
        pool = CertificatePool(certificate, plan.topic, plan.max_connections, ssl_context=self._context)
        return client, pool


async def _say_nothing(request: NotificationRequest, result: NotificationResult) -> None:
    """Take the place of aioapns' own log line: what an answer means is the caller's to say."""


def _outcome(result: NotificationResult) -> Outcome:
    if not isinstance(result, PushResult):
        return Retryable("InternalError")
    if result.status == UNANSWERED:
        reason = result.description or "Unknown"
        return Retryable(reason, result.retry_after, certainly_not_processed=result.certainly_not_processed)
    return outcome(int(result.status), result.description, result.timestamp, result.retry_after)
