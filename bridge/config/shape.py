"""A YAML tree read as a model: what pydantic finds wrong, in words, and where it stands in the file."""

from __future__ import annotations

import inspect
import typing
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bridge.config.fields import Context
from bridge.config.part import Part
from bridge.config.problems import Path, suggest
from bridge.config.tree import Tree
from bridge.matchers import MatcherError
from bridge.timeintervals import IntervalError

T = TypeVar("T", bound=Part)

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


def validate(document: Tree, model: type[T], context: Context) -> T | None:
    """Read a tree as a model; notes on the tree what is wrong, None where nothing can be made of it."""
    found = None
    try:
        found = model.model_validate(document.root, context=context)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=True):
            _note(document, model, details)
    _check_blank_keys(document, model)
    return found


def _note(document: Tree, model: type[Part], error: ErrorDetails) -> None:
    path, kind = tuple(error["loc"]), error["type"]
    if error["input"] is None:  # an empty entry of a list, which the tree has noted
        return
    if kind == "extra_forbidden":
        _note_unknown_key(document, model, path)
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


def _known(document: Tree, path: Path) -> Path:
    """Take off the index of a value that was written alone where a list may stand."""
    return path[:-1] if isinstance(document.get(path[:-1]), str) else path


def _check_blank_keys(document: Tree, model: type[Part]) -> None:
    for path in document.blank:
        part = _part_at(model, path[:-1])
        if part and path[-1] not in keys_of(part):
            _note_unknown_key(document, model, path)


def _note_unknown_key(document: Tree, model: type[Part], path: Path) -> None:
    key = str(path[-1])
    present = document.get(path[:-1])
    part = _part_at(model, path[:-1])
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


def _part_at(model: type[Part], path: Path) -> type[Part] | None:
    part: type[Part] | None = model
    for step in path:
        if isinstance(step, str):
            part = keys_of(part).get(step) if part else None
    return part
