"""Pictures as files whose names say how they were drawn, and all of a drawing in one archive."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from ladder import __version__
from ladder.data.images import encode_png
from ladder.playground.drawing import Drawing, Models
from ladder.playground.settings import caption, file_stem, to_query
from ladder.playground.words import notes


@dataclass(frozen=True)
class Files:
    """A drawing as a page shows it."""

    shown: list[tuple[str, str]]
    """Path of each picture and the words beneath it, row by row."""
    columns: int
    caption: str
    notes: str
    link: str
    archive: Path

    @classmethod
    def write(cls, drawing: Drawing, models: Models, folder: Path) -> Files:
        """Write all files of a drawing into `folder`."""
        return cls(
            write_rows(drawing, folder),
            max(len(drawing.rows[0]), min(2, len(drawing.rows))),
            caption(drawing.settings),
            "\n".join(notes(models.pipeline, drawing.settings.prompt)),
            f"?{to_query(drawing.settings)}",
            pack(drawing, models, folder),
        )


def write_rows(drawing: Drawing, folder: Path) -> list[tuple[str, str]]:
    """Write all that is shown into `folder` as PNG; returns each path with the words beneath it."""
    shown = []
    for index, row in enumerate(drawing.rows):
        for kind, picture, words in row:
            path = folder / f"{kind}_{file_stem(drawing.settings, index)}.png"
            path.write_bytes(encode_png(picture))
            shown.append((str(path), words))
    return shown


def pack(drawing: Drawing, models: Models, folder: Path) -> Path:
    """Write the pictures as PNG, and `settings.json`, into a zip file in `folder`; returns it."""
    settings = asdict(drawing.settings) | {"link": f"?{to_query(drawing.settings)}"}
    settings |= {"model": models.name, "ladder": __version__}
    if drawing.references:
        settings["reference"] = drawing.reference_name
    named = {
        f"{kind}-{index}.png": picture
        for kind, pictures in (
            ("source", drawing.sources),
            ("picture", drawing.pictures),
            ("reference", drawing.references),
            ("difference", drawing.differences),
        )
        for index, picture in enumerate(pictures)
    }
    path = folder / f"{file_stem(drawing.settings, 0)}.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, picture in named.items():
            file.writestr(name, encode_png(picture))
        file.writestr("settings.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    return path
