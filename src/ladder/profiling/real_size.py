"""`make real-size`: every verb at the published size, on random weights, beside its plan.

Folders of models are made (`ladder.profiling.random_folders`), and photographs cut; then the verbs
run one after the other, each as a process of its own, as a person types them: pictures are curated
and encoded, each stage takes a step, one of them is killed and goes on, pictures are drawn and
edited, a question is answered, a published checkpoint comes in and goes out again. Of each process
the seconds and the most memory that it had at once (its resident pages, as the kernel counts them)
are written beside what `ladder.profiling.memory` says before.

Nothing here changes how a verb works: at this size weights are tuned by LoRA, because all of them
with their gradients and moments would take more than 24 GB (`ladder plan` says how much).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from torch import Tensor

from ladder.config.load import load
from ladder.profiling.memory import (
    CAPTION,
    LIBRARIES,
    Need,
    StageNeed,
    stage_needs,
    verb_needs,
)
from ladder.profiling.plan import MetaModels, edits, flops
from ladder.profiling.random_folders import write_generator, write_mllm, write_published
from ladder.profiling.random_models import SIZES, SizeName

STEPS = 2
"""Of the solver."""
TOKENS = 5
"""Of an answer."""
LORA_RANK = 16
INSTRUCTION = "turn the picture into a black and white photograph"
QUESTION = "What is to be seen in this photograph?"
COMMAND = (sys.executable, "-m", "ladder.cli.main")
POLL = 0.05
"""Seconds between two looks at whether a checkpoint was written."""
GB = 1e9
Found = TypeVar("Found")
LEFT = ("data", "runs", "published", "imported", "exported", "models/ladder")
"""What an earlier run leaves."""
COPIED = ("experiments/arms", "experiments/profiles")


@dataclass(frozen=True)
class Ended:
    """What a process took."""

    seconds: float
    bytes: int
    """The most that it had in memory at once."""
    code: int


def settings(threads: int, strategy: str = "auto", devices: int = 1) -> list[str]:
    """What is changed of the profile `paper`: one process, small batches, LoRA, a step a stage.

    A step of one sample has room for one set.
    """
    own = [
        f"threads={threads}", f"cluster.strategy={strategy}", f"cluster.devices={devices}",
        "cluster.workers=0", "stages.finetune.mixture={finetune_ti2i: 1.0}",
        "curation.workers=0", "curation.evaluation_share=0.0", "curation.duplicates=false",
        "training.validation.every=0",
        "encoding.workers=0", "encoding.batch=1",
        "foundations.mllm=models/mllm", "foundations.generator=models/sana",
        f"model.lora_rank={LORA_RANK}",
    ]  # fmt: skip
    for stage, steps in (("t2i", 2), ("ti2i", 1), ("finetune", 1)):
        chosen = {"steps": steps, "batch": 1, "warmup": 0, "checkpoint_every": 1}
        own += [f"stages.{stage}.{key}={value}" for key, value in chosen.items()]
    return own


def real_size(
    name: SizeName, place: Path, repository: Path, threads: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run it with models of a size of SIZES in the folder `place`, which keeps these for another
    run; returns what was found, for JSON.

    `say` gets a line for each verb. Raises ChildProcessError for a verb that fails.
    """
    begun, size = time.monotonic(), SIZES[name]
    prepare(name, place, repository)
    own = settings(threads)
    run = Runner(place, say, *apart_from(planned, place, own))
    full = ["--profile", "paper", *own]
    ladder = ["--model", "models/ladder", "--dtype", "bfloat16"]
    run("curate", ["curate", *full])
    run("encode", ["encode", *full])
    checkpoint = place / "runs/ladder-0/t2i/last.ckpt"
    run("train t2i", ["train", "t2i", *full], written_twice(checkpoint), checkpoint)
    run("resume t2i", ["train", "t2i", *full])
    run("train ti2i", ["train", "ti2i", *full])
    shutil.rmtree(place / "runs/ladder-0/t2i/ladder/generator")
    run("train finetune", ["train", "finetune", *full, "--export", "models/ladder"])
    shutil.rmtree(place / "runs")
    photograph = "data/raw/t2i/0.jpg"
    how = ["--steps", str(STEPS), "--guidance", "4.5", *ladder]
    run("generate", ["generate", "a palace by a lake", *how, "-o", "drawn.png"])
    run("edit", ["edit", photograph, INSTRUCTION, *how, "-o", "edited.png"])
    run("ask", ["ask", photograph, QUESTION, "--tokens", str(TOKENS), *ladder])
    for picture in ("drawn.png", "edited.png"):
        assert Image.open(place / picture).size == (size.side, size.side), picture
    shutil.rmtree(place / "models/ladder")
    models = (place / "models/mllm", place / "models/sana")
    apart_from(write_published, place / "published", *models, size.queries)
    run("import", ["import-published", "published", "imported"])
    run("export", ["export-published", "imported/ladder", "exported"])
    require_equal(place / "published/checkpoint", place / "exported")
    return {
        "date": date.today().isoformat(),
        "machine": machine(threads),
        "size": name,
        "seconds": round(time.monotonic() - begun),
        "steps": run.found,
    }


