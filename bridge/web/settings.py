"""The web configuration file: exporter-toolkit's format, and `authorization` for a bearer token.

The format is https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md.
Every problem is told at once. A key that cannot be honoured is a problem, never ignored.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bridge.config.exposure import readable_by_all
from bridge.config.problems import ConfigError
from bridge.web import tls
from bridge.web.files import Files
from bridge.web.nodes import Document, Node, is_null

# What exporter-toolkit lets a file set, and the values it takes (None: any).
HEADERS: Final[dict[str, tuple[str, ...] | None]] = {
    "Strict-Transport-Security": None,
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": None,
    "Content-Security-Policy": None,
}
_SECTIONS: Final = (
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "authorization",
    "rate_limit",
)
_TLS_KEYS: Final = (
    *("cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file", "client_auth_type"),
    *("client_allowed_sans", "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites"),
    "curve_preferences",
)
# The 22nd character of a salt carries two bits; bcrypt refuses any other there.
_BCRYPT: Final = re.compile(r"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_TOKEN: Final = re.compile(r"[!-~]+")
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_OLD_TLS: Final = "is not offered: TLS 1.0 and 1.1 are broken, and OpenSSL refuses them; take TLS12 or TLS13"
_UNVERIFIED: Final = (
    "cannot be honoured: it lets in a certificate that nobody verified; "
    "take RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert"
)


class WebConfigError(ConfigError):
    """The web configuration file cannot be used; `problems` are all of them, in the file's order."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One request each `interval` seconds, and `burst` at once."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What one reading of the file says. `users` are bcrypt hashes by name.

    `exposed` are the keys whose files everybody on the machine can read; "" is this file, if it holds one.
    """

    context: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    bearer: str | None = field(default=None, repr=False)
    rate_limit: RateLimit | None = None
    blank: bool = True
    exposed: tuple[str, ...] = ()


def read_settings(path: Path, files: Files) -> Settings:
    """Read the file and those it names, through `files`; raises WebConfigError with all problems."""
    document = Document(str(path))
    try:
        data = files.read(path)
    except OSError as error:
        document.note(None, "", f"the file cannot be read: {error}")
        raise WebConfigError(document.problems) from error
    settings = _Reader(document, files, path.parent).read(document.parse(data))
    if document.problems:
        raise WebConfigError(document.problems)
    return settings


@dataclass(slots=True)
class _Reader:
    document: Document
    files: Files
    folder: Path
    secrets: dict[str, Path] = field(default_factory=dict)

    def read(self, root: Node | None) -> Settings:
        settings = self.settings(root)
        return replace(
            settings, exposed=tuple(name for name, path in self.secrets.items() if readable_by_all(path))
        )

    def settings(self, root: Node | None) -> Settings:
        sections = self.document.mapping(root, "", _SECTIONS)
        return Settings(
            context=self.tls(sections.get("tls_server_config")),
            headers=self.http(sections.get("http_server_config")),
            users=self.users(sections.get("basic_auth_users")),
            bearer=self.bearer(sections.get("authorization")),
            rate_limit=self.rate_limit(sections.get("rate_limit")),
            blank=root is None or is_null(root),
        )

    # -- TLS --

    def tls(self, node: Node | None) -> ssl.SSLContext | None:
        section = "tls_server_config"
        keys = self.document.mapping(node, section, _TLS_KEYS)
        if node is None or not keys:
            return None
        cert, key = self.pem(node, keys, "cert"), self.pem(node, keys, "key")
        client_ca = self.pem(node, keys, "client_ca", needed=False)
        client_auth = self.client_auth(keys)
        sans = self.sans(keys)
        self.client_keys_agree(keys, client_auth)
        low, high = self.version(keys, "min_version", "TLS12"), self.version(keys, "max_version", "TLS13")
        if low > high:
            self.document.note(
                keys.get("max_version", node), f"{section}.max_version", "is below min_version"
            )
        ciphers = self.ciphers(keys, low)
        curve = self.curve(keys)
        preference = self.document.boolean(
            keys.get("prefer_server_cipher_suites"), f"{section}.prefer_server_cipher_suites"
        )
        if cert is None or key is None:
            return None

        def report(name: str, message: str) -> None:
            shown = f"{name}_file" if f"{name}_file" in keys else name
            self.document.note(keys[shown], f"{section}.{shown}", message)

        wanted = tls.TlsSettings(
            cert, key, client_ca, client_auth, sans, low, high, ciphers, preference is not False, curve
        )
        return tls.build_context(wanted, report)

    def pem(self, section: Node, keys: dict[str, Node], name: str, *, needed: bool = True) -> bytes | None:
        path, inline, file = "tls_server_config", keys.get(name), keys.get(f"{name}_file")
        if inline is not None and file is not None:
            self.document.note(file, f"{path}.{name}_file", f"{name} is given too: leave one of them out")
            return None
        if file is not None:
            return self.file(file, f"{path}.{name}_file")
        if inline is not None:
            if name == "key":
                self.secrets[""] = Path(self.document.file)
            text = self.document.text(inline, f"{path}.{name}")
            return None if text is None else text.encode()
        if needed:
            self.document.note(section, path, f"{name}_file (or {name}) is missing")
        return None

    def file(self, node: Node, path: str) -> bytes | None:
        name = self.document.text(node, path)
        if name is None:
            return None
        if path.endswith((".key_file", ".credentials_file")):
            self.secrets[path] = self.folder / name
        try:
            data = self.files.read(self.folder / name)
        except (OSError, ValueError) as error:
            # The name is not repeated: a secret may have been put where its file belongs.
            message = f"this file cannot be read: {error} (relative paths start at {self.folder})"
            self.document.note(node, path, message)
            return None
        if not data.strip():
            self.document.note(node, path, "this file is empty")
            return None
        return data

    def client_auth(self, keys: dict[str, Node]) -> ssl.VerifyMode:
        node, path = keys.get("client_auth_type"), "tls_server_config.client_auth_type"
        value = self.document.text(node, path, blank=True) or "NoClientCert"
        if node is not None and value in {"RequestClientCert", "RequireAnyClientCert", "RequireClientCert"}:
            self.document.note(node, path, f"{value} {_UNVERIFIED}")
        elif value not in tls.CLIENT_AUTH:
            self.document.choice(node, path, tls.CLIENT_AUTH)
        return tls.CLIENT_AUTH.get(value, ssl.CERT_NONE)

    def sans(self, keys: dict[str, Node]) -> frozenset[str] | None:
        node, path = keys.get("client_allowed_sans"), "tls_server_config.client_allowed_sans"
        names = self.document.items(node, path)
        if node is not None and not names:
            self.document.note(node, path, "names nobody: no client could connect; leave it out to allow all")
        return frozenset(tls.plain_name(text) for _, _, text in names) if node is not None else None

    def client_keys_agree(self, keys: dict[str, Node], client_auth: ssl.VerifyMode) -> None:
        path = "tls_server_config"
        has_ca = "client_ca" in keys or "client_ca_file" in keys
        # VerifyClientCertIfGiven goes without: then the system's CAs are asked, as in Go, and nobody
        # gets in who would not get in with no certificate at all.
        if client_auth is ssl.CERT_REQUIRED and not has_ca:
            message = "client_ca_file is missing: the certificates of every public CA would be let in"
            self.document.note(keys["client_auth_type"], f"{path}.client_auth_type", message)
        written = keys.get("client_auth_type")
        if client_auth is ssl.CERT_NONE and (
            written is None or getattr(written, "value", "") == "NoClientCert"
        ):
            for name in ("client_ca", "client_ca_file", "client_allowed_sans"):
                if name in keys:
                    message = "has no effect without client_auth_type: RequireAndVerifyClientCert"
                    self.document.note(keys[name], f"{path}.{name}", message)

    def version(self, keys: dict[str, Node], name: str, default: str) -> ssl.TLSVersion:
        node, path = keys.get(name), f"tls_server_config.{name}"
        value = self.document.text(node, path) or default
        if value in {"TLS10", "TLS11"}:
            self.document.note(node, path, f"{value} {_OLD_TLS}")
        elif value not in tls.VERSIONS:
            self.document.choice(node, path, tls.VERSIONS)
        return tls.VERSIONS.get(value, tls.VERSIONS[default])

    def ciphers(self, keys: dict[str, Node], low: ssl.TLSVersion) -> tuple[str, ...]:
        node, path = keys.get("cipher_suites"), "tls_server_config.cipher_suites"
        found = self.document.items(node, path)
        for item, at, _ in found:
            self.document.choice(item, at, tls.CIPHERS)
        names = tuple(name for _, _, text in found if (name := tls.CIPHERS.get(text)))
        if (
            found
            and not names
            and low < ssl.TLSVersion.TLSv1_3
            and all(t in tls.CIPHERS for _, _, t in found)
        ):
            self.document.note(node, path, "leaves none for TLS 1.2: add one, or set min_version: TLS13")
        return names

    def curve(self, keys: dict[str, Node]) -> str | None:
        node, path = keys.get("curve_preferences"), "tls_server_config.curve_preferences"
        found = self.document.items(node, path)
        for item, at, _ in found:
            self.document.choice(item, at, tls.CURVES)
        if len(found) > 1:
            message = (
                "only one curve can be set here (Python's ssl takes no list); leave it out for OpenSSL's own"
            )
            self.document.note(node, path, message)
        return tls.CURVES.get(found[0][2]) if found else None

    # -- HTTP --

    def http(self, node: Node | None) -> dict[str, str]:
        keys = self.document.mapping(node, "http_server_config", ("http2", "headers"))
        if self.document.boolean(keys.get("http2"), "http_server_config.http2"):
            message = "cannot be honoured: this listener speaks HTTP/1.1; write false, or leave it out"
            self.document.note(keys["http2"], "http_server_config.http2", message)
        path = "http_server_config.headers"
        headers = self.document.mapping(keys.get("headers"), path, HEADERS)
        values = {name: self.header(name, item, f"{path}.{name}") for name, item in headers.items()}
        return {name: value for name, value in values.items() if value}

    def header(self, name: str, node: Node, path: str) -> str | None:
        value = self.document.text(node, path, blank=True)
        allowed = HEADERS[name]
        if value and allowed and value not in allowed:
            return self.document.choice(node, path, allowed)
        if value and not (value.isascii() and value.isprintable()):
            self.document.note(node, path, "a header must be one line of printable ASCII")
            return None
        return value

    def rate_limit(self, node: Node | None) -> RateLimit | None:
        keys = self.document.mapping(node, "rate_limit", ("interval", "burst"))
        if "burst" in keys and "interval" not in keys:
            self.document.note(keys["burst"], "rate_limit.burst", "has no effect without interval")
        interval = self.duration(keys.get("interval"), "rate_limit.interval")
        if not interval:
            return None
        path, text = "rate_limit.burst", self.document.text(keys.get("burst"), "rate_limit.burst")
        if text is None or not text.isdecimal() or int(text) < 1:
            self.document.note(keys.get("burst", node), path, "must be a whole number, at least 1")
            return None
        return RateLimit(interval, int(text))

    def duration(self, node: Node | None, path: str) -> float:
        text = self.document.text(node, path)
        if text is None or text == "0":
            return 0.0
        if not _DURATION.fullmatch(text):
            self.document.note(node, path, 'must be a duration with its unit, such as "1s" or "100ms"')
            return 0.0
        return sum(float(n) * _SECONDS[u] for n, u in re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", text))

    # -- who may come in --

    def users(self, node: Node | None) -> dict[str, bytes]:
        users: dict[str, bytes] = {}
        for name, item in self.document.mapping(node, "basic_auth_users", None).items():
            path = f"basic_auth_users.{name}"
            if ":" in name:
                self.document.note(item, path, "a user name cannot hold a colon: HTTP ends it there")
            text = self.document.text(item, path)
            if text is None:
                continue
            if _BCRYPT.fullmatch(text):
                users[name] = text.encode()
            else:
                message = "is not a bcrypt hash ($2a$, $2b$ or $2y$); make one with: htpasswd -nBC 10 NAME"
                self.document.note(item, path, message)
        return users

    def bearer(self, node: Node | None) -> str | None:
        section = "authorization"
        if node is None:
            return None
        keys = self.document.mapping(node, section, ("type", "credentials", "credentials_file"))
        scheme = self.document.text(keys.get("type"), f"{section}.type")
        if scheme is not None and scheme.lower() != "bearer":
            self.document.note(
                keys["type"], f"{section}.type", "must be Bearer; for Basic there is basic_auth_users"
            )
        inline, file = keys.get("credentials"), keys.get("credentials_file")
        if (inline is None) == (file is None):
            self.document.note(node, section, "needs one of credentials and credentials_file")
            return None
        if inline is not None:
            self.secrets[""] = Path(self.document.file)
        shown = f"{section}.credentials" if inline is not None else f"{section}.credentials_file"
        value = self.document.text(inline, shown) if file is None else self.token_file(file, shown)
        if value is not None and not _TOKEN.fullmatch(value):
            self.document.note(
                inline or file, shown, "must be printable ASCII without spaces, as a header takes it"
            )
            return None
        return value

    def token_file(self, node: Node, path: str) -> str | None:
        data = self.file(node, path)
        return None if data is None else data.decode("utf-8", "replace").strip()
