"""Pictures of a curation: what was rejected and why, and what the kept samples are like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill, shorten

import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from ladder.config.files import replacing
from ladder.data.curation.summary import query
from ladder.data.shards import Sample
from ladder.data.sources.open import open_raw
from ladder.data.sources.record import Record, Rejected

ROWS = 50_000
"""Rows that a histogram is drawn from."""
EXAMPLES = 4
"""Of each reason."""
COLUMNS = 6


@dataclass(frozen=True)
class Example:
    """A rejected record; `picture` is None where it could not be loaded."""

    reason: str
    key: str
    caption: str
    picture: Image.Image | None


Find = Callable[[str, set[int]], dict[int, Record | Rejected]]
"""The name of a set and places in it -> the records there."""


def save_figures(find: Find, out: Path, maximum_pixels: int) -> None:
    """Write rejected.png, kept.png and examples.png into `out`/figures."""
    folder = out / "figures"
    decisions = out / "decisions.parquet"
    found = list(examples(find, decisions, maximum_pixels))
    drawn = {"rejected": rejected(decisions), "kept": kept(decisions), "examples": shown(found)}
    for name, figure in drawn.items():
        with replacing(folder / f"{name}.png") as part:
            figure.savefig(part, dpi=120, bbox_inches="tight", format="png")


def rejected(decisions: Path) -> Figure:
    """How many records were rejected for which reason, by set."""
    counts = query(
        decisions,
        """SELECT reason, set, count(*) AS records FROM decisions
        WHERE reason IS NOT NULL GROUP BY ALL ORDER BY records DESC, reason, set""",
    )
    figure = Figure(figsize=(7, 1 + 0.35 * max(1, counts.reason.nunique())), layout="constrained")
    if counts.empty:
        return _saying(figure, "nothing was rejected")
    axes = figure.subplots()
    sns.barplot(counts, x="records", y="reason", hue="set", orient="h", ax=axes)
    for bars in axes.containers:
        axes.bar_label(bars, padding=2, fontsize="small")
    axes.set(xlabel="rejected records", ylabel="")
    return figure


def _saying(figure: Figure, words: str) -> Figure:
    axes = figure.subplots()
    axes.text(0.5, 0.5, words, ha="center", va="center")
    axes.set_axis_off()
    return figure


def kept(decisions: Path) -> Figure:
    """Sizes, aspect ratios and lengths of captions of kept samples."""
    rows = query(
        decisions,
        f"""SELECT set, width, height, width / height AS aspect, len(captions[1]) AS characters
        FROM decisions WHERE reason IS NULL ORDER BY hash(set, number) LIMIT {ROWS}""",
    )
    figure = Figure(figsize=(11, 3), layout="constrained")
    if rows.empty:
        return _saying(figure, "nothing was kept")
    size, aspect, length = figure.subplots(1, 3)
    rows["side"] = (rows.width * rows.height) ** 0.5
    for axes, column, label in (
        (size, "side", "side of a square of that size (pixels)"),
        (aspect, "aspect", "width / height"),
        (length, "characters", "length of the first caption (characters)"),
    ):
        several = rows[column].nunique() > 1
        bins = 30 if several else [rows[column].iloc[0] - 0.5, rows[column].iloc[0] + 0.5]
        sns.histplot(
            rows, x=column, hue="set", bins=bins, multiple="stack", ax=axes, legend=axes is length
        )
        axes.set(xlabel=label, ylabel="kept samples" if axes is size else "")
    return figure


def examples(find: Find, decisions: Path, maximum_pixels: int) -> Iterator[Example]:
    """The first few rejected records of each reason, reason by reason."""
    rows = query(
        decisions,
        f"""SELECT reason, set, number, key, coalesce(captions[1], '') AS caption FROM decisions
        WHERE reason IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY reason ORDER BY set, number) <= {EXAMPLES}
        ORDER BY reason, set, number""",
    )
    records = {name: find(name, set(some.number)) for name, some in rows.groupby("set")}
    for reason, name, number, key, caption in rows.itertuples(index=False):
        record = records[name][number]
        sample = record.load(maximum_pixels) if isinstance(record, Record) else record
        picture = sample.target if isinstance(sample, Sample) else None
        yield Example(reason, key, caption, picture)


def in_raw(raw: Path) -> Find:
    """Finds records in the sets of `raw` by listing them once more."""

    def find(name: str, wanted: set[int]) -> dict[int, Record | Rejected]:
        listed = (record for shard in open_raw(raw / name) for record in shard.records())
        return {number: record for number, record in enumerate(listed) if number in wanted}

    return find


def shown(found: list[Example]) -> Figure:
    """The examples, reason by reason, each with its caption or else its key."""
    lines = max(1, -(-len(found) // COLUMNS))
    figure = Figure(figsize=(1.8 * COLUMNS, 2.3 * lines), layout="constrained")
    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, example in zip(grid.flat, found, strict=False):
        axes.set_title(example.reason, fontsize="small")
        if example.picture is None:
            axes.text(0.5, 0.5, "not loaded", ha="center", va="center", fontsize="small")
        else:
            axes.imshow(example.picture)
        text = fill(shorten(example.caption or example.key, 60, placeholder=".."), 30)
        axes.text(
            0.5, -0.05, text, ha="center", va="top", fontsize=6, transform=axes.transAxes,
            parse_math=False,
        )  # fmt: skip
    return figure
