"""`ladder fetch data`: the public training sets of the paper, and where they live.

They are hundreds of gigabytes, so nothing is downloaded unless it is asked for outright. Numbers of
samples are those that the paper's sets are published with; what isn't known here is `unknown`:
look at the set's page, its licence above all, before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"
HUB = "https://huggingface.co/datasets"
COLUMNS = ("name", "stage", "samples", "licence", "size")


@dataclass(frozen=True)
class TrainingSet:
    """One set on the Hugging Face hub."""

    repository: str
    stage: str
    """The stage of the ladder that it is for."""
    samples: str
    licence: str = UNKNOWN
    """As the page of the set says."""
    size: str = UNKNOWN
    """Of the download."""

    @property
    def name(self) -> str:
        return self.repository.partition("/")[2]

    @property
    def page(self) -> str:
        return f"{HUB}/{self.repository}"


TRAINING_SETS = (
    TrainingSet("BLIP3o/BLIP3o-Pretrain-Long-Caption", "t2i", "27.2M"),
    TrainingSet("BLIP3o/BLIP3o-Pretrain-Short-Caption", "t2i", "4.8M"),
    TrainingSet("BLIP3o/BLIP3o-Pretrain-JourneyDB", "t2i", "4.3M"),
    TrainingSet("BLIP3o/BLIP3o-60k", "finetune", "60k"),
    TrainingSet("FreedomIntelligence/ShareGPT-4o-Image", "finetune", "45.7k + 46.5k edits"),
    TrainingSet("UCSC-VLAA/GPT-Image-Edit-1.5M", "ti2i", "1.5M"),
    # Licences: the cards of the two sets on the hub, as of November 2024 and of April 2024.
    TrainingSet("TIGER-Lab/OmniEdit-Filtered-1.2M", "ti2i", "1.2M", "MIT"),
    TrainingSet("UCSC-VLAA/HQ-Edit", "ti2i", UNKNOWN, "CC-BY-NC-4.0"),
    TrainingSet("xcpan/MetaQuery_Instruct_2.4M_512res", "ti2i", "2.4M"),
)


def table(sets: tuple[TrainingSet, ...] = TRAINING_SETS) -> str:
    """One row a set, and its page."""
    rows = [COLUMNS, *([getattr(one, column) for column in COLUMNS] for one in sets)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    pages = ["where", *(one.page for one in sets)]
    lines = []
    for row, page in zip(rows, pages, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([*cells, page]))
    return "\n".join(lines)


def find(name: str) -> TrainingSet:
    """The set of that name; raises ValueError with all names where there is none."""
    for one in TRAINING_SETS:
        if name in (one.name, one.repository):
            return one
    names = ", ".join(one.name for one in TRAINING_SETS)
    raise ValueError(f"a training set is one of {names}, got {name}")


def download(one: TrainingSet, folder: Path) -> Path:
    """Bring a whole set into `folder`. It is big."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(one.repository, repo_type="dataset", local_dir=folder))
