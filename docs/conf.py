"""How the site is built: `make docs`, from docs/ into site/, without a network.

Guides and explanations are Markdown (MyST). Tutorials are the executed notebooks of
experiments/report/notebooks, rendered as they are. The reference of the modules comes from their
docstrings, that of the command line from its help. A warning ends the build.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

project = "ladder"
author = "the ladder authors"
extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]

html_theme = "furo"
html_title = "ladder"
html_show_sphinx = False

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
autodoc_mock_imports = ["gradio"]  # has an environment of its own
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
default_role = "code"  # docstrings mark code as Markdown does


def write_command_line(app: Sphinx) -> None:
    """Write reference/cli.md from the help of every verb."""
    page = Path(app.srcdir) / "reference/cli.md"
    command = [sys.executable, "-m", "typer", "ladder.cli.main", "utils", "docs"]
    subprocess.run([*command, "--name", "ladder", "--output", page], check=True)


def setup(app: Sphinx) -> None:
    """Called by Sphinx before it reads anything."""
    app.connect("builder-inited", write_command_line)
