"""What a curation has to do again: keys of what each step depends on, and what changed since.

The records of a shard depend on its files, and on the code that lists them; what was seen in them
on the settings of looking, too. So a new shard, a new set or another setting redoes only what
depends on it. A comment in the code changes nothing: code counts by its syntax.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import xxhash

from ladder.config.load import Curation

ELSEWHERE = ("workers", "scheduler")
"""Settings of where the work is done, on which nothing depends."""
DECIDED = ("duplicates", "evaluation_share")
"""Settings of the comparison only."""
COMPARED = ("near_duplicates", "near_captions")
"""Settings of the comparison; looking depends on whether they are set."""
DATA = Path(__file__).parents[1]
LISTING = ("sources/*.py",)
LOOKING = ("sources/*.py", "images.py", "curation/inspect.py", "curation/captions.py",
           "curation/shingles.py", "curation/contamination.py")  # fmt: skip
DECIDING = ("curation/duplicates.py", "curation/near.py")
WRITING = ("shards.py", "images.py", "curation/write.py")


def key_of(*parts: object) -> str:
    """A hash of what JSON, or else `str`, makes of the parts."""
    return xxhash.xxh3_128_hexdigest(json.dumps(parts, default=str).encode())


@lru_cache(maxsize=8)
def stamp(files: tuple[Path, ...]) -> str:
    """A hash of the names, sizes and times of files."""
    found = ((str(path), path.stat()) for path in files)
    return key_of([(name, state.st_size, state.st_mtime_ns) for name, state in found])


@lru_cache(maxsize=8)
def code(patterns: tuple[str, ...]) -> str:
    """A hash of what modules of this package mean: their syntax without docstrings."""
    trees = []
    for path in sorted(path for pattern in patterns for path in DATA.glob(pattern)):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [x for x in body if not _is_text(x)]
        trees.append(ast.dump(tree))
    return key_of(trees)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def looking(curation: Curation) -> dict[str, object]:
    """The settings that looking at a record depends on."""
    settings = dataclasses.asdict(curation)
    kept = {n: v for n, v in settings.items() if n not in (*ELSEWHERE, *DECIDED, *COMPARED)}
    asked = curation.near_duplicates is not None, curation.near_captions is not None
    return kept | {"looks": asked[0], "words": any(asked)}


def deciding(curation: Curation) -> dict[str, object]:
    """The settings that the decisions depend on."""
    settings = dataclasses.asdict(curation)
    return {name: value for name, value in settings.items() if name not in ELSEWHERE}


def told(before: dict, now: dict) -> Iterable[str]:
    """What changed, in a line each: settings, and the shards of each set.

    Both have "settings" (by name) and "shards" (keys by name, by set).
    """
    old, new = before.get("settings", {}), now["settings"]
    for name in new:
        if before and old.get(name) != new[name]:
            yield f"curation.{name} was {old.get(name)}, and is {new[name]}"
    for folder in sorted({*before.get("shards", {}), *now["shards"]}):
        were, are = before.get("shards", {}).get(folder, {}), now["shards"].get(folder, {})
        counts = {
            "as before": sum(were.get(name) == key for name, key in are.items()),
            "new": len(are.keys() - were.keys()),
            "changed": sum(were.get(name, key) != key for name, key in are.items()),
            "gone": len(were.keys() - are.keys()),
        }
        said = [f"{count} {word}" for word, count in counts.items() if count]
        yield f"{folder}: raw shards {', '.join(said) or 'none'}"
