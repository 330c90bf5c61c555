"""The simulator's own authority, server certificate and provider key, kept in a folder."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_Key: TypeAlias = ec.EllipticCurvePrivateKey
_HOSTS: Final = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Where the files lie: the authority's certificate, and the provider key as Apple hands it out (.p8)."""

    ca_file: Path
    key_file: Path
    tls: ssl.SSLContext
    provider_key: ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Given:
    """What is there beforehand: a provider key (PEM), an authority, a certificate of the server, its key."""

    provider_key: str | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None


def load(folder: Path, key_id: str, given: Given | None = None) -> Identity:
    """Read the identity in `folder`, making what is missing; what is given counts instead.

    The server's certificate is made anew each time, so that it never expires. Raises OSError, and
    ValueError where a file does not hold what its name says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = _key(folder / "ca.key")
    ca_file = folder / "ca.pem"
    if not ca_file.exists():
        _write(ca_file, _pem(_authority(ca_key)))
    authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
    if authority.public_key() != ca_key.public_key():
        raise ValueError(f"{ca_file} does not belong to {folder / 'ca.key'}: delete both to make new ones")
    key_file = folder / f"AuthKey_{key_id}.p8"
    given = given or Given()
    if given.provider_key is None:
        provider_key = _key(key_file)
    else:
        provider_key = _p256(given.provider_key.encode(), "the given key")
    if given.certificate_file and given.ca_file:
        ca_file = given.ca_file
        tls = _context(ca_file, given.certificate_file, given.certificate_key_file)
    else:
        tls = _context(ca_file, _serve(folder, authority, ca_key))
    return Identity(ca_file, key_file, tls, provider_key.public_key())


def _serve(folder: Path, authority: x509.Certificate, ca_key: _Key) -> Path:
    """Make the server's key and certificate, in one file."""
    server_file = folder / "server.pem"
    server_key = ec.generate_private_key(ec.SECP256R1())
    _write(server_file, _private(server_key) + _pem(_server(server_key, authority, ca_key)))
    return server_file


def _context(ca_file: Path, server_file: Path, key_file: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(server_file, key_file)
    # A client certificate is the older way to authenticate; who has none uses a provider token.
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def issue_client_certificate(folder: Path, common_name: str) -> bytes:
    """Give a key and a certificate for a sender, in PEM, signed by the authority in `folder`."""
    ca_key = _key(folder / "ca.key")
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _leaf(common_name, key, authority).sign(ca_key, hashes.SHA256())
    return _private(key) + _pem(certificate)


def _key(file: Path) -> _Key:
    if not file.exists():
        _write(file, _private(ec.generate_private_key(ec.SECP256R1())))
    return _p256(file.read_bytes(), str(file))


def _p256(pem: bytes, file: str) -> _Key:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{file} holds no P-256 key in PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"{file} holds no P-256 key")  # noqa: TRY004 - the file's content is the value
    return key


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _authority(key: _Key) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    name = _name("pushkit-bridge APNs simulator")
    return (
        _certificate(name, name, key, timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(key: _Key, authority: x509.Certificate, ca_key: _Key) -> x509.Certificate:
    names = x509.SubjectAlternativeName(_HOSTS)
    return (
        _leaf("localhost", key, authority).add_extension(names, critical=False).sign(ca_key, hashes.SHA256())
    )


def _leaf(common_name: str, key: _Key, authority: x509.Certificate) -> x509.CertificateBuilder:
    issuer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _certificate(_name(common_name), authority.subject, key, timedelta(days=397))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: _Key, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)  # TLS peers check against the real time, whatever a test's clock says
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.replace(file)
