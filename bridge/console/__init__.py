"""The console: pages for people, made here, alive by server-sent events, without anything from elsewhere.

`sight` gathers what a page shows, `bridge.views` decides about it, the templates write it down. `door`
says who may look and who may act, `acts` does what was asked for, `live` keeps open pages up to date.
"""

from bridge.console.rooms import Console

__all__ = ["Console"]
