"""What the newer benchmarks tell their judges, read from their own files.

Their prompts stand in Python files, which `ladder fetch benchmark` brings at a pinned commit. They
are parsed and never run, and no sentence of them is in this repository: some have no licence.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from ladder.config.files import read_text


def strings_in(path: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The texts that a file gives those names. Raises ValueError for one that isn't there."""
    found = {}
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found |= {t.id: node.value.value for t in node.targets if isinstance(t, ast.Name)}
    lacking = [name for name in names if not isinstance(found.get(name), str)]
    if lacking:
        raise ValueError(f"{path} must give a text the name {lacking[0]}, got {', '.join(found)}")
    return {name: found[name] for name in names}


def attribute_text_in(path: Path, name: str) -> str:
    """The text that a class gives its attribute of that name; raises ValueError without one."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            named = any(isinstance(t, ast.Attribute) and t.attr == name for t in node.targets)
            if named and isinstance(node.value.value, str):
                return node.value.value
    raise ValueError(f"{path} must have a class that gives a text the name {name}")


def message_texts_in(path: Path, function: str) -> list[str]:
    """The texts under the key "text" of what a function builds, in their order.

    A place for `prompt['Name']` becomes `{Name}`. Raises ValueError for a file without such.
    """
    functions = [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    found = []
    for node in (node for one in functions for node in ast.walk(one)):
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found += [
                (value.lineno, template(value))
                for key, value in pairs
                if isinstance(key, ast.Constant)
                and key.value == "text"
                and isinstance(value, ast.Constant | ast.JoinedStr)
            ]
    if not found:
        raise ValueError(f"{path} must have a function {function} that builds messages")
    return [text for _, text in sorted(found)]


def template(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    parts = []
    for part in value.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        else:
            names = [
                node.value
                for node in ast.walk(part.value)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
            parts.append("{" + "".join(names) + "}")
    return "".join(parts)


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with every `{name}` replaced; other braces stay, and values aren't looked into."""
    places = sorted((text.find(f"{{{name}}}"), name) for name in values)
    rest, found = text, []
    for _, name in (place for place in places if place[0] >= 0):
        before, _, rest = rest.partition(f"{{{name}}}")
        found += [before, values[name]]
    return "".join(found) + rest


def parsed(path: Path) -> ast.Module:
    """Raises ValueError for a file that is no Python."""
    try:
        return ast.parse(read_text(path))
    except SyntaxError as error:
        raise ValueError(f"{path} must be a Python file, got {error}") from error
