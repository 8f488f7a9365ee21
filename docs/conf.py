"""How the site is built: `make docs`, from docs/ into site/, without a network.

Guides and explanations are Markdown (MyST). Tutorials are the executed notebooks of
experiments/report/notebooks, rendered as they are. The reference of the modules comes from their
docstrings. A warning ends the build.
"""

from __future__ import annotations

project = "ladder"
author = "the ladder authors"
extensions = [
    "myst_nb",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["requirements.lock"]

html_theme = "furo"
html_title = "ladder"
html_static_path = []
html_show_sphinx = False

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
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
default_role = "code"  # docstrings are written in Markdown
