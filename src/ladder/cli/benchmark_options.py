"""What the verbs about benchmarks take: the benchmark and its files, how one draws, and a judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

Fetched = Literal[
    "geneval", "dpg", "tiif", "imgedit", "imgedit-uge", "gedit", "wise", "wise-verified",
    "geneval2", "longtext", "longtext-zh", "rise",
]  # fmt: skip
Benchmark = Literal[
    "geneval", "dpg", "tiif", "imgedit", "imgedit-uge", "imgedit-multiturn", "gedit", "wise",
    "wise-verified", "geneval2", "longtext", "longtext-zh", "rise",
]  # fmt: skip
Toy = Literal["geneval", "dpg", "tiif", "imgedit", "geneval2", "wise"]
"""Those that the toy world has a counterpart of."""

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Where, instead of in the cache."),
]
Source = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="What was fetched, if it isn't in the cache."),
]
Questions = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Prompts, questions (tiif: a file or folder) or edits, instead of those fetched.",
    ),
]
JudgePrompts = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="imgedit: what the judge is told, instead of that fetched."),
]
Originals = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="imgedit and its suites: unedited pictures.")
]
Name = Annotated[
    str | None,
    typer.Option(help="Of the model that draws; tiif: the folder of its pictures."),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Only the first so many items of the benchmark.")
]
Steps = Annotated[int, typer.Option(min=1, help="Of the solver.")]
Guidance = Annotated[float, typer.Option(min=0, max=1000, help="Towards the text.")]
ImageGuidance = Annotated[float, typer.Option(min=0, max=1000, help="Towards the sources.")]
Batch = Annotated[int, typer.Option(min=1, help="Pictures that are drawn at once.")]

JudgeName = Literal["oracle", "qwen2.5-vl", "blip-vqa", "endpoint", "mask2former+clip"]
DETECTOR = "mask2former+clip"
ENDPOINT = "Endpoint"
"""The section of a verb's help about a judge behind an address."""

Partial = Annotated[bool, typer.Option("--partial", help="Go on without missing pictures.")]
Retry = Annotated[
    Literal["failed"] | None,
    typer.Option(help="Ask those questions again whose answers failed before."),
]
JudgeOption = Annotated[JudgeName, typer.Option("--judge")]
JudgeModel = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The judge's model: a name, a folder or a hub id."),
]
Clip = Annotated[
    str | None, typer.Option(metavar="NAME", help="geneval: the folder or hub id of CLIP.")
]
Url = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=ENDPOINT,
        help="An OpenAI-compatible server, up to /v1. The key is read from $LADDER_JUDGE_KEY or "
        "$OPENAI_API_KEY.",
    ),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", rich_help_panel=ENDPOINT, help="Send, after the estimate of the cost."),
]
Price = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="IN OUT", rich_help_panel=ENDPOINT, help="Of a million tokens."),
]
Temperature = Annotated[float, typer.Option(min=0, rich_help_panel=ENDPOINT, help="Of answers.")]
Tries = Annotated[
    int, typer.Option(min=1, rich_help_panel=ENDPOINT, help="While the server is busy.")
]
Jobs = Annotated[
    int, typer.Option(min=1, rich_help_panel=ENDPOINT, help="Questions under way at a time.")
]
Timeout = Annotated[
    float, typer.Option(min=0.01, rich_help_panel=ENDPOINT, help="Seconds of a whole answer.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option(min=1, rich_help_panel=ENDPOINT, help="Of an answer; else the benchmark's."),
]
TokenLimit = Annotated[
    Literal["max_completion_tokens", "max_tokens"],
    typer.Option(rich_help_panel=ENDPOINT, help="What the server calls that number."),
]
ImageFormat = Annotated[
    Literal["jpeg", "png"], typer.Option(rich_help_panel=ENDPOINT, help="Of pictures as sent.")
]
ImageQuality = Annotated[
    int, typer.Option(min=1, max=100, rich_help_panel=ENDPOINT, help="Of JPEG.")
]
LongestSide = Annotated[
    int,
    typer.Option(min=1, rich_help_panel=ENDPOINT, help="Pixels of the longer side as sent."),
]


@dataclass(frozen=True)
class EndpointOptions:
    """What the command line says of a judge behind an address."""

    url: str | None
    temperature: float
    tries: int
    jobs: int
    timeout: float
    max_tokens: int | None
    token_limit: str
    image_format: str
    image_quality: int
    longest_side: int
