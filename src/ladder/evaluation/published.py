"""The published benchmarks, each from its files to what is drawn, asked and scored.

`ladder fetch benchmark NAME` brings the files. A benchmark's pictures lie in the layout that its
own scripts read (`vlm_judges.layouts`, `vlm_judges.suites`), so that they can be scored there too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from ladder.config.files import read_json
from ladder.data.images import MAXIMUM_PIXELS, decode
from ladder.evaluation.json_files import read_csv, read_json_lines
from ladder.evaluation.scorers.score_file import PICTURES
from ladder.evaluation.vlm_judges import layouts, suites
from ladder.evaluation.vlm_judges.layouts import LENGTHS, Layout

FETCHED = {
    "geneval": Path("prompts/evaluation_metadata.jsonl"),
    "dpg": Path("dpg_bench/dpg_bench.csv"),
    "tiif": Path("data/testmini_eval_prompts"),
    "imgedit": Path("Benchmark/Basic/basic_edit.json"),
}
"""The prompts, questions or edits in what is fetched; the newer suites read several files."""
TOLD = Path("Benchmark/Basic/prompts.json")
"""What ImgEdit tells its judge, in what is fetched."""
EDITS = ("imgedit", "imgedit-uge", "imgedit-multiturn")
"""Benchmarks whose originals come in an archive of their own."""
ORIGINALS = "https://huggingface.co/datasets/sysuyy/ImgEdit/blob/main/Benchmark.tar"


@dataclass(frozen=True)
class BenchmarkFiles:
    """Where the files of a benchmark are; what isn't given is taken from `source`."""

    benchmark: str
    source: Path
    """The folder that is fetched."""
    questions: Path | None = None
    """Prompts, questions or edits; of `imgedit-multiturn` its own file of turns."""
    prompts: Path | None = None
    """What ImgEdit's judge is told."""
    originals: Path | None = None
    """The folder of ImgEdit's unedited pictures."""
    model: str | None = None
    """TIIF-Bench: the folder of the model that drew."""

    @property
    def asked(self) -> Path:
        """The file of prompts, questions or edits.

        Raises FileNotFoundError, saying what fetches it, where there is none, and ValueError for a
        suite that doesn't come with one.
        """
        if self.questions is None and self.benchmark not in FETCHED:
            raise ValueError(f"{self.benchmark} needs --questions FILE")
        path = self.questions or self.source / FETCHED[self.benchmark]
        if not path.exists():
            hint = f"not here (`ladder fetch benchmark {self.benchmark}` brings it)"
            raise FileNotFoundError(2, hint, str(path))
        return path

    @property
    def unedited(self) -> Path:
        """Raises ValueError, saying where they are, if the originals aren't given."""
        if self.originals is None:
            raise ValueError(f"{self.benchmark} needs --originals FOLDER, unpacked of {ORIGINALS}")
        return self.originals

    @property
    def named(self) -> str:
        """Raises ValueError if TIIF-Bench's folder of a model isn't named."""
        if self.model is None:
            raise ValueError("tiif needs --name NAME, the folder of the model that drew")
        return self.model

    def layout(self, images: Path) -> Layout:
        """The items of the benchmark, with pictures in `images`. Raises as the properties do."""
        if self.benchmark == "dpg":
            return layouts.dpg(images, self.asked)
        if self.benchmark == "tiif":
            return layouts.tiif(images, self.asked, self.named)
        if self.benchmark == "imgedit":
            told = self.prompts or self.source / TOLD
            return layouts.imgedit(images, self.asked, told, self.unedited)
        if self.benchmark == "imgedit-uge":
            return suites.uge(images, self.source, self.unedited)
        if self.benchmark == "imgedit-multiturn":
            return suites.multiturn(images, self.source, self.unedited, self.asked)
        return suites.LAYOUTS[self.benchmark](images, self.source)


@dataclass(frozen=True)
class Drawing:
    """A picture that a benchmark wants, or a 2 x 2 grid of four."""

    item: int
    """Pictures of one item are drawn by one process."""
    path: Path
    """In the folder of pictures."""
    text: str
    noise: int = 0
    """The number of the picture among those of its prompt."""
    source: Path | Callable[[], Image.Image] | None = None
    """What is edited: a file, or a picture inside one."""
    grid: bool = False
    after: Path | None = None
    """What is edited: a picture in the folder, that is drawn before."""
    beside: dict[Path, str | Callable[[], Image.Image]] = field(default_factory=dict)
    """Texts and pictures that the layout wants too."""


def drawings(files: BenchmarkFiles) -> list[Drawing]:
    """What a benchmark wants to be drawn, turn by turn. Raises as `BenchmarkFiles` does."""
    found = [*DRAWINGS[files.benchmark](files)]
    if not found:
        raise ValueError(f"{files.benchmark} must want a picture, got none in {files.source}")
    return found


