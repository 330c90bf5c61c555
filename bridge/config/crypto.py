"""Keys and certificates, looked at when the configuration is read instead of when somebody must be woken."""

from __future__ import annotations

import ssl
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

_APNS_KEY: Final = (
    "an APNs key is the .p8 file from Apple's developer site: PKCS #8 PEM, -----BEGIN PRIVATE KEY-----"
)


def apns_key(pem: str) -> str:
    """Check a provider token's signing key: EC P-256 in PKCS #8 PEM, without a passphrase."""
    if "-----BEGIN PRIVATE KEY-----" not in pem:
        if "ENCRYPTED" in pem:
            raise ValueError("the key has a passphrase, and nobody is there to type it; store it without")
        raise ValueError(f"is not an APNs key: {_APNS_KEY}")
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(f"is not a readable key: {_APNS_KEY}") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return pem
    raise ValueError("is not an EC P-256 key, which Apple's ES256 tokens need")


def certificates(pem: str) -> list[x509.Certificate]:
    """Read at least one certificate from PEM; a private key beside them is left alone."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        found = []
    if not found:
        raise ValueError("holds no PEM certificate (-----BEGIN CERTIFICATE-----)")
    return found


def authorities(pem: str) -> str:
    """Check certificates that are to be trusted, the way that they will be loaded."""
    certificates(pem)
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ValueError("holds no certificates that can be trusted") from None
    return pem


def client_pair(certificate_pem: str, key_pem: str) -> None:
    """Check that a client certificate and its private key belong together."""
    leaf = certificates(certificate_pem)[0]
    try:
        key = load_pem_private_key(key_pem.encode(), None)
    except TypeError:
        raise ValueError(
            "the key has a passphrase, and nobody is there to type it; store it without"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no readable private key (-----BEGIN PRIVATE KEY-----)") from None
    kind = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*kind) != leaf.public_key().public_bytes(*kind):
        raise ValueError("the key does not belong to the certificate")


def expiry(certificate_pem: str) -> datetime:
    """Tell when the client certificate, the first of the file, ends (UTC)."""
    return certificates(certificate_pem)[0].not_valid_after_utc
