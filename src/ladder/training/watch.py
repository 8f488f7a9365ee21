"""The progress of a run, read from the files that its stages write (see stages.py).

Loss, norm and skips come from DVCLive's curves, which have each step at once; how fast it goes from
TensorBoard's events, which have times but come some steps late; how much there is to do from the
checkpoint. It only reads, so it may run beside the training, or elsewhere on the same files.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ladder.config.files import read_json
from ladder.models.load_errors import reading

STAGES = ("t2i", "ti2i", "finetune")
CHECKPOINT, SETTINGS = "last.ckpt", "ladder/training.json"
"""Of a stage that runs, and of one that is done."""
RECENT = 50
"""Steps over which loss, norm and speed are averaged."""
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Progress:
    """Of one stage; what its files don't tell is None."""

    stage: str
    state: Literal["waiting", "starting", "running", "done"]
    """An interrupted stage counts as running: its next run goes on with it. One that starts has
    made no step yet: the first stage reads for its connector warm-up then."""
    step: int = 0
    """Optimizer steps made, the skipped ones included."""
    steps: int | None = None
    losses: Sequence[float] = ()
    """Of each step."""
    norm: float | None = None
    """Of the gradient, the mean of the last steps."""
    skipped: int = 0
    """Steps that weren't taken."""
    speed: float | None = None
    """Samples a second and device."""
    left: float | None = None
    """Seconds."""
    event: str | None = None
    """The last step that wasn't taken, and why."""


def watch(run: Path, every: float, once: bool) -> None:
    """Show the progress of `run` every `every` seconds until it is interrupted, or `once`.

    Where the output is no terminal it is shown once. Raises FileNotFoundError for a folder without
    a stage, and ValueError, which names the file, for one that no training wrote.
    """
    console = Console()
    shown = table(run, look(run))
    if once or not console.is_terminal:
        console.print(shown)
        return
    with suppress(KeyboardInterrupt), Live(shown, console=console, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(table(run, look(run)), refresh=True)


def look(run: Path) -> list[Progress]:
    """The progress of the stages of `run`, in their order.

    What an earlier run left of a stage whose turn has not come yet isn't shown.
    """
    if not any((run / stage).is_dir() for stage in STAGES):
        raise FileNotFoundError(f"a run is a folder with stages ({', '.join(STAGES)}), got {run}")
    found: list[Progress] = []
    for stage in STAGES:
        if found and (found[-1].state != "done" or outdated(run / stage, run / found[-1].stage)):
            found.append(Progress(stage, "waiting"))
        else:
            found.append(look_at(run / stage))
    return found


def outdated(folder: Path, before: Path) -> bool:
    """Whether a stage was done before the stage that it goes on from."""
    mine, theirs = folder / SETTINGS, before / SETTINGS
    both = mine.exists() and theirs.exists() and not (folder / CHECKPOINT).exists()
    return both and mine.stat().st_mtime < theirs.stat().st_mtime


def look_at(folder: Path) -> Progress:
    """The progress of the stage in `folder`."""
    if not (folder / "dvclive").is_dir():
        return Progress(folder.name, "starting" if folder.is_dir() else "waiting")
    settings = settings_of(folder)
    running = (folder / CHECKPOINT).exists()
    losses, norms, skips = (curve(folder, name) for name in ("loss", "norm", "skipped"))
    step = max((*losses, *norms, *skips), default=-1) + 1
    steps = settings.get("steps") if running or settings else step
    pace = steps_a_second(folder / "tensorboard") if running else None
    return Progress(
        folder.name,
        "running" if running else "done",
        step,
        steps,
        [*losses.values()],
        fmean([*norms.values()][-RECENT:]) if norms else None,
        sum(value > 0 for value in skips.values()),
        pace * settings["batch"] if pace and settings else None,
        (steps - step) / pace if pace and steps is not None else None,
        last_event(folder / "events.jsonl"),
    )


def settings_of(folder: Path) -> dict[str, int]:
    """Steps and batch of the stage in `folder`; empty where neither file is there to tell."""
    for path in (folder / CHECKPOINT, folder / SETTINGS):
        if path.exists():
            with reading(path, "a file of a training"):
                stage = read_settings(path, path.stat().st_mtime_ns)["stages"][folder.name]
                return {name: int(stage[name]) for name in ("steps", "batch")}
    return {}


@lru_cache(maxsize=8)
def read_settings(path: Path, written: int) -> dict[str, Any]:
    """The configuration in a file that was `written` then; read again only when it changes."""
    if path.suffix == ".json":
        return read_json(path)
    import torch

    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["config"]


def curve(folder: Path, name: str) -> dict[int, float]:
    """A curve of DVCLive by its steps; a row that is just being written is left out."""
    path = folder / f"dvclive/plots/metrics/{name}.tsv"
    if not path.exists():
        return {}
    with reading(path, "a curve of a training"):
        whole, _, _ = path.read_text().rpartition("\n")
        header, *rows = (line.split("\t") for line in whole.split("\n"))
        if header == [""]:
            return {}
        step, value = header.index("step"), header.index(name)
        return {int(row[step]): float(row[value]) for row in rows}


def steps_a_second(folder: Path) -> float | None:
    """The mean over the last steps in TensorBoard's newest file, which starts when a stage is
    started or resumed."""
    files = sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime)
    if not files:
        return None
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    try:
        events = [*EventFileLoader(str(files[-1])).Load()]
    except DecodeError as error:
        raise ValueError(f"{files[-1]}: not events of a training: {error}") from error
    times = {event.step: event.wall_time for event in events if event.HasField("summary")}
    recent = sorted(times.items())[-RECENT:]
    if len(recent) < 2:
        return None
    (first, began), (last, ended) = recent[0], recent[-1]
    return (last - first) / (ended - began) if ended > began else None


