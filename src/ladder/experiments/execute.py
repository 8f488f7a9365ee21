"""A notebook executed with parameters, in a process of its own.

`python -m ladder.experiments.execute NOTEBOOK FOLDER PARAMETERS` leaves in FOLDER the executed
notebook and, last of all, result.json with what the notebook shows as JSON in its cell tagged
"result". The same parameters give the same bytes: what differs from run to run (times, names of
cells, progress bars) is taken out.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import papermill
from nbformat import NotebookNode
from papermill.translators import PythonTranslator, papermill_translators

from ladder.config.files import replacing, write_text
from ladder.experiments.notebook import EXECUTED, RESULT, plain

TAG = "result"
JSON = "application/json"


class Translator(PythonTranslator):
    """papermill's, which would turn tuples and NumPy's scalars into strings."""

    @classmethod
    def translate(cls, val: Any) -> str:
        if isinstance(val, np.generic):
            return super().translate(plain(val))
        if isinstance(val, tuple):
            return "(" + "".join(f"{cls.translate(item)}, " for item in val) + ")"
        return super().translate(val)


def execute(notebook: Path, folder: Path, parameters: dict[str, Any]) -> None:
    """Run `notebook` with `parameters` and write EXECUTED and RESULT into `folder`.

    Raises papermill's error, after the notebook as far as it came was written, if a cell fails.
    """
    executed = run(notebook, folder / EXECUTED, parameters)
    text = json.dumps({"parameters": parameters, "values": shown(executed)}, indent=1, default=str)
    write_text(folder / RESULT, f"{text}\n")


def run(notebook: Path, path: Path, parameters: dict[str, Any]) -> NotebookNode:
    """Run `notebook` with `parameters`; what it showed is written to `path`, and returned."""
    papermill_translators.register("python", Translator)
    path.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        str(notebook), str(path), parameters, kernel_name="python3", progress_bar=False,
        log_output=True,
    )  # fmt: skip
    executed = cleaned(nbformat.read(path, as_version=4))
    with replacing(path) as part:
        nbformat.write(executed, part)
    return executed


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what depends on the run."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def shown(notebook: NotebookNode) -> dict[str, Any]:
    """The JSON that the cell tagged "result" shows; nothing, if no cell is tagged so.

    Raises ValueError if that cell shows none.
    """
    tagged = [cell for cell in notebook.cells if TAG in cell.metadata.get("tags", ())]
    for cell in tagged:
        for output in cell.get("outputs", ()):
            if JSON in output.get("data", {}):
                return output["data"][JSON]
    if tagged:
        raise ValueError(f'the cell tagged "{TAG}" must show JSON, it shows none')
    return {}


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(sys.argv[2]), ast.literal_eval(sys.argv[3]))
