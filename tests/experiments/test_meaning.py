"""Meanings: a comment changes none, a constant changes those of the stages that may load it."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from ladder.experiments.meaning import ENTRIES, SOURCE, closure, meaning, notebook_meaning, path_of

MODULES = sorted(set().union(*(closure(module) for module in ENTRIES.values())))
DOCUMENTED = '''
# a comment


def _added_by_a_test(x: int) -> int:
    """{text}"""
    return x  # {text}


class _AddedByATest:
    """{text}"""

    value = 1
    """{text}"""
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the package, to be changed."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(SOURCE / "ladder", folder / "ladder", ignore=shutil.ignore_patterns("__py*"))
    return folder


def with_another_constant(text: str) -> str:
    """The text with its last constant that is no documentation changed, or with one more."""
    tree = ast.parse(text)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and id(node) not in alone
        and isinstance(node.value, int | float)
        and node.lineno == node.end_lineno
    ]
    if not constants:
        return text + "\nADDED_BY_A_TEST = 1\n"
    node = constants[-1]
    lines = text.splitlines(keepends=True)
    line = lines[node.lineno - 1].encode()
    changed = line[: node.col_offset] + b"12321" + line[node.end_col_offset :]
    lines[node.lineno - 1] = changed.decode()
    return "".join(lines)


@pytest.mark.parametrize("module", MODULES)
def test_a_comment_changes_no_meaning_and_a_constant_does(module: str, copy: Path):
    path = path_of(module, copy)
    text = path.read_text()
    before = meaning([module], copy)
    try:
        path.write_text(f"# a comment\n{text}\n\n# another\n")
        assert meaning([module], copy) == before
        path.write_text(with_another_constant(text))
        assert meaning([module], copy) != before
    finally:
        path.write_text(text)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_of_all_kinds_and_layout_change_no_meaning(module: str, copy: Path):
    path = path_of(module, copy)
    text = path.read_text()
    try:
        path.write_text(text + DOCUMENTED.format(text="one thing"))
        first = meaning([module], copy)
        path.write_text(text + DOCUMENTED.format(text="quite another") + "\n\n\n")
        assert meaning([module], copy) == first
        path.write_text("\n\n" + ast.unparse(ast.parse(path.read_text())))
        assert meaning([module], copy) == first
    finally:
        path.write_text(text)


def test_what_a_module_may_load_is_part_of_its_meaning(copy: Path):
    """A constant of rectified flow concerns training, but not the toy world."""
    path = path_of("ladder.models.rectified_flow", copy)
    entries = ("ladder.training.stages", "ladder.world.shards")
    before = [meaning([entry], copy) for entry in entries]
    text = path.read_text()
    path.write_text(text.replace("TIMESTEPS = 1000", "TIMESTEPS = 1001"))
    after = [meaning([entry], copy) for entry in entries]
    path.write_text(text)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_settings_carry_values_and_no_meaning():
    assert not any(name.startswith(("ladder.config", "ladder.cli")) for name in MODULES)
    assert "ladder.models.rectified_flow" in MODULES


def test_a_notebook_means_the_code_that_it_imports(tmp_path: Path):
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    def written(*cells) -> str:
        path = tmp_path / "one.ipynb"
        nbformat.write(new_notebook(cells=[*cells]), path)
        return notebook_meaning(path)

    first = written(new_code_cell("%matplotlib inline\nimport ladder.world.scenes"))
    assert written(new_markdown_cell("x"), new_code_cell("import ladder.world.scenes")) == first
    assert written(new_code_cell("from ladder.world import shards")) != first


def test_a_relative_import_is_refused(copy: Path):
    path = copy / "ladder/world/relative.py"
    path.write_text("from . import scenes\n")
    with pytest.raises(ValueError, match="imports must be absolute"):
        meaning(["ladder.world.relative"], copy)
