"""From the file's routing tree to routing's, with what a child inherits from its parent filled in."""

from __future__ import annotations

from bridge.config import model
from bridge.routing import Route


def build_route(part: model.RoutePart) -> Route:
    """Build the routing tree."""
    raise NotImplementedError(part)
