"""Reading of YAML, and layers of it over one another: the machinery beneath `ladder.config.load`.

A configuration is a stack of layers: a complete file, then files and command-line arguments which
hold only what differs. pydantic checks each layer when it is laid, so an error can name the layer,
the dotted key and what would have been allowed. YAML is 1.2, as DVC reads it: `off` and `1e-3` are
a text and a number here, unlike in PyYAML.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypeVar

from pydantic import ValidationError
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
    try:
        return deepcopy(_parsed(text))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = " ".join((getattr(error, "problem", None) or str(error)).split())
        raise ConfigError(f"{source}{where}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


@lru_cache
def _parsed(text: str) -> Any:
    """What `text` says as YAML; the arms of a study all lie over the same params.yaml."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    return yaml.load(text)


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
    """A new `kind` from values which must name every one of its fields, and no others.

    Raises ConfigError as `overlay` does, and for a field that is missing.
    """
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
    kinds = typing.get_type_hints(kind)
    changes = {}
    for name, value in values.items():
        dotted = _dotted(path, name)
        if name not in kinds:
            raise ConfigError(f"{source}: {_unknown(name, [*kinds], path)}")
        if not dataclasses.is_dataclass(kinds[name]):
            changes[name] = value
        elif base is None:
            changes[name] = build(kinds[name], _mapping(value, source, dotted), source, dotted)
        else:
            section = getattr(base, name)
            changes[name] = overlay(section, _mapping(value, source, dotted), source, dotted)
    try:
        return kind(**changes) if base is None else dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except ValidationError as error:
        said = _said(error, changes)
    # Raised out here, and so without the cause: its text would hold a hostile value as a whole.
    raise ConfigError(f"{source}: {_dotted(path, said)}")


def _unknown(name: Any, known: list[str], path: str) -> str:
    near = get_close_matches(name, known, 1) if isinstance(name, str) else []
    hint = f" (did you mean {_dotted(path, near[0])}?)" if near else ""
    return f"unknown key {_dotted(path, name)}{hint}; allowed: {', '.join(known)}"


def _said(error: ValidationError, values: Mapping[str, Any]) -> str:
    """The first fault that pydantic found in `values`, in a line: key, rule and value."""
    faults = error.errors(include_url=False)
    first = faults[0]
    if first["type"] == "value_error":
        return " ".join([*map(str, first["loc"]), str(first["ctx"]["error"])])
    key = _within(first["loc"], values)
    # Each member of a union has a fault of its own.
    same = [fault for fault in faults if _within(fault["loc"], values) == key]
    rules = [_RULES.get(one["type"], one["msg"]).format(**one.get("ctx", {})) for one in same]
    return f"{key} must be {' or '.join(rules)}, got {_named(first['input'])}"


def _within(place: tuple[int | str, ...], values: Any) -> str:
    """The dotted key of a fault. Behind the key, pydantic names the members of a union."""
    key = []
    for part in place:
        if not (part in values if isinstance(values, dict) else isinstance(part, int)):
            break
        key.append(str(part))
        values = values[part]
    return ".".join(key)


_RULES = {
    "bool_type": "true or false",
    "dict_type": "a mapping of names to values",
    "finite_number": "a finite number",
    "float_type": "a finite number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_too_short": "a text that isn't empty",
    "string_type": "a text",
    "too_short": "a list that isn't empty",
    "tuple_type": "a list",
}
"""By pydantic's name of a fault: what the value must be."""


def _mapping(value: Any, source: str, path: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        what = f"{path} must be" if path else "must hold"
        raise ConfigError(f"{source}: {what} a mapping of keys to values, got {_named(value)}")
    return value


def _named(value: Any) -> str:
    """A value and its type in a few words, however large or self-containing it is."""
    return "null" if value is None else f"{short(value)} ({type(value).__name__})"


def _dotted(path: str, name: Any) -> str:
    text = name if isinstance(name, str) else short(name)
    return f"{path}.{text}" if path else text
