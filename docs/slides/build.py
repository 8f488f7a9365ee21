"""The lectures as slides: `make slides`, from the executed notebooks into site/slides.

nbconvert makes them, by the slide types in the metadata of cells. Cells tagged "figure" show what
they draw and not how. reveal.js and MathJax come from packages of docs/requirements.lock and are
copied beside the slides, so that these need no network.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from nbconvert import SlidesExporter
from traitlets.config import Config

HERE = Path(__file__).parent
LECTURES = HERE.parents[1] / "experiments/report/notebooks"
REVEAL, MATHJAX = "sphinx_revealjs/_static/revealjs", "sphinx-mathjax-offline/static/mathjax"


def build(lectures: Sequence[Path], out: Path) -> list[Path]:
    """Write the slides of executed notebooks into `out`; returns their files.

    Raises ModuleNotFoundError where docs/requirements.lock isn't installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("*.map", "*.esm.js", "*.eot")
    shutil.copytree(packaged(REVEAL) / "dist", out / "reveal/dist", ignored, dirs_exist_ok=True)
    shutil.copy(packaged(MATHJAX) / "tex-svg.js", out)
    exporter = SlidesExporter(config=configuration())
    written = []
    for lecture in lectures:
        slides, _ = exporter.from_filename(lecture)
        written.append(out / f"{lecture.stem}.html")
        written[-1].write_text(slides)
    return written


def packaged(path: str) -> Path:
    """A folder inside an installed package, by its path from the package's name on."""
    name, _, inner = path.partition("/")
    return Path(import_module(name).__file__).parent / inner


def configuration() -> Config:
    """The options of nbconvert."""
    return Config(
        SlidesExporter={
            "extra_template_basedirs": [str(HERE)],
            "template_name": "template",
            "reveal_url_prefix": "reveal",
            "reveal_theme": "white",
            "reveal_width": "1280",
            "reveal_height": "760",
            "mathjax_url": "tex-svg.js",
            "exclude_input_prompt": True,
            "exclude_output_prompt": True,
        },
        TagRemovePreprocessor={"enabled": True, "remove_input_tags": {"figure"}},
    )


if __name__ == "__main__":
    for path in build(sorted(LECTURES.glob("0*.ipynb")), Path(sys.argv[1])):
        sys.stdout.write(f"{path}\n")
