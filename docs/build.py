"""The reference of every module, from its docstrings, into site/: `make docs`.

Nothing is fetched while it is built or read. A warning ends it: of a name that can't be resolved,
or an annotation that can't be read.
"""

from __future__ import annotations

import pkgutil
import warnings
from pathlib import Path

import pdoc

import ladder

ROOT = Path(__file__).parents[1]
SITE = ROOT / "site"
LEFT_OUT = ("ladder.playground.app", "ladder.playground.controls")
"""They need gradio, which has an environment of its own."""


def modules() -> list[str]:
    """The package and what is directly in it; pdoc finds what is in these."""
    return [
        "ladder",
        *(f"ladder.{module.name}" for module in pkgutil.iter_modules(ladder.__path__)),
        *(f"!{module}" for module in LEFT_OUT),
    ]


def build(site: Path) -> None:
    """Write the pages and their search index into `site`."""
    warnings.filterwarnings("error", module="pdoc")
    # What is inherited from others has annotations of theirs; what is private isn't shown.
    others = r"Error parsing type annotation .* for (?:(?!ladder\.)|ladder\..*\._)"
    warnings.filterwarnings("ignore", others, module="pdoc")
    # pdoc looks names up where they stand; this one stands there once it was asked for.
    ladder.LadderPipeline = ladder.LadderPipeline
    pdoc.render.configure(docformat="markdown", show_source=True)
    pdoc.pdoc(*modules(), output_directory=site)


if __name__ == "__main__":
    build(SITE)