def apart_from(run: Callable[..., Found], *words: object) -> Found:
    """What `run` returns, called in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(run, words)


def planned(place: Path, own: Sequence[str]) -> tuple[dict[str, Need], dict[str, float]]:
    """What each verb will need of memory, and the FLOP of a step of each stage."""
    os.chdir(place)
    config = load("paper", arguments=own)
    stages = stage_needs(config, CAPTION, device="cpu")
    found = {"curate": Need({"libraries": LIBRARIES["curate"]})}
    found |= verb_needs(config, torch.bfloat16, TOKENS)
    found |= {f"train {name}": need for name, need in stages.items()}
    models = MetaModels(config)
    flop = {
        f"train {name}": flops(models, CAPTION, True, edits(getattr(config.stages, name))).total
        for name in stages
    }
    found |= {"resume t2i": stages["t2i"].resumed, "train finetune": stages["finetune"].exported}
    return found, flop


def prepare(name: SizeName, place: Path, repository: Path) -> None:
    """Make `place` a repository with models of a size and raw pictures, and nothing else.

    Models are made by a process of its own, so that this one stays small beside those that are
    measured.
    """
    for part in (*LEFT, *COPIED):
        shutil.rmtree(place / part, ignore_errors=True)
    for part in COPIED:
        shutil.copytree(repository / part, place / part)
    shutil.copy(repository / "params.yaml", place)
    apart_from(write_inputs, name, place, repository / "models/mllm")


def write_inputs(name: SizeName, place: Path, words: Path) -> None:
    """Models, unless an earlier run has left them, and raw pictures.

    `words` is the folder of the tokenizer.
    """
    size = SIZES[name]
    if not (place / "models/sana/model_index.json").is_file():
        shutil.rmtree(place / "models", ignore_errors=True)
        write_mllm(size, place / "models/mllm", words)
        write_generator(size, place / "models/sana")
    write_pictures(place / "data/raw", photographs(size.side))


class Runner:
    """Runs verbs in `place`, and keeps what each took beside what was planned for it."""

    def __init__(
        self,
        place: Path,
        say: Callable[[str], None],
        planned: dict[str, Need] | None = None,
        flop: dict[str, float] | None = None,
    ) -> None:
        """`flop`: of a step of those verbs that take one."""
        self.place, self.say = place, say
        self.planned, self.flop = planned or {}, flop or {}
        self.found: dict[str, dict[str, Any]] = {}

    def __call__(
        self,
        name: str,
        words: Sequence[str],
        killing: Callable[[], bool] | None = None,
        written: Path | None = None,
    ) -> None:
        """`written` is the checkpoint that it leaves. Raises ChildProcessError if the process
        fails, or isn't killed where it should be."""
        log = self.place / f"{name.replace(' ', '-')}.log"
        ended, killed = process(words, self.place, log, killing)
        if killed != (killing is not None) or (ended.code and not killed):
            raise ChildProcessError(
                f"`ladder {words[0]}` must end with code 0, got {ended.code}; {log} says why: "
                f"{log.read_text()[-500:]}"
            )
        row: dict[str, Any] = {"measured_bytes": ended.bytes, "seconds": round(ended.seconds, 1)}
        if need := self.planned.get(name):
            row |= {"planned_bytes": need.bytes, "largest": need.largest}
            if isinstance(need, StageNeed) and written is not None:
                row |= {"planned_file": need.checkpoint, "measured_file": written.stat().st_size}
            if flop := self.flop.get(name):
                row |= {"flop": flop}
        self.found[name] = row
        self.say(line(name, row))


