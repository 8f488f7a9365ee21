"""Strict reading of YAML into frozen dataclasses: the machinery beneath `ladder.config.load`.

A configuration is a stack of layers: a complete file, then files and command-line arguments which
hold only what differs. Each layer is checked when it is laid, so an error can name the layer, the
dotted key and what would have been allowed. YAML is 1.2, as DVC reads it: `off` and `1e-3` are a
text and a number here, unlike in PyYAML.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from reprlib import repr as short
from typing import Any, Literal, TypeVar

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.nodes import MappingNode

Section = TypeVar("Section")

MOST_KEYS = 1000
"""In a mapping, those of what is merged into it included."""
MOST_BRACKETS = 100
"""Open at a time: what the parser needs for them grows with the square of their depth."""
BRACKETS = {"[": 1, "{": 1, "]": -1, "}": -1}


class ConfigError(ValueError):
    """A configuration that breaks a rule; the text is one line that names source and key."""


class _Constructor(SafeConstructor):
    """Refuses mappings that merge keys (`<<`) blow up: a few lines could fill the memory."""

    def flatten_mapping(self, node: MappingNode) -> Any:
        flattened = super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise ConstructorError(
                problem=f"a mapping has at most {MOST_KEYS} keys, got {len(node.value)}",
                problem_mark=node.start_mark,
            )
        return flattened


def read_yaml(text: str, source: str) -> Any:
    """The plain value of a YAML document; `source` is what errors call it.

    Raises ConfigError for what is not YAML, keys given twice, tags of Python objects,
    nesting too deep to parse, and mappings of more than MOST_KEYS.
    """
    if max(accumulate(BRACKETS.get(letter, 0) for letter in text), default=0) > MOST_BRACKETS:
        raise ConfigError(f"{source}: nested too deeply")
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = " ".join((getattr(error, "problem", None) or str(error)).split())
        raise ConfigError(f"{source}{where}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


def read_file(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file; raises ConfigError unless it is one, and FileNotFoundError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: must be UTF-8, {error.reason} at byte {error.start}") from error
    values = read_yaml(text, str(path))
    return _mapping({} if values is None else values, str(path), "")


def read_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Nested values of arguments like `model.queries=8`; the part after `=` is YAML.

    Raises ConfigError for an argument without `=`, an empty key, or a key given twice.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        dotted, equals, text = argument.partition("=")
        if not equals or not all(dotted.split(".")):
            raise ConfigError(f"{argument!r} must be key=value, such as model.queries=8")
        *parents, name = dotted.split(".")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"command line: {dotted} is given twice")
        if name in place:
            raise ConfigError(f"command line: {dotted} is given twice")
        place[name] = read_yaml(text, f"command line, {dotted}")
    return values


def build(kind: type[Section], values: Mapping[Any, Any], source: str, path: str = "") -> Section:
    """A new `kind` from values which must name every one of its fields, and no others."""
    missing = [field.name for field in dataclasses.fields(kind) if field.name not in values]  # type: ignore[arg-type]
    if missing:
        raise ConfigError(f"{source}: {_dotted(path, missing[0])} is missing")
    return _construct(kind, None, values, source, path)


def overlay(base: Section, values: Mapping[Any, Any], source: str, path: str = "") -> Section:
    """`base` with the fields that `values` names replaced; sections in it are overlaid in turn.

    Raises ConfigError for an unknown key, a value of another type, or one that `base`'s class
    refuses. A field that is a list or a mapping of numbers is one value: it is replaced whole.
    """
    return _construct(type(base), base, values, source, path)


def _construct(
    kind: type[Section], base: Section | None, values: Mapping[Any, Any], source: str, path: str
) -> Section:
    hints = typing.get_type_hints(kind)
    changes = {}
    for name, value in values.items():
        dotted = _dotted(path, name)
        if name not in hints:
            raise ConfigError(f"{source}: unknown key {dotted}; allowed: {', '.join(hints)}")
        if not dataclasses.is_dataclass(hints[name]):
            changes[name] = _typed(value, hints[name], source, dotted)
        elif base is None:
            changes[name] = build(hints[name], _mapping(value, source, dotted), source, dotted)
        else:
            section = getattr(base, name)
            changes[name] = overlay(section, _mapping(value, source, dotted), source, dotted)
    try:
        return kind(**changes) if base is None else dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{source}: {path + '.' if path else ''}{error}") from error


def _mapping(value: Any, source: str, path: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        what = f"{path} must be" if path else "must hold"
        raise ConfigError(f"{source}: {what} a mapping of keys to values, got {_named(value)}")
    return value


def _typed(value: Any, hint: Any, source: str, path: str) -> Any:
    """`value` as `hint` wants it: whole numbers become floats, lists become tuples."""
    converted = _first(value, hint)
    if converted is not _REFUSED:
        return converted
    raise ConfigError(f"{source}: {path} must be {_describe(hint)}, got {_named(value)}")


_REFUSED = object()


def _converted(value: Any, hint: Any) -> Any:
    """`value` as the type `hint` (no union), or `_REFUSED`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return None if value is None else _REFUSED
    if origin is Literal:
        return value if isinstance(value, str) and value in arguments else _REFUSED
    if origin is tuple and isinstance(value, list):
        items = tuple(_first(item, arguments[0]) for item in value)
        return _REFUSED if _REFUSED in items else items
    if origin is dict and isinstance(value, dict):
        items = {key: _first(item, arguments[1]) for key, item in value.items()}
        good = all(isinstance(key, str) for key in items) and _REFUSED not in items.values()
        return items if good else _REFUSED
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) <= _LARGEST else _REFUSED
    if hint in (int, str, bool) and type(value) is hint:
        return value
    return _REFUSED


_LARGEST = 1e300
"""Floats beyond it (infinity, NaN and whole numbers that overflow too) are refused."""


def _first(value: Any, hint: Any) -> Any:
    """`value` as the first of the union `hint` that takes it, or `_REFUSED`."""
    converted = (_converted(value, option) for option in _options(hint))
    return next((item for item in converted if item is not _REFUSED), _REFUSED)


def _options(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if union else (hint,)


def _describe(hint: Any) -> str:
    """What a person may write for the type `hint`."""
    options = _options(hint)
    if len(options) > 1:
        return " or ".join(_describe(option) for option in options)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(arguments) if len(arguments) > 1 else f'"{arguments[0]}"'
    if origin is tuple:
        return f"a list, each {_describe(arguments[0])}"
    if origin is dict:
        return f"a mapping of names, each to {_describe(arguments[1])}"
    return _WORDS[hint]


_WORDS = {
    bool: "true or false",
    float: "a finite number",
    int: "a whole number",
    str: "a text",
    type(None): "null",
}


def _named(value: Any) -> str:
    """A value and its type in a few words, however large or self-containing it is."""
    return "null" if value is None else f"{short(value)} ({type(value).__name__})"


def _dotted(path: str, name: Any) -> str:
    text = name if isinstance(name, str) else short(name)
    return f"{path}.{text}" if path else text
