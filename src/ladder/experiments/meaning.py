"""`ladder code`: what the code of every stage means, as a hash that comments don't change.

A stage is out of date when the code that it may run means something else. So the code is compared
as syntax trees without comments, docstrings and layout. `code.json` holds a hash for each stage of
the DVC pipelines and for each notebook. The stages depend on their entry in it.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ladder.config.files import write_text
from ladder.experiments.notebook import PARAMETERS, code_cells

SOURCE = Path(__file__).resolve().parents[2]
"""The folder that holds the package."""
ENTRIES = {
    "world": "ladder.world.shards",
    "curate": "ladder.data.curation.curate",
    "foundations_autoencoder": "ladder.pretraining.autoencoder",
    "foundations_mllm_base": "ladder.pretraining.mllm",
    "foundations_mllm": "ladder.pretraining.mllm_tuning",
    "foundations_generator_base": "ladder.pretraining.generator",
    "foundations_generator": "ladder.pretraining.generator_tuning",
    "examine": "ladder.evaluation.toy.foundations",
    "encode": "ladder.data.training.encode",
    "t2i": "ladder.training.stages",
    "ti2i": "ladder.training.stages",
    "finetune": "ladder.training.stages",
    "evaluate": "ladder.evaluation.run",
    "report": "ladder.experiments.report.page",
}
"""The module that each stage of DVC runs."""
CARRIERS = ("ladder", "ladder.cli", "ladder.config")
"""Packages that only carry values: a stage depends on the values, as its parameters."""


def write_meanings(path: Path = Path("code.json"), notebooks: Path = Path("notebooks")) -> None:
    """Write the meaning of every stage's code, and of every notebook's, to `path`."""
    found: dict[str, Any] = {stage: meaning([module]) for stage, module in ENTRIES.items()}
    found["notebooks"] = {
        file.stem: notebook_meaning(file) for file in sorted(notebooks.glob("*.ipynb"))
    }
    write_text(path, json.dumps(found, indent=1) + "\n")


def notebook_meaning(path: Path) -> str:
    """The meaning of the code that a notebook imports; its own code is not part of it."""
    return meaning(imports("\n".join(sources(path))))


def sources(path: Path) -> list[str]:
    """What the code cells of a notebook say but for the parameters, without magics.

    Raises ValueError for a file that is no notebook.
    """
    return [
        "\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!")))
        for cell in code_cells(path)
        if PARAMETERS not in cell.tags
    ]


def meaning(modules: Iterable[str], source: Path = SOURCE) -> str:
    """SHA-256 over the syntax trees of `modules` and all that they may load.

    Those that say nothing, such as the file of a package, don't count.
    """
    names = sorted(set().union(*(closure(module, source) for module in modules)))
    trees = {name: _tree(path_of(name, source).read_text()) for name in names}
    lines = [f"{name} {tree}" for name, tree in trees.items() if tree != _tree("")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def closure(module: str, source: Path = SOURCE) -> set[str]:
    """A module and all of ours that importing and running it may load, without the carriers."""
    waiting, seen = {module, *_packages(module)}, set()
    while waiting := {name for name in waiting - seen if not carries_values(name)}:
        seen |= waiting
        waiting = set().union(*(imports(path_of(name, source).read_text()) for name in waiting))
    return seen


def carries_values(module: str) -> bool:
    """Whether a module is one of the CARRIERS, or inside one that is no root."""
    return module in CARRIERS or module.startswith(tuple(f"{name}." for name in CARRIERS[1:]))


def path_of(module: str, source: Path = SOURCE) -> Path | None:
    """The file of a module of ours, or None for what is none (a class, another's package)."""
    plain = source / Path(*module.split("."))
    files = (plain.with_suffix(".py"), plain / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def imports(text: str) -> frozenset[str]:
    """Modules of ours that `text` imports anywhere, inside functions too, and their packages.

    Raises ValueError for a relative import, which doesn't say what it names.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"imports must be absolute, got {ast.unparse(node)!r}")
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = {name for name in found if name.startswith("ladder.") and path_of(name)}
    return frozenset(ours.union(*(_packages(name) for name in ours)))


def _packages(module: str) -> set[str]:
    """The packages above a module that have code, which is loaded with it."""
    parts = module.split(".")
    above = (".".join(parts[:end]) for end in range(2, len(parts)))
    return {name for name in above if path_of(name)}


@cache
def _tree(text: str) -> str:
    """A hash of what `text` says: its syntax tree without strings that stand alone."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [line for line in block if not _is_documentation(line)])
    return hashlib.sha256(repr(_plain(tree)).encode()).hexdigest()


def _plain(node: Any) -> Any:
    """A syntax tree as nested lists, without empty fields: they differ between versions of Python.

    (`ast.dump` would show them.)
    """
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, ast.AST):
        return node
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return [type(node).__name__, *((name, _plain(value)) for name, value in fields)]


def _is_documentation(node: ast.AST) -> bool:
    """A docstring of a module, class, function or attribute: a string that stands alone."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
