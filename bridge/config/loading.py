"""Reading a configuration file: YAML, shape, then what only the whole can show. All problems at once."""

from __future__ import annotations

import inspect
import typing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bridge.config import build, checks, crypto, drilling, exposure, rota, tree
from bridge.config.fields import Context
from bridge.config.model import Model
from bridge.config.part import Part
from bridge.config.problems import ConfigError, Path, suggest
from bridge.config.settings import Settings
from bridge.matchers import MatcherError
from bridge.timeintervals import IntervalError

# What an Alertmanager file may say, and why it does not belong here.
_FOREIGN: Final = {
    "group_wait": "is not used here: Alertmanager has waited already, and the bridge rings at once",
    "group_interval": "is not used here: a receiver's `ring` says how often to ring",
    "repeat_interval": "is not used here: a receiver's `ring` and `repeat` say how often to ring",
    "webhook_configs": "is not used here: write escalation: [{webhooks: [{url_file: FILE}]}]",
    "mute_time_intervals": "is Alertmanager's old form at this place; write time_intervals",
    "global": "is not used here",
    "inhibit_rules": "is not used here: Alertmanager inhibits before it sends",
    "send_resolved": "is called notify_resolved here",
}


def load(path: FilePath, now: datetime | None = None) -> Settings:
    """Read a configuration file and all that it names; raises ConfigError with every problem.

    Relative paths in the file start at its folder. Blocks for as long as the files take to read.
    Warnings are about the time from `now` on, the present if absent.
    """
    document = tree.read(path)
    model = _validate(document, Context(path.parent))
    _check_blank_keys(document)
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


def _validate(document: tree.Tree, context: Context) -> Model | None:
    try:
        return Model.model_validate(document.root, context=context)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=True):
            _note(document, details)
        return None


def _note(document: tree.Tree, error: ErrorDetails) -> None:
    path, kind = tuple(error["loc"]), error["type"]
    if error["input"] is None:  # an empty entry of a list, which the tree has noted
        return
    if kind == "extra_forbidden":
        _note_unknown_key(document, path)
        return
    message = _MESSAGES.get(kind, error["msg"])
    if kind == "value_error":
        message, path = _words(error["ctx"]["error"], path)
    document.note(_known(document, path), message)


_MESSAGES: Final = {
    "missing": "is missing",
    "model_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list (- entry)",
    "recursion_loop": "is nested too deep",
}


def _words(error: Exception, path: Path) -> tuple[str, Path]:
    """Give the message of an error, and a path that leads on to where inside of the value it is."""
    if isinstance(error, IntervalError):
        return error.problem, (*path, *error.path)
    if isinstance(error, MatcherError):
        return f"{error.problem} (character {error.column} of the text)", path
    return str(error), path


def _known(document: tree.Tree, path: Path) -> Path:
    """Take off the index of a value that was written alone where a list may stand."""
    return path[:-1] if isinstance(document.get(path[:-1]), str) else path


def _check_blank_keys(document: tree.Tree) -> None:
    for path in document.blank:
        part = _part_at(path[:-1])
        if part and path[-1] not in keys_of(part):
            _note_unknown_key(document, path)


def _note_unknown_key(document: tree.Tree, path: Path) -> None:
    key = str(path[-1])
    present = document.get(path[:-1])
    part = _part_at(path[:-1])
    hint = _FOREIGN.get(key)
    if hint is None:
        known = keys_of(part) if part else {}
        hint = "unknown key" + suggest(key, [name for name in known if name not in present])
    document.note(path, hint, at_key=True)


def keys_of(part: type[Part]) -> dict[str, type[Part] | None]:
    """List the keys of a mapping, each with the mapping (or list of mappings) that it holds, if any."""
    fields = part.model_fields.items()
    return {str(field.validation_alias or name): _inner(field.annotation) for name, field in fields}


def _inner(annotation: Any) -> type[Part] | None:
    """Find the model inside of Optional, tuple and Annotated."""
    if inspect.isclass(annotation) and issubclass(annotation, Part):
        return annotation
    return next((found for item in typing.get_args(annotation) if (found := _inner(item))), None)


def _part_at(path: Path) -> type[Part] | None:
    part: type[Part] | None = Model
    for step in path:
        if isinstance(step, str):
            part = keys_of(part).get(step) if part else None
    return part
