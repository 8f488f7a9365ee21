"""All that is kept is written by `ladder.config.files`: beside its place, and then renamed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/ladder"
ITSELF = -1
WRITERS = {
    "write_text": ITSELF, "write_bytes": ITSELF, "open": ITSELF, "to_csv": 0, "to_parquet": 0,
    "save": 0, "savefig": 0, "save_pretrained": 0, "save_config": 0, "save_to_disk": 0,
    "write_to_directory": 0, "tofile": 0, "save_file": 1, "write_table": 1, "copy": 1,
    "copyfile": 1, "copy2": 1, "copytree": 1, "move": 1, "TarWriter": 0, "ParquetWriter": 0,
    "ArrowWriter": 0,
}  # fmt: skip
"""What writes a file or a folder: a method of its path, or a call with its path at a place."""
OURS = ("write_text", "write_table", "save", "copy")
"""Functions of ours of those names, and `copy` of objects; methods of those names write."""
GIVEN = "a folder that is given, as by `replacing_folder`"
ALLOWED = {
    "evaluation/run.py: benchmark.save": "writes nothing itself",
    "models/ladder.py: self.generator.save_config": GIVEN,
    "config/lock.py: path.open": "the text of a lock, which is held",
    "training/checkpoints.py: torch.save": "Checkpoints.write renames it",
    "training/monitor.py: self.events.open": "adds a line; half a line is cut off",
    "training/faults.py: self.record.open": "adds a line; half a line is cut off",
    "evaluation/vlm_judges/observe.py: rows_file(output).open": "adds rows; half a row is cut off",
    "evaluation/vlm_judges/observe.py: path.open": "cuts half a row off",
    "evaluation/vlm_judges/observe_geneval.py: output.open": "adds rows; half a row is cut off",
    "experiments/runner.py: (folder / LOG).open": "a log of a process, as it speaks",
    "data/curation/chunks.py: (listed.folder / f'{number:05d}.pickle').write_bytes":
        "in a folder without done.pickle, which comes last",
    "data/curation/near.py: (self.folder / name).open": "a working folder of one comparison",
    "data/curation/near.py: first_of_equals(kind, of).tofile": "a working folder of one comparison",
    "data/training/encode_chunk.py: (unfinished / PARTS).write_text": "in a folder that is renamed",
    "data/training/encoded.py: DatasetInfo(features=features).write_to_directory":
        "in a folder that is renamed",
    "models/ladder.py: (folder / CONFIG).write_text": GIVEN,
    "models/ladder.py: save_file": GIVEN,
    "models/lora.py: kept.save_pretrained": GIVEN,
    "models/lora.py: save_file": GIVEN,
    "playground/files.py: path.write_bytes": "in a folder of one drawing, which is removed",
    "playground/inside.py: path.write_bytes": "in a folder of one drawing, which is removed",
}  # fmt: skip
"""What is written otherwise, and why it may be."""
MADE_UP = "profiling"
"""The room that writes what is made up for a measurement, and removed."""
UNFINISHED = {"part", "file", "buffer"}
"""Names of unfinished files, and of what was opened before or is in memory."""


def writes(path: Path) -> Iterator[str]:
    """The calls in a module that write, but for those to an unfinished file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and (target := target_of(node)) is not None:
            names = {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
            if not names & UNFINISHED:
                yield ast.unparse(node.func)


def target_of(call: ast.Call) -> ast.expr | None:
    """What a call writes to, or None for one that doesn't."""
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    if name not in WRITERS or (name in OURS and not method):
        return None
    place = WRITERS[name]
    if name == "open":
        words = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
        modes = [str(one.value) for one in words if isinstance(one, ast.Constant)]
        if not any(mode[:1] in ("w", "a", "x") or "+" in mode for mode in modes if mode):
            return None
        if not method or ast.unparse(call.func.value) in ("tarfile", "gzip"):
            place = 0
    if place == ITSELF:
        return call.func.value
    return call.args[place] if len(call.args) > place else None


def test_nothing_is_written_in_its_place():
    found = {
        f"{path.relative_to(SOURCE)}: {call}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.parent.name != MADE_UP
        for call in writes(path)
    }
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set()


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text(text)", "(folder / name).write_bytes(b'')", "path.open('w')",
        "open(path, mode='wb')", "table.to_parquet(path)", "figure.savefig(folder / name)",
        "Image.save(path)", "save_file({}, path)",
    ],
)  # fmt: skip
def test_it_would_be_found(line: str, tmp_path: Path):
    (tmp_path / "module.py").write_text(line)
    assert len([*writes(tmp_path / "module.py")]) == 1
