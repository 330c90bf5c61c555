"""TLS of the management listener: settings become an `ssl.SSLContext`, and a live one follows the file.

Names and meanings are exporter-toolkit's. What Python's ssl cannot do is refused with a reason by
`settings.py`; nothing is silently weaker than it was asked for.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
# crypto/tls.CurveID by OpenSSL's name.
CURVES: Final = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
# Go's crypto/tls.CipherSuites() by OpenSSL's name; None = TLS 1.3, whose suites are always on, as in Go.
CIPHERS: Final[dict[str, str | None]] = {
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
# OpenSSL's reasons for a handshake that failed by the client's certificate.
_CLIENT_FAULTS: Final = frozenset({"CERTIFICATE_VERIFY_FAILED", "PEER_DID_NOT_RETURN_A_CERTIFICATE"})


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What `tls_server_config` asks for. `cert`, `key` and `client_ca` are PEM."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    allowed_sans: frozenset[str] | None = None
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: tuple[str, ...] = ()
    prefer_server_ciphers: bool = True
    curve: str | None = None


def subject_names(peer: dict[str, Any] | None) -> list[str]:
    """Give the DNS, e-mail, IP and URI names of a verified certificate (`getpeercert()`), in its order."""
    kinds = {"DNS", "email", "IP Address", "URI"}
    pairs = (peer or {}).get("subjectAltName", ())
    return [plain_name(str(value)) for kind, value in pairs if kind in kinds]


def plain_name(name: str) -> str:
    """Give one spelling to an IP address (OpenSSL says `0:0:0:0:0:0:0:1`, people `::1`)."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def build_context(tls: TlsSettings, report: Callable[[str, str], None]) -> ssl.SSLContext:
    """Make the context; what does not fit is told to `report(key of tls_server_config, message)`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = tls.min_version, tls.max_version
    context.set_alpn_protocols(["http/1.1"])
    if tls.prefer_server_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ciphers:
        context.set_ciphers(":".join(tls.ciphers))
    if tls.curve:
        context.set_ecdh_curve(tls.curve)
    _load_certificate(context, tls, report)
    _load_client_ca(context, tls, report)
    return context


def _load_certificate(context: ssl.SSLContext, tls: TlsSettings, report: Callable[[str, str], None]) -> None:
    try:
        with _as_file(tls.cert) as cert, _as_file(tls.key) as key:
            context.load_cert_chain(cert, key, password=_no_passphrase)
    except _EncryptedKeyError:
        report("key", "the key is protected by a passphrase, and there is nobody to ask: store it decrypted")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            report("cert", "the certificate and the key do not belong together")
        else:
            report("cert", f"the certificate and its key cannot be loaded as PEM{_reason(error)}")


def _load_client_ca(context: ssl.SSLContext, tls: TlsSettings, report: Callable[[str, str], None]) -> None:
    context.verify_mode = tls.client_auth
    if tls.client_auth is ssl.CERT_NONE:
        return
    context.sslobject_class = _client_checker(tls.allowed_sans)
    if tls.client_ca is None:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    # As in Go, each certificate of the file is trusted by itself, an intermediate one too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        with _as_file(tls.client_ca) as path:
            context.load_verify_locations(path)
    except ssl.SSLError as error:
        report("client_ca", f"no certificates in PEM could be read here{_reason(error)}")


def _reason(error: ssl.SSLError) -> str:
    return f" (OpenSSL: {error.reason})" if error.reason else ""


def _client_checker(allowed: frozenset[str] | None) -> type[ssl.SSLObject]:
    """Make the connection type that says in the log why a client certificate is refused.

    asyncio drops a failed handshake without sending the alert, so that the client learns nothing: the log
    is the one place to look. Where `allowed` is given, a certificate without such a name is refused too.
    """

    class ClientCheckedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLError as error:
                if error.reason in _CLIENT_FAULTS:
                    reason = getattr(error, "verify_message", None) or "none was sent"
                    log.warning("client certificate refused", reason=reason)
                raise
            names = subject_names(self.getpeercert())
            # VerifyClientCertIfGiven lets in a client without any, as exporter-toolkit does.
            if allowed is not None and self.getpeercert() and allowed.isdisjoint(names):
                log.warning(
                    "client certificate refused", reason="no name in client_allowed_sans", names=names
                )
                raise ssl.SSLCertVerificationError("no allowed subject alternative name")

    return ClientCheckedObject


class LiveContext(ssl.SSLContext):
    """The context a server is given once: each new connection is made by whatever `current()` gives.

    asyncio and uvloop make a connection through `wrap_bio`. Replacing the whole context there, rather
    than loading a certificate into a live one, also changes versions, ciphers, the client CA and the way
    clients are verified, and it drops the session tickets that an older client CA gave out.
    """

    current: Callable[[], ssl.SSLContext]

    @classmethod
    def following(cls, current: Callable[[], ssl.SSLContext]) -> LiveContext:
        """Make one; `current` is called for each connection and must be quick."""
        live = cls(ssl.PROTOCOL_TLS_SERVER)
        live.current = current
        return live

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.current().wrap_bio(*args, **kwargs)


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> str:
    # Without this OpenSSL would ask on the terminal, and the bridge would hang there.
    raise _EncryptedKeyError


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Give bytes a path, in memory only: OpenSSL wants a file, and a key must not touch a disk."""
    handle = os.memfd_create("pem")
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
