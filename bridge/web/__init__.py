"""The management listener's door: `--web.config.file`, TLS, credentials, listen addresses.

settings.py reads the file, live.py keeps it current, middleware.py puts it in front of an application.
"""

from bridge.web.address import Address, listen
from bridge.web.credentials import Identity, Refused, check_bearer
from bridge.web.live import WebConfig
from bridge.web.middleware import credentials_middleware, identity, protect
from bridge.web.origin import same_origin
from bridge.web.settings import WebConfigError

__all__ = [
    "Address",
    "Identity",
    "Refused",
    "WebConfig",
    "WebConfigError",
    "check_bearer",
    "credentials_middleware",
    "identity",
    "listen",
    "protect",
    "same_origin",
]
