"""URLs of a configuration file, and what travels beside them. Every function raises ValueError in words.

No message shows a URL, since it may hold a secret.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from bridge.config.problems import quote


def _split(text: str, schemes: tuple[str, ...], form: str) -> SplitResult:
    """Take a URL apart; its text stays out of every message, since it may hold a password."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"is not a URL; write {form}") from None
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise ValueError(f"must be {form}")
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("a URL must be printable ASCII without spaces")
    return parts


def web_url(text: str) -> str:
    """Check the URL of a webhook."""
    _split(text, ("http", "https"), "https://host/path or http://host/path")
    return text


def alertmanager_url(text: str) -> str:
    """Check where an Alertmanager is, with its external path; a slash at the end is taken off."""
    form = "http[s]://host[:port][/path]"
    parts = _split(text, ("http", "https"), form)
    if parts.username is not None:
        raise ValueError("holds a user; write basic_auth: {username: …, password_file: …} beside it")
    if parts.query or parts.fragment:
        raise ValueError(f"must be {form}, with nothing after the path")
    bare = text.rstrip("/")
    if bare.endswith("/api/v2"):
        raise ValueError("must end before /api/v2, which is the same for every Alertmanager")
    return bare


def scheme(text: str) -> str:
    """Check the word before credentials in a header: Bearer."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*", text, re.ASCII) and text.casefold() != "basic":
        return text
    raise ValueError("must be one word such as Bearer; for a user and a password write basic_auth")


def server_name(text: str) -> str:
    """Check the name that a certificate must be made out to."""
    if re.fullmatch(r"[A-Za-z0-9:._-]{1,253}", text, re.ASCII):
        return text
    raise ValueError(f"{quote(text)} is not a host name")


def gateway_url(text: str) -> str:
    """Check where APNs is spoken to: https, a host and a port, nothing more."""
    parts = _split(text, ("https",), "https://host[:port]")
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must be https://host[:port] alone; the path is always APNs's own, /3/device/…")
    return text.rstrip("/")


def proxy_url(text: str) -> str:
    """Check an HTTP proxy that APNs is reached through (CONNECT): http://[user:password@]host:port."""
    form = "http://[user:password@]host:port"
    parts = _split(text, ("http",), form)
    if parts.port is None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"must be {form}")
    return text.rstrip("/")
