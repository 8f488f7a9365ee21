"""The verbs about published checkpoints: bring one in, write it back, compare it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ladder.cli.options import CHECKPOINTS, Json

app = typer.Typer()

Folder = Annotated[Path, typer.Argument(metavar="FOLDER")]
Out = Annotated[Path, typer.Argument(metavar="OUT")]


@app.command(rich_help_panel=CHECKPOINTS)
def import_published(folder: Folder, out: Out) -> None:
    """Bring a published checkpoint into our format."""
    from ladder.inference import published_checkpoint

    print(published_checkpoint.import_published(folder, out))


@app.command(rich_help_panel=CHECKPOINTS)
def export_published(folder: Folder, out: Out) -> None:
    """Write an imported ladder as a published checkpoint again."""
    from ladder.inference import published_checkpoint

    published_checkpoint.export_published(folder, out)
    print(out)


@app.command(rich_help_panel=CHECKPOINTS)
def verify_published(folder: Folder, as_json: Json = False) -> None:
    """Compare ours with a recording of the published code: the relative error of each tensor."""
    from ladder.inference import published_checkpoint

    errors = published_checkpoint.verify_published(folder)
    lines = [f"{name:32}{error:10.1e}" for name, error in errors.items()]
    print(json.dumps(errors) if as_json else "\n".join(lines))
