"""What takes two places of the file to see about Alertmanagers."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from bridge.config.tree import Tree
from bridge.config.values import duration

# An Alertmanager that has just started hears of an alert after a minute (--rules.alert.resend-delay) and one
# evaluation of its rule at the latest.
_RESENT: Final = timedelta(minutes=2)
_PLACES = ("alertmanager", "sources.*.alertmanager")


def check(tree: Tree) -> None:
    """Note on the tree what is wrong with how Alertmanagers are spoken to."""
    for path in [path for place in _PLACES for path in tree.find(place)]:
        part = tree.get(path)
        if not isinstance(part, dict):
            continue
        if {"basic_auth", "authorization"} <= part.keys():
            tree.note((*path, "authorization"), "give it or basic_auth, not both", at_key=True)
        for key, secret in (("basic_auth", "password"), ("authorization", "credentials")):
            inner = part.get(key)
            if isinstance(inner, dict) and not {secret, f"{secret}_file"} & inner.keys():
                tree.note((*path, key, secret), f"is missing; give {secret} or {secret}_file")
        tls = part.get("tls_config")
        if isinstance(tls, dict) and "key_file" in tls and "cert_file" not in tls:
            tree.note((*path, "tls_config", "key_file"), "needs cert_file beside it", at_key=True)


def warnings(tree: Tree) -> None:
    """Note on the tree what is doubtful, or has no effect. Only for a tree without problems."""
    for path in [path for place in _PLACES for path in tree.find(f"{place}.reconcile_grace")]:
        if duration(tree.get(path)) < _RESENT:
            tree.note(
                path,
                "after a restart of Alertmanager what still fires would count as ended: "
                "Prometheus says it again only once a minute",
            )
    if any(tree.find(place) for place in _PLACES):
        return
    for path in tree.find("receivers.*.ack_creates_silence"):
        tree.note(path, "has no effect: no alertmanager is given, so no silence can be made")
