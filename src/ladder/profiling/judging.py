"""What it costs to put questions about pictures to a judge: CPU time and bytes, to a local server.

ladder bench judge 300    300 pictures of 1,024 pixels with seven questions each, both ways

DPG-Bench has about 28,000 questions. The plain way encodes a picture as PNG for every question, and
once more to estimate the cost; ours encodes it once, as JPEG, and estimates from the file's header.
The server runs in a process of its own, counts what comes, and answers at once.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from ladder.evaluation.scorers.judge_text import yes_or_no
from ladder.evaluation.vlm_judges import JudgeQuestion
from ladder.evaluation.vlm_judges.layouts import YES_OR_NO, Item, Layout, write_items
from ladder.evaluation.vlm_judges.observe import observe
from ladder.evaluation.vlm_judges.openai import Endpoint
from ladder.evaluation.vlm_judges.pictures import JudgePicture, PictureEncoding

SIDE, QUESTIONS = 1024, 7
"""Pixels of a picture, and questions about it; DPG-Bench has 6.6 on average."""
DPG_CALLS = 28_000
FILES = 32
"""Different pictures; they are asked about again and again, in other words."""


def judging(sizes: list[int] | None) -> list[dict[str, float]]:
    """CPU seconds and megabytes of asking about `sizes` pictures, both ways, and for DPG-Bench."""
    measured = []
    for size in sizes or [300]:
        calls = size * QUESTIONS
        row: dict[str, float] = {"calls": calls}
        with tempfile.TemporaryDirectory() as name:
            items = _items(Path(name), size)
            for way, ask in (("ours", _ours), ("plain", _plainly)):
                seconds, taken, sent = _measured(ask, items, Path(name) / way)
                row |= {f"{way} CPU s": seconds, f"{way} s": taken, f"{way} MB": sent / 1e6}
                row |= {f"{way} CPU s of DPG": seconds * DPG_CALLS / calls,
                        f"{way} GB of DPG": sent * DPG_CALLS / calls / 1e9}  # fmt: skip
        measured.append(row)
    return measured


def _ours(items: list[Item], url: str, out: Path) -> None:
    """As `ladder observe` does, with its estimate."""
    judge = Endpoint(url, "toy", out / "answers", prompt=YES_OR_NO)
    judge.estimate(question for item in items for question in item.questions)
    observe(Layout("dpg", items, write_items, YES_OR_NO), judge, out / "seen.json")


def _plainly(items: list[Item], url: str, out: Path) -> None:
    """Every question by itself, with a picture of its own; another one for the estimate."""
    encoding = PictureEncoding("png")
    judge = Endpoint(url, "toy", out / "answers", prompt=YES_OR_NO, encoding=encoding)
    for question in (question for item in items for question in item.questions):
        encoding.url(question.pictures[0])
        judge.answer([question])


def _measured(
    ask: Callable[[list[Item], str, Path], None], items: list[Item], out: Path
) -> tuple[float, float, int]:
    """Seconds of this process's CPU and by the clock, and the bytes that the server got."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,))
    server.start()
    try:
        port = ours.recv()
        spent, begun = time.process_time(), time.perf_counter()
        ask(items, f"http://127.0.0.1:{port}/v1", out)
        spent, taken = time.process_time() - spent, time.perf_counter() - begun
        ours.send(None)
        return spent, taken, ours.recv()
    finally:
        server.terminate()
        server.join()


def _serve(pipe: Connection) -> None:
    """Answer every question with yes, until the pipe asks how many bytes came."""
    sizes: list[int] = []
    choice = {"message": {"content": "Yes"}, "finish_reason": "stop"}
    content = json.dumps({"model": "toy", "choices": [choice]}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sizes.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_port)
        server.timeout = 0.05
        while not pipe.poll():
            server.handle_request()
        pipe.recv()
        pipe.send(sum(sizes))


def _items(folder: Path, count: int) -> list[Item]:
    """Pictures, smooth with a little noise, about as hard to encode as photographs."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(min(count, FILES)):
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        pixels = (smooth + rng.normal(0, 6, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
        files.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    items = []
    for number in range(count):
        file = files[number % len(files)]
        asked = tuple(
            JudgeQuestion((JudgePicture(file),), f"Is it {number}, {place}?", yes_or_no)
            for place in range(QUESTIONS)
        )
        items.append(Item(str(number), (file,), asked, {}))
    return items
