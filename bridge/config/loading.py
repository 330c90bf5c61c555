"""Reading a configuration file: YAML, shape, then what only the whole can show. All problems at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path as FilePath

from bridge.config import build, checks, crypto, drilling, exposure, rota, shape, tree
from bridge.config.fields import Context
from bridge.config.model import Model
from bridge.config.problems import ConfigError
from bridge.config.settings import Settings


def load(path: FilePath, now: datetime | None = None) -> Settings:
    """Read a configuration file and all that it names; raises ConfigError with every problem.

    Relative paths in the file start at its folder. Blocks for as long as the files take to read.
    Warnings are about the time from `now` on, the present if absent.
    """
    document = tree.read(path)
    model = shape.validate(document, Model, Context(path.parent))
    checks.check(document)
    if document.problems or model is None:
        raise ConfigError(document.problems)
    checks.warnings(document)
    now = now or datetime.now(UTC)
    _warn_of_surroundings(document, model, now)
    settings = rota.look_ahead(document, model, build.settings(path, model), now)
    drilling.look_ahead(document, settings, now)
    exposed = tuple(sorted(exposure.exposed(document, path.parent)))
    return replace(settings, warnings=tuple(sorted(document.problems)), exposed=exposed)


def _warn_of_surroundings(document: tree.Tree, model: Model, now: datetime) -> None:
    """Note what may still change by itself before the bridge starts: folders and the date."""
    file = model.storage.url.file
    if file is not None and not file.parent.is_dir():
        document.note(("storage", "url"), "the database's folder is not there yet")
    for key in ("certificate_file", "ca_file"):
        file = getattr(model.apns, key)
        if file and (end := crypto.expiry(file.text)) <= now:
            document.note(
                ("apns", key), f"the certificate ended on {end:%Y-%m-%d}: no connection will succeed"
            )