def process(
    words: Sequence[str], place: Path, log: Path, killing: Callable[[], bool] | None
) -> tuple[Ended, bool]:
    """Run `ladder WORDS` in a folder to its end, or until `killing` says so; what it took, and
    whether it was killed."""
    begun, killed, most = time.monotonic(), False, 0
    with log.open("w") as file:
        started = subprocess.Popen([*COMMAND, *words], cwd=place, stdout=file, stderr=file)
        while started.poll() is None:
            most = max(most, peak(started.pid))
            if killing is not None and killing():
                started.kill()
                killed = True
            time.sleep(POLL)
    return Ended(time.monotonic() - begun, most, started.returncode), killed


def peak(process: int) -> int:
    """The most bytes that a process has had in memory so far; 0 of one that has ended.

    Not by getrusage, which counts what this process had when it began the other one.
    """
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def written_twice(checkpoint: Path) -> Callable[[], bool]:
    """Whether `checkpoint` was written at the start and again after a step."""
    seen: set[int] = set()

    def twice() -> bool:
        if checkpoint.is_file():
            seen.add(checkpoint.stat().st_mtime_ns)
        return len(seen) == 2

    return twice


def photographs(side: int) -> list[Image.Image]:
    """Eight, cut from the two that come with scikit-learn."""
    from sklearn.datasets import load_sample_images

    found = []
    for pixels in load_sample_images().images:
        whole = Image.fromarray(pixels)
        width, height = whole.size
        for left in (0, width - height):
            part = whole.crop((left, 0, left + height, height)).resize((side, side))
            found += [part, ImageOps.mirror(part)]
    return found


def write_pictures(raw: Path, pictures: Sequence[Image.Image]) -> None:
    """Sets of the three stages: half of the pictures with captions, half with an edit of each."""
    waiting = iter(pictures)
    each = len(pictures) // 4
    for name in ("t2i", "finetune_t2i"):
        (raw / name).mkdir(parents=True)
        for number, picture in enumerate(islice(waiting, each)):
            picture.save(raw / name / f"{number}.jpg", quality=95)
            (raw / name / f"{number}.txt").write_text(f"photograph number {number} of a journey")
    for name in ("ti2i", "finetune_ti2i"):
        (raw / name).mkdir(parents=True)
        rows = []
        for number, picture in enumerate(islice(waiting, each)):
            files = [f"{number}-before.jpg", f"{number}-after.jpg"]
            picture.save(raw / name / files[0], quality=95)
            ImageOps.grayscale(picture).convert("RGB").save(raw / name / files[1], quality=95)
            row = {"input_prompt": f"{INSTRUCTION}, number {number}", "input_image": files[:1]}
            rows.append(row | {"output_image": files[1]})
        (raw / name / "text_and_image_to_image.json").write_text(json.dumps(rows))


def require_equal(before: Path, after: Path) -> None:
    """Raises ValueError unless two checkpoints hold the same weights, bit for bit."""
    places = [
        {name: path for path in folder.glob("*.safetensors") for name in names(path)}
        for folder in (before, after)
    ]
    if places[0].keys() != places[1].keys():
        raise ValueError(f"keys must be equal, got others in {before} and {after}")
    for name in places[0]:
        first, second = (tensor(found[name], name) for found in places)
        if first.dtype != second.dtype or not first.equal(second):
            raise ValueError(f"weights must be equal, {name} differs in {before} and {after}")


def names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return [*file.keys()]


def tensor(path: Path, name: str) -> Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def machine(threads: int) -> str:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    return f"{platform.machine()}, {os.cpu_count()} cores, {memory:.1f} GB, {threads} threads"


HEADER = f"{'verb':15}{'planned':>12}{'measured':>12}{'':9}{'time':>10}   most of it"


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table."""
    measured, seconds = row["measured_bytes"] / GB, row["seconds"]
    if "planned_bytes" not in row:
        return f"{name:15}{'':12}{measured:9.2f} GB{'':9}{seconds:8.1f} s"
    planned = row["planned_bytes"] / GB
    more = f", {row['flop'] / 1e12:.1f} TFLOP a step" if "flop" in row else ""
    if "planned_file" in row:
        more += f", checkpoint {row['planned_file'] / GB:.2f} GB planned, "
        more += f"{row['measured_file'] / GB:.2f} GB measured"
    return (
        f"{name:15}{planned:9.2f} GB{measured:9.2f} GB ({planned / measured - 1:+6.1%})"
        f"{seconds:8.1f} s   {row['largest']}{more}"
    )
