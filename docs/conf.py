"""How the site is built: `make docs`, from docs/ into site/html, without a network.

Guides and explanations are Markdown (MyST). Tutorials are the executed notebooks of
experiments/report/notebooks, rendered as they are. The reference of the modules comes from their
docstrings, that of the command line from its help. A warning ends the build.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

from sphinx.application import Sphinx

project = "ladder"
extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]

exclude_patterns = ["reference/modules/modules.rst"]  # a list of one package

html_theme = "furo"
html_title = "ladder"
html_show_sphinx = False
html_show_copyright = False

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

apidoc_modules = [
    {
        "path": "../src/ladder",
        "destination": "reference/modules",
        "separate_modules": True,
        "module_first": True,
    }
]
autodoc_mock_imports = ["fastapi", "gradio", "starlette"]  # has an environment of its own
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
suppress_warnings = ["ref.python"]  # annotations name a class by its last name, which two may have
default_role = "code"  # docstrings mark code as Markdown does


def write_command_line(app: Sphinx) -> None:
    """Write reference/cli.md from the help of every verb."""
    page = Path(app.srcdir) / "reference/cli.md"
    command = [sys.executable, "-m", "typer", "ladder.cli.main", "utils", "docs"]
    subprocess.run([*command, "--name", "ladder", "--output", page], check=True)


def keep_columns(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Show paragraphs of a docstring that are indented or set in columns as they stand."""
    paragraphs = "\n".join(lines).split("\n\n")
    for place, paragraph in enumerate(paragraphs):
        in_columns = re.search(r"^ |\S {2,}\S", paragraph, re.MULTILINE)
        if in_columns and not paragraph.startswith("- "):
            paragraphs[place] = ".. code-block:: text\n\n" + indent(paragraph, "    ")
    lines[:] = "\n\n".join(paragraphs).split("\n")


def setup(app: Sphinx) -> None:
    """Called by Sphinx before it reads anything."""
    app.connect("builder-inited", write_command_line)
    app.connect("autodoc-process-docstring", keep_columns)