def last_event(path: Path) -> str | None:
    """What the monitor said of the last step that it didn't let pass."""
    if not path.exists():
        return None
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
    if not lines:
        return None
    with reading(path, "a list of a training's events"):
        event = json.loads(lines[-1])
        return f"step {event['step']}: {event['reason']}; {event['verdict']}"


# ---- on the terminal ----


def table(run: Path, stages: Sequence[Progress]) -> Table:
    """A row for each stage, and a line for the last event of each."""
    events = [f"{one.stage}, {one.event}" for one in stages if one.event]
    shown = Table(title=str(run), caption="\n".join(events) or None, box=None, title_justify="left")
    for name in ("stage", "step", "loss", "so far", "norm", "skipped", "samples/s", "left"):
        left = name in ("stage", "so far")
        shown.add_column(name, justify="left" if left else "right", no_wrap=True)
    for one in stages:
        if one.state in ("waiting", "starting"):
            shown.add_row(one.stage, *[""] * 6, one.state)
            continue
        shown.add_row(
            one.stage,
            f"{one.step}/{'?' if one.steps is None else one.steps}",
            number(fmean(one.losses[-RECENT:]) if one.losses else None),
            sparkline(one.losses),
            number(one.norm),
            str(one.skipped),
            number(one.speed, 1),
            duration(one.left) if one.state == "running" else one.state,
        )
    return shown


def number(value: float | None, digits: int = 3) -> str:
    """With that many digits after the point; empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """As h:mm:ss; empty for None."""
    if seconds is None:
        return ""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def sparkline(values: Sequence[float], width: int = 14) -> str:
    """The means of `width` stretches of a curve, as bars between its lowest and highest.

    What isn't finite is left out.
    """
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return ""
    width = min(width, len(values))
    edges = [len(values) * index // width for index in range(width + 1)]
    means = [fmean(values[start:end]) for start, end in pairwise(edges)]
    low, extent = min(means), max(means) - min(means)
    return "".join(BARS[round((mean - low) / extent * 7) if extent else 0] for mean in means)