def geneval(files: BenchmarkFiles) -> Iterator[Drawing]:
    for index, row in enumerate(read_json_lines(files.asked)):
        folder = Path(f"{index:05}")
        for number in range(PICTURES):
            yield Drawing(
                index,
                folder / f"samples/{number:04}.png",
                row["prompt"],
                number,
                beside={folder / "metadata.jsonl": json.dumps(row) + "\n"},
            )


def dpg(files: BenchmarkFiles) -> Iterator[Drawing]:
    prompts = {row["item_id"]: row["text"] for row in read_csv(files.asked)}
    for index, (name, text) in enumerate(prompts.items()):
        yield Drawing(index, Path(f"{name}.png"), text, grid=True)


def tiif(files: BenchmarkFiles) -> Iterator[Drawing]:
    """The prompts lie beside the questions, in a folder of another name."""
    folder = files.prompts or files.asked.with_name(files.asked.name.replace("_eval", ""))
    index = 0
    for file in sorted(folder.glob("*.jsonl")):
        for number, row in enumerate(read_json_lines(file)):
            for length in LENGTHS:
                path = Path(row["type"], files.named, f"{length}_description", f"{number}.png")
                yield Drawing(index, path, row[f"{length}_description"])
            index += 1


def imgedit(files: BenchmarkFiles) -> Iterator[Drawing]:
    yield from edits(read_json(files.asked), files.unedited)


def uge(files: BenchmarkFiles) -> Iterator[Drawing]:
    yield from edits(read_json(files.source / "Benchmark/UGE/UGE_edit.json"), files.unedited)


def edits(rows: dict[str, dict[str, str]], originals: Path) -> Iterator[Drawing]:
    for index, (key, edit) in enumerate(rows.items()):
        yield Drawing(index, Path(f"{key}.png"), edit["prompt"], source=originals / edit["id"])


def multiturn(files: BenchmarkFiles) -> Iterator[Drawing]:
    for index, (key, edit) in enumerate(read_json(files.asked).items()):
        turns = [edit[name] for name in sorted(edit) if name.startswith("turn")]
        for turn, text in enumerate(turns, 1):
            before = Path(f"{key}_{turn - 1}.png") if turn > 1 else None
            source = None if before else files.unedited / edit["id"]
            yield Drawing(index, Path(f"{key}_{turn}.png"), text, source=source, after=before)


def gedit(files: BenchmarkFiles, language: str = "en") -> Iterator[Drawing]:
    index = 0
    for file in sorted(files.source.rglob("*.parquet")):
        rows = pq.read_table(file, columns=[*suites.GEDIT_COLUMNS]).to_pylist()
        for place, row in enumerate(rows):
            if row["instruction_language"] != language:
                continue
            folder = Path("fullset", row["task_type"], language)
            original = OriginalInTable(file, place)
            yield Drawing(
                index,
                folder / f"{row['key']}.png",
                row["instruction"],
                source=original,
                beside={folder / f"{row['key']}_SRCIMG.png": original},
            )
            index += 1


@dataclass(frozen=True)
class OriginalInTable:
    """The picture in a row of GEdit-Bench's parquet file, read when it is needed."""

    file: Path
    row: int

    def __call__(self) -> Image.Image:
        column = pq.read_table(self.file, columns=["input_image"])["input_image"]
        return decode(column[self.row].as_py()["bytes"], MAXIMUM_PIXELS)


def wise(files: BenchmarkFiles) -> Iterator[Drawing]:
    rows = suites.wise_rows(files.source, files.benchmark == "wise-verified")
    for index, row in enumerate(rows):
        yield Drawing(index, Path(f"{row['prompt_id']}.png"), row["Prompt"])


def geneval2(files: BenchmarkFiles) -> Iterator[Drawing]:
    for index, row in enumerate(read_json_lines(files.source / "geneval2_data.jsonl")):
        yield Drawing(index, Path(f"{index:05}.png"), row["prompt"])


def longtext(files: BenchmarkFiles) -> Iterator[Drawing]:
    language = files.benchmark.partition("-")[2] or "en"
    for index, row in enumerate(suites.longtext_rows(files.source, language)):
        for number in range(suites.LONGTEXT_PICTURES):
            path = Path(f"{row['prompt_id']:04}_{number + 1}.png")
            yield Drawing(index, path, row["prompt"], number)


def rise(files: BenchmarkFiles) -> Iterator[Drawing]:
    data = files.source / "data"
    row: dict[str, Any]
    for index, row in enumerate(read_json(data / "data_total.json")):
        path = Path("images", row["category"], f"{row['index']}.png")
        yield Drawing(index, path, row["instruction"], source=data / row["image"])


DRAWINGS: dict[str, Callable[[BenchmarkFiles], Iterator[Drawing]]] = {
    "geneval": geneval,
    "dpg": dpg,
    "tiif": tiif,
    "imgedit": imgedit,
    "imgedit-uge": uge,
    "imgedit-multiturn": multiturn,
    "gedit": gedit,
    "wise": wise,
    "wise-verified": wise,
    "geneval2": geneval2,
    "longtext": longtext,
    "longtext-zh": longtext,
    "rise": rise,
}
"""By the names of the benchmarks."""
