"""Captions that a published test would ask for: same prompt, same template, nearly the same words.

A model that was trained on a benchmark's prompts scores better there than elsewhere. Three tiers,
each with those before it: `exact` (the prompt itself, whatever its case, spaces and full stop),
`template` (a sentence that GenEval's template could have made), `fuzzy` (words alike).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rapidfuzz import fuzz, process

from ladder.world.caption_templates import follows_geneval

TIERS = ("exact", "template", "fuzzy")
FIELDS = ("prompt", "short_description", "long_description")
"""What the prompts are called in the lists of GenEval and DPG-Bench, and of TIIF-Bench."""


@dataclass(frozen=True)
class Match:
    """The benchmark whose prompt a caption is, and by which tier it was found."""

    benchmark: str
    tier: str


@dataclass(frozen=True)
class Finder:
    """Finds captions of benchmarks, up to and including `tier`."""

    tier: str
    prompts: dict[str, str]
    """Benchmark by normalised prompt."""
    similarity: float
    """From which on a caption is nearly a prompt: rapidfuzz's ratio, 0 to 100."""

    def find(self, captions: Iterable[str]) -> Match | None:
        """The first match of any of a sample's captions, by the first tier that has one."""
        plain = [normalised(caption) for caption in captions]
        for tier in TIERS[: TIERS.index(self.tier) + 1]:
            for caption in plain:
                if benchmark := getattr(self, f"_{tier}")(caption):
                    return Match(benchmark, tier)
        return None

    def _exact(self, caption: str) -> str | None:
        return self.prompts.get(caption)

    def _template(self, caption: str) -> str | None:
        return "geneval" if follows_geneval(caption) else None

    def _fuzzy(self, caption: str) -> str | None:
        found = process.extractOne(
            caption, self.prompts.keys(), scorer=fuzz.ratio, score_cutoff=self.similarity
        )
        return self.prompts[found[0]] if found else None


def normalised(prompt: str) -> str:
    """Lower case, single spaces, compatible characters, no punctuation at the end."""
    plain = unicodedata.normalize("NFKC", prompt).casefold()
    return " ".join(plain.split()).rstrip(".!?, ")


def read_prompts(folder: Path) -> dict[str, str]:
    """Benchmark by normalised prompt, of the lists `BENCHMARK*.jsonl` in `folder`.

    A benchmark is named by what comes before the first `_` or `.` of its file. Rows hold one or
    more of FIELDS. Errors: no lists; a row that is no JSON object or has none of the fields.
    """
    lists = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if not lists:
        rule = "curation.decontaminate needs the benchmarks' prompts as BENCHMARK*.jsonl"
        raise ValueError(f"{rule} in curation.prompts, but {folder} has none")
    prompts: dict[str, str] = {}
    for path in lists:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            row = _row(line)
            found = [row[name] for name in FIELDS if isinstance(row.get(name), str)]
            if not found:
                rule = f"a row must be a JSON object with one of {', '.join(FIELDS)}"
                raise ValueError(f"{path}, line {number}: {rule}, the row has {sorted(row)}")
            for prompt in found:
                prompts.setdefault(normalised(prompt), path.stem.split("_")[0])
    return prompts


def _row(line: bytes) -> dict:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
