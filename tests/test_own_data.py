"""A person's own photographs, from a folder to a picture drawn by what was trained on them.

The commands are those of README's section "Your own data", word for word, each in a process of its
own, in a place with nothing but the configuration and the shipped models.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.test_end_to_end import configured

ROOT = Path(__file__).parents[1]
SIZES = [(640, 480), (480, 640), (1024, 768), (96, 96)]


def typed() -> list[str]:
    """The commands of the first block of the section."""
    _, section = (ROOT / "README.md").read_text().split("### Your own data\n", 1)
    block = re.search(r"```sh\n(.*?)```", section, re.S).group(1).replace("\\\n", " ")
    lines = [line.partition("  #")[0].strip() for line in block.splitlines()]
    return [line.removeprefix(".venv/bin/") for line in lines if line]


def photographs(folder: Path, count: int = 12) -> None:
    """Smooth JPEGs of four sizes, with their captions."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        name = f"{number:02d}.jpg"
        size = SIZES[number % len(SIZES)]
        small.resize(size, Image.Resampling.BICUBIC).save(folder / name, quality=90)
        rows.append({"file_name": name, "text": f"photograph {number} of a garden in spring"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.slow
def test_the_commands_lead_from_photographs_to_a_picture(tmp_path: Path):
    configured(tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("mllm", "sana"):
        (tmp_path / "models" / name).symlink_to(ROOT / "models" / name)
    photographs(tmp_path / "data/raw/photos")
    commands = typed()
    assert [command.split()[1] for command in commands] == ["curate", "encode", "train", "generate"]
    began = time.monotonic()
    for command in commands:
        words = [sys.executable, "-m", "ladder.cli.main", *shlex.split(command)[1:]]
        ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{command}: {ended.stderr[-3000:]}"
    assert time.monotonic() - began < 300 * 4, "five minutes of two cores that nothing else uses"
    kept = json.loads((tmp_path / "data/curated/manifest.json").read_text())["sets"]["photos"]
    assert kept["train"] + kept["evaluation"] == 12
    (drawn,) = tmp_path.glob("*.png")
    assert Image.open(drawn).size == (96, 96)
    assert Image.open(drawn).getextrema() != ((0, 0),) * 3
